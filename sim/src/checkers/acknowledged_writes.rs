//! What was answered as done is committed at the position that was answered, for ever. INV-22, INV-23.

use quorate_model::{GroupId, Position};

use super::Ledger;

#[derive(Default)]
pub(crate) struct AcknowledgedWrites {
    written: Vec<(GroupId, Position)>,
}

impl AcknowledgedWrites {
    pub(crate) fn note(&mut self, group: GroupId, position: Position) {
        self.written.push((group, position));
    }

    pub(crate) fn end(&self, ledger: &Ledger) -> Result<(), String> {
        for (group, position) in &self.written {
            let committed = ledger.get(&(*group, position.index));
            if committed != Some(&position.term) {
                return Err(format!(
                    "{group}: acknowledged at {position:?}, committed there is {committed:?}"
                ));
            }
        }
        Ok(())
    }
}
