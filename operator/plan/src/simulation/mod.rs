//! Whole lives of stores in memory: a small Kubernetes, a small data plane, and the real pipeline between them.
//!
//! Everything random comes from a seed, so a failure is reproduced by its seed. Each reconcile may be cut off between
//! any two writes. The checker must never object, no group may lose its data, and once the world is left alone it must
//! settle as asked for, and then nothing may be written any more.

mod data_plane;
mod kubernetes;
mod leaderless;
mod leaderless_test;
mod multi_leader;
mod multi_leader_test;
mod random;
mod reconcile;
mod scenario_test;
mod world;

use random::Random;
use scenario_test::lives;
pub(crate) use world::World;
