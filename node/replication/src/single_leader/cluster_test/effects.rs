//! What a replica's outputs do: to its disk, on the network, to the state machine, and to snapshots.

use std::time::Duration;

use quorate_model::{LogIndex, NodeId, Position};

use super::checks::Checks;
use super::disk::{Persist, State};
use super::node::{Held, Node};
use super::world::{Event, World, ms};
use crate::single_leader::{
    AppendResult, Configuration, Entry, Input, Message, Output, PersistId, When,
};

/// A snapshot on its way.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    from: NodeId,
    from_incarnation: u64,
    to: NodeId,
    position: Position,
    configuration: Configuration,
    state: State,
}

impl World {
    pub(super) fn carry_out(&mut self, id: NodeId, output: Output) {
        match output {
            Output::Persist { id: persist, hard_state, truncate_from, entries } => {
                self.persist(id, Persist { id: persist, hard_state, truncate_from, entries });
            }
            Output::Send { to, message, when } => self.hold_or_send(id, to, message, when),
            Output::Apply { entries } => self.apply(id, &entries),
            Output::Proposed { id: proposal, position } => {
                self.node(id).proposals.insert(position, proposal);
            }
            Output::ReadReady { id: read, index } => {
                let floor = self.node(id).reads.remove(&read).unwrap();
                assert!(index.0 >= floor, "INV-24: read at {index}, acknowledged {floor}");
                self.checks.reads_answered += 1;
            }
            Output::ReadDropped { id: read, .. } => {
                self.node(id).reads.remove(&read);
            }
            Output::ProposalDropped { .. }
            | Output::Leadership { .. }
            | Output::RuleChanged { .. } => {}
            Output::Acknowledged { through } => self.acknowledged(id, through),
            Output::RolledBack { entries, .. } => self.checks.saves(&entries),
            Output::LoadEntries { to, from, bytes_max } => {
                let entries = self.node(id).disk.load(from, bytes_max);
                let after = Duration::from_micros(self.random.next() % 5_000);
                self.give_later(id, after, Input::Loaded { to, from, entries });
            }
            Output::SendSnapshot { to } => self.send_snapshot(id, to),
        }
    }

    pub(super) fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    pub(super) fn give_later(&mut self, node: NodeId, after: Duration, input: Input) {
        let incarnation = self.nodes[&node].incarnation;
        self.schedule(after, Event::Give { node, incarnation, input });
    }

    // The disk.

    fn persist(&mut self, id: NodeId, persist: Persist) {
        let takes = match self.random.next() % 10_000 {
            draw if draw < self.faults.stall => ms(300 + self.random.next() % 1_500),
            _ => Duration::from_micros(50 + self.random.next() % 3_000),
        };
        let now = self.now;
        let node = self.nodes.get_mut(&id).unwrap();
        let replica = node.replica.as_ref().unwrap();
        if let Some(first) = persist.entries.first() {
            let before = replica.position_at(first.index().previous()).unwrap();
            self.checks.appended(before, &persist.entries);
        }
        let (persisted, incarnation) = (persist.id, node.incarnation);
        node.disk.pending.push_back(persist);
        node.disk_free_at = node.disk_free_at.max(now).after(takes);
        let after = node.disk_free_at.since(now);
        self.schedule(after, Event::Persisted { node: id, incarnation, id: persisted });
    }

    pub(super) fn persisted(&mut self, id: NodeId, persist: PersistId) {
        // One after the other: what an earlier one let go was true before a later one cut it.
        while let Some(oldest) = self.node(id).disk.pending.front().map(|pending| pending.id)
            && oldest <= persist
        {
            let node = self.node(id);
            node.disk.complete(oldest);
            for Held { to, message, stands_on, .. } in node.release(oldest) {
                Checks::leaves(&self.nodes[&id], to, &message, stands_on);
                self.send(id, to, message);
            }
        }
        self.give(id, Input::Persisted { id: persist });
    }

    fn apply(&mut self, id: NodeId, entries: &[Entry]) {
        if self.nodes[&id].spoiled {
            return;
        }
        for entry in entries {
            self.checks.applies(&self.nodes[&id], entry);
            let node = self.node(id);
            node.state.apply(entry);
            if node.proposals.remove(&entry.position).is_some() {
                self.checks.acknowledges(entry.position);
            }
        }
        let index = self.nodes[&id].state.applied;
        let after = Duration::from_micros(self.random.next() % 2_000);
        self.give_later(id, after, Input::Applied { index });
    }

    /// Under `Async`: what the leader's own disk holds is acknowledged.
    fn acknowledged(&mut self, id: NodeId, through: LogIndex) {
        let node = &self.nodes[&id];
        let last = node.replica.as_ref().unwrap().position_at(through).unwrap();
        assert!(node.disk.holds(last), "INV-17: {id} acknowledges {last:?}");
        // Those of earlier terms have another fate.
        let first = Position { term: last.term, index: LogIndex::ZERO };
        let proposals = &mut self.nodes.get_mut(&id).unwrap().proposals;
        let passed: Vec<Position> = proposals.range(first..=last).map(|(at, _)| *at).collect();
        for position in passed {
            proposals.remove(&position);
            self.checks.acknowledges_alone(position);
        }
    }

    // The network.

    fn hold_or_send(&mut self, id: NodeId, to: NodeId, message: Message, when: When) {
        let node = self.nodes.get_mut(&id).unwrap();
        let acknowledged = match &message {
            Message::AppendReply {
                result: AppendResult::Matched(index) | AppendResult::NeedsState { matched: index },
                ..
            } => Some(*index),
            Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::Vote { .. }
            | Message::VoteReply { .. }
            | Message::Append { .. }
            | Message::AppendReply { .. }
            | Message::SnapshotOffer { .. }
            | Message::TimeoutNow { .. } => None,
        };
        let replica = node.replica.as_ref().unwrap();
        let stands_on = acknowledged.and_then(|index| replica.position_at(index));
        match when {
            When::Now => {
                Checks::leaves(node, to, &message, stands_on);
                self.send(id, to, message);
            }
            When::Persisted(until) => node.held.push(Held { until, to, message, stands_on }),
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        if self.random.next() % 1_000 < self.faults.loss || !self.nodes.contains_key(&to) {
            return;
        }
        if self.random.next() % 1_000 < self.faults.repeat {
            let after = self.delay();
            self.schedule(after, Event::Deliver { from, to, message: message.clone() });
        }
        let after = self.delay();
        self.schedule(after, Event::Deliver { from, to, message });
    }

    fn delay(&mut self) -> Duration {
        match self.random.next() % 1_000 {
            draw if draw < self.faults.slow => ms(self.random.next() % 3_000),
            _ => Duration::from_micros(200 + self.random.next() % 4_000),
        }
    }

    // Snapshots.

    fn send_snapshot(&mut self, from: NodeId, to: NodeId) {
        let node = &self.nodes[&from];
        let (state, from_incarnation) = (node.state, node.incarnation);
        let replica = node.replica.as_ref().unwrap();
        let position = replica.position_at(state.applied).expect("what is applied is in the log");
        let configuration = replica.configuration_at(state.applied).clone();
        let spoiled = node.spoiled;
        let snapshot = Snapshot { from, from_incarnation, to, position, configuration, state };
        if spoiled {
            return self.snapshot_over(&snapshot, None);
        }
        let after = ms(5 + self.random.next() % 400);
        self.schedule(after, Event::Snapshot(snapshot));
    }

    pub(super) fn snapshot_arrives(&mut self, snapshot: Snapshot) {
        let (from, to) = (snapshot.from, snapshot.to);
        let lost = self.random.next() % 1_000 < 5 * self.faults.loss;
        let cut = self.cuts.contains(&(from, to)) || lost;
        let node = self.nodes.get_mut(&to).unwrap();
        let accepted =
            node.replica.as_ref().is_some_and(|replica| {
                !node.installing && replica.accepts_snapshot(snapshot.position)
            }) && snapshot.position.index >= node.state.applied;
        if cut || !accepted {
            return self.snapshot_over(&snapshot, None);
        }
        node.installing = true;
        let (node, incarnation) = (to, node.incarnation);
        let after = ms(1 + self.random.next() % 50);
        self.schedule(after, Event::Installed { node, incarnation, snapshot });
    }

    pub(super) fn installed(&mut self, id: NodeId, snapshot: Snapshot) {
        // The disk works in order: what was submitted before is durable before.
        if let Some(newest) = self.nodes[&id].disk.pending.back().map(|persist| persist.id) {
            self.persisted(id, newest);
        }
        self.checks.snapshots += 1;
        self.checks.repairs += u64::from(self.nodes[&id].disk.damaged);
        let replica = self.nodes[&id].replica.as_ref().unwrap();
        let (lost, _) = replica.rolled_back_by(snapshot.position);
        self.checks.saves(&lost);
        let node = self.node(id);
        assert!(snapshot.state.applied >= node.state.applied, "INV-33");
        node.installing = false;
        node.disk.start(snapshot.position, snapshot.configuration.clone());
        node.disk.flushed = snapshot.state;
        node.state = snapshot.state;
        node.spoiled = false;
        let (position, configuration) = (snapshot.position, snapshot.configuration.clone());
        self.give(id, Input::SnapshotInstalled { position, configuration });
        self.snapshot_over(&snapshot, Some(position));
    }

    pub(super) fn snapshot_over(&mut self, snapshot: &Snapshot, position: Option<Position>) {
        let (node, incarnation) = (snapshot.from, snapshot.from_incarnation);
        let input = Input::SnapshotSent { to: snapshot.to, position };
        let after = ms(self.random.next() % 10);
        self.schedule(after, Event::Give { node, incarnation, input });
    }
}
