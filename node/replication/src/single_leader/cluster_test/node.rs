//! One node: a replica, its disk, its state, and the messages that wait for its disk.

use std::collections::BTreeMap;

use quorate_model::{NodeId, Position, Time};

use super::disk::{Disk, State};
use crate::single_leader::{
    Configuration, Message, PersistId, ProposalId, ReadId, Replica, Settings,
};

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    /// `None` while it is down.
    pub(super) replica: Option<Replica>,
    pub(super) disk: Disk,
    pub(super) state: State,
    /// The state is wrong, over restarts too: nothing is done with it until a snapshot replaces it.
    pub(super) spoiled: bool,
    /// Counts its processes: what belongs to an earlier one is void.
    pub(super) incarnation: u64,
    pub(super) held: Vec<Held>,
    pub(super) wake_at: Option<Time>,
    /// When the last persist that was submitted completes.
    pub(super) disk_free_at: Time,
    pub(super) installing: bool,
    pub(super) paused_until: Option<Time>,
    pub(super) proposals: BTreeMap<Position, ProposalId>,
    /// What a read must see at least: the greatest acknowledged index when it was asked.
    pub(super) reads: BTreeMap<ReadId, u64>,
}

/// A message that waits for a persist.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) until: PersistId,
    pub(super) to: NodeId,
    pub(super) message: Message,
    /// What it acknowledges.
    pub(super) stands_on: Option<Position>,
}

impl Node {
    pub(super) fn new(id: NodeId, genesis: Option<Configuration>) -> Self {
        let mut disk = Disk::default();
        disk.base_configuration = genesis.unwrap_or_default();
        Self {
            id,
            replica: None,
            disk,
            state: State::default(),
            spoiled: false,
            incarnation: 0,
            held: Vec::new(),
            wake_at: None,
            disk_free_at: Time::ZERO,
            installing: false,
            paused_until: None,
            proposals: BTreeMap::new(),
            reads: BTreeMap::new(),
        }
    }

    pub(super) fn start(&mut self, settings: Settings, seed: u64, now: Time) {
        self.state = self.disk.flushed;
        let restored = self.disk.restored();
        self.replica = Some(Replica::new(self.id, settings, seed, restored, now));
    }

    pub(super) fn crash(&mut self, persists_kept: usize) {
        self.replica = None;
        self.incarnation += 1;
        self.disk.crash(persists_kept);
        self.held.clear();
        self.wake_at = None;
        self.installing = false;
        self.paused_until = None;
        self.proposals.clear();
        self.reads.clear();
    }

    /// The messages that no longer wait.
    pub(super) fn release(&mut self, durable: PersistId) -> Vec<Held> {
        let (ready, held) =
            std::mem::take(&mut self.held).into_iter().partition(|held| held.until <= durable);
        self.held = held;
        ready
    }
}
