//! How fast followers that are behind come closer, as their leader sees it, and what of the log is held for them.
//!
//! Costs nothing while every follower is in step: a follower is watched from when the leader first reads entries from the
//! disk for it, or it needs a snapshot, until it has caught up.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_model::admin::CatchUp;
use quorate_model::{LogIndex, NodeId, Time};
use quorate_replication::single_leader::{FollowerPhase, FollowerView};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::Turn;
use super::timers::Timer;

/// Over how long a rate is taken.
const WINDOW: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Paces {
    of: BTreeMap<NodeId, Pace>,
}

#[derive(Debug)]
struct Pace {
    snapshots: u32,
    /// A snapshot brought it here; zero before the first.
    brought_to: LogIndex,
    /// A snapshot brought it within the log's reach, and it fell out of it again.
    outrun: bool,
    sample: Option<Sample>,
    /// Entries a second that it confirms, and that the group writes.
    follows: u64,
    writes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Time,
    matched: LogIndex,
    last: LogIndex,
}

impl Paces {
    pub(super) fn snapshot_began(&mut self, to: NodeId) {
        let pace = self.watch(to);
        pace.snapshots = pace.snapshots.saturating_add(1);
        // One that failed on its way says nothing about the follower.
        pace.outrun |= pace.brought_to > LogIndex::ZERO;
        pace.sample = None;
    }

    pub(super) fn snapshot_ended(&mut self, to: NodeId, at: LogIndex) {
        self.watch(to).brought_to = at;
    }

    /// It fell behind the log once more after a snapshot: the next one must be faster.
    pub(super) fn is_outrun(&self, to: NodeId) -> bool {
        self.of.get(&to).is_some_and(|pace| pace.outrun)
    }

    /// It comes no closer to the end of the log.
    pub(super) fn is_slower(&self, to: NodeId) -> bool {
        self.of.get(&to).is_some_and(|pace| pace.outrun || pace.follows < pace.writes)
    }

    pub(super) fn report(&self, to: NodeId, view: &FollowerView, last: LogIndex) -> CatchUp {
        let Some(pace) = self.of.get(&to) else { return CatchUp::default() };
        let behind = last.0.saturating_sub(view.matched.0);
        let follows_log = matches!(view.phase, FollowerPhase::Log { .. });
        let closer = pace.follows.saturating_sub(pace.writes);
        CatchUp {
            entries_per_second: pace.follows,
            writes_per_second: pace.writes,
            eta_ms: (follows_log && closer > 0).then(|| behind.saturating_mul(1_000) / closer),
            snapshots: pace.snapshots,
            slower_than_writes: pace.outrun
                || follows_log && pace.writes > 0 && pace.follows < pace.writes,
        }
    }

    fn watch(&mut self, to: NodeId) -> &mut Pace {
        self.of.entry(to).or_insert_with(|| Pace {
            snapshots: 0,
            brought_to: LogIndex::ZERO,
            outrun: false,
            sample: None,
            follows: 0,
            writes: 0,
        })
    }

    /// Takes note of where everybody is. Answers whether somebody is to be watched on.
    fn sample(
        &mut self,
        now: Time,
        last: LogIndex,
        followers: &BTreeMap<NodeId, FollowerView>,
    ) -> bool {
        self.of.retain(|node, _| {
            followers.get(node).is_some_and(|view| view.phase != FollowerPhase::CaughtUp)
        });
        for (node, view) in followers {
            if let FollowerPhase::Log { .. } = view.phase {
                self.watch(*node).sampled(Sample { at: now, matched: view.matched, last });
            }
        }
        !self.of.is_empty()
    }
}

impl Pace {
    fn sampled(&mut self, newest: Sample) {
        let Some(before) = self.sample else {
            self.sample = Some(newest);
            return;
        };
        let ms = u64::try_from(newest.at.since(before.at).as_millis()).unwrap_or(u64::MAX);
        if newest.at.since(before.at) >= WINDOW {
            let rate = |from: LogIndex, to: LogIndex| to.0.saturating_sub(from.0) * 1_000 / ms;
            self.follows = rate(before.matched, newest.matched);
            self.writes = rate(before.last, newest.last);
            self.sample = Some(newest);
        }
    }
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// Some follower is behind.
    pub(super) fn watch_paces(&mut self) {
        let at = self.shared.now.after(WINDOW / 2);
        self.shared.timers.set_at_latest(Timer::Pace(self.group.id), at);
    }

    pub(super) fn pace_due(&mut self) {
        let followers = self.group.replica.followers();
        let last = self.group.replica.last().index;
        if self.group.paces.sample(self.shared.now, last, &followers) {
            self.watch_paces();
        }
    }

    /// The log from here on is of use to a replica that is catching up, or to another datacenter.
    pub(super) fn pinned(&self) -> LogIndex {
        let none = LogIndex(u64::MAX);
        let outgoing = self.group.outgoing.values().map(|outgoing| outgoing.pinned());
        let streams = outgoing.chain(self.group.supplies.pinned());
        let streams = streams.chain(self.oldest_given()).min().unwrap_or(none);
        if self.group.paces.of.is_empty() {
            return streams;
        }
        let followers = self.group.replica.followers();
        let behind = self.group.paces.of.iter().filter_map(|(node, pace)| {
            let view = followers.get(node)?;
            let at = view.matched.max(pace.brought_to);
            (at > LogIndex::ZERO && view.phase != FollowerPhase::Snapshot).then_some(at)
        });
        behind.min().unwrap_or(none).min(streams)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(matched: u64, phase: FollowerPhase) -> FollowerView {
        FollowerView { matched: LogIndex(matched), phase, last_answer: None }
    }

    #[test]
    fn a_follower_slower_than_the_writes_says_so_until_it_has_caught_up() {
        let node = NodeId(2);
        let mut paces = Paces::default();
        for second in 0..6 {
            let behind = view(second * 100, FollowerPhase::Log { entries_behind: 9_999 });
            let followers = BTreeMap::from([(node, behind)]);
            let last = LogIndex(10_000 + second * 300);
            assert!(paces.sample(Time(second * 1_000_000_000), last, &followers));
        }
        let behind = view(500, FollowerPhase::Log { entries_behind: 11_000 });
        let report = paces.report(node, &behind, LogIndex(11_500));
        assert_eq!((report.entries_per_second, report.writes_per_second), (100, 300));
        assert!(report.slower_than_writes && report.eta_ms.is_none());
        let caught_up = view(11_500, FollowerPhase::CaughtUp);
        let followers = BTreeMap::from([(node, caught_up)]);
        assert!(!paces.sample(Time(7_000_000_000), LogIndex(11_500), &followers));
        assert_eq!(paces.report(node, &caught_up, LogIndex(11_500)), CatchUp::default());
    }

    #[test]
    fn a_snapshot_after_one_that_arrived_is_hurried() {
        let node = NodeId(2);
        let mut paces = Paces::default();
        paces.snapshot_began(node);
        paces.snapshot_began(node);
        assert!(!paces.is_outrun(node), "the first never arrived");
        paces.snapshot_ended(node, LogIndex(7));
        assert!(!paces.is_outrun(node));
        paces.snapshot_began(node);
        assert!(paces.is_outrun(node));
    }
}
