//! What clients wait for: bounded, each with a deadline, each answered exactly once.
//!
//! A request is in one [`Stage`], and the stage alone decides what a timeout may say: only a write that was appended
//! is answered `Unknown`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_model::planted::{self, Bug};
use quorate_model::{Epoch, GroupId, LogIndex, Position, ShardId, Time, Topology, VersionVector};

use super::{Failure, Floor, Reply, RequestId};
use crate::{Read, Value, Write};

/// What a group's leader is asked to do.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Work {
    Write(Write),
    Read(Read),
    /// A linearizable read found these keys, whose time has come: remove them through the log, then read again.
    ReadWithoutExpired {
        read: Read,
        keys: Vec<Bytes>,
    },
    ReadIndex,
    ReadKnown,
    ReadTopology,
    SetTopology {
        expected: Epoch,
        topology: Box<Topology>,
    },
}

/// What a request is answered once its entry is applied.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Answer {
    Value(Value),
    /// Whether the compare-and-set held, which shows when it is applied.
    Epoch,
    Read(Read),
}

/// What happens once a read is confirmed and enough is applied.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Then {
    Read(Read),
    /// A write that changed nothing, evaluated on what was proposed through `after`.
    Value {
        value: Value,
        after: Option<Position>,
    },
    Topology,
    Index,
    Known,
    /// A session's read at this replica.
    ReadAt {
        read: Read,
        floor: Floor,
    },
    Done,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Stage {
    /// Nothing is done yet: it waits for a leader that may evaluate commands.
    Queued(Work),
    /// Between a proposal and the protocol's word on it, within one step.
    Proposing { work: Work, answer: Answer },
    /// In the log; its fate is open until that index is applied.
    Appended { position: Position, answer: Answer },
    /// The protocol was asked for a read index.
    Confirming(Then),
    /// Waits for this index to be applied.
    Applying { index: LogIndex, then: Then },
    /// A read that saw what this leader proposed under `Async`: answered once that is acknowledged.
    Acknowledging { position: Position, value: Value },
    /// WAIT.
    Counting { position: Position, replicas: u32, counted: u32 },
    /// Of several leaders: waits until all of this is applied.
    Knowing { floor: VersionVector },
    /// The shards that were led when it began.
    HandingOver { groups: BTreeSet<ShardId> },
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) group: GroupId,
    pub(super) deadline: Time,
    pub(super) stage: Stage,
}

#[derive(Debug)]
pub(super) struct Requests {
    waiting: BTreeMap<RequestId, Waiting>,
    deadlines: BTreeSet<(Time, RequestId)>,
    count_max: usize,
}

impl Requests {
    pub(super) const fn new(count_max: usize) -> Self {
        Self { waiting: BTreeMap::new(), deadlines: BTreeSet::new(), count_max }
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= self.count_max
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// # Panics
    /// When the id is in use or there is no room: the caller checks.
    pub(super) fn insert(&mut self, id: RequestId, waiting: Waiting) {
        assert!(!self.is_full());
        self.deadlines.insert((waiting.deadline, id));
        let before = self.waiting.insert(id, waiting);
        assert!(before.is_none(), "a request's id is unique while the process lives");
    }

    pub(super) fn remove(&mut self, id: RequestId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        let known = self.deadlines.remove(&(waiting.deadline, id));
        assert!(known, "every waiting request has its deadline");
        Some(waiting)
    }

    pub(super) fn stage(&self, id: RequestId) -> Option<&Stage> {
        self.waiting.get(&id).map(|waiting| &waiting.stage)
    }

    pub(super) fn stage_mut(&mut self, id: RequestId) -> Option<&mut Stage> {
        self.waiting.get_mut(&id).map(|waiting| &mut waiting.stage)
    }

    /// A request whose time is over.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<(RequestId, Waiting)> {
        let (deadline, id) = *self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        let waiting = self.remove(id).expect("every deadline has its waiting request");
        Some((id, waiting))
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }
}

impl Stage {
    /// Takes the stage out; the caller puts the next one in its place, or answers.
    pub(super) const fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Confirming(Then::Done))
    }
}

impl Waiting {
    /// What is true when the time is over.
    pub(super) fn timed_out(self) -> Result<Reply, Failure> {
        let group = self.group;
        match self.stage {
            Stage::Queued(_) => Err(Failure::NoLeader { group }),
            Stage::Appended { .. } if planted::is(Bug::UnknownIsFailed) => {
                Err(Failure::NoLeader { group })
            }
            Stage::Proposing { answer, .. } | Stage::Appended { answer, .. } => {
                Err(answer.open(group))
            }
            Stage::Applying { then: Then::ReadAt { .. }, .. } => Err(Failure::Behind { group }),
            Stage::Confirming(_) | Stage::Applying { .. } | Stage::Acknowledging { .. } => {
                Err(Failure::TimedOut { group })
            }
            Stage::Counting { counted, .. } => Ok(Reply::Waited { replicas: counted }),
            Stage::HandingOver { .. } | Stage::Knowing { .. } => Err(Failure::TimedOut { group }),
        }
    }
}

impl Answer {
    /// What can be said while it is open whether the entry takes effect.
    pub(super) const fn open(&self, group: GroupId) -> Failure {
        match self {
            Self::Value(_) | Self::Epoch => Failure::Unknown,
            // Removing what nobody can see any more is no change that the client asked for.
            Self::Read(_) => Failure::TimedOut { group },
        }
    }
}
