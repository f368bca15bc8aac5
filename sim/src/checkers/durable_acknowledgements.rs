//! What a replica acknowledged is durable: it is there after any restart. INV-12. What goes with a damaged log and was committed is
//! there again when the replica is repaired. INV-34.

use std::collections::BTreeMap;

use quorate_model::{GroupId, LogIndex, NodeId, Position};
use quorate_replication::single_leader::{AppendResult, Message};

use super::{Checker, Ledger, Sight};

#[derive(Default)]
pub(crate) struct DurableAcknowledgements {
    acknowledged: BTreeMap<(NodeId, GroupId), Position>,
    /// The same, of those that took themselves for voters.
    counted: BTreeMap<(NodeId, GroupId), LogIndex>,
    /// What damaged replicas had acknowledged and was committed when the damage was found.
    owed: BTreeMap<(NodeId, GroupId), LogIndex>,
}

impl Checker for DurableAcknowledgements {
    fn sent(
        &mut self,
        at: Sight<'_>,
        _to: NodeId,
        message: &Message,
        _: &Ledger,
    ) -> Result<(), String> {
        let Message::AppendReply {
            result: AppendResult::Matched(index) | AppendResult::NeedsState { matched: index },
            ..
        } = message
        else {
            return Ok(());
        };
        let key = (at.node, at.group);
        if let Some(position) = at.replica.position_at(*index) {
            let newest = self.acknowledged.entry(key).or_default();
            *newest = position.max(*newest);
        }
        if at.replica.configuration().voters.contains(&at.node) {
            let newest = self.counted.entry(key).or_default();
            *newest = (*newest).max(*index);
        }
        Ok(())
    }

    fn stepped(&mut self, at: Sight<'_>, ledger: &Ledger) -> Result<(), String> {
        let key = (at.node, at.group);
        if at.replica.is_damaged() {
            if let Some(counted) = self.counted.remove(&key) {
                let mut committed =
                    ledger.range((at.group, LogIndex::ZERO)..=(at.group, counted)).rev();
                let owed = committed.next().map(|((_, index), _)| *index).unwrap_or_default();
                let before = self.owed.entry(key).or_default();
                *before = owed.max(*before);
            }
            // INV-34: its leader forgets what it acknowledged before, or had committed it and gives it back.
            self.acknowledged.remove(&key);
            return Ok(());
        }
        match self.owed.remove(&key) {
            Some(owed) if at.replica.last().index < owed => Err(format!(
                "{}: {} had acknowledged {owed}, which was committed, and is whole with {:?}",
                at.group,
                at.node,
                at.replica.last()
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn started(&mut self, at: Sight<'_>) -> Result<(), String> {
        if at.replica.is_damaged() {
            return Ok(());
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
        self.counted.remove(&(node, group));
        self.owed.remove(&(node, group));
    }
}
