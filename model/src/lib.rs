//! The vocabulary of both planes: identities, positions, time, slots, the topology and the admin API's wire types.
//!
//! Everything here is plain data with serde. No I/O, no clock, no randomness, no policy: a type
//! belongs here when the data plane (`node`) and the control plane (`operator`) both name it.

pub mod admin;
mod causality;
mod identity;
mod leaderless;
mod moving;
mod multi_leader;
pub mod planted;
mod policy;
mod position;
mod quorum;
mod slot;
mod time;
mod topology;

pub use causality::{ActorId, Dot, Hlc, HybridClock, VersionVector};
pub use identity::{Datacenter, Name, NameError, NodeId, StoreId, Zone};
pub use leaderless::{
    ConflictPolicy, Datacenters, Demand, Hints, Leaderless, LeaderlessPolicy, Level, LevelError,
    Need,
};
pub use moving::{Leaving, Moved, Step};
pub use multi_leader::{
    Conflicts, Homes, KeyHome, KeyResolution, Links, Merge, MultiLeader, MultiLeaderPolicy,
    Resolution, Unreachable,
};
pub use policy::{
    Durability, InSyncPolicy, LogFormat, OnLoss, Policy, ReadPreference, ReadYourWrites,
    SessionPolicy,
};
pub use position::{Epoch, LogIndex, Position, Term};
pub use quorum::majority;
pub use slot::{SLOTS, ShardId, Slot, SlotRange};
pub use time::{Time, WallTime};
pub use topology::{Addresses, GroupId, Member, Mode, ShardPlacement, Topology, TopologyError};
