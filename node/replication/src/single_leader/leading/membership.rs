//! Membership: moving the configuration towards the target, one safe change at a time, and leadership with it.
//!
//! A missing voter joins as a learner, becomes a voter when it has caught up, and only then is a superfluous voter
//! removed. The order of preference of a change is written in `next_configuration`. Keeps INV-26, INV-27 and INV-29.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_model::admin::SwapReason;
use quorate_model::planted::{self, Bug};
use quorate_model::{LogIndex, NodeId, majority};

use super::Leading;
use super::progress::{Leaving, Progress};
use super::transferring::GiveUp;
use crate::single_leader::{Configuration, Rule};

/// In election timeouts: how long the preferred leader must have been fit before it is handed over to, how long this
/// leader waits before it hands over again, and how long a removed replica is told of its removal at most.
const PREFERRED_FIT: u32 = 4;
const HANDOVER_PAUSE: u32 = 8;
const FAREWELL_MAX: u32 = 16;

impl Leading<'_> {
    /// Takes the next step towards the target, if there is one and it is safe.
    pub(in crate::single_leader) fn steer(&mut self) {
        if self.kernel.needs_state {
            self.hand_over_for_state();
        }
        // INV-26: one change at a time, and none before a majority holds an entry of the own term.
        let safe = self.is_settled() || planted::is(Bug::ChangeUnsettled);
        if !safe || self.leader.ending {
            return;
        }
        if self.leader.transfer.is_some() {
            return;
        }
        if !self.kernel.is_voter() {
            // Its own removal is committed; nothing is left to do but to go.
            return self.leave_office();
        }
        match self.next_configuration() {
            Some(next) => self.change_configuration(next),
            None if !self.is_settled() || self.steer_rule() => {}
            None => self.hand_over_if_due(),
        }
    }

    pub(super) fn next_configuration(&self) -> Option<Configuration> {
        let target = self.kernel.target.as_ref().filter(|target| !target.voters.is_empty())?;
        let current = self.kernel.configuration();
        let wanted: BTreeSet<NodeId> = target.voters.union(&target.learners).copied().collect();
        // Learners change no quorum: all at once.
        let learners: BTreeSet<NodeId> = wanted.difference(&current.voters).copied().collect();
        if learners != current.learners {
            return Some(Configuration { learners, ..current.clone() });
        }
        let promoted = learners
            .intersection(&target.voters)
            .copied()
            .find(|node| self.leader.followers.get(node).is_some_and(|one| self.is_caught_up(one)));
        if let Some(node) = promoted {
            let mut next = current.clone();
            next.learners.remove(&node);
            next.voters.insert(node);
            next.rule = self.rule_among(&next.voters);
            return Some(next).filter(|next| self.keeps_a_majority(next));
        }
        if !target.voters.is_subset(&current.voters) {
            return None;
        }
        // INV-29: those that do not answer first; never this leader itself.
        let mut superfluous: Vec<NodeId> = current
            .voters
            .difference(&target.voters)
            .copied()
            .filter(|node| *node != self.kernel.id)
            .collect();
        superfluous.sort_by_key(|node| {
            self.leader.followers.get(node).is_some_and(|progress| self.answers(progress))
        });
        let node = *superfluous.first()?;
        let mut next = current.clone();
        next.voters.remove(&node);
        if target.learners.contains(&node) {
            next.learners.insert(node);
        }
        next.rule = self.rule_among(&next.voters);
        Some(next).filter(|next| self.keeps_a_majority(next))
    }

    /// The rule that goes with other voters than the present ones.
    fn rule_among(&self, voters: &BTreeSet<NodeId>) -> Rule {
        self.wanted_rule(voters).unwrap_or_else(|| self.kernel.configuration().rule.clone())
    }

    pub(in crate::single_leader) fn change_configuration(&mut self, next: Configuration) {
        let current = self.kernel.configuration();
        // INV-26: any majority of the one shares a member with any majority of the other.
        assert!(current.voters.symmetric_difference(&next.voters).count() <= 1);
        assert!(next.voters.contains(&self.kernel.id));
        let until = self.kernel.now.after(self.kernel.settings.election_timeout * FAREWELL_MAX);
        let position = self.append_rule(next, SwapReason::Declared);
        let members: BTreeSet<NodeId> = self.kernel.configuration().members().collect();
        for (node, progress) in &mut self.leader.followers {
            if members.contains(node) {
                progress.leaving = None;
            } else if progress.leaving.is_none() {
                let removal = position.index;
                progress.leaving = Some(Leaving { removal, until, told_round: None });
            }
        }
        for node in self.kernel.peers() {
            let joining = || Progress::new(position.index);
            self.leader.followers.entry(node).or_insert_with(joining);
        }
        self.replicate_to_all();
        // Fewer voters, or this one alone, may have all it takes already.
        self.advance_commit();
    }

    /// Forgets those removed that know of it, or had time enough to.
    pub(super) fn dismiss_departed(&mut self) {
        let (now, committed, round) = (self.kernel.now, self.kernel.committed(), self.kernel.round);
        self.leader.followers.retain(|_, progress| {
            let Some(leaving) = &mut progress.leaving else { return true };
            if committed >= leaving.removal {
                // Every message from the next round on says that the removal is committed.
                leaving.told_round.get_or_insert(round + 1);
            }
            let knows = progress.matched >= leaving.removal
                && leaving.told_round.is_some_and(|told| progress.answered_round >= told);
            !knows && now < leaving.until
        });
    }

    /// Hands over to who should lead, when that can be done without harm.
    fn hand_over_if_due(&mut self) {
        let Some(target) = &self.kernel.target else { return };
        let (now, timeout) = (self.kernel.now, self.kernel.settings.election_timeout);
        // The next leader knows nothing of those removed that are yet to be told.
        let mut followers = self.leader.followers.values();
        let parting = followers.any(|one| one.leaving.is_some() && self.answers(one));
        let due = now >= self.leader.handover_due && !parting;
        let superfluous = !target.voters.is_empty() && !target.voters.contains(&self.kernel.id);
        let (successor, pause) = if superfluous {
            (self.successor(|node| target.voters.contains(&node)), timeout)
        } else {
            let preferred = target.preferred_leader.filter(|node| self.is_ready_to_lead(*node));
            let fit_since = preferred.map(|_| *self.leader.preferred_fit_since.get_or_insert(now));
            self.leader.preferred_fit_since = fit_since;
            let patience = timeout * PREFERRED_FIT;
            let long_fit = fit_since.is_some_and(|since| now.since(since) >= patience);
            (preferred.filter(|_| long_fit), timeout * HANDOVER_PAUSE)
        };
        if let Some(successor) = successor
            && due
        {
            self.leader.handover_due = now.after(self.handover_pause(pause));
            self.begin_transfer(successor, GiveUp::LeadOn);
        }
    }

    /// The transfer itself, and the pause after it.
    fn handover_pause(&self, pause: Duration) -> Duration {
        self.kernel.settings.transfer_timeout + pause
    }

    fn is_ready_to_lead(&self, node: NodeId) -> bool {
        self.kernel.configuration().voters.contains(&node)
            && self.leader.followers.get(&node).is_some_and(|progress| self.is_caught_up(progress))
    }

    fn is_caught_up(&self, progress: &Progress) -> bool {
        let enough = progress.matched.0 + self.kernel.settings.caught_up_entries;
        self.is_fit(progress) && LogIndex(enough) >= self.kernel.log.last().index
    }

    /// A majority of these voters answers at present.
    fn keeps_a_majority(&self, next: &Configuration) -> bool {
        let answering = next.voters.iter().filter(|node| {
            **node == self.kernel.id
                || self.leader.followers.get(node).is_some_and(|progress| self.answers(progress))
        });
        answering.count() >= majority(next.voters.len())
    }
}
