//! Reads: confirmed by the protocol, then evaluated on what is applied.
//!
//! A linearizable read is evaluated when its index is applied (INV-22). An answer of a write that changed nothing is a
//! read of what was proposed before it: it waits for that as well, and fails when the leader lost that leadership.

use quorate_model::planted::{self, Bug};
use quorate_model::{LogIndex, Position};
use quorate_replication::single_leader::{Dropped, Input, ReadId};
use quorate_storage::disk::Disk;
use quorate_storage::state::{StateError, StateStore};

use super::group::Task;
use super::requests::{Stage, Then, Work};
use super::rows::Health;
use super::{Failure, Reply, RequestId, Turn};
use crate::keyspace::{self, Context, Expired, ReadOutcome, View};
use crate::{Read, Value};

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// What this replica has applied, whatever its role.
    pub(super) fn read_local(&mut self, read: &Read) -> Result<Reply, Failure> {
        let group = self.group.id;
        self.may_read()?;
        match self.read_applied(read, Expired::Hide) {
            Some(ReadOutcome::Value(value)) => Ok(Reply::Value { value, position: None }),
            Some(ReadOutcome::Expired(_)) => unreachable!("a local read hides what expired"),
            None => Err(Failure::TimedOut { group }),
        }
    }

    /// Whether this replica's rows are fit to be read.
    pub(super) fn may_read(&self) -> Result<(), Failure> {
        let standing = &self.group.standing;
        if let Some(why) = &self.group.quarantined {
            return Err(Failure::Damaged(why.clone()));
        }
        if standing.health == Health::Damaged {
            let why = self.shared.damaged.clone().unwrap_or_else(|| "it is being repaired".into());
            return Err(Failure::Damaged(why));
        }
        if standing.applied == Position::ZERO && self.group.leadership.leader.is_none() {
            // Blank, or just begun: it does not know what it does not have.
            return Err(Failure::NoLeader { group: self.group.id });
        }
        Ok(())
    }

    /// Asks the protocol for a read index, on behalf of a request.
    pub(super) fn confirm(&mut self, id: RequestId, then: Then) {
        let Some(stage) = self.shared.requests.stage_mut(id) else { return };
        *stage = Stage::Confirming(then);
        let read = self.shared.read_id();
        self.group.reads.confirming.insert(read, id);
        self.step(Input::Read { id: read });
        self.shared.undispatched.insert(self.group.id);
    }

    pub(super) fn read_ready(&mut self, read: ReadId, index: LogIndex) {
        let id =
            self.group.reads.confirming.remove(&read).expect("only what was asked is answered");
        let Some(stage) = self.shared.requests.stage_mut(id) else { return };
        let Stage::Confirming(then) = stage.take() else {
            unreachable!("a read that is confirmed was confirming")
        };
        let index = match &then {
            Then::Value { after: Some(after), .. } => index.max(after.index),
            Then::Index => {
                // INV-72: under `Async` more than what is committed may be acknowledged.
                let index = index.max(self.group.writes.acknowledged);
                self.shared.answer(id, Ok(Reply::Index(index)));
                return;
            }
            // All that may have been shown, as in INV-72.
            Then::Known => index.max(self.group.writes.acknowledged),
            Then::Value { after: None, .. }
            | Then::Read(_)
            | Then::Topology
            | Then::ReadAt { .. }
            | Then::Done => index,
        };
        *stage = Stage::Applying { index, then };
        self.await_applied(id, index);
    }

    /// The request, which is at `Stage::Applying`, goes on when `index` is applied.
    pub(super) fn await_applied(&mut self, id: RequestId, index: LogIndex) {
        if index <= self.group.standing.applied.index {
            self.group.tasks.push_back(Task::Finish(id));
        } else {
            self.group.reads.applying.insert((index, id));
        }
    }

    pub(super) fn read_dropped(&mut self, read: ReadId, why: Dropped) {
        let id =
            self.group.reads.confirming.remove(&read).expect("only what was asked is answered");
        let group = self.group.id;
        let Some(stage) = self.shared.requests.stage_mut(id) else { return };
        let Stage::Confirming(then) = stage.take() else {
            unreachable!("a read that is dropped was confirming")
        };
        let work = match then {
            Then::Read(read) => Work::Read(read),
            Then::Topology => Work::ReadTopology,
            Then::Index => Work::ReadIndex,
            Then::Known => Work::ReadKnown,
            Then::Value { .. } | Then::ReadAt { .. } | Then::Done => {
                // Its evaluation is void, and nothing was changed.
                let leader = self.group.leader_elsewhere(self.shared.node());
                let failure = match why {
                    Dropped::Overloaded => Failure::Overloaded,
                    Dropped::NotLeader { .. } | Dropped::Transferring | Dropped::SetNotHeld => {
                        Failure::NotLeader { group, leader }
                    }
                };
                self.shared.answer(id, Err(failure));
                return;
            }
        };
        *stage = Stage::Queued(work);
        self.dropped(id, why);
    }

    /// Everything through `applied` is applied: whoever waited for that goes on.
    pub(super) fn release_applied(&mut self) {
        let applied = self.group.standing.applied.index;
        while let Some((index, id)) = self.group.reads.applying.first().copied()
            && index <= applied
        {
            self.group.reads.applying.pop_first();
            self.group.tasks.push_back(Task::Finish(id));
        }
        self.refuse_lost();
    }

    pub(super) fn finish_request(&mut self, id: RequestId) {
        let Some(stage) = self.shared.requests.stage_mut(id) else { return };
        let Stage::Applying { index, then } = stage.take() else {
            unreachable!("what is finished waited for an index")
        };
        // INV-22: a read sees everything through its index.
        assert!(self.group.standing.applied.index >= index);
        match then {
            Then::Read(read) => self.finish_read(id, read),
            Then::Value { value, after } => {
                let group = self.group.id;
                let leadership = self.group.leadership;
                let valid =
                    leadership.leading && after.is_none_or(|after| after.term == leadership.term);
                self.shared.answer(
                    id,
                    if valid {
                        Ok(Reply::Value { value, position: None })
                    } else {
                        let leader = self.group.leader_elsewhere(self.shared.start.node);
                        Err(Failure::NotLeader { group, leader })
                    },
                );
            }
            Then::Topology => {
                let reply = match self.shared.following.topology() {
                    Some(topology) => Ok(Reply::Topology(Box::new(topology.clone()))),
                    None => Err(Failure::NotHosted { group: self.group.id }),
                };
                self.shared.answer(id, reply);
            }
            Then::ReadAt { read, floor } => self.finish_read_at(id, &read, floor),
            Then::Known => self.tell_known(id),
            Then::Done => self.shared.answer(id, Ok(Reply::Done)),
            Then::Index => unreachable!("an index is answered as soon as it is known"),
        }
    }

    fn finish_read(&mut self, id: RequestId, read: Read) {
        if self.group.is_quarantined() {
            return self.answer_unevaluated(id);
        }
        let alone = self.group.writes.acknowledged > self.group.standing.applied.index;
        let outcome = if alone {
            self.read_proposed(&read)
        } else {
            self.read_applied(&read, Expired::Report)
        };
        match outcome {
            None => self.answer_unevaluated(id),
            Some(ReadOutcome::Value(value)) if alone => self.answer_acknowledged(id, value),
            Some(ReadOutcome::Value(value)) => {
                self.shared.answer(id, Ok(Reply::Value { value, position: None }));
            }
            Some(ReadOutcome::Expired(keys)) => {
                if let Some(stage) = self.shared.requests.stage_mut(id) {
                    *stage = Stage::Queued(Work::ReadWithoutExpired { read, keys });
                    self.run_request(id);
                }
            }
        }
    }

    /// INV-65: what a read saw of this leader's proposals is acknowledged before the read is answered.
    fn answer_acknowledged(&mut self, id: RequestId, value: Value) {
        let position = self.group.writes.newest;
        let acknowledged = position.index <= self.group.writes.acknowledged;
        if acknowledged || planted::is(Bug::ShowBeforeRule) {
            self.shared.answer(id, Ok(Reply::Value { value, position: None }));
        } else if let Some(stage) = self.shared.requests.stage_mut(id) {
            *stage = Stage::Acknowledging { position, value };
            self.group.reads.acknowledging.insert((position.index, id));
        }
    }

    /// Reads that saw nothing but what is acknowledged by now are answered.
    pub(super) fn release_acknowledged(&mut self) {
        let through = self.group.writes.acknowledged.max(self.group.standing.applied.index);
        while let Some((index, id)) = self.group.reads.acknowledging.first().copied()
            && index <= through
        {
            self.group.reads.acknowledging.pop_first();
            let Some(stage) = self.shared.requests.stage_mut(id) else { continue };
            let Stage::Acknowledging { value, position } = stage.take() else {
                unreachable!("what waits to be acknowledged is evaluated")
            };
            // Whoever lost that leadership refused it before.
            assert_eq!(position.term, self.group.leadership.term);
            self.shared.answer(id, Ok(Reply::Value { value, position: None }));
        }
    }

    /// The leadership is lost in which these reads were evaluated: what they saw may never be.
    pub(super) fn refuse_unacknowledged(&mut self) {
        let evaluated = std::mem::take(&mut self.group.reads.acknowledging);
        self.send_elsewhere(evaluated.into_iter().map(|(_, id)| id));
    }

    /// What is proposed, for a leader that acknowledges before a majority holds it. `None` when the state store failed.
    fn read_proposed(&mut self, read: &Read) -> Option<ReadOutcome> {
        let context = Context { now: self.group_time(), seed: self.shared.nonce() };
        let look = |view: &View<'_, S>| keyspace::read(read, context, view, Expired::Report);
        let outcome = self.with_proposed(look);
        self.read_outcome(outcome)
    }

    /// `None` when the state store failed: the replica is taken out.
    pub(super) fn read_applied(&mut self, read: &Read, expired: Expired) -> Option<ReadOutcome> {
        let context = Context { now: self.group_time(), seed: self.shared.nonce() };
        let prefix = self.group.prefix();
        let view = View::applied(&self.shared.state, prefix.as_slice(), self.group.standing.keys);
        let view = view.among(self.group.exchanging.leaders());
        let outcome = keyspace::read(read, context, &view, expired);
        self.read_outcome(outcome)
    }

    fn read_outcome(&mut self, outcome: Result<ReadOutcome, StateError>) -> Option<ReadOutcome> {
        match outcome {
            Ok(outcome) => Some(outcome),
            Err(error) => {
                self.refuse_state(error.into());
                None
            }
        }
    }
}
