//! One group on this node: the protocol's replica, where its rows stand, and what waits for it.
//!
//! Only data and what follows from it: what is done with it is in the rooms beside this one, each on a [`super::Turn`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_model::{GroupId, LogFormat, LogIndex, NodeId, Position, Term};
use quorate_replication::single_leader::{self, Message, PersistId, ProposalId, ReadId, Replica};

use super::RequestId;
use super::beating::Repose;
use super::checking::Checks;
use super::exchanging::Exchanging;
use super::expiry::Watch;
use super::filling::Filling;
use super::history::History;
use super::loading::Load;
use super::pace::Paces;
use super::retention::Points;
use super::retiring::Doubt;
use super::rollback::Saving;
use super::rows::{Health, Prefix, Standing};
use super::snapshotting::{Incoming, Outgoing, Supplies};
use crate::entry::Verdict;
use crate::keyspace::{Effects, Overlay};

pub(super) struct Group<V> {
    pub(super) id: GroupId,
    pub(super) replica: Replica,
    /// What to do before the group's turn ends, in order.
    pub(super) tasks: VecDeque<Task>,
    pub(super) standing: Standing,
    /// Generations are never used twice while the process lives.
    pub(super) next_generation: u32,
    pub(super) leadership: Leadership,
    /// Everything that the replica issued through here is durable.
    pub(super) persisted: PersistId,
    /// Messages that wait for a persist, in the order of their persists' issue.
    pub(super) held: VecDeque<Held>,
    pub(super) writes: Writes,
    pub(super) reads: Reads,
    /// Snapshots on their way to others.
    pub(super) outgoing: BTreeMap<NodeId, Outgoing<V>>,
    /// On the leader: who streams to whom.
    pub(super) supplies: Supplies,
    /// On the leader: how fast followers that are behind come closer.
    pub(super) paces: Paces,
    /// On the leader: entries that the rate of catching up holds back.
    pub(super) loads: BTreeMap<NodeId, Load>,
    pub(super) incoming: Option<Incoming>,
    /// The newest stream that was installed, and the number after its last chunk: its source may not have heard of it.
    pub(super) installed: Option<(u64, u64)>,
    pub(super) points: Points,
    pub(super) expiry: Watch,
    pub(super) repose: Repose,
    pub(super) doubt: Option<Doubt>,
    pub(super) saving: Saving,
    pub(super) history: History,
    pub(super) checks: Checks,
    /// Why its rows count for nothing, until a snapshot replaced them.
    pub(super) quarantined: Option<String>,
    /// On a leader: why the log has another format than the declared one.
    pub(super) held_back: Option<String>,
    pub(super) exchanging: Exchanging,
    pub(super) filling: Filling,
}

#[derive(Debug)]
pub(super) enum Task {
    Step(single_leader::Input),
    /// A request's work, from its begin.
    Run(RequestId),
    /// A request has all that it waited for.
    Finish(RequestId),
    /// The replicas were compared: it goes into the log.
    Judge(Verdict),
    /// Of several leaders: entries were applied.
    Exchange,
}

/// The protocol's newest word on who leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Leadership {
    pub(super) term: Term,
    pub(super) leader: Option<NodeId>,
    pub(super) leading: bool,
}

#[derive(Debug)]
pub(super) struct Held {
    pub(super) until: PersistId,
    pub(super) to: NodeId,
    pub(super) message: Message,
}

/// What a leader proposed, and what waits for it.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pub(super) overlay: Overlay,
    pub(super) newest: Position,
    /// The format that the newest proposed switch set.
    pub(super) format: Option<LogFormat>,
    /// Acknowledged from this leader's disk alone through here; it may be beyond what is applied.
    pub(super) acknowledged: LogIndex,
    /// Between a proposal and the protocol's word on it.
    pub(super) proposals: BTreeMap<ProposalId, Proposal>,
    /// Whose request stands where. Two terms at one index are two fates.
    pub(super) appended: BTreeMap<(LogIndex, Term), RequestId>,
    /// Requests that wait for a leader, oldest first.
    pub(super) queue: VecDeque<RequestId>,
}

#[derive(Debug)]
pub(super) struct Proposal {
    /// `None` for what the host itself proposes.
    pub(super) request: Option<RequestId>,
    /// `None` in the meta group.
    pub(super) effects: Option<Effects>,
    /// What other datacenters wrote: if it is dropped, they are asked again.
    pub(super) taken: bool,
}

#[derive(Debug, Default)]
pub(super) struct Reads {
    pub(super) confirming: BTreeMap<ReadId, RequestId>,
    pub(super) applying: BTreeSet<(LogIndex, RequestId)>,
    /// The term of the newest applied entry when it was last seen whether `applying` waits in vain.
    pub(super) applied_term: Term,
    /// They are evaluated, on what was proposed through this index, and wait until all of it is acknowledged.
    pub(super) acknowledging: BTreeSet<(LogIndex, RequestId)>,
    pub(super) counting: BTreeSet<RequestId>,
    pub(super) knowing: BTreeSet<RequestId>,
}

/// Whether requests can be done here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Readiness {
    Leading,
    Elsewhere(NodeId),
    /// No leader is known, or this replica leads and has not applied an entry of its term.
    Waiting,
    /// The only replica, and its log is damaged: no leader will come.
    Lost,
}

impl<V> Group<V> {
    pub(super) fn new(id: GroupId, replica: Replica, standing: Standing, points: Points) -> Self {
        assert_ne!(standing.health, Health::Retired, "a retired replica is not hosted");
        Self {
            id,
            replica,
            tasks: VecDeque::new(),
            next_generation: standing.generation + 1,
            standing,
            leadership: Leadership::default(),
            persisted: PersistId(0),
            held: VecDeque::new(),
            writes: Writes::default(),
            reads: Reads::default(),
            outgoing: BTreeMap::new(),
            supplies: Supplies::default(),
            paces: Paces::default(),
            loads: BTreeMap::new(),
            incoming: None,
            installed: None,
            points,
            expiry: Watch::default(),
            repose: Repose::default(),
            doubt: None,
            saving: Saving::default(),
            history: History::default(),
            checks: Checks::default(),
            quarantined: None,
            held_back: None,
            exchanging: Exchanging::default(),
            filling: Filling::default(),
        }
    }

    pub(super) fn prefix(&self) -> Prefix {
        Prefix::new(self.id, self.standing.generation)
    }

    pub(super) const fn is_quarantined(&self) -> bool {
        self.quarantined.is_some()
    }

    pub(super) fn readiness(&self, node: NodeId) -> Readiness {
        match self.leadership.leader {
            Some(leader) if leader != node => Readiness::Elsewhere(leader),
            // One that is about to hand over since its rows are wrong answers nobody from them.
            Some(_) if self.leadership.leading && !self.is_quarantined() => Readiness::Leading,
            Some(_) | None => {
                let voters = &self.standing.configuration.voters;
                let alone = voters.len() == 1 && voters.contains(&node);
                if self.standing.health == Health::Damaged && alone {
                    Readiness::Lost
                } else {
                    Readiness::Waiting
                }
            }
        }
    }

    /// The leader, when it is another node.
    pub(super) fn leader_elsewhere(&self, node: NodeId) -> Option<NodeId> {
        self.leadership.leader.filter(|leader| *leader != node)
    }
}
