//! A replica whose log is damaged neither votes, nor stands, nor counts. INV-10, INV-34. It is repaired only when a majority holds
//! what its leader appended after it learnt of the damage. INV-35.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::admin::Role;
use quorate_model::{GroupId, LogIndex, NodeId, Term, majority};
use quorate_replication::single_leader::{AppendResult, Configuration, Message};

use super::{Checker, Ledger, Sight};

#[derive(Default)]
pub(crate) struct DamagedReplicas {
    /// The term in which a replica was found to be damaged, by this process of it.
    since: BTreeMap<(NodeId, u64, GroupId), Term>,
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
        if let Message::AppendReply { term, result: AppendResult::Matched(index), .. } = message {
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
        // What was decided before it was found, and waited for the disk since, is as good as it was where the log is whole.
        let since = self.since.get(&(at.node, at.incarnation, at.group));
        let kept = match message {
            Message::Vote { term, .. }
            | Message::VoteReply { term, .. }
            | Message::AppendReply { term, .. } => {
                at.replica.has_whole_log() && since.is_none_or(|since| term <= since)
            }
            Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::Append { .. }
            | Message::SnapshotOffer { .. }
            | Message::TimeoutNow { .. } => false,
        };
        if at.replica.is_damaged() && takes_part && !kept {
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
        let key = (at.node, at.incarnation, at.group);
        if at.replica.is_damaged() {
            self.since.entry(key).or_insert_with(|| at.replica.term());
            // A request for a vote may be late, but its asker does not wait for the answers any more.
            let role = at.replica.role();
            if matches!(role, Role::Candidate | Role::Leader) {
                return Err(format!("{}: the damaged {} is {role:?}", at.group, at.node));
            }
        } else if !self.since.is_empty() {
            self.since.remove(&key);
        }
        Ok(())
    }
}
