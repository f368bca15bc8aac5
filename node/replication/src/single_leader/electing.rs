//! Elections: pre-votes, votes, stickiness, and the timers that start them.
//!
//! Keeps INV-1, INV-2, INV-3, INV-5, INV-6, INV-7, INV-9, INV-10 and INV-30. It may not touch the log: what a new leader
//! does first is `leading`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_model::planted::{self, Bug};
use quorate_model::{NodeId, Position, Term, Time};

use super::leading::Leader;
use super::replica::{Replica, Role};
use super::{Message, PersistId, When};

/// How long a replica waits at most before it stands for election after its leader's process died: long enough that
/// two of them seldom stand at once.
const REFUSED_DELAY_MAX: Duration = Duration::from_millis(30);

/// Asking whether an election would be won, before anybody's term is raised.
#[derive(Clone, Debug)]
pub(super) struct PreVoting {
    /// The term that a vote would be asked in; above every term that was heard of.
    term: Term,
    /// Who agreed and when. An old agreement counts for nothing: its giver may follow a leader since.
    granted: BTreeMap<NodeId, Time>,
    since: Time,
    pub(super) resend_at: Time,
}

/// Standing for election in the present term.
#[derive(Clone, Debug)]
pub(super) struct Candidacy {
    pub(super) granted: BTreeSet<NodeId>,
    /// The persist that makes this replica's vote for itself durable.
    own_vote: PersistId,
    /// The old leader asked for this election.
    transfer: bool,
    pub(super) resend_at: Time,
    pub(super) deadline: Time,
}

impl Replica {
    // Timers.

    pub(super) fn election_tick(&mut self) {
        let now = self.kernel.now;
        match &mut self.role {
            Role::Follower { deadline } if now < *deadline => {}
            Role::PreVoting(voting) if now < voting.resend_at => {}
            Role::Candidate(candidacy) if now < candidacy.resend_at.min(candidacy.deadline) => {}
            Role::Follower { .. } => self.leader_lost(),
            Role::PreVoting(voting) => {
                voting.resend_at = now.after(self.kernel.settings.heartbeat);
                self.send_pre_votes();
            }
            Role::Candidate(candidacy) => {
                candidacy.resend_at = now.after(self.kernel.settings.heartbeat);
                let durable = self.kernel.durability.is_complete(candidacy.own_vote);
                let over = now >= candidacy.deadline;
                if over {
                    candidacy.deadline = now.after(self.kernel.settings.election_timeout);
                }
                // A disk that takes no vote would only be given more of them to write.
                match (over, durable) {
                    (true, true) => self.start_pre_vote(),
                    (false, true) => self.send_votes(When::Now),
                    (true | false, false) => {}
                }
            }
            Role::Leader(_) => unreachable!("a leader has its own timers"),
        }
    }

    /// The connection to `peer` was refused.
    pub(super) fn peer_refused(&mut self, peer: NodeId) {
        if self.kernel.leader != Some(peer) {
            return;
        }
        let lost = self.kernel.lose_leader();
        let patience = self.kernel.random.up_to(REFUSED_DELAY_MAX);
        let patience = patience + self.kernel.preference_delay(lost);
        if let Role::Follower { deadline } = &mut self.role {
            *deadline = self.kernel.now.after(patience).min(*deadline);
        }
    }

    /// A new random wait for whoever follows. `lost`: the leader that is being replaced.
    pub(super) fn restart_election_timer(&mut self, lost: Option<NodeId>) {
        let timeout = self.kernel.settings.election_timeout;
        let wait = timeout + self.kernel.random.up_to(timeout) + self.kernel.preference_delay(lost);
        self.role = Role::Follower { deadline: self.kernel.now.after(wait) };
    }

    /// Enters a later term as a follower of nobody yet.
    pub(super) fn enter_term(&mut self, term: Term) {
        self.kernel.enter_term(term);
        self.follow_nobody();
    }

    /// Gives up whatever role it has, within its term.
    pub(super) fn follow_nobody(&mut self) {
        self.with_leader(|leading| leading.abdicate());
        self.kernel.lose_leader();
        self.restart_election_timer(None);
    }

    fn leader_lost(&mut self) {
        let lost = self.kernel.lose_leader();
        if self.kernel.may_campaign() {
            self.start_pre_vote();
        } else {
            self.restart_election_timer(lost);
        }
    }

    // Pre-votes.

    fn start_pre_vote(&mut self) {
        // INV-10, INV-30.
        assert!(self.kernel.may_campaign());
        let now = self.kernel.now;
        self.role = Role::PreVoting(PreVoting {
            term: self.kernel.term().next(),
            granted: BTreeMap::new(),
            since: now,
            resend_at: now.after(self.kernel.settings.heartbeat),
        });
        self.send_pre_votes();
        self.conclude_pre_vote();
    }

    fn send_pre_votes(&mut self) {
        for peer in self.kernel.configuration().voters.clone() {
            if peer != self.kernel.id {
                self.send_pre_vote(peer);
            }
        }
    }

    fn send_pre_vote(&mut self, to: NodeId) {
        let Role::PreVoting(voting) = &self.role else { return };
        let message = Message::PreVote { term: voting.term, last: self.kernel.log.last() };
        self.kernel.send(to, message, When::Now);
    }

    /// Changes nothing durable here, whatever the answer (INV-7).
    pub(super) fn asked_to_pre_vote(&mut self, from: NodeId, term: Term, last: Position) {
        // INV-6, INV-10.
        if self.kernel.is_sticky()
            || self.kernel.damage.is_some()
            || matches!(self.role, Role::Leader(_))
        {
            return;
        }
        let up_to_date = last >= self.kernel.log.last() || planted::is(Bug::VoteForShorterLog);
        // INV-30: its refusal may be the one for want of which nobody wins.
        self.kernel.needed |= !up_to_date;
        if term <= self.kernel.term() || !up_to_date {
            let message = Message::PreVoteReply { term: self.kernel.term(), granted: false };
            self.kernel.send(from, message, When::Now);
            return;
        }
        if let Role::PreVoting(voting) = &self.role {
            // Two that ask at once would split the votes: the lesser one steps back, but only for a moment, since the
            // greater one may not be able to win.
            let fresh = self.kernel.now.since(voting.since) < self.kernel.settings.heartbeat;
            let greater = (last, from) > (self.kernel.log.last(), self.kernel.id);
            match (fresh, greater) {
                // That the lesser one asks shows that it follows nobody: it can agree by now.
                (true, false) => return self.send_pre_vote(from),
                (true, true) => self.restart_election_timer(None),
                (false, true | false) => {}
            }
        }
        if planted::is(Bug::PreVoteRaisesTerm) {
            self.enter_term(term);
        }
        self.kernel.send(from, Message::PreVoteReply { term, granted: true }, When::Now);
    }

    pub(super) fn pre_vote_answered(&mut self, from: NodeId, term: Term, granted: bool) {
        let now = self.kernel.now;
        let Role::PreVoting(voting) = &mut self.role else { return };
        if granted && term == voting.term {
            voting.granted.insert(from, now);
            self.conclude_pre_vote();
        } else if !granted && term >= voting.term {
            // The asked one is in a later term: ask above it, without entering it (INV-7).
            voting.term = term.next();
            voting.granted.clear();
            self.send_pre_votes();
        }
    }

    fn conclude_pre_vote(&mut self) {
        let Role::PreVoting(voting) = &self.role else { return };
        let within = self.kernel.settings.election_timeout;
        let agreed = |voter: &NodeId| {
            *voter == self.kernel.id
                || voting
                    .granted
                    .get(voter)
                    .is_some_and(|granted| self.kernel.now.since(*granted) < within)
        };
        // INV-62: asking for votes that do not suffice would only raise terms.
        if self.kernel.elects(|voter| agreed(&voter)) {
            let term = voting.term;
            self.campaign(term, Transferred::No);
        }
    }

    // Votes.

    /// The old leader hands over: an election at once, without a pre-vote.
    pub(super) fn told_to_time_out(&mut self, from: NodeId) {
        let fit = !matches!(self.role, Role::Leader(_)) && !self.kernel.needs_state;
        if fit && self.kernel.leader == Some(from) && self.kernel.may_campaign() {
            self.campaign(self.kernel.term().next(), Transferred::Yes);
        }
    }

    #[cfg(test)]
    pub(super) fn stand_at_once(&mut self) {
        self.campaign(self.kernel.term().next(), Transferred::Yes);
    }

    fn campaign(&mut self, term: Term, transferred: Transferred) {
        // INV-10, INV-30.
        assert!(self.kernel.may_campaign());
        self.kernel.enter_term(term);
        self.kernel.vote_for(self.kernel.id);
        let timeout = self.kernel.settings.election_timeout;
        let patience = timeout / 2 + self.kernel.random.up_to(timeout / 2);
        self.role = Role::Candidate(Candidacy {
            granted: BTreeSet::new(),
            own_vote: self.kernel.durability.upcoming(),
            transfer: transferred == Transferred::Yes,
            resend_at: self.kernel.now.after(self.kernel.settings.heartbeat),
            deadline: self.kernel.now.after(patience),
        });
        // INV-2: asked for only when this replica cannot vote for another in this term any more.
        let when = self.kernel.when_hard_state();
        assert!(when != When::Now);
        self.send_votes(when);
    }

    fn send_votes(&mut self, when: When) {
        let Role::Candidate(candidacy) = &self.role else { return };
        let message = Message::Vote {
            term: self.kernel.term(),
            last: self.kernel.log.last(),
            transfer: candidacy.transfer,
        };
        for peer in self.kernel.configuration().voters.clone() {
            if peer != self.kernel.id {
                self.kernel.send(peer, message.clone(), when);
            }
        }
    }

    pub(super) fn asked_to_vote(
        &mut self,
        from: NodeId,
        term: Term,
        last: Position,
        transfer: bool,
    ) {
        let leads = matches!(self.role, Role::Leader(_));
        let again = planted::is(Bug::VoteTwice) && term == self.kernel.term() && !leads;
        let damaged = planted::is(Bug::DamagedVotes) && self.kernel.damage.is_some();
        if again || damaged {
            self.kernel.send(from, Message::VoteReply { term, granted: true }, When::Now);
            return;
        }
        // INV-6, INV-10: not even the term is taken over.
        if self.kernel.damage.is_some() || (!transfer && (leads || self.kernel.is_sticky())) {
            return;
        }
        if term > self.kernel.term() {
            self.enter_term(term);
        }
        let granted = term == self.kernel.term()
            // INV-3: once in a term.
            && self.kernel.vote().is_none_or(|vote| vote == from)
            // INV-5: the candidate's log ends no earlier than this one.
            && (last >= self.kernel.log.last() || planted::is(Bug::VoteForShorterLog));
        if granted {
            self.kernel.vote_for(from);
            // Another candidacy in this term would have been a vote for itself.
            assert!(!matches!(self.role, Role::Candidate(_) | Role::Leader(_)));
            self.restart_election_timer(None);
        }
        let message = Message::VoteReply { term: self.kernel.term(), granted };
        // INV-2: the vote (and the term) is durable before it is told.
        let when = self.kernel.when_hard_state();
        self.kernel.send(from, message, when);
    }

    pub(super) fn vote_answered(&mut self, from: NodeId, granted: bool) {
        let Role::Candidate(candidacy) = &mut self.role else { return };
        if granted {
            candidacy.granted.insert(from);
            self.conclude_election();
        }
    }

    /// A persist is complete: this replica's vote for itself may count.
    pub(super) fn own_vote_durable(&mut self) {
        let Role::Candidate(candidacy) = &mut self.role else { return };
        // INV-2.
        if self.kernel.durability.is_complete(candidacy.own_vote)
            && candidacy.granted.insert(self.kernel.id)
        {
            self.conclude_election();
        }
    }

    fn conclude_election(&mut self) {
        let Role::Candidate(candidacy) = &self.role else { return };
        let own_vote_durable = self.kernel.durability.is_complete(candidacy.own_vote);
        // INV-28, INV-62.
        if !self.kernel.elects(|voter| candidacy.granted.contains(&voter)) || !own_vote_durable {
            return;
        }
        let granted = candidacy.granted.clone();
        let transferred = candidacy.transfer;
        // INV-1, INV-3: it leads with its own vote given to itself.
        assert_eq!(self.kernel.vote(), Some(self.kernel.id));
        let succession = self.kernel.reign.succeed(self.kernel.now, transferred);
        self.kernel.follow(self.kernel.id);
        self.role = Role::Leader(Box::new(Leader::elected(&mut self.kernel, succession)));
        self.with_leader(|leading| leading.take_office(&granted));
    }

    pub(super) fn is_sole_voter(&self) -> bool {
        let voters = &self.kernel.configuration().voters;
        voters.len() == 1 && voters.contains(&self.kernel.id) && self.kernel.damage.is_none()
    }
}

/// Whether the old leader asked for an election.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Transferred {
    Yes,
    No,
}
