//! What the operator reports of replication: failovers, changes of the in-sync set, catch-up, lost writes.
//!
//! Lists hold the newest first and are bounded. They are the operator's memory of what it has told already: an event
//! goes with an entry's first appearance, whatever restarts in between.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How one leader of a shard followed another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailoverStatus {
    pub shard: i32,
    /// Where every datacenter has a leader of the shard: in which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub datacenter: Option<String>,
    /// The new leader's term: with the shard it names this failover.
    pub term: i64,
    /// The pod that leads since.
    #[schemars(length(max = 253))]
    pub new_leader: String,
    /// The pod that led before, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub old_leader: Option<String>,
    pub old_term: i64,
    /// A switchover: the old leader asked for it.
    pub planned: bool,
    /// When the new leader gave the old one up. This and the next two are by the new leader's clock.
    pub detected: MicroTime,
    pub elected: MicroTime,
    /// Absent until a write was acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_acknowledged_write: Option<MicroTime>,
    /// From `detected` to `firstAcknowledgedWrite`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_ms: Option<i64>,
    /// Acknowledged writes that the failover took back: 0 except under durability Async, where the count is the old leader's to
    /// tell and absent until it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_writes: Option<i64>,
    /// The files that hold them, each as `pod/name`: `kubectl quorate rollback` lists, shows and replays them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 512)))]
    pub rollback_files: Vec<String>,
}

/// A change of a shard's in-sync set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SwapStatus {
    pub shard: i32,
    /// Where every datacenter has a leader of the shard: in which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub datacenter: Option<String>,
    /// The log index of the change: with the shard it names this change.
    pub index: i64,
    pub at: MicroTime,
    pub why: SwapWhy,
    /// The pods that left the set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)))]
    pub removed: Vec<String>,
    /// The pods that joined it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)))]
    pub added: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum SwapWhy {
    /// The declared durability, count or replicas changed.
    Declared,
    /// A new leader took office.
    Elected,
    /// A member left writes unacknowledged for longer than declared.
    Slow,
    /// A member stopped answering.
    Gone,
    /// A set that had shrunk has a follower again.
    Recovered,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum CatchUpPhase {
    /// The position from which to continue is being found.
    Probing,
    /// A snapshot is being streamed.
    Snapshot,
    /// The log is being followed, from far behind.
    Log,
}

/// A replica that is behind. Amounts are rounded, so that the status is not written for every byte.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CatchUpStatus {
    pub shard: i32,
    #[schemars(length(max = 253))]
    pub pod: String,
    pub phase: CatchUpPhase,
    /// Of a snapshot: what was sent, of how much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_sent: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<i64>,
    /// How long the rest of the snapshot takes at that rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_seconds: Option<i64>,
    /// Of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries_behind: Option<i64>,
    /// The pod that sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub source: Option<String>,
    /// It will not catch up unless less is written or it becomes faster.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub slower_than_writes: bool,
}

/// A file of writes that a failover took back, kept by a node until somebody deletes it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollbackStatus {
    #[schemars(length(max = 253))]
    pub pod: String,
    #[schemars(length(max = 253))]
    pub name: String,
    pub shard: i32,
    /// The term of the leader that had taken the writes.
    pub term: i64,
    pub writes: i64,
    /// The node led that term, so the file holds all of them.
    pub complete: bool,
}
