//! Where the driver's outputs go in a node.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use quorate_group::host::{PeerMessage, Status};
use quorate_model::{GroupId, NodeId, Topology};

use crate::driver::Outlets;
use crate::metrics::Metrics;
use crate::peer::Links;
use crate::router::Table;

pub(super) struct NodeOutlets {
    pub(super) links: Links,
    pub(super) table: Arc<Table>,
    pub(super) status: Arc<ArcSwap<Status>>,
    pub(super) metrics: Metrics,
}

impl Outlets for NodeOutlets {
    fn send(&mut self, to: NodeId, group: GroupId, message: PeerMessage) {
        self.links.send(to, group, message);
    }

    fn topology(&mut self, topology: Topology) {
        tracing::info!(
            epoch = %topology.epoch,
            members = topology.members.len(),
            shards = topology.shards.len(),
            "a newer topology is in force",
        );
        self.links.follow(&topology);
        self.table.follow(topology);
    }

    fn status(&mut self, status: Arc<Status>) {
        // The status first: whoever is woken by the table finds it there.
        self.status.store(Arc::clone(&status));
        self.table.observe(&status);
    }

    fn fatal(&mut self, reason: &str) {
        tracing::error!(reason, "the node stops");
        std::process::exit(crate::EXIT_FATAL);
    }

    fn turned(&mut self, events: usize, took: Duration) {
        self.metrics.turned(events, took);
    }
}
