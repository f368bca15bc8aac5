//! What may be acknowledged, by the rules in force, and what is committed with it.
//!
//! The rule in force is the newest one that a majority holds; every later one in the log counts as well, so that a change
//! of the rule never lets an entry through that either side would not (INV-60). Keeps INV-16, INV-17, INV-28, INV-60 and
//! INV-61. It may not change a rule: that is `in_sync`'s.

use std::collections::BTreeSet;

use quorate_model::planted::{self, Bug};
use quorate_model::{LogIndex, NodeId, majority};

use super::Leading;
use super::progress::Progress;
use crate::single_leader::{Configuration, Entry, Output, Rule};

/// How much sooner than the next heartbeat an idle follower is told what is committed.
const COMMIT_NOTICES_PER_HEARTBEAT: u32 = 10;

impl Leading<'_> {
    /// Takes note of what followers and this replica's own disk hold.
    pub(super) fn advance_commit(&mut self) {
        // INV-17: this replica counts for as much as its own disk holds.
        let durable = self.kernel.durability.durable();
        let own = if planted::is(Bug::CountOwnBeforeDisk) {
            self.kernel.log.last().index
        } else {
            durable
        };
        let held = LogIndex(self.majority_has(|progress| progress.matched.0, own.0));
        // INV-16: earlier terms' entries are committed through one of this term only.
        let of_own_term = self.kernel.log.term_at(held) == Some(self.kernel.term());
        if held > self.leader.majority && (of_own_term || planted::is(Bug::CommitEarlierTerm)) {
            assert!(held >= self.leader.first_own || planted::is(Bug::CommitEarlierTerm));
            self.leader.majority = held;
        }
        // INV-61: what the log says of rules is the group's word only from here on.
        if self.leader.majority < self.leader.first_own && !planted::is(Bug::CommitEarlierTerm) {
            return;
        }
        // INV-60: the newest rule that a majority holds, and every later one.
        let in_force = if planted::is(Bug::SetCountsAtOnce) {
            self.kernel.configurations.current_index()
        } else {
            self.leader.majority
        };
        let rules = || self.kernel.configurations.since(in_force);
        let committed = rules().map(|one| self.held_by(&one.rule, self.leader.majority)).min();
        let acknowledged = rules().map(|one| self.held_by(&one.rule, durable)).min();
        let (Some(committed), Some(acknowledged)) = (committed, acknowledged) else { return };
        self.commit_through(committed);
        if acknowledged > self.leader.acknowledged.max(self.kernel.committed()) {
            self.leader.acknowledged = acknowledged;
            self.kernel.output(Output::Acknowledged { through: acknowledged });
        }
    }

    /// An entry of this leader's term is committed: its commit index is the group's.
    pub(super) fn is_established(&self) -> bool {
        self.kernel.committed() >= self.leader.first_own
    }

    /// See [`Leader::is_settled`](super::Leader::is_settled).
    pub(super) fn is_settled(&self) -> bool {
        self.leader.is_settled(self.kernel)
    }

    /// The greatest value that a majority of the voters reaches; `own` is this replica's.
    pub(super) fn majority_has(&self, value: impl Fn(&Progress) -> u64, own: u64) -> u64 {
        // INV-28: only voters of the newest configuration count.
        let Configuration { voters, learners, .. } = self.kernel.configuration();
        let counted = learners.iter().filter(|_| planted::is(Bug::CountLearners));
        let mut values: Vec<u64> =
            voters.iter().chain(counted).map(|node| self.value_of(*node, &value, own)).collect();
        values.sort_unstable_by(|one, other| other.cmp(one));
        values.get(majority(voters.len()) - 1).copied().unwrap_or(0)
    }

    /// Through where a rule lets entries pass. What passes under `Async` is up to the question: `leader_alone` is what
    /// a majority holds when it is asked what can never be lost, and what this disk holds when it is asked what may be
    /// acknowledged.
    fn held_by(&self, rule: &Rule, leader_alone: LogIndex) -> LogIndex {
        match rule {
            Rule::Quorum => self.leader.majority,
            Rule::Async => leader_alone,
            Rule::InSync(_) if planted::is(Bug::AcknowledgeBeforeSet) => self.leader.majority,
            Rule::InSync(set) => self.set_has(set),
        }
    }

    /// What every member of an in-sync set holds.
    fn set_has(&self, set: &BTreeSet<NodeId>) -> LogIndex {
        let durable = self.kernel.durability.durable().0;
        let held = set.iter().map(|member| {
            self.value_of(*member, &|progress: &Progress| progress.matched.0, durable)
        });
        LogIndex(held.min().unwrap_or(0))
    }

    fn value_of(&self, node: NodeId, value: &impl Fn(&Progress) -> u64, own: u64) -> u64 {
        if node == self.kernel.id {
            return own;
        }
        self.leader.followers.get(&node).map_or(0, value)
    }

    fn commit_through(&mut self, held: LogIndex) {
        let before = self.kernel.committed();
        let of_own_term = self.kernel.log.term_at(held) == Some(self.kernel.term());
        if held <= before || !of_own_term && !planted::is(Bug::CommitEarlierTerm) {
            return;
        }
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
}
