//! What goes wrong: drawn one at a time from the faults that the run's options allow.

use std::io;
use std::time::Duration;

use quorate_group::host::Request;
use quorate_storage::disk::simulated::Target;
use rand::RngExt;

use crate::cluster::{Cluster, Event};
use crate::machine::MachineId;
use crate::options::Faults;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Kill,
    PowerLoss,
    Pause,
    Cut,
    CutOneWay,
    Isolate,
    Clog,
    StallDisk,
    FailSync,
    Wipe,
    Handover,
    JumpClock,
}

impl Cluster {
    /// One fault, and the next one is scheduled.
    pub(crate) fn fault(&mut self) -> Result<(), String> {
        if !self.stormy {
            return Ok(());
        }
        let pause = self.options.fault_every.mul_f64(self.random.random_range(0.1..2.0));
        self.schedule_in(pause, Event::Fault);
        let Some(fault) = self.draw_fault() else { return Ok(()) };
        let id = MachineId(self.random.random_range(0..self.machines.len()));
        let other = MachineId(
            (id.0 + self.random.random_range(1..self.machines.len())) % self.machines.len(),
        );
        self.note(|| format!("fault: {fault:?} at {id:?} (other {other:?})"));
        match fault {
            Fault::Kill => self.kill_if_running(id),
            Fault::PowerLoss => {
                if self.machines[id.0].is_running() {
                    let node = self.machines[id.0].node;
                    self.machines[id.0].lose_power(&mut self.random);
                    self.after_death(id, node);
                }
            }
            Fault::Pause => {
                let until =
                    self.now.after(Duration::from_millis(self.random.random_range(50..3_000)));
                self.pause(id, until);
            }
            Fault::Cut => {
                let (one, two) = (self.machines[id.0].node, self.machines[other.0].node);
                self.network.cut(one, two);
                self.network.cut(two, one);
                self.unclog_later();
            }
            Fault::CutOneWay => {
                self.network.cut(self.machines[id.0].node, self.machines[other.0].node);
                self.unclog_later();
            }
            Fault::Isolate => self.isolate(id),
            Fault::Clog => {
                let until =
                    self.now.after(Duration::from_millis(self.random.random_range(10..2_000)));
                self.network.clog(self.machines[id.0].node, self.machines[other.0].node, until);
            }
            Fault::StallDisk => {
                self.machines[id.0].disk.stall(true);
                let until =
                    self.now.after(Duration::from_millis(self.random.random_range(50..5_000)));
                self.schedule(until, Event::DiskRecovers { machine: id });
            }
            Fault::FailSync => {
                if self.machines[id.0].is_running() {
                    self.machines[id.0].disk.fail_next(Target::Sync, io::ErrorKind::Other);
                }
            }
            Fault::Wipe => self.wipe(id),
            Fault::Handover => {
                if self.machines[id.0].is_running() && self.machines[id.0].paused_until.is_none() {
                    return self.ask(id, Request::Handover);
                }
            }
            Fault::JumpClock => {
                let ahead = self.random.random_range(0..100_000);
                self.machines[id.0].jump_wall_clock(ahead);
            }
        }
        Ok(())
    }

    /// Everything is repaired, and nothing breaks from now on.
    pub(crate) fn heal(&mut self) -> Result<(), String> {
        self.stormy = false;
        self.network.calm();
        for index in 0..self.machines.len() {
            self.machines[index].disk.stall(false);
            self.machines[index].paused_until = None;
            let incarnation = self.machines[index].incarnation;
            self.restart(MachineId(index))?;
            if self.machines[index].incarnation == incarnation {
                self.schedule(self.now, Event::Wake { machine: MachineId(index), incarnation });
            }
        }
        Ok(())
    }

    pub(crate) fn resume(&mut self, id: MachineId) {
        let machine = &mut self.machines[id.0];
        if machine.paused_until.is_some_and(|until| until <= self.now) {
            machine.paused_until = None;
        }
    }

    fn draw_fault(&mut self) -> Option<Fault> {
        let weights = weights(&self.options.faults);
        let total: u32 = weights.iter().map(|(weight, _)| weight).sum();
        if total == 0 {
            return None;
        }
        let mut drawn = self.random.random_range(0..total);
        for (weight, fault) in weights {
            if drawn < weight {
                return Some(fault);
            }
            drawn -= weight;
        }
        None
    }

    fn kill_if_running(&mut self, id: MachineId) {
        if self.machines[id.0].is_running() {
            self.kill(id);
        }
    }

    fn pause(&mut self, id: MachineId, until: quorate_model::Time) {
        let machine = &mut self.machines[id.0];
        if machine.is_running() && machine.paused_until.is_none() {
            machine.paused_until = Some(until);
            self.schedule(until, Event::Resume { machine: id });
        }
    }

    fn isolate(&mut self, id: MachineId) {
        let node = self.machines[id.0].node;
        for other in 0..self.machines.len() {
            if other != id.0 {
                let peer = self.machines[other].node;
                self.network.cut(node, peer);
                self.network.cut(peer, node);
            }
        }
        self.unclog_later();
    }

    /// A volume is lost, but never so many that nobody could know what was acknowledged: the replicas of every group
    /// outnumber the losses only while the earlier loss is repaired.
    fn wipe(&mut self, id: MachineId) {
        if !self.may_wipe(id) {
            return;
        }
        let node = self.machines[id.0].node;
        self.checkers.identities.lose(node);
        self.machines[id.0].wipe(&mut self.random);
        self.wiped += 1;
        self.after_death(id, node);
    }

    fn unclog_later(&mut self) {
        let delay = Duration::from_millis(self.random.random_range(100..4_000));
        self.schedule_in(delay, Event::HealNetwork);
    }
}

fn weights(faults: &Faults) -> [(u32, Fault); 12] {
    let Faults {
        kill,
        power_loss,
        pause,
        cut,
        cut_one_way,
        isolate,
        clog,
        stall_disk,
        fail_sync,
        wipe,
        handover,
        jump_clock,
    } = *faults;
    [
        (kill, Fault::Kill),
        (power_loss, Fault::PowerLoss),
        (pause, Fault::Pause),
        (cut, Fault::Cut),
        (cut_one_way, Fault::CutOneWay),
        (isolate, Fault::Isolate),
        (clog, Fault::Clog),
        (stall_disk, Fault::StallDisk),
        (fail_sync, Fault::FailSync),
        (wipe, Fault::Wipe),
        (handover, Fault::Handover),
        (jump_clock, Fault::JumpClock),
    ]
}
