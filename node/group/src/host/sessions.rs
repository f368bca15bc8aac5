//! A session's reads at a replica: the replica waits until its state holds what the session has written and seen.
//!
//! Keeps INV-70, INV-71 and INV-72 on the replica's side: no answer from a state below the read's floor, and no waiting
//! for a write that the log has lost. What the floor of a read is, [`crate::session`] says.

use std::time::Duration;

use quorate_model::planted::{self, Bug};
use quorate_model::{Durability, LogIndex, Position};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::requests::{Stage, Then, Waiting};
use super::{Failure, Floor, Host, Reply, RequestId, Turn};
use crate::Read;
use crate::keyspace::{Expired, ReadOutcome};

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    pub(super) fn read_at(&mut self, id: RequestId, read: Read, floor: Floor, wait_ms: u64) {
        let group = self.group.id;
        let wait = Duration::from_millis(wait_ms).min(self.shared.settings.request_timeout);
        let deadline = self.shared.now.after(wait);
        let skips = planted::is(Bug::ReadBehindSession);
        let index = if skips { LogIndex::ZERO } else { floor.index() };
        let behind = index > self.group.standing.applied.index;
        let stage = Stage::Applying { index, then: Then::ReadAt { read, floor } };
        self.shared.requests.insert(id, Waiting { group, deadline, stage });
        if let Err(failure) = self.may_read() {
            self.shared.answer(id, Err(failure));
        } else if self.is_lost(floor.written) {
            let position = floor.written;
            self.shared.answer(id, Err(Failure::PositionLost { group, position }));
        } else if behind && wait.is_zero() {
            self.shared.answer(id, Err(Failure::Behind { group }));
        } else {
            self.await_applied(id, index);
        }
    }

    pub(super) fn finish_read_at(&mut self, id: RequestId, read: &Read, floor: Floor) {
        let group = self.group.id;
        let reply = match self.may_read() {
            Err(failure) => Err(failure),
            Ok(()) if self.is_lost(floor.written) => {
                Err(Failure::PositionLost { group, position: floor.written })
            }
            Ok(()) => match self.read_applied(read, Expired::Hide) {
                Some(ReadOutcome::Value(value)) => {
                    let position = self.group.standing.applied;
                    // INV-70, INV-71.
                    let reached = position.index >= floor.index();
                    assert!(reached || planted::is(Bug::ReadBehindSession));
                    Ok(Reply::Read { value, position })
                }
                Some(ReadOutcome::Expired(_)) => {
                    unreachable!("a replica's read hides what expired")
                }
                None => Err(Failure::TimedOut { group }),
            },
        };
        self.shared.answer(id, reply);
    }

    /// Whether the log says that the acknowledged entry at `position` is not there and will never be.
    pub(super) fn is_lost(&self, position: Position) -> bool {
        if position == Position::ZERO {
            return false;
        }
        let replica = &self.group.replica;
        // A leader never cuts its log; what a follower has not applied may still be replaced.
        let leads = replica.leader() == Some(self.shared.node());
        let (last, term) = if leads {
            (replica.last().index, replica.term())
        } else {
            (self.group.standing.applied.index, self.group.standing.applied.term)
        };
        if position.index > last {
            // Whatever comes next is of this term or a later one.
            return term > position.term;
        }
        match replica.position_at(position.index) {
            Some(at) => at.term != position.term,
            // INV-13: with an entry of its term further on, the log holds all of that leader's entries before.
            None => replica.base().term != position.term && self.may_lose(),
        }
    }

    /// Only then is an acknowledged write whose log is gone in doubt.
    fn may_lose(&self) -> bool {
        let topology = self.shared.following.announced();
        topology.is_none_or(|topology| topology.policy.durability == Durability::Async)
    }

    /// Sessions that wait for a write which the log has lost are told so as soon as a later term's entry is applied.
    pub(super) fn refuse_lost(&mut self) {
        let term = self.group.standing.applied.term;
        if self.group.reads.applied_term == term {
            return;
        }
        self.group.reads.applied_term = term;
        let group = self.group.id;
        let waiting: Vec<RequestId> =
            self.group.reads.applying.iter().map(|(_, request)| *request).collect();
        for id in waiting {
            let Some(Stage::Applying { index, then: Then::ReadAt { floor, .. } }) =
                self.shared.requests.stage(id)
            else {
                continue;
            };
            let (index, position) = (*index, floor.written);
            if self.is_lost(position) {
                self.group.reads.applying.remove(&(index, id));
                self.shared.answer(id, Err(Failure::PositionLost { group, position }));
            }
        }
    }
}

impl<D: Disk, S: StateStore> Host<D, S> {
    /// INV-55: nobody is remembered who waits for an index that may never come.
    pub(super) fn waits_no_longer(&mut self, id: RequestId, waiting: &Waiting) {
        let Some(group) = self.groups.get_mut(&waiting.group) else { return };
        if let Stage::Applying { index, .. } = &waiting.stage {
            group.reads.applying.remove(&(*index, id));
        }
        group.reads.knowing.remove(&id);
    }
}
