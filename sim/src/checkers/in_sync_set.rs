//! The in-sync set: what is committed is on every member of the set in force and of every later one; whoever wins an election
//! was elected by a member; the set is made of voters, contains its leader, and is kept as declared.
//! INV-60, INV-62, INV-63, INV-64.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::admin::Role;
use quorate_model::{Durability, GroupId, InSyncPolicy, LogIndex, NodeId, OnLoss, Term, majority};
use quorate_replication::single_leader::{
    AppendResult, Configuration, Message, Payload, Replica, Rule,
};

use super::{Checker, Ledger, Sight};

#[derive(Default)]
pub(crate) struct InSyncSet {
    /// The most that a replica acknowledged to the leader of a term.
    acknowledged: BTreeMap<(GroupId, Term, NodeId), LogIndex>,
    /// Who voted for whom.
    votes: BTreeMap<(GroupId, Term, NodeId), BTreeSet<NodeId>>,
    /// Who said in a term that its log is damaged.
    damaged: BTreeSet<(GroupId, Term, NodeId)>,
    leading: BTreeMap<(NodeId, u64, GroupId), Leading>,
}

/// A leader at the last look.
struct Leading {
    term: Term,
    committed: LogIndex,
    last: LogIndex,
    /// The most that a majority ever held in this term.
    held: LogIndex,
    configuration: Configuration,
    declared: Option<(Durability, InSyncPolicy)>,
}

impl InSyncSet {
    /// What a node holds of the log of a term's leader, as far as it ever said.
    fn holds(&self, at: Sight<'_>, node: NodeId) -> LogIndex {
        if node == at.node {
            return at.replica.durable();
        }
        let key = (at.group, at.replica.term(), node);
        self.acknowledged.get(&key).copied().unwrap_or_default()
    }

    /// The most that a majority can hold.
    fn majority(&self, at: Sight<'_>, voters: &BTreeSet<NodeId>) -> LogIndex {
        let mut held: Vec<LogIndex> = voters.iter().map(|node| self.holds(at, *node)).collect();
        held.sort_unstable_by(|one, other| other.cmp(one));
        held.get(majority(voters.len()) - 1).copied().unwrap_or_default()
    }

    /// The step may have changed the voters: the greater of both majorities is at least what the leader knew of.
    fn held(&self, at: Sight<'_>, before: &Leading) -> LogIndex {
        let newest = self.majority(at, &at.replica.configuration().voters);
        let held = newest.max(self.majority(at, &before.configuration.voters));
        held.min(before.last).max(before.held)
    }

    /// INV-60.
    fn check_commit(&self, at: Sight<'_>, before: &Leading) -> Result<(), String> {
        let replica = at.replica;
        let (committed, last, held) = (replica.committed(), before.last, self.held(at, before));
        let from = held.max(replica.base().index).min(last);
        for configuration in configurations(replica, from, last) {
            let Rule::InSync(set) = &configuration.rule else { continue };
            if let Some(lacking) = set.iter().find(|node| self.holds(at, **node) < committed) {
                return Err(format!(
                    "{}: {} commits {committed}, which {lacking} of the set {set:?} lacks",
                    at.group, at.node
                ));
            }
        }
        Ok(())
    }

    /// INV-62.
    fn check_election(&self, at: Sight<'_>) -> Result<(), String> {
        let replica = at.replica;
        let term = replica.term();
        let mut before = replica.last().index;
        while before > replica.base().index
            && replica.position_at(before).is_some_and(|position| position.term == term)
        {
            before = before.previous();
        }
        let Rule::InSync(set) = &replica.configuration_at(before).rule else { return Ok(()) };
        let votes = self.votes.get(&(at.group, term, at.node));
        let elected = set.contains(&at.node)
            || votes.is_some_and(|votes| votes.iter().any(|voter| set.contains(voter)));
        if elected {
            return Ok(());
        }
        Err(format!(
            "{}: {} leads term {term}, elected by {votes:?} and nobody of the set {set:?}",
            at.group, at.node
        ))
    }

    /// INV-64.
    fn check_kept(&self, at: Sight<'_>, before: &Leading) -> Result<(), String> {
        let now = at.replica.configuration();
        let declared = at.replica.declared();
        let Some((durability, policy)) = declared else { return Ok(()) };
        let (Rule::InSync(old), Rule::InSync(new)) = (&before.configuration.rule, &now.rule) else {
            return Ok(());
        };
        let wanted = match durability {
            Durability::SemiSync => (usize::from(policy.count) + 1).min(now.voters.len()),
            Durability::Sync => now.voters.len(),
            Durability::Async | Durability::Quorum => return Ok(()),
        };
        let stays = declared == before.declared && before.configuration.voters == now.voters;
        let excused = |node: &NodeId| self.damaged.contains(&(at.group, at.replica.term(), *node));
        if !stays || old.len() > wanted || old.difference(new).any(excused) {
            return Ok(());
        }
        let broken = match policy.on_loss {
            OnLoss::Shrink => false,
            OnLoss::Replace => new.len() < old.len(),
            OnLoss::Block => !old.is_subset(new),
        };
        if broken {
            let on_loss = policy.on_loss;
            return Err(format!(
                "{}: under {on_loss:?} {old:?} became {new:?}, wanted {wanted} by {policy:?}",
                at.group
            ));
        }
        Ok(())
    }
}

impl Checker for InSyncSet {
    fn sent(
        &mut self,
        at: Sight<'_>,
        to: NodeId,
        message: &Message,
        _: &Ledger,
    ) -> Result<(), String> {
        match message {
            Message::AppendReply {
                term,
                result: AppendResult::Matched(index) | AppendResult::NeedsState { matched: index },
                ..
            } => {
                let most = self.acknowledged.entry((at.group, *term, at.node)).or_default();
                *most = (*most).max(*index);
                Ok(())
            }
            Message::AppendReply { term, result: AppendResult::Damaged { .. }, .. } => {
                self.damaged.insert((at.group, *term, at.node));
                Ok(())
            }
            Message::VoteReply { term, granted: true } => {
                self.votes.entry((at.group, *term, to)).or_default().insert(at.node);
                Ok(())
            }
            Message::Append { entries, .. } => {
                let own = entries.iter().filter(|entry| entry.term() == at.replica.term());
                for entry in own {
                    if let Payload::Configuration(configuration) = &entry.payload {
                        check_members(at, configuration)?;
                    }
                }
                Ok(())
            }
            Message::AppendReply { result: AppendResult::Mismatch { .. }, .. }
            | Message::VoteReply { granted: false, .. }
            | Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::Vote { .. }
            | Message::SnapshotOffer { .. }
            | Message::TimeoutNow { .. } => Ok(()),
        }
    }

    fn stepped(&mut self, at: Sight<'_>, _: &Ledger) -> Result<(), String> {
        let key = (at.node, at.incarnation, at.group);
        let replica = at.replica;
        if replica.role() != Role::Leader {
            self.leading.remove(&key);
            return Ok(());
        }
        let term = replica.term();
        let mut held = LogIndex::ZERO;
        match self.leading.get(&key).filter(|before| before.term == term) {
            None => self.check_election(at)?,
            Some(before) => {
                held = self.held(at, before);
                if replica.committed() > before.committed {
                    self.check_commit(at, before)?;
                }
                if *replica.configuration() != before.configuration {
                    self.check_kept(at, before)?;
                }
            }
        }
        let declared = replica.declared();
        let (committed, last) = (replica.committed(), replica.last().index);
        match self.leading.get_mut(&key) {
            Some(known) if known.configuration == *replica.configuration() => {
                known.term = term;
                known.committed = committed;
                known.last = last;
                known.held = held;
                known.declared = declared;
            }
            Some(_) | None => {
                let configuration = replica.configuration().clone();
                let now = Leading { term, committed, last, held, configuration, declared };
                self.leading.insert(key, now);
            }
        }
        Ok(())
    }
}

/// INV-63.
fn check_members(at: Sight<'_>, configuration: &Configuration) -> Result<(), String> {
    let Rule::InSync(set) = &configuration.rule else { return Ok(()) };
    let leads = set.contains(&at.node) || !configuration.voters.contains(&at.node);
    if leads && set.is_subset(&configuration.voters) {
        return Ok(());
    }
    Err(format!("{}: {} makes {configuration:?} of its set", at.group, at.node))
}

/// The configuration in force at `from`, and every later one through `last`.
fn configurations(replica: &Replica, from: LogIndex, last: LogIndex) -> Vec<&Configuration> {
    let mut found = vec![replica.configuration_at(from)];
    let mut index = from;
    while index < last.min(replica.last().index) {
        index = index.next();
        let here = replica.configuration_at(index);
        if found.last().is_some_and(|newest| *newest != here) {
            found.push(here);
        }
    }
    found
}
