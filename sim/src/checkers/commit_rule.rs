//! A leader commits an entry of its own term that those have made durable whom its rule names; learners and others never
//! count; what is committed stays. INV-16, INV-17, INV-18, INV-28, INV-60, INV-61, INV-63.

use std::collections::BTreeMap;

use quorate_model::admin::Role;
use quorate_model::{GroupId, LogIndex, NodeId, Term, majority};
use quorate_replication::single_leader::{AppendResult, Configuration, Message, Rule};

use super::{Checker, Ledger, Sight};

#[derive(Default)]
pub(crate) struct CommitRule {
    /// The most that a replica acknowledged to the leader of a term.
    acknowledged: BTreeMap<(GroupId, Term, NodeId), LogIndex>,
    committed: BTreeMap<(NodeId, u64, GroupId), Leading>,
    /// The most that any replica said to be committed.
    known: BTreeMap<GroupId, LogIndex>,
}

#[derive(Clone, Copy)]
struct Leading {
    /// The term in which it led at the last look, if it did.
    term: Option<Term>,
    committed: LogIndex,
    base: LogIndex,
    last: LogIndex,
}

impl CommitRule {
    fn passes(&self, at: Sight<'_>, term: Term, by: &Configuration) -> bool {
        let committed = at.replica.committed();
        let holds = |node: &NodeId| {
            if *node == at.node {
                at.replica.durable() >= committed
            } else {
                let most = self.acknowledged.get(&(at.group, term, *node));
                most.is_some_and(|most| *most >= committed)
            }
        };
        match &by.rule {
            Rule::Quorum | Rule::Async => {
                by.voters.iter().filter(|node| holds(node)).count() >= majority(by.voters.len())
            }
            Rule::InSync(set) => set.iter().all(holds),
        }
    }
}

impl Checker for CommitRule {
    fn sent(
        &mut self,
        at: Sight<'_>,
        _to: NodeId,
        message: &Message,
        _: &Ledger,
    ) -> Result<(), String> {
        if let Message::AppendReply {
            term,
            result: AppendResult::Matched(index) | AppendResult::NeedsState { matched: index },
            ..
        } = message
        {
            let most = self.acknowledged.entry((at.group, *term, at.node)).or_default();
            *most = (*most).max(*index);
        }
        Ok(())
    }

    fn stepped(&mut self, at: Sight<'_>, _: &Ledger) -> Result<(), String> {
        let replica = at.replica;
        let term = (replica.role() == Role::Leader).then(|| replica.term());
        let (committed, last) = (replica.committed(), replica.last().index);
        let now = Leading { term, committed, base: replica.base().index, last };
        let before = self.committed.insert((at.node, at.incarnation, at.group), now).unwrap_or(now);
        let (node, group) = (at.node, at.group);
        let known = self.known.entry(group).or_default();
        let known_before = *known;
        *known = known_before.max(committed);
        if now.committed < before.committed {
            return Err(format!(
                "{group}: {node} takes back commits from {} to {committed}",
                before.committed
            ));
        }
        // Only what was committed while it led: before that, others' word counts.
        let Some(term) =
            term.filter(|_| before.term == now.term && now.committed > before.committed)
        else {
            return Ok(());
        };
        // A snapshot that began to come before it led says what an earlier leader has committed (INV-33).
        let installed = before.base < now.base && now.base == committed;
        if installed && committed <= known_before {
            return Ok(());
        }
        if replica.position_at(committed).is_none_or(|position| position.term != term) {
            return Err(format!(
                "{group}: {node} commits {committed}, which is not of its term {term}"
            ));
        }
        // The step that committed it may have appended the next configuration: the one before the step counted then.
        let newest = replica.configuration();
        let then = replica.configuration_at(before.last.max(committed));
        if self.passes(at, term, newest) || self.passes(at, term, then) {
            return Ok(());
        }
        Err(format!("{group}: {node} commits {committed}, not durable as it takes by {newest:?}"))
    }

    fn forgotten(&mut self, node: NodeId, group: GroupId) {
        self.committed.retain(|(owner, _, of), _| *owner != node || *of != group);
    }
}
