//! What can be wrong with a resource.

use std::time::Duration;

use quorate_api::ReplicationMode;
use quorate_model::{Datacenter, Level, LevelError};

/// What is wrong with a resource: the field, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("{field} is missing: the API server always sets it")]
    Metadata { field: &'static str },
    #[error(
        "metadata.name {name:?} must be a DNS label that begins with a letter: use a-z, 0-9 and '-'"
    )]
    StoreName { name: String },
    #[error("metadata.uid {uid:?} is not a uid")]
    Uid { uid: String },
    #[error("spec.datacenters is empty: list at least one datacenter")]
    NoDatacenter,
    #[error("spec.datacenters[{index}].name {name:?} is not a DNS label: use a-z, 0-9 and '-'")]
    DatacenterName { index: usize, name: String },
    #[error(
        "metadata.name and spec.datacenters[{index}].name are together over 50 characters: shorten one of them"
    )]
    NamesTooLong { index: usize },
    #[error("two of spec.datacenters are called {name}: give each its own name")]
    DuplicateDatacenter { name: Datacenter },
    #[error("spec.datacenters[{index}].zones lists {zone} twice: list each zone once")]
    DuplicateZone { index: usize, zone: String },
    #[error(
        "spec.nodes is {nodes}, below the {replicas} replicas of {field}: raise spec.nodes or lower the replicas"
    )]
    FewerNodesThanReplicas { field: &'static str, nodes: i32, replicas: i32 },
    #[error(
        "spec.nodes is {nodes}, which does not fit spec.datacenters (pinned and at least one each: {needed}): make them agree"
    )]
    NodesDoNotFit { nodes: i32, needed: i32 },
    #[error(
        "spec.datacenters[].name {name} gets {nodes} nodes, below the {replicas} replicas that {field} puts there: raise spec.nodes or lower the replicas"
    )]
    FewerNodesInDatacenter { name: Datacenter, nodes: i32, replicas: i32, field: &'static str },
    #[error("{field} is {replicas}: use 1, 3, 5 or 7")]
    Replicas { field: &'static str, replicas: i32 },
    #[error("spec.leaderless.replicas is {replicas}: use 1 to 7")]
    LeaderlessReplicas { replicas: i32 },
    #[error("{field} {source}")]
    Level { field: &'static str, source: LevelError },
    #[error(
        "{field} is {count}, above the {replicas} replicas of spec.leaderless.replicas: lower it or raise the replicas"
    )]
    LevelAboveReplicas { field: &'static str, count: u16, replicas: usize },
    #[error(
        "spec.leaderless.read {read} is a level of writes: nodes that stand in for replicas are not read"
    )]
    ReadsNoStandIn { read: Level },
    #[error(
        "spec.leaderless.write {write} needs nodes that stand in for replicas: set spec.leaderless.hints"
    )]
    NoHints { write: Level },
    #[error(
        "spec.leaderless.hints belong to datacenters Global: with Local a datacenter goes on by its own replicas; remove hints"
    )]
    LocalHints,
    #[error(
        "spec.leaderless.write {write} and read {read} need not meet in any of {replicas} replicas (w + r <= n), so that reads may miss acknowledged writes: raise one of them, or accept it with spec.leaderless.allowWeakQuorums: true"
    )]
    WeakQuorums { write: Level, read: Level, replicas: i32 },
    #[error("{field} belongs to another mode than {mode:?}: remove it")]
    OtherMode { field: &'static str, mode: ReplicationMode },
    #[error(
        "spec.singleLeader.preferredLeader names datacenter {name:?}, which is not one of spec.datacenters: name one of them or leave it out"
    )]
    PreferredDatacenter { name: String },
    #[error(
        "spec.singleLeader.preferredLeader names pod {name:?}, which is not one of the store's: name one of status.nodes or leave it out"
    )]
    PreferredPod { name: String },
    #[error(
        "spec.singleLeader.preferredLeader.shards names shard {shard} twice or beyond spec.shards: correct or remove it"
    )]
    PreferredShard { shard: i32 },
    #[error("{field} names {name:?}, which is not one of spec.datacenters: name one of them")]
    NoSuchDatacenter { field: &'static str, name: String },
    #[error("{field}{problem}")]
    Policy { field: String, problem: &'static str },
    #[error("{field}.script cannot be read: {problem}: correct it")]
    Script { field: String, problem: quorate_script::Error },
    #[error("{field} is {text:?}: use a span of {min:?} to {max:?}, such as 500ms or 1m30s")]
    Span { field: String, text: String, min: Duration, max: Duration },
    #[error("spec.shards is {shards}: use 1 to 256")]
    Shards { shards: i32 },
    #[error(
        "spec.shards is {shards} and there are {datacenters} of spec.datacenters, above 1024 groups together: lower one of them"
    )]
    Groups { shards: i32, datacenters: usize },
    #[error("spec.shards is {shards}, but the store was created with {actual}: set it back")]
    ShardsChanged { shards: i32, actual: usize },
    #[error("spec.storage.size {size:?} is not a quantity of at least 64Mi: use one such as 10Gi")]
    StorageSize { size: String },
    #[error(
        "annotation {key} is {value:?}, which is not a node's id: use the 32 hexadecimal digits of status.nodes[].id"
    )]
    ReplaceNode { key: &'static str, value: String },
}
