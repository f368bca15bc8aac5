//! What was answered as done is committed at the position that was answered, for ever. INV-22, INV-23. What a leader
//! acknowledged by itself, under `Async`, may be lost, but then a rollback file holds it. INV-66.

use std::collections::BTreeSet;

use quorate_group::host::Rollback;
use quorate_model::{GroupId, NodeId, Position};

use super::Ledger;

#[derive(Default)]
pub(crate) struct AcknowledgedWrites {
    written: Vec<Acknowledged>,
    /// What the logs lost and the nodes keep.
    saved: BTreeSet<(GroupId, Position)>,
    /// Nodes that lost their logs, and what they alone knew with them.
    lost: BTreeSet<NodeId>,
}

struct Acknowledged {
    group: GroupId,
    position: Position,
    /// The leader that acknowledged it before it was committed.
    alone: Option<NodeId>,
}

impl AcknowledgedWrites {
    pub(crate) fn note(&mut self, group: GroupId, position: Position, alone: Option<NodeId>) {
        self.written.push(Acknowledged { group, position, alone });
    }

    pub(crate) fn saved(&mut self, rollback: &Rollback) {
        let positions = rollback.entries.iter().map(|entry| (rollback.group, entry.position));
        self.saved.extend(positions);
    }

    /// The node's log is gone or damaged.
    pub(crate) fn lose(&mut self, node: NodeId) {
        self.lost.insert(node);
    }

    /// Groups that lost what was acknowledged: what their clients saw need not agree.
    pub(crate) fn end(&self, ledger: &Ledger) -> Result<BTreeSet<GroupId>, String> {
        let mut groups: BTreeSet<GroupId> = self.saved.iter().map(|(group, _)| *group).collect();
        for Acknowledged { group, position, alone } in &self.written {
            let committed = ledger.get(&(*group, position.index));
            if committed == Some(&position.term) {
                continue;
            }
            let excused = alone.is_some_and(|leader| {
                self.saved.contains(&(*group, *position)) || self.lost.contains(&leader)
            });
            if !excused {
                return Err(format!(
                    "{group}: acknowledged at {position:?}, alone by {alone:?}, committed there is {committed:?}"
                ));
            }
            groups.insert(*group);
        }
        Ok(groups)
    }
}
