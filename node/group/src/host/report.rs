//! What a host shows of itself.

use std::collections::BTreeMap;

use quorate_model::admin::{CatchUpPhase, Role};
use quorate_model::{GroupId, LogIndex, NodeId, Term};
use quorate_replication::single_leader::Configuration;

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Status {
    pub replicas: Vec<ReplicaStatus>,
    pub damaged: Option<String>,
    /// Bytes of log on the disk, and operations of the disk so far (for fsyncs per operation).
    pub log_bytes: u64,
    pub syncs: u64,
    pub requests_waiting: usize,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ReplicaStatus {
    pub group: GroupId,
    pub role: Role,
    pub term: Term,
    pub leader: Option<NodeId>,
    pub last: LogIndex,
    pub committed: LogIndex,
    pub applied: LogIndex,
    pub configuration: Configuration,
    /// On the leader.
    pub followers: BTreeMap<NodeId, Progress>,
    pub keys: u64,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Progress {
    pub matched: LogIndex,
    pub phase: CatchUpPhase,
    pub last_answer_ms: Option<u64>,
}
