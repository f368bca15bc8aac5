//! A lost volume's id never speaks again, and a group begins from its genesis once. INV-11, INV-52.

use std::collections::BTreeSet;

use quorate_model::{GroupId, NodeId};

use super::Sight;

#[derive(Default)]
pub(crate) struct Identities {
    lost: BTreeSet<NodeId>,
    /// Who has had entries of a group.
    hosted: BTreeSet<(NodeId, GroupId)>,
}

impl Identities {
    pub(crate) fn lose(&mut self, node: NodeId) {
        self.lost.insert(node);
    }

    pub(crate) fn sent(&self, node: NodeId) -> Result<(), String> {
        if self.lost.contains(&node) {
            Err(format!("{node} speaks, whose volume is lost"))
        } else {
            Ok(())
        }
    }

    pub(crate) fn started(&mut self, at: Sight<'_>) -> Result<(), String> {
        let has_entries = at.replica.last().index.0 > 0;
        // A damaged replica begins from nothing: it waits for a snapshot.
        let from_genesis = !has_entries
            && !at.replica.is_damaged()
            && !at.replica.configuration().voters.is_empty();
        if from_genesis && self.hosted.contains(&(at.node, at.group)) {
            return Err(format!("{}: {} begins from the genesis again", at.group, at.node));
        }
        if has_entries {
            self.hosted.insert((at.node, at.group));
        }
        Ok(())
    }
}
