//! Who waits for which answer, and which streams of writes a refusal has closed.

use std::collections::HashMap;

use quorate_group::host::{Failure, Reply, RequestId};
use quorate_model::GroupId;

use super::gate::{Gate, Stream};
use super::inbox::AnswerTo;

#[derive(Debug, Default)]
pub(super) struct Replies {
    waiting: HashMap<RequestId, Waiting>,
    gate: Gate,
}

#[derive(Debug)]
struct Waiting {
    answer: AnswerTo,
    stream: Option<Stream>,
}

impl Replies {
    /// Notes that this request is to be answered; answers it at once, with `false`, when its stream is closed.
    pub(super) fn expect(
        &mut self,
        id: RequestId,
        group: GroupId,
        stream: Option<Stream>,
        answer: AnswerTo,
    ) -> bool {
        if stream.is_some_and(|stream| !self.gate.admits(stream)) {
            answer.send(Err(Failure::NotLeader { group, leader: None }));
            return false;
        }
        let before = self.waiting.insert(id, Waiting { answer, stream });
        assert!(before.is_none(), "request ids are unique while the process lives");
        true
    }

    pub(super) fn answer(&mut self, id: RequestId, reply: Result<Reply, Failure>) {
        // Nobody waits for a request that was cancelled.
        let Some(waiting) = self.waiting.remove(&id) else { return };
        if let (Some(stream), Err(failure)) = (waiting.stream, &reply)
            && may_be_sent_again(failure)
        {
            self.gate.close(stream);
        }
        waiting.answer.send(reply);
    }

    /// Whether it was still waiting.
    pub(super) fn cancel(&mut self, id: RequestId) -> bool {
        self.waiting.remove(&id).is_some()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn forget(&mut self, source: u64) {
        self.gate.forget(source);
    }

    pub(super) fn give_up(self) {
        for waiting in self.waiting.into_values() {
            waiting.answer.send(Err(Failure::Unknown));
        }
    }
}

/// The host never saw the request.
pub(super) fn refuse_unseen(answer: AnswerTo) {
    answer.send(Err(Failure::NoLeader { group: GroupId::Meta }));
}

/// Whether the request surely did not take effect here and may do so on another node, or later.
pub fn may_be_sent_again(failure: &Failure) -> bool {
    match failure {
        Failure::NotLeader { .. }
        | Failure::NoLeader { .. }
        | Failure::NotHosted { .. }
        | Failure::TimedOut { .. }
        | Failure::Filling { .. }
        | Failure::NoQuorum { writes: false, .. }
        | Failure::Damaged(_) => true,
        Failure::Overloaded
        | Failure::Unknown
        | Failure::NoQuorum { writes: true, .. }
        | Failure::EpochMoved { .. }
        | Failure::AlreadyBootstrapped
        | Failure::Behind { .. }
        | Failure::PositionLost { .. }
        | Failure::Home { .. }
        | Failure::HomeSilent { .. }
        | Failure::Lacking { .. }
        | Failure::Invalid(_) => false,
    }
}
