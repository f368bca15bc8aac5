//! What must hold whatever happens, seen from outside by someone who sees everything.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{LogIndex, NodeId, Position, Term, majority};

use super::node::Node;
use crate::single_leader::{AppendResult, Configuration, Entry, Message, Payload, Replica, Rule};

#[derive(Debug, Default)]
pub(super) struct Checks {
    leaders: BTreeMap<Term, NodeId>,
    /// Every entry that was ever in a log, and the position before it.
    entries: BTreeMap<Position, (Payload, Position)>,
    /// What was applied at each index, by anybody.
    applied: BTreeMap<LogIndex, Entry>,
    /// The newest position that a leader of each term has committed.
    committed: BTreeMap<Term, Position>,
    /// The greatest index that a client was told of.
    pub(super) acknowledged: LogIndex,
    pub(super) acknowledged_count: u64,
    /// Acknowledged from a leader's disk alone.
    alone: BTreeSet<Position>,
    /// Saved before they were cut.
    saved: BTreeSet<Position>,
    pub(super) reads_answered: u64,
    pub(super) snapshots: u64,
    pub(super) repairs: u64,
}

impl Checks {
    /// INV-13: what two logs hold at one position is the same, and so is what comes before.
    pub(super) fn appended(&mut self, before: Position, entries: &[Entry]) {
        let mut before = before;
        for entry in entries {
            let known = self
                .entries
                .entry(entry.position)
                .or_insert_with(|| (entry.payload.clone(), before));
            assert_eq!(known, &(entry.payload.clone(), before), "INV-13 at {:?}", entry.position);
            before = entry.position;
        }
    }

    /// INV-1, INV-15.
    pub(super) fn leads(&mut self, replica: &Replica) {
        let term = replica.term();
        let known = self.leaders.insert(term, replica.id());
        assert!(known.is_none_or(|known| known == replica.id()), "INV-1 in {term:?}");
        if known.is_some() {
            return;
        }
        for (_, committed) in self.committed.range(..term) {
            let held = replica.position_at(committed.index);
            let beyond = committed.index <= replica.base().index;
            assert!(beyond || held == Some(*committed), "INV-15 in {term:?}: {committed:?}");
        }
    }

    /// INV-16, INV-17, INV-28: counted on the disks themselves.
    pub(super) fn leader_commits(
        &mut self,
        replica: &Replica,
        before: &Configuration,
        nodes: &BTreeMap<NodeId, Node>,
    ) {
        let index = replica.committed();
        let position = replica.position_at(index).expect("a committed entry is in the log");
        let newest = self.committed.entry(replica.term()).or_default();
        if position <= *newest || position.term != replica.term() {
            return;
        }
        *newest = position;
        // What it acknowledged before it was damaged has counted.
        let holds = |node: &NodeId, position: Position| {
            let disk = &nodes[node].disk;
            disk.damaged || disk.holds(position)
        };
        // One that was appended in this very step came after the commit, or before it: either may have counted.
        let held = [before, replica.configuration()]
            .into_iter()
            .any(|newest| passes(replica, newest, position, holds));
        assert!(held, "INV-16, INV-60: {position:?} is committed against its rule");
    }

    /// INV-16: a leader's commit index rises to entries of its own term only.
    pub(super) fn commit_rose(replica: &Replica) {
        let term = replica.position_at(replica.committed()).map(|position| position.term);
        assert_eq!(term, Some(replica.term()), "INV-16");
    }

    /// INV-2, INV-3, INV-4, INV-12: what leaves a node is durable there.
    pub(super) fn leaves(node: &Node, to: NodeId, message: &Message, stands_on: Option<Position>) {
        let disk = &node.disk;
        match message {
            Message::VoteReply { term, granted: true } => {
                let stands = disk.hard_state.term > *term
                    || (disk.hard_state.term == *term && disk.hard_state.vote == Some(to));
                assert!(stands, "INV-2: {} tells a vote it can forget", node.id);
                assert!(!disk.damaged, "INV-10");
            }
            Message::Vote { term, .. } => {
                let stands = disk.hard_state.term > *term
                    || (disk.hard_state.term == *term && disk.hard_state.vote == Some(node.id));
                assert!(stands, "INV-2: {} asks before its own vote is durable", node.id);
            }
            Message::AppendReply {
                term,
                result: AppendResult::Matched(index) | AppendResult::NeedsState { matched: index },
                ..
            } => {
                let held = stands_on.is_none_or(|position| disk.holds(position));
                assert!(held && disk.last() >= *index, "INV-12: {} acknowledges {index}", node.id);
                assert!(disk.hard_state.term >= *term, "INV-4");
                assert!(!disk.damaged, "INV-34");
            }
            Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::VoteReply { granted: false, .. }
            | Message::Append { .. }
            | Message::AppendReply { .. }
            | Message::SnapshotOffer { .. }
            | Message::TimeoutNow { .. } => {}
        }
    }

    /// INV-18, INV-20, INV-21.
    pub(super) fn applies(&mut self, node: &Node, entry: &Entry) {
        assert_eq!(entry.index(), node.state.applied.next(), "INV-20: {} skips", node.id);
        assert!(node.disk.holds(entry.position), "INV-21: {} applies {entry:?}", node.id);
        let known = self.applied.entry(entry.index()).or_insert_with(|| entry.clone());
        assert_eq!(known, entry, "INV-20 on {}", node.id);
    }

    /// INV-66: what only its leader held.
    pub(super) fn acknowledges_alone(&mut self, position: Position) {
        self.alone.insert(position);
        self.acknowledged_count += 1;
    }

    pub(super) fn forgive_what_one_disk_held(&mut self) {
        let applied = &self.applied;
        self.alone.retain(|position| {
            applied.get(&position.index).is_some_and(|entry| entry.position == *position)
        });
    }

    pub(super) fn saves(&mut self, entries: &[Entry]) {
        self.saved.extend(entries.iter().map(|entry| entry.position));
    }

    /// INV-66: whatever was acknowledged is applied, or saved, or yet to be cut from a log.
    pub(super) fn nothing_is_missing(&self, nodes: &BTreeMap<NodeId, Node>) {
        for position in &self.alone {
            let applied = self.applied.get(&position.index).map(|entry| entry.position);
            let kept = applied == Some(*position) || self.saved.contains(position);
            let uncut = nodes.values().any(|node| node.disk.has(*position));
            assert!(kept || uncut, "INV-66: {position:?}, applied {applied:?}");
        }
    }

    pub(super) fn acknowledges(&mut self, position: Position) {
        assert_eq!(self.applied[&position.index].position, position, "INV-22");
        self.acknowledged = self.acknowledged.max(position.index);
        self.acknowledged_count += 1;
    }
}

/// INV-60: the newest configuration that a majority holds and every later one, through `newest`, let `position` pass. Majorities
/// are of the newest voters.
fn passes(
    replica: &Replica,
    newest: &Configuration,
    position: Position,
    holds: impl Fn(&NodeId, Position) -> bool,
) -> bool {
    let on_a_majority = |voters: &BTreeSet<NodeId>, position: Position| {
        voters.iter().filter(|node| holds(node, position)).count() >= majority(voters.len())
    };
    let (base, last) = (replica.base().index.0, replica.last().index.0);
    let mut rules: Vec<&Configuration> = vec![replica.configuration_at(LogIndex(base))];
    for index in base + 1..=last {
        let configuration = replica.configuration_at(LogIndex(index));
        if rules.last() == Some(&configuration) {
            continue;
        }
        if rules.last() == Some(&newest) {
            break;
        }
        rules.push(configuration);
        let at = replica.position_at(LogIndex(index)).expect("it is in the log");
        // Once a majority held it, it counts, whatever voters came later.
        let counted = [&configuration.voters, &newest.voters];
        if counted.into_iter().any(|voters| on_a_majority(voters, at)) {
            rules = vec![configuration];
        }
    }
    rules.iter().all(|configuration| match &configuration.rule {
        Rule::Quorum | Rule::Async => on_a_majority(&newest.voters, position),
        Rule::InSync(set) => set.iter().all(|node| holds(node, position)),
    })
}
