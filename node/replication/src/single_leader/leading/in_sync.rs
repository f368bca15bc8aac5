//! The rule of acknowledgement, and the in-sync set kept as declared.
//!
//! What should be is computed from what is declared and from how the followers do; the difference to what is in force
//! becomes an entry, one at a time, and counts when a majority holds it. A member is slow when an entry has waited for it
//! longer than declared, and gone when it answers nothing. Keeps INV-63 and INV-64.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_model::admin::SwapReason;
use quorate_model::{Durability, InSyncPolicy, NodeId, OnLoss, Time};

use super::Leading;
use super::progress::Progress;
use crate::single_leader::{Configuration, Output, Payload, Rule};

/// Whose place in the set is to be given to another, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    Keeps,
    Slow,
    Gone,
}

impl Leading<'_> {
    /// Moves the rule towards what is declared, when a majority holds the one before. Answers whether it did.
    pub(super) fn steer_rule(&mut self) -> bool {
        assert!(self.is_settled());
        let voters = self.kernel.configuration().voters.clone();
        let Some(rule) = self.wanted_rule(&voters) else { return false };
        if rule == self.kernel.configuration().rule {
            return false;
        }
        self.change_rule(rule);
        true
    }

    /// The rule that goes with these voters: the one in force, mended as declared.
    pub(super) fn wanted_rule(&self, voters: &BTreeSet<NodeId>) -> Option<Rule> {
        let target = self.kernel.target.as_ref()?;
        Some(match target.durability {
            Durability::Quorum => Rule::Quorum,
            Durability::Async => Rule::Async,
            Durability::Sync => Rule::InSync(self.wanted_sync(voters, target.in_sync)),
            Durability::SemiSync => Rule::InSync(self.wanted_semi_sync(voters, target.in_sync)),
        })
    }

    /// The set with which a new leader begins: itself, and of those who just voted for it, who answer therefore, as many as
    /// the set before had. `None` where no set is in force.
    pub(super) fn first_rule(&self, granted: &BTreeSet<NodeId>) -> Option<Rule> {
        let Configuration { voters, rule, .. } = self.kernel.configuration();
        let before = rule.in_sync()?;
        // On its way out it keeps the set that it found.
        if !voters.contains(&self.kernel.id) {
            return None;
        }
        let mut others: Vec<NodeId> =
            voters.iter().copied().filter(|node| *node != self.kernel.id).collect();
        others.sort_by_key(|node| (!granted.contains(node), !before.contains(node)));
        let size = before.len().max(1);
        let set = std::iter::once(self.kernel.id).chain(others).take(size).collect();
        Some(Rule::InSync(set))
    }

    /// The end of every step: what those who look at the leader are shown, and when to look at the set again.
    pub(in crate::single_leader) fn note_set(&mut self) {
        if self.kernel.configuration().rule.in_sync().is_some() {
            self.leader.slow_due = self.slow_due();
            self.leader.waited_for = self.waited_for();
            self.leader.shrunk = self.is_shrunk();
        } else {
            self.leader.slow_due = None;
            self.leader.waited_for.clear();
            self.leader.shrunk = false;
        }
    }

    /// The set cannot be held as declared at present, and writes are to wait. They wait outside of the log, where it is certain
    /// that they have no effect.
    pub(super) fn holds_back(&self) -> bool {
        let waits =
            self.kernel.target.as_ref().is_some_and(|target| match target.in_sync.on_loss {
                OnLoss::Replace | OnLoss::Block => true,
                OnLoss::Shrink => false,
            });
        waits && (self.leader.shrunk || !self.leader.waited_for.is_empty())
    }

    /// Members that keep writes waiting at present: slow, or gone.
    fn waited_for(&self) -> BTreeSet<NodeId> {
        let in_sync = self.kernel.configuration().rule.in_sync();
        let members = in_sync.into_iter().flatten().copied();
        members.filter(|node| self.standing_of(*node) != Standing::Keeps).collect()
    }

    /// The set has fewer followers than declared.
    fn is_shrunk(&self) -> bool {
        let Configuration { voters, rule, .. } = self.kernel.configuration();
        let (Some(set), Some(target)) = (rule.in_sync(), &self.kernel.target) else { return false };
        let wanted = match target.durability {
            Durability::Quorum | Durability::Async => 0,
            Durability::Sync => voters.len(),
            Durability::SemiSync => (usize::from(target.in_sync.count) + 1).min(voters.len()),
        };
        set.len() < wanted
    }

    /// When the first member of the set becomes slow, if nothing is heard from it.
    fn slow_due(&self) -> Option<Time> {
        let set = self.kernel.configuration().rule.in_sync()?;
        let after = self.slow_after()?;
        let followers = set.iter().filter_map(|node| self.leader.followers.get(node));
        let waiting = followers.filter_map(|progress| self.unacknowledged_since(progress));
        waiting.map(|since| since.after(after)).filter(|due| *due > self.kernel.now).min()
    }

    fn wanted_sync(&self, voters: &BTreeSet<NodeId>, policy: InSyncPolicy) -> BTreeSet<NodeId> {
        match policy.on_loss {
            OnLoss::Replace | OnLoss::Block => {
                voters.iter().copied().filter(|node| !self.is_damaged(*node)).collect()
            }
            OnLoss::Shrink => {
                let in_force = self.kernel.configuration().rule.in_sync();
                let stays = |node: NodeId| {
                    let member = in_force.is_none_or(|set| set.contains(&node));
                    let stands = self.standing_of(node) == Standing::Keeps;
                    if member { stands } else { self.may_join_set(node) }
                };
                voters.iter().copied().filter(|node| stays(*node)).collect()
            }
        }
    }

    fn wanted_semi_sync(
        &self,
        voters: &BTreeSet<NodeId>,
        policy: InSyncPolicy,
    ) -> BTreeSet<NodeId> {
        let me = self.kernel.id;
        let wanted = usize::from(policy.count).min(voters.len() - 1);
        let in_force = self.kernel.configuration().rule.in_sync();
        let mut kept: Vec<NodeId> = in_force.into_iter().flatten().copied().collect();
        kept.retain(|node| *node != me && voters.contains(node) && !self.is_damaged(*node));
        kept.sort_by_key(|node| self.standing_of(*node) != Standing::Keeps);
        kept.truncate(wanted);
        let outside =
            |node: &NodeId| *node != me && !kept.contains(node) && !self.is_damaged(*node);
        let others: Vec<NodeId> = voters.iter().copied().filter(outside).collect();
        let mut fit = others.iter().copied().filter(|node| self.may_join_set(*node));
        let mut set = BTreeSet::from([me]);
        for node in &kept {
            let lost = self.standing_of(*node) != Standing::Keeps;
            let replacement = match policy.on_loss {
                OnLoss::Block => None,
                OnLoss::Replace | OnLoss::Shrink if lost => fit.next(),
                OnLoss::Replace | OnLoss::Shrink => None,
            };
            match replacement {
                Some(other) => set.insert(other),
                None if lost && policy.on_loss == OnLoss::Shrink => false,
                None => set.insert(*node),
            };
        }
        set.extend(fit.take((wanted + 1).saturating_sub(set.len())));
        if policy.on_loss != OnLoss::Shrink {
            // INV-64: what is declared is held by waiting, if by nothing else.
            let missing = (wanted + 1).saturating_sub(set.len());
            let rest: Vec<NodeId> =
                others.into_iter().filter(|node| !set.contains(node)).take(missing).collect();
            set.extend(rest);
        }
        set
    }

    pub(in crate::single_leader) fn change_rule(&mut self, rule: Rule) {
        let before = self.kernel.configuration().clone();
        let why = self.reason_of_change(&before.rule, &rule);
        let next = Configuration { rule, ..before };
        self.append_rule(next, why);
        self.replicate_to_all();
        self.advance_commit();
    }

    /// Appends a configuration whose rule may differ from the one before, and says so.
    pub(super) fn append_rule(
        &mut self,
        next: Configuration,
        why: SwapReason,
    ) -> quorate_model::Position {
        // INV-63: the leader is in its set.
        assert!(next.rule.in_sync().is_none_or(|set| set.contains(&self.kernel.id)));
        let nobody = BTreeSet::new();
        let before = self.kernel.configuration().rule.clone();
        let (old, new) = (before.in_sync().unwrap_or(&nobody), next.rule.in_sync());
        let new = new.unwrap_or(&nobody).clone();
        let (removed, added) = (old - &new, &new - old);
        let changed = before != next.rule;
        let position = self.append(Payload::Configuration(next));
        if changed {
            let index = position.index;
            self.kernel.output(Output::RuleChanged { index, removed, added, why });
        }
        position
    }

    fn reason_of_change(&self, before: &Rule, after: &Rule) -> SwapReason {
        let (Some(old), Some(new)) = (before.in_sync(), after.in_sync()) else {
            return SwapReason::Declared;
        };
        let lost = old.difference(new).map(|node| self.standing_of(*node));
        match lost.max_by_key(|standing| *standing as u8) {
            Some(Standing::Gone) => SwapReason::Gone,
            Some(Standing::Slow) => SwapReason::Slow,
            Some(Standing::Keeps) => SwapReason::Declared,
            None => SwapReason::Recovered,
        }
    }

    fn standing_of(&self, node: NodeId) -> Standing {
        if node == self.kernel.id {
            return Standing::Keeps;
        }
        let Some(progress) = self.leader.followers.get(&node) else { return Standing::Gone };
        if !self.answers(progress) || progress.repair.is_some() {
            return Standing::Gone;
        }
        let waited = self.unacknowledged_since(progress).map(|since| self.kernel.now.since(since));
        match (waited, self.slow_after()) {
            (Some(waited), Some(after)) if waited >= after => Standing::Slow,
            (Some(_) | None, _) => Standing::Keeps,
        }
    }

    /// Its log is damaged: it holds nothing to rely on, and no entry that waits for it can be committed, which its repair in
    /// turn would wait for (INV-34). So it leaves the set whatever is declared (INV-64).
    fn is_damaged(&self, node: NodeId) -> bool {
        self.leader.followers.get(&node).is_some_and(|progress| progress.repair.is_some())
    }

    /// Follows the log closely enough that writes will not wait for it.
    fn may_join_set(&self, node: NodeId) -> bool {
        let Some(progress) = self.leader.followers.get(&node) else { return false };
        let close = self.unacknowledged_since(progress).is_none_or(|since| {
            self.slow_after().is_some_and(|after| self.kernel.now.since(since) < after / 2)
        });
        close && self.is_fit(progress)
    }

    /// Since when the oldest entry has waited that this follower has not acknowledged.
    fn unacknowledged_since(&self, progress: &Progress) -> Option<Time> {
        (progress.matched < self.kernel.log.last().index)
            .then(|| self.leader.timeline.appended_at(progress.matched.next()))
    }

    fn slow_after(&self) -> Option<Duration> {
        let target = self.kernel.target.as_ref()?;
        Some(Duration::from_millis(target.in_sync.slow_after_ms))
    }
}
