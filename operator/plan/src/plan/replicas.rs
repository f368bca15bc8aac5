//! Which replica moves next: the meta group first, then shards, one replica of a group at a time, and only from a
//! configuration that has settled (or that waits for a node which will never come).

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{Datacenter, GroupId, NodeId, ShardId, Topology};

use super::{
    TopologyChange, WaitingOn,
    facts::{Facts, GroupFacts, shard_groups},
    owners::Owners,
    topology::Change,
};
use crate::{
    GroupAt, ValidStore, multi_leader,
    placement::{self, Extent, Move, Preference, Replicas, Sites, Standing, Step},
};

/// How many groups may be on their way at once.
const MOVING_MAX: usize = 2;

/// The meta group survives as many failures as a shard does, and at least one where there are three nodes. Where each datacenter goes on
/// without the others it survives one of those and a node.
pub(super) fn meta_voters_wanted(store: &ValidStore, nodes: usize) -> usize {
    match nodes {
        0..=2 => 1,
        3..=4 => 3,
        _ if store.replicas() >= 5 || store.multi_leader().is_some() => 5,
        _ => 3,
    }
}

pub(super) fn step(facts: &Facts<'_>, topology: &Topology) -> Change {
    let sites = facts.sites(topology);
    let mut waiting = vec![];
    for scope in scopes(facts, topology) {
        match scope_step(facts, topology, &sites, &scope) {
            Ok(moves) if moves.is_empty() => {}
            Ok(moves) => return change(facts, topology, &sites, &moves),
            Err(mut reasons) => waiting.append(&mut reasons),
        }
    }
    if waiting.is_empty() { Change::None } else { Change::Wait(waiting) }
}

/// What is laid out together, and what waits for each other: all groups, and where every datacenter has one of each shard, its alone.
struct Scope {
    datacenter: Option<Datacenter>,
    /// The meta group stands apart then.
    parts: Vec<Part>,
}

/// Placements that are looked at as one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Meta,
    Shards,
}

fn scopes(facts: &Facts<'_>, topology: &Topology) -> Vec<Scope> {
    if topology.mode.multi_leader().is_none() {
        return vec![Scope { datacenter: None, parts: vec![Part::Meta, Part::Shards] }];
    }
    let places = multi_leader::places(topology);
    let declared = facts.store.datacenters.iter().map(|one| &one.name);
    let declared = declared.filter(|name| places.contains(*name));
    let each =
        declared.map(|name| Scope { datacenter: Some(name.clone()), parts: vec![Part::Shards] });
    std::iter::once(Scope { datacenter: None, parts: vec![Part::Meta] }).chain(each).collect()
}

/// The moves to be made at once in a scope, none, or what it waits for.
fn scope_step(
    facts: &Facts<'_>,
    topology: &Topology,
    sites: &Sites,
    scope: &Scope,
) -> Result<Vec<(GroupId, Move)>, Vec<WaitingOn>> {
    let mut waiting = vec![];
    for state in scope.groups(facts).filter(|state| is_stuck(facts, state, sites)) {
        match unstick(facts, topology, sites, scope, state) {
            Unstuck::Moves(moves) => return Ok(moves),
            Unstuck::Short { wanted, usable } => waiting.push(WaitingOn::Nodes { wanted, usable }),
            Unstuck::Done => {}
        }
    }
    let moving = scope
        .groups(facts)
        .filter(|state| state.is_known() && !state.is_settled() && !is_stuck(facts, state, sites));
    let moving: Vec<&GroupFacts<'_>> = moving.collect();
    let many_move =
        moving.iter().filter(|state| !waits_for_removal(facts, state)).count() >= MOVING_MAX;
    waiting.extend(moving.into_iter().map(|state| WaitingOn::Group {
        group: state.name.clone(),
        joining: facts.pod_names(&state.joining()),
        leaving: facts.pod_names(&state.superfluous()),
    }));
    let under_way = !waiting.is_empty();
    // While a replica moves, only what is lost is replaced: redundancy does not wait for comfort.
    let considered = if under_way { keeping_leavers(facts, sites) } else { sites.clone() };
    let considered = scope.within(&considered);
    let extent = match are_well(facts, scope.groups(facts)) {
        Ok(()) if !under_way => Extent::Full,
        Ok(()) | Err(_) => Extent::Repair,
    };
    for part in &scope.parts {
        let frozen = scope.frozen(facts, *part, topology);
        let current = scope.voters(*part, topology);
        let wanted = scope.wanted(facts, *part);
        match placement::next_step(&considered, &wanted, &current, &frozen, extent) {
            Step::Moves(_) if many_move => {}
            Step::Moves(moves) => {
                return Ok(moves.into_iter().map(|change| part.named(change)).collect());
            }
            Step::Short { wanted, usable } => waiting.push(WaitingOn::Nodes { wanted, usable }),
            Step::Done => {}
        }
    }
    if waiting.is_empty() { Ok(vec![]) } else { Err(waiting) }
}

/// The sites with those that merely leave as if they stayed: only lost ones are emptied.
fn keeping_leavers(facts: &Facts<'_>, sites: &Sites) -> Sites {
    let mut sites = sites.clone();
    for (node, site) in &mut sites {
        if site.standing == Standing::Leaves && !facts.is_lost(*node) {
            site.standing = Standing::Holds;
        }
    }
    sites
}

impl Scope {
    fn groups<'f, 'a>(&self, facts: &'f Facts<'a>) -> impl Iterator<Item = &'f GroupFacts<'a>> {
        facts.groups.values().filter(|state| {
            state.name.datacenter == self.datacenter && self.parts.contains(&Part::of(state))
        })
    }

    fn within(&self, sites: &Sites) -> Sites {
        let here = |at: &Datacenter| self.datacenter.as_ref().is_none_or(|within| within == at);
        let sites = sites.iter().filter(|(_, site)| here(&site.datacenter));
        sites.map(|(node, site)| (*node, site.clone())).collect()
    }

    fn voters(&self, part: Part, topology: &Topology) -> Vec<BTreeSet<NodeId>> {
        let here = |node: &NodeId| {
            self.datacenter.is_none() || topology.datacenter_of(*node) == self.datacenter.as_ref()
        };
        let of_part = part.voters(topology).into_iter();
        of_part.map(|voters| voters.into_iter().filter(here).collect()).collect()
    }

    fn wanted(&self, facts: &Facts<'_>, part: Part) -> Replicas {
        match (part, &self.datacenter) {
            (Part::Meta, _) => {
                let nodes = usize::try_from(facts.store.nodes()).unwrap_or(0);
                Replicas::Over(meta_voters_wanted(facts.store, nodes))
            }
            (Part::Shards, None) => facts.store.placed(),
            (Part::Shards, Some(_)) => Replicas::Over(facts.store.replicas()),
        }
    }

    /// The groups, by index, that must not be touched now: no leader is known, or they have not settled.
    fn frozen(&self, facts: &Facts<'_>, part: Part, topology: &Topology) -> BTreeSet<usize> {
        let ids: Vec<GroupId> = match part {
            Part::Meta => vec![GroupId::Meta],
            Part::Shards => topology.placements().map(|(s, _)| GroupId::Shard(s)).collect(),
        };
        let settled = |id: &GroupId| {
            let name = GroupAt { id: *id, datacenter: self.datacenter.clone() };
            facts.groups.get(&name).is_some_and(GroupFacts::is_settled)
        };
        let groups = ids.iter().enumerate().filter(|(_, id)| !settled(id));
        groups.map(|(index, _)| index).collect()
    }
}

impl Part {
    const fn of(state: &GroupFacts<'_>) -> Self {
        match state.name.id {
            GroupId::Meta => Self::Meta,
            GroupId::Shard(_) => Self::Shards,
        }
    }

    fn voters(self, topology: &Topology) -> Vec<BTreeSet<NodeId>> {
        match self {
            Self::Meta => vec![topology.meta_voters.clone()],
            Self::Shards => topology.shards.iter().map(|shard| shard.voters.clone()).collect(),
        }
    }

    fn named(self, change: Move) -> (GroupId, Move) {
        match self {
            Self::Meta => (GroupId::Meta, change),
            Self::Shards => {
                let shard =
                    u16::try_from(change.group).expect("a topology has at most 16,384 shards");
                (GroupId::Shard(ShardId(shard)), change)
            }
        }
    }
}

/// Waits for a replica on a node that is leaving: it would wait for ever. A shard without a leader waits for all of its
/// placement, so there a lost node that was to stay does as much.
fn is_stuck(facts: &Facts<'_>, group: &GroupFacts<'_>, sites: &Sites) -> bool {
    let leaving = |node| {
        sites.get(node).is_none_or(|site: &placement::Site| site.standing == Standing::Leaves)
    };
    let waits_for_all = match &group.owners {
        Some(owners) if owners.is_draining() => return false,
        Some(owners) => owners.is_moving(),
        None => false,
    };
    let never_comes = waits_for_all && group.wanted.iter().any(|node| facts.is_lost(*node));
    group.is_known() && (never_comes || group.joining().iter().any(leaving))
}

/// Nothing is left to do in it but that a lost member is removed, which takes that no shard is placed on it.
fn waits_for_removal(facts: &Facts<'_>, group: &GroupFacts<'_>) -> bool {
    let draining = group.owners.as_ref().is_some_and(Owners::is_draining);
    let superfluous = || group.voters().into_iter().flatten().filter(|n| !group.wanted.contains(n));
    draining && superfluous().any(|node| facts.is_lost(*node))
}

/// Sends the replica that was on its way to a leaving node elsewhere, perhaps back. The replicas that the group does
/// have stay for the moment, even on leaving nodes: one change at a time.
fn unstick(
    facts: &Facts<'_>,
    topology: &Topology,
    sites: &Sites,
    scope: &Scope,
    state: &GroupFacts<'_>,
) -> Unstuck {
    let mut sites = scope.within(sites);
    let waits_for_all = state.owners.is_some();
    for node in state.voters().into_iter().flatten() {
        if let Some(site) = sites.get_mut(node)
            && site.standing == Standing::Leaves
            && !(waits_for_all && facts.is_lost(*node))
        {
            site.standing = Standing::Holds;
        }
    }
    let part = Part::of(state);
    let index = state.name.shard().map_or(0, |shard| usize::from(shard.0));
    let current = scope.voters(part, topology);
    let others = (0..current.len()).filter(|other| *other != index).collect();
    // Not fewer than it has: growth and shrinkage come later.
    let counts = match scope.wanted(facts, part) {
        Replicas::Over(_) => Replicas::Over(current[index].len()),
        Replicas::InEach(_) => Replicas::InEach(in_each(&sites, &current[index])),
    };
    match placement::next_step(&sites, &counts, &current, &others, Extent::Repair) {
        Step::Moves(moves) => {
            Unstuck::Moves(moves.into_iter().map(|change| part.named(change)).collect())
        }
        Step::Short { wanted, usable } => Unstuck::Short { wanted, usable },
        Step::Done => Unstuck::Done,
    }
}

fn in_each(sites: &Sites, voters: &BTreeSet<NodeId>) -> BTreeMap<Datacenter, usize> {
    let mut counts = BTreeMap::new();
    for site in voters.iter().filter_map(|node| sites.get(node)) {
        *counts.entry(site.datacenter.clone()).or_default() += 1;
    }
    counts
}

enum Unstuck {
    Moves(Vec<(GroupId, Move)>),
    Short { wanted: usize, usable: usize },
    Done,
}

/// Each group is led, where it has leaders, and every voter is caught up.
fn are_well<'f, 'a: 'f>(
    facts: &Facts<'_>,
    mut groups: impl Iterator<Item = &'f GroupFacts<'a>>,
) -> Result<(), WaitingOn> {
    groups.try_for_each(|state| {
        let group = state.name.clone();
        if !state.is_known() {
            return Err(WaitingOn::Leader { group });
        }
        let lagging = state.lagging();
        if !lagging.is_empty() {
            return Err(WaitingOn::CaughtUp { group, pods: facts.pod_names(&lagging) });
        }
        Ok(())
    })
}

fn change(
    facts: &Facts<'_>,
    topology: &Topology,
    sites: &Sites,
    moves: &[(GroupId, Move)],
) -> Change {
    let mut next = topology.clone();
    let mut meta = Part::Meta.voters(topology);
    let mut shards = Part::Shards.voters(topology);
    for (group, change) in moves {
        match group {
            GroupId::Meta => change.apply(&mut meta),
            GroupId::Shard(_) => change.apply(&mut shards),
        }
    }
    next.meta_voters = meta.into_iter().flatten().collect();
    for (shard, voters) in next.shards.iter_mut().zip(shards) {
        shard.voters = voters;
    }
    let mut why: Vec<_> = moves
        .iter()
        .map(|(group, change)| TopologyChange::MoveReplica {
            group: *group,
            from: change.from,
            to: change.to,
        })
        .collect();
    // Only preferences that the move made impossible change along with it; the rest is evened out at the end.
    let wanted = wanted_leaders(facts, &next, sites);
    for ((shard, _), (placement, leader)) in
        topology.placements().zip(next.shards.iter_mut().zip(wanted))
    {
        let valid = placement.preferred_leader.is_some_and(|node| placement.voters.contains(&node));
        if !valid && placement.preferred_leader != leader {
            placement.preferred_leader = leader;
            why.push(TopologyChange::PreferLeader { shard, node: leader });
        }
    }
    Change::To(Box::new(next), why)
}

fn wanted_leaders(facts: &Facts<'_>, topology: &Topology, sites: &Sites) -> Vec<Option<NodeId>> {
    let voters: Vec<_> = topology.shards.iter().map(|shard| shard.voters.clone()).collect();
    let current: Vec<_> = topology.shards.iter().map(|shard| shard.preferred_leader).collect();
    leaders(facts.store, sites, &voters, &current)
}

/// Who should lead each shard, given who is preferred now; nobody where there are no leaders.
pub(super) fn leaders(
    store: &ValidStore,
    sites: &Sites,
    voters: &[BTreeSet<NodeId>],
    current: &[Option<NodeId>],
) -> Vec<Option<NodeId>> {
    let Some(single) = store.single_leader() else { return vec![None; voters.len()] };
    let shards = (0..u16::MAX).map(ShardId).take(voters.len());
    let asked: Vec<&Preference> = shards.map(|shard| single.preferred.of(shard)).collect();
    placement::preferred_leaders(sites, &asked, voters, current)
}

/// Leaders that somebody asked for: a planned switchover. It needs no peace in the store, only that the replica which
/// is to lead is caught up: so a restart that hangs, say, does not keep anybody from moving leaders away from it.
pub(super) fn switch_over(facts: &Facts<'_>, topology: &Topology) -> Change {
    let Some(single) = facts.store.single_leader() else { return Change::None };
    let sites = facts.sites(topology);
    let wanted = wanted_leaders(facts, topology, &sites);
    let changes = topology.placements().zip(wanted).filter(|((shard, placement), leader)| {
        let asked = single.preferred.of(*shard);
        let state = &facts.groups[&GroupAt::from(GroupId::Shard(*shard))];
        leader.is_some_and(|leader| {
            placement.preferred_leader != Some(leader)
                && asked.is_met_by(&sites, &placement.voters, leader)
                && state.is_caught_up(leader)
        })
    });
    preferring(topology, changes.map(|((shard, _), leader)| (shard, leader)).collect())
}

/// Evens out who should lead, when everything has settled and everybody is well.
pub(super) fn prefer_leaders(facts: &Facts<'_>, topology: &Topology) -> Change {
    let settled = shard_groups(facts).all(|(_, state)| state.is_settled());
    if !settled || are_well(facts, facts.groups.values()).is_err() {
        return Change::None;
    }
    let wanted = wanted_leaders(facts, topology, &facts.sites(topology));
    let changes = topology.placements().zip(wanted).filter(|((_, p), l)| p.preferred_leader != *l);
    preferring(topology, changes.map(|((shard, _), leader)| (shard, leader)).collect())
}

fn preferring(topology: &Topology, changes: Vec<(ShardId, Option<NodeId>)>) -> Change {
    if changes.is_empty() {
        return Change::None;
    }
    let mut next = topology.clone();
    let mut why = vec![];
    for (shard, leader) in changes {
        next.shards[usize::from(shard.0)].preferred_leader = leader;
        why.push(TopologyChange::PreferLeader { shard, node: leader });
    }
    Change::To(Box::new(next), why)
}
