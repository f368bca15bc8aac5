//! The control plane's shell: everything that touches the API server, the nodes' admin API and time.
//!
//! `plan` decides, this crate looks and carries out: observe, validate, plan, check, apply, act, status (see
//! [`reconcile`]). Nothing here elects a leader or knows the replication protocol: killing this process delays no
//! failover of any store.

mod act;
mod apply;
pub mod cli;
pub mod client;
pub mod context;
pub mod controller;
mod crds;
pub mod error;
mod health;
mod lease;
mod lookout;
pub mod machines;
mod malformed;
pub mod memory;
pub mod metrics;
mod observe;
pub mod reconcile;
mod run;
mod status;
