//! Followers that the log does not reach, and followers whose log is damaged: both need a snapshot.
//!
//! The stream itself is the caller's; while it lasts, offers keep the follower from electing. Keeps INV-34 (what a
//! damaged follower acknowledged before is forgotten, and its snapshot holds everything that may have counted on it) and
//! INV-35 (what it voted, and what else it lost, has no effect any more when it is whole).

use quorate_model::planted::{self, Bug};
use quorate_model::{LogIndex, NodeId, Position};

use super::Leading;
use super::progress::{Phase, Rebuild, Repair, Snapshot};
use crate::single_leader::{Message, Output, Payload};

impl Leading<'_> {
    /// The entries that this follower needs are gone.
    pub(super) fn need_snapshot(&mut self, to: NodeId) {
        let now = self.kernel.now;
        let Some(progress) = self.leader.followers.get_mut(&to) else { return };
        match (&progress.phase, progress.repair) {
            (Phase::Snapshot(Snapshot::Streaming), _) => return,
            (_, None) if progress.rebuild == Rebuild::Streaming => {
                // The one that is under way does for both, as far as it reaches.
                progress.rebuild = Rebuild::No;
                progress.snapshot(Snapshot::Streaming);
            }
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
        if progress.rebuild == Rebuild::Streaming {
            // Its next answer says whether it is right now.
            progress.rebuild = Rebuild::Waiting { until: retry_at };
            return;
        }
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

    /// A follower said whether its state is right. If it is not, it gets another one, while its log goes on.
    pub(super) fn state_told(&mut self, of: NodeId, right: bool) {
        let now = self.kernel.now;
        let Some(progress) = self.leader.followers.get_mut(&of) else { return };
        let due = match progress.rebuild {
            Rebuild::Streaming => return,
            Rebuild::No => true,
            Rebuild::Waiting { until } => until <= now,
        };
        if right {
            progress.rebuild = Rebuild::No;
        } else if due && !matches!(progress.phase, Phase::Snapshot(_)) {
            progress.rebuild = Rebuild::Streaming;
            self.kernel.output(Output::SendSnapshot { to: of });
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
        let Some(progress) = self.leader.followers.get(&from) else { return };
        let known = progress.repair.filter(|repair| repair.token == token);
        // After its repair, or in the midst of it, it can be damaged again.
        if known.is_none() || !matches!(progress.phase, Phase::Snapshot(_)) {
            let floor = self.repair_floor(from);
            let proof = match known {
                Some(repair) => repair.proof,
                None => self.append(Payload::Empty).index,
            };
            let (now, round) = (self.kernel.now, self.kernel.round + 1);
            let Some(progress) = self.leader.followers.get_mut(&from) else { return };
            // INV-34: nothing that it acknowledged counts any more, nor will a late answer.
            progress.matched = LogIndex::ZERO;
            progress.answered_round = 0;
            progress.answered_at = None;
            progress.repair = Some(Repair { round, floor, proof, token, streams_from: None });
            progress.snapshot(Snapshot::Waiting { until: now });
            progress.rebuild = Rebuild::No;
            self.replicate_to_all();
        }
        self.start_repairs();
    }

    /// What the snapshot for this damaged follower must contain: everything for which it may have counted (INV-34).
    fn repair_floor(&self, node: NodeId) -> LogIndex {
        let configurations = &self.kernel.configurations;
        // Who is no voter since what is applied here has counted for nothing after it.
        let counted =
            configurations.since(self.kernel.applied()).any(|one| one.voters.contains(&node));
        if !counted {
            return LogIndex::ZERO;
        }
        // A configuration counts before it is committed, when a majority holds it.
        let settled = configurations.index_at(self.leader.majority);
        self.kernel.committed().max(self.leader.first_own).max(settled)
    }

    /// Streams to the damaged followers for which this leader knows enough: a majority without them holds what was appended
    /// after it learnt of the damage, and its state holds all that they may have counted for.
    pub(super) fn start_repairs(&mut self) {
        let (now, applied, majority) =
            (self.kernel.now, self.kernel.applied(), self.leader.majority);
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
            // INV-35: nobody can win without one of that majority who lacks the proof; and this leader led still.
            let proved = if planted::is(Bug::RepairUnproved) {
                confirmed >= repair.round
            } else {
                majority >= repair.proof
            };
            // INV-34.
            if waited && proved && applied >= repair.floor {
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
