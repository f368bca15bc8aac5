//! One group's turn: its tasks, one after the other, and what the protocol says to each.
//!
//! A replica is drained before it is stepped again; whatever an output causes for the same replica is a task for later
//! in the turn.

use std::mem;

use quorate_model::admin::Swap;
use quorate_model::planted::{self, Bug};
use quorate_model::{LogIndex, NodeId, Time};
use quorate_replication::single_leader::{Input, Message, Output, PersistId, When};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::group::{Group, Held, Leadership, Task};
use super::loading::Load;
use super::rollback::Persist;
use super::shared::Shared;
use super::timers::Timer;
use super::{Failure, PeerMessage};
use crate::entry::Mark;

/// How many messages of a group may wait for its persists.
const HELD_MAX: usize = 1024;

pub(super) struct Turn<'a, D: Disk, S: StateStore> {
    pub(super) group: &'a mut Group<S::Export>,
    pub(super) shared: &'a mut Shared<D, S>,
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// Until no task is left.
    pub(super) fn run(&mut self) {
        while let Some(task) = self.group.tasks.pop_front() {
            if self.shared.stopped {
                return;
            }
            match task {
                Task::Step(input) => self.step(input),
                Task::Run(request) => self.run_request(request),
                Task::Finish(request) => self.finish_request(request),
                Task::Exchange => self.tell_exchange(),
                Task::Judge(verdict) => {
                    self.propose_mark(Mark { verdict: Some(verdict), part: None });
                }
            }
        }
        self.recount();
        self.release_acknowledged();
        self.keep_rest();
        let deadline = self.group.replica.deadline().at;
        let deadline = Some(deadline).filter(|_| !self.group.repose.is_rest());
        self.shared.timers.set(Timer::Replica(self.group.id), deadline);
    }

    /// Gives the replica one input and carries out all that it says.
    pub(super) fn step(&mut self, input: Input) {
        self.vouch();
        self.group.replica.step(self.shared.now, input);
        while let Some(output) = self.group.replica.pop_output() {
            if !self.shared.stopped {
                self.carry_out(output);
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Persist { id, hard_state, truncate_from, entries } => {
                self.persist(Persist { id, hard_state, truncate_from, entries });
            }
            Output::RolledBack { .. } if planted::is(Bug::ForgetRollback) => {}
            Output::RolledBack { entries, led } => self.save_rollback(entries, led),
            Output::Acknowledged { through } => self.acknowledged(through),
            Output::RuleChanged { index, removed, added, why } => {
                let at = self.shared.wall;
                self.group.history.swapped(Swap { at, index, removed, added, why });
                self.shared.status_changed = true;
            }
            Output::Send { to, message, when } => self.send_when(to, message, when),
            Output::Apply { entries } => self.apply(entries),
            Output::Proposed { id, position } => self.proposed(id, position),
            Output::ProposalDropped { id, why } => self.proposal_dropped(id, why),
            Output::ReadReady { id, index } => self.read_ready(id, index),
            Output::ReadDropped { id, why } => self.read_dropped(id, why),
            Output::LoadEntries { to, from, bytes_max } => {
                self.load_wanted(to, Load { from, bytes_max });
            }
            Output::SendSnapshot { to } => self.snapshot_wanted(to),
            Output::Leadership { term, leader, leading } => {
                self.leadership(Leadership { term, leader, leading });
            }
        }
    }

    /// INV-12: a message that promises something durable waits for the persist that makes it so.
    fn send_when(&mut self, to: NodeId, message: Message, when: When) {
        let group = self.group.id;
        match when {
            When::Persisted(until) if until > self.group.persisted => {
                // INV-55: while the disk stands still, messages are lost rather than piled up.
                if self.group.held.len() >= HELD_MAX {
                    self.group.held.pop_front();
                }
                self.group.held.push_back(Held { until, to, message });
            }
            When::Persisted(_) | When::Now => {
                self.shared.send(to, group, PeerMessage::Replication(message));
            }
        }
    }

    /// Everything that the replica issued through `id` is durable.
    pub(super) fn persisted(&mut self, id: PersistId) {
        assert!(id > self.group.persisted, "persists complete in the order of their issue");
        self.group.persisted = id;
        let held = mem::take(&mut self.group.held);
        for held in held {
            if held.until <= id {
                let message = PeerMessage::Replication(held.message);
                self.shared.send(held.to, self.group.id, message);
            } else {
                self.group.held.push_back(held);
            }
        }
        self.group.tasks.push_back(Task::Step(Input::Persisted { id }));
        self.exchange_persisted();
    }

    fn leadership(&mut self, leadership: Leadership) {
        let before = mem::replace(&mut self.group.leadership, leadership);
        assert!(leadership.term >= before.term, "terms never go back");
        if before == leadership {
            return;
        }
        self.shared.status_changed = true;
        self.shared.leadership_changed = true;
        let node = self.shared.node();
        if leadership.leader == Some(node) && before.leader != Some(node) {
            self.note_succession();
        }
        if before.leading && !(leadership.leading && leadership.term == before.term) {
            self.stop_leading();
        }
        if leadership.term != before.term || leadership.leader != Some(node) {
            self.group.writes.acknowledged = LogIndex::ZERO;
        }
        if leadership.leader != Some(node) {
            self.drop_supplies();
            self.stop_counting();
            self.stop_knowing();
        }
        if leadership.leading {
            self.start_leading();
        }
        self.tell_leader_engine();
        self.wake_queue();
    }

    fn start_leading(&mut self) {
        self.begin_exchange();
        self.watch_expiry();
        self.shared.set_check_timer();
        let now = self.shared.now;
        // Later in this turn or right after it: the protocol is in the midst of its outputs.
        self.shared.timers.set(Timer::Format(self.group.id), Some(now));
        self.shared.timers.set_at_latest(Timer::Addresses, self.shared.now);
    }

    fn stop_leading(&mut self) {
        self.group.writes.overlay = Default::default();
        self.group.writes.newest = Default::default();
        self.group.writes.format = None;
        self.group.checks.forget();
        self.group.held_back = None;
        self.end_exchange();
        self.refuse_unacknowledged();
        self.shared.timers.set(Timer::Expiry(self.group.id), None);
    }

    /// The group goes away: nobody waits for it any more.
    pub(super) fn dissolve(&mut self) {
        let group = self.group.id;
        self.drop_supplies();
        self.abort_outgoing();
        self.abandon_incoming();
        self.rouse();
        for timer in [
            Timer::Replica(group),
            Timer::Queue(group),
            Timer::Expiry(group),
            Timer::Format(group),
            Timer::Retire(group),
            Timer::Incoming(group),
            Timer::Pace(group),
            Timer::Exchange(group),
            Timer::Fill(group),
            Timer::Homes(group),
        ] {
            self.shared.timers.set(timer, None);
        }
        let writes = mem::take(&mut self.group.writes);
        let reads = mem::take(&mut self.group.reads);
        for id in writes.appended.into_values() {
            self.answer_open(id);
        }
        let gone = Failure::NotHosted { group };
        let waiting = writes.queue.into_iter().chain(reads.confirming.into_values());
        let waiting = waiting.chain(reads.applying.into_iter().map(|(_, id)| id));
        let waiting = waiting.chain(reads.acknowledging.into_iter().map(|(_, id)| id));
        for id in waiting.chain(reads.counting).chain(reads.knowing) {
            self.shared.answer(id, Err(gone.clone()));
        }
    }

    pub(super) fn timer(&mut self, timer: Timer, after: Time) {
        self.shared.timers.set(timer, Some(after));
    }
}
