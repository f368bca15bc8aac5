//! The same entries make the same rows on every replica, in whatever format they are written: no replica is ever found to hold
//! other rows than the majority, unless its rows were damaged. INV-68.
//!
//! That the wrong rows are found and made good is seen when rows are compared after the heal (`convergence`).

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{GroupId, NodeId};

use super::Word;
use crate::machine::Machine;

#[derive(Default)]
pub(crate) struct Divergence {
    /// Groups with rows that the nemesis spoiled. A leader with such rows may have passed them on.
    spoiled: BTreeSet<GroupId>,
    known: BTreeMap<(NodeId, u64), u64>,
}

impl Divergence {
    pub(crate) fn spoil(&mut self, group: GroupId) {
        self.spoiled.insert(group);
    }

    /// Whether some replica is, or may still be found to be, of no use.
    pub(crate) fn is_spoiled(&self) -> bool {
        !self.spoiled.is_empty()
    }

    pub(crate) fn stepped(&mut self, machine: &Machine) -> Word {
        let quarantines = machine.quarantines();
        if quarantines == 0 {
            return Ok(());
        }
        let known = self.known.insert((machine.node, machine.incarnation), quarantines);
        if known == Some(quarantines) {
            return Ok(());
        }
        let Some(status) = machine.status() else { return Ok(()) };
        for replica in status.replicas {
            if let Some(why) =
                replica.quarantined.filter(|_| !self.spoiled.contains(&replica.group))
            {
                return Err(format!("{}: {} is taken out: {why}", replica.group, machine.node));
            }
        }
        Ok(())
    }
}
