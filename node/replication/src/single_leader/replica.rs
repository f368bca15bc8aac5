//! One replica of a group: takes an input, changes role where the protocol says so, and leaves its outputs in a queue.
//!
//! This file only dispatches; the concerns are `electing`, `following` and `leading`. It may not decide who leads or
//! what is committed. Keeps INV-1 (by what it asserts) and INV-4 (a later term is entered before anything else).

use std::collections::BTreeMap;

use quorate_model::admin;
use quorate_model::planted::{self, Bug};
use quorate_model::{Durability, InSyncPolicy, LogIndex, NodeId, Position, Term, Time};

use super::electing::{Candidacy, PreVoting};
use super::kernel::{Kernel, Target};
use super::leading::{Leader, Leading};
use super::{
    AcknowledgementView, Configuration, Dropped, Entry, FollowerView, Input, Message, Output,
    Restored, Settings, Succession,
};

/// See the contract in [`super`].
#[derive(Clone, Debug)]
pub struct Replica {
    pub(super) kernel: Kernel,
    pub(super) role: Role,
    announced: Announced,
}

#[derive(Clone, Debug)]
pub(super) enum Role {
    /// Follows, or waits for a leader to follow: until `deadline`, when nothing is heard.
    Follower {
        deadline: Time,
    },
    PreVoting(PreVoting),
    Candidate(Candidacy),
    Leader(Box<Leader>),
}

/// When a replica wants its next [`Input::Tick`], and what for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadline {
    pub at: Time,
    pub why: Waiting,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// A follower gives up its leader.
    Leader,
    /// A candidate asks again.
    Votes,
    /// A leader shows that it lives.
    Heartbeat,
    /// A leader tells what is committed to followers that nothing else is sent to.
    CommitNotice,
    /// A leader gives up handing over.
    Transfer,
    /// A leader takes a member out of the in-sync set.
    SlowMember,
}

/// What `Output::Leadership` said last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Announced {
    term: Term,
    leader: Option<NodeId>,
    leading: bool,
}

impl Replica {
    /// A replica as it was left on the disk. `seed` differs between replicas: it spreads their timeouts.
    #[must_use]
    pub fn new(id: NodeId, settings: Settings, seed: u64, restored: Restored, now: Time) -> Self {
        let kernel = Kernel::new(id, settings, seed, restored, now);
        let announced = Announced { term: kernel.term(), leader: None, leading: false };
        let mut replica = Self { kernel, role: Role::Follower { deadline: now }, announced };
        // A sole voter has nobody to wait for.
        if !replica.is_sole_voter() {
            replica.restart_election_timer(None);
        }
        replica
    }

    /// Takes one input. The outputs of the one before must have been drained.
    pub fn step(&mut self, now: Time, input: Input) {
        assert!(!self.kernel.has_outputs(), "the outputs of the last step were not drained");
        assert!(now >= self.kernel.now, "time goes back");
        self.kernel.now = now;
        self.take(input);
        self.end_leadership_if_asked();
        self.with_leader(|leading| leading.note_set());
        self.kernel.finish_step();
        self.announce();
    }

    pub fn pop_output(&mut self) -> Option<Output> {
        self.kernel.pop_output()
    }

    #[must_use]
    pub fn deadline(&self) -> Deadline {
        match &self.role {
            Role::Follower { deadline } => Deadline { at: *deadline, why: Waiting::Leader },
            Role::PreVoting(voting) => Deadline { at: voting.resend_at, why: Waiting::Votes },
            Role::Candidate(candidacy) => {
                Deadline { at: candidacy.resend_at.min(candidacy.deadline), why: Waiting::Votes }
            }
            Role::Leader(leader) => leader.deadline(),
        }
    }

    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.kernel.id
    }

    #[must_use]
    pub fn role(&self) -> admin::Role {
        match &self.role {
            Role::Leader(_) => admin::Role::Leader,
            Role::PreVoting(_) | Role::Candidate(_) => admin::Role::Candidate,
            Role::Follower { .. } if self.kernel.is_voter() => admin::Role::Follower,
            Role::Follower { .. } => admin::Role::Learner,
        }
    }

    #[must_use]
    pub const fn term(&self) -> Term {
        self.kernel.term()
    }

    /// For whom it voted in its term.
    #[must_use]
    pub const fn vote(&self) -> Option<NodeId> {
        self.kernel.vote()
    }

    #[must_use]
    pub const fn leader(&self) -> Option<NodeId> {
        self.kernel.leader
    }

    /// Leads, has applied an entry of its own term, and its state is right: it may evaluate commands.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        match &self.role {
            // INV-36.
            Role::Leader(_) if self.kernel.needs_state && !planted::is(Bug::LeadWithoutState) => {
                false
            }
            Role::Leader(_) if planted::is(Bug::EvaluateEarly) => true,
            // INV-25.
            Role::Leader(leader) => self.kernel.applied() >= leader.first_own,
            Role::Follower { .. } | Role::PreVoting(_) | Role::Candidate(_) => false,
        }
    }

    /// What was declared last, to which a leader moves its rule.
    #[must_use]
    pub fn declared(&self) -> Option<(Durability, InSyncPolicy)> {
        self.kernel.target.as_ref().map(|target| (target.durability, target.in_sync))
    }

    /// While leadership is being handed over, proposals are dropped.
    #[must_use]
    pub fn is_transferring(&self) -> bool {
        match &self.role {
            Role::Leader(leader) => leader.transfer.is_some(),
            Role::Follower { .. } | Role::PreVoting(_) | Role::Candidate(_) => false,
        }
    }

    #[must_use]
    pub const fn committed(&self) -> LogIndex {
        self.kernel.committed()
    }

    #[must_use]
    pub const fn applied(&self) -> LogIndex {
        self.kernel.applied()
    }

    /// Through where this replica's present log is on its disk.
    #[must_use]
    pub const fn durable(&self) -> LogIndex {
        self.kernel.durability.durable()
    }

    #[must_use]
    pub fn last(&self) -> Position {
        self.kernel.log.last()
    }

    /// The position that the log starts after.
    #[must_use]
    pub const fn base(&self) -> Position {
        self.kernel.log.base()
    }

    /// The position at `index`, from the base on.
    #[must_use]
    pub fn position_at(&self, index: LogIndex) -> Option<Position> {
        self.kernel.log.position_at(index)
    }

    /// The configuration in force: the newest in the log.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        self.kernel.configuration()
    }

    /// Where the configuration in force stands: at the base, where the log holds none.
    #[must_use]
    pub fn configuration_position(&self) -> Position {
        let index = self.kernel.configurations.current_index();
        self.position_at(index).unwrap_or_else(|| self.base())
    }

    /// The configuration in force at `index`, which is not before the base: what goes with a snapshot at `index`.
    #[must_use]
    pub fn configuration_at(&self, index: LogIndex) -> &Configuration {
        assert!(index >= self.base().index, "{index} is before the log");
        self.kernel.configurations.at(index)
    }

    /// Is in the configuration in force, or is not known to be out of it for good.
    #[must_use]
    pub fn is_member(&self) -> bool {
        let configurations = &self.kernel.configurations;
        configurations.current().contains(self.kernel.id)
            || configurations.current_index() > self.kernel.committed()
    }

    #[must_use]
    pub const fn is_damaged(&self) -> bool {
        self.kernel.damage.is_some()
    }

    /// Whether the caller's state waits for a snapshot to replace it.
    #[must_use]
    pub const fn needs_state(&self) -> bool {
        self.kernel.needs_state
    }

    /// A snapshot at `position` would take this replica forward, or repair it: a damaged one takes only what its leader
    /// chose for the repair (INV-34), one whose state is wrong whatever does not take that back (INV-36). Ask right before an install begins; from then on until `Input::SnapshotInstalled`
    /// the replica is given no message.
    #[must_use]
    pub fn accepts_snapshot(&self, position: Position) -> bool {
        // INV-4: its leader's offer brings the term first.
        if position.term > self.kernel.term() {
            return false;
        }
        match &self.kernel.damage {
            // INV-34, INV-33.
            Some(damage) => damage
                .whole_from
                .is_some_and(|least| position.index >= least.max(self.kernel.applied())),
            None if self.kernel.needs_state => position.index >= self.kernel.applied(),
            None => position.index > self.kernel.committed(),
        }
    }

    /// On the leader: how far each other replica is. Empty elsewhere.
    #[must_use]
    pub fn followers(&self) -> BTreeMap<NodeId, FollowerView> {
        match &self.role {
            Role::Leader(leader) => leader.followers(&self.kernel),
            Role::Follower { .. } | Role::PreVoting(_) | Role::Candidate(_) => BTreeMap::new(),
        }
    }

    /// On the leader: what its rule of acknowledgement is doing.
    #[must_use]
    pub fn acknowledgement(&self) -> Option<AcknowledgementView> {
        match &self.role {
            Role::Leader(leader) => Some(leader.view(&self.kernel)),
            Role::Follower { .. } | Role::PreVoting(_) | Role::Candidate(_) => None,
        }
    }

    /// On the leader: how it came to lead.
    #[must_use]
    pub fn succession(&self) -> Option<Succession> {
        match &self.role {
            Role::Leader(leader) => Some(leader.succession),
            Role::Follower { .. } | Role::PreVoting(_) | Role::Candidate(_) => None,
        }
    }

    /// What installing a snapshot at `position` would take from the log although it may have been acknowledged, and whether this
    /// replica led then: see [`Output::RolledBack`]. Ask, and save it, before the install begins.
    #[must_use]
    pub fn rolled_back_by(&self, position: Position) -> (Vec<Entry>, bool) {
        if self.kernel.log.contains(position) { (Vec::new(), false) } else { self.at_risk() }
    }

    /// What would go with this replica's log although it may have been acknowledged, and whether this replica led then. Ask, and
    /// save it, before the log is forgotten.
    #[must_use]
    pub fn at_risk(&self) -> (Vec<Entry>, bool) {
        let kernel = &self.kernel;
        if kernel.damage.is_some() {
            return (Vec::new(), false);
        }
        let lost = kernel.at_risk(kernel.committed().next());
        let led = kernel.led(&lost);
        (lost, led)
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Tick => self.tick(),
            Input::Message { from, message } => self.receive(from, message),
            Input::Persisted { id } => {
                self.kernel.persisted(id);
                self.own_vote_durable();
                self.with_leader(|leading| leading.own_log_durable());
            }
            Input::Applied { index } => {
                self.kernel.applied_through(index);
                self.with_leader(|leading| leading.state_applied());
            }
            Input::Compacted { position, configuration } => {
                self.kernel.compact(position, &configuration);
            }
            Input::SnapshotInstalled { position, configuration } => {
                self.snapshot_installed(position, configuration);
            }
            Input::PeerRefused { peer } => self.peer_refused(peer),
            Input::Target { voters, learners, preferred_leader, durability, in_sync } => {
                let target = Target { voters, learners, preferred_leader, durability, in_sync };
                self.kernel.target = Some(target);
                self.with_leader(|leading| leading.steer());
            }
            Input::Propose { .. } | Input::Read { .. } => self.take_request(input),
            Input::Dispatch => self.with_leader(|leading| leading.dispatch()),
            Input::Transfer { to } => self.with_leader(|leading| leading.transfer_asked(to)),
            Input::Loaded { to, from, entries } => {
                self.with_leader(|leading| leading.loaded(to, from, entries));
            }
            Input::SnapshotSent { to, position } => {
                self.with_leader(|leading| leading.snapshot_sent(to, position));
            }
            Input::DiskStalled => self.with_leader(|leading| leading.disk_stalled()),
            Input::StateDamaged => self.state_damaged(),
        }
    }

    fn state_damaged(&mut self) {
        self.kernel.lose_state();
        self.with_leader(|leading| leading.steer());
    }

    fn take_request(&mut self, input: Input) {
        let why = Dropped::NotLeader { leader: self.kernel.leader };
        let leader = match &mut self.role {
            Role::Leader(leader) => Some(leader),
            Role::Follower { .. } | Role::PreVoting(_) | Role::Candidate(_) => None,
        };
        match (input, leader) {
            (Input::Propose { id, command }, Some(leader)) => {
                Leading { kernel: &mut self.kernel, leader }.propose(id, command);
            }
            (Input::Read { id }, Some(leader)) => {
                Leading { kernel: &mut self.kernel, leader }.read(id);
            }
            (Input::Propose { id, .. }, None) => {
                self.kernel.output(Output::ProposalDropped { id, why });
            }
            (Input::Read { id }, None) => self.kernel.output(Output::ReadDropped { id, why }),
            (other, _) => unreachable!("{other:?} is no request"),
        }
    }

    fn tick(&mut self) {
        match &self.role {
            Role::Leader(_) => self.with_leader(|leading| leading.tick()),
            Role::Follower { .. } | Role::PreVoting(_) | Role::Candidate(_) => self.election_tick(),
        }
    }

    fn receive(&mut self, from: NodeId, message: Message) {
        if from == self.kernel.id {
            return;
        }
        // Elections have their own rules on terms: INV-6, INV-7.
        match message {
            Message::PreVote { term, last } => return self.asked_to_pre_vote(from, term, last),
            Message::PreVoteReply { term, granted } => {
                return self.pre_vote_answered(from, term, granted);
            }
            Message::Vote { term, last, transfer } => {
                return self.asked_to_vote(from, term, last, transfer);
            }
            Message::VoteReply { .. }
            | Message::Append { .. }
            | Message::AppendReply { .. }
            | Message::SnapshotOffer { .. }
            | Message::TimeoutNow { .. } => {}
        }
        // INV-4: a later term ends whatever role was held in an earlier one.
        if message.term() > self.kernel.term() {
            self.enter_term(message.term());
        }
        self.receive_in_term(from, message);
    }

    fn receive_in_term(&mut self, from: NodeId, message: Message) {
        let stale = message.term() < self.kernel.term();
        match message {
            Message::Append { .. } | Message::SnapshotOffer { .. } if stale => {
                self.refuse_stale_leader(from);
            }
            Message::AppendReply { .. }
            | Message::VoteReply { .. }
            | Message::TimeoutNow { .. }
                if stale => {}
            Message::Append { previous, entries, committed, round, .. } => {
                self.append_received(from, previous, entries, committed, round);
            }
            Message::SnapshotOffer { round, position, repairs, .. } => {
                self.snapshot_offered(from, round, position, repairs);
            }
            Message::VoteReply { granted, .. } => self.vote_answered(from, granted),
            Message::TimeoutNow { .. } => self.told_to_time_out(from),
            Message::AppendReply { round, result, .. } => {
                self.with_leader(|leading| leading.append_answered(from, round, result));
            }
            Message::PreVote { .. } | Message::PreVoteReply { .. } | Message::Vote { .. } => {
                unreachable!("elections are dispatched before")
            }
        }
    }

    /// Does nothing on a replica that does not lead.
    pub(super) fn with_leader(&mut self, act: impl FnOnce(&mut Leading<'_>)) {
        match &mut self.role {
            Role::Leader(leader) => act(&mut Leading { kernel: &mut self.kernel, leader }),
            Role::Follower { .. } | Role::PreVoting(_) | Role::Candidate(_) => {}
        }
    }

    fn end_leadership_if_asked(&mut self) {
        if matches!(&self.role, Role::Leader(leader) if leader.ending) {
            self.follow_nobody();
        }
    }

    fn announce(&mut self) {
        let (term, leader) = (self.kernel.term(), self.kernel.leader);
        let leading = self.is_leading();
        let announced = Announced { term, leader, leading };
        if announced != self.announced {
            self.announced = announced;
            self.kernel.output(Output::Leadership { term, leader, leading });
        }
    }
}

/// What an exhaustive search over replicas needs beside the contract.
#[cfg(test)]
impl Replica {
    /// Stands for election at once, whatever the time, as when a leader hands over.
    pub(super) fn stand(&mut self) {
        let needed = std::mem::replace(&mut self.kernel.needed, true);
        self.stand_at_once();
        self.kernel.needed = needed;
        self.kernel.finish_step();
        self.announce();
    }

    /// The leader changes something of its own accord.
    pub(super) fn change(&mut self, act: impl FnOnce(&mut Leading<'_>)) {
        self.with_leader(act);
        self.kernel.finish_step();
        self.announce();
    }

    /// Whether the leader may append a configuration.
    pub(super) fn may_change(&self) -> bool {
        match &self.role {
            Role::Leader(leader) => {
                let broken = planted::is(Bug::ChangeUnsettled);
                leader.is_settled(&self.kernel) || broken
            }
            Role::Follower { .. } | Role::PreVoting(_) | Role::Candidate(_) => false,
        }
    }

    /// Everything that decides what the replica does next, but for the time.
    pub(super) fn hash_protocol(&self, state: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        (self.kernel.term(), self.kernel.vote(), self.kernel.leader).hash(state);
        (self.kernel.committed(), self.kernel.applied(), self.last()).hash(state);
        self.configuration().hash(state);
        match &self.role {
            Role::Follower { .. } => 0_u8.hash(state),
            Role::PreVoting(_) => 1_u8.hash(state),
            Role::Candidate(candidacy) => {
                2_u8.hash(state);
                candidacy.granted.hash(state);
            }
            Role::Leader(leader) => {
                3_u8.hash(state);
                leader.hash_protocol(state);
            }
        }
    }
}
