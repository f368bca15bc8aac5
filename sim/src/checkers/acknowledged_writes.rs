//! What was answered as done is committed at the position that was answered, for ever. INV-22, INV-23. What an
//! asynchronous leader acknowledged and lost was saved before. INV-66.

use std::collections::BTreeSet;

use quorate_group::host::Rollback;
use quorate_model::{GroupId, Position};

use super::Ledger;

#[derive(Default)]
pub(crate) struct AcknowledgedWrites {
    written: Vec<(GroupId, Position)>,
    /// What the logs lost and the nodes keep.
    saved: BTreeSet<(GroupId, Position)>,
}

impl AcknowledgedWrites {
    pub(crate) fn note(&mut self, group: GroupId, position: Position) {
        self.written.push((group, position));
    }

    pub(crate) fn saved(&mut self, rollback: &Rollback) {
        let positions = rollback.entries.iter().map(|entry| (rollback.group, entry.position));
        self.saved.extend(positions);
    }

    pub(crate) fn end(&self, ledger: &Ledger) -> Result<(), String> {
        for (group, position) in &self.written {
            let committed = ledger.get(&(*group, position.index));
            if committed != Some(&position.term) && !self.saved.contains(&(*group, *position)) {
                return Err(format!(
                    "{group}: acknowledged at {position:?}, committed there is {committed:?}"
                ));
            }
        }
        Ok(())
    }
}
