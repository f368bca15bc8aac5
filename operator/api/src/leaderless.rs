//! What only a store of mode `Leaderless` has: how many replicas answer a read or a write, and what becomes of concurrent writes.
//!
//! All of it can be changed on a running store (`docs/leaderless.md`).

#![expect(unreachable_pub, reason = "the schema derive repeats each struct inside a function")]

use std::borrow::Cow;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::text_or_number;

/// How a plain GET and SET treat concurrent values of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum Conflicts {
    /// The highest write id wins; the others are discarded, and counted.
    #[default]
    LastWriterWins,
    /// All values are kept and read as one, joined in order.
    Merge,
    /// All values are kept; GET of several is an error that names VGET.
    Siblings,
}

/// How the replicas of a store with several datacenters belong together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum Spread {
    /// Each shard has its replicas over all datacenters, and every write goes to all of them at once.
    #[default]
    Global,
    /// Each shard has so many replicas in every datacenter. Levels count within the one that a client is in; the others get its
    /// writes afterwards.
    Local,
}

/// How many replicas must answer: a number, or ONE, QUORUM, ALL, LOCAL_ONE, LOCAL_QUORUM or EACH_QUORUM; for writes of a store with
/// hints also SLOPPY_QUORUM or ANY. Held and written as the string.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct Level(pub String);

/// What only a store of mode `Leaderless` has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!string(self.write).matches('^[0-9]+$') || int(string(self.write)) <= self.replicas")
    .message("spec.leaderless.write is above spec.leaderless.replicas, and no write could ever be acknowledged: lower it or raise replicas")
    .field_path(".write"))]
#[x_kube(validation = Rule::new("!string(self.read).matches('^[0-9]+$') || int(string(self.read)) <= self.replicas")
    .message("spec.leaderless.read is above spec.leaderless.replicas, and no read could ever be answered: lower it or raise replicas")
    .field_path(".read"))]
#[x_kube(validation = Rule::new("!(string(self.read) in ['SLOPPY_QUORUM', 'ANY'])")
    .message("spec.leaderless.read SLOPPY_QUORUM and ANY are levels of writes: nodes that stand in for replicas are not read")
    .field_path(".read"))]
#[x_kube(validation = Rule::new("!(string(self.write) in ['SLOPPY_QUORUM', 'ANY']) || has(self.hints)")
    .message("spec.leaderless.write SLOPPY_QUORUM and ANY need nodes that stand in for replicas: set spec.leaderless.hints")
    .field_path(".write"))]
#[x_kube(validation = Rule::new("!has(self.hints) || self.datacenters != 'Local'")
    .message("spec.leaderless.hints belong to datacenters Global: with Local a datacenter goes on by its own replicas; remove hints")
    .field_path(".hints"))]
pub struct LeaderlessSpec {
    /// How many replicas each shard has (n), each on a node of its own; with `datacenters: Local`, in each datacenter.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 7))]
    pub replicas: i32,
    /// How many of them must answer a read (r), unless the connection asks for something else with QUORUM.
    #[serde(default)]
    pub read: Level,
    /// How many of them must hold a write durably before it is acknowledged (w), unless the connection asks for something else.
    #[serde(default)]
    pub write: Level,
    /// What becomes of values that were written without knowing of each other.
    #[serde(default)]
    pub conflicts: Conflicts,
    /// Consent to read and write levels that need not meet in any replica (w + r <= n): a read may then miss acknowledged writes.
    #[serde(default)]
    pub allow_weak_quorums: bool,
    /// Whether replicas and levels are counted over all datacenters, or within each.
    #[serde(default)]
    pub datacenters: Spread,
    /// Nodes without a replica of a key stand in for replicas that do not answer, for writes at SLOPPY_QUORUM and ANY; they give what
    /// they took to the replica when it answers again. Without it nobody does. Taken away, what is held is still given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hints: Option<HintsSpec>,
}

/// What nodes that stand in for replicas hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HintsSpec {
    /// How long they keep a write for a replica that does not answer. After that it is enough that another replica has it.
    #[serde(default = "default_window_seconds")]
    #[schemars(range(min = 1, max = 2_592_000))]
    pub window_seconds: i64,
    /// How much each node holds for all others; beyond it, it does not stand in. Divided evenly among the shards.
    #[serde(default = "default_max_megabytes")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub max_megabytes: i64,
}

impl Default for LeaderlessSpec {
    fn default() -> Self {
        Self {
            replicas: default_replicas(),
            read: Level::default(),
            write: Level::default(),
            conflicts: Conflicts::default(),
            allow_weak_quorums: false,
            datacenters: Spread::default(),
            hints: None,
        }
    }
}

const fn default_window_seconds() -> i64 {
    10_800
}

const fn default_max_megabytes() -> i64 {
    256
}

const fn default_replicas() -> i32 {
    3
}

impl Default for Level {
    fn default() -> Self {
        Self("QUORUM".to_owned())
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text_or_number::deserialize(from, "a level such as QUORUM or 2").map(Self)
    }
}

impl JsonSchema for Level {
    fn schema_name() -> Cow<'static, str> {
        "Level".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": "^(ONE|QUORUM|ALL|LOCAL_ONE|LOCAL_QUORUM|EACH_QUORUM|SLOPPY_QUORUM|ANY|[1-7])$",
            "minimum": 1,
            "maximum": 7,
            "maxLength": 13,
        })
    }
}
