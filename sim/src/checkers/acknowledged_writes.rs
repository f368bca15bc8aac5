//! What was answered as done is committed at the position that was answered, for ever. INV-22, INV-23. What a leader
//! acknowledged by itself, under `Async`, may be lost, but then a rollback file holds it. INV-66.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_group::host::Rollback;
use quorate_group::keyspace::lost_writes;
use quorate_model::{GroupId, NodeId, Position};
use quorate_replication::single_leader::Payload;

use super::Ledger;

#[derive(Default)]
pub(crate) struct AcknowledgedWrites {
    written: Vec<Acknowledged>,
    /// What the logs lost and the nodes keep.
    saved: BTreeSet<(GroupId, Position)>,
    /// The keys of what was saved.
    keys: BTreeSet<Bytes>,
    /// Nodes that lost their logs, and what they alone knew with them: how many writes were acknowledged by then.
    lost: BTreeMap<NodeId, usize>,
}

struct Acknowledged {
    group: GroupId,
    position: Position,
    /// The leader that acknowledged it before it was committed.
    alone: Option<NodeId>,
}

/// What is gone although it was acknowledged, or shown, as `Async` allows: what clients saw of it need not agree.
#[derive(Default, Debug)]
pub(crate) struct Forgotten {
    keys: BTreeSet<Bytes>,
    /// Whose leader took with its disk what nobody else knew.
    groups: BTreeSet<GroupId>,
}

impl Forgotten {
    pub(crate) fn contains(&self, group: GroupId, key: &Bytes) -> bool {
        self.groups.contains(&group) || self.keys.contains(key)
    }
}

impl AcknowledgedWrites {
    pub(crate) fn note(&mut self, group: GroupId, position: Position, alone: Option<NodeId>) {
        self.written.push(Acknowledged { group, position, alone });
    }

    /// # Errors
    /// An entry that says nothing of what it would have done.
    pub(crate) fn saved(&mut self, rollback: &Rollback) -> Result<(), String> {
        for entry in &rollback.entries {
            self.saved.insert((rollback.group, entry.position));
            if let Payload::Command(command) = &entry.payload {
                let lost = lost_writes(command.clone()).map_err(|error| error.to_string())?;
                self.keys.extend(lost.into_iter().map(|write| write.key));
            }
        }
        Ok(())
    }

    /// The node's log is gone or damaged.
    pub(crate) fn lose(&mut self, node: NodeId) {
        self.lost.insert(node, self.written.len());
    }

    /// What was lost and may have been.
    pub(crate) fn end(&self, ledger: &Ledger) -> Result<Forgotten, String> {
        let mut forgotten = Forgotten { keys: self.keys.clone(), ..Forgotten::default() };
        for (number, Acknowledged { group, position, alone }) in self.written.iter().enumerate() {
            let lost_later =
                alone.and_then(|leader| self.lost.get(&leader)).is_some_and(|lost| number < *lost);
            if lost_later {
                // Also what it showed and acknowledged to nobody.
                forgotten.groups.insert(*group);
            }
            let committed = ledger.get(&(*group, position.index));
            let kept = committed == Some(&position.term);
            let saved = alone.is_some() && self.saved.contains(&(*group, *position));
            if !kept && !saved && !lost_later {
                return Err(format!(
                    "{group}: acknowledged at {position:?}, alone by {alone:?}, committed there is {committed:?}"
                ));
            }
        }
        Ok(forgotten)
    }
}
