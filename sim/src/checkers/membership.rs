//! Configurations change by one voter at a time, each when the one before is held by a majority, and only members stand for
//! election. INV-26, INV-27, INV-29, INV-30, INV-53.
//!
//! That superfluous replicas go and wanted ones come is seen after the heal (`liveness`).

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::admin::Role;
use quorate_model::{GroupId, LogIndex, NodeId, Position, Term, majority};
use quorate_replication::single_leader::{AppendResult, Configuration, Message, Payload};

use super::{Checker, Ledger, Sight};

#[derive(Default)]
pub(crate) struct Membership {
    /// Every configuration that a leader appended, by its position. Some leave it in snapshots only.
    appended: BTreeMap<GroupId, BTreeMap<Position, Configuration>>,
    /// The most that a replica acknowledged to the leader of a term.
    acknowledged: BTreeMap<(GroupId, Term, NodeId), LogIndex>,
    /// Who was a member after its last step: what it sends in the next one may come before its removal does.
    members: BTreeSet<(NodeId, GroupId)>,
    /// Whom a candidate with an older log asked, since a leader was last heard.
    needed: BTreeSet<(NodeId, GroupId)>,
}

impl Membership {
    fn note(
        &mut self,
        at: Sight<'_>,
        position: Position,
        configuration: &Configuration,
        ledger: &Ledger,
    ) -> Result<(), String> {
        let known = self.appended.entry(at.group).or_default();
        if known.insert(position, configuration.clone()).is_none()
            && position.term == at.replica.term()
        {
            self.check_ground(at, position, configuration, ledger)?;
        }
        check_steps(at.group, &self.appended[&at.group], ledger)
    }

    /// The leader appended this configuration in its own term: whether it might.
    fn check_ground(
        &self,
        at: Sight<'_>,
        position: Position,
        configuration: &Configuration,
        ledger: &Ledger,
    ) -> Result<(), String> {
        let before = at.replica.configuration_at(position.index.previous());
        if before.voters == configuration.voters {
            return Ok(());
        }
        let newest = self.appended.get(&at.group).and_then(|appended| {
            let mut earlier = appended.range(..position).rev();
            earlier.find(|(earlier, _)| term_at(at, earlier.index, ledger) == Some(earlier.term))
        });
        let ground = newest.map(|(position, _)| *position);
        // Of its own term, and at or behind the configuration before.
        let holds = |node: &&NodeId| {
            let held = if **node == at.node {
                at.replica.durable()
            } else {
                let key = (at.group, position.term, **node);
                self.acknowledged.get(&key).copied().unwrap_or_default()
            };
            let own_term = term_at(at, held, ledger) == Some(position.term);
            own_term && ground.is_none_or(|ground| held >= ground.index)
        };
        let holding = before.voters.iter().filter(holds).count();
        if holding >= majority(before.voters.len()) {
            return Ok(());
        }
        Err(format!(
            "{}: {} appends {configuration:?} at {position:?} after {before:?} at {ground:?}, which {holding} hold",
            at.group, at.node
        ))
    }
}

impl Checker for Membership {
    fn sent(
        &mut self,
        at: Sight<'_>,
        _to: NodeId,
        message: &Message,
        ledger: &Ledger,
    ) -> Result<(), String> {
        match message {
            Message::Append { entries, .. } => {
                for entry in entries {
                    if let Payload::Configuration(configuration) = &entry.payload {
                        self.note(at, entry.position, configuration, ledger)?;
                    }
                }
                Ok(())
            }
            Message::AppendReply {
                term,
                result: AppendResult::Matched(index) | AppendResult::NeedsState { matched: index },
                ..
            } => {
                let most = self.acknowledged.entry((at.group, *term, at.node)).or_default();
                *most = (*most).max(*index);
                Ok(())
            }
            Message::PreVote { .. } | Message::Vote { .. }
                if !at.replica.is_member()
                    && !self.members.contains(&(at.node, at.group))
                    && !self.needed.contains(&(at.node, at.group)) =>
            {
                Err(format!("{}: {} stands for election and is no member", at.group, at.node))
            }
            Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::Vote { .. }
            | Message::VoteReply { .. }
            | Message::AppendReply { .. }
            | Message::SnapshotOffer { .. }
            | Message::TimeoutNow { .. } => Ok(()),
        }
    }

    fn arrives(&mut self, at: Sight<'_>, _from: NodeId, message: &Message) {
        let key = (at.node, at.group);
        match message {
            Message::PreVote { last, .. } if *last < at.replica.last() => {
                self.needed.insert(key);
            }
            Message::Append { term, .. } | Message::SnapshotOffer { term, .. }
                if *term >= at.replica.term() =>
            {
                self.needed.remove(&key);
            }
            Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::Vote { .. }
            | Message::VoteReply { .. }
            | Message::Append { .. }
            | Message::AppendReply { .. }
            | Message::SnapshotOffer { .. }
            | Message::TimeoutNow { .. } => {}
        }
    }

    fn stepped(&mut self, at: Sight<'_>, ledger: &Ledger) -> Result<(), String> {
        let newest = at.replica.configuration_position();
        if newest > at.replica.base()
            && at.replica.role() == Role::Leader
            && newest.term == at.replica.term()
            && !self.appended.get(&at.group).is_some_and(|known| known.contains_key(&newest))
        {
            self.note(at, newest, at.replica.configuration(), ledger)?;
        }
        let key = (at.node, at.group);
        if at.replica.is_member() {
            self.members.insert(key);
        } else {
            self.members.remove(&key);
        }
        Ok(())
    }
}

/// The term of an entry of this log, also where the log does not reach back to it any more: it is committed then.
fn term_at(at: Sight<'_>, index: LogIndex, ledger: &Ledger) -> Option<Term> {
    let position = at.replica.position_at(index).map(|position| position.term);
    position.or_else(|| ledger.get(&(at.group, index)).copied())
}

/// Between committed configurations that follow each other, at most one voter comes or goes.
fn check_steps(
    group: GroupId,
    appended: &BTreeMap<Position, Configuration>,
    ledger: &Ledger,
) -> Result<(), String> {
    let mut committed: BTreeMap<_, _> = BTreeMap::new();
    for (position, configuration) in appended {
        if ledger.get(&(group, position.index)) == Some(&position.term) {
            committed.insert(position.index, configuration);
        }
    }
    let steps = committed.values().zip(committed.values().skip(1));
    for (before, after) in steps {
        let changed = before.voters.symmetric_difference(&after.voters).count();
        if changed > 1 {
            return Err(format!(
                "{group}: {changed} voters change at once: {before:?} to {after:?}"
            ));
        }
    }
    Ok(())
}
