//! The answers that a connection owes, in the order of its requests.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::budget::Permit;
use crate::resp::{Protocol, Reply, encode};

/// The number of a request on its connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Sequence(u64);

/// Whether the client wants the answer (CLIENT REPLY).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Audible {
    Yes,
    No,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    owed: VecDeque<Owed>,
    /// The number of the first of `owed`.
    first: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Owed {
    reply: Option<Reply>,
    /// The encoding that was in force when the request came.
    protocol: Protocol,
    audible: Audible,
    request: Permit,
}

impl Queue {
    pub(super) fn push(
        &mut self,
        protocol: Protocol,
        audible: Audible,
        request: Permit,
    ) -> Sequence {
        let sequence = Sequence(self.first + self.owed.len() as u64);
        self.bytes += request.bytes();
        self.owed.push_back(Owed { reply: None, protocol, audible, request });
        sequence
    }

    pub(super) fn fulfil(&mut self, sequence: Sequence, reply: Reply) {
        let place = usize::try_from(sequence.0 - self.first).expect("as many as are owed");
        let owed = &mut self.owed[place];
        assert!(owed.reply.is_none(), "a request is answered once");
        owed.reply = Some(reply);
    }

    /// Encodes every answer whose turn has come.
    pub(super) fn drain_into(&mut self, out: &mut BytesMut) {
        while let Some(Owed { reply: Some(reply), protocol, audible, request }) = self.owed.front()
        {
            if *audible == Audible::Yes {
                encode(reply, *protocol, out);
            }
            self.bytes -= request.bytes();
            self.first += 1;
            self.owed.pop_front();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.owed.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    /// Bytes of the requests that are not answered.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}
