//! What a host wants done.

use quorate_model::{
    Datacenter, Epoch, GroupId, LogIndex, NodeId, Position, ShardId, Topology, VersionVector,
};
use quorate_replication::leaderless::CellKey;
use serde::{Deserialize, Serialize};

use super::knowing::Lacking;
use super::{PeerMessage, RequestId, Rollback};
use crate::Value;

#[derive(Debug)]
pub enum Output {
    Send {
        to: NodeId,
        group: GroupId,
        message: PeerMessage,
    },
    Reply {
        id: RequestId,
        reply: Result<Reply, Failure>,
    },
    /// A newer topology is in force: route by it, connect to its members.
    Topology(Box<Topology>),
    /// Something that `Host::status` shows has changed.
    StatusChanged,
    /// Save this durably, then say so by `Input::RollbackSaved`: the log loses it next.
    SaveRollback {
        number: u64,
        rollback: Box<Rollback>,
    },
    /// The process must stop, now, without another write: a failed fsync, a corrupt log, a state store that cannot flush.
    Fatal {
        reason: String,
    },
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// `position` is set for a write: where it stands in the shard's log (for WAIT and, later, for sessions).
    Value {
        value: Value,
        position: Option<Position>,
    },
    Waited {
        replicas: u32,
    },
    Proposed {
        epoch: Epoch,
    },
    HandedOver {
        moved: Vec<ShardId>,
        kept: Vec<GroupId>,
    },
    Topology(Box<Topology>),
    Index(LogIndex),
    Done,
    /// A session's read, and the newest entry in the state that it saw.
    Read {
        value: Value,
        position: Position,
    },
    /// Without a leader: what a session is answered, and what it has seen by that.
    Seen {
        value: Value,
        seen: Vec<(CellKey, VersionVector)>,
        /// Of these no replica knows any more what it had seen before.
        gone: Vec<CellKey>,
    },
    /// Of several leaders: for each origin how much of what it wrote is applied.
    Known(VersionVector),
}

/// Why a request was not done. Only `Unknown` leaves open whether it took effect.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    #[error("this node does not lead {group}")]
    NotLeader { group: GroupId, leader: Option<NodeId> },
    #[error("{group} has no leader")]
    NoLeader { group: GroupId },
    #[error("this node has no replica of {group}")]
    NotHosted { group: GroupId },
    #[error("too many requests are waiting")]
    Overloaded,
    #[error("not acknowledged in time; the write may still take effect")]
    Unknown,
    #[error("not answered by {group} in time; nothing was changed")]
    TimedOut { group: GroupId },
    #[error("the epoch is {current}, not {expected}")]
    EpochMoved { expected: Epoch, current: Epoch },
    #[error("this node already belongs to a store")]
    AlreadyBootstrapped,
    #[error("{0}")]
    Invalid(String),
    #[error("this node's log is damaged: {0}")]
    Damaged(String),
    /// A session's read: the replica did not come so far in time.
    #[error(
        "no replica of {group} that answered in time knows what the session has written or seen"
    )]
    Behind { group: GroupId },
    /// The acknowledged entry at this position is not in the log any more, or is so old that nobody can tell.
    #[error("the write at {} of term {} of {group} was lost in a failover", position.index, position.term)]
    PositionLost { group: GroupId, position: Position },
    /// Without a leader. A read changed nothing.
    #[error("{answered} of {needed} replicas answered in time{}", if *writes { "; the write may still take effect" } else { "" })]
    NoQuorum { answered: u16, needed: u16, writes: bool },
    /// It may lack what it once acknowledged: ask another one. Nothing was done.
    #[error("this node's replica of {group} is being filled")]
    Filling { group: GroupId },
    /// Of several leaders: another one writes the key. Nothing was done.
    #[error("the key's home is {home}")]
    Home { group: GroupId, home: Datacenter },
    /// And that one does not answer.
    #[error("the key's home is {home}, which cannot be reached")]
    HomeSilent { home: Datacenter },
    /// Of several leaders: what a session brought from another datacenter did not come here in time. Nothing was done.
    #[error("{group}: {lacking}")]
    Lacking { group: GroupId, lacking: Box<Lacking> },
}
