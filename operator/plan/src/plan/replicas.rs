//! Which replica moves next: the meta group first, then shards, one replica of a group at a time, and only from a
//! configuration that has settled (or that waits for a node which will never come).

use std::collections::BTreeSet;

use quorate_model::{GroupId, NodeId, Topology};

use super::{
    TopologyChange, WaitingOn,
    facts::{Facts, GroupFacts, shard_groups},
    topology::Change,
};
use crate::{
    ValidStore,
    placement::{self, Extent, Move, Sites, Standing, Step},
};

/// The meta group survives as many failures as a shard does, and at least one where there are three nodes.
pub(super) fn meta_voters_wanted(store: &ValidStore, nodes: usize) -> usize {
    match nodes {
        0..=2 => 1,
        3..=4 => 3,
        _ if store.replicas() >= 5 => 5,
        _ => 3,
    }
}

pub(super) fn step(facts: &Facts<'_>, topology: &Topology) -> Change {
    let sites = facts.sites(topology);
    let moving = moving(facts, &sites);
    let nodes = usize::try_from(facts.store.nodes()).unwrap_or(0);
    let wanted = meta_voters_wanted(facts.store, nodes);
    let calm = moving.is_empty() && everybody_is_well(facts).is_ok();
    let meta = scope(facts, &sites, &[GroupId::Meta]);
    let current = [topology.meta_voters.clone()];
    let step = placement::next_step(&sites, wanted, &current, &meta, extent(calm));
    let mut short = vec![];
    match step {
        Step::Moves(moves) => return meta_change(facts, topology, &moves),
        Step::Short { wanted, usable } => short.push(WaitingOn::Nodes { wanted, usable }),
        Step::Done => {}
    }
    let groups: Vec<GroupId> = topology.placements().map(|(s, _)| GroupId::Shard(s)).collect();
    let frozen = scope(facts, &sites, &groups);
    let current: Vec<_> = topology.shards.iter().map(|shard| shard.voters.clone()).collect();
    // One move at a time: repairs of other groups wait too, except for what can never finish.
    let repairs_wait = !moving.is_empty();
    match placement::next_step(&sites, facts.store.replicas(), &current, &frozen, extent(calm)) {
        Step::Moves(_) if repairs_wait => return Change::Wait(moving),
        Step::Moves(moves) => return shard_change(facts, topology, &sites, &moves),
        Step::Short { wanted, usable } => short.push(WaitingOn::Nodes { wanted, usable }),
        Step::Done => {}
    }
    short.extend(moving);
    if short.is_empty() { Change::None } else { Change::Wait(short) }
}

const fn extent(calm: bool) -> Extent {
    if calm { Extent::Full } else { Extent::Repair }
}

/// The groups, by index, that must not be touched now: no leader is known, or they are on their way to a node that
/// can still come.
fn scope(facts: &Facts<'_>, sites: &Sites, groups: &[GroupId]) -> BTreeSet<usize> {
    let frozen = groups.iter().enumerate().filter(|(_, group)| {
        let state = &facts.groups[group];
        state.leader.is_none() || (!state.is_settled(**group) && !is_stuck(state, sites))
    });
    frozen.map(|(index, _)| index).collect()
}

/// Waits for a replica on a node that is leaving: it would wait for ever.
fn is_stuck(group: &GroupFacts<'_>, sites: &Sites) -> bool {
    group
        .joining()
        .iter()
        .any(|node| sites.get(node).is_none_or(|site| site.standing == Standing::Leaves))
}

/// The groups that are on their way.
fn moving(facts: &Facts<'_>, sites: &Sites) -> Vec<WaitingOn> {
    let groups = facts.groups.iter().filter(|(group, state)| {
        state.leader.is_some() && !state.is_settled(**group) && !is_stuck(state, sites)
    });
    groups
        .map(|(group, state)| WaitingOn::Group {
            group: *group,
            joining: facts.pod_names(&state.joining()),
            leaving: facts.pod_names(&state.superfluous(*group)),
        })
        .collect()
}

/// Every group is led and every voter is caught up.
pub(super) fn everybody_is_well(facts: &Facts<'_>) -> Result<(), WaitingOn> {
    for (group, state) in &facts.groups {
        if state.leader.is_none() {
            return Err(WaitingOn::Leader { group: *group });
        }
        let lagging = state.lagging();
        if !lagging.is_empty() {
            return Err(WaitingOn::CaughtUp { group: *group, pods: facts.pod_names(&lagging) });
        }
    }
    Ok(())
}

fn meta_change(facts: &Facts<'_>, topology: &Topology, moves: &[Move]) -> Change {
    if facts.groups[&GroupId::Meta].leader.is_none() {
        return Change::Wait(vec![WaitingOn::Leader { group: GroupId::Meta }]);
    }
    let mut next = topology.clone();
    let mut voters = [next.meta_voters];
    moves.iter().for_each(|change| change.apply(&mut voters));
    [next.meta_voters] = voters;
    let why = moves
        .iter()
        .map(|change| TopologyChange::MoveReplica {
            group: GroupId::Meta,
            from: change.from,
            to: change.to,
        })
        .collect();
    Change::To(Box::new(next), why)
}

fn shard_change(facts: &Facts<'_>, topology: &Topology, sites: &Sites, moves: &[Move]) -> Change {
    let mut next = topology.clone();
    let mut voters: Vec<_> = next.shards.iter().map(|shard| shard.voters.clone()).collect();
    moves.iter().for_each(|change| change.apply(&mut voters));
    for (shard, voters) in next.shards.iter_mut().zip(voters) {
        shard.voters = voters;
    }
    let groups = topology.placements().map(|(shard, _)| GroupId::Shard(shard));
    let groups: Vec<GroupId> = groups.collect();
    let mut why: Vec<_> = moves
        .iter()
        .map(|change| TopologyChange::MoveReplica {
            group: groups[change.group],
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
    placement::preferred_leaders(sites, facts.store.preferred_datacenter(), &voters, &current)
}

/// Evens out who should lead, when everything has settled and everybody is well.
pub(super) fn prefer_leaders(facts: &Facts<'_>, topology: &Topology) -> Change {
    let settled = shard_groups(facts).all(|(shard, state)| state.is_settled(GroupId::Shard(shard)));
    if !settled || everybody_is_well(facts).is_err() {
        return Change::None;
    }
    let wanted = wanted_leaders(facts, topology, &facts.sites(topology));
    let mut next = topology.clone();
    let mut why = vec![];
    for ((shard, _), (placement, leader)) in
        topology.placements().zip(next.shards.iter_mut().zip(wanted))
    {
        if placement.preferred_leader != leader {
            placement.preferred_leader = leader;
            why.push(TopologyChange::PreferLeader { shard, node: leader });
        }
    }
    if why.is_empty() { Change::None } else { Change::To(Box::new(next), why) }
}
