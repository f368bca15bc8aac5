//! What only a store of mode `SingleLeader` has: how much a write must survive, and where leaders should be.
//!
//! All of it can be changed on a running store; the guarantee holds at each step (`docs/operations.md`).

#![expect(unreachable_pub, reason = "the schema derive repeats each struct inside a function")]

use kube::KubeSchema;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::SessionsSpec;

/// When a write is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum Durability {
    /// When it is durable on the leader. A failover can lose acknowledged writes; they are then named and kept.
    Async,
    /// When it is durable on the leader and on the followers of its in-sync set.
    SemiSync,
    /// When it is durable on every replica of the shard.
    Sync,
    /// When it is durable on a majority of the shard's replicas.
    #[default]
    Quorum,
}

/// What happens when a member of the in-sync set is slow or gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum OnLoss {
    /// Another follower that has caught up takes its place; while there is none, writes wait.
    Replace,
    /// The same, but while there is none the set shrinks, down to the leader alone, and grows again later.
    Shrink,
    /// Writes wait until it is back.
    Block,
}

/// How a log entry describes a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum LogFormat {
    /// The command as sent, with the leader's time and random seed.
    Statement,
    /// The rows as they are afterwards.
    #[default]
    Logical,
    /// The storage engine's own batches. While it is declared, an image with another format of the engine is not rolled out further
    /// than to the first pod.
    Wal,
}

/// How the in-sync set is kept.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct InSyncSpec {
    /// How many followers beside the leader acknowledge a write under SemiSync (default 1). Sync takes all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 6))]
    pub count: Option<i32>,
    /// What happens when one of them is slow or gone. Default: Replace under SemiSync, Block under Sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_loss: Option<OnLoss>,
    /// A follower that leaves a write unacknowledged for this long is slow: 100ms to 1h (default 1s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^([0-9]+(ms|s|m|h))+$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('100ms') && duration(self) <= duration('1h')")
        .message("inSync.slowAfter must be between 100ms and 1h"))]
    pub slow_after: Option<String>,
}

/// Where leaders should be.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreferredLeaderSpec {
    /// The datacenter in which the leaders of all shards should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 30))]
    pub datacenter: Option<String>,
    /// The pod that should lead every shard of which it has a replica. It counts before the datacenter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub pod: Option<String>,
    /// Shards that are an exception to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["shard".to_owned()]))]
    pub shards: Vec<PreferredShardLeader>,
}

/// Where the leader of one shard should be.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.datacenter) || has(self.pod)")
    .message("an entry of spec.singleLeader.preferredLeader.shards says neither datacenter nor pod: name one, or remove the entry"))]
pub struct PreferredShardLeader {
    #[schemars(range(min = 0, max = 255))]
    pub shard: i32,
    /// The datacenter in which its leader should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 30))]
    pub datacenter: Option<String>,
    /// The pod that should lead it, when it has a replica. It counts before the datacenter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub pod: Option<String>,
}

/// What only a store of mode `SingleLeader` has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.replicas % 2 == 1")
    .message("spec.singleLeader.replicas must be odd, because leaders are elected by a majority and an even count survives no more failures than the odd one below: use 1, 3, 5 or 7")
    .field_path(".replicas"))]
#[x_kube(validation = Rule::new("!has(self.inSync) || self.durability == 'SemiSync' || self.durability == 'Sync'")
    .message("spec.singleLeader.inSync belongs to durability SemiSync and Sync: remove it or choose one of them")
    .field_path(".inSync"))]
#[x_kube(validation = Rule::new("self.durability != 'SemiSync' || (has(self.inSync) && has(self.inSync.count) ? self.inSync.count : 1) < self.replicas")
    .message("spec.singleLeader.inSync.count (1 when not given) is not below spec.singleLeader.replicas, and the leader is one of them: lower the count or raise replicas")
    .field_path(".inSync"))]
#[x_kube(validation = Rule::new("self.durability != 'Sync' || !has(self.inSync) || !has(self.inSync.count)")
    .message("spec.singleLeader.inSync.count belongs to durability SemiSync; Sync takes every replica: remove it")
    .field_path(".inSync"))]
#[x_kube(validation = Rule::new("self.durability != 'Sync' || !has(self.inSync) || !has(self.inSync.onLoss) || self.inSync.onLoss != 'Replace'")
    .message("spec.singleLeader.inSync.onLoss Replace has nobody to take under durability Sync, which counts every replica already: use Block or Shrink")
    .field_path(".inSync"))]
pub struct SingleLeaderSpec {
    /// When a write is acknowledged. Can be changed at any time.
    #[serde(default)]
    pub durability: Durability,
    /// How the in-sync set of SemiSync and Sync is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_sync: Option<InSyncSpec>,
    /// How many replicas each shard has, each on a node of its own.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 7))]
    pub replicas: i32,
    /// Where leaders should be when they can: a preference, never a reason to wait. Without it they are spread evenly.
    /// Changing it is a planned switchover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_leader: Option<PreferredLeaderSpec>,
    /// How log entries describe writes. Can be changed at any time.
    #[serde(default)]
    pub log_format: LogFormat,
    /// What connections get that ask for nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionsSpec>,
}

impl Default for SingleLeaderSpec {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            in_sync: None,
            replicas: default_replicas(),
            preferred_leader: None,
            log_format: LogFormat::default(),
            sessions: None,
        }
    }
}

const fn default_replicas() -> i32 {
    3
}
