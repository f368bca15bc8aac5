//! Three replicas in one thread, from a seed: what one file of the protocol cannot show alone.
//!
//! The network loses, repeats, delays, reorders and cuts; disks complete late and lose what was under way at a crash; clocks are
//! wrong. After a while everything is healed, and the replicas must come to the same without any read. What is checked: `checks`.

mod checks;
mod node;
mod world;

use std::time::Duration;

use quorate_model::ConflictPolicy;

use world::{Faults, World};

fn run(seed: u64, faults: &Faults, conflicts: ConflictPolicy) {
    // A failing seed is the last one named.
    println!("seed {seed}");
    let mut world = World::new(seed, conflicts);
    world.faults = faults.clone();
    world.run_for(Duration::from_secs(4));
    world.heal();
    world.expect_convergence(Duration::from_secs(30));
    world.expect_answers(Duration::from_secs(3));
}

fn run_seeds(first: u64, count: u64, faults: &Faults, conflicts: ConflictPolicy) {
    (first..first + count).for_each(|seed| run(seed, faults, conflicts));
}

#[test]
fn siblings_survive_every_fault() {
    run_seeds(0, 200, &Faults::all(), ConflictPolicy::Siblings);
}

#[test]
fn last_writers_survive_every_fault() {
    run_seeds(10_000, 200, &Faults::all(), ConflictPolicy::LastWriterWins);
}

#[test]
fn a_quiet_cluster_answers_everything() {
    for seed in 20_000..20_020 {
        let mut world = World::new(seed, ConflictPolicy::Siblings);
        world.run_for(Duration::from_secs(4));
        assert_eq!(world.checks.refused, 0);
        world.expect_convergence(Duration::from_secs(10));
    }
}

/// Each bug that is planted here is found by one of a few hundred seeds.
#[cfg(feature = "planted")]
#[test]
fn every_planted_bug_is_found() {
    use quorate_model::planted::{self, Bug};
    let bugs = [
        Bug::KeepActor,
        Bug::TellBeforeDisk,
        Bug::CountOwnCellEarly,
        Bug::RepairLater,
        Bug::CountFilling,
        Bug::HashKeysOnly,
    ];
    for bug in bugs {
        planted::plant(Some(bug));
        let found = (0..300).find(|seed| {
            std::panic::catch_unwind(|| run(*seed, &Faults::all(), ConflictPolicy::Siblings))
                .is_err()
        });
        planted::plant(None);
        println!("{bug:?}: found by seed {found:?}");
        assert!(found.is_some(), "{bug:?}");
    }
}
