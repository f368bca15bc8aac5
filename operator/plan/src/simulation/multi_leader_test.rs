//! Lives of stores with a leader of each shard in every datacenter.

use std::collections::BTreeSet;

use quorate_api::{DatacenterSpec, Phase, ReplicatedStoreSpec};
use quorate_model::{Datacenter, GroupId, KeyHome, Links, NodeId, ShardId, Topology};
use serde_json::json;

use super::World;
use super::scenario_test::trouble;
use crate::{Action, GroupAt, Next, fixtures, names};

const ROUNDS_MAX: usize = 3_000;

impl World {
    pub(crate) fn settled_multi_leader(seed: u64, nodes: i32, block: serde_json::Value) -> Self {
        let mut world = Self::new(seed, fixtures::multi_leader(nodes, block));
        world.settle();
        world
    }
}

fn settled(seed: u64) -> World {
    World::settled_multi_leader(seed, 9, json!({}))
}

fn declare(spec: &mut ReplicatedStoreSpec, block: serde_json::Value) {
    spec.multi_leader = Some(serde_json::from_value(block).unwrap());
}

fn add(spec: &mut ReplicatedStoreSpec, name: &str) {
    spec.datacenters.push(DatacenterSpec { name: name.to_owned(), ..DatacenterSpec::default() });
}

fn named(name: &str) -> Datacenter {
    Datacenter::new(name).unwrap()
}

fn topology(world: &World) -> &Topology {
    world.topology.as_ref().unwrap()
}

fn links(world: &World) -> Links {
    topology(world).mode.multi_leader().unwrap().policy.links.clone()
}

/// How many voters of a shard are in a datacenter.
fn placed_in(topology: &Topology, shard: usize, name: &str) -> BTreeSet<NodeId> {
    let here = |node: &&NodeId| topology.datacenter_of(**node) == Some(&named(name));
    topology.shards[shard].voters.iter().filter(here).copied().collect()
}

fn condition<'w>(world: &'w World, kind: &str) -> (&'w str, &'w str, &'w str) {
    let found = world.status.conditions.iter().find(|c| c.type_ == kind).unwrap();
    (&found.status, &found.reason, &found.message)
}

/// All pods of a datacenter are gone, and nobody restarts them.
fn cut_off(world: &mut World, name: &str) {
    let prefix = format!("orders-{name}-");
    let pods: Vec<String> =
        world.running.keys().filter(|pod| pod.starts_with(&prefix)).cloned().collect();
    for pod in pods {
        world.stop(&pod);
    }
}

#[test]
fn every_datacenter_begins_with_a_group_of_each_shard() {
    let world = settled(1);
    assert_eq!(world.status.ready.as_deref(), Some("9/9"));
    assert_eq!(world.status.shards_healthy.as_deref(), Some("9/9"));
    assert_eq!(world.status.shards.len(), 9);
    let led: BTreeSet<_> = world
        .status
        .shards
        .iter()
        .map(|shard| (shard.shard, shard.datacenter.clone(), shard.leader.is_some()))
        .collect();
    assert_eq!(led.len(), 9);
    assert!(led.iter().all(|(_, datacenter, leader)| datacenter.is_some() && *leader));
    assert_eq!(world.status.links.len(), 6);
    assert_eq!(condition(&world, "LinksHealthy").1, "Exchanging");
    assert_eq!(condition(&world, "Available").1, "Serving");
    assert_eq!(topology(&world).mode.multi_leader().unwrap().founders.len(), 9);
}

#[test]
fn links_and_conflicts_change_in_one_step_and_restart_nobody() {
    let mut world = settled(2);
    let changed = json!({
        "links": {"type": "Circular", "ring": ["dc-c", "dc-b", "dc-a"]}, "reroute": false,
        "conflicts": {"resolution": "Merge", "merge": "Max"},
    });
    world.change_spec(|spec| declare(spec, changed));
    let mut proposals = 0;
    for _ in 0..ROUNDS_MAX {
        match world.tick() {
            Some(Next::Act(Action::ProposeTopology { .. })) => proposals += 1,
            Some(Next::Settled) => break,
            Some(Next::Act(other)) => panic!("{other:?}"),
            Some(Next::Wait(_)) | None => {}
        }
    }
    world.settle();
    assert_eq!(proposals, 1);
    let ring = ["dc-c", "dc-b", "dc-a"].map(named).to_vec();
    assert_eq!(links(&world), Links::Circular(ring));
}

#[test]
fn homes_move_leave_who_goes_and_come_to_who_is_there() {
    let home = |datacenter: &str| json!({"homes": {"keys": [{"pattern": "user:*", "datacenter": datacenter}]}});
    let homes = |world: &World| topology(world).mode.multi_leader().unwrap().policy.homes.clone();
    let mut world = World::settled_multi_leader(7, 9, home("dc-b"));
    let first = homes(&world).keys.remove(0);
    assert_eq!((first.home.as_str(), first.first().as_str(), first.since), ("dc-b", "dc-b", 1));
    world.change_spec(|spec| {
        declare(spec, home("dc-d"));
        add(spec, "dc-d");
        spec.nodes = 12;
    });
    let mut moved = false;
    for _ in 0..ROUNDS_MAX {
        let next = world.tick();
        let there = !placed_in(topology(&world), 0, "dc-d").is_empty();
        let now = homes(&world).keys.remove(0);
        assert!(there || now == first, "a home is somewhere");
        moved |= now.home == named("dc-d");
        if next == Some(Next::Settled) {
            break;
        }
    }
    world.settle();
    assert!(moved);
    assert_eq!(homes(&world).keys, [KeyHome { home: named("dc-d"), ..first.clone() }]);
    world.change_spec(|spec| {
        declare(spec, home("dc-a"));
        spec.datacenters.retain(|datacenter| datacenter.name != "dc-d");
        spec.nodes = 9;
    });
    let mut left = false;
    for _ in 0..ROUNDS_MAX {
        let next = world.tick();
        left |= homes(&world).evacuated.contains_key(&named("dc-d"));
        if next == Some(Next::Settled) {
            break;
        }
    }
    world.settle();
    assert!(left, "keys with a home of their own leave with the others");
    assert!(homes(&world).evacuated.is_empty());
    assert_eq!(homes(&world).keys, [KeyHome { home: named("dc-a"), ..first }]);
}

#[test]
fn durability_is_of_each_datacenter_and_changes_online() {
    let mut world = settled(3);
    world.change_spec(|spec| declare(spec, json!({"durability": "SemiSync"})));
    world.settle();
    assert_eq!(world.status.durability, Some(quorate_api::Durability::SemiSync));
}

#[test]
fn a_datacenter_that_comes_begins_all_its_groups_at_once() {
    let mut world = World::settled_multi_leader(4, 9, json!({"links": {"type": "Circular"}}));
    world.change_spec(|spec| {
        add(spec, "dc-d");
        spec.nodes = 12;
    });
    let mut began = 0;
    for _ in 0..ROUNDS_MAX {
        let before = topology(&world).clone();
        let next = world.tick();
        let now = topology(&world);
        let counts = |topology: &Topology| {
            (0..3).map(|shard| placed_in(topology, shard, "dc-d").len()).collect::<Vec<_>>()
        };
        began += usize::from(counts(&before) != counts(now));
        assert!(counts(now) == [0, 0, 0] || counts(now) == [3, 3, 3]);
        if next == Some(Next::Settled) {
            break;
        }
    }
    world.settle();
    assert_eq!(began, 1);
    assert_eq!(
        links(&world),
        Links::Circular(["dc-a", "dc-b", "dc-c", "dc-d"].map(named).to_vec())
    );
    assert_eq!(topology(&world).shards[0].genesis.len(), 12);
}

#[test]
fn a_datacenter_that_goes_gives_its_writes_first() {
    let mut world = World::settled_multi_leader(5, 9, json!({"links": {"type": "Circular"}}));
    world.change_spec(|spec| {
        spec.datacenters.retain(|datacenter| datacenter.name != "dc-b");
        spec.nodes = 6;
    });
    world.settle();
    assert_eq!(world.objects.pods.len(), 6);
    assert_eq!(links(&world), Links::Circular(["dc-a", "dc-c"].map(named).to_vec()));
    let founders = &topology(&world).mode.multi_leader().unwrap().founders;
    assert!(founders.values().all(|place| *place != named("dc-b")));
    assert!(!world.status.shards.iter().any(|s| s.datacenter.as_deref() == Some("dc-b")));
    world.change_spec(|spec| {
        add(spec, "dc-b");
        spec.nodes = 9;
    });
    for _ in 0..100 {
        world.tick();
    }
    let message = world.status.message.clone().unwrap();
    assert!(message.contains("has a volume of a time when its datacenter"), "{message}");
    world.delete_volumes("dc-b");
    world.settle();
}

#[test]
fn a_silent_datacenter_goes_only_with_its_claims() {
    let mut world = settled(6);
    cut_off(&mut world, "dc-b");
    world.change_spec(|spec| {
        spec.datacenters.retain(|datacenter| datacenter.name != "dc-b");
        spec.nodes = 6;
    });
    for _ in 0..50 {
        world.tick_without_kubernetes();
    }
    assert_eq!(placed_in(topology(&world), 0, "dc-b").len(), 3);
    let message = world.status.message.clone().unwrap();
    assert!(message.contains("dc-b is to go and the other datacenters"), "{message}");
    world.delete_volumes("dc-b");
    for _ in 0..50 {
        world.tick_without_kubernetes();
    }
    assert_eq!(placed_in(topology(&world), 0, "dc-b").len(), 0);
}

#[test]
fn replicas_move_in_one_datacenter_while_another_is_away() {
    let mut world = settled(7);
    world.change_spec(|spec| spec.nodes = 12);
    world.settle();
    cut_off(&mut world, "dc-c");
    // The meta group goes on: it has a majority without them.
    let meta = topology(&world).meta_voters.clone();
    let pods = ["orders-dc-a-0", "orders-dc-a-1", "orders-dc-a-2"];
    let pod = pods.into_iter().find(|pod| !meta.contains(&world.node_of(pod))).unwrap();
    let old = world.node_of(pod);
    world.wipe(pod);
    for _ in 0..300 {
        world.kubernetes();
        // Its machines are gone.
        world.objects.pods.retain(|pod, _| !pod.starts_with("orders-dc-c-"));
        world.running.retain(|pod, _| !pod.starts_with("orders-dc-c-"));
        world.tick_without_kubernetes();
    }
    assert_eq!(condition(&world, "Available").1, "ServingElsewhere");
    assert_eq!(world.status.phase, Some(Phase::Degraded));
    assert!(!topology(&world).members.contains_key(&old), "the lost node was replaced");
    let voters = topology(&world).shards.iter().flat_map(|shard| &shard.voters);
    assert!(voters.into_iter().all(|node| *node != old));
    assert_eq!(condition(&world, "LinksHealthy").1, "Silent");
    assert!(condition(&world, "LinksHealthy").2.contains("dc-a, dc-b hear nothing of dc-c"));
}

#[test]
fn a_silent_datacenter_interrupts_a_ring_that_is_not_rerouted() {
    let block = json!({"links": {"type": "Circular"}, "reroute": false});
    let mut world = World::settled_multi_leader(8, 9, block);
    cut_off(&mut world, "dc-b");
    world.tick_without_kubernetes();
    let (status, reason, message) = condition(&world, "LinksHealthy");
    assert_eq!((status, reason), ("False", "Silent"));
    assert!(message.contains("the ring is interrupted"), "{message}");
}

#[test]
fn a_lost_node_is_replaced_in_its_datacenter() {
    let mut world = settled(9);
    let old = world.node_of("orders-dc-b-1");
    world.wipe("orders-dc-b-1");
    world.settle();
    assert_ne!(world.node_of("orders-dc-b-1"), old);
    assert!(!topology(&world).members.contains_key(&old));
}

#[test]
fn quorums_are_of_each_datacenter_when_pods_restart() {
    let mut world = settled(10);
    world.change_spec(|spec| spec.image = "node:2".to_owned());
    let mut restarted = 0;
    for _ in 0..ROUNDS_MAX {
        match world.tick() {
            Some(Next::Act(Action::RestartPod { pod, .. })) => {
                let (alive, away) = (world.alive(), world.node_of(&pod));
                let of = |group: &&super::world::Group| group.voters.contains(&away);
                let enough = world.groups.values().filter(of).all(|group| {
                    let others = group.voters.iter().filter(|node| **node != away);
                    others.filter(|n| alive.contains(n) && group.caught_up.contains(n)).count() >= 2
                });
                assert!(enough, "{pod} takes a majority with it");
                restarted += 1;
            }
            Some(Next::Settled) => break,
            Some(Next::Act(_) | Next::Wait(_)) | None => {}
        }
    }
    world.settle();
    assert_eq!(restarted, 9);
}

#[test]
fn datacenters_of_one_replica_live() {
    let mut world = World::settled_multi_leader(11, 3, json!({"replicas": 1}));
    world.change_spec(|spec| spec.nodes = 6);
    world.settle();
    world.change_spec(|spec| declare(spec, json!({"replicas": 1, "reroute": false})));
    world.settle();
    let group = GroupAt { id: GroupId::Shard(ShardId(0)), datacenter: Some(named("dc-a")) };
    assert_eq!(world.groups[&group].voters.len(), 1);
    assert_eq!(names::services_in("orders", &named("dc-a")).read_write, "orders-dc-a-rw");
}

/// Random events on a random store, reconciles cut off and nodes silent, then peace.
fn life(seed: u64) {
    let block = match seed % 3 {
        0 => json!({}),
        1 => json!({"links": {"type": "Circular"}}),
        _ => json!({"links": {"type": "Star", "hub": "dc-a"}, "durability": "SemiSync"}),
    };
    let mut world = trouble(World::new(seed, fixtures::multi_leader(9, block)), seed, 2, disturb);
    for _ in 0..500 {
        world.tick();
        // The user does what he is told.
        let message = world.status.message.as_deref().unwrap_or_default();
        if message.contains("volume of a time when its datacenter") {
            world.delete_volumes("dc-c");
        }
    }
    world.settle();
}

fn disturb(world: &mut World, round: usize) {
    let pods: Vec<String> = world.running.keys().cloned().collect();
    let Some(pod) = (!pods.is_empty()).then(|| pods[world.random.below(pods.len())].clone()) else {
        return;
    };
    let node = world.running[&pod];
    match world.random.below(8) {
        0 => {
            let each = [3, 4, 5][world.random.below(3)];
            world.change_spec(|spec| {
                spec.nodes = each * i32::try_from(spec.datacenters.len()).unwrap();
            });
        }
        1 => world.change_spec(|spec| spec.image = format!("node:{round}")),
        2 if world.can_spare(node) && world.topology.is_some() => world.wipe(&pod),
        3 if world.can_spare(node) => world.delete_pod(&pod),
        4 if world.can_spare(node) => drop(world.running.remove(&pod)),
        5 => world.change_spec(|spec| {
            match spec.datacenters.iter().position(|one| one.name == "dc-c") {
                Some(at) => drop(spec.datacenters.remove(at)),
                None => add(spec, "dc-c"),
            }
            spec.nodes = 4 * i32::try_from(spec.datacenters.len()).unwrap();
        }),
        6 => {
            let ended = |topology: &Topology| placed_in(topology, 0, "dc-c").is_empty();
            if world.topology.as_ref().is_some_and(ended) {
                world.delete_volumes("dc-c");
            }
        }
        _ => world.change_spec(|spec| {
            let mut block = spec.multi_leader.clone().unwrap();
            block.reroute = round.is_multiple_of(2);
            spec.multi_leader = Some(block);
        }),
    }
}

#[test]
fn random_multi_leader_lives_settle_and_lose_nothing() {
    let (first, count) = match std::env::var("QUORATE_PLAN_SEED") {
        Ok(seed) => (seed.parse().unwrap(), super::lives(1)),
        Err(_) => (2000, super::lives(5)),
    };
    for seed in first..first + count {
        let caught = std::panic::catch_unwind(|| life(seed));
        if let Err(panic) = caught {
            println!("QUORATE_PLAN_SEED={seed} cargo test -p quorate-plan random_multi_leader");
            std::panic::resume_unwind(panic);
        }
    }
}
