//! A replica whose log is damaged neither votes, nor stands, nor counts. INV-10, INV-34.

use quorate_model::NodeId;
use quorate_replication::single_leader::{AppendResult, Message};

use super::{Checker, Ledger, Sight};

#[derive(Default)]
pub(crate) struct DamagedReplicas;

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
        if at.replica.is_damaged() && takes_part {
            return Err(format!("{}: the damaged {} sends {message:?}", at.group, at.node));
        }
        Ok(())
    }
}
