//! Machines at work: what a host wants done, messages that arrive, disks that complete, processes that begin and end.

use std::time::Duration;

use quorate_group::host::{FillMessage, Input, Output, PeerMessage, Rollback};
use quorate_model::{GroupId, NodeId};
use quorate_replication::single_leader::{Message, Replica};
use rand::RngExt;

use super::{Cluster, Event};
use crate::machine::{MachineId, Started};
use crate::verdict::{By, Verdict};

/// How often a disk that stands still is looked at.
const STALLED_LOOK: Duration = Duration::from_millis(50);
/// How long a process that cannot start is left alone.
const START_AGAIN: Duration = Duration::from_millis(500);

impl Cluster {
    /// Gives the machine's host an input and carries out what it wants.
    pub(crate) fn step(&mut self, machine: MachineId, input: Input) -> Verdict {
        let outputs = self.machines[machine.0].step(self.now, input);
        self.carry_out(machine, outputs)
    }

    fn carry_out(&mut self, machine: MachineId, outputs: Vec<Output>) -> Verdict {
        let from = self.machines[machine.0].node;
        for output in outputs {
            match output {
                Output::Send { to, group, message } => {
                    self.checkers.sent(self.now, &self.machines[machine.0], to, group, &message)?;
                    let stands =
                        matches!(message, PeerMessage::Replication(Message::TimeoutNow { .. }));
                    let stands = stands && group != GroupId::Meta;
                    self.send(from, to, group, message);
                    if stands {
                        self.hands_over(machine);
                    }
                }
                Output::Reply { id, reply } => self.reply(machine, id, reply)?,
                Output::Topology(topology) => {
                    self.mark(|| {
                        format!(
                            "{machine:?} epoch {} {:?} {:?} {:?}",
                            topology.epoch, topology.mode, topology.policy, topology.shards
                        )
                    });
                    let incarnation = self.machines[machine.0].incarnation;
                    let adopted = self.checkers.topology.adopted(from, incarnation, &topology);
                    adopted.by("topology")?;
                    self.checkers.steps.adopted(from, &topology).by("steps")?;
                }
                Output::SaveRollback { number, rollback } => {
                    let incarnation = self.machines[machine.0].incarnation;
                    let latency = self.options.disk_latency * self.machines[machine.0].disk_slower;
                    let saved = Event::RollbackSaved { machine, incarnation, number, rollback };
                    self.schedule_in(latency * 2, saved);
                }
                Output::StatusChanged => {}
                Output::Fatal { reason } => {
                    self.mark(|| format!("{machine:?} stops: {reason}"));
                    self.kill(machine);
                    return Ok(());
                }
            }
        }
        self.checkers.stepped(self.now, &self.machines[machine.0])?;
        if self.options.in_each.is_some() {
            let checked = self.checkers.checkpoints.check(self.now, machine, &self.machines);
            checked.by("checkpoints")?;
        }
        self.keep_going(machine);
        Ok(())
    }

    /// Schedules what the machine waits for.
    fn keep_going(&mut self, id: MachineId) {
        let slow = self.machines[id.0].disk_slower;
        let machine = &mut self.machines[id.0];
        if !machine.is_running() {
            return;
        }
        let incarnation = machine.incarnation;
        let mut events = Vec::new();
        if let Some(deadline) = machine.deadline().map(|deadline| deadline.max(self.now))
            && machine.wakes_at.is_none_or(|wakes| deadline < wakes)
        {
            machine.wakes_at = Some(deadline);
            events.push((deadline, Event::Wake { machine: id, incarnation }));
        }
        if machine.disk.pending() > 0 && !machine.disk_scheduled {
            machine.disk_scheduled = true;
            let latency = self.options.disk_latency.mul_f64(self.random.random_range(0.2..2.0));
            let at = self.now.after(latency * slow);
            events.push((at, Event::DiskCompletes { machine: id, incarnation }));
        }
        if machine.state.pending_flushes() > 0 && !machine.flush_scheduled {
            machine.flush_scheduled = true;
            let latency = Duration::from_millis(self.random.random_range(1..200));
            let at = self.now.after(latency);
            events.push((at, Event::FlushCompletes { machine: id, incarnation }));
        }
        for (at, event) in events {
            self.schedule(at, event);
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, group: GroupId, message: PeerMessage) {
        self.network.remember(&mut self.random, from, to, group, &message);
        for arrival in self.network.arrivals(&mut self.random, self.now, from, to) {
            let message = Box::new(message.clone());
            self.schedule(arrival, Event::Deliver { from, to, group, message });
        }
    }

    pub(super) fn deliver(
        &mut self,
        from: NodeId,
        to: NodeId,
        group: GroupId,
        message: Box<PeerMessage>,
    ) -> Verdict {
        let Some(machine) =
            self.machines.iter().find(|machine| machine.node == to && machine.is_running())
        else {
            return Ok(());
        };
        let id = machine.id;
        if group == GroupId::Meta && self.lagging.contains(&id) {
            return Ok(());
        }
        if let Some(until) = machine.paused_until {
            self.schedule(until, Event::Deliver { from, to, group, message });
            return Ok(());
        }
        // While it installs a snapshot a replica takes nothing.
        let takes = machine.replica(group).filter(|_| !machine.is_installing(group));
        let term = takes.map(Replica::term);
        self.checkers.arrives(self.now, machine, from, group, &message);
        self.step(id, Input::Peer { from, group, message: (*message).clone() })?;
        self.checkers.delivered(self.now, &self.machines[id.0], from, group, &message, term)?;
        if self.stormy
            && self.kills_filling
            && is_filling(&message)
            && self.random.random_ratio(1, 3)
        {
            self.kills_filling = false;
            self.kill_if_running(id);
        }
        Ok(())
    }

    pub(super) fn wake(&mut self, id: MachineId, incarnation: u64) -> Verdict {
        let machine = &mut self.machines[id.0];
        // One that was overtaken by an earlier one would go on beside it for ever.
        let overtaken = machine.wakes_at != Some(self.now);
        if machine.incarnation != incarnation || !machine.is_running() || overtaken {
            return Ok(());
        }
        // An earlier one has taken its place: were it heeded, it would bring forth another for ever.
        if machine.wakes_at != Some(self.now) {
            return Ok(());
        }
        if let Some(until) = machine.paused_until {
            machine.wakes_at = Some(until);
            self.schedule(until, Event::Wake { machine: id, incarnation });
            return Ok(());
        }
        machine.wakes_at = None;
        self.step(id, Input::Tick)
    }

    pub(super) fn disk_completes(&mut self, id: MachineId, incarnation: u64) -> Verdict {
        let machine = &mut self.machines[id.0];
        if machine.incarnation != incarnation || !machine.is_running() {
            return Ok(());
        }
        if let Some(until) = machine.paused_until {
            self.schedule(until, Event::DiskCompletes { machine: id, incarnation });
            return Ok(());
        }
        machine.disk_scheduled = false;
        match machine.disk.complete_next() {
            Some(completion) => self.step(id, Input::Disk(completion)),
            // Stalled: look again later.
            None => {
                machine.disk_scheduled = true;
                self.schedule_in(STALLED_LOOK, Event::DiskCompletes { machine: id, incarnation });
                Ok(())
            }
        }
    }

    pub(super) fn flush_completes(&mut self, id: MachineId, incarnation: u64) -> Verdict {
        let machine = &mut self.machines[id.0];
        if machine.incarnation != incarnation || !machine.is_running() {
            return Ok(());
        }
        machine.flush_scheduled = false;
        machine.state.complete_flush().expect("a flush is pending");
        if machine.paused_until.is_some() {
            return Ok(());
        }
        self.step(id, Input::Tick)
    }

    /// A rollback file is durable; a process that dies before has cut nothing.
    pub(super) fn rollback_saved(
        &mut self,
        id: MachineId,
        incarnation: u64,
        number: u64,
        rollback: Box<Rollback>,
    ) -> Verdict {
        let machine = &self.machines[id.0];
        if machine.incarnation != incarnation || !machine.is_running() {
            return Ok(());
        }
        if let Some(until) = machine.paused_until {
            let machine = id;
            let later = Event::RollbackSaved { machine, incarnation, number, rollback };
            self.schedule(until, later);
            return Ok(());
        }
        self.checkers.acknowledged_writes.saved(&rollback).by("acknowledged_writes")?;
        self.step(id, Input::RollbackSaved { group: rollback.group, number })
    }

    pub(super) fn refused(&mut self, at: MachineId, peer: NodeId) -> Verdict {
        let refuses =
            !self.machines.iter().any(|machine| machine.node == peer && machine.is_running());
        let machine = &self.machines[at.0];
        if !refuses || machine.paused_until.is_some() {
            return Ok(());
        }
        self.checkers.refused(machine.node, peer);
        self.step(at, Input::PeerRefused { peer })
    }

    pub(crate) fn restart(&mut self, id: MachineId) -> Verdict {
        let machine = &mut self.machines[id.0];
        if machine.is_running() {
            return Ok(());
        }
        match machine.start(self.store, self.now, &self.options, &mut self.random) {
            Started::Runs => {}
            Started::DiskFull => {
                self.schedule_in(START_AGAIN, Event::Restart { machine: id });
                return Ok(());
            }
            Started::Fails(why) => return Err(why).by("recovery"),
        }
        if self.traced {
            let found = self.machines[id.0].describe();
            self.mark(|| format!("{id:?} starts: {found}"));
        }
        self.checkers.started(self.now, &self.machines[id.0])?;
        let outputs = self.machines[id.0].outputs();
        self.carry_out(id, outputs)?;
        // Connections are made again, and with them addresses are told.
        let (node, addresses) = (self.machines[id.0].node, self.machines[id.0].member().addresses);
        for other in 0..self.machines.len() {
            let running =
                self.machines[other].is_running() && self.machines[other].paused_until.is_none();
            if running && other != id.0 && self.network.connected(node, self.machines[other].node) {
                let addresses = addresses.clone();
                self.step(MachineId(other), Input::PeerAddresses { peer: node, addresses })?;
            }
        }
        Ok(())
    }

    /// The process ends; its peers notice soon where they can.
    pub(crate) fn kill(&mut self, id: MachineId) {
        let node = self.machines[id.0].node;
        self.machines[id.0].kill(&mut self.random);
        self.after_death(id, node);
    }

    pub(crate) fn after_death(&mut self, id: MachineId, node: NodeId) {
        let delay = Duration::from_millis(self.random.random_range(10..4_000));
        self.dead_for(id, node, delay);
    }

    pub(crate) fn dead_for(&mut self, id: MachineId, node: NodeId, delay: Duration) {
        self.checkers.requests.died(node);
        self.machines[id.0].paused_until = None;
        for other in 0..self.machines.len() {
            if other != id.0 && self.network.connected(node, self.machines[other].node) {
                let delay = Duration::from_micros(self.random.random_range(100..50_000));
                self.schedule_in(delay, Event::Refused { at: MachineId(other), peer: node });
            }
        }
        self.schedule_in(delay, Event::Restart { machine: id });
    }
}

fn is_filling(message: &PeerMessage) -> bool {
    let PeerMessage::Fill(message) = message else { return false };
    matches!(message.as_ref(), FillMessage::Portion { .. })
}
