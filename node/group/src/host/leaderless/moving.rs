//! Shards that move to other replicas, step by step. Every replica reports how far it came to whoever leads the meta group, and
//! that one proposes the next step. Keeps INV-99.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_model::planted::{self, Bug};
use quorate_model::{
    Datacenter, Datacenters, GroupId, Leaderless, LeaderlessPolicy, Leaving, Level, Mode, Moved,
    NodeId, ShardId, Step, Topology, majority,
};
use quorate_replication::leaderless::Report;
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::super::timers::Timer;
use super::super::topology::SetTopology;
use super::super::{Host, PeerMessage};

/// How often a node says how far its replicas came.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// The newest reports of everybody about the shards that move, where the meta group is led.
pub(super) type Reports = BTreeMap<(ShardId, NodeId), Report>;

impl<D: Disk, S: StateStore> Host<D, S> {
    /// Something moves, or does not any more.
    pub(super) fn watch_moves(&mut self, topology: &Topology) {
        let now = self.shared.now;
        let due = moving(topology).next().is_some().then_some(now);
        self.shared.timers.set(Timer::Moves, due);
        self.shards.reports.retain(|(shard, _), _| moves(topology, *shard));
    }

    pub(in super::super) fn moves_due(&mut self) {
        let again = self.shared.now.after(REPORT_EVERY);
        self.shared.timers.set(Timer::Moves, Some(again));
        let following = &self.shared.following;
        // What a restart could forget is not known yet.
        let Some(topology) = following.topology().filter(|_| following.is_announced()) else {
            return;
        };
        let reports: Vec<(ShardId, Report)> = moving(topology)
            .filter_map(|(shard, _)| Some((shard, self.shards.hosted.get(&shard)?)))
            .map(|(shard, hosted)| (shard, hosted.replica.report()))
            .collect();
        let Some(meta) = self.groups.get(&GroupId::Meta) else { return };
        let node = self.shared.node();
        if meta.leadership.leading {
            self.moves_reported(node, reports);
        } else if let Some(leader) = meta.leadership.leader
            && leader != node
        {
            self.shared.send(leader, GroupId::Meta, PeerMessage::Moves(reports));
        }
    }

    pub(in super::super) fn moves_reported(
        &mut self,
        from: NodeId,
        reports: Vec<(ShardId, Report)>,
    ) {
        let leads = |host: &Self| {
            host.groups.get(&GroupId::Meta).is_some_and(|meta| meta.leadership.leading)
        };
        if !leads(self) {
            self.shards.reports.clear();
            return;
        }
        let Some(topology) = self.shared.following.topology() else { return };
        let reports = reports.into_iter().filter(|(shard, _)| moves(topology, *shard));
        self.shards.reports.extend(reports.map(|(shard, report)| ((shard, from), report)));
        let Some(next) = next_steps(topology, &self.shards.reports) else { return };
        let command = SetTopology { expected: topology.epoch, topology: next };
        self.with_group(GroupId::Meta, |turn| turn.propose_topology(&command));
    }
}

fn moving(topology: &Topology) -> impl Iterator<Item = (ShardId, &Leaving)> {
    topology.mode.leaderless().into_iter().flat_map(Leaderless::moving)
}

fn moves(topology: &Topology, shard: ShardId) -> bool {
    topology.mode.leaderless().is_some_and(|leaderless| leaderless.leaving(shard).is_some())
}

/// The topology in which every shard that may has taken its next step; `None` when none may.
fn next_steps(topology: &Topology, reports: &Reports) -> Option<Topology> {
    let Leaderless { policy, moved } = topology.mode.leaderless()?;
    let epoch = topology.epoch.next();
    let mut next = moved.clone();
    for (shard, moved) in moved {
        if let Some(leaving) = &moved.leaves
            && let Some(taken) = moved.next(epoch)
            && may_go_on(topology, policy, *shard, moved, leaving, reports)
        {
            next.insert(*shard, taken);
        }
    }
    if next == *moved {
        return None;
    }
    let mode = Mode::Leaderless(Leaderless { policy: policy.clone(), moved: next });
    Some(Topology { epoch, mode, ..topology.clone() })
}

fn may_go_on(
    topology: &Topology,
    policy: &LeaderlessPolicy,
    shard: ShardId,
    moved: &Moved,
    leaving: &Leaving,
    reports: &Reports,
) -> bool {
    let Some(placement) = topology.placement(shard) else { return false };
    let of =
        |node: &NodeId| reports.get(&(shard, *node)).filter(|report| report.since >= moved.since);
    match leaving.step {
        // Reads are about to go to the new replicas: each holds what was acknowledged, and writes count in both sets.
        Step::Filling => {
            placement.voters.iter().all(|node| of(node).is_some_and(|report| report.ready))
        }
        Step::Draining => {
            // Those that are lost are no members, and read nothing.
            let lost = |node: &NodeId| !topology.members.contains_key(node);
            let knows = |node: &NodeId| of(node).is_some() || lost(node);
            let places: BTreeSet<&Datacenter> = leaving.owners.values().collect();
            // Whichever datacenter a read is coordinated in.
            let enough = places.into_iter().all(|local| {
                let owners = policy.scope(&leaving.owners, local);
                let know = owners.keys().filter(|node| knows(node)).count();
                know + too_few_to_read(policy, &owners, local) >= owners.len()
            });
            let mut left = leaving.owners.keys();
            let drained = left.all(|node| {
                if placement.voters.contains(node) || lost(node) {
                    return true;
                }
                let mut reports = placement.voters.iter().filter_map(of);
                reports.any(|report| report.drained.contains(node))
            });
            (enough || planted::is(Bug::StepAtOnce)) && drained
        }
    }
}

/// So many of the old replicas are no quorum of a read, whatever they believe: neither at the store's level nor at a lower one of
/// a connection that still overlaps with writes like it.
fn too_few_to_read(
    policy: &LeaderlessPolicy,
    owners: &BTreeMap<NodeId, Datacenter>,
    local: &Datacenter,
) -> usize {
    let within = policy.datacenters == Datacenters::Local;
    match policy.read {
        Level::LocalOne | Level::LocalQuorum | Level::EachQuorum if !within => 0,
        Level::SloppyQuorum | Level::Any => 0,
        // Within one datacenter all levels are of the same replicas.
        Level::Quorum
        | Level::Count(_)
        | Level::All
        | Level::LocalOne
        | Level::LocalQuorum
        | Level::EachQuorum => {
            let read = policy.read.need(owners, local).count();
            read.min(majority(owners.len())).saturating_sub(1)
        }
    }
}
