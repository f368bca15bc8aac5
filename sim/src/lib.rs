//! Deterministic simulation of whole clusters: real hosts in one thread, from a seed; network, disks, clocks, processes and the
//! operator's proposals go wrong as the seed says; checkers watch the invariants of `docs/protocol.md`.
//!
//! Nothing that is checked is stubbed: the protocol, the log's code, the meta group and the keyspace are those of the node.
//! Only the disk, the network, the clocks and the state store's engine are simulated.

mod attempt;
mod checkers;
mod clients;
mod cluster;
mod kind;
mod machine;
mod nemesis;
mod network;
mod options;
mod placement;
mod planted;
mod run;
mod sessions;
mod verdict;
mod workload;

pub use attempt::{attempt, keep_panics};
pub use kind::Kind;
pub use planted::{Expectation, bugs};
pub use run::{Summary, Violation, run};
pub use verdict::Broken;
