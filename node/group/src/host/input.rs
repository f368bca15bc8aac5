//! What a host is told.

use bytes::Bytes;
use quorate_model::{
    Addresses, Demand, Epoch, GroupId, LogIndex, NodeId, Position, ShardId, Term, Topology,
    VersionVector, WallTime,
};
use quorate_replication::leaderless::Seen;
use quorate_replication::{leaderless, multi_leader, single_leader};
use quorate_storage::disk;
use serde::{Deserialize, Serialize};

use super::beating::Beat;
use super::filling::FillMessage;
use super::leaderless::Age;
use super::snapshotting::{Held, Order, OrderId, Streamed};
use crate::{Operation, Read};

/// Chosen by the caller, unique while the process lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

#[derive(Debug)]
pub enum Input {
    /// The deadline has passed, a flush may be complete (being early does no harm).
    Tick,
    Disk(disk::Completion),
    Peer {
        from: NodeId,
        group: GroupId,
        message: PeerMessage,
    },
    /// The connection to this peer was closed and a new one is refused: its process is dead.
    PeerRefused {
        peer: NodeId,
    },
    /// A peer connected and says that this is where it can be reached.
    PeerAddresses {
        peer: NodeId,
        addresses: Addresses,
    },
    Request {
        id: RequestId,
        request: Request,
    },
    /// The client went away: the answer is no longer wanted (a write may still take effect).
    Cancel {
        id: RequestId,
    },
    /// What `Output::SaveRollback` asked for is durable.
    RollbackSaved {
        group: GroupId,
        number: u64,
    },
    /// Milliseconds since the Unix epoch, for expiry; given before requests, at least every 100 ms.
    Wall(WallTime),
}

/// Everything that travels between two hosts for one group.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum PeerMessage {
    Replication(single_leader::Message),
    /// One chunk of a snapshot, in order; `number` counts from 0. `last` ends it.
    SnapshotChunk {
        position: Position,
        stream: u64,
        number: u64,
        last: bool,
        order: OrderId,
        checksum: u32,
        payload: Bytes,
    },
    /// The receiver holds every chunk below `next`; `installed` once the whole is durable.
    SnapshotAck {
        stream: u64,
        next: u64,
        installed: bool,
    },
    SnapshotAbort {
        stream: u64,
    },
    /// "What do you hold of a snapshot that is not complete?" The leader asks before it orders one.
    SnapshotQuery {
        id: OrderId,
    },
    SnapshotHeld {
        id: OrderId,
        held: Option<Held>,
    },
    /// The leader wants the receiver of this message to stream to another, or to go on.
    SnapshotOrder(Order),
    /// The answer to an order, and its end.
    SnapshotStreamed {
        id: OrderId,
        to: NodeId,
        streamed: Streamed,
    },
    /// "Am I still a member of this group?" Asked by a replica that the topology does not name.
    MembershipQuery {
        nonce: u64,
        /// The asker's.
        term: Term,
    },
    /// The leader of `term`, which may evaluate commands, has applied a configuration without the asker.
    NotMember {
        nonce: u64,
        term: Term,
    },
    /// "Which format has your storage engine?"
    EngineQuery,
    Engine {
        format: u32,
    },
    /// To the leader: the hash of the rows that the mark at `index` names, and where the rows behind them begin.
    StateHash {
        index: LogIndex,
        hash: u64,
        next: Bytes,
    },
    /// Of all groups that rest between the two nodes; it goes as the meta group's.
    Beat(Box<Beat>),
    /// Of a shard without a leader: what one turn of its replica tells another one, in order. Nobody waits for any of it, or
    /// somebody does for all.
    Leaderless {
        mark: leaderless::Mark,
        messages: Vec<leaderless::Message>,
    },
    /// To whoever leads the meta group: how far the sender's replicas came of the shards that move.
    Moves(Vec<(ShardId, leaderless::Report)>),
    /// How far the data of the sender's replicas is.
    Ages(Vec<(ShardId, Age)>),
    /// The receiver has told more of these than they began with.
    Behind(Vec<(ShardId, Age)>),
    /// Of several leaders of a shard, in different datacenters.
    Exchange(Box<multi_leader::Message>),
    Fill(Box<FillMessage>),
}

#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// Runs on the group's leader, or for `ReadLevel::Local` on this replica whatever its role.
    Execute {
        shard: ShardId,
        operation: Operation,
        level: ReadLevel,
    },
    /// WAIT: answered with the number of replicas beside the leader that hold `position` durably, when it reaches
    /// `replicas` or after `timeout_ms` (0: the request timeout).
    Wait {
        shard: ShardId,
        position: Position,
        replicas: u32,
        timeout_ms: u64,
    },
    Bootstrap {
        topology: Box<Topology>,
    },
    /// Compare-and-set; runs on the meta group's leader.
    ProposeTopology {
        expected: Epoch,
        topology: Box<Topology>,
    },
    /// Hand over every leadership; answered when none is left or the transfers timed out.
    Handover,
    /// A linearizable read of the newest topology; runs on the meta group's leader.
    ReadTopology,
    /// The index that a linearizable read at the shard's leader may use.
    ReadIndex {
        shard: ShardId,
    },
    /// Answered when this replica has applied `index`.
    AwaitApplied {
        shard: ShardId,
        index: LogIndex,
    },
    /// A session's read by this replica whatever its role: answered from a state that holds `floor`, for which the
    /// replica waits for `wait_ms` at most.
    ReadAt {
        shard: ShardId,
        read: Read,
        floor: Floor,
        wait_ms: u64,
    },
    /// Without a leader: this replica of the shard coordinates the operation.
    Coordinate {
        shard: ShardId,
        operation: Operation,
        demand: Demand,
        /// What the session has seen, where it is promised not to go back behind that: then the answer tells what it sees now.
        seen: Option<Seen>,
    },
    /// Of several leaders: what this one's group has applied of what all wrote, everything included that was acknowledged or shown
    /// before; runs on the shard's leader.
    ReadKnown {
        shard: ShardId,
    },
    /// Answered with the index of a state that has all of `floor`, for which the shard's leader waits for `wait_ms` at most.
    AwaitKnown {
        shard: ShardId,
        floor: VersionVector,
        wait_ms: u64,
    },
}

/// What a state must hold for a replica to answer a session's read from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Floor {
    /// The session's newest write to the shard. It may be gone: `Async` loses acknowledged writes in a failover.
    pub written: Position,
    /// The newest state of the shard that the session has seen at a replica: committed, so it stays.
    pub seen: LogIndex,
    /// A leader's answer to `Request::ReadIndex`.
    pub confirmed: LogIndex,
}

impl Floor {
    /// What the state must have applied.
    #[must_use]
    pub fn index(&self) -> LogIndex {
        self.written.index.max(self.seen).max(self.confirmed)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ReadLevel {
    Linearizable,
    /// What this replica has applied (READONLY connections).
    Local,
}
