//! A new leader's log holds everything committed in earlier terms. INV-5, INV-15, INV-62.

use std::collections::BTreeSet;

use quorate_model::admin::Role;
use quorate_model::{GroupId, LogIndex, NodeId, Term};

use super::{Checker, Ledger, Sight};

#[derive(Default)]
pub(crate) struct LeaderCompleteness {
    checked: BTreeSet<(NodeId, GroupId, Term)>,
}

impl Checker for LeaderCompleteness {
    fn stepped(&mut self, at: Sight<'_>, ledger: &Ledger) -> Result<(), String> {
        let term = at.replica.term();
        if at.replica.role() != Role::Leader || !self.checked.insert((at.node, at.group, term)) {
            return Ok(());
        }
        let base = at.replica.base().index;
        let committed = ledger.range((at.group, base.next())..=(at.group, LogIndex(u64::MAX)));
        for ((_, index), committed) in committed.filter(|(_, committed)| **committed < term) {
            let held = at.replica.position_at(*index).map(|position| position.term);
            if held != Some(*committed) {
                return Err(format!(
                    "{}: {} leads term {term} and holds {held:?} at {index}, committed in term {committed}",
                    at.group, at.node
                ));
            }
        }
        Ok(())
    }
}
