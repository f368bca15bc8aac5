//! A dot stands for one write of one cell, whose time is later than that of every value its coordinator knew there; and no replica
//! takes a write from too far ahead of its clock. INV-90, INV-93, INV-94.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{ActorId, Dot, GroupId, Hlc, NodeId, Time};
use quorate_replication::causal::{Cell, Content, Sibling};
use quorate_replication::leaderless::{CellKey, Message};

use super::Word;
use crate::machine::Machine;

#[derive(Default)]
pub(crate) struct Dots {
    writes: BTreeMap<(GroupId, Dot), Write>,
    /// The newest time in a cell that a process has told of, where the last writer wins: else what is there may be removed
    /// without a time. So may members everywhere: what is added after that need not be later, and no time decides which stay. That
    /// it is later than those that are there the cell itself asserts.
    told: BTreeMap<(NodeId, Option<ActorId>, GroupId, CellKey), Hlc>,
    /// Writes in the message that is arriving that are too far ahead for its receiver, and new to it.
    ahead: BTreeSet<(CellKey, Dot)>,
}

struct Write {
    key: CellKey,
    at: Hlc,
    content: Content,
}

impl Dots {
    pub(crate) fn sent(&mut self, machine: &Machine, group: GroupId, message: &Message) -> Word {
        for (key, cell) in named_cells(message) {
            let process = (machine.node, machine.actor(group), group, key.clone());
            let told = self.told.get(&process).copied();
            for sibling in cell.siblings() {
                let Some(known) = self.writes.get(&(group, sibling.dot)) else {
                    // Nobody has told of it: this replica coordinates it. One that is alone in its datacenter tells nobody at once, and
                    // later perhaps by a comparison, where what is durable goes before what is newer.
                    if !machine.is_local() && told.is_some_and(|told| told >= sibling.at) {
                        return Err(format!(
                            "{group}: {} writes {sibling:?} and knew {told:?} before",
                            machine.node
                        ));
                    }
                    let Sibling { dot, at, content } = sibling.clone();
                    self.writes.insert((group, dot), Write { key: key.clone(), at, content });
                    continue;
                };
                if known.key != *key || known.at != sibling.at || known.content != sibling.content {
                    let Write { key: other, at, content } = known;
                    return Err(format!(
                        "{group}: {sibling:?} of {key:?} is {other:?} {at:?} {content:?}, too"
                    ));
                }
            }
            // What it passes on from a read it has perhaps not taken itself.
            let own = machine.cell(group, key).filter(|own| own.knows(cell));
            let own = own.filter(|_| machine.last_writer_wins());
            let leaves_a_time = |sibling: &&Sibling| sibling.content != Content::Member;
            let lasting = cell.siblings().iter().filter(leaves_a_time);
            let newest = own.and(lasting.map(|sibling| sibling.at).max());
            if let Some(newest) = newest.max(told) {
                self.told.insert(process, newest);
            }
        }
        Ok(())
    }

    /// Before the receiver takes it.
    pub(crate) fn arrives(
        &mut self,
        now: Time,
        machine: &Machine,
        group: GroupId,
        message: &Message,
    ) {
        for (key, cell) in named_cells(message) {
            for sibling in cell.siblings() {
                if machine.is_ahead(now, sibling.at) && !holds(machine, group, key, sibling.dot) {
                    self.ahead.insert((key.clone(), sibling.dot));
                }
            }
        }
    }

    pub(crate) fn stepped(&mut self, machine: &Machine) {
        self.told.retain(|(node, _, group, _), _| *node != machine.node || machine.is_kept(*group));
    }

    /// After the receiver took it.
    pub(crate) fn delivered(&mut self, machine: &Machine, group: GroupId) -> Word {
        for (key, dot) in std::mem::take(&mut self.ahead) {
            if holds(machine, group, &key, dot) {
                return Err(format!("{group}: {} takes {dot:?} from ahead", machine.node));
            }
        }
        Ok(())
    }
}

/// Cells that come with their keys.
pub(super) fn named_cells(message: &Message) -> &[(CellKey, Cell)] {
    if let Message::Store { cells, .. }
    | Message::Relay { cells, .. }
    | Message::Different { cells, .. }
    | Message::Hint { cells, .. }
    | Message::Handoff { cells, .. } = message
    {
        cells
    } else {
        &[]
    }
}

pub(super) fn holds(machine: &Machine, group: GroupId, key: &CellKey, dot: Dot) -> bool {
    let cell = machine.cell(group, key);
    cell.is_some_and(|cell| cell.siblings().iter().any(|sibling| sibling.dot == dot))
}
