//! A store with a leader of each shard in every one of three datacenters, far from each other: they come and go, conflict, are cut off, and
//! stand in a ring and a star, while clients of each write. One store goes through all of it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use quorate_e2e::cluster::progress::Probe;
use serde_json::{Value, json};

use crate::datacenters::{DATACENTERS, Nodes};
use crate::leaderless::nothing_failed;
use crate::load::Kind;
use crate::scenario::{Scenario, in_a_namespace, manifest};

const ONE_WAY: Duration = Duration::from_millis(40);
const AFTERWARDS: Duration = Duration::from_secs(3);
/// Of what is to be seen not to happen.
const A_WHILE: Duration = Duration::from_secs(4);
const TOLD_IN: Duration = Duration::from_secs(60);

#[test]
fn datacenters_with_leaders_of_their_own() {
    in_a_namespace("multi-leader", |given| {
        given.faults()?.spread_datacenters(ONE_WAY)?;
        given.apply(&manifest(2, &DATACENTERS[..2], MODE))?;
        given.await_ready(2)?;
        given.part("a datacenter is added", a_datacenter_is_added)?;
        given.part("conflicts", concurrent_titles_read_as_declared)?;
        given.part("cut off", both_sides_write)?;
        given.part("ring", a_ring_with_a_dead_member)?;
        given.part("links", links_change_under_load)?;
        given.part("homes", a_home_moves_under_load)?;
        given.part("a datacenter is removed", a_datacenter_is_removed)
    });
}

const MODE: &str = "  mode: MultiLeader
  multiLeader:
    replicas: 1
    conflicts:
      resolution: LastWriterWins
      keys:
      - {pattern: 'first:*', resolution: ReplicaPriority, priority: [dc-b, dc-a]}
      - {pattern: 'join:*', resolution: Merge}
      - {pattern: 'max:*', resolution: Merge, merge: Max}
      - {pattern: 'min:*', resolution: Merge, merge: Min}
      - {pattern: 'union:*', resolution: Merge, merge: Union}
      - {pattern: 'both:*', resolution: Siblings}
      - pattern: 'script:*'
        resolution: Custom
        script: |
          let all = []; for one in siblings { all.push(one.value); } all.sort(); all.join(\"+\")
";

/// What has been written comes to the new one, and what goes on being written.
fn a_datacenter_is_added(given: &Scenario) -> Result<()> {
    let load = given.start_load_within("dc-a", Kind::Cluster)?;
    let nodes = Nodes::in_the_first(given, 2)?;
    nodes.say(0, &["HSET", "before", "field", "value"])?;
    nodes.say(1, &["SADD", "members", "one", "two"])?;
    given.patch_spec(&json!({ "nodes": 3, "datacenters": named(&DATACENTERS) }))?;
    given.await_ready(3)?;
    load.go_on(AFTERWARDS);
    nothing_failed(&load.finish("multi-leader: a datacenter is added")?)?;
    let nodes = Nodes::of(given)?;
    all_are_equal(&nodes)?;
    let field = |at| nodes.say(at, &["HGET", "before", "field"]);
    nodes.agree("the hash", field, |found| found == "value")?;
    let members = |at| nodes.say(at, &["SCARD", "members"]);
    nodes.agree("the set", members, |found| found == "2").map(|_| ())
}

/// The title of a page: B in one datacenter, and C in another that is cut off.
fn concurrent_titles_read_as_declared(given: &Scenario) -> Result<()> {
    const TITLES: [(&str, &str); 4] =
        [("last:title", "C"), ("first:title", "B"), ("join:title", "B/C"), ("script:title", "B+C")];
    const NUMBERS: [(&str, &str); 2] = [("max:n", "12"), ("min:n", "7")];
    let nodes = Nodes::of(given)?;
    for (key, _) in TITLES.into_iter().chain([("both:title", "")]) {
        nodes.say(0, &["SET", key, "A"])?;
        nodes.agree(key, |at| nodes.say(at, &["GET", key]), |found| found == "A")?;
    }
    given.faults()?.cut_datacenter("dc-c")?;
    for (at, title, number, list) in [(1, "B", "12", "x,y"), (2, "C", "7", "y,z")] {
        for (key, _) in TITLES.into_iter().chain([("both:title", "")]) {
            ensure!(nodes.say(at, &["SET", key, title])? == "OK", "{key} at {at}");
        }
        for (key, _) in NUMBERS {
            nodes.say(at, &["SET", key, number])?;
        }
        nodes.say(at, &["SET", "union:list", list])?;
    }
    given.faults()?.heal_datacenter("dc-c")?;
    for (key, wanted) in TITLES.into_iter().chain(NUMBERS).chain([("union:list", "x,y,z")]) {
        nodes.agree(key, |at| nodes.say(at, &["GET", key]), |found| found == wanted)?;
    }
    nodes.agree("siblings", |at| nodes.values(at, "both:title"), |found| *found == ["B", "C"])?;
    for at in 0..DATACENTERS.len() {
        let read = nodes.say(at, &["GET", "both:title"])?;
        ensure!(read.starts_with("SIBLINGS"), "{read}");
    }
    for at in [1, 2] {
        let told = nodes.say(at, &["CONFLICTS", "COUNT", "100"])?;
        for key in ["last:title", "first:title"] {
            ensure!(told.contains(key), "{} says nothing of {key}: {told}", DATACENTERS[at]);
        }
    }
    given.await_ready(3)
}

/// Both sides of a cut serve, and come to the same afterwards; what one of them counted is not lost.
fn both_sides_write(given: &Scenario) -> Result<()> {
    const TIMES: usize = 20;
    let nodes = Nodes::of(given)?;
    let cut_off = given.start_load_within("dc-a", Kind::Cluster)?;
    let other = given.start_load_within("dc-b", Kind::Cluster)?;
    given.faults()?.cut_datacenter("dc-a")?;
    for n in 0..TIMES {
        let key = format!("title:{n}");
        for at in [0, 1] {
            nodes.say(at, &["INCR", "count"])?;
            nodes.say(at, &["SET", &key, DATACENTERS[at]])?;
        }
    }
    given.wait_for("the cut in the status", TOLD_IN, || {
        let store = given.store()?;
        let found = message(&store, "LinksHealthy");
        let told = found.contains("nothing of dc-a");
        Ok(if told { Probe::Ready(()) } else { Probe::Waiting(found) })
    })?;
    given.faults()?.heal_datacenter("dc-a")?;
    cut_off.go_on(AFTERWARDS);
    nothing_failed(&cut_off.finish("multi-leader: within the datacenter that was cut off")?)?;
    nothing_failed(&other.finish("multi-leader: in another datacenter")?)?;
    all_are_equal(&nodes)?;
    let counted = (2 * TIMES).to_string();
    nodes.agree("the counter", |at| nodes.say(at, &["GET", "count"]), |found| *found == counted)?;
    for at in [0, 1] {
        let told = nodes.say(at, &["CONFLICTS", "COUNT", "1000"])?;
        for n in 0..TIMES {
            let key = format!("title:{n}");
            ensure!(told.contains(&key), "{} says nothing of {key}: {told}", DATACENTERS[at]);
        }
    }
    given.await_ready(3)
}

/// dc-b takes from dc-a, dc-c from dc-b, dc-a from dc-c; dc-b dies.
fn a_ring_with_a_dead_member(given: &Scenario) -> Result<()> {
    let ring = json!({ "type": "Circular", "ring": DATACENTERS });
    given.patch_spec(&json!({ "multiLeader": { "links": ring, "reroute": false } }))?;
    given.await_ready(3)?;
    let nodes = Nodes::of(given)?;
    all_are_equal(&nodes)?;
    given.faults()?.cut_datacenter("dc-b")?;
    nodes.say(0, &["SET", "ring:a", "1"])?;
    nodes.say(2, &["SET", "ring:c", "1"])?;
    given.wait_for("the interrupted ring in the status", TOLD_IN, || {
        let store = given.store()?;
        let found = message(&store, "LinksHealthy");
        let told = found.contains("nothing of dc-b") && found.contains("ring is interrupted");
        Ok(if told { Probe::Ready(()) } else { Probe::Waiting(found) })
    })?;
    std::thread::sleep(A_WHILE);
    ensure!(nodes.say(0, &["GET", "ring:c"])? == "1", "dc-a takes from dc-c");
    let found = nodes.say(2, &["GET", "ring:a"])?;
    ensure!(found.is_empty(), "dc-c takes from nobody but dc-b: {found}");
    given.patch_spec(&json!({ "multiLeader": { "reroute": true } }))?;
    given.wait_for("dc-c to take around dc-b", TOLD_IN, || {
        let found = nodes.say(2, &["GET", "ring:a"])?;
        Ok(if found == "1" { Probe::Ready(()) } else { Probe::Waiting(found) })
    })?;
    given.faults()?.heal_datacenter("dc-b")?;
    all_are_equal(&nodes)?;
    given.await_ready(3)
}

fn links_change_under_load(given: &Scenario) -> Result<()> {
    let first = given.start_load_within("dc-a", Kind::Cluster)?;
    let second = given.start_load_within("dc-c", Kind::Plain)?;
    for links in [
        json!({ "type": "Star", "ring": null, "hub": "dc-b" }),
        json!({ "type": "Circular", "ring": ["dc-c", "dc-b", "dc-a"], "hub": null }),
        json!({ "type": "AllToAll", "ring": null, "hub": null }),
    ] {
        given.patch_spec(&json!({ "multiLeader": { "links": links } }))?;
        given.await_ready(3)?;
        first.go_on(AFTERWARDS);
    }
    nothing_failed(&first.finish("multi-leader: links change, a client of dc-a")?)?;
    nothing_failed(&second.finish("multi-leader: links change, a client of dc-c")?)?;
    all_are_equal(&Nodes::of(given)?)
}

/// Two datacenters that counted at once would answer the same number.
fn a_home_moves_under_load(given: &Scenario) -> Result<()> {
    let nodes = Nodes::of(given)?;
    // What was written elsewhere before a home was declared may conflict.
    declare_home(given, &nodes, "dc-b", || Ok(()))?;
    let load = given.start_load_within("dc-a", Kind::Cluster)?;
    let mut answers = BTreeSet::new();
    for home in ["dc-c", "dc-a", "dc-b"] {
        declare_home(given, &nodes, home, || {
            for at in 0..DATACENTERS.len() {
                let answer = nodes.say(at, &["INCR", "user:count"])?;
                ensure!(answer.parse::<u64>().is_ok(), "{answer}");
                ensure!(answers.insert(answer.clone()), "{answer} was answered twice");
            }
            Ok(())
        })?;
    }
    nothing_failed(&load.finish("multi-leader: a home moves")?)?;
    let counted = answers.len().to_string();
    let count = |at| nodes.say(at, &["GET", "user:count"]);
    nodes.agree("the counter", count, |found| *found == counted)?;
    given.await_ready(3)
}

fn declare_home(
    given: &Scenario,
    nodes: &Nodes<'_>,
    home: &str,
    mut meanwhile: impl FnMut() -> Result<()>,
) -> Result<()> {
    let keys = json!([{ "pattern": "user:*", "datacenter": home }]);
    given.patch_spec(&json!({ "multiLeader": { "homes": { "keys": keys } } }))?;
    given.wait_for("the home", TOLD_IN, || {
        meanwhile()?;
        let homes = |at| nodes.say(at, &["HOME", "user:1"]);
        let found = (0..DATACENTERS.len()).map(homes).collect::<Result<Vec<_>>>()?;
        let moved = found.iter().all(|one| one == home);
        Ok(if moved { Probe::Ready(()) } else { Probe::Waiting(format!("{found:?}")) })
    })
}

/// What it wrote stays with the others.
fn a_datacenter_is_removed(given: &Scenario) -> Result<()> {
    let nodes = Nodes::of(given)?;
    nodes.say(2, &["SET", "of:dc-c", "kept"])?;
    let load = given.start_load_within("dc-a", Kind::Cluster)?;
    given.patch_spec(&json!({ "nodes": 2, "datacenters": named(&DATACENTERS[..2]) }))?;
    given.await_ready(2)?;
    load.go_on(AFTERWARDS);
    nothing_failed(&load.finish("multi-leader: a datacenter is removed")?)?;
    let nodes = Nodes::in_the_first(given, 2)?;
    all_are_equal(&nodes)?;
    let kept = |at| nodes.say(at, &["GET", "of:dc-c"]);
    nodes.agree("what dc-c wrote", kept, |found| found == "kept").map(|_| ())
}

fn named(datacenters: &[&str]) -> Value {
    datacenters.iter().map(|name| json!({ "name": name })).collect()
}

fn message(store: &Value, kind: &str) -> String {
    let conditions = store["status"]["conditions"].as_array();
    let found = conditions.and_then(|all| all.iter().find(|one| one["type"] == kind));
    found.map_or_else(String::new, |found| format!("{} {}", found["status"], found["message"]))
}

/// Every datacenter has the same keys, and reads the same of those that clients write all the while.
fn all_are_equal(nodes: &Nodes<'_>) -> Result<()> {
    let read = |at| {
        let keys = nodes.keys(at)?;
        let written = keys.iter().filter(|key| key.starts_with("load:"));
        let values: Vec<String> =
            written.map(|key| nodes.say(at, &["GET", key])).collect::<Result<_>>()?;
        Ok((keys, values))
    };
    nodes.agree("all datacenters equal", read, |_| true).map(|_| ())
}
