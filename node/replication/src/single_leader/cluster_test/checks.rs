//! What must hold whatever happens, seen from outside by someone who sees everything.

use std::collections::BTreeMap;

use quorate_model::{LogIndex, NodeId, Position, Term, majority};

use super::node::Node;
use crate::single_leader::{AppendResult, Configuration, Entry, Message, Payload, Replica};

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
        let is_on_a_majority = |configuration: &Configuration| {
            let holders = configuration.voters.iter().filter(|voter| {
                let disk = &nodes[voter].disk;
                // What it acknowledged before it was damaged has counted.
                disk.damaged || disk.holds(position)
            });
            holders.count() >= majority(configuration.voters.len())
        };
        // A commit may be followed by a change of the configuration in the same step.
        let held = is_on_a_majority(before) || is_on_a_majority(replica.configuration());
        assert!(held, "INV-16: {position:?} is not on a majority");
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
            Message::AppendReply { term, result: AppendResult::Matched(index), .. } => {
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

    pub(super) fn acknowledges(&mut self, position: Position) {
        assert_eq!(self.applied[&position.index].position, position, "INV-22");
        self.acknowledged = self.acknowledged.max(position.index);
        self.acknowledged_count += 1;
    }
}
