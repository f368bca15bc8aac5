//! What a host shows of itself.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::admin::{Acknowledgement, CatchUp, CatchUpPhase, Failover, Role, Swap};
use quorate_model::{
    ActorId, Durability, GroupId, LogFormat, LogIndex, NodeId, Policy, Term, Time,
};
use quorate_replication::single_leader::{
    Configuration, FollowerPhase, FollowerView, Replica, Rule,
};
use quorate_storage::disk::Disk;
use quorate_storage::state::{StateError, StateStore};

use super::Host;
use super::exchanging::ExchangeStatus;
use super::group::Group;
use super::history::Counts;
use super::leaderless::{HintsStatus, ShardStatus};
use super::rows::Health;
use super::snapshotting::Incoming;
use crate::keyspace::{self, CONFLICTS_MAX, Conflict, Known, Standing, View};

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Status {
    pub replicas: Vec<ReplicaStatus>,
    pub damaged: Option<String>,
    /// Bytes of log on the disk, and operations of the disk so far (for fsyncs per operation).
    pub log_bytes: u64,
    pub syncs: u64,
    pub requests_waiting: usize,
    /// How often a replica was taken out since the start.
    pub quarantines: u64,
    /// The format of this node's storage engine.
    pub engine_format: u32,
    /// Without a leader.
    pub shards: Vec<ShardStatus>,
    pub hints: HintsStatus,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ReplicaStatus {
    pub group: GroupId,
    pub role: Role,
    pub term: Term,
    pub leader: Option<NodeId>,
    pub last: LogIndex,
    pub committed: LogIndex,
    pub applied: LogIndex,
    pub configuration: Configuration,
    /// On the leader.
    pub followers: BTreeMap<NodeId, Progress>,
    pub keys: u64,
    /// Leads and answers: what a router may send requests to.
    pub leading: bool,
    /// Takes part in nothing until a snapshot repaired it.
    pub damaged: bool,
    /// The format of its leader's entries, as far as it has applied them.
    pub log_format: LogFormat,
    /// On the leader: why that is not the declared one.
    pub log_format_held_back: Option<String>,
    /// Why its rows count for nothing until a snapshot replaced them.
    pub quarantined: Option<String>,
    /// On the leader: how often all rows were compared between the replicas, and why the last comparison came to nothing.
    pub passes: u64,
    pub undecided: Option<String>,
    pub acknowledgement: Acknowledgement,
    pub failovers: Vec<Failover>,
    pub swaps: Vec<Swap>,
    pub counts: Counts,
    /// On the leader, where there are several.
    pub exchange: Option<ExchangeStatus>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Progress {
    pub matched: LogIndex,
    pub phase: CatchUpPhase,
    pub last_answer_ms: Option<u64>,
    pub catch_up: CatchUp,
}

impl<D: Disk, S: StateStore> Host<D, S> {
    /// Everything at once: of the order of the number of replicas.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = &self.shared;
        Status {
            replicas: self
                .groups
                .values()
                .map(|group| {
                    let policy = shared.following.topology().map(|topology| &topology.policy);
                    let mut status = replica_status(group, policy, shared.now);
                    for (node, progress) in &mut status.followers {
                        // Where beats stand for its answers, the protocol hears of them when it is asked something.
                        if let Some(at) = shared.beats.answered(*node, group.id) {
                            let age = age_ms(at, shared.now);
                            progress.last_answer_ms =
                                Some(progress.last_answer_ms.map_or(age, |known| known.min(age)));
                        }
                    }
                    status
                })
                .collect(),
            damaged: shared.damaged.clone(),
            log_bytes: shared.persisting.log_bytes(),
            syncs: shared.persisting.syncs(),
            requests_waiting: shared.requests.len(),
            quarantines: shared.quarantines,
            engine_format: shared.settings.engine_format,
            shards: self.shards.status(shared.now),
            hints: self.shards.hints(),
        }
    }

    /// Whether a snapshot takes the place of the group's rows at this moment: until it is durable the replica takes no message.
    #[must_use]
    pub fn is_installing(&self, group: GroupId) -> bool {
        let incoming = self.groups.get(&group).and_then(|group| group.incoming.as_ref());
        incoming.is_some_and(Incoming::is_switched)
    }

    /// How often a replica was taken out since the start, for its rows were wrong or unreadable.
    #[must_use]
    pub const fn quarantines(&self) -> u64 {
        self.shared.quarantines
    }

    /// Of several leaders: what the group's rows say is known, to look at.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn known(&self, group: GroupId) -> Result<Option<Known>, StateError> {
        if !self.has_several_leaders() {
            return Ok(None);
        }
        self.with_applied(group, Known::of).transpose()
    }

    /// Of several leaders: whose the writes of the one here are, to look at.
    #[must_use]
    pub fn exchange_origin(&self, group: GroupId) -> Option<ActorId> {
        self.groups.get(&group)?.exchanging.origin()
    }

    /// Of several leaders: what stands in each cell, for comparisons in tests: of the size of the group.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn standing_cells(&self, group: GroupId) -> Result<Vec<Standing>, StateError> {
        self.with_applied(group, keyspace::standing).unwrap_or_else(|| Ok(Vec::new()))
    }

    /// Of several leaders: the conflicts that the group keeps, for comparisons in tests.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn conflicts(&self, group: GroupId) -> Result<Vec<Conflict>, StateError> {
        let last = |view: &View<'_, S>| keyspace::last_conflicts(view, CONFLICTS_MAX);
        self.with_applied(group, last).unwrap_or_else(|| Ok(Vec::new()))
    }

    /// Looks at what a group that is here has applied.
    fn with_applied<T>(&self, group: GroupId, look: impl FnOnce(&View<'_, S>) -> T) -> Option<T> {
        let group = self.groups.get(&group)?;
        let prefix = group.prefix();
        Some(look(&View::applied(&self.shared.state, prefix.as_slice(), group.standing.keys)))
    }

    fn has_several_leaders(&self) -> bool {
        let topology = self.shared.following.topology();
        topology.is_some_and(|topology| topology.mode.multi_leader().is_some())
    }

    /// All rows of a group, in order, for comparisons in tests: of the size of the group.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn rows(&self, group: GroupId) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        let prefix = self.groups.get(&group).map(Group::prefix);
        let Some(prefix) = prefix.or_else(|| self.shards.prefix(group)) else {
            return Ok(Vec::new());
        };
        let end = prefix.end();
        let rows = self.shared.state.range(&prefix.row(&[]), &end, usize::MAX)?;
        let cut = prefix.as_slice().len();
        Ok(rows.into_iter().map(|(row, value)| (row.slice(cut..), value)).collect())
    }
}

pub(super) fn replica_status<V>(
    group: &Group<V>,
    policy: Option<&Policy>,
    now: Time,
) -> ReplicaStatus {
    let replica = &group.replica;
    let followers = replica.followers();
    ReplicaStatus {
        group: group.id,
        role: replica.role(),
        term: replica.term(),
        leader: replica.leader(),
        last: replica.last().index,
        committed: replica.committed(),
        applied: group.standing.applied.index,
        configuration: replica.configuration().clone(),
        followers: followers
            .into_iter()
            .map(|(node, view)| (node, progress(group, node, replica.id(), view, now)))
            .collect(),
        keys: group.standing.keys,
        leading: group.leadership.leading && !group.is_quarantined(),
        damaged: group.standing.health == Health::Damaged || replica.is_damaged(),
        log_format: group.standing.format,
        log_format_held_back: group.held_back.clone(),
        quarantined: group.quarantined.clone(),
        passes: group.checks.passes,
        undecided: group.checks.undecided.clone(),
        acknowledgement: acknowledgement(replica, policy),
        failovers: group.history.failovers(),
        swaps: group.history.swaps(),
        counts: group.history.counts(),
        exchange: group.exchanging.status(now),
    }
}

fn acknowledgement(replica: &Replica, policy: Option<&Policy>) -> Acknowledgement {
    let Configuration { voters, rule, .. } = replica.configuration();
    let view = replica.acknowledgement().unwrap_or_default();
    let durability = match rule {
        Rule::Quorum => Durability::Quorum,
        Rule::Async => Durability::Async,
        // Which of the two a set stands for is only known from what is declared.
        Rule::InSync(set) => match policy.map(|policy| policy.durability) {
            Some(declared @ (Durability::SemiSync | Durability::Sync)) => declared,
            Some(Durability::Quorum | Durability::Async) | None if set == voters => {
                Durability::Sync
            }
            Some(Durability::Quorum | Durability::Async) | None => Durability::SemiSync,
        },
    };
    Acknowledgement {
        durability,
        in_sync: rule.in_sync().cloned().unwrap_or_default(),
        settled: view.settled,
        waiting_for: view.waiting_for,
        shrunk: view.shrunk,
    }
}

fn progress<V>(
    group: &Group<V>,
    node: NodeId,
    here: NodeId,
    view: FollowerView,
    now: Time,
) -> Progress {
    let phase = match view.phase {
        FollowerPhase::Probing => CatchUpPhase::Probing,
        FollowerPhase::Snapshot => group.snapshot_phase(node, here, now),
        FollowerPhase::Log { entries_behind } => CatchUpPhase::Log { entries_behind },
        FollowerPhase::CaughtUp => CatchUpPhase::CaughtUp,
    };
    let last_answer_ms = view.last_answer.map(|at| age_ms(at, now));
    let mut catch_up = group.paces.report(node, &view, group.replica.last().index);
    let base = group.replica.base().index;
    catch_up.slower_than_writes |= group.supplies.is_outrun(node, base);
    Progress { matched: view.matched, phase, last_answer_ms, catch_up }
}

fn age_ms(at: Time, now: Time) -> u64 {
    u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX)
}
