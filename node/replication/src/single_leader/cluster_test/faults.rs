//! What clients ask and what goes wrong, drawn from the seed every 10 ms.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_model::{Durability, LogIndex, NodeId, OnLoss};

use super::world::{World, ms};
use crate::single_leader::{Input, ProposalId, ReadId};

impl World {
    pub(super) fn turn(&mut self) {
        if self.busy {
            self.ask();
        }
        self.flush();
        if self.draws(self.faults.partition) {
            self.partition();
        }
        if self.draws(self.faults.crash) {
            self.crash_one();
        }
        if self.draws(self.faults.pause) {
            let node = self.any_node();
            let duration = ms(100 + self.random.next() % 4_000);
            self.pause(node, duration);
        }
        if self.draws(self.faults.spoil) {
            self.spoil();
        }
        if self.draws(self.faults.compact) {
            self.compact();
        }
        if self.draws(self.faults.handover) {
            let node = self.any_node();
            let to = self.any_node();
            let input = match self.random.next() % 3 {
                0 => Input::DiskStalled,
                1 => Input::Transfer { to: None },
                _ => Input::Transfer { to: Some(to) },
            };
            self.give(node, input);
        }
        if self.draws(self.faults.retarget) {
            self.retarget();
        }
        if self.draws(self.faults.policy) {
            self.change_policy();
        }
    }

    /// Writes and reads, wherever somebody believes to lead.
    fn ask(&mut self) {
        for node in self.ids() {
            let running = self.nodes[&node].paused_until.is_none_or(|until| until <= self.now);
            let leads = self.nodes[&node].replica.as_ref().is_some_and(|one| one.is_leading());
            if running && leads && self.one_in(3) {
                self.write(node);
            }
            if running && (leads && self.one_in(4) || self.one_in(200)) {
                self.read(node);
            }
        }
    }

    fn write(&mut self, node: NodeId) {
        self.requests += 1;
        let id = ProposalId(self.requests);
        let size = usize::try_from(self.random.next() % 60).unwrap();
        let mut command = self.requests.to_le_bytes().to_vec();
        command.resize(8 + size, 0);
        self.give(node, Input::Propose { id, command: Bytes::from(command) });
        self.dispatch(node);
    }

    /// Now and then more comes together.
    fn dispatch(&mut self, node: NodeId) {
        if !self.one_in(3) {
            self.give(node, Input::Dispatch);
        }
    }

    pub(super) fn read(&mut self, node: NodeId) {
        if self.nodes[&node].replica.is_some() {
            self.requests += 1;
            let id = ReadId(self.requests);
            let floor = self.checks.acknowledged.0;
            self.node(node).reads.insert(id, floor);
            self.give(node, Input::Read { id });
            self.dispatch(node);
        }
    }

    /// The state stores flush now and then.
    fn flush(&mut self) {
        if self.one_in(10) {
            let node = self.any_node();
            let node = self.node(node);
            // INV-42.
            assert!(node.state.applied <= node.disk.last() || node.disk.damaged);
            if !node.installing && !node.spoiled && node.replica.is_some() {
                node.disk.flushed = node.state;
            }
        }
    }

    fn partition(&mut self) {
        self.cuts.clear();
        let (one, other) = (self.any_node(), self.any_node());
        match self.random.next() % 5 {
            // Healed.
            0 => {}
            1 => {
                self.cuts.insert((one, other));
            }
            2 => self.cuts.extend([(one, other), (other, one)]),
            3 => {
                for peer in self.ids() {
                    self.cuts.extend([(one, peer), (peer, one)]);
                }
            }
            _ => {
                for peer in self.ids() {
                    self.cuts.insert((peer, one));
                }
            }
        }
    }

    fn crash_one(&mut self) {
        let node = self.any_node();
        self.crash(node);
        let after = ms(20 + self.random.next() % 2_000);
        self.start_later(node, after);
    }

    pub(super) fn crash(&mut self, id: NodeId) {
        let kept = usize::try_from(self.random.next() % 4).unwrap();
        let damage = self.random.next() % 100 < self.faults.damage;
        let place = usize::try_from(self.random.next() % 1_000).unwrap();
        let others_whole = self.all_whole();
        let enough = self.nodes[&id]
            .replica
            .as_ref()
            .is_some_and(|replica| replica.configuration().voters.len() >= 3);
        let node = self.node(id);
        if node.replica.is_none() {
            return;
        }
        node.crash(kept);
        if damage && others_whole && enough {
            node.disk.damage(place, id);
            // What only this disk held cannot be read from it any more.
            self.checks.forgive_what_one_disk_held();
        }
        for peer in self.ids() {
            if peer != id && !self.one_in(4) {
                let after = ms(1 + self.random.next() % 20);
                self.give_later(peer, after, Input::PeerRefused { peer: id });
            }
        }
    }

    fn spoil(&mut self) {
        let id = self.any_node();
        let whole = self.all_whole();
        let node = self.node(id);
        let enough = node.replica.as_ref().is_some_and(|one| one.configuration().voters.len() >= 3);
        if whole && enough && !node.installing {
            node.spoiled = true;
            self.give(id, Input::StateDamaged);
        }
    }

    fn all_whole(&self) -> bool {
        self.nodes.values().all(|node| !node.disk.damaged && !node.spoiled)
    }

    fn compact(&mut self) {
        let node = self.any_node();
        let kept = self.random.next() % 6;
        let node = self.node(node);
        let Some(replica) = &node.replica else { return };
        let through = LogIndex(node.disk.flushed.applied.0.saturating_sub(kept));
        let id = node.id;
        let applied = replica.applied();
        if node.disk.damaged
            || node.installing
            || through <= replica.base().index
            || through > applied
        {
            return;
        }
        let position = replica.position_at(through).unwrap();
        let configuration = replica.configuration_at(through).clone();
        node.disk.start(position, configuration.clone());
        self.give(id, Input::Compacted { position, configuration });
    }

    fn retarget(&mut self) {
        let all: Vec<NodeId> = self.ids();
        let count = [1, 3, 3, 4, 5][usize::try_from(self.random.next() % 5).unwrap()];
        // With a damaged one among two or fewer nobody could lead.
        let count = if self.faults.damage > 0 { count.max(3) } else { count };
        let mut voters = BTreeSet::new();
        while voters.len() < count.min(all.len()) {
            voters.insert(self.any_node());
        }
        let mut learners: BTreeSet<NodeId> = BTreeSet::new();
        if self.one_in(2) {
            learners.insert(self.any_node());
        }
        let learners = learners.difference(&voters).copied().collect();
        let preferred = self.any_node();
        let preferred = Some(preferred).filter(|_| self.one_in(2));
        self.set_target(voters, learners, preferred);
    }

    pub(super) fn change_policy(&mut self) {
        let draw = self.random.next();
        let on_loss = [OnLoss::Replace, OnLoss::Shrink, OnLoss::Block]
            [usize::try_from(draw / 4 % 3).unwrap()];
        let durability =
            [Durability::Quorum, Durability::Async, Durability::SemiSync, Durability::Sync]
                [usize::try_from(draw % 4).unwrap()];
        self.set_policy(durability, on_loss);
    }

    fn draws(&mut self, of_a_thousand: u64) -> bool {
        self.random.next() % 1_000 < of_a_thousand
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.random.next().is_multiple_of(count)
    }

    fn any_node(&mut self) -> NodeId {
        let all = self.ids();
        all[usize::try_from(self.random.next()).unwrap() % all.len()]
    }
}
