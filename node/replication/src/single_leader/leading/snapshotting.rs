//! Followers that the log does not reach, and followers whose log is damaged: both need a snapshot.
//!
//! The stream itself is the caller's; while it lasts, offers keep the follower from electing. Keeps INV-34: what a
//! damaged follower acknowledged before is forgotten, and its snapshot holds everything that may have counted on it.

use quorate_model::{LogIndex, NodeId, Position};

use super::Leading;
use super::progress::{Phase, Repair, Snapshot};
use crate::single_leader::{Message, Output};

impl Leading<'_> {
    /// The entries that this follower needs are gone.
    pub(super) fn need_snapshot(&mut self, to: NodeId) {
        let now = self.kernel.now;
        let Some(progress) = self.leader.followers.get_mut(&to) else { return };
        match (&progress.phase, progress.repair) {
            (Phase::Snapshot(Snapshot::Streaming), _) => return,
            (_, Some(_)) => progress.snapshot(Snapshot::Waiting { until: now }),
            (_, None) => {
                progress.snapshot(Snapshot::Streaming);
                self.kernel.output(Output::SendSnapshot { to });
            }
        }
        self.offer_snapshot(to);
    }

    /// The answer to `Output::SendSnapshot`.
    pub(in crate::single_leader) fn snapshot_sent(
        &mut self,
        to: NodeId,
        position: Option<Position>,
    ) {
        let (now, last) = (self.kernel.now, self.kernel.log.last().index);
        let retry_at = now.after(self.kernel.settings.election_timeout);
        let Some(progress) = self.leader.followers.get_mut(&to) else { return };
        match (&progress.phase, position) {
            (Phase::Snapshot(Snapshot::Streaming), Some(position)) => {
                // What it holds is known when it has answered: what others say of it counts for nothing.
                progress.probe(position.index.min(last).next());
                if let Some(repair) = &mut progress.repair {
                    // INV-34: answers from before the repair may still be on their way.
                    self.kernel.round += 1;
                    repair.round = self.kernel.round;
                }
                self.heartbeat(to);
            }
            (Phase::Snapshot(Snapshot::Streaming), None) => {
                progress.snapshot(Snapshot::Waiting { until: retry_at });
            }
            // Of an earlier leadership of this replica.
            (Phase::Snapshot(_) | Phase::Probe { .. } | Phase::Replicate { .. }, _) => {}
        }
    }

    pub(super) fn retry_snapshot(&mut self, to: NodeId) {
        let Some(progress) = self.leader.followers.get_mut(&to) else { return };
        if progress.repair.is_some() {
            return self.offer_snapshot(to);
        }
        // The follower may have come within the log's reach since.
        progress.probe(progress.next);
        self.heartbeat(to);
    }

    /// A heartbeat to a follower that no append makes sense to.
    pub(super) fn offer_snapshot(&mut self, to: NodeId) {
        let repair = self.leader.followers.get(&to).and_then(|progress| progress.repair);
        let chosen = repair.and_then(|repair| Some((repair.token, repair.streams_from?)));
        let position = chosen.map_or_else(|| self.applied_position(), |(_, position)| position);
        let repairs = chosen.map(|(token, _)| token);
        let configuration = self.kernel.configurations.at(position.index).clone();
        let (term, round) = (self.kernel.term(), self.kernel.round);
        self.send(to, Message::SnapshotOffer { term, position, configuration, round, repairs });
    }

    /// This follower's log is damaged.
    pub(super) fn follower_damaged(&mut self, from: NodeId, token: u64) {
        // INV-34. Who is no voter since what is applied here has counted for nothing after it.
        let counted = {
            let mut since = self.kernel.configurations.since(self.kernel.applied());
            since.any(|one| one.voters.contains(&from))
        };
        let floor = if counted {
            self.kernel.committed().max(self.leader.first_own)
        } else {
            LogIndex::ZERO
        };
        let (now, round) = (self.kernel.now, self.kernel.round);
        let Some(progress) = self.leader.followers.get_mut(&from) else { return };
        let known = progress.repair.is_some_and(|repair| repair.token == token);
        // After its repair, or in the midst of it, it can be damaged again.
        if !known || !matches!(progress.phase, Phase::Snapshot(_)) {
            // INV-34: nothing that it acknowledged counts any more, nor will a late answer.
            progress.matched = LogIndex::ZERO;
            progress.answered_round = 0;
            progress.answered_at = None;
            progress.repair = Some(Repair { round: round + 1, floor, token, streams_from: None });
            progress.snapshot(Snapshot::Waiting { until: now });
        }
        self.start_repairs();
    }

    /// Streams to the damaged followers for which this leader knows enough: it leads still (a round that began after
    /// it learnt of the damage is confirmed without them), and its state holds all that was committed by then.
    pub(super) fn start_repairs(&mut self) {
        let (now, applied) = (self.kernel.now, self.kernel.applied());
        let confirmed = self.confirmed_round();
        let position = self.applied_position();
        let mut ready = Vec::new();
        for (node, progress) in &mut self.leader.followers {
            let Some(repair) = &mut progress.repair else { continue };
            let waited = match &progress.phase {
                Phase::Snapshot(Snapshot::Waiting { until }) => *until <= now,
                Phase::Snapshot(Snapshot::Streaming)
                | Phase::Probe { .. }
                | Phase::Replicate { .. } => false,
            };
            // INV-34.
            if waited && confirmed >= repair.round && applied >= repair.floor {
                assert!(progress.matched == LogIndex::ZERO);
                repair.streams_from = Some(position);
                progress.snapshot(Snapshot::Streaming);
                ready.push(*node);
            }
        }
        for to in ready {
            self.kernel.output(Output::SendSnapshot { to });
            self.offer_snapshot(to);
        }
    }

    fn applied_position(&self) -> Position {
        let applied = self.kernel.applied();
        self.kernel.log.position_at(applied).expect("the base is applied")
    }
}
