//! What a replica is told.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_model::{Durability, InSyncPolicy, LogIndex, NodeId, Position};

use super::{Configuration, Entry, HardState, Message, PersistId};

/// Chosen by the caller, unique on its replica while the process lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProposalId(pub u64);

/// Chosen by the caller, unique on its replica while the process lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReadId(pub u64);

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The deadline has passed (being early does no harm).
    Tick,
    Message {
        from: NodeId,
        message: Message,
    },
    /// Appends a command if this replica leads; answered by `Output::Proposed` or `Output::ProposalDropped`. It is sent
    /// with `Dispatch`, or earlier.
    Propose {
        id: ProposalId,
        command: Bytes,
    },
    /// Asks for a linearizable read position; answered by `Output::ReadReady` or `Output::ReadDropped`. The round that
    /// confirms it begins with `Dispatch`, or earlier.
    Read {
        id: ReadId,
    },
    /// There are no more proposals and reads at hand: what came together goes to each follower in one append and one round.
    /// To be given after them, or they wait for the next heartbeat.
    Dispatch,
    /// The membership that the group should have. A leader moves the configuration towards it, one safe change at a
    /// time: add the missing as learners, promote who is caught up, then remove the superfluous; it hands over first if
    /// it is superfluous itself. Followers remember it. Given again whenever it changes.
    Target {
        voters: BTreeSet<NodeId>,
        learners: BTreeSet<NodeId>,
        preferred_leader: Option<NodeId>,
        /// When writes are acknowledged, and how an in-sync set is kept.
        durability: Durability,
        in_sync: InSyncPolicy,
    },
    /// Hand leadership over, to the most advanced voter or to `to`.
    Transfer {
        to: Option<NodeId>,
    },
    /// Everything issued through this persist is durable.
    Persisted {
        id: PersistId,
    },
    /// The state machine has applied everything through here.
    Applied {
        index: LogIndex,
    },
    /// The answer to `Output::LoadEntries`: consecutive entries from `from` on, possibly fewer than asked for, or
    /// empty when they are no longer in the log (a snapshot is needed).
    Loaded {
        to: NodeId,
        from: LogIndex,
        entries: Vec<Entry>,
    },
    /// The connection to this peer was closed and a new one is refused: its process is dead. If it is the leader,
    /// stickiness is forgotten and a pre-vote starts at once.
    PeerRefused {
        peer: NodeId,
    },
    /// A snapshot that a leader of this term offered is installed and durable; the log starts after it.
    SnapshotInstalled {
        position: Position,
        configuration: Configuration,
    },
    /// The stream that `Output::SendSnapshot` asked for has ended. `position` is what the receiver now holds, `None`
    /// when it failed.
    SnapshotSent {
        to: NodeId,
        position: Option<Position>,
    },
    /// The log was cut: entries through here are gone from the disk, a snapshot at `position` stands for them.
    Compacted {
        position: Position,
        configuration: Configuration,
    },
    /// No durable write has completed for too long: a leader hands over.
    DiskStalled,
    /// The caller's state is not what the log says, or cannot be read: until a snapshot replaces it the replica takes part with
    /// its log alone (INV-36). Entries that were handed out and not confirmed as applied are handed out again after that.
    StateDamaged,
}

/// What a replica finds on its disk at start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Restored {
    pub hard_state: HardState,
    /// The position that the log starts after, and the configuration at it. For a fresh genesis replica: term 0,
    /// index 0 and the genesis voters. For a fresh replica that waits for a leader: the default (no members).
    pub base: Position,
    pub base_configuration: Configuration,
    /// Everything after `base`, in order.
    pub entries: Vec<Entry>,
    /// What the state machine holds; at least `base.index`.
    pub applied: LogIndex,
    /// The log has a hole or a bad record: this replica neither votes nor leads until it is repaired by a snapshot.
    pub damaged: bool,
}
