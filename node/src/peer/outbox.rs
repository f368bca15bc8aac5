//! What waits to be written to one connection: bounded, never blocking, open only while there is a connection.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use quorate_group::host::PeerMessage;
use quorate_model::GroupId;
use quorate_replication::single_leader::Message;
use tokio::sync::Notify;

use super::wire::{Answer, Forwarded, Leaders};

/// Something to send.
#[derive(Debug)]
pub(super) enum Outgoing {
    Message { group: GroupId, message: PeerMessage },
    Leaders(Arc<Leaders>),
    Request(Box<Forwarded>),
    Answer(Box<Answer>),
}

/// The bound in bytes of what may wait for one connection, beside one item that may be larger.
pub(super) const WAITING_BYTES_MAX: usize = 64 << 20;
/// The bound in items.
pub(super) const WAITING_ITEMS_MAX: usize = 65_536;

#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    /// Wakes the writer.
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    /// The connection is of no use any more; its writer must end it.
    broken: bool,
    waiting: VecDeque<Outgoing>,
    bytes: usize,
    dropped: u64,
}

/// Why something was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotTaken {
    /// There is no connection.
    Closed,
    /// There is no room.
    Full,
}

impl Outbox {
    #[must_use]
    pub(super) fn closed() -> Self {
        Self { state: Mutex::new(State::default()), wake: Notify::new() }
    }

    /// A connection is there.
    pub(super) fn open(&self) {
        let mut state = self.state.lock();
        state.open = true;
        state.broken = false;
    }

    /// The connection is gone; what was never taken by the writer comes back.
    pub(super) fn close(&self) -> VecDeque<Outgoing> {
        let mut state = self.state.lock();
        state.open = false;
        state.bytes = 0;
        std::mem::take(&mut state.waiting)
    }

    /// # Errors
    /// When there is no connection or no room.
    pub(super) fn push(&self, item: Outgoing) -> Result<(), NotTaken> {
        let mut state = self.state.lock();
        if !state.open {
            return Err(NotTaken::Closed);
        }
        if state.bytes > WAITING_BYTES_MAX || state.waiting.len() >= WAITING_ITEMS_MAX {
            state.dropped += 1;
            return Err(NotTaken::Full);
        }
        state.bytes += item.bytes();
        state.waiting.push_back(item);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Has the writer end the connection: something that must not be lost silently found no room.
    pub(super) fn fail(&self) {
        self.state.lock().broken = true;
        self.wake.notify_one();
    }

    /// Waits until there is something and takes up to `bytes_max` of it, at least one item; `None` after
    /// [`Outbox::fail`].
    pub(super) async fn take(&self, bytes_max: usize) -> Option<Vec<Outgoing>> {
        loop {
            {
                let mut state = self.state.lock();
                if state.broken {
                    return None;
                }
                if !state.waiting.is_empty() {
                    return Some(state.take(bytes_max));
                }
            }
            self.wake.notified().await;
        }
    }

    /// How much waits, and how many items were refused for want of room so far.
    pub(super) fn depth(&self) -> (usize, u64) {
        let state = self.state.lock();
        (state.bytes, state.dropped)
    }

    pub(super) fn is_open(&self) -> bool {
        self.state.lock().open
    }
}

impl State {
    fn take(&mut self, bytes_max: usize) -> Vec<Outgoing> {
        let mut taken = Vec::with_capacity(self.waiting.len().min(64));
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some(item) = self.waiting.pop_front()
        {
            bytes += item.bytes();
            taken.push(item);
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        taken
    }
}

impl Outgoing {
    fn bytes(&self) -> usize {
        match self {
            Self::Message { message, .. } => message_bytes(message),
            Self::Leaders(leaders) => 64 + 16 * leaders.leads.len() + 256 * leaders.moved.len(),
            Self::Request(forwarded) => forwarded.request.bytes(),
            Self::Answer(answer) => answer_bytes(answer),
        }
    }
}

/// Roughly what a message takes in memory and on the wire.
pub(super) fn message_bytes(message: &PeerMessage) -> usize {
    match message {
        PeerMessage::Replication(Message::Append { entries, .. }) => {
            64 + entries.iter().map(quorate_replication::single_leader::Entry::bytes).sum::<usize>()
        }
        PeerMessage::SnapshotChunk { payload, .. } => 64 + payload.len(),
        PeerMessage::Replication(
            Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::Vote { .. }
            | Message::VoteReply { .. }
            | Message::AppendReply { .. }
            | Message::SnapshotOffer { .. }
            | Message::TimeoutNow { .. },
        )
        | PeerMessage::SnapshotAck { .. }
        | PeerMessage::SnapshotAbort { .. }
        | PeerMessage::SnapshotQuery { .. }
        | PeerMessage::SnapshotHeld { .. }
        | PeerMessage::SnapshotOrder(_)
        | PeerMessage::SnapshotStreamed { .. }
        | PeerMessage::MembershipQuery { .. }
        | PeerMessage::NotMember { .. }
        | PeerMessage::EngineQuery
        | PeerMessage::Engine { .. } => 64,
        PeerMessage::StateHash { next, .. } => 64 + next.len(),
        PeerMessage::Leaderless { messages, .. } => {
            64 + messages.iter().map(quorate_replication::leaderless::Message::bytes).sum::<usize>()
        }
        PeerMessage::Exchange(message) => 64 + message.bytes(),
        PeerMessage::Fill(message) => 64 + message.bytes(),
        PeerMessage::Moves(reports) => 64 + 128 * reports.len(),
        PeerMessage::Ages(ages) | PeerMessage::Behind(ages) => 64 + 32 * ages.len(),
        PeerMessage::Beat(beat) => {
            let lists = [&beat.led, &beat.followed];
            128 + lists.into_iter().flatten().map(|list| 24 * list.len()).sum::<usize>()
        }
    }
}

fn answer_bytes(answer: &Answer) -> usize {
    use quorate_group::Value;
    use quorate_group::host::Reply;
    fn value_bytes(value: &Value) -> usize {
        16 + match value {
            Value::Bulk(bytes) => bytes.len(),
            Value::List(values) => values.iter().map(value_bytes).sum(),
            Value::Status(text) => text.len(),
            Value::Ok | Value::Nil | Value::Integer(_) | Value::Error(_) => 0,
        }
    }
    match &answer.result {
        Ok(Reply::Value { value, .. } | Reply::Read { value, .. }) => 64 + value_bytes(value),
        Ok(Reply::Seen { value, seen, .. }) => {
            let cells = seen.iter().map(|(key, known)| 32 + key.bytes().len() + 16 * known.len());
            64 + value_bytes(value) + cells.sum::<usize>()
        }
        Ok(Reply::Known(known)) => 64 + 16 * known.len(),
        Ok(
            Reply::Waited { .. }
            | Reply::Proposed { .. }
            | Reply::HandedOver { .. }
            | Reply::Topology(_)
            | Reply::Index(_)
            | Reply::Done,
        )
        | Err(_) => 256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaders() -> Outgoing {
        Outgoing::Leaders(Arc::new(Leaders::default()))
    }

    #[tokio::test]
    async fn nothing_is_taken_without_a_connection() {
        let outbox = Outbox::closed();
        assert_eq!(outbox.push(leaders()), Err(NotTaken::Closed));
        outbox.open();
        outbox.push(leaders()).unwrap();
        assert_eq!(outbox.take(1).await.unwrap().len(), 1);
        outbox.push(leaders()).unwrap();
        assert_eq!(outbox.close().len(), 1);
        assert!(!outbox.is_open());
    }

    #[test]
    fn a_full_outbox_takes_no_more_and_counts_it() {
        let outbox = Outbox::closed();
        outbox.open();
        for _ in 0..WAITING_ITEMS_MAX {
            outbox.push(leaders()).unwrap();
        }
        assert_eq!(outbox.push(leaders()), Err(NotTaken::Full));
        assert_eq!(outbox.depth().1, 1);
    }
}
