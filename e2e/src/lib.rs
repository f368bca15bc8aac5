//! Kubernetes clusters for tests and for trying the product, and what tests need to use them.
//!
//! `cluster` brings a cluster up and down and breaks it on demand; it is synchronous and knows
//! nothing of stores. `client` (a feature, on by default) is the asynchronous side for tests:
//! typed access, awaited conditions, diagnostics. Neither may depend on the data plane: tests
//! see a store as its users do.

pub mod cluster;

#[cfg(feature = "client")]
pub mod client;
