//! What a session needs of the node: one trait, so that sessions are tested over a map.
//!
//! The node implements it over the driver and the links to peers. It decides nothing about the client's protocol.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_group::host::{Failure, Floor, ReadLevel, Status};
use quorate_group::{Operation, Read, Value};
use quorate_model::{Demand, LogIndex, Position, ShardId, VersionVector};
use quorate_replication::leaderless::{CellKey, Seen};

use super::Routing;

/// The node as a session sees it. Cloning is cheap.
///
/// Order: a session calls [`Store::execute`], and polls the answers for the first time, in its client's order. Two
/// operations of one session on the same slot are under way together only when both are writes or both are reads;
/// the store starts them in the order in which it was called.
pub trait Store: Clone + Send + Sync + 'static {
    /// Runs one operation on one shard.
    fn execute(
        &self,
        request: Execute,
    ) -> impl Future<Output = Result<Answer, Failure>> + Send + 'static;

    /// Reads at a replica that satisfies what the session needs, or at the leader.
    fn read(
        &self,
        read: SessionRead,
    ) -> impl Future<Output = Result<SessionAnswer, Failure>> + Send + 'static;

    /// Answers with the number of replicas beside the leader that hold `position` durably, once that is `replicas` or
    /// `timeout_ms` have passed (0: the node's request timeout).
    fn wait(
        &self,
        shard: ShardId,
        position: Position,
        replicas: u32,
        timeout_ms: u64,
    ) -> impl Future<Output = Result<u32, Failure>> + Send + 'static;

    /// Of several leaders: what this datacenter's leader of the shard has applied, everything included that was acknowledged or
    /// shown before the call.
    fn known(
        &self,
        shard: ShardId,
    ) -> impl Future<Output = Result<VersionVector, Failure>> + Send + 'static;

    /// The index of a state of this datacenter's group that has all of `floor`, once there is one; [`Failure::Lacking`] when there
    /// is none after `wait`, or the request timeout where that is shorter or `wait` is not given.
    fn await_known(
        &self,
        shard: ShardId,
        floor: VersionVector,
        wait: Option<Duration>,
    ) -> impl Future<Output = Result<LogIndex, Failure>> + Send + 'static;

    /// The newest view of the topology and of who leads. Asked for every request: a pointer load, not a lock.
    fn routing(&self) -> Arc<Routing>;

    /// For INFO and ROLE.
    fn status(&self) -> Arc<Status>;
}

#[derive(Clone, PartialEq, Debug)]
pub struct Execute {
    pub shard: ShardId,
    pub operation: Operation,
    pub level: ReadLevel,
    pub reach: Reach,
    /// Without leaders: how many replicas must answer.
    pub demand: Demand,
    /// Without leaders: what the session has seen, where it is promised not to go back behind that.
    pub seen: Option<Seen>,
    /// The session is promised to find what it writes.
    pub promised: bool,
}

/// How far the store goes to have an operation done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Only this node's own replica (the cluster port): [`Failure::NotLeader`] when it does not lead, so that the
    /// client is sent on.
    Here,
    /// Wherever the leader is (the plain port): forwards, and waits for an election up to the request timeout.
    Anywhere,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    pub value: Value,
    /// Set for a write: where it stands in its shard's log, for WAIT.
    pub position: Option<Position>,
    /// Where that was asked for.
    pub sight: Option<Sight>,
    /// Of a write that was done in another datacenter for somebody who is promised to find it: what that has.
    pub elsewhere: Option<VersionVector>,
}

/// What a session has seen by an answer, without leaders.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sight {
    pub seen: Vec<(CellKey, VersionVector)>,
    /// Of these no replica knows any more what it had seen before.
    pub gone: Vec<CellKey>,
}

/// A read that a replica may answer.
#[derive(Clone, PartialEq, Debug)]
pub struct SessionRead {
    pub shard: ShardId,
    pub read: Read,
    pub floor: Floor,
    /// A leader must have been asked at this time or later how far the replica has to be.
    pub after: Option<Instant>,
    /// How long a replica may be waited for.
    pub wait: Duration,
    /// Reads with the same one go to the same replica.
    pub affinity: Option<u64>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct SessionAnswer {
    pub value: Value,
    pub by: By,
}

/// Who answered a session's read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    Leader,
    /// From the state at this position, with this floor under it.
    Replica {
        floor: Floor,
        position: Position,
    },
}
