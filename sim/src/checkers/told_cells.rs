//! What a replica says that it holds it holds after any restart, unless its log or its rows were lost; then it says nothing until
//! it has it again. INV-91, INV-98.

use std::collections::BTreeMap;

use quorate_model::{GroupId, NodeId};
use quorate_replication::causal::Cell;
use quorate_replication::leaderless::{CellKey, Message, Standing};

use super::Word;
use crate::machine::Machine;

type Cells = Vec<(CellKey, Cell)>;

#[derive(Default)]
pub(crate) struct ToldCells {
    told: BTreeMap<(NodeId, GroupId), BTreeMap<CellKey, Cell>>,
    /// The least that a process was asked to store, by whom and under which number. Under one number it is told again of what has
    /// changed since, and which of these messages an answer is for is not said.
    asked: BTreeMap<(NodeId, u64, GroupId, NodeId, u64), Cells>,
    /// Processes whose cells were looked at after their start, and how many cells each has dropped since.
    seen: BTreeMap<(NodeId, u64, GroupId), u64>,
}

impl ToldCells {
    pub(crate) fn sent(
        &mut self,
        machine: &Machine,
        to: NodeId,
        group: GroupId,
        message: &Message,
    ) -> Word {
        let acknowledged;
        let cells = if let Message::Stored { number } = message {
            let asked = (machine.node, machine.incarnation, group, to, *number);
            acknowledged = self.asked.get(&asked).cloned().unwrap_or_default();
            acknowledged.as_slice()
        } else if let Message::Different { cells, .. } = message {
            cells.as_slice()
        } else {
            &[]
        };
        // Nobody reads yet from a replica that joins, and what it lacks it is filled with.
        let counts = matches!(message, Message::Fetched { .. })
            || matches!(message, Message::Stored { .. }) && !machine.is_joining(group);
        if counts && machine.standing(group) == Some(Standing::Filling) {
            return Err(format!("{group}: {} is being filled, and says {message:?}", machine.node));
        }
        if let Message::Drop { cells, .. } = message {
            // INV-100: all hold them removed, and what was known of them may go.
            let of_group = self.told.iter_mut().filter(|((_, of), _)| *of == group);
            of_group.for_each(|(_, told)| told.retain(|key, _| !cells.contains(key)));
            let of_group = self.asked.iter_mut().filter(|((_, _, of, ..), _)| *of == group);
            of_group.for_each(|(_, asked)| asked.retain(|(key, _)| !cells.contains(key)));
        }
        let told = self.told.entry((machine.node, group)).or_default();
        // Of several messages of one comparison, which have one number, only some may have been taken.
        let taken = |(key, cell): &&(CellKey, Cell)| {
            machine.cell(group, key).is_some_and(|known| known.knows(cell))
        };
        for (key, cell) in cells.iter().filter(taken) {
            told.entry(key.clone()).or_default().merge(cell);
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
        if let Message::Drop { cells, .. } = message
            && let Some(told) = self.told.get_mut(&(machine.node, group))
        {
            // It may have told of them once more since they were called over.
            told.retain(|key, _| !cells.contains(key));
        }
        if let Message::Store { number, cells }
        | Message::Relay { number, cells }
        | Message::Handoff { number, cells } = message
        {
            let asked = (machine.node, machine.incarnation, group, from, *number);
            let least = self.asked.entry(asked).or_insert_with(|| cells.clone());
            least.retain_mut(|(key, least)| {
                let Some((_, cell)) = cells.iter().find(|(other, _)| other == key) else {
                    return false;
                };
                if least.knows(cell) {
                    least.clone_from(cell);
                }
                cell.knows(least)
            });
        }
    }

    pub(crate) fn stepped(&mut self, machine: &Machine) -> Word {
        let hosted = machine.shards();
        // One that left the shard gives up its rows, and is to join it again perhaps by the topology of the same step.
        let gone = |group: &GroupId| {
            let process = (machine.node, machine.incarnation, *group);
            self.seen.contains_key(&process) && !hosted.contains(group)
        };
        self.told.retain(|(node, group), _| {
            *node != machine.node || machine.is_kept(*group) && !gone(group)
        });
        for group in hosted {
            let key = (machine.node, group);
            let process = (machine.node, machine.incarnation, group);
            let collected = machine.collected(group);
            if let Some(before) = self.seen.insert(process, collected) {
                // INV-100: one that is alone agrees with itself, and tells nobody what it drops.
                if let Some(told) = self.told.get_mut(&key).filter(|_| collected > before) {
                    told.retain(|key, told| {
                        machine.cell(group, key).is_some_and(|cell| cell.knows(told))
                    });
                }
                continue;
            }
            self.asked.retain(|(node, incarnation, ..), _| {
                *node != machine.node || *incarnation == machine.incarnation
            });
            for (key, told) in self.told.get(&key).into_iter().flatten() {
                let cell = machine.cell(group, key).unwrap_or_default();
                if !cell.knows(told) {
                    return Err(format!(
                        "{group}: {} told of {told:?} and comes back with {cell:?}",
                        machine.node
                    ));
                }
            }
        }
        Ok(())
    }
}
