//! Where the driver's outputs go in a node.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use quorate_group::host::{Input, PeerMessage, Progress, Rollback, Status};
use quorate_model::admin::CatchUp;
use quorate_model::{GroupId, NodeId, Topology};

use crate::driver::{Event, Inbox, Outlets};
use crate::metrics::Metrics;
use crate::peer::Links;
use crate::rollback::Rollbacks;
use crate::router::Table;

pub(super) struct NodeOutlets {
    pub(super) links: Links,
    pub(super) table: Arc<Table>,
    pub(super) status: Arc<ArcSwap<Status>>,
    pub(super) metrics: Metrics,
    pub(super) inbox: Arc<Inbox>,
    pub(super) rollbacks: Arc<OnceLock<Rollbacks>>,
}

/// What a user should hear of when it begins.
fn warn_of_changes(before: &Status, now: &Status) {
    // Both are in the order of groups.
    let mut olds = before.replicas.iter().peekable();
    for replica in &now.replicas {
        let group = replica.group;
        while olds.next_if(|old| old.group < group).is_some() {}
        let old = olds.next_if(|old| old.group == group);
        if let Some(why) = &replica.quarantined
            && old.is_none_or(|old| old.quarantined.is_none())
        {
            tracing::warn!(%group, why, "a replica serves nothing until a snapshot has replaced its rows");
        }
        if let Some(why) = &replica.undecided
            && old.is_none_or(|old| old.undecided.is_none())
        {
            tracing::warn!(%group, why, "the replicas' states differ and no majority agrees");
        }
        if let Some(why) = &replica.log_format_held_back
            && old.is_none_or(|old| old.log_format_held_back.is_none())
        {
            tracing::warn!(%group, why, "the log has another format than the declared one");
        }
        for (follower, progress) in &replica.followers {
            let known = old.and_then(|old| old.followers.get(follower));
            let slow = |progress: &Progress| progress.catch_up.slower_than_writes;
            if slow(progress) && !known.is_some_and(slow) {
                let CatchUp { entries_per_second, writes_per_second, snapshots, .. } =
                    progress.catch_up;
                tracing::warn!(
                    %group,
                    %follower,
                    entries_per_second,
                    writes_per_second,
                    snapshots,
                    "a follower is slower than the writes and will not catch up",
                );
            }
        }
        if let Some(old) = old
            && old.log_format != replica.log_format
        {
            tracing::info!(%group, format = ?replica.log_format, "the log's format changed");
        }
    }
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
        warn_of_changes(&self.status.load(), &status);
        // The status first: whoever is woken by the table finds it there.
        self.status.store(Arc::clone(&status));
        self.table.observe(&status);
    }

    fn save_rollback(&mut self, number: u64, rollback: Rollback) {
        tracing::warn!(
            group = %rollback.group,
            term = %rollback.term,
            writes = rollback.entries.len(),
            "a failover took writes back that may have been acknowledged; they are kept",
        );
        let Some(rollbacks) = self.rollbacks.get().cloned() else {
            return self.fatal("rollback files are not open");
        };
        let inbox = Arc::clone(&self.inbox);
        // A thread of its own: the driver waits for no disk.
        let saving = std::thread::Builder::new().name("rollback".to_owned()).spawn(move || {
            let group = rollback.group;
            match rollbacks.save(&rollback) {
                Ok(()) => inbox.report(Event::Input(Input::RollbackSaved { group, number })),
                Err(error) => {
                    // INV-66: the log keeps what could not be saved.
                    tracing::error!(%error, "cannot save a rollback file; the node stops");
                    std::process::exit(crate::EXIT_FATAL);
                }
            }
        });
        if let Err(error) = saving {
            self.fatal(&format!("cannot start a thread: {error}"));
        }
    }

    fn fatal(&mut self, reason: &str) {
        tracing::error!(reason, "the node stops");
        std::process::exit(crate::EXIT_FATAL);
    }

    fn turned(&mut self, events: usize, took: Duration) {
        self.metrics.turned(events, took);
    }
}
