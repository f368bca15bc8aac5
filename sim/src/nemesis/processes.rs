//! Processes that are killed and paused, and clocks that go wrong.

use std::time::Duration;

use rand::RngExt;

use super::Storm;
use crate::cluster::{Cluster, Event};
use crate::machine::MachineId;

impl Cluster {
    pub(crate) fn kill_if_running(&mut self, id: MachineId) {
        if self.machines[id.0].is_running() {
            self.kill(id);
        }
    }

    pub(super) fn kill_for_long(&mut self, id: MachineId) {
        if self.machines[id.0].is_running() {
            let node = self.machines[id.0].node;
            self.machines[id.0].kill(&mut self.random);
            let dead = self.millis(1_000..8_000);
            self.dead_for(id, node, dead);
        }
    }

    /// Killed, and again as soon as it runs, some more times.
    pub(super) fn kill_again(&mut self, id: MachineId, left: u32) {
        if self.machines[id.0].is_running() {
            let node = self.machines[id.0].node;
            self.machines[id.0].kill(&mut self.random);
            let dead = self.millis(5..200);
            self.dead_for(id, node, dead);
        }
        if left > 0 {
            self.later(10..600, Storm::KillAgain { machine: id, left: left - 1 });
        }
    }

    /// For so long that nothing of the log it would need is kept.
    pub(super) fn leave(&mut self) {
        let Some(absence) = self.options.absence else { return };
        if self.options.mode.multi_leader().is_some() && self.random.random_bool(0.7) {
            return self.part_datacenter(absence);
        }
        let id = MachineId(self.random.random_range(0..self.machines.len()));
        if !self.machines[id.0].is_running() {
            return;
        }
        let node = self.machines[id.0].node;
        self.machines[id.0].kill(&mut self.random);
        self.dead_for(id, node, absence);
    }

    pub(super) fn pause(&mut self, id: MachineId) {
        let longest = u64::try_from(self.options.pause_max.as_millis()).unwrap_or(u64::MAX);
        let until = self.now.after(self.millis(50..longest));
        let machine = &mut self.machines[id.0];
        if machine.is_running() && machine.paused_until.is_none() {
            machine.paused_until = Some(until);
            self.schedule(until, Event::Storm(Storm::Resume { machine: id }));
        }
    }

    pub(super) fn resume(&mut self, id: MachineId) {
        let machine = &mut self.machines[id.0];
        if machine.paused_until.is_some_and(|until| until <= self.now) {
            machine.paused_until = None;
        }
    }

    pub(super) fn jump_clock(&mut self, id: MachineId) {
        let ahead = self.random.random_range(0..100_000);
        self.machines[id.0].jump_wall_clock(ahead);
    }

    pub(super) fn strobe(&mut self, id: MachineId, left: u32) {
        self.jump_clock(id);
        if left > 0 {
            let delay = Duration::from_millis(self.random.random_range(4..200));
            let storm = Storm::Strobe { machine: id, left: left - 1 };
            self.schedule_in(delay, Event::Storm(storm));
        }
    }
}
