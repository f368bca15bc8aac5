//! A successor is told to stand only when it holds the whole log. INV-31.

use std::collections::BTreeMap;

use quorate_model::{GroupId, LogIndex, NodeId, Term};
use quorate_replication::single_leader::{AppendResult, Message};

use super::{Checker, Ledger, Sight};

#[derive(Default)]
pub(crate) struct Transfer {
    acknowledged: BTreeMap<(GroupId, Term, NodeId), LogIndex>,
}

impl Checker for Transfer {
    fn sent(
        &mut self,
        at: Sight<'_>,
        to: NodeId,
        message: &Message,
        _: &Ledger,
    ) -> Result<(), String> {
        match message {
            Message::AppendReply {
                term,
                result: AppendResult::Matched(index) | AppendResult::NeedsState { matched: index },
                ..
            } => {
                let most = self.acknowledged.entry((at.group, *term, at.node)).or_default();
                *most = (*most).max(*index);
                Ok(())
            }
            Message::TimeoutNow { term } => {
                let held =
                    self.acknowledged.get(&(at.group, *term, to)).copied().unwrap_or_default();
                let last = at.replica.last().index;
                if held < last {
                    return Err(format!(
                        "{}: {} hands over to {to}, which holds {held} of {last}",
                        at.group, at.node
                    ));
                }
                Ok(())
            }
            Message::AppendReply { .. }
            | Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::Vote { .. }
            | Message::VoteReply { .. }
            | Message::Append { .. }
            | Message::SnapshotOffer { .. } => Ok(()),
        }
    }
}
