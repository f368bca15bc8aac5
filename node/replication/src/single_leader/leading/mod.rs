//! Leading: what only the leader of a term does, one file per concern.
//!
//! A [`Leading`] borrows the kernel and the leader's own state for one input. It never changes the replica's role:
//! it asks for its end (`ending`). Keeps INV-8 and INV-14 (a leader only appends) here.

mod acknowledging;
mod in_sync;
mod membership;
mod progress;
mod reading;
mod replicating;
mod resting;
mod snapshotting;
mod timeline;
mod transferring;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_model::admin::SwapReason;
use quorate_model::planted::{self, Bug};
use quorate_model::{LogIndex, NodeId, Position, Time};

use super::kernel::Kernel;
use super::replica::{Deadline, Waiting};
use super::{
    Configuration, Dropped, Entry, Message, Output, Payload, ProposalId, Succession, When,
};
pub use progress::{FollowerPhase, FollowerView};
use progress::{Phase, Progress, Rebuild};
use reading::Reads;
use timeline::Timeline;
use transferring::Transfer;

/// The round of an answer that answers nothing but the term. Rounds count from 1.
pub(super) const NO_ROUND: u64 = 0;

#[derive(Clone, Debug)]
pub(super) struct Leader {
    /// The index of this leader's first entry; nothing is committed by this leader before it (INV-16).
    pub(super) first_own: LogIndex,
    pub(super) succession: Succession,
    /// A majority holds everything through here, an entry of this leader's term among it; zero before that (INV-61).
    majority: LogIndex,
    /// Acknowledged from this leader's own disk through here, under `Async`.
    acknowledged: LogIndex,
    /// When the first member of the in-sync set becomes slow.
    slow_due: Option<Time>,
    /// Members of the in-sync set that keep writes waiting.
    waited_for: BTreeSet<NodeId>,
    /// The in-sync set has fewer followers than declared.
    shrunk: bool,
    timeline: Timeline,
    pub(super) transfer: Option<Transfer>,
    /// This leadership is to end with this step.
    pub(super) ending: bool,
    followers: BTreeMap<NodeId, Progress>,
    elected_at: Time,
    heartbeat_due: Time,
    commit_notice_due: Option<Time>,
    reads: Reads,
    /// The size of what is appended and not committed.
    uncommitted_bytes: usize,
    /// No handover of this leader's own accord before.
    handover_due: Time,
    /// Since when the preferred leader could take over.
    preferred_fit_since: Option<Time>,
}

/// What a leader's rule of acknowledgement is doing, for those who look at it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AcknowledgementView {
    /// A majority holds the newest change of the configuration.
    pub settled: bool,
    /// Members of the in-sync set that keep writes waiting: slow, or gone.
    pub waiting_for: BTreeSet<NodeId>,
    /// The in-sync set has fewer followers than declared.
    pub shrunk: bool,
}

pub(super) struct Leading<'a> {
    pub(super) kernel: &'a mut Kernel,
    pub(super) leader: &'a mut Leader,
}

impl Leader {
    /// The state of a leader that was elected just now.
    pub(super) fn elected(kernel: &mut Kernel, succession: Succession) -> Self {
        let last = kernel.log.last().index;
        let followers = kernel.peers().into_iter().map(|peer| (peer, Progress::new(last.next())));
        Self {
            first_own: last.next(),
            succession,
            majority: LogIndex::ZERO,
            acknowledged: LogIndex::ZERO,
            slow_due: None,
            waited_for: BTreeSet::new(),
            shrunk: false,
            timeline: Timeline::new(kernel.now),
            transfer: None,
            ending: false,
            followers: followers.collect(),
            elected_at: kernel.now,
            heartbeat_due: kernel.now,
            commit_notice_due: None,
            reads: Reads::default(),
            uncommitted_bytes: 0,
            handover_due: kernel.now,
            preferred_fit_since: None,
        }
    }

    pub(super) fn deadline(&self) -> Deadline {
        let heartbeat = Deadline { at: self.heartbeat_due, why: Waiting::Heartbeat };
        let transfer = self.transfer.as_ref().map(|transfer| transfer.deadline);
        let transfer = transfer.map(|at| Deadline { at, why: Waiting::Transfer });
        let notice = self.commit_notice_due.map(|at| Deadline { at, why: Waiting::CommitNotice });
        let slow = self.slow_due.map(|at| Deadline { at, why: Waiting::SlowMember });
        let all = [Some(heartbeat), transfer, notice, slow].into_iter().flatten();
        all.min_by_key(|deadline| deadline.at).unwrap_or(heartbeat)
    }

    /// Whether a majority holds the newest configuration, and an entry of the own term with it.
    pub(super) fn is_settled(&self, kernel: &Kernel) -> bool {
        self.majority >= kernel.configurations.current_index().max(self.first_own)
    }

    #[cfg(test)]
    pub(super) fn hash_protocol(&self, state: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        (self.first_own, self.majority).hash(state);
        for (node, progress) in &self.followers {
            (node, progress.matched, progress.next).hash(state);
            std::mem::discriminant(&progress.phase).hash(state);
        }
    }

    pub(super) fn view(&self, kernel: &Kernel) -> AcknowledgementView {
        AcknowledgementView {
            settled: self.is_settled(kernel),
            waiting_for: self.waited_for.clone(),
            shrunk: self.shrunk,
        }
    }

    pub(super) fn followers(&self, kernel: &Kernel) -> BTreeMap<NodeId, FollowerView> {
        let last = kernel.log.last().index;
        let members = self.followers.iter().filter(|(_, progress)| progress.leaving.is_none());
        members
            .map(|(node, progress)| {
                let behind = last.0 - progress.matched.0;
                let phase = match &progress.phase {
                    _ if progress.rebuild != Rebuild::No => FollowerPhase::Snapshot,
                    Phase::Probe { .. } => FollowerPhase::Probing,
                    Phase::Snapshot(_) => FollowerPhase::Snapshot,
                    Phase::Replicate { .. } if behind <= kernel.settings.caught_up_entries => {
                        FollowerPhase::CaughtUp
                    }
                    Phase::Replicate { .. } => FollowerPhase::Log { entries_behind: behind },
                };
                let last_answer = progress.answered_at;
                (*node, FollowerView { matched: progress.matched, phase, last_answer })
            })
            .collect()
    }
}

impl Leading<'_> {
    /// The first act of a leader: an entry of its own term, through which everything before it is committed. The very
    /// first entry of a log is the configuration that the group began with, so that whoever joins blank learns it.
    /// Where a set is in force, the first entry names the set of this leader (INV-63): nothing is acknowledged before a
    /// majority holds it, so the set before it ends with the leader before.
    pub(super) fn take_office(&mut self, granted: &BTreeSet<NodeId>) {
        let begins = self.kernel.log.last() == Position::ZERO;
        let current = self.kernel.configuration().clone();
        match self.first_rule(granted) {
            Some(rule) => {
                self.append_rule(Configuration { rule, ..current }, SwapReason::Elected);
            }
            None if begins => {
                self.append(Payload::Configuration(current));
            }
            None => {
                self.append(Payload::Empty);
            }
        }
        // INV-16.
        assert_eq!(self.kernel.log.last().index, self.leader.first_own);
        self.kernel.round += 1;
        self.leader.heartbeat_due = self.kernel.now.after(self.kernel.settings.heartbeat);
        self.replicate_to_all();
    }

    /// The last act: those who wait are told.
    pub(super) fn abdicate(&mut self) {
        let why = Dropped::NotLeader { leader: None };
        let index = self.kernel.committed();
        for id in self.leader.reads.drain() {
            if planted::is(Bug::ReadAfterLoss) {
                self.kernel.output(Output::ReadReady { id, index });
                continue;
            }
            self.kernel.output(Output::ReadDropped { id, why });
        }
    }

    pub(super) fn propose(&mut self, id: ProposalId, command: Bytes) {
        let overloaded = self.leader.uncommitted_bytes > 0
            && self.leader.uncommitted_bytes + command.len()
                > self.kernel.settings.uncommitted_bytes_max;
        let why = match (&self.leader.transfer, overloaded) {
            // INV-31, INV-36.
            (Some(_), _) => Dropped::Transferring,
            (None, _) if self.kernel.needs_state => Dropped::Transferring,
            (None, true) => Dropped::Overloaded,
            (None, false) if self.holds_back() => Dropped::SetNotHeld,
            (None, false) => {
                let position = self.append(Payload::Command(command));
                self.kernel.output(Output::Proposed { id, position });
                return;
            }
        };
        self.kernel.output(Output::ProposalDropped { id, why });
    }

    pub(super) fn dispatch(&mut self) {
        self.replicate_to_all();
        self.confirm_reads();
    }

    pub(super) fn tick(&mut self) {
        let now = self.kernel.now;
        if self.transfer_is_over() {
            return;
        }
        if now >= self.leader.heartbeat_due {
            if !self.a_majority_answers() && !planted::is(Bug::LeadWithoutMajority) {
                // INV-8.
                self.leader.ending = true;
                return;
            }
            self.leader.heartbeat_due = now.after(self.kernel.settings.heartbeat);
            self.dismiss_departed();
            self.recover_stalled();
            self.start_round();
            self.push_transfer();
            let held = self.leader.followers.values().map(|progress| progress.matched).min();
            self.leader.timeline.forget(held.unwrap_or(self.kernel.committed()));
        }
        self.steer();
        if self.leader.commit_notice_due.is_some_and(|due| now >= due) {
            self.leader.commit_notice_due = None;
            self.tell_commit();
        }
    }

    /// This replica's own disk has more.
    pub(super) fn own_log_durable(&mut self) {
        self.advance_commit();
        self.start_repairs();
        self.steer();
    }

    /// The state machine has applied more.
    pub(super) fn state_applied(&mut self) {
        self.start_repairs();
        if self.kernel.applied() >= self.leader.first_own {
            self.steer();
        }
    }

    /// Sends a heartbeat of a fresh round to everybody.
    fn start_round(&mut self) {
        self.kernel.round += 1;
        let followers: Vec<NodeId> = self.leader.followers.keys().copied().collect();
        for to in followers {
            self.heartbeat(to);
        }
        self.assign_reads();
        self.release_reads();
    }

    fn append(&mut self, payload: Payload) -> Position {
        let index = self.kernel.log.last().index.next();
        let position = Position { term: self.kernel.term(), index };
        let entry = Entry { position, payload };
        self.leader.uncommitted_bytes += entry.bytes();
        self.leader.timeline.note(index, self.kernel.now);
        self.kernel.append([entry]);
        position
    }

    fn a_majority_answers(&self) -> bool {
        self.majority_has(|progress| u64::from(self.answers(progress)), 1) == 1
    }

    /// Answered within the election timeout, or had no time to since this leader was elected.
    fn answers(&self, progress: &Progress) -> bool {
        let seen = progress.answered_at.unwrap_or(self.leader.elected_at);
        // INV-10, INV-34: a damaged follower counts for nothing.
        progress.repair.is_none()
            && self.kernel.now.since(seen) < self.kernel.settings.election_timeout
    }

    fn send(&mut self, to: NodeId, message: Message) {
        self.kernel.send(to, message, When::Now);
    }
}
