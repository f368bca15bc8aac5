//! Key to slot to shard to replica, and the way of a request to the replica that can answer it.
//!
//! The route is a pure function of the [`Table`]: the topology that this node holds, and what it has heard of who
//! leads. Hearsay may be wrong; the group's own answer corrects it. A write that may have been received is never sent
//! again, and writes of one shard keep the order in which they were asked for.

mod confirmations;
mod gossip;
mod homes;
mod lane;
mod replicas;
mod requester;
mod store;
mod table;
mod wires;

#[cfg(test)]
mod lane_test;

pub use gossip::gossip;
pub use requester::Requester;
pub use store::NodeStore;
pub use table::{Identity, Table, View};
pub use wires::{Sent, Wires};
