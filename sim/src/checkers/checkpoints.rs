//! What a replica says of another datacenter is so: what it coordinated before is held durably there, by as many replicas as a write
//! asks for; and in the end it says so of everything. INV-101, INV-102.

use std::collections::BTreeMap;

use quorate_model::{
    ActorId, Datacenter, GroupId, Leaderless, Leaving, Level, NodeId, Step, Time, Topology,
};
use quorate_replication::leaderless::{CellKey, Message, Standing};

use super::Word;
use crate::cluster::Cluster;
use crate::machine::{Machine, MachineId};

/// What a clock that is not the simulation's may be off by when a duration is read from it.
const ROUNDED: u64 = 1_000;

#[derive(Default)]
pub(crate) struct Checkpoints {
    processes: BTreeMap<(NodeId, GroupId), Process>,
}

/// What a replica coordinated since it began.
#[derive(Default)]
struct Process {
    actor: Option<ActorId>,
    /// By cell, how many of its writes are noted.
    noted: BTreeMap<CellKey, u64>,
    writes: Vec<Write>,
    /// How many cells its replica has dropped.
    collected: u64,
    /// By datacenter, how many of them were looked for there.
    looked_for: BTreeMap<Datacenter, usize>,
}

struct Write {
    key: CellKey,
    counter: u64,
    at: Time,
}

impl Checkpoints {
    pub(crate) fn sent(&mut self, now: Time, machine: &Machine, group: GroupId, message: &Message) {
        let (Message::Store { cells, .. } | Message::Relay { cells, .. }) = message else {
            if let Message::Drop { cells, .. } = message {
                // INV-100: all hold them removed, and what was known of them may go.
                let of_group = self.processes.iter_mut().filter(|((_, of), _)| *of == group);
                of_group.for_each(|(_, process)| process.forget(cells));
            }
            return;
        };
        let Some(actor) = machine.actor(group) else { return };
        let process = self.processes.entry((machine.node, group)).or_default();
        if process.actor != Some(actor) {
            *process = Process { actor: Some(actor), ..Process::default() };
        }
        for (key, cell) in cells {
            let counter = cell.known().counter(actor);
            let noted = process.noted.entry(key.clone()).or_default();
            if counter > *noted {
                *noted = counter;
                process.writes.push(Write { key: key.clone(), counter, at: now });
            }
        }
    }

    /// After a step of that machine.
    pub(crate) fn check(&mut self, now: Time, at: MachineId, machines: &[Machine]) -> Word {
        let machine = &machines[at.0];
        for group in machine.shards() {
            let Some(process) = self.processes.get_mut(&(machine.node, group)) else { continue };
            if process.actor != machine.actor(group) {
                continue;
            }
            process.collect(machine, group);
            for (place, through) in machine.checkpoints(now, group) {
                process.check(machine, machines, group, &place, through)?;
            }
        }
        Ok(())
    }
}

impl Process {
    fn forget(&mut self, cells: &[CellKey]) {
        for write in self.writes.iter_mut().filter(|write| cells.contains(&write.key)) {
            write.counter = 0;
        }
    }

    /// INV-100: one that is alone agrees with itself, and tells nobody what it drops.
    fn collect(&mut self, machine: &Machine, group: GroupId) {
        let (Some(actor), collected) = (self.actor, machine.collected(group)) else { return };
        if collected > self.collected {
            let known = |write: &Write| {
                let cell = machine.cell(group, &write.key);
                cell.is_some_and(|cell| cell.known().counter(actor) >= write.counter)
            };
            self.writes
                .iter_mut()
                .filter(|write| !known(write))
                .for_each(|write| write.counter = 0);
            self.collected = collected;
        }
    }

    fn check(
        &mut self,
        machine: &Machine,
        machines: &[Machine],
        group: GroupId,
        place: &Datacenter,
        through: Time,
    ) -> Word {
        let (Some(actor), Some(topology)) = (self.actor, machine.topology()) else { return Ok(()) };
        let looked_for = self.looked_for.entry(place.clone()).or_default();
        while let Some(write) = self.writes.get(*looked_for)
            && write.at.0 + ROUNDED < through.0
        {
            *looked_for += 1;
            let holds = |node: &NodeId| {
                let there = machines.iter().find(|one| one.node == *node && one.is_running());
                // Whoever is gone, or gets back what it lost, held it.
                let Some(there) = there else { return true };
                if there.standing(group) != Some(Standing::Whole) {
                    return true;
                }
                match there.durable_cell(group, &write.key) {
                    Ok(cell) => cell.unwrap_or_default().known().counter(actor) >= write.counter,
                    // What is there went bad, and the replica finds that when it reads it (INV-97): it held it until then.
                    Err(_) => true,
                }
            };
            if !is_held(topology, group, place, holds) {
                return Err(format!(
                    "{group}: {} says that {place} holds everything until {through:?}, and it lacks what {actor:?} wrote at {:?} to {:?}",
                    machine.node, write.at, write.key
                ));
            }
        }
        Ok(())
    }
}

/// Whether as many in a datacenter hold something as a write there asks for, of those that reads go to: whoever is to be read from
/// next gets it from them.
fn is_held(
    topology: &Topology,
    group: GroupId,
    place: &Datacenter,
    holds: impl Fn(&NodeId) -> bool,
) -> bool {
    let GroupId::Shard(shard) = group else { return true };
    let (Some(placement), Some(leaderless)) =
        (topology.placement(shard), topology.mode.leaderless())
    else {
        return true;
    };
    let Leaderless { policy, .. } = leaderless;
    let level = if policy.write == Level::EachQuorum { Level::LocalQuorum } else { policy.write };
    let member = |node: &NodeId| Some((*node, topology.members.get(node)?.datacenter.clone()));
    let new = placement.voters.iter().filter_map(member).collect();
    let set = match leaderless.leaving(shard) {
        Some(Leaving { owners, step: Step::Filling }) => owners.clone(),
        Some(Leaving { step: Step::Draining, .. }) | None => new,
    };
    let need = policy.need(level, &set, place);
    let holders = set.keys().copied().filter(|node| holds(node)).collect();
    !need.can_be_met() || need.is_met(&holders)
}

/// # Errors
/// Where something is on its way still.
pub(crate) fn settled(cluster: &Cluster) -> Word {
    for machine in &cluster.machines {
        for group in machine.shards() {
            if !machine.has_relayed_all(cluster.now, group) {
                return Err(format!("{group}: {} has not relayed everything", machine.node));
            }
        }
    }
    Ok(())
}
