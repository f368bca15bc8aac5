//! What a replica wants done.

use std::collections::BTreeSet;

use quorate_model::admin::SwapReason;
use quorate_model::{LogIndex, NodeId, Position, Term};

use super::{Entry, HardState, Message, ProposalId, ReadId};

/// Numbers a replica's persists, in order, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PersistId(pub u64);

/// The condition under which an output may be carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    Now,
    /// Not before this persist is durable: a promise never outruns what stands behind it.
    Persisted(PersistId),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Make this durable, in this order: cut the log from `truncate_from` on, append `entries`, store the hard state.
    Persist {
        id: PersistId,
        hard_state: Option<HardState>,
        truncate_from: Option<LogIndex>,
        entries: Vec<Entry>,
    },
    Send {
        to: NodeId,
        message: Message,
        when: When,
    },
    /// These entries are committed: apply them, in order; each once. Follow up with `Input::Applied`.
    Apply {
        entries: Vec<Entry>,
    },
    /// Under `Async`: this leader's disk holds everything through here, which is all it takes to acknowledge it. What is
    /// handed out to be applied is acknowledged anyway.
    Acknowledged {
        through: LogIndex,
    },
    /// These entries are cut from the log next, and some of them may have been acknowledged, for their rule was `Async`:
    /// save them durably before the persist that follows is carried out (INV-66).
    RolledBack {
        entries: Vec<Entry>,
        /// This replica appended them as their leader, as far as it remembers.
        led: bool,
    },
    /// This leader appended a change of the rule: who left the in-sync set and who came into it.
    RuleChanged {
        index: LogIndex,
        removed: BTreeSet<NodeId>,
        added: BTreeSet<NodeId>,
        why: SwapReason,
    },
    /// The proposal stands at this position. It is done when that very position is applied; it is lost when another
    /// term's entry is applied at its index; until then its fate is unknown.
    Proposed {
        id: ProposalId,
        position: Position,
    },
    /// The proposal was not appended and never will be.
    ProposalDropped {
        id: ProposalId,
        why: Dropped,
    },
    /// The read may be answered by a state that has applied `index` (wait for it).
    ReadReady {
        id: ReadId,
        index: LogIndex,
    },
    ReadDropped {
        id: ReadId,
        why: Dropped,
    },
    /// Fetch entries from the disk for a follower that is behind the cache; answer with `Input::Loaded`.
    LoadEntries {
        to: NodeId,
        from: LogIndex,
        bytes_max: usize,
    },
    /// This follower is behind the log: stream a snapshot to it; answer with `Input::SnapshotSent`.
    SendSnapshot {
        to: NodeId,
    },
    /// The replica's view of who leads changed. `leading` is set when this replica leads and has applied an entry of
    /// its own term, so that it may evaluate commands.
    Leadership {
        term: Term,
        leader: Option<NodeId>,
        leading: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dropped {
    NotLeader {
        leader: Option<NodeId>,
    },
    /// A bound of `Settings` is reached; nothing was changed.
    Overloaded,
    /// Leadership is being handed over; try again shortly.
    Transferring,
    /// The in-sync set cannot be held as declared, and writes wait for it; try again shortly.
    SetNotHeld,
}
