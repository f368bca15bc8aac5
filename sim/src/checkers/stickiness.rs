//! Who hears a leader elects nobody else; a pre-vote changes nothing; a leader without a majority's answers stops.
//! INV-6, INV-7, INV-8.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_model::admin::Role;
use quorate_model::{GroupId, NodeId, Term, Time, majority};
use quorate_replication::single_leader::{AppendResult, Message, Settings};

use super::{Checker, Ledger, Sight};

#[derive(Default)]
pub(crate) struct Stickiness {
    /// The leader that a follower heard last, in this process of it.
    heard: BTreeMap<(NodeId, GroupId), Heard>,
    /// When a voter last answered the leader of a term.
    answered: BTreeMap<(GroupId, Term, NodeId), Time>,
    /// Since when a replica leads a term, and when it was last seen to do anything.
    leads_since: BTreeMap<(NodeId, GroupId, Term), (Time, Time)>,
    /// The transfer votes that reached a replica: candidate and term.
    transfers: BTreeMap<(NodeId, GroupId), (NodeId, Term)>,
    /// The term that a replica was in when the newest message came.
    asked_in: BTreeMap<(NodeId, GroupId), Term>,
}

#[derive(Clone, Copy)]
struct Heard {
    at: Time,
    term: Term,
    leader: NodeId,
    incarnation: u64,
}

/// Clocks drift, and a leader looks at its followers only now and then: what is caught is a leader that goes on without limit.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// Who has done nothing for so long was paused, and could not have noticed anything meanwhile.
const PAUSE: Duration = Duration::from_millis(300);

fn election_timeout() -> Duration {
    Settings::default().election_timeout
}

impl Checker for Stickiness {
    fn sent(
        &mut self,
        at: Sight<'_>,
        to: NodeId,
        message: &Message,
        _: &Ledger,
    ) -> Result<(), String> {
        let agreed = match message {
            Message::PreVoteReply { granted, .. } => *granted,
            Message::VoteReply { granted, term } => {
                *granted && self.transfers.get(&(at.node, at.group)) != Some(&(to, *term))
            }
            Message::PreVote { .. }
            | Message::Vote { .. }
            | Message::Append { .. }
            | Message::AppendReply { .. }
            | Message::SnapshotOffer { .. }
            | Message::TimeoutNow { .. } => false,
        };
        let Some(heard) = self.heard.get(&(at.node, at.group)).filter(|_| agreed) else {
            return Ok(());
        };
        // A vote leaves when it is durable: one for a term that is not above the leader's was decided before it was heard.
        if matches!(message, Message::VoteReply { term, .. } if *term <= heard.term) {
            return Ok(());
        }
        // Who has entered a later term since (a transfer asked for it) has no leader to stick to.
        if self.asked_in.get(&(at.node, at.group)).is_some_and(|term| *term > heard.term) {
            return Ok(());
        }
        let ago = at.now.since(heard.at);
        if heard.incarnation == at.incarnation
            && heard.leader != to
            && ago < election_timeout().mul_f64(0.9)
        {
            return Err(format!(
                "{}: {} agrees with {to}, having heard its leader {} {} ms ago",
                at.group,
                at.node,
                heard.leader,
                ago.as_millis()
            ));
        }
        Ok(())
    }

    fn delivered(
        &mut self,
        at: Sight<'_>,
        from: NodeId,
        message: &Message,
        term_before: Term,
    ) -> Result<(), String> {
        let key = (at.node, at.group);
        match message {
            Message::PreVote { .. } | Message::PreVoteReply { granted: false, .. } => {
                if at.replica.term() != term_before && matches!(message, Message::PreVote { .. }) {
                    return Err(format!("{}: a pre-vote raised the term of {}", at.group, at.node));
                }
            }
            Message::Append { term, .. } => {
                if at.replica.leader() == Some(from) && *term == at.replica.term() {
                    let heard = Heard {
                        at: at.now,
                        term: *term,
                        leader: from,
                        incarnation: at.incarnation,
                    };
                    self.heard.insert(key, heard);
                }
            }
            Message::PreVoteReply { granted: true, .. }
            | Message::AppendReply { .. }
            | Message::Vote { .. }
            | Message::VoteReply { .. }
            | Message::SnapshotOffer { .. }
            | Message::TimeoutNow { .. } => {}
        }
        Ok(())
    }

    fn arrives(&mut self, at: Sight<'_>, from: NodeId, message: &Message) {
        self.asked_in.insert((at.node, at.group), at.replica.term());
        if let Message::Vote { term, transfer: true, .. } = message {
            self.transfers.insert((at.node, at.group), (from, *term));
        }
        // Before the step that takes it, which may promote whoever answers.
        if let Message::AppendReply { term, result, .. } = message
            && !matches!(result, AppendResult::Damaged { .. })
        {
            self.answered.insert((at.group, *term, from), at.now);
        }
    }

    fn vouched(&mut self, at: Sight<'_>, peer: NodeId) {
        let term = at.replica.term();
        if at.replica.leader() == Some(peer) {
            let (at_time, incarnation) = (at.now, at.incarnation);
            let heard = Heard { at: at_time, term, leader: peer, incarnation };
            self.heard.insert((at.node, at.group), heard);
        } else if at.replica.role() == Role::Leader {
            self.answered.insert((at.group, term, peer), at.now);
        }
    }

    fn stepped(&mut self, at: Sight<'_>, _: &Ledger) -> Result<(), String> {
        if at.replica.role() != Role::Leader {
            return Ok(());
        }
        let term = at.replica.term();
        let key = (at.node, at.group, term);
        let (since, seen) = self.leads_since.entry(key).or_insert((at.now, at.now));
        if at.now.since(*seen) > PAUSE {
            *since = at.now;
        }
        *seen = at.now;
        if at.now.since(*since) < PATIENCE {
            return Ok(());
        }
        let voters = &at.replica.configuration().voters;
        let answering = voters
            .iter()
            .filter(|voter| {
                let answered = self.answered.get(&(at.group, term, **voter));
                **voter == at.node
                    || answered.is_some_and(|answered| at.now.since(*answered) < PATIENCE)
            })
            .count();
        if answering < majority(voters.len()) {
            return Err(format!("{}: {} leads without a majority's answers", at.group, at.node));
        }
        Ok(())
    }

    fn refused(&mut self, node: NodeId, peer: NodeId) {
        self.heard.retain(|(follower, _), heard| *follower != node || heard.leader != peer);
    }

    fn forgotten(&mut self, node: NodeId, group: GroupId) {
        self.heard.remove(&(node, group));
    }
}
