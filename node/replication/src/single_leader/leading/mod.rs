//! Leading: what only the leader of a term does, one file per concern.
//!
//! A [`Leading`] borrows the kernel and the leader's own state for one input. It never changes the replica's role:
//! it asks for its end (`ending`). Keeps INV-8 and INV-14 (a leader only appends) here.

mod membership;
mod progress;
mod reading;
mod replicating;
mod snapshotting;
mod transferring;

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::planted::{self, Bug};
use quorate_model::{LogIndex, NodeId, Position, Time, majority};

use super::kernel::Kernel;
use super::replica::{Deadline, Waiting};
use super::{Dropped, Entry, Message, Output, Payload, ProposalId, When};
pub use progress::{FollowerPhase, FollowerView};
use progress::{Phase, Progress};
use reading::Reads;
use transferring::Transfer;

/// How much sooner than the next heartbeat an idle follower is told what is committed.
const COMMIT_NOTICES_PER_HEARTBEAT: u32 = 10;

/// The round of an answer that answers nothing but the term. Rounds count from 1.
pub(super) const NO_ROUND: u64 = 0;

#[derive(Debug)]
pub(super) struct Leader {
    /// The index of this leader's first entry; nothing is committed by this leader before it (INV-16).
    pub(super) first_own: LogIndex,
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

pub(super) struct Leading<'a> {
    pub(super) kernel: &'a mut Kernel,
    pub(super) leader: &'a mut Leader,
}

impl Leader {
    /// The state of a leader that was elected just now.
    pub(super) fn elected(kernel: &mut Kernel) -> Self {
        let last = kernel.log.last().index;
        let followers = kernel.peers().into_iter().map(|peer| (peer, Progress::new(last.next())));
        Self {
            first_own: last.next(),
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
        let all = [Some(heartbeat), transfer, notice].into_iter().flatten();
        all.min_by_key(|deadline| deadline.at).unwrap_or(heartbeat)
    }

    pub(super) fn followers(&self, kernel: &Kernel) -> BTreeMap<NodeId, FollowerView> {
        let last = kernel.log.last().index;
        let members = self.followers.iter().filter(|(_, progress)| progress.leaving.is_none());
        members
            .map(|(node, progress)| {
                let behind = last.0 - progress.matched.0;
                let phase = match &progress.phase {
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
    pub(super) fn take_office(&mut self) {
        let begins = self.kernel.log.last() == Position::ZERO;
        let genesis = begins.then(|| self.kernel.configuration().clone());
        self.append(genesis.map_or(Payload::Empty, Payload::Configuration));
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
            // INV-31.
            (Some(_), _) => Dropped::Transferring,
            (None, true) => Dropped::Overloaded,
            (None, false) => {
                let position = self.append(Payload::Command(command));
                self.kernel.output(Output::Proposed { id, position });
                self.replicate_to_all();
                return;
            }
        };
        self.kernel.output(Output::ProposalDropped { id, why });
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
            self.steer();
            self.push_transfer();
        }
        if self.leader.commit_notice_due.is_some_and(|due| now >= due) {
            self.leader.commit_notice_due = None;
            self.tell_commit();
        }
    }

    /// This replica's own disk has more.
    pub(super) fn own_log_durable(&mut self) {
        self.advance_commit();
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
        self.kernel.round += u64::from(!planted::is(Bug::ReuseReadRound));
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
        self.kernel.append([entry]);
        position
    }

    fn advance_commit(&mut self) {
        // INV-17: this replica counts for as much as its own disk holds.
        let durable = self.kernel.durability.durable();
        let own = if planted::is(Bug::CountOwnBeforeDisk) {
            self.kernel.log.last().index
        } else {
            durable
        };
        let held = self.majority_has(|progress| progress.matched.0, own.0);
        let (held, before) = (LogIndex(held), self.kernel.committed());
        // INV-16: earlier terms' entries are committed through one of this term only.
        let of_own_term = self.kernel.log.term_at(held) == Some(self.kernel.term());
        if held <= before || !of_own_term && !planted::is(Bug::CommitEarlierTerm) {
            return;
        }
        assert!(held >= self.leader.first_own || planted::is(Bug::CommitEarlierTerm));
        let bytes: usize = self.kernel.log.cached(before.next(), held).map(Entry::bytes).sum();
        self.leader.uncommitted_bytes = self.leader.uncommitted_bytes.saturating_sub(bytes);
        self.kernel.commit(held);
        let delay = self.kernel.settings.heartbeat / COMMIT_NOTICES_PER_HEARTBEAT;
        self.leader.commit_notice_due.get_or_insert(self.kernel.now.after(delay));
        if before < self.leader.first_own {
            // Reads have waited for this (INV-25).
            self.confirm_reads();
        }
    }

    /// An entry of this leader's term is committed: its commit index is the group's.
    fn is_established(&self) -> bool {
        self.kernel.committed() >= self.leader.first_own
    }

    /// The greatest value that a majority of the voters reaches; `own` is this replica's.
    fn majority_has(&self, value: impl Fn(&Progress) -> u64, own: u64) -> u64 {
        // INV-28: only voters of the newest configuration count.
        let voters = &self.kernel.configuration().voters;
        let learners = &self.kernel.configuration().learners;
        let counted = learners.iter().filter(|_| planted::is(Bug::CountLearners));
        let mut values: Vec<u64> = voters
            .iter()
            .chain(counted)
            .map(|voter| {
                if *voter == self.kernel.id {
                    own
                } else {
                    self.leader.followers.get(voter).map_or(0, &value)
                }
            })
            .collect();
        values.sort_unstable_by(|one, other| other.cmp(one));
        values.get(majority(voters.len()) - 1).copied().unwrap_or(0)
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
