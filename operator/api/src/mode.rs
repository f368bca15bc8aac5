//! The replication model of a store: `mode`, and one optional block per mode with what only that mode has.
//!
//! A tagged enum would read better in Rust, but the schema of a resource cannot depend on its values. So the tag and
//! the blocks are siblings in the spec, and a rule there ties them together; `plan` parses them into one enum.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How writes are replicated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum ReplicationMode {
    /// Each shard has one leader, which orders its writes.
    #[default]
    SingleLeader,
    /// Every replica takes reads and writes, and so many must answer.
    Leaderless,
    /// Each shard has one leader in every datacenter; datacenters give each other what they took.
    MultiLeader,
}
