//! One vote per term and replica, over restarts too, and no term told that a restart forgets. INV-2, INV-3, INV-4.

use std::collections::BTreeMap;

use quorate_model::{GroupId, NodeId, Term};
use quorate_replication::single_leader::{AppendResult, Message};

use super::{Checker, Ledger, Sight};

#[derive(Default)]
pub(crate) struct DurableVotes {
    votes: BTreeMap<(NodeId, GroupId, Term), NodeId>,
    told: BTreeMap<(NodeId, GroupId), Term>,
}

impl DurableVotes {
    fn votes(&mut self, at: Sight<'_>, term: Term, candidate: NodeId) -> Result<(), String> {
        let vote = *self.votes.entry((at.node, at.group, term)).or_insert(candidate);
        if vote == candidate {
            Ok(())
        } else {
            Err(format!(
                "{}: {} votes for {vote} and {candidate} in term {term}",
                at.group, at.node
            ))
        }
    }
}

impl Checker for DurableVotes {
    fn sent(
        &mut self,
        at: Sight<'_>,
        to: NodeId,
        message: &Message,
        _: &Ledger,
    ) -> Result<(), String> {
        let told = match message {
            // Their terms are questions, not the sender's own.
            Message::PreVote { .. } | Message::PreVoteReply { .. } => return Ok(()),
            Message::VoteReply { term, granted } => {
                if *granted {
                    self.votes(at, *term, to)?;
                }
                *term
            }
            Message::Vote { term, .. } => {
                self.votes(at, *term, at.node)?;
                *term
            }
            // A damaged replica promises nothing, and its log, once it is whole again, need not know the term.
            Message::AppendReply { result: AppendResult::Damaged { .. }, .. } => return Ok(()),
            Message::Append { term, .. }
            | Message::AppendReply { term, .. }
            | Message::SnapshotOffer { term, .. }
            | Message::TimeoutNow { term } => *term,
        };
        let before = self.told.insert((at.node, at.group), told).unwrap_or(told);
        if told < before {
            return Err(format!("{}: {} told term {before} and then {told}", at.group, at.node));
        }
        Ok(())
    }

    fn started(&mut self, at: Sight<'_>) -> Result<(), String> {
        // What it told may be lost with its log, and the leader that repairs it may lead an earlier term. What it voted counts
        // all the same.
        if at.replica.is_damaged() {
            self.told.remove(&(at.node, at.group));
        }
        match self.told.get(&(at.node, at.group)) {
            Some(told) if at.replica.term() < *told => Err(format!(
                "{}: {} told term {told} and comes back in term {}",
                at.group,
                at.node,
                at.replica.term()
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn forgotten(&mut self, node: NodeId, group: GroupId) {
        self.told.remove(&(node, group));
        self.votes.retain(|(voter, of, _), _| *voter != node || *of != group);
    }
}
