//! After a restart a replica finds exactly what it made durable, and its state is not ahead of its log.
//! INV-19, INV-40, INV-41, INV-42, INV-43, INV-44, INV-45.
//!
//! The disk loses and tears what was not synced; what was acknowledged and told is compared by `durable_acknowledgements` and
//! `durable_votes`. Here: the order of what is found.

use std::collections::BTreeMap;

use quorate_model::{GroupId, LogIndex, NodeId, Position};

use super::{Checker, Ledger, Sight};

#[derive(Default)]
pub(crate) struct Recovery {
    /// The newest entry that was durable, and its term, by what the replica said while it ran.
    durable: BTreeMap<(NodeId, GroupId), Position>,
}

impl Checker for Recovery {
    fn stepped(&mut self, at: Sight<'_>, _: &Ledger) -> Result<(), String> {
        if let Some(position) = at.replica.position_at(at.replica.durable()) {
            self.durable.insert((at.node, at.group), position);
        }
        Ok(())
    }

    fn started(&mut self, at: Sight<'_>) -> Result<(), String> {
        let replica = at.replica;
        if replica.is_damaged() {
            return Ok(());
        }
        let (base, applied, last) = (replica.base().index, replica.applied(), replica.last());
        let in_order = base <= applied && applied <= last.index && replica.durable() == last.index;
        if !in_order {
            return Err(format!(
                "{}: {} recovers base {base}, applied {applied}, last {last:?}, durable {}",
                at.group,
                at.node,
                replica.durable()
            ));
        }
        if applied > LogIndex::ZERO && replica.position_at(applied).is_none() {
            return Err(format!(
                "{}: {} recovers a state that its log does not explain",
                at.group, at.node
            ));
        }
        match self.durable.get(&(at.node, at.group)) {
            Some(durable) if last < *durable => Err(format!(
                "{}: {} had {durable:?} durable and recovers {last:?}",
                at.group, at.node
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn forgotten(&mut self, node: NodeId, group: GroupId) {
        self.durable.remove(&(node, group));
    }
}
