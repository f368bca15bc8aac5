//! A small cluster of replicas in one thread, from a seed: what one file of the protocol cannot show alone.
//!
//! The network loses, repeats, delays, reorders and cuts; disks complete late and lose what was under way at a crash; one
//! replica at a time may come back damaged, or its state go wrong; the target membership changes. Checked all the while: see `checks`. After a
//! while everything is healed, and the group must answer and agree (INV-57). The whole product is simulated elsewhere.

mod checks;
mod disk;
mod effects;
mod faults;
mod node;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_model::NodeId;

use super::Settings;
use world::{Faults, World};

const SEEDS_PER_TEST: u64 = 250;

fn settings() -> Settings {
    Settings {
        heartbeat: Duration::from_millis(100),
        election_timeout: Duration::from_millis(800),
        append_bytes_max: 200,
        inflight_appends_max: 4,
        cache_bytes_max: 300,
        uncommitted_bytes_max: 2_000,
        caught_up_entries: 4,
        ..Settings::default()
    }
}

fn nodes(ids: impl IntoIterator<Item = u128>) -> BTreeSet<NodeId> {
    ids.into_iter().map(NodeId).collect()
}

/// Faults for a while, then none: the group must come to one state.
fn run(seed: u64, faults: Faults, members: u128) {
    // A failing seed is the last one named.
    println!("seed {seed}");
    let mut world = World::new(seed, settings(), nodes(1..=3.min(members)), nodes(1..=members));
    world.faults = faults;
    world.run_for(Duration::from_secs(6));
    world.heal();
    world.expect_agreement(Duration::from_secs(30));
}

fn run_seeds(first: u64, faults: &Faults, members: u128) {
    (first..first + SEEDS_PER_TEST).for_each(|seed| run(seed, faults.clone(), members));
}

#[test]
fn three_voters_survive_loss_and_crashes() {
    run_seeds(0, &Faults { crash: 12, ..Faults::network() }, 3);
}

#[test]
fn membership_changes_survive_every_fault() {
    run_seeds(10_000, &Faults { crash: 8, retarget: 15, ..Faults::network() }, 5);
}

#[test]
fn compacted_and_damaged_logs_are_repaired_by_snapshots() {
    run_seeds(20_000, &Faults { crash: 15, compact: 60, damage: 50, ..Faults::network() }, 3);
}

#[test]
fn everything_at_once() {
    let all = Faults {
        crash: 10,
        retarget: 10,
        compact: 40,
        damage: 30,
        handover: 10,
        spoil: 10,
        ..Faults::network()
    };
    run_seeds(30_000, &all, 6);
}

#[test]
fn every_durability_survives_every_fault() {
    let all = Faults {
        crash: 12,
        retarget: 6,
        compact: 30,
        damage: 20,
        handover: 6,
        policy: 15,
        spoil: 10,
        ..Faults::network()
    };
    run_seeds(40_000, &all, 5);
}

#[test]
fn three_voters_survive_under_every_durability() {
    run_seeds(50_000, &Faults { crash: 12, policy: 10, ..Faults::network() }, 3);
}

#[test]
fn a_quiet_cluster_keeps_its_leader() {
    for seed in 0..6 {
        let mut world = World::new(seed, settings(), nodes(1..=3), nodes(1..=3));
        world.run_for(Duration::from_secs(4));
        let (leader, term) = world.leader().expect("a leader was elected");
        world.run_for(Duration::from_secs(20));
        assert_eq!(world.leader(), Some((leader, term)), "seed {seed}");
        world.expect_agreement(Duration::from_secs(5));
    }
}

#[test]
fn a_one_way_partition_does_not_depose_the_leader() {
    for seed in 0..10 {
        let mut world = World::new(seed, settings(), nodes(1..=3), nodes(1..=3));
        world.run_for(Duration::from_secs(4));
        let (leader, term) = world.leader().expect("a leader was elected");
        let deaf = nodes(1..=3).into_iter().find(|node| *node != leader).unwrap();
        // It does not hear its leader, everybody hears it, and without writes its log is as good as any.
        world.busy = false;
        world.run_for(Duration::from_secs(1));
        world.cut(leader, deaf);
        world.run_for(Duration::from_secs(20));
        assert_eq!(world.leader(), Some((leader, term)), "seed {seed}");
        world.heal();
        world.busy = true;
        world.run_for(Duration::from_secs(5));
        assert_eq!(world.leader(), Some((leader, term)), "seed {seed}");
        world.expect_agreement(Duration::from_secs(5));
    }
}

#[test]
fn a_leader_that_hears_nobody_is_replaced() {
    for seed in 0..10 {
        let mut world = World::new(seed, settings(), nodes(1..=3), nodes(1..=3));
        world.run_for(Duration::from_secs(4));
        let (leader, _) = world.leader().expect("a leader was elected");
        for other in nodes(1..=3).into_iter().filter(|node| *node != leader) {
            world.cut(other, leader);
        }
        world.run_for(Duration::from_secs(8));
        let (successor, _) = world.leader().expect("another leader was elected");
        assert_ne!(successor, leader, "seed {seed}");
    }
}

#[test]
fn a_killed_leader_is_replaced_at_once_when_its_address_refuses() {
    let mut gaps = Vec::new();
    for seed in 0..100 {
        let mut world = World::new(seed, settings(), nodes(1..=3), nodes(1..=3));
        world.run_for(Duration::from_secs(4));
        let (leader, _) = world.leader().expect("a leader was elected");
        world.kill(leader);
        let begin = world.now;
        while world.leader().is_none_or(|(node, _)| node == leader) {
            world.run_for(Duration::from_millis(1));
            assert!(world.now.since(begin) < Duration::from_secs(5), "seed {seed}");
        }
        gaps.push(world.now.since(begin));
    }
    gaps.sort_unstable();
    println!("median {:?}, longest {:?}", gaps[50], gaps[99]);
    assert!(gaps[50] < Duration::from_millis(150), "median {:?}", gaps[50]);
    assert!(gaps[98] < Duration::from_millis(1_000), "99 of 100 {:?}", gaps[98]);
}

#[test]
fn a_transfer_is_fast_and_loses_nothing() {
    for seed in 0..10 {
        let mut world = World::new(seed, settings(), nodes(1..=3), nodes(1..=3));
        world.run_for(Duration::from_secs(4));
        let (leader, _) = world.leader().expect("a leader was elected");
        let to = nodes(1..=3).into_iter().find(|node| *node != leader).unwrap();
        world.transfer(leader, Some(to));
        let begin = world.now;
        while world.leader().is_none_or(|(node, _)| node != to) {
            world.run_for(Duration::from_millis(1));
            assert!(world.now.since(begin) < Duration::from_millis(200), "seed {seed}");
        }
        world.expect_agreement(Duration::from_secs(5));
    }
}

#[test]
fn the_preferred_leader_leads_in_the_end() {
    for seed in 0..6 {
        let mut world = World::new(seed, settings(), nodes(1..=3), nodes(1..=3));
        world.set_target(nodes(1..=3), nodes([]), Some(NodeId(2)));
        world.run_for(Duration::from_secs(20));
        assert_eq!(world.leader().map(|(node, _)| node), Some(NodeId(2)), "seed {seed}");
    }
}

#[test]
fn the_configuration_reaches_the_target() {
    for seed in 0..6 {
        let mut world = World::new(seed, settings(), nodes(1..=3), nodes(1..=6));
        world.run_for(Duration::from_secs(3));
        // Nobody stays, not even the leader.
        world.set_target(nodes(4..=6), nodes([2]), None);
        world.run_for(Duration::from_secs(20));
        let (leader, _) = world.leader().expect("there is a leader");
        assert!(nodes(4..=6).contains(&leader), "seed {seed}: {leader} leads");
        let configuration = world.configuration(leader);
        assert_eq!(configuration.voters, nodes(4..=6), "seed {seed}");
        assert_eq!(configuration.learners, nodes([2]), "seed {seed}");
        // Those removed know it, and can be forgotten by their hosts.
        assert!(nodes([1, 3]).iter().all(|node| !world.is_member(*node)), "seed {seed}");
        world.expect_agreement(Duration::from_secs(5));
    }
}
