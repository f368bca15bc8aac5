//! The replication model of a store: `mode`, and one optional block per mode with what only that mode has.
//!
//! A tagged enum would read better in Rust, but the schema of a resource cannot depend on its values. So the tag and
//! the blocks are siblings in the spec, and a rule there ties them together; `plan` parses them into one enum.

#![expect(unreachable_pub, reason = "the schema derive repeats each struct inside a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How writes are replicated. Multi-leader and leaderless stores join as further values with blocks of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum ReplicationMode {
    /// Each shard has one leader, which orders its writes.
    #[default]
    SingleLeader,
}

/// When a write is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum Durability {
    /// When it is durable on a majority of the shard's voters.
    #[default]
    Quorum,
}

/// What only a store of mode `SingleLeader` has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.durability != 'Quorum' || self.replicas % 2 == 1")
    .message("spec.singleLeader.replicas must be odd with durability Quorum: an even count survives no more failures than the odd one below; use 1, 3, 5 or 7")
    .field_path(".replicas"))]
pub struct SingleLeaderSpec {
    /// When a write is acknowledged. Quorum: when it is durable on a majority of the shard's replicas.
    #[serde(default)]
    pub durability: Durability,
    /// How many replicas each shard has, each on a node of its own.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 7))]
    pub replicas: i32,
    /// Where leaders should be when they can: a preference, never a reason to wait. Without it they are spread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 30))]
    pub preferred_datacenter: Option<String>,
}

impl Default for SingleLeaderSpec {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            replicas: default_replicas(),
            preferred_datacenter: None,
        }
    }
}

const fn default_replicas() -> i32 {
    3
}
