//! Whole reconciles against an API server and a fleet of nodes in memory.
//!
//! One binary for all scenarios, one scenario per file: linking the client once is what takes the time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its fixtures too")]

mod api_server;
mod fields;
mod fleet;
mod world;

mod elections;
mod failure_at_each_call;
mod leaderless;
mod malformed_beside_good;
mod multi_leader;
mod no_op_writes_nothing;
mod preconditions;
