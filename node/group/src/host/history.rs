//! What happened to a group on this node, for those who look: how its leaders followed each other, how its in-sync set changed.

use std::collections::VecDeque;

use quorate_model::WallTime;
use quorate_model::admin::{Failover, Swap};
use quorate_replication::single_leader::Rule;
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::Turn;

const KEPT_MAX: usize = 8;

#[derive(Debug, Default)]
pub(super) struct History {
    failovers: VecDeque<Failover>,
    swaps: VecDeque<Swap>,
    counts: Counts,
}

/// How often what happened since the process started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// This replica was elected.
    pub elections_won: u64,
    /// This leader changed the rule or the in-sync set.
    pub swaps: u64,
    /// Writes that were cut from the log although they may have been acknowledged.
    pub rolled_back: u64,
}

impl History {
    pub(super) fn swapped(&mut self, swap: Swap) {
        self.counts.swaps += 1;
        keep(&mut self.swaps, swap);
    }

    pub(super) fn succeeded(&mut self, failover: Failover) {
        self.counts.elections_won += 1;
        keep(&mut self.failovers, failover);
    }

    /// A write was acknowledged: the newest failover is over.
    pub(super) fn acknowledged(&mut self, at: impl FnOnce() -> WallTime) {
        if let Some(newest) = self.failovers.back_mut()
            && newest.acknowledged_at.is_none()
        {
            newest.acknowledged_at = Some(at());
        }
    }

    pub(super) const fn rolled_back(&mut self, writes: u64) {
        self.counts.rolled_back += writes;
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn failovers(&self) -> Vec<Failover> {
        self.failovers.iter().cloned().collect()
    }

    pub(super) fn swaps(&self) -> Vec<Swap> {
        self.swaps.iter().cloned().collect()
    }
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// This replica was elected just now.
    pub(super) fn note_succession(&mut self) {
        let replica = &self.group.replica;
        let Some(succession) = replica.succession() else { return };
        let (old_leader, old_term) = match succession.before {
            Some((leader, term)) => (Some(leader), term),
            None => (None, self.group.standing.applied.term),
        };
        self.group.history.succeeded(Failover {
            old_leader,
            new_leader: self.shared.node(),
            old_term,
            new_term: replica.term(),
            planned: succession.planned,
            detected_at: self.shared.wall_at(succession.detected_at),
            elected_at: self.shared.wall_at(succession.elected_at),
            acknowledged_at: None,
            lossy: replica.configuration().rule == Rule::Async,
        });
    }
}

fn keep<T>(list: &mut VecDeque<T>, one: T) {
    list.push_back(one);
    if list.len() > KEPT_MAX {
        list.pop_front();
    }
}
