//! What the operator reports. Nothing in it changes by itself: a reconcile that finds nothing new writes nothing.

mod exchange;
mod replication;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use quorate_model::{NodeId, StoreId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Durability, LogFormat};
pub use exchange::{ConflictsStatus, LinkStatus};
pub use replication::{
    CatchUpPhase, CatchUpStatus, FailoverStatus, RollbackStatus, SwapStatus, SwapWhy,
};

/// What the operator last saw and did.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicatedStoreStatus {
    /// The generation of the spec that the rest of the status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The state in one word, for people. Programs read the conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// What is going on or being waited for, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// Nodes that serve and are caught up, of those asked for, such as 3/3.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub ready: Option<String>,
    /// Shards with a leader, where the mode has one, and every replica caught up, of all, such as 3/3.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub shards_healthy: Option<String>,
    /// The datacenters that hold leaders, the one with most first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 600))]
    pub leader_datacenters: Option<String>,
    /// The durability that every shard keeps. Absent while they differ, on the way from one to another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// Of a leaderless store, the levels in force: how many of how many replicas hold a write and answer a read, such as
    /// `w=QUORUM r=ONE n=3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub quorums: Option<String>,
    /// The log format that every shard's leader writes. Absent while they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
    /// Why a shard's leader writes another log format than the declared one: nodes whose storage engines differ, say.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 600))]
    pub log_format_held_back: Option<String>,
    /// The pods that exist: the scale subresource reads it.
    pub replicas: i32,
    /// The labels of the pods: the scale subresource reads it.
    #[schemars(length(max = 256))]
    pub selector: String,
    /// The newest version of the topology that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// With which node the store began. Written before that node is told, and never changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<BootstrapStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<ServicesStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub nodes: Vec<NodeStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub shards: Vec<ShardStatus>,
    /// Of a store with a leader in every datacenter: what each takes from which others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 240))]
    pub links: Vec<LinkStatus>,
    /// Of such a store: concurrent writes that each datacenter has seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conflicts: Vec<ConflictsStatus>,
    /// The last failovers and switchovers of all shards, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub failovers: Vec<FailoverStatus>,
    /// The last changes of in-sync sets, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub swaps: Vec<SwapStatus>,
    /// The replicas that are behind, and how far they have come.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub catch_up: Vec<CatchUpStatus>,
    /// The files of writes that failovers took back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub rollbacks: Vec<RollbackStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The state of the store in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// The resource cannot be carried out as it is written.
    Invalid,
    Paused,
    /// Nodes are being started; the store does not exist yet.
    Creating,
    /// Everything is as asked for.
    Ready,
    /// Serving, on the way to what is asked for.
    Updating,
    /// Serving, with less than the asked for redundancy.
    Degraded,
    /// At least one shard does not serve.
    Unavailable,
    /// Too little could be reached to say.
    Unknown,
}

/// With which node the store began.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootstrapStatus {
    #[schemars(with = "String", length(max = 36))]
    pub store_id: StoreId,
    #[schemars(with = "String", length(max = 36))]
    pub node: NodeId,
    #[schemars(length(max = 253))]
    pub pod: String,
}

/// The Services through which clients reach the store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServicesStatus {
    /// Nodes that lead: writes take the shortest way.
    #[schemars(length(max = 63))]
    pub read_write: String,
    /// Nodes that follow.
    #[schemars(length(max = 63))]
    pub read_only: String,
    /// Every node that serves.
    #[schemars(length(max = 63))]
    pub read: String,
    /// Names for each node.
    #[schemars(length(max = 63))]
    pub headless: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum NodeState {
    /// The pod does not run yet.
    Pending,
    /// The pod should run and the operator cannot reach it: neither up nor down.
    Unknown,
    /// Runs, is not a member yet.
    Joining,
    /// A member of which a replica is behind.
    CatchingUp,
    /// A member that does not serve clients, for a reason that its message gives.
    NotServing,
    /// Serves, and every replica on it is caught up.
    CaughtUp,
    /// Its replicas are being moved away.
    Leaving,
    /// Its volume is gone: another identity has come back under its name.
    Lost,
    /// Its log has a hole or a bad record.
    Corrupt,
    /// A replica on it differs from its leader's and is being rebuilt.
    Quarantined,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The pod.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The identity on its volume, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 36))]
    pub id: Option<NodeId>,
    #[schemars(length(max = 63))]
    pub datacenter: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub zone: Option<String>,
    pub state: NodeState,
    /// Why it is not caught up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub message: Option<String>,
    /// What it holds for replicas on other nodes that did not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub hints: Vec<HintsStatus>,
    /// Other datacenters that are a second or more behind what it coordinated, where datacenters are Local.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub behind: Vec<BehindStatus>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BehindStatus {
    #[schemars(length(max = 63))]
    pub datacenter: String,
    pub seconds: i64,
    /// Too much waited, or the node began lately: replicas are compared to find what is to be told.
    pub compared: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HintsStatus {
    /// The pod that is to have it, or the identity of a node that has none.
    #[schemars(length(max = 253))]
    pub target: String,
    pub count: i64,
    pub bytes: i64,
    pub oldest_seconds: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum ShardHealth {
    /// A leader, where the mode has one, and every replica caught up where it should be.
    Healthy,
    /// A replica is on its way to another node.
    Moving,
    /// It serves, but a replica is missing or behind.
    Degraded,
    /// No leader with a majority was seen; without leaders, too few replicas for the levels in force.
    Unavailable,
    /// Too little could be reached to say.
    Unknown,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardStatus {
    pub shard: i32,
    /// Where every datacenter has a leader of the shard: whose this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub datacenter: Option<String>,
    pub health: ShardHealth,
    /// The pod that led in the newest term that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub leader: Option<String>,
    /// The newest term in which a leader was seen. Labels never go back behind it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub term: i64,
    /// The pods that vote; of a leaderless store, those that have or should have a replica.
    #[schemars(length(max = 16), inner(length(max = 253)))]
    pub voters: Vec<String>,
    /// The durability that the shard keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// The pods of its in-sync set, under SemiSync and Sync.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)))]
    pub in_sync: Vec<String>,
    /// Of a leaderless store: the pods whose replica is being filled and counts for nothing until it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)))]
    pub filling: Vec<String>,
    /// Of a leaderless store: the pods that the shard is leaving. Until it has, writes count in the old and the new set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)))]
    pub leaving: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(term: &i64) -> bool {
    *term == 0
}
