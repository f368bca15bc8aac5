//! Replicating: appends to every follower, pipelined within bounds, and what their answers say.
//!
//! The leader's disk and the network work in parallel: an append leaves before it is durable here. Keeps INV-13,
//! INV-16 and INV-17. It may not apply anything.

use quorate_model::{LogIndex, NodeId, Position};

use super::progress::{Phase, Snapshot};
use super::{Leading, NO_ROUND};
use crate::single_leader::log::Lookup;
use crate::single_leader::{AppendResult, Entry, Message, Output};

impl Leading<'_> {
    pub(super) fn replicate_to_all(&mut self) {
        let followers: Vec<NodeId> = self.leader.followers.keys().copied().collect();
        for to in followers {
            self.replicate(to);
        }
    }

    /// Sends what there is room for.
    pub(super) fn replicate(&mut self, to: NodeId) {
        let (bytes_max, inflight_max) =
            (self.kernel.settings.append_bytes_max, self.kernel.settings.inflight_appends_max);
        // Ends: every turn fills the room, reaches the log's end or waits for the disk.
        while let Some(progress) = self.leader.followers.get_mut(&to)
            && progress.has_room(inflight_max)
            && progress.next <= self.kernel.log.last().index
        {
            match self.kernel.log.lookup(progress.next, bytes_max) {
                Lookup::Gone => return self.need_snapshot(to),
                Lookup::OnDisk => {
                    if progress.loading.is_none() {
                        let from = progress.next;
                        progress.loading = Some(from);
                        self.kernel.output(Output::LoadEntries { to, from, bytes_max });
                    }
                    return;
                }
                Lookup::Cached(entries) => self.send_entries(to, entries),
            }
        }
    }

    /// Shows a follower that the leader lives, whatever its phase.
    pub(super) fn heartbeat(&mut self, to: NodeId) {
        let Some(progress) = self.leader.followers.get_mut(&to) else { return };
        let base = self.kernel.log.base().index;
        let previous = match &mut progress.phase {
            // Where the logs agree for certain: answered at once, and no append in flight can be missed by it.
            Phase::Replicate { .. } => progress.matched.max(base).min(progress.next.previous()),
            Phase::Probe { awaiting } => {
                *awaiting = true;
                progress.next.previous()
            }
            Phase::Snapshot(Snapshot::Waiting { until }) => {
                if *until <= self.kernel.now {
                    return self.retry_snapshot(to);
                }
                return self.offer_snapshot(to);
            }
            Phase::Snapshot(Snapshot::Streaming) => return self.offer_snapshot(to),
        };
        match self.kernel.log.position_at(previous) {
            Some(previous) => self.send_append(to, previous, Vec::new()),
            None => self.need_snapshot(to),
        }
    }

    pub(in crate::single_leader) fn append_answered(
        &mut self,
        from: NodeId,
        round: u64,
        result: AppendResult,
    ) {
        let now = self.kernel.now;
        if round == NO_ROUND {
            return;
        }
        // INV-24: a round that was never started cannot be answered.
        assert!(round <= self.kernel.round, "{from:?} answers round {round}");
        let Some(progress) = self.leader.followers.get_mut(&from) else { return };
        // INV-34: what a damaged follower said before says nothing any more.
        if progress.repair.is_some_and(|repair| round < repair.round) {
            return;
        }
        match result {
            AppendResult::Damaged { token } => return self.follower_damaged(from, token),
            AppendResult::Matched(matched) | AppendResult::NeedsState { matched } => {
                // INV-13: no follower holds more of this log than the leader.
                assert!(matched <= self.kernel.log.last().index, "{from:?} matched {matched}");
                progress.repair = None;
                progress.acknowledge(matched, now);
                self.state_told(from, matches!(result, AppendResult::Matched(_)));
            }
            AppendResult::Mismatch { hint } => self.mismatched(from, hint),
        }
        if let Some(progress) = self.leader.followers.get_mut(&from) {
            progress.answered_round = progress.answered_round.max(round);
            progress.answered_at = Some(now);
        }
        self.advance_commit();
        self.replicate(from);
        self.confirm_reads();
        self.start_repairs();
        self.steer();
        self.hurry_transfer();
    }

    /// The answer to `Output::LoadEntries`.
    pub(in crate::single_leader) fn loaded(
        &mut self,
        to: NodeId,
        from: LogIndex,
        mut entries: Vec<Entry>,
    ) {
        let Some(progress) = self.leader.followers.get_mut(&to) else { return };
        if progress.loading != Some(from) {
            return;
        }
        progress.loading = None;
        let room = progress.has_room(self.kernel.settings.inflight_appends_max);
        if progress.next == from && room {
            if entries.is_empty() {
                return self.need_snapshot(to);
            }
            // The disk may lag behind a cut of this log, and this log may have been compacted since.
            let known = entries.iter().take_while(|entry| self.kernel.log.contains(entry.position));
            let known = known.count();
            entries.truncate(known);
            self.send_entries(to, entries);
        }
        self.replicate(to);
    }

    /// Followers that acknowledge nothing although something is in flight: it was lost on the way.
    pub(super) fn recover_stalled(&mut self) {
        let (now, patience) = (self.kernel.now, self.kernel.settings.election_timeout / 2);
        for progress in self.leader.followers.values_mut() {
            match &progress.phase {
                Phase::Replicate { inflight, moved_at }
                    if !inflight.is_empty() && now.since(*moved_at) >= patience =>
                {
                    progress.probe(progress.matched.next());
                }
                Phase::Replicate { .. } | Phase::Probe { .. } | Phase::Snapshot(_) => {}
            }
        }
    }

    /// Tells idle followers what is committed: whoever is sent entries learns it from them.
    pub(super) fn tell_commit(&mut self) {
        let (committed, last) = (self.kernel.committed(), self.kernel.log.last().index);
        let untold: Vec<NodeId> = self
            .leader
            .followers
            .iter()
            .filter(|(_, progress)| progress.told_committed < committed && progress.is_idle(last))
            .map(|(node, _)| *node)
            .collect();
        for to in untold {
            self.heartbeat(to);
        }
    }

    fn mismatched(&mut self, from: NodeId, hint: Position) {
        let base = self.kernel.log.base().index;
        let Some(progress) = self.leader.followers.get_mut(&from) else { return };
        if hint.index < base && progress.matched < base {
            // Agreement before the base cannot be found in a log that starts there.
            return self.need_snapshot(from);
        }
        let agreed = self.kernel.log.last_compatible(hint).index;
        let next = agreed.next().max(progress.matched.next());
        match &progress.phase {
            // The answers to appends that went out together say the same; only a step back is news.
            Phase::Probe { .. } if next >= progress.next => {}
            Phase::Probe { .. } | Phase::Replicate { .. } => {
                progress.probe(next.min(progress.next));
            }
            Phase::Snapshot(_) => {}
        }
    }

    fn send_entries(&mut self, to: NodeId, entries: Vec<Entry>) {
        let Some(progress) = self.leader.followers.get_mut(&to) else { return };
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        assert_eq!(first.index(), progress.next);
        // INV-13: only what this log holds is sent.
        assert!(entries.iter().all(|entry| self.kernel.log.contains(entry.position)));
        let Some(previous) = self.kernel.log.position_at(first.index().previous()) else {
            return self.need_snapshot(to);
        };
        progress.sent(last.index(), self.kernel.now);
        self.send_append(to, previous, entries);
    }

    fn send_append(&mut self, to: NodeId, previous: Position, entries: Vec<Entry>) {
        assert!(self.kernel.log.contains(previous), "{previous:?} is not in the log");
        let committed = self.kernel.committed();
        if let Some(progress) = self.leader.followers.get_mut(&to) {
            progress.told_committed = committed;
        }
        let (term, round) = (self.kernel.term(), self.kernel.round);
        self.send(to, Message::Append { term, previous, entries, committed, round });
    }
}
