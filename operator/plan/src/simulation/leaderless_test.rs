//! Lives of stores without leaders.

use std::collections::BTreeSet;

use quorate_api::{Phase, ReplicatedStoreSpec};
use quorate_model::{Leaderless, Level, ShardId, Step};
use serde_json::json;

use super::World;
use super::scenario_test::live;
use crate::{Action, Next, fixtures::three_datacenters};

const ROUNDS_MAX: usize = 3_000;

fn spec(nodes: i32, block: serde_json::Value) -> serde_json::Value {
    let mut spec = three_datacenters(nodes);
    spec["mode"] = json!("Leaderless");
    spec["leaderless"] = block;
    spec
}

impl World {
    pub(crate) fn settled_leaderless(seed: u64, nodes: i32) -> Self {
        let mut world = Self::new(seed, spec(nodes, json!({})));
        world.settle();
        world
    }
}

fn settled(seed: u64, nodes: i32) -> World {
    World::settled_leaderless(seed, nodes)
}

fn declare(spec: &mut ReplicatedStoreSpec, block: serde_json::Value) {
    spec.leaderless = Some(serde_json::from_value(block).unwrap());
}

/// How many shards move, and how many of them are filling.
fn moving(world: &World) -> (usize, usize) {
    let leaderless = world.topology.as_ref().unwrap().mode.leaderless().unwrap();
    let filling = leaderless.moving().filter(|(_, leaving)| leaving.step == Step::Filling);
    (leaderless.moving().count(), filling.count())
}

fn condition<'w>(world: &'w World, kind: &str) -> Option<(&'w str, &'w str)> {
    let found = world.status.conditions.iter().find(|c| c.type_ == kind)?;
    Some((&found.status, &found.reason))
}

#[test]
fn a_leaderless_store_begins_and_is_left_alone() {
    let world = settled(1, 3);
    assert_eq!(world.status.ready.as_deref(), Some("3/3"));
    assert_eq!(world.status.shards_healthy.as_deref(), Some("3/3"));
    assert_eq!(world.status.quorums.as_deref(), Some("w=QUORUM r=QUORUM n=3"));
    assert_eq!(world.status.durability, None);
    assert_eq!(condition(&world, "WeakQuorums"), Some(("False", "AlwaysMeet")));
    assert_eq!(condition(&world, "DurabilityChanging"), None);
    assert!(world.status.shards.iter().all(|shard| shard.leader.is_none() && shard.term == 0));
}

#[test]
fn it_grows_and_shrinks_one_replica_of_a_shard_at_a_time() {
    let mut world = settled(2, 3);
    for nodes in [6, 4, 3] {
        world.change_spec(|spec| spec.nodes = nodes);
        let mut placed = placements(&world);
        for _ in 0..ROUNDS_MAX {
            if world.tick() == Some(Next::Settled) {
                break;
            }
            let now = placements(&world);
            for (before, after) in placed.iter().zip(&now) {
                assert!(after.difference(before).count() <= 1);
            }
            assert!(moving(&world).0 <= 2, "two shards at a time");
            placed = now;
        }
        world.settle();
        assert_eq!(world.objects.pods.len(), usize::try_from(nodes).unwrap());
    }
}

fn placements(world: &World) -> Vec<BTreeSet<quorate_model::NodeId>> {
    world.topology.as_ref().unwrap().shards.iter().map(|shard| shard.voters.clone()).collect()
}

#[test]
fn a_lost_node_leaves_the_members_while_its_shards_still_move() {
    let mut world = settled(3, 3);
    let old = world.node_of("orders-dc-b-0");
    world.wipe("orders-dc-b-0");
    let mut moved_without_it = false;
    for _ in 0..ROUNDS_MAX {
        if world.tick() == Some(Next::Settled) {
            break;
        }
        let gone = !world.topology.as_ref().unwrap().members.contains_key(&old);
        moved_without_it |= gone && moving(&world).0 > 0;
        assert!(moving(&world).1 <= 2, "two shards fill at a time");
    }
    world.settle();
    assert!(moved_without_it, "the shards could not have left it otherwise");
    assert_ne!(world.node_of("orders-dc-b-0"), old);
}

#[test]
fn a_move_to_a_node_that_is_lost_goes_elsewhere() {
    let mut world = settled(4, 3);
    world.change_spec(|spec| spec.nodes = 4);
    let joining = |world: &World| world.status.shards.iter().any(|s| !s.leaving.is_empty());
    for _ in 0..ROUNDS_MAX {
        if joining(&world) {
            break;
        }
        world.tick();
    }
    assert!(joining(&world), "a shard moves");
    world.wipe("orders-dc-a-1");
    world.settle();
}

#[test]
fn a_new_image_is_rolled_while_every_shard_is_whole() {
    let mut world = settled(5, 6);
    world.change_spec(|spec| spec.image = "node:2".to_owned());
    let mut restarted = 0;
    for _ in 0..ROUNDS_MAX {
        match world.tick() {
            Some(Next::Act(Action::RestartPod { pod, .. })) => {
                let (alive, away) = (world.alive(), world.node_of(&pod));
                let whole = world.groups.values().all(|group| {
                    let mut others = group.voters.iter().filter(|node| **node != away);
                    others.all(|n| alive.contains(n) && group.caught_up.contains(n))
                });
                assert!(whole, "{pod} is restarted while another one is away");
                restarted += 1;
            }
            Some(Next::Settled) => break,
            Some(Next::Act(_) | Next::Wait(_)) | None => {}
        }
    }
    world.settle();
    assert_eq!(restarted, 6);
}

#[test]
fn levels_and_conflicts_change_in_one_step_and_restart_nobody() {
    let mut world = settled(6, 3);
    let changed = json!({"write": "ALL", "read": 1, "conflicts": "Siblings"});
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
    assert_eq!(world.status.quorums.as_deref(), Some("w=ALL r=ONE n=3"));
}

#[test]
fn levels_wait_until_nothing_moves() {
    let mut world = settled(7, 3);
    world.change_spec(|spec| spec.nodes = 6);
    for _ in 0..ROUNDS_MAX {
        if moving(&world).0 > 0 {
            break;
        }
        world.tick();
    }
    world.change_spec(|spec| declare(spec, json!({"read": "ALL"})));
    for _ in 0..200 {
        if let Some(Next::Act(Action::ProposeTopology { request, .. })) = world.tick() {
            let Leaderless { policy, moved } = request.topology.mode.leaderless().unwrap();
            let moves = moved.values().any(|moved| moved.leaves.is_some());
            assert!(!moves || policy.read == Level::Quorum);
        }
    }
    world.settle();
}

#[test]
fn weak_quorums_are_told() {
    let weak = json!({"write": 1, "read": 1, "allowWeakQuorums": true});
    let mut world = World::new(8, spec(3, weak));
    world.settle();
    assert_eq!(condition(&world, "WeakQuorums"), Some(("True", "NeedNotMeet")));
    assert_eq!(world.status.phase, Some(Phase::Ready));
}

#[test]
fn a_store_of_two_replicas_restarts() {
    let two = json!({
        "mode": "Leaderless", "nodes": 2, "image": "node:1", "leaderless": {"replicas": 2},
        "datacenters": [{"name": "dc-a"}],
    });
    let mut world = World::new(9, two);
    world.settle();
    world.change_spec(|spec| spec.image = "node:2".to_owned());
    world.settle();
}

#[test]
fn another_mode_than_the_one_it_began_with_is_not_carried_out() {
    let mut world = settled(10, 3);
    world.change_spec(|spec| {
        spec.mode = quorate_api::ReplicationMode::SingleLeader;
        spec.leaderless = None;
        spec.nodes = 6;
    });
    for _ in 0..50 {
        world.tick();
    }
    assert_eq!(world.objects.pods.len(), 3);
    assert_eq!(condition(&world, "Valid"), Some(("False", "Conflict")));
}

#[test]
fn a_silent_replica_is_unknown_where_its_answer_is_needed() {
    let mut world = settled(11, 3);
    let hosts = world.hosts_of(ShardId(0));
    world.stop(&hosts[0]);
    world.tick_without_kubernetes();
    assert_eq!(world.status.phase, Some(Phase::Degraded));
    world.stop(&hosts[1]);
    world.tick_without_kubernetes();
    assert_eq!(world.status.phase, Some(Phase::Unknown));
}

/// Random events on a random store, reconciles cut off and nodes silent, then peace.
fn life(seed: u64) {
    let block = match seed % 3 {
        0 => json!({}),
        1 => json!({"write": "ALL", "read": "ONE"}),
        _ => json!({"write": "EACH_QUORUM", "read": "LOCAL_QUORUM"}),
    };
    live(World::new(seed, spec(3, block)), seed, 2, disturb);
}

fn disturb(world: &mut World, round: usize) {
    let pods: Vec<String> = world.running.keys().cloned().collect();
    let Some(pod) = (!pods.is_empty()).then(|| pods[world.random.below(pods.len())].clone()) else {
        return;
    };
    let node = world.running[&pod];
    match world.random.below(6) {
        0 => {
            let nodes = [3, 4, 6, 7][world.random.below(4)];
            world.change_spec(|spec| spec.nodes = nodes);
        }
        1 => world.change_spec(|spec| spec.image = format!("node:{round}")),
        2 if world.can_spare(node) && world.topology.is_some() => world.wipe(&pod),
        3 if world.can_spare(node) => world.delete_pod(&pod),
        4 if world.can_spare(node) => drop(world.running.remove(&pod)),
        _ => world.change_spec(|spec| {
            let reads = if round.is_multiple_of(2) { "ALL" } else { "QUORUM" };
            declare(spec, json!({"read": reads, "conflicts": "Merge"}));
        }),
    }
}

#[test]
fn random_leaderless_lives_settle_and_lose_nothing() {
    let (first, count) = match std::env::var("QUORATE_PLAN_SEED") {
        Ok(seed) => (seed.parse().unwrap(), super::lives(1)),
        Err(_) => (1000, super::lives(10)),
    };
    for seed in first..first + count {
        let caught = std::panic::catch_unwind(|| life(seed));
        if let Err(panic) = caught {
            println!("QUORATE_PLAN_SEED={seed} cargo test -p quorate-plan random_leaderless");
            std::panic::resume_unwind(panic);
        }
    }
}
