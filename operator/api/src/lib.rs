//! The `ReplicatedStore` resource: its types, its schema and the names that its children carry.
//!
//! Types and schema only: no policy, no client, no I/O. What the schema can refuse it refuses with a sentence that
//! names the field and the fix (the rules stand at the types); what needs more than one object is for `plan`.
//! Use [`crd`] rather than the derived `ReplicatedStore::crd()`: it is the schema that is installed.

mod amount;
mod datacenter;
pub mod labels;
mod leaderless;
#[cfg(test)]
mod leaderless_test;
mod mode;
mod multi_leader;
#[cfg(test)]
mod multi_leader_test;
mod pod;
mod schema;
#[cfg(test)]
mod schema_test;
mod sessions;
mod single_leader;
mod status;
mod storage;
mod store;
mod text_or_number;

pub use amount::Amount;
pub use datacenter::DatacenterSpec;
pub use leaderless::{Conflicts, HintsSpec, LeaderlessSpec, Level, Spread};
pub use mode::ReplicationMode;
pub use multi_leader::{
    ConflictsSpec, EvacuateSpec, HomeUnreachable, HomesSpec, KeyConflictsSpec, KeyHomeSpec,
    LinksSpec, LinksType, MergeRule, MultiLeaderSpec, Resolution,
};
pub use pod::{LogLevel, PodSpec, Resources};
pub use schema::crd;
pub use sessions::{ReadFrom, ReadYourWritesMethod, ReadYourWritesSpec, SessionsSpec};
pub use single_leader::{
    Durability, InSyncSpec, LogFormat, OnLoss, PreferredLeaderSpec, PreferredShardLeader,
    SingleLeaderSpec,
};
pub use status::{
    BehindStatus, BootstrapStatus, CatchUpPhase, CatchUpStatus, ConflictsStatus, FailoverStatus,
    HintsStatus, LinkStatus, NodeState, NodeStatus, Phase, ReplicatedStoreStatus, RollbackStatus,
    ServicesStatus, ShardHealth, ShardStatus, SwapStatus, SwapWhy,
};
pub use storage::{ReclaimPolicy, StorageSpec};
pub use store::{ReplicatedStore, ReplicatedStoreSpec};
