//! The `ReplicatedStore` resource: its types, its schema and the names that its children carry.
//!
//! Types and schema only: no policy, no client, no I/O. What the schema can refuse it refuses with a sentence that
//! names the field and the fix (the rules stand at the types); what needs more than one object is for `plan`.
//! Use [`crd`] rather than the derived `ReplicatedStore::crd()`: it is the schema that is installed.

mod amount;
mod datacenter;
pub mod labels;
mod mode;
mod pod;
mod schema;
#[cfg(test)]
mod schema_test;
mod status;
mod storage;
mod store;

pub use amount::Amount;
pub use datacenter::DatacenterSpec;
pub use mode::{Durability, ReplicationMode, SingleLeaderSpec};
pub use pod::{LogLevel, PodSpec, Resources};
pub use schema::crd;
pub use status::{
    BootstrapStatus, NodeState, NodeStatus, Phase, ReplicatedStoreStatus, ServicesStatus,
    ShardHealth, ShardStatus,
};
pub use storage::{ReclaimPolicy, StorageSpec};
pub use store::{ReplicatedStore, ReplicatedStoreSpec};
