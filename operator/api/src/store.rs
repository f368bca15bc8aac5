//! The root of the resource: its spec, its rules across fields, its columns and its scale.

#![expect(unreachable_pub, reason = "the schema derive repeats each struct inside a function")]

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{
    DatacenterSpec, LeaderlessSpec, LogLevel, MultiLeaderSpec, PodSpec, ReplicatedStoreStatus,
    ReplicationMode, Resources, SingleLeaderSpec, StorageSpec,
};

/// What a user asks for.
///
/// `kubectl scale` and autoscalers change `spec.nodes`, the number of nodes of the whole store.
#[derive(CustomResource, Clone, PartialEq, Debug, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "quorate.dev",
    version = "v1alpha1",
    kind = "ReplicatedStore",
    plural = "replicatedstores",
    shortname = "rstore",
    category = "all",
    namespaced,
    doc = "A replicated key-value store: a set of nodes over one or more datacenters that Redis clients talk to.",
    status = "ReplicatedStoreStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.nodes",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".spec.nodes", description = "Nodes asked for"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready", description = "Nodes that serve and are caught up, of those asked for"),
    printcolumn(name = "Shards", type_ = "string", json_path = ".status.shardsHealthy", description = "Shards with a leader, where the mode has one, and every replica caught up, of all"),
    printcolumn(name = "Durability", type_ = "string", json_path = ".status.durability", description = "When writes are acknowledged, as all shards keep it"),
    printcolumn(name = "Quorums", type_ = "string", json_path = ".status.quorums", description = "Of a leaderless store: how many of how many replicas hold a write and answer a read"),
    printcolumn(name = "Leaders", type_ = "string", json_path = ".status.leaderDatacenters", description = "Where the shards' leaders are"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be a DNS label that begins with a letter, because Services are named after it: use a-z, 0-9 and '-'"),
    validation = Rule::new("self.spec.datacenters.all(d, size(self.metadata.name) + size(d.name) <= 50)")
        .message("metadata.name and a name in spec.datacenters are together over 50 characters, too long for the names of pods: shorten one of them")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.mode != 'SingleLeader' || self.nodes >= (has(self.singleLeader) ? self.singleLeader.replicas : 3)")
    .message("spec.nodes is below spec.singleLeader.replicas (3 when not given), and every replica of a shard needs a node of its own: raise spec.nodes or lower spec.singleLeader.replicas")
    .field_path(".nodes"))]
#[x_kube(validation = Rule::new("self.mode != 'Leaderless' || self.nodes >= (has(self.leaderless) ? self.leaderless.replicas : 3)")
    .message("spec.nodes is below spec.leaderless.replicas (3 when not given), and every replica of a shard needs a node of its own: raise spec.nodes or lower spec.leaderless.replicas")
    .field_path(".nodes"))]
#[x_kube(validation = Rule::new("self.nodes >= size(self.datacenters)")
    .message("spec.nodes is below the number of spec.datacenters, and each needs at least one node: raise spec.nodes or remove a datacenter")
    .field_path(".nodes"))]
#[x_kube(validation = Rule::new("self.datacenters.map(d, has(d.nodes) ? d.nodes : 1).sum() <= self.nodes")
    .message("the nodes pinned in spec.datacenters[].nodes (and one for each other datacenter) are more than spec.nodes: raise spec.nodes or lower a pin")
    .field_path(".datacenters"))]
#[x_kube(validation = Rule::new("self.datacenters.exists(d, !has(d.nodes)) || self.datacenters.map(d, has(d.nodes) ? d.nodes : 1).sum() == self.nodes")
    .message("spec.nodes is not the sum of spec.datacenters[].nodes, which pin every datacenter: make them agree or leave nodes out of a datacenter")
    .field_path(".nodes"))]
#[x_kube(validation = Rule::new("self.datacenters.all(d, self.datacenters.exists_one(e, e.name == d.name))")
    .message("two of spec.datacenters have one name: give each its own")
    .field_path(".datacenters"))]
#[x_kube(validation = Rule::new("!has(self.singleLeader) || !has(self.singleLeader.preferredLeader) || !has(self.singleLeader.preferredLeader.datacenter) || self.datacenters.exists(d, d.name == self.singleLeader.preferredLeader.datacenter)")
    .message("spec.singleLeader.preferredLeader.datacenter is not one of spec.datacenters: name one of them or leave it out")
    .field_path(".singleLeader"))]
#[x_kube(validation = Rule::new("!has(self.singleLeader) || !has(self.singleLeader.preferredLeader) || !has(self.singleLeader.preferredLeader.shards) || self.singleLeader.preferredLeader.shards.all(s, s.shard < self.shards)")
    .message("spec.singleLeader.preferredLeader.shards names a shard that is not below spec.shards: correct its number or remove the entry")
    .field_path(".singleLeader"))]
#[x_kube(validation = Rule::new("self.mode == 'SingleLeader' || !has(self.singleLeader)")
    .message("spec.singleLeader belongs to mode SingleLeader: remove it or set spec.mode to SingleLeader")
    .field_path(".singleLeader"))]
#[x_kube(validation = Rule::new("self.mode == 'MultiLeader' || !has(self.multiLeader)")
    .message("spec.multiLeader belongs to mode MultiLeader: remove it or set spec.mode to MultiLeader")
    .field_path(".multiLeader"))]
#[x_kube(validation = Rule::new("self.mode != 'MultiLeader' || (self.datacenters.all(d, !has(d.nodes) || d.nodes >= (has(self.multiLeader) ? self.multiLeader.replicas : 3)) && (self.datacenters.all(d, has(d.nodes)) || (self.nodes - self.datacenters.map(d, has(d.nodes) ? d.nodes : 0).sum()) / self.datacenters.map(d, has(d.nodes) ? 0 : 1).sum() >= (has(self.multiLeader) ? self.multiLeader.replicas : 3)))")
    .message("spec.multiLeader.replicas (3 when not given) are in every datacenter, and one has fewer nodes: raise spec.nodes or lower the replicas")
    .field_path(".nodes"))]
#[x_kube(validation = Rule::new("self.mode != 'MultiLeader' || self.shards * size(self.datacenters) <= 1024")
    .message("spec.shards times the number of spec.datacenters is above 1024 groups: lower one of them")
    .field_path(".datacenters"))]
#[x_kube(validation = Rule::new("!has(self.multiLeader) || !has(self.multiLeader.links.hub) || self.datacenters.exists(d, d.name == self.multiLeader.links.hub)")
    .message("spec.multiLeader.links.hub is not one of spec.datacenters: name one of them")
    .field_path(".multiLeader"))]
#[x_kube(validation = Rule::new("!has(self.multiLeader) || !has(self.multiLeader.links.ring) || (size(self.multiLeader.links.ring) == size(self.datacenters) && self.datacenters.all(d, d.name in self.multiLeader.links.ring))")
    .message("spec.multiLeader.links.ring does not name each of spec.datacenters once: list all of them in order, or leave it out for the order of spec.datacenters")
    .field_path(".multiLeader"))]
#[x_kube(validation = Rule::new("!has(self.multiLeader) || !has(self.multiLeader.conflicts.priority) || self.multiLeader.conflicts.priority.all(p, self.datacenters.exists(d, d.name == p))")
    .message("spec.multiLeader.conflicts.priority names what is not one of spec.datacenters: correct or remove it")
    .field_path(".multiLeader"))]
#[x_kube(validation = Rule::new("!has(self.multiLeader) || !has(self.multiLeader.conflicts.keys) || self.multiLeader.conflicts.keys.all(k, !has(k.priority) || k.priority.all(p, self.datacenters.exists(d, d.name == p)))")
    .message("priority in an entry of spec.multiLeader.conflicts.keys names what is not one of spec.datacenters: correct or remove it")
    .field_path(".multiLeader"))]
#[x_kube(validation = Rule::new("self.mode == 'Leaderless' || !has(self.leaderless)")
    .message("spec.leaderless belongs to mode Leaderless: remove it or set spec.mode to Leaderless")
    .field_path(".leaderless"))]
// Levels are counted by a map: the API server knows no bound for a level's text and finds what walks through it too expensive.
#[x_kube(validation = Rule::new("self.mode != 'Leaderless' || !has(self.leaderless) || self.leaderless.allowWeakQuorums || [[self.leaderless.write, self.leaderless.read], [self.leaderless.read, self.leaderless.write]].exists(l, l[0] == 'EACH_QUORUM' && l[1] in ['EACH_QUORUM', 'QUORUM', 'LOCAL_QUORUM', 'ALL']) || [{'ONE': 1, 'LOCAL_ONE': 1, 'SLOPPY_QUORUM': 0, 'ANY': 0, '1': 1, '2': 2, '3': 3, '4': 4, '5': 5, '6': 6, '7': 7, 'ALL': self.leaderless.replicas, 'QUORUM': self.leaderless.replicas / 2 + 1, 'EACH_QUORUM': self.leaderless.replicas / 2 + 1, 'LOCAL_QUORUM': size(self.datacenters) == 1 || self.leaderless.datacenters == 'Local' ? self.leaderless.replicas / 2 + 1 : 1}].all(counts, counts[string(self.leaderless.write)] + counts[string(self.leaderless.read)] > self.leaderless.replicas)")
    .message("spec.leaderless.write and read need not meet in any replica (w + r <= n; LOCAL levels count as 1 where there are several datacenters and spec.leaderless.datacenters is Global), so that reads may miss acknowledged writes: raise one of them, or accept it with spec.leaderless.allowWeakQuorums: true")
    .field_path(".leaderless"))]
#[x_kube(validation = Rule::new("self.mode != 'Leaderless' || !has(self.leaderless) || self.leaderless.datacenters != 'Local' || (self.datacenters.all(d, !has(d.nodes) || d.nodes >= self.leaderless.replicas) && (self.datacenters.all(d, has(d.nodes)) || (self.nodes - self.datacenters.map(d, has(d.nodes) ? d.nodes : 0).sum()) / self.datacenters.map(d, has(d.nodes) ? 0 : 1).sum() >= self.leaderless.replicas))")
    .message("spec.leaderless.datacenters Local puts spec.leaderless.replicas into every datacenter, and one has fewer nodes: raise spec.nodes or lower the replicas")
    .field_path(".nodes"))]
#[x_kube(validation = Rule::new("oldSelf.mode != 'Leaderless' || (has(self.leaderless) ? self.leaderless.datacenters : 'Global') == (has(oldSelf.leaderless) ? oldSelf.leaderless.datacenters : 'Global')")
    .message("spec.leaderless.datacenters cannot change: create a store with the other value and copy the data")
    .field_path(".leaderless"))]
pub struct ReplicatedStoreSpec {
    /// How writes are replicated.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.mode cannot change: create a store of the other mode and copy the data"))]
    pub mode: ReplicationMode,
    /// What only mode SingleLeader has. Without it: durability Quorum, 3 replicas, log format Logical.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_leader: Option<SingleLeaderSpec>,
    /// What only mode Leaderless has. Without it: 3 replicas, levels QUORUM, and the last writer wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaderless: Option<LeaderlessSpec>,
    /// What only mode MultiLeader has. Without it: 3 replicas in every datacenter, durability Quorum, links from each to each, and the
    /// last writer wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi_leader: Option<MultiLeaderSpec>,
    /// How many nodes the store has, shared evenly by the datacenters (the first ones listed get the remainder).
    #[serde(default = "default_nodes")]
    #[schemars(range(min = 1, max = 64))]
    pub nodes: i32,
    /// Where nodes run. Each datacenter is a failure domain over which the replicas of a shard are spread first; under MultiLeader each
    /// has its own.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub datacenters: Vec<DatacenterSpec>,
    /// Into how many shards the keyspace is split. Of a store with leaders each has one, so more shards use more nodes for writes.
    #[serde(default = "default_shards")]
    #[schemars(range(min = 1, max = 256))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.shards cannot change after creation: create a store with the other count and copy the data"))]
    pub shards: i32,
    /// The volume of each node.
    #[serde(default)]
    pub storage: StorageSpec,
    /// The image of the nodes. The default is filled in at creation and stays: upgrading the operator restarts nothing.
    #[serde(default = "default_image")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^\S+$"))]
    pub image: String,
    /// What each node's container asks for and is held to.
    #[serde(default)]
    pub resources: Resources,
    /// What is added to every pod.
    #[serde(default)]
    pub pod: PodSpec,
    /// How much nodes log. A change restarts them one by one.
    #[serde(default)]
    pub log_level: LogLevel,
    /// The operator leaves the store alone. Failover goes on, for it never needs the operator.
    #[serde(default)]
    pub paused: bool,
    /// Keep a PodDisruptionBudget that lets one node at a time be evicted (none for a store of one node).
    #[serde(default = "default_enable_pdb", rename = "enablePDB")]
    pub enable_pdb: bool,
}

const fn default_nodes() -> i32 {
    3
}

const fn default_shards() -> i32 {
    3
}

fn default_image() -> String {
    concat!("quorate/node:", env!("CARGO_PKG_VERSION")).to_owned()
}

const fn default_enable_pdb() -> bool {
    true
}
