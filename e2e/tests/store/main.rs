//! A store on a real Kubernetes, broken in every way while a client writes and reads.
//!
//! One file per kind of scenario. They share one cluster and break it, so they take turns. They run when `QUORATE_E2E` is set,
//! on a cluster that `cargo xtask up` made; `cargo xtask test --level e2e` does both.
//! Each prints the longest time between two acknowledged writes to one key; no assert judges it.

#![expect(clippy::print_stdout, reason = "the gaps are what one reads")]

mod api_server_gone;
mod datacenter_cut;
mod datacenters;
mod guarantees;
mod image_roll;
mod leader_lost;
mod leaderless;
mod leaderless_datacenters;
mod load;
mod lost_writes;
mod malformed;
mod multi_leader;
mod no_op;
mod node_drained;
mod operator_gone;
mod scaling;
mod scenario;
mod volume_wiped;
