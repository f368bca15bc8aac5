//! One vote per term and replica, over restarts too, and no term told that a restart forgets. INV-2, INV-3, INV-4.
//!
//! A vote that was lost with a damaged log may be given again, and then the lost one must elect nobody. INV-35.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::admin::Role;
use quorate_model::{GroupId, NodeId, Term, majority};
use quorate_replication::single_leader::{AppendResult, Message};

use super::{Checker, Ledger, Sight};

#[derive(Default)]
pub(crate) struct DurableVotes {
    votes: BTreeMap<(NodeId, GroupId, Term), Vote>,
    told: BTreeMap<(NodeId, GroupId), Term>,
    /// Whose votes have reached a candidate.
    reached: BTreeMap<(NodeId, GroupId, Term), BTreeSet<NodeId>>,
    /// Whose log is damaged.
    damaged: BTreeSet<(NodeId, GroupId)>,
    elected: BTreeSet<(NodeId, GroupId, Term)>,
}

#[derive(Clone, Copy)]
struct Vote {
    candidate: NodeId,
    /// With the log that held it.
    lost: bool,
}

impl DurableVotes {
    fn votes(&mut self, at: Sight<'_>, term: Term, candidate: NodeId) -> Result<(), String> {
        let vote = Vote { candidate, lost: false };
        let known = self.votes.entry((at.node, at.group, term)).or_insert(vote);
        if known.candidate == candidate {
            return Ok(());
        }
        if known.lost {
            *known = vote;
            return Ok(());
        }
        Err(format!(
            "{}: {} votes for {} and {candidate} in term {term}",
            at.group, at.node, known.candidate
        ))
    }

    /// Whether a majority's votes for this leader stand still.
    fn check_elected(&self, at: Sight<'_>) -> Result<(), String> {
        let (group, term, voters) =
            (at.group, at.replica.term(), &at.replica.configuration().voters);
        let nobody = BTreeSet::new();
        let reached = self.reached.get(&(at.node, group, term)).unwrap_or(&nobody);
        let stands = |voter: &&NodeId| {
            let vote = self.votes.get(&(**voter, group, term));
            // Who waits for its repair does not vote again meanwhile, and who is gone from the group never does.
            let kept = vote.is_none_or(|vote| {
                vote.candidate == at.node
                    && (!vote.lost || self.damaged.contains(&(**voter, group)))
            });
            **voter == at.node || (reached.contains(*voter) && kept)
        };
        let standing = voters.iter().filter(stands).count();
        if standing >= majority(voters.len()) {
            return Ok(());
        }
        Err(format!(
            "{group}: {} leads term {term} by the votes of {reached:?}, of which {standing} stand",
            at.node
        ))
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

    fn arrives(&mut self, at: Sight<'_>, from: NodeId, message: &Message) {
        if let Message::VoteReply { term, granted: true } = message {
            self.reached.entry((at.node, at.group, *term)).or_default().insert(from);
        }
    }

    fn stepped(&mut self, at: Sight<'_>, _: &Ledger) -> Result<(), String> {
        let key = (at.node, at.group);
        if !at.replica.is_damaged() {
            self.damaged.remove(&key);
        } else if self.damaged.insert(key) {
            let from = (at.node, at.group, Term::ZERO);
            let votes = self.votes.range_mut(from..=(at.node, at.group, Term(u64::MAX)));
            votes.for_each(|(_, vote)| vote.lost = true);
        }
        let leads = at.replica.role() == Role::Leader;
        if leads && self.elected.insert((at.node, at.group, at.replica.term())) {
            return self.check_elected(at);
        }
        Ok(())
    }

    fn started(&mut self, at: Sight<'_>) -> Result<(), String> {
        // What it told may be lost with its log, and the leader that repairs it may lead an earlier term.
        if at.replica.is_damaged() {
            self.told.remove(&(at.node, at.group));
            return Ok(());
        }
        let vote = self.votes.get(&(at.node, at.group, at.replica.term()));
        if let Some(Vote { candidate, lost: false }) = vote
            && at.replica.vote() != Some(*candidate)
        {
            return Err(format!(
                "{}: {} voted for {candidate} in term {} and comes back with {:?}",
                at.group,
                at.node,
                at.replica.term(),
                at.replica.vote()
            ));
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
        self.damaged.remove(&(node, group));
        self.votes.retain(|(voter, of, _), _| *voter != node || *of != group);
    }
}
