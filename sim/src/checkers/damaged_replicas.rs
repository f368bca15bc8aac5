//! A replica whose log is damaged neither votes, nor stands, nor counts. INV-10, INV-34. It is repaired only when a majority holds
//! what its leader appended after it learnt of the damage. INV-35. One whose state alone is wrong applies nothing and evaluates
//! nothing. INV-36.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::admin::Role;
use quorate_model::{GroupId, LogIndex, NodeId, Term, majority};
use quorate_replication::single_leader::{AppendResult, Configuration, Message};

use super::{Checker, Ledger, Sight};

#[derive(Default)]
pub(crate) struct DamagedReplicas {
    /// How far a replica whose state is wrong had applied when that was found.
    stale: BTreeMap<(NodeId, u64, GroupId), LogIndex>,
    /// The most that a replica acknowledged to the leader of a term.
    acknowledged: BTreeMap<(GroupId, Term, NodeId), LogIndex>,
    /// Where a leader's log ended when it first heard of a damage.
    learnt: BTreeMap<Damage, LogIndex>,
    proved: BTreeSet<Damage>,
}

/// As its leader knows it: of a group, in a term, at a node, by its token.
type Damage = (GroupId, Term, NodeId, u64);

impl DamagedReplicas {
    fn check_proof(&mut self, at: Sight<'_>, to: NodeId, token: u64) -> Result<(), String> {
        let damage = (at.group, at.replica.term(), to, token);
        if self.proved.contains(&damage) {
            return Ok(());
        }
        let (group, node, last) = (at.group, at.node, at.replica.last().index);
        let Some(learnt) = self.learnt.get(&damage).copied() else {
            return Err(format!(
                "{group}: {node} repairs {to}, which never said that it is damaged"
            ));
        };
        let holds = |voter: &&NodeId| {
            let held = self.acknowledged.get(&(at.group, at.replica.term(), **voter)).copied();
            let held = if **voter == at.node { Some(at.replica.durable()) } else { held };
            **voter != to && held.is_some_and(|held| held > learnt)
        };
        let passes = |by: &Configuration| {
            by.voters.iter().filter(holds).count() >= majority(by.voters.len())
        };
        // Whichever configuration was the newest when it was held.
        let first = learnt.max(at.replica.base().index).0;
        if (first..=last.0).any(|index| passes(at.replica.configuration_at(LogIndex(index)))) {
            self.proved.insert(damage);
            return Ok(());
        }
        Err(format!(
            "{group}: {node} repairs {to}, and no majority holds anything behind {learnt}, where the damage was learnt of"
        ))
    }
}

impl DamagedReplicas {
    fn check_state(&mut self, at: Sight<'_>) -> Result<(), String> {
        let (group, node, applied) = (at.group, at.node, at.replica.applied());
        let key = (node, at.incarnation, group);
        if !at.replica.needs_state() {
            if !self.stale.is_empty() {
                self.stale.remove(&key);
            }
            return Ok(());
        }
        let found = *self.stale.entry(key).or_insert(applied);
        if at.replica.is_leading() || applied != found {
            return Err(format!(
                "{group}: {node}, whose state is wrong, leads or applies: {applied} after {found}"
            ));
        }
        Ok(())
    }
}

impl Checker for DamagedReplicas {
    fn sent(
        &mut self,
        at: Sight<'_>,
        to: NodeId,
        message: &Message,
        _: &Ledger,
    ) -> Result<(), String> {
        if let Message::SnapshotOffer { repairs: Some(token), .. } = message {
            self.check_proof(at, to, *token)?;
        }
        if let Message::AppendReply {
            term,
            result: AppendResult::Matched(index) | AppendResult::NeedsState { matched: index },
            ..
        } = message
        {
            let most = self.acknowledged.entry((at.group, *term, at.node)).or_default();
            *most = (*most).max(*index);
        }
        let takes_part = match message {
            Message::PreVote { .. } | Message::Vote { .. } | Message::Append { .. } => true,
            Message::PreVoteReply { granted, .. } | Message::VoteReply { granted, .. } => *granted,
            // A stale leader is told of the present term, whoever hears it.
            Message::AppendReply { result: AppendResult::Mismatch { .. }, round: 0, .. } => false,
            Message::AppendReply { result, .. } => !matches!(result, AppendResult::Damaged { .. }),
            Message::SnapshotOffer { .. } | Message::TimeoutNow { .. } => true,
        };
        if at.replica.is_damaged() && takes_part {
            return Err(format!("{}: the damaged {} sends {message:?}", at.group, at.node));
        }
        Ok(())
    }

    fn arrives(&mut self, at: Sight<'_>, from: NodeId, message: &Message) {
        if let Message::AppendReply { term, result: AppendResult::Damaged { token }, .. } = message
            && *term == at.replica.term()
        {
            let damage = (at.group, *term, from, *token);
            self.learnt.entry(damage).or_insert(at.replica.last().index);
        }
    }

    fn stepped(&mut self, at: Sight<'_>, _: &Ledger) -> Result<(), String> {
        let (group, node, role) = (at.group, at.node, at.replica.role());
        // A request for a vote may be late, but its asker does not wait for the answers any more.
        if at.replica.is_damaged() && matches!(role, Role::Candidate | Role::Leader) {
            return Err(format!("{group}: the damaged {node} is {role:?}"));
        }
        self.check_state(at)
    }

    fn forgotten(&mut self, node: NodeId, group: GroupId) {
        self.stale.retain(|(owner, _, of), _| *owner != node || *of != group);
    }
}
