//! What a replica acknowledged is durable: it is there after any restart. INV-12.

use std::collections::BTreeMap;

use quorate_model::{GroupId, NodeId, Position};
use quorate_replication::single_leader::{AppendResult, Message};

use super::{Checker, Ledger, Sight};

#[derive(Default)]
pub(crate) struct DurableAcknowledgements {
    acknowledged: BTreeMap<(NodeId, GroupId), Position>,
}

impl Checker for DurableAcknowledgements {
    fn sent(
        &mut self,
        at: Sight<'_>,
        _to: NodeId,
        message: &Message,
        _: &Ledger,
    ) -> Result<(), String> {
        let Message::AppendReply { result: AppendResult::Matched(index), .. } = message else {
            return Ok(());
        };
        if let Some(position) = at.replica.position_at(*index) {
            let newest = self.acknowledged.entry((at.node, at.group)).or_default();
            *newest = position.max(*newest);
        }
        Ok(())
    }

    fn started(&mut self, at: Sight<'_>) -> Result<(), String> {
        if at.replica.is_damaged() {
            // INV-34: its leader forgets what it acknowledged before, or had committed it and gives it back.
            self.acknowledged.remove(&(at.node, at.group));
        }
        let Some(acknowledged) = self.acknowledged.get(&(at.node, at.group)) else { return Ok(()) };
        // A log that was cut since ends in a later term: compared as the up-to-date rule compares.
        if at.replica.last() >= *acknowledged {
            return Ok(());
        }
        let last = at.replica.last();
        Err(format!(
            "{}: {} acknowledged {acknowledged:?} and comes back with {last:?}",
            at.group, at.node
        ))
    }

    fn forgotten(&mut self, node: NodeId, group: GroupId) {
        self.acknowledged.remove(&(node, group));
    }
}
