//! What a node says that it holds for a replica it holds after any restart, until the replica says that it has it, or all have agreed
//! that it is over; past the window, or where the shard has moved, any replica's word will do. INV-103, INV-104.
//!
//! That what stands in for a replica counts at no other level is seen by `versions` and `sums`: a read meets no replica that has
//! the write.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{Epoch, GroupId, NodeId};
use quorate_replication::causal::Cell;
use quorate_replication::leaderless::{CellKey, Message};

use super::Word;
use crate::machine::Machine;

type Cells = BTreeMap<CellKey, Cell>;

/// A window that is longer than any run.
const LONG_SECONDS: u64 = 7_200;

#[derive(Default)]
pub(crate) struct Hints {
    /// The least that a process was asked to hold or to take, by whom and under which number.
    asked: BTreeMap<(NodeId, u64, GroupId, NodeId, u64), Cells>,
    /// What each said that it holds, and for whom.
    held: BTreeMap<(NodeId, GroupId), BTreeMap<(NodeId, CellKey), Cell>>,
    /// What each said that it took.
    taken: BTreeMap<(NodeId, GroupId), BTreeMap<CellKey, Cell>>,
    /// How often each process gave up rows that it could not read, and the processes that were looked at.
    given_up: BTreeMap<(NodeId, u64), u64>,
    seen: BTreeSet<(NodeId, u64, GroupId)>,
}

impl Hints {
    pub(crate) fn sent(
        &mut self,
        machine: &Machine,
        to: NodeId,
        group: GroupId,
        message: &Message,
    ) -> Word {
        let here = (machine.node, group);
        let asked = |number: u64| (machine.node, machine.incarnation, group, to, number);
        if let Message::Hinted { number, target } = message {
            // What it held before may have gone since it was looked at: with what comes, it would look as if it had been said again.
            self.look(machine, group)?;
            let cells = self.asked.get(&asked(*number)).cloned().unwrap_or_default();
            let held = self.held.entry(here).or_default();
            for (key, cell) in cells {
                if !machine.cell(group, &key).is_some_and(|known| known.knows(&cell)) {
                    return Err(format!("{group}: {} does not hold {key:?}", machine.node));
                }
                held.entry((*target, key)).or_default().merge(&cell);
            }
        }
        if let Message::Stored { number } = message {
            let cells = self.asked.remove(&asked(*number)).unwrap_or_default();
            let taken = self.taken.entry(here).or_default();
            for (key, cell) in cells {
                taken.entry(key).or_default().merge(&cell);
            }
        }
        if let Message::Drop { cells, .. } = message {
            let of_group = self.held.iter_mut().filter(|((_, of), _)| *of == group);
            of_group.for_each(|(_, held)| held.retain(|(_, key), _| !cells.contains(key)));
        }
        if let Message::Handoff { .. } = message {
            return self.look(machine, group);
        }
        Ok(())
    }

    /// Before the receiver takes it.
    pub(crate) fn arrives(
        &mut self,
        machine: &Machine,
        from: NodeId,
        group: GroupId,
        message: &Message,
    ) {
        if let Message::Hint { number, cells, .. } | Message::Handoff { number, cells } = message {
            let asked = (machine.node, machine.incarnation, group, from, *number);
            let asked = self.asked.entry(asked).or_default();
            for (key, cell) in cells {
                let least = asked.entry(key.clone()).or_insert_with(|| cell.clone());
                if least.knows(cell) {
                    least.clone_from(cell);
                }
            }
        }
    }

    /// After the receiver took it.
    pub(crate) fn delivered(
        &mut self,
        machine: &Machine,
        group: GroupId,
        message: &Message,
    ) -> Word {
        if let Message::Stored { .. } = message { self.look(machine, group) } else { Ok(()) }
    }

    pub(crate) fn stepped(&mut self, machine: &Machine) -> Word {
        let process = (machine.node, machine.incarnation);
        let given_up = self.given_up.insert(process, machine.quarantines()).unwrap_or_default();
        for group in machine.shards() {
            let GroupId::Shard(shard) = group else { continue };
            let owns = machine.topology().is_some_and(|one| one.holds(shard, machine.node));
            let lost = machine.has_lost(group) || given_up != machine.quarantines();
            // A replica keeps what it has, and is compared with the others.
            if owns || lost {
                self.held.remove(&(machine.node, group));
            }
            if self.seen.insert((machine.node, machine.incarnation, group)) {
                self.look(machine, group)?;
            }
        }
        if machine.status().is_some_and(|status| status.damaged.is_some()) {
            self.held.retain(|(node, _), _| *node != machine.node);
        }
        Ok(())
    }

    fn look(&mut self, machine: &Machine, group: GroupId) -> Word {
        let Some(held) = self.held.get_mut(&(machine.node, group)) else { return Ok(()) };
        let (Some(topology), GroupId::Shard(shard)) = (machine.topology(), group) else {
            return Ok(());
        };
        let Some(placement) = topology.placement(shard) else { return Ok(()) };
        let Some(leaderless) = topology.mode.leaderless() else { return Ok(()) };
        let window = leaderless.policy.hints.map(|hints| hints.window_seconds);
        // It may know of a step before it knows it for good.
        let since = leaderless.moved.get(&shard).map_or(Epoch::ZERO, |moved| moved.since);
        let settled = machine.mark(group).is_some_and(|mark| mark.since == since);
        let strict = settled && window.is_some_and(|window| window >= LONG_SECONDS);
        let took = |taken: &BTreeMap<CellKey, Cell>, key: &CellKey, cell: &Cell| {
            taken.get(key).is_some_and(|known| known.knows(cell))
        };
        let of_group = self.taken.iter().filter(|((_, of), _)| *of == group);
        let taken: BTreeMap<NodeId, _> =
            of_group.map(|((node, _), taken)| (*node, taken)).collect();
        let mut left = Vec::new();
        held.retain(|(target, key), cell| {
            if machine.cell(group, key).is_some_and(|known| known.knows(cell)) {
                return true;
            }
            let given = match strict && placement.voters.contains(target) {
                true => taken.get(target).is_some_and(|taken| took(taken, key, cell)),
                false => taken.values().any(|taken| took(taken, key, cell)),
            };
            if !given {
                left.push((*target, key.clone()));
            }
            false
        });
        match left.first() {
            Some((target, key)) => Err(format!(
                "{group}: {} has {key:?} for {target} no more, which has not got it",
                machine.node
            )),
            None => Ok(()),
        }
    }
}
