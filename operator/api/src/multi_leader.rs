//! What only a store of mode `MultiLeader` has: a group of each shard in every datacenter, the links between them, and what concurrent
//! writes become.
//!
//! All of it can be changed on a running store (`docs/multi-leader.md`). Its log format is always Logical.

#![expect(unreachable_pub, reason = "the schema derive repeats each struct inside a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Durability, InSyncSpec, SessionsSpec};

/// Along which links changes go from datacenter to datacenter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum LinksType {
    /// Each takes from each what was written there.
    #[default]
    AllToAll,
    /// Each takes from the one before it in the ring what that has, the first from the last.
    Circular,
    /// The hub takes from each what was written there, and all others take from the hub what it has.
    Star,
}

/// What concurrent values of a key read as. All are kept until a write that has seen them takes their place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum Resolution {
    /// The highest write id: time, then origin.
    #[default]
    LastWriterWins,
    /// What comes from the first datacenter in `priority` that wrote; of the same, or of none of them, the last writer's.
    ReplicaPriority,
    /// All of them as one, as `merge` says.
    Merge,
    /// GET of several is an error that names VGET.
    Siblings,
    /// What `script` answers; where it answers nothing or fails, the last writer's.
    Custom,
}

/// How several values are one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum MergeRule {
    /// All of them in the order of their bytes, as `B/C`.
    #[default]
    Join,
    /// The greatest number; where one is none, as Join.
    Max,
    /// The least number; where one is none, as Join.
    Min,
    /// Each a list with commas; every element once, in the order of their bytes.
    Union,
}

/// What only a store of mode `MultiLeader` has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.replicas % 2 == 1")
    .message("spec.multiLeader.replicas must be odd, because each datacenter elects its leaders by a majority and an even count survives no more failures than the odd one below: use 1, 3, 5 or 7")
    .field_path(".replicas"))]
#[x_kube(validation = Rule::new("!has(self.inSync) || self.durability == 'SemiSync' || self.durability == 'Sync'")
    .message("spec.multiLeader.inSync belongs to durability SemiSync and Sync: remove it or choose one of them")
    .field_path(".inSync"))]
#[x_kube(validation = Rule::new("self.durability != 'SemiSync' || (has(self.inSync) && has(self.inSync.count) ? self.inSync.count : 1) < self.replicas")
    .message("spec.multiLeader.inSync.count (1 when not given) is not below spec.multiLeader.replicas, and the leader is one of them: lower the count or raise replicas")
    .field_path(".inSync"))]
#[x_kube(validation = Rule::new("self.durability != 'Sync' || !has(self.inSync) || !has(self.inSync.count)")
    .message("spec.multiLeader.inSync.count belongs to durability SemiSync; Sync takes every replica of the datacenter: remove it")
    .field_path(".inSync"))]
#[x_kube(validation = Rule::new("self.durability != 'Sync' || !has(self.inSync) || !has(self.inSync.onLoss) || self.inSync.onLoss != 'Replace'")
    .message("spec.multiLeader.inSync.onLoss Replace has nobody to take under durability Sync, which counts every replica already: use Block or Shrink")
    .field_path(".inSync"))]
pub struct MultiLeaderSpec {
    /// How many replicas each shard has in every datacenter, each on a node of its own.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 7))]
    pub replicas: i32,
    /// When a write is acknowledged, by the replicas of the datacenter that takes it. No other datacenter is waited for.
    #[serde(default)]
    pub durability: Durability,
    /// How the in-sync set of SemiSync and Sync is kept, in each datacenter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_sync: Option<InSyncSpec>,
    /// Along which links changes go from datacenter to datacenter.
    #[serde(default)]
    pub links: LinksSpec,
    /// Changes go around a datacenter that does not answer. Without it a ring or star is interrupted until it does.
    #[serde(default = "default_reroute")]
    pub reroute: bool,
    /// What concurrent values of a key read as.
    #[serde(default)]
    pub conflicts: ConflictsSpec,
    /// Which keys one datacenter alone writes.
    #[serde(default, skip_serializing_if = "HomesSpec::is_empty")]
    pub homes: HomesSpec,
    /// What connections get that ask for nothing else, within their datacenter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionsSpec>,
}

/// The links between datacenters.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.type == 'Star') == has(self.hub)")
    .message("spec.multiLeader.links.hub goes with type Star and with no other: name the datacenter in the middle, or remove it")
    .field_path(".hub"))]
#[x_kube(validation = Rule::new("!has(self.ring) || self.type == 'Circular'")
    .message("spec.multiLeader.links.ring belongs to type Circular: remove it or set the type")
    .field_path(".ring"))]
pub struct LinksSpec {
    #[serde(default, rename = "type")]
    pub kind: LinksType,
    /// The order of the datacenters under Circular: each takes from the one before it. Without it: as in spec.datacenters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 30)))]
    pub ring: Option<Vec<String>>,
    /// The datacenter in the middle under Star.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 30))]
    pub hub: Option<String>,
}

/// What concurrent values read as.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.resolution == 'ReplicaPriority') == has(self.priority)")
    .message("spec.multiLeader.conflicts.priority goes with resolution ReplicaPriority and with no other: list datacenters, or remove it")
    .field_path(".priority"))]
#[x_kube(validation = Rule::new("!has(self.merge) || self.resolution == 'Merge'")
    .message("spec.multiLeader.conflicts.merge belongs to resolution Merge: remove it or set the resolution")
    .field_path(".merge"))]
#[x_kube(validation = Rule::new("(self.resolution == 'Custom') == has(self.script)")
    .message("spec.multiLeader.conflicts.script goes with resolution Custom and with no other: write one, or remove it")
    .field_path(".script"))]
pub struct ConflictsSpec {
    /// Of keys that no pattern in `keys` matches.
    #[serde(default)]
    pub resolution: Resolution,
    /// The datacenters whose values count, the first before the second, under ReplicaPriority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 30)))]
    pub priority: Option<Vec<String>>,
    /// How values are one under Merge (default Join).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<MergeRule>,
    /// What makes one value of several under Custom, in Rhai: a function of `key` and `siblings`, see docs/multi-leader.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8192))]
    pub script: Option<String>,
    /// Of keys that match a pattern; the first that does counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub keys: Vec<KeyConflictsSpec>,
}

/// What concurrent values of some keys read as.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.resolution == 'ReplicaPriority') == has(self.priority)")
    .message("priority in an entry of spec.multiLeader.conflicts.keys goes with resolution ReplicaPriority and with no other: list datacenters, or remove it")
    .field_path(".priority"))]
#[x_kube(validation = Rule::new("!has(self.merge) || self.resolution == 'Merge'")
    .message("merge in an entry of spec.multiLeader.conflicts.keys belongs to resolution Merge: remove it or set the resolution")
    .field_path(".merge"))]
#[x_kube(validation = Rule::new("(self.resolution == 'Custom') == has(self.script)")
    .message("script in an entry of spec.multiLeader.conflicts.keys goes with resolution Custom and with no other: write one, or remove it")
    .field_path(".script"))]
pub struct KeyConflictsSpec {
    /// As of KEYS: `cart:*`.
    #[schemars(length(min = 1, max = 256))]
    pub pattern: String,
    pub resolution: Resolution,
    /// The datacenters whose values count, the first before the second, under ReplicaPriority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 30)))]
    pub priority: Option<Vec<String>>,
    /// How values are one under Merge (default Join).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<MergeRule>,
    /// What makes one value of several under Custom, in Rhai: a function of `key` and `siblings`, see docs/multi-leader.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8192))]
    pub script: Option<String>,
}

/// What becomes of a write of a key whose home does not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum HomeUnreachable {
    /// It is refused.
    #[default]
    Reject,
    /// The datacenter that was asked takes it: it may conflict.
    Accept,
}

/// Keys that one datacenter alone writes, so that no two writes of them conflict: what comes elsewhere is forwarded.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HomesSpec {
    /// Of keys that match a pattern; the first that does counts. A key of these may have a home of its own (HOME).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub keys: Vec<KeyHomeSpec>,
    #[serde(default)]
    pub unreachable: HomeUnreachable,
    /// Whose homes are to be elsewhere, all of them, while it stands here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub evacuate: Vec<EvacuateSpec>,
}

/// Where some keys have their home. A change moves it: who has it hands it over with all that it wrote.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyHomeSpec {
    /// As of KEYS: `user:*`.
    #[schemars(length(min = 1, max = 256))]
    pub pattern: String,
    #[schemars(length(min = 1, max = 30))]
    pub datacenter: String,
}

/// A datacenter that is to have no homes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.from != self.to")
    .message("spec.multiLeader.homes.evacuate moves homes from a datacenter to itself: name another one")
    .field_path(".to"))]
pub struct EvacuateSpec {
    #[schemars(length(min = 1, max = 30))]
    pub from: String,
    #[schemars(length(min = 1, max = 30))]
    pub to: String,
}

impl HomesSpec {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for MultiLeaderSpec {
    fn default() -> Self {
        Self {
            replicas: default_replicas(),
            durability: Durability::default(),
            in_sync: None,
            links: LinksSpec::default(),
            reroute: default_reroute(),
            conflicts: ConflictsSpec::default(),
            homes: HomesSpec::default(),
            sessions: None,
        }
    }
}

const fn default_replicas() -> i32 {
    3
}

const fn default_reroute() -> bool {
    true
}
