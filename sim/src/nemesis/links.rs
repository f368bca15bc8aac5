//! Links that are cut, clogged, slow, or bring back what is long past.

use std::time::Duration;

use quorate_model::Time;
use rand::RngExt;
use rand::seq::SliceRandom;

use super::Storm;
use crate::cluster::{Cluster, Event};
use crate::machine::MachineId;

impl Cluster {
    pub(super) fn cut(&mut self, one: MachineId, other: MachineId) {
        self.separate(one, other);
        self.later(100..4_000, Storm::HealNetwork);
    }

    pub(super) fn cut_one_way(&mut self, from: MachineId, to: MachineId) {
        self.network.cut(self.machines[from.0].node, self.machines[to.0].node);
        self.later(100..4_000, Storm::HealNetwork);
    }

    /// This machine tells a successor to stand.
    pub(crate) fn hands_over(&mut self, id: MachineId) {
        if self.stormy && self.deaf_at_handover.take_if(|armed| *armed == id).is_some() {
            self.mark(|| format!("{id:?} hands over and is deaf from now on"));
            self.deafen(id, 1_000..4_000);
            // Longer than it leads without answers.
            self.clients.stay_at(id, self.now.after(Duration::from_secs(2)));
        }
    }

    pub(super) fn deafen(&mut self, id: MachineId, millis: std::ops::Range<u64>) {
        let node = self.machines[id.0].node;
        for other in 0..self.machines.len() {
            if other != id.0 {
                self.network.cut(self.machines[other].node, node);
            }
        }
        self.later(millis, Storm::HealNetwork);
    }

    pub(super) fn isolate(&mut self, id: MachineId) {
        for other in 0..self.machines.len() {
            if other != id.0 {
                self.separate(id, MachineId(other));
            }
        }
        self.later(100..4_000, Storm::HealNetwork);
    }

    /// Two halves that do not reach each other; `bridge` reaches both.
    pub(super) fn split(&mut self, bridge: Option<MachineId>) {
        let sides: Vec<bool> = self.machines.iter().map(|_| self.random.random_bool(0.5)).collect();
        for one in 0..sides.len() {
            for other in one + 1..sides.len() {
                let bridged = bridge.is_some_and(|bridge| bridge.0 == one || bridge.0 == other);
                if sides[one] != sides[other] && !bridged {
                    self.separate(MachineId(one), MachineId(other));
                }
            }
        }
        self.later(100..4_000, Storm::HealNetwork);
    }

    pub(super) fn cut_datacenters(&mut self) {
        for one in 0..self.machines.len() {
            for other in one + 1..self.machines.len() {
                if self.machines[one].datacenter() != self.machines[other].datacenter() {
                    self.separate(MachineId(one), MachineId(other));
                }
            }
        }
        self.later(500..8_000, Storm::HealNetwork);
    }

    /// One datacenter goes on alone, for the run's absence.
    pub(super) fn part_datacenter(&mut self, absence: Duration) {
        let id = self.random.random_range(0..self.machines.len());
        let place = self.machines[id].datacenter().clone();
        let there = self.machines.iter().filter(|machine| *machine.datacenter() == place);
        self.network.part(there.map(|machine| machine.node).collect());
        self.schedule_in(absence, Event::Storm(Storm::Rejoin));
    }

    pub(super) fn flap(&mut self, one: MachineId, other: MachineId, left: u32) {
        let (here, there) = (self.machines[one.0].node, self.machines[other.0].node);
        if left.is_multiple_of(2) && left > 0 {
            self.separate(one, other);
        } else {
            self.network.mend(here, there);
            self.network.mend(there, here);
        }
        if left > 0 {
            self.later(20..500, Storm::Flap { one, other, left: left - 1 });
        }
    }

    pub(super) fn clog(&mut self, from: MachineId, to: MachineId) {
        let until = self.now.after(self.millis(10..5_000));
        self.network.clog(self.machines[from.0].node, self.machines[to.0].node, until);
    }

    pub(super) fn swizzle_clog(&mut self) {
        let mut chosen: Vec<MachineId> = self.machines.iter().map(|machine| machine.id).collect();
        chosen.retain(|_| self.random.random_bool(0.6));
        chosen.shuffle(&mut self.random);
        for machine in chosen {
            let begins = self.now.after(self.millis(0..1_500));
            let until = begins.after(self.millis(100..3_000));
            self.schedule(begins, Event::Storm(Storm::Clog { machine, until }));
        }
    }

    pub(super) fn clog_all(&mut self, id: MachineId, until: Time) {
        let node = self.machines[id.0].node;
        for other in 0..self.machines.len() {
            if other != id.0 {
                let peer = self.machines[other].node;
                self.network.clog(node, peer, until);
                self.network.clog(peer, node, until);
            }
        }
    }

    pub(super) fn slow_link(&mut self, from: MachineId, to: MachineId) {
        let by = self.millis(20..500);
        let until = self.now.after(self.millis(500..8_000));
        let (from, to) = (self.machines[from.0].node, self.machines[to.0].node);
        self.network.slow_down(from, to, by, until);
        if self.random.random_bool(0.5) {
            self.network.slow_down(to, from, by, until);
        }
    }

    pub(super) fn lag_topology(&mut self, id: MachineId) {
        self.lagging.insert(id);
        self.later(1_000..8_000, Storm::TopologyArrives { machine: id });
    }

    pub(super) fn replay_later(&mut self) {
        let longest = self.options.absence.unwrap_or(Duration::from_secs(6));
        let delay = longest.mul_f64(self.random.random_range(0.002..1.0));
        self.schedule_in(delay, Event::Storm(Storm::Replay));
    }

    pub(super) fn replay(&mut self) {
        for old in self.network.replayed() {
            let at = self.now.after(self.millis(0..50));
            let (from, to, group, message) = (old.from, old.to, old.group, old.message);
            self.schedule(at, Event::Deliver { from, to, group, message });
        }
    }

    fn separate(&mut self, one: MachineId, other: MachineId) {
        let (here, there) = (self.machines[one.0].node, self.machines[other.0].node);
        self.network.cut(here, there);
        self.network.cut(there, here);
    }
}
