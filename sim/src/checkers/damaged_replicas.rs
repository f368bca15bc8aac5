//! A replica whose log is damaged neither votes, nor stands, nor counts. INV-10, INV-34.

use std::collections::BTreeMap;

use quorate_model::{GroupId, NodeId, Term};
use quorate_replication::single_leader::{AppendResult, Message};

use super::{Checker, Ledger, Sight};

#[derive(Default)]
pub(crate) struct DamagedReplicas {
    /// The term in which a replica was found to be damaged, by this process of it.
    since: BTreeMap<(NodeId, u64, GroupId), Term>,
}

impl Checker for DamagedReplicas {
    fn sent(
        &mut self,
        at: Sight<'_>,
        _to: NodeId,
        message: &Message,
        _: &Ledger,
    ) -> Result<(), String> {
        let takes_part = match message {
            Message::PreVote { .. } | Message::Vote { .. } | Message::Append { .. } => true,
            Message::PreVoteReply { granted, .. } | Message::VoteReply { granted, .. } => *granted,
            // A stale leader is told of the present term, whoever hears it.
            Message::AppendReply { result: AppendResult::Mismatch { .. }, round: 0, .. } => false,
            Message::AppendReply { result, .. } => !matches!(result, AppendResult::Damaged { .. }),
            Message::SnapshotOffer { .. } | Message::TimeoutNow { .. } => true,
        };
        // What was decided before it was found, and waited for the disk since, is as good as it was where the log is whole.
        let since = self.since.get(&(at.node, at.incarnation, at.group));
        let kept = match message {
            Message::VoteReply { term, .. } | Message::AppendReply { term, .. } => {
                at.replica.has_whole_log() && since.is_none_or(|since| term <= since)
            }
            Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::Vote { .. }
            | Message::Append { .. }
            | Message::SnapshotOffer { .. }
            | Message::TimeoutNow { .. } => false,
        };
        if at.replica.is_damaged() && takes_part && !kept {
            return Err(format!("{}: the damaged {} sends {message:?}", at.group, at.node));
        }
        Ok(())
    }

    fn stepped(&mut self, at: Sight<'_>, _: &Ledger) -> Result<(), String> {
        let key = (at.node, at.incarnation, at.group);
        if at.replica.is_damaged() {
            self.since.entry(key).or_insert_with(|| at.replica.term());
        } else if !self.since.is_empty() {
            self.since.remove(&key);
        }
        Ok(())
    }
}
