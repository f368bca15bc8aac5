//! The replication protocols, sans-IO: inputs in, outputs out. One folder per replication model, and `causal`: the values of
//! those that have no leader.
//!
//! No clock, no disk, no socket, no ambient randomness, no threads: time, entropy and every completion are
//! inputs, so a run is a function of its inputs. The shell (`group`, then `node` or `sim`) does what the outputs say.

pub mod causal;
pub mod leaderless;
pub mod multi_leader;
mod random;
pub mod single_leader;
