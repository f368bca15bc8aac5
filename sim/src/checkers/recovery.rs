//! After a restart a replica finds exactly what it made durable, and its state is not ahead of its log. Only a log in which a bit
//! has flipped may be found damaged, and even then the state stands for what its log no longer held.
//! INV-19, INV-40, INV-41, INV-42, INV-43, INV-44, INV-45.
//!
//! The disk loses and tears what was not synced; what was acknowledged and told is compared by `durable_acknowledgements` and
//! `durable_votes`. Here: the order of what is found.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{GroupId, LogIndex, NodeId, Position};

use super::{Checker, Ledger, Sight};

#[derive(Default)]
pub(crate) struct Recovery {
    /// The newest entry that was durable, and its term, by what the replica said while it ran.
    durable: BTreeMap<(NodeId, GroupId), Position>,
    /// Where its log began: a durable state stands for everything through here.
    base: BTreeMap<(NodeId, GroupId), LogIndex>,
    /// Replicas whose log was whole when they were seen last.
    whole: BTreeSet<(NodeId, GroupId)>,
    /// Nodes in whose log a bit has flipped, until it is seen to be whole again.
    rotten: BTreeSet<NodeId>,
}

impl Checker for Recovery {
    fn stepped(&mut self, at: Sight<'_>, _: &Ledger) -> Result<(), String> {
        let (key, replica) = ((at.node, at.group), at.replica);
        if replica.is_damaged() {
            self.whole.remove(&key);
            return Ok(());
        }
        if self.whole.insert(key) {
            // All of a node's replicas become whole at once, when its log is started over.
            self.rotten.remove(&at.node);
        }
        self.base.insert(key, replica.base().index);
        if let Some(position) = replica.position_at(replica.durable()) {
            self.durable.insert(key, position);
        }
        Ok(())
    }

    fn started(&mut self, at: Sight<'_>) -> Result<(), String> {
        let (key, replica) = ((at.node, at.group), at.replica);
        let stood_for = self.base.get(&key).copied().unwrap_or_default();
        if replica.applied() < stood_for {
            return Err(format!(
                "{}: {} recovers a state of {}, its log began after {stood_for}",
                at.group,
                at.node,
                replica.applied()
            ));
        }
        if replica.is_damaged() {
            if self.whole.contains(&key) && !self.rotten.contains(&at.node) {
                return Err(format!(
                    "{}: {} finds its log damaged, in which nothing has flipped",
                    at.group, at.node
                ));
            }
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
        match self.durable.get(&key) {
            Some(durable) if last < *durable => Err(format!(
                "{}: {} had {durable:?} durable and recovers {last:?}",
                at.group, at.node
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn forgotten(&mut self, node: NodeId, group: GroupId) {
        self.durable.remove(&(node, group));
        self.base.remove(&(node, group));
        self.whole.remove(&(node, group));
    }

    fn rots(&mut self, node: NodeId) {
        self.rotten.insert(node);
    }
}
