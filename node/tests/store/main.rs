//! Stores of real processes on loopback: what clients and operators see when things go wrong.
//!
//! One binary for all scenarios, one scenario per file.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its fixtures too")]
#![expect(clippy::print_stdout, reason = "what is measured is shown")]

mod acknowledged_by_one;
mod away_beyond_the_log;
mod durability_switched;
mod empty_disk_filled;
mod ends_with_dev;
mod follower_frozen;
mod handover;
mod leader_frozen;
mod leader_killed;
mod leaderless;
mod leaderless_datacenters;
mod leaderless_hints;
mod leaderless_limits;
mod leaderless_node_killed;
mod leaderless_sessions;
mod log_format_switched;
mod malformed;
mod moved;
mod multi_leader;
mod multi_leader_away;
mod multi_leader_homes;
mod multi_leader_sessions;
mod node_added;
mod once;
mod restarted;
mod serves;
mod sessions;
mod slower_than_writes;
mod support;
mod synchronous_follower_frozen;
mod transactions;
mod volume_wiped;
mod wrong_configuration;
