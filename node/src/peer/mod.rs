//! Links between nodes: who is connected to whom, what goes over it, and what its end means.
//!
//! Every node dials every other one, one connection per [`Lane`]; messages travel from the side that dialled, answers
//! to requests come back on the same connection. The protocol tolerates lost messages, so a full or broken link drops
//! them; a forwarded request is never dropped silently. No ownership is decided here: who leads is hearsay that the
//! group's answer corrects.

mod accept;
mod dial;
pub mod frame;
mod links;
mod outbox;
mod peers;
mod socket;
mod stream;
pub mod wire;

#[cfg(test)]
mod links_test;

pub use accept::{Answers, accept};
pub use links::{LinkState, Links, Me};
pub use peers::{Lost, Pending};
pub use wire::{Lane, Leaders, Remote};

use quorate_model::NodeId;

/// Listens to what peers say of who leads.
pub trait Hear: Send + Sync + 'static {
    fn leaders(&self, from: NodeId, leaders: Leaders);
}
