//! Replicas apply committed, durable entries in order, the same at the same index. INV-20, INV-21.
//!
//! That the same entry does the same everywhere is seen when rows are compared after the heal (`liveness`).

use std::collections::BTreeMap;

use quorate_model::{GroupId, LogIndex, NodeId};

use super::{Checker, Ledger, Sight};

#[derive(Default)]
pub(crate) struct StateMachineSafety {
    applied: BTreeMap<(NodeId, u64, GroupId), LogIndex>,
}

impl Checker for StateMachineSafety {
    fn stepped(&mut self, at: Sight<'_>, ledger: &Ledger) -> Result<(), String> {
        let (replica, node, group) = (at.replica, at.node, at.group);
        let applied = replica.applied();
        if applied > replica.committed() || applied > replica.durable() {
            return Err(format!(
                "{group}: {node} applied {applied}, committed {}, durable {}",
                replica.committed(),
                replica.durable()
            ));
        }
        let before = self.applied.insert((node, at.incarnation, group), applied).unwrap_or(applied);
        if applied < before {
            return Err(format!("{group}: {node} went back from applied {before} to {applied}"));
        }
        let held = replica.position_at(applied).map(|position| position.term);
        let committed = ledger.get(&(group, applied)).copied();
        if applied > LogIndex::ZERO && held.is_some() && committed.is_some() && held != committed {
            return Err(format!(
                "{group}: {node} applied {held:?} at {applied}, committed was {committed:?}"
            ));
        }
        Ok(())
    }

    fn forgotten(&mut self, node: NodeId, group: GroupId) {
        self.applied.retain(|(owner, _, of), _| *owner != node || *of != group);
    }
}
