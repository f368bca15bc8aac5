//! Requests at a group's leader: evaluated against what is applied and proposed, then proposed, then answered when applied.
//!
//! Nothing is evaluated before the leader has applied an entry of its own term. What finds no leader waits in the group's
//! queue, in order, up to its timeout, so that a failover is a pause and not an error.

use std::mem;
use std::time::Duration;

use bytes::Bytes;
use quorate_model::planted::{self, Bug};
use quorate_model::{Epoch, LogIndex, Position, Term, Topology, WallTime};
use quorate_replication::single_leader::{Dropped, Input, ProposalId};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::group::{Proposal, Readiness, Task};
use super::requests::{Answer, Stage, Then, Work};
use super::timers::Timer;
use super::topology::SetTopology;
use super::{Failure, Reply, RequestId, Turn};
use crate::entry::Undeterminable;
use crate::keyspace::{self, Context, Evaluated, View};
use crate::{Read, Value, ValueError, Write};

/// How soon what could not be proposed during a transfer of leadership is tried again.
const QUEUE_RETRY: Duration = Duration::from_millis(10);

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// Takes a request that this group's leader must do.
    pub(super) fn accept(&mut self, id: RequestId, work: Work) {
        self.shared.queue(id, self.group.id, work);
        self.group.tasks.push_back(Task::Run(id));
    }

    /// Does a queued request, sends it elsewhere, or lets it wait for a leader.
    pub(super) fn run_request(&mut self, id: RequestId) {
        if !matches!(self.shared.requests.stage(id), Some(Stage::Queued(_))) {
            return;
        }
        let group = self.group.id;
        match self.group.readiness(self.shared.node()) {
            Readiness::Elsewhere(leader) => {
                self.shared.answer(id, Err(Failure::NotLeader { group, leader: Some(leader) }));
            }
            Readiness::Lost => {
                let why =
                    self.shared.damaged.clone().unwrap_or_else(|| "no replica is left".into());
                self.shared.answer(id, Err(Failure::Damaged(why)));
            }
            // What waits already goes first.
            Readiness::Leading if self.group.writes.queue.is_empty() => self.perform(id),
            Readiness::Leading | Readiness::Waiting => self.group.writes.queue.push_back(id),
        }
    }

    /// Everything that waits for a leader is tried again, in order.
    pub(super) fn wake_queue(&mut self) {
        if self.group.readiness(self.shared.node()) == Readiness::Waiting {
            return;
        }
        for id in mem::take(&mut self.group.writes.queue) {
            self.group.tasks.push_back(Task::Run(id));
        }
    }

    fn perform(&mut self, id: RequestId) {
        let Some(work) = self.take_work(id) else { return };
        match work {
            Work::Write(write) => self.write(id, write),
            Work::Read(read) => self.confirm(id, Then::Read(read)),
            Work::ReadWithoutExpired { read, keys } => self.remove_then_read(id, read, keys),
            Work::ReadIndex => self.confirm(id, Then::Index),
            Work::ReadKnown => self.confirm(id, Then::Known),
            Work::ReadTopology => self.confirm(id, Then::Topology),
            Work::SetTopology { expected, topology } => self.set_topology(id, expected, topology),
        }
    }

    fn take_work(&mut self, id: RequestId) -> Option<Work> {
        let stage = self.shared.requests.stage_mut(id)?;
        match stage.take() {
            Stage::Queued(work) => Some(work),
            Stage::Proposing { .. }
            | Stage::Appended { .. }
            | Stage::Confirming(_)
            | Stage::Applying { .. }
            | Stage::Acknowledging { .. }
            | Stage::Counting { .. }
            | Stage::Knowing { .. }
            | Stage::HandingOver { .. } => unreachable!("only what is queued is done"),
        }
    }

    fn write(&mut self, id: RequestId, write: Write) {
        if self.answers_from_home(id, &write) {
            return;
        }
        let Some((mut evaluated, seed)) = self.evaluate(&write) else {
            return self.answer_unevaluated(id);
        };
        if evaluated.effects.is_empty() {
            let newest = self.group.writes.newest;
            let after = (newest.index > self.group.standing.applied.index).then_some(newest);
            return self.confirm(id, Then::Value { value: evaluated.value, after });
        }
        let command = match self.command_of(&write, &mut evaluated, seed) {
            Ok(command) => command,
            Err(error) => return self.answer_undeterminable(id, error),
        };
        let Evaluated { value, effects } = evaluated;
        let proposal = Proposal { request: Some(id), effects: Some(effects), taken: false };
        self.propose_for(id, Work::Write(write), Answer::Value(value), command, proposal);
    }

    fn remove_then_read(&mut self, id: RequestId, read: Read, keys: Vec<Bytes>) {
        let removal = Write::RemoveIfExpired { keys: keys.clone() };
        let Some((mut evaluated, seed)) = self.evaluate(&removal) else {
            return self.answer_unevaluated(id);
        };
        if evaluated.effects.is_empty() {
            self.confirm(id, Then::Read(read));
            return;
        }
        let command = match self.command_of(&removal, &mut evaluated, seed) {
            Ok(command) => command,
            Err(error) => return self.answer_undeterminable(id, error),
        };
        let effects = evaluated.effects;
        let proposal = Proposal { request: Some(id), effects: Some(effects), taken: false };
        let answer = Answer::Read(read.clone());
        self.propose_for(id, Work::ReadWithoutExpired { read, keys }, answer, command, proposal);
    }

    fn set_topology(&mut self, id: RequestId, expected: Epoch, topology: Box<Topology>) {
        let command = SetTopology { expected, topology: (*topology).clone() };
        // Epochs only rise, so what fails on the applied one fails for ever.
        let current = self.shared.following.epoch();
        if current > expected {
            self.shared.answer(id, Err(Failure::EpochMoved { expected, current }));
            return;
        }
        let proposal = Proposal { request: Some(id), effects: None, taken: false };
        let work = Work::SetTopology { expected, topology };
        self.propose_for(id, work, Answer::Epoch, command.encode(), proposal);
    }

    /// Evaluates on what is proposed, with a seed that goes with it. `None` when the state store failed: the replica is taken out.
    pub(super) fn evaluate(&mut self, write: &Write) -> Option<(Evaluated, u64)> {
        assert!(
            self.group.leadership.leading,
            "only a leader that caught up with itself evaluates"
        );
        let context = Context { now: self.group_time(), seed: self.shared.nonce() };
        match self.with_proposed(|view| keyspace::evaluate(write, context, view)) {
            Ok(evaluated) => Some((evaluated, context.seed)),
            Err(error) => {
                self.refuse_state(error.into());
                None
            }
        }
    }

    /// Looks at what is proposed, on which writes are evaluated.
    pub(super) fn with_proposed<T>(&self, look: impl FnOnce(&View<'_, S>) -> T) -> T {
        let prefix = self.group.prefix();
        let (keys, overlay) = (self.group.standing.keys, &self.group.writes.overlay);
        let view = View::proposed(&self.shared.state, prefix.as_slice(), keys, overlay);
        look(&view.among(self.group.exchanging.leaders()))
    }

    /// Its rows cannot be read here; another replica will lead.
    pub(super) fn answer_unevaluated(&mut self, id: RequestId) {
        let group = self.group.id;
        self.shared.answer(id, Err(Failure::NotLeader { group, leader: None }));
    }

    fn answer_undeterminable(&mut self, id: RequestId, why: Undeterminable) {
        self.shared.answer(id, Err(Failure::Invalid(why.to_string())));
    }

    /// The wall time, or the newest time in the log where that is later: time never goes back within a group.
    pub(super) fn group_time(&self) -> WallTime {
        self.shared.wall.max(self.group.standing.time)
    }

    fn propose_for(
        &mut self,
        id: RequestId,
        work: Work,
        answer: Answer,
        command: Bytes,
        proposal: Proposal,
    ) {
        let bytes_max = self.own_bytes_max();
        if command.len() > bytes_max {
            let value = Value::Error(ValueError::TooLong(bytes_max as u64));
            return self.shared.answer(id, Ok(Reply::Value { value, position: None }));
        }
        if let Some(stage) = self.shared.requests.stage_mut(id) {
            *stage = Stage::Proposing { work, answer };
            self.propose(command, proposal);
        }
    }

    pub(super) fn propose(&mut self, command: Bytes, proposal: Proposal) {
        let id = self.shared.proposal_id();
        self.group.writes.proposals.insert(id, proposal);
        self.step(Input::Propose { id, command });
        self.shared.undispatched.insert(self.group.id);
        assert!(
            self.shared.stopped || !self.group.writes.proposals.contains_key(&id),
            "the protocol says at once what becomes of a proposal"
        );
    }

    pub(super) fn proposed(&mut self, id: ProposalId, position: Position) {
        let writes = &mut self.group.writes;
        let Proposal { request, effects, taken: _ } =
            writes.proposals.remove(&id).expect("only what was proposed is answered");
        assert!(position.index > self.group.standing.applied.index);
        assert_eq!(position.term, self.group.leadership.term);
        writes.newest = position;
        if let Some(effects) = effects {
            writes.overlay.note(position.index, &effects);
        }
        let Some(request) = request else { return };
        let Some(stage) = self.shared.requests.stage_mut(request) else { return };
        let Stage::Proposing { answer, .. } = stage.take() else {
            unreachable!("a proposed request is proposing")
        };
        if let Answer::Value(value) = &answer
            && planted::is(Bug::AcknowledgeBeforeCommit)
        {
            let value = value.clone();
            return self
                .shared
                .answer(request, Ok(Reply::Value { value, position: Some(position) }));
        }
        *stage = Stage::Appended { position, answer };
        writes.appended.insert((position.index, position.term), request);
    }

    pub(super) fn proposal_dropped(&mut self, id: ProposalId, why: Dropped) {
        let proposal =
            self.group.writes.proposals.remove(&id).expect("only what was proposed is answered");
        if proposal.taken {
            self.stop_filling();
            self.exchange_again();
        }
        let Some(request) = proposal.request else { return };
        let Some(stage) = self.shared.requests.stage_mut(request) else { return };
        let Stage::Proposing { work, .. } = stage.take() else {
            unreachable!("a dropped request was proposing")
        };
        *stage = Stage::Queued(work);
        self.dropped(request, why);
    }

    /// The protocol took nothing of this queued request.
    pub(super) fn dropped(&mut self, id: RequestId, why: Dropped) {
        let group = self.group.id;
        match why {
            Dropped::Overloaded => self.shared.answer(id, Err(Failure::Overloaded)),
            Dropped::NotLeader { leader: Some(leader) } if leader != self.shared.node() => {
                self.shared.answer(id, Err(Failure::NotLeader { group, leader: Some(leader) }));
            }
            Dropped::NotLeader { .. } | Dropped::Transferring | Dropped::SetNotHeld => {
                self.group.writes.queue.push_back(id);
                let retry = self.shared.now.after(QUEUE_RETRY);
                self.shared.timers.set_at_latest(Timer::Queue(group), retry);
            }
        }
    }

    /// An appended request of which nobody will ever say here what became of it.
    pub(super) fn answer_open(&mut self, id: RequestId) {
        let group = self.group.id;
        if let Some(Stage::Appended { answer, .. }) = self.shared.requests.stage(id) {
            let mut open = answer.open(group);
            if planted::is(Bug::UnknownIsFailed) {
                open = Failure::NoLeader { group };
            }
            self.shared.answer(id, Err(open));
        }
    }

    /// The entry of an appended request is applied.
    pub(super) fn answer_applied(&mut self, id: RequestId, epoch: Option<Result<Epoch, Failure>>) {
        let Some(stage) = self.shared.requests.stage_mut(id) else { return };
        let Stage::Appended { position, answer } = stage.take() else {
            unreachable!("what stands in the log is appended")
        };
        match answer {
            Answer::Value(value) => {
                let (shared, now) = (&*self.shared, self.shared.now);
                self.group.history.acknowledged(|| shared.wall_at(now));
                self.shared.answer(id, Ok(Reply::Value { value, position: Some(position) }));
            }
            Answer::Epoch => {
                let result = epoch.expect("only the meta group's entries set a topology");
                self.shared.answer(id, result.map(|epoch| Reply::Proposed { epoch }));
            }
            Answer::Read(read) => {
                // Applied, or acknowledged beyond that: then it is read from what is proposed.
                let index = position.index.min(self.group.standing.applied.index);
                *stage = Stage::Applying { index, then: Then::Read(read) };
                self.group.tasks.push_back(Task::Finish(id));
            }
        }
    }

    /// Under `Async`: this leader's disk holds everything through here.
    pub(super) fn acknowledged(&mut self, through: LogIndex) {
        let term = self.group.leadership.term;
        let writes = &mut self.group.writes;
        assert!(through > writes.acknowledged);
        writes.acknowledged = through;
        // What stands at these indexes since an earlier leadership has another fate.
        let range = ..=(through, Term(u64::MAX));
        let passed: Vec<(LogIndex, Term)> =
            writes.appended.range(range).map(|(at, _)| *at).filter(|at| at.1 == term).collect();
        for at in passed {
            if let Some(id) = self.group.writes.appended.remove(&at) {
                self.answer_applied(id, None);
            }
        }
    }

    /// Another term's entry was applied where this request's entry stood: it never takes effect.
    pub(super) fn answer_lost(&mut self, id: RequestId) {
        let leader = self.group.leader_elsewhere(self.shared.node());
        self.shared.answer(id, Err(Failure::NotLeader { group: self.group.id, leader }));
    }
}
