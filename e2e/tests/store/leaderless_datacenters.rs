//! A store without leaders in three datacenters, each with replicas of its own: one of them is cut off, and both sides write on.

use std::time::Duration;

use anyhow::{Result, ensure};
use quorate_e2e::cluster::progress::Probe;
use serde_json::json;

use crate::datacenters::{DATACENTERS, Nodes};
use crate::leaderless::nothing_failed;
use crate::load::Kind;
use crate::scenario::{Scenario, condition, in_a_namespace, manifest};

const CUT: Duration = Duration::from_secs(8);
const EQUAL_IN: Duration = Duration::from_secs(60);

#[test]
fn datacenters_go_on_without_each_other_and_come_together_again() {
    in_a_namespace("leaderless-datacenters", |given| {
        given.apply(&manifest(6, &DATACENTERS, MODE))?;
        given.await_ready(6)?;
        let store = given.store()?;
        ensure!(condition(&store, "WeakQuorums") == Some("False"), "{}", store["status"]);
        given.part("both sides write", both_sides_write)?;
        given.part("siblings", concurrent_values_are_seen_everywhere)
    });
}

fn both_sides_write(given: &Scenario) -> Result<()> {
    let nodes = Nodes::of(given)?;
    let within = given.start_load_within("dc-a", Kind::Plain)?;
    let without = given.start_load_within("dc-b", Kind::Plain)?;
    given.faults()?.cut_datacenter("dc-a")?;
    within.go_on(CUT);
    given.faults()?.heal_datacenter("dc-a")?;
    within.go_on(Duration::from_secs(2));
    nothing_failed(&within.finish("leaderless: within the datacenter that was cut off")?)?;
    nothing_failed(&without.finish("leaderless: in another datacenter")?)?;
    all_are_equal(&nodes, 48)?;
    given.await_ready(6)
}

fn concurrent_values_are_seen_everywhere(given: &Scenario) -> Result<()> {
    given.patch_spec(&json!({ "leaderless": { "conflicts": "Siblings" } }))?;
    given.await_ready(6)?;
    let nodes = Nodes::of(given)?;
    given.faults()?.cut_datacenter("dc-a")?;
    nodes.say(0, &["VSET", "cart", "apples"])?;
    nodes.say(1, &["VSET", "cart", "pears"])?;
    given.wait_for("dc-c to have what dc-b wrote", EQUAL_IN, || {
        let found = nodes.values(2, "cart")?;
        Ok(if found == ["pears"] { Probe::Ready(()) } else { Probe::Waiting(found.join(", ")) })
    })?;
    let found = nodes.values(0, "cart")?;
    ensure!(found == ["apples"], "dc-a is cut off: {found:?}");
    given.faults()?.heal_datacenter("dc-a")?;
    all_are_equal(&nodes, 49)?;
    let found = nodes.values(0, "cart")?;
    ensure!(found == ["apples", "pears"], "{found:?}");
    given.await_ready(6)
}

const MODE: &str = "  mode: Leaderless
  leaderless:
    replicas: 2
    datacenters: Local
    read: LOCAL_QUORUM
    write: LOCAL_QUORUM
    conflicts: LastWriterWins
";

/// Every datacenter comes to answer the same of every key. Reads do not leave theirs, so none of them repairs another's.
fn all_are_equal(nodes: &Nodes<'_>, keys: usize) -> Result<()> {
    let read = |at| {
        let of = |name: String| Ok((name.clone(), nodes.values(at, &name)?));
        nodes.keys(at)?.into_iter().map(of).collect::<Result<Vec<_>>>()
    };
    nodes.agree("all datacenters equal", read, |found| found.len() == keys).map(|_| ())
}
