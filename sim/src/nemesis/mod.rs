//! What goes wrong: one fault after the other from the run's menu, each with what it brings later.
//!
//! Nothing here may lose what a group cannot bear to lose: a volume or a log goes only while every group has all its other
//! replicas whole (`Cluster::may_wipe`).

mod disks;
mod links;
mod menu;
mod processes;

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_group::host::Request;
use quorate_model::Mode;
use quorate_model::admin::Role;
use rand::RngExt;

pub(crate) use menu::{Fault, Menu};

use crate::cluster::{Cluster, Event};
use crate::machine::{Machine, MachineId};
use crate::verdict::Verdict;

/// What a fault brings later.
#[derive(Clone, Debug)]
pub(crate) enum Storm {
    HealNetwork,
    DiskRecovers {
        machine: MachineId,
    },
    Resume {
        machine: MachineId,
    },
    TopologyArrives {
        machine: MachineId,
    },
    /// Of a restart storm: that many kills are left.
    KillAgain {
        machine: MachineId,
        left: u32,
    },
    /// A flapping link changes its state; that many changes are left.
    Flap {
        one: MachineId,
        other: MachineId,
        left: u32,
    },
    Clog {
        machine: MachineId,
        until: quorate_model::Time,
    },
    Replay,
    /// A bit flips as soon as its replicas can be spared; that many times it is tried still.
    FlipBit {
        machine: MachineId,
        left: u32,
    },
    /// A machine goes, or a datacenter goes on alone, and comes back after the run's `absence`.
    Leave,
    Rejoin,
    Strobe {
        machine: MachineId,
        left: u32,
    },
}

impl Cluster {
    /// One fault, and the next one is scheduled.
    pub(crate) fn fault(&mut self) -> Verdict {
        if !self.stormy {
            return Ok(());
        }
        let pause = self.options.fault_every.mul_f64(self.random.random_range(0.1..2.0));
        self.schedule_in(pause, Event::Fault);
        let Some(fault) = self.options.menu.order(&mut self.random) else { return Ok(()) };
        let anybody = MachineId(self.random.random_range(0..self.machines.len()));
        let aimed = self.random.random_ratio(self.options.aimed, 10);
        let id = if aimed { self.a_leader().unwrap_or(anybody) } else { anybody };
        let other = MachineId(
            (id.0 + self.random.random_range(1..self.machines.len())) % self.machines.len(),
        );
        self.mark(|| format!("fault: {fault:?} at {id:?} (other {other:?})"));
        self.begin(fault, id, other)
    }

    fn begin(&mut self, fault: Fault, id: MachineId, other: MachineId) -> Verdict {
        match fault {
            Fault::Kill => self.kill_if_running(id),
            Fault::KillForLong => self.kill_for_long(id),
            Fault::RestartStorm => self.kill_again(id, 8),
            Fault::KillFilling => self.kills_filling = true,
            Fault::Pause => self.pause(id),
            Fault::Handover => return self.hand_over(id),
            Fault::DeafHandover => {
                // A client's request is to find it leading still.
                let leader = self.a_leader().unwrap_or(id);
                self.deaf_at_handover = Some(leader);
                return self.hand_over(leader);
            }
            Fault::PowerLoss => self.lose_power(id),
            Fault::Blackout => {
                for machine in 0..self.machines.len() {
                    self.lose_power(MachineId(machine));
                }
            }
            Fault::StallDisk => self.stall_disk(id),
            Fault::SlowDisk => self.slow_disk(id),
            Fault::FailSync => self.fail_sync(id),
            Fault::FailWrite => self.fail_write(id),
            Fault::FullDisk => self.fill_disk(id),
            Fault::FlipBit => self.flip_bit(id, 20),
            Fault::FlipRow => self.flip_row(id),
            Fault::FailRow => self.fail_row(id),
            Fault::Wipe => self.wipe(id),
            Fault::Cut => self.cut(id, other),
            Fault::CutOneWay => self.cut_one_way(id, other),
            Fault::Isolate => self.isolate(id),
            Fault::Deafen => self.deafen(id, 1_000..7_000),
            Fault::Split => self.split(None),
            Fault::CutDatacenters => self.cut_datacenters(),
            Fault::Bridge => self.split(Some(id)),
            Fault::Flap => self.flap(id, other, 20),
            Fault::Clog => self.clog(id, other),
            Fault::SwizzleClog => self.swizzle_clog(),
            Fault::SlowLink => self.slow_link(id, other),
            Fault::LagTopology => self.lag_topology(id),
            Fault::Replay => self.replay_later(),
            Fault::JumpClock => self.jump_clock(id),
            Fault::StrobeClock => self.strobe(id, 30),
        }
        Ok(())
    }

    fn hand_over(&mut self, id: MachineId) -> Verdict {
        let machine = &self.machines[id.0];
        if machine.is_running() && machine.paused_until.is_none() {
            return self.ask(id, Request::Handover);
        }
        Ok(())
    }

    /// What an earlier fault brings.
    pub(crate) fn storm(&mut self, storm: Storm) -> Verdict {
        match storm {
            Storm::HealNetwork => self.network.heal(),
            Storm::Rejoin => self.network.part(BTreeSet::new()),
            Storm::DiskRecovers { machine } => self.disk_recovers(machine),
            Storm::Resume { machine } => self.resume(machine),
            Storm::TopologyArrives { machine } => {
                self.lagging.remove(&machine);
            }
            Storm::KillAgain { machine, left } if self.stormy => self.kill_again(machine, left),
            Storm::Flap { one, other, left } if self.stormy => self.flap(one, other, left),
            Storm::Clog { machine, until } if self.stormy => self.clog_all(machine, until),
            Storm::Replay if self.stormy => self.replay(),
            Storm::Leave if self.stormy => self.leave(),
            Storm::FlipBit { machine, left } if self.stormy => self.flip_bit(machine, left),
            Storm::Strobe { machine, left } if self.stormy => self.strobe(machine, left),
            // The storm is over.
            Storm::KillAgain { .. }
            | Storm::Flap { .. }
            | Storm::Clog { .. }
            | Storm::Replay
            | Storm::Leave
            | Storm::FlipBit { .. }
            | Storm::Strobe { .. } => {}
        }
        Ok(())
    }

    /// Everything is repaired, and nothing breaks from now on.
    pub(crate) fn heal(&mut self) -> Verdict {
        self.stormy = false;
        self.lagging.clear();
        self.network.calm();
        for index in 0..self.machines.len() {
            self.disk_recovers(MachineId(index));
            self.machines[index].paused_until = None;
            // What a clock that stays ahead writes others take only as long after.
            if self.options.mode != Mode::SingleLeader {
                self.machines[index].jump_wall_clock(0);
            }
            let incarnation = self.machines[index].incarnation;
            self.restart(MachineId(index))?;
            if self.machines[index].incarnation == incarnation {
                self.machines[index].wakes_at = Some(self.now);
                self.schedule(self.now, Event::Wake { machine: MachineId(index), incarnation });
            }
        }
        Ok(())
    }

    fn a_leader(&self) -> Option<MachineId> {
        let leads = |machine: &&Machine| {
            let mut replicas =
                machine.groups().into_iter().filter_map(|group| machine.replica(group));
            replicas.any(|replica| replica.role() == Role::Leader)
        };
        self.machines.iter().filter(leads).map(|machine| machine.id).next_back()
    }

    fn later(&mut self, millis: std::ops::Range<u64>, storm: Storm) {
        let delay = self.millis(millis);
        self.schedule_in(delay, Event::Storm(storm));
    }

    fn millis(&mut self, millis: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.random_range(millis))
    }
}
