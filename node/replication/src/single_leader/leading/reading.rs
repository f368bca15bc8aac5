//! Read index: linearizable reads without a log entry (Raft dissertation, section 6.4), one round for all that wait.
//!
//! Keeps INV-24 (a read waits for a round that began after it arrived, and a round's number is never used again) and
//! INV-25 (not before an entry of the own term is committed).

use std::collections::VecDeque;

use quorate_model::LogIndex;
use quorate_model::planted::{self, Bug};

use super::Leading;
use crate::single_leader::{Dropped, Output, ReadId};

#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    /// They arrived after the newest round began.
    waiting: Vec<ReadId>,
    confirming: VecDeque<Batch>,
    count: usize,
}

/// Reads that one round confirms.
#[derive(Clone, Debug)]
struct Batch {
    round: u64,
    /// The commit index when the round began.
    index: LogIndex,
    ids: Vec<ReadId>,
}

impl Reads {
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes out everything that waits, the oldest first.
    pub(super) fn drain(&mut self) -> Vec<ReadId> {
        self.count = 0;
        let confirming = self.confirming.drain(..).flat_map(|batch| batch.ids);
        let mut all: Vec<ReadId> = confirming.collect();
        all.append(&mut self.waiting);
        all
    }
}

impl Leading<'_> {
    pub(in crate::single_leader) fn read(&mut self, id: ReadId) {
        if self.leader.reads.count >= self.kernel.settings.waiting_reads_max {
            return self.kernel.output(Output::ReadDropped { id, why: Dropped::Overloaded });
        }
        self.leader.reads.count += 1;
        self.leader.reads.waiting.push(id);
    }

    /// Releases what is confirmed; begins a round for what waits, unless one is under way already.
    pub(super) fn confirm_reads(&mut self) {
        self.release_reads();
        let reads = &self.leader.reads;
        if reads.confirming.is_empty() && !reads.waiting.is_empty() && self.is_established() {
            self.start_round();
        }
    }

    /// A round begins: whatever waits is confirmed by it.
    pub(super) fn assign_reads(&mut self) {
        // INV-25.
        if self.leader.reads.waiting.is_empty() || !self.is_established() {
            return;
        }
        let (mut round, index) = (self.kernel.round, self.kernel.committed());
        if planted::is(Bug::ReuseReadRound) {
            round = self.confirmed_round();
        }
        let reads = &mut self.leader.reads;
        // INV-24: fresh for every attempt.
        let fresh = reads.confirming.back().is_none_or(|newest| newest.round < round);
        assert!(fresh || planted::is(Bug::ReuseReadRound));
        assert!(index >= self.leader.first_own);
        reads.confirming.push_back(Batch { round, index, ids: std::mem::take(&mut reads.waiting) });
    }

    pub(super) fn release_reads(&mut self) {
        let confirmed = self.confirmed_round();
        // INV-24: led still when the round began, which was after the read arrived.
        while let Some(oldest) = self.leader.reads.confirming.front()
            && oldest.round <= confirmed
        {
            let Some(batch) = self.leader.reads.confirming.pop_front() else { return };
            self.leader.reads.count -= batch.ids.len();
            for id in batch.ids {
                self.kernel.output(Output::ReadReady { id, index: batch.index });
            }
        }
    }

    /// The newest round to which a majority of the voters has answered that this replica leads.
    pub(super) fn confirmed_round(&self) -> u64 {
        if planted::is(Bug::ReadWithoutRound) {
            return self.kernel.round;
        }
        self.majority_has(|progress| progress.answered_round, self.kernel.round)
    }
}
