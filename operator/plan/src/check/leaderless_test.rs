//! Planted bad plans for stores without leaders.

use std::collections::BTreeMap;

use quorate_model::{
    Epoch, GroupId, Leaderless, Leaving, Level, Mode, Moved, NodeId, ShardId, Step, Topology,
    admin::Standing,
};

use super::{
    Violation, check,
    check_test::{caught, proposal, restart},
};
use crate::{Observed, Reported, ValidStore, simulation::World};

const SHARD: ShardId = ShardId(0);
const GROUP: GroupId = GroupId::Shard(SHARD);

fn settled() -> (World, ValidStore, Observed) {
    let mut world = World::settled_leaderless(42, 4);
    let (store, observed) = (world.valid(), world.observe());
    (world, store, observed)
}

fn leaderless(topology: &mut Topology) -> &mut Leaderless {
    match &mut topology.mode {
        Mode::Leaderless(leaderless) => leaderless,
        Mode::SingleLeader | Mode::MultiLeader(_) => panic!("the store has no leaders"),
    }
}

/// Shard 0 leaves the replicas that it has; answers one of the others, to which it goes.
fn moving(observed: &mut Observed, step: Step) -> NodeId {
    let mut joiner = None;
    for reported in observed.reports.values_mut() {
        let Reported::Known { report, .. } = reported else { continue };
        let topology = report.topology.as_mut().unwrap();
        let voters = topology.shards[0].voters.clone();
        let place = |node: &NodeId| (*node, topology.members[node].datacenter.clone());
        let owners: BTreeMap<_, _> = voters.iter().map(place).collect();
        let to = topology.members.keys().copied().find(|node| !voters.contains(node)).unwrap();
        let from = *voters.first().unwrap();
        topology.shards[0].voters.remove(&from);
        topology.shards[0].voters.insert(to);
        let moved = Moved { since: Epoch(2), leaves: Some(Leaving { owners, step }) };
        leaderless(topology).moved.insert(SHARD, moved);
        joiner = Some(to);
    }
    joiner.unwrap()
}

#[test]
fn harmless_plans_pass() {
    let (world, store, observed) = settled();
    assert_eq!(check(&store, &observed, &proposal(&observed, |_| {})), vec![]);
    let pod = world.hosts_of(SHARD)[0].clone();
    assert_eq!(check(&store, &observed, &restart(&observed, &pod)), vec![]);
}

#[test]
fn another_mode_is_caught() {
    let (_, store, observed) = settled();
    let plan = proposal(&observed, |request| request.topology.mode = Mode::SingleLeader);
    caught(&store, &observed, &plan, &Violation::Mode);
}

#[test]
fn moves_are_the_stores_own() {
    let (_, store, mut observed) = settled();
    moving(&mut observed, Step::Filling);
    let plan = proposal(&observed, |request| leaderless(&mut request.topology).moved.clear());
    caught(&store, &observed, &plan, &Violation::Mode);
}

#[test]
fn levels_that_are_not_declared_or_change_during_a_move_are_caught() {
    let (mut world, store, mut observed) = settled();
    let all = |request: &mut quorate_model::admin::ProposeTopology| {
        leaderless(&mut request.topology).policy.read = Level::All;
    };
    caught(&store, &observed, &proposal(&observed, all), &Violation::Policy);
    world.change_spec(|spec| {
        spec.leaderless.get_or_insert_default().read = quorate_api::Level("ALL".to_owned());
    });
    let store = world.valid();
    assert_eq!(check(&store, &observed, &proposal(&observed, all)), vec![]);
    moving(&mut observed, Step::Filling);
    caught(&store, &observed, &proposal(&observed, all), &Violation::Policy);
}

#[test]
fn a_shard_that_drains_goes_nowhere_else() {
    let (_, store, mut observed) = settled();
    moving(&mut observed, Step::Draining);
    let plan = proposal(&observed, |request| {
        let voters = &mut request.topology.shards[0].voters;
        voters.pop_first();
    });
    caught(&store, &observed, &plan, &Violation::MovesTooMuch { group: GROUP.into() });
}

#[test]
fn a_member_that_a_shard_still_leaves_cannot_be_removed() {
    let (mut world, _, mut observed) = settled();
    world.change_spec(|spec| spec.nodes = 3);
    let before = world.hosts_of(SHARD);
    moving(&mut observed, Step::Draining);
    let mut gone = NodeId(0);
    let plan = proposal(&observed, |request| {
        let topology = &mut request.topology;
        let left = topology.members.values().find(|member| {
            before.contains(&member.name) && !topology.shards[0].voters.contains(&member.id)
        });
        gone = left.unwrap().id;
        topology.members.remove(&gone);
    });
    let violation = Violation::RemovesHost { node: gone, group: GROUP.into() };
    caught(&world.valid(), &observed, &plan, &violation);
}

#[test]
fn a_restart_while_another_replica_is_filled_is_caught() {
    let (world, store, mut observed) = settled();
    let hosts = world.hosts_of(SHARD);
    let Some(Reported::Known { report, .. }) = observed.reports.get_mut(&hosts[1]) else {
        panic!("every node answers");
    };
    let shard = report.shards.iter_mut().find(|one| one.shard == SHARD).unwrap();
    shard.standing = Standing::Filling;
    let plan = restart(&observed, &hosts[0]);
    caught(&store, &observed, &plan, &Violation::LosesQuorum { group: GROUP.into() });
}
