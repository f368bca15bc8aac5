//! A store without leaders: a pod is deleted, a volume wiped, a node added and taken away, the image changed, all under load. One store goes through all
//! of it, so that it takes minutes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_e2e::cluster::command;
use quorate_e2e::cluster::progress::Probe;
use serde_json::{Value, json};

use crate::datacenters::DATACENTERS;
use crate::image_roll;
use crate::load::{Kind, Report};
use crate::scenario::{STORE, Scenario, condition, in_a_namespace, manifest};

const AFTERWARDS: Duration = Duration::from_secs(3);
const WHOLE_IN: Duration = Duration::from_secs(120);

#[test]
fn a_leaderless_store_goes_on_while_its_nodes_come_and_go() {
    in_a_namespace("leaderless", |given| {
        given.apply(&manifest(3, &DATACENTERS, MODE))?;
        given.await_ready(3)?;
        given.part("status", says_what_it_is)?;
        given.part("siblings", siblings_are_seen)?;
        given.part("pod deleted", a_deleted_pod_fails_no_request)?;
        given.part("volume wiped", a_wiped_node_is_replaced_and_filled)?;
        given.part("scaling", it_scales_up_and_down)?;
        given.part("image", a_new_image_fails_no_request)
    });
}

const MODE: &str = "  mode: Leaderless
  leaderless: {replicas: 3, read: QUORUM, write: 2, conflicts: LastWriterWins}
";

fn says_what_it_is(given: &Scenario) -> Result<()> {
    let store = given.store()?;
    let status = &store["status"];
    ensure!(status["quorums"] == "w=2 r=QUORUM n=3", "quorums {}", status["quorums"]);
    ensure!(condition(&store, "WeakQuorums") == Some("False"), "{}", status["conditions"]);
    let screen = given.quorate(&["status", STORE])?;
    ensure!(screen.contains("leaderless, 3 replicas, writes at 2"), "{screen}");
    let changed = given.patch_spec(&json!({ "mode": "SingleLeader", "leaderless": null }));
    let Err(refused) = changed else { anyhow::bail!("the mode was changed") };
    ensure!(format!("{refused:#}").contains("spec.mode cannot change"), "{refused:#}");
    let weak = given.patch_spec(&json!({ "leaderless": { "write": 1, "read": 1 } }));
    let Err(refused) = weak else { anyhow::bail!("weak quorums were taken without consent") };
    ensure!(format!("{refused:#}").contains("allowWeakQuorums"), "{refused:#}");
    Ok(())
}

/// Two clients write through two nodes without having read each other's value.
fn siblings_are_seen(given: &Scenario) -> Result<()> {
    given.patch_spec(&json!({ "leaderless": { "conflicts": "Siblings" } }))?;
    given.await_ready(3)?;
    let pods = given.pods()?;
    let hosts: Vec<&str> = pods.iter().filter_map(|pod| pod["status"]["podIP"].as_str()).collect();
    let [first, second, third] = hosts.as_slice() else { anyhow::bail!("three pods: {hosts:?}") };
    let say = |host: &str, words: &[&str]| {
        command::output(given.redis_client("redis-cli", host)?.args(words))
    };
    say(first, &["VSET", "cart", "apples"])?;
    say(second, &["VSET", "cart", "pears"])?;
    let both = say(third, &["VGET", "cart"])?;
    let lines: Vec<&str> = both.lines().map(str::trim).collect();
    let [context, values @ ..] = lines.as_slice() else { anyhow::bail!("no context: {both}") };
    ensure!(values.contains(&"apples") && values.contains(&"pears"), "{both}");
    let plain = say(third, &["GET", "cart"])?;
    ensure!(plain.contains("SIBLINGS"), "GET of siblings answers {plain}");
    say(first, &["VSET", "cart", "both", "CONTEXT", context])?;
    let one = say(second, &["GET", "cart"])?;
    ensure!(one.trim() == "both", "{one}");
    given.patch_spec(&json!({ "leaderless": { "conflicts": "LastWriterWins" } }))?;
    given.await_ready(3)
}

fn a_deleted_pod_fails_no_request(given: &Scenario) -> Result<()> {
    let load = given.start_load_of(Kind::Plain)?;
    given.kubectl.output([
        "delete",
        "pod",
        "store-dc-b-0",
        "--namespace",
        given.namespace(),
        "--wait=true",
    ])?;
    given.await_ready(3)?;
    load.go_on(AFTERWARDS);
    nothing_failed(&load.finish("leaderless: pod deleted")?)
}

fn a_wiped_node_is_replaced_and_filled(given: &Scenario) -> Result<()> {
    let load = given.start_load_of(Kind::Plain)?;
    let pod = "store-dc-c-0";
    let before = identity(given, pod)?;
    given.faults()?.wipe_volumes(given.namespace(), pod)?;
    given.wait_for("another identity", WHOLE_IN, || {
        let found = identity(given, pod)?;
        Ok(if found == before { Probe::Waiting(found) } else { Probe::Ready(()) })
    })?;
    given.await_ready(3)?;
    whole(&given.store()?["status"])?;
    load.go_on(AFTERWARDS);
    nothing_failed(&load.finish("leaderless: volume wiped")?)
}

fn it_scales_up_and_down(given: &Scenario) -> Result<()> {
    let load = given.start_load_of(Kind::Plain)?;
    for nodes in [4, 3] {
        given.patch_spec(&json!({ "nodes": nodes }))?;
        given.await_ready(nodes)?;
        whole(&given.store()?["status"])?;
    }
    given.wait_for("three pods", Duration::from_secs(60), || {
        let pods = given.pods()?.len();
        Ok(if pods == 3 { Probe::Ready(()) } else { Probe::Waiting(format!("{pods} pods")) })
    })?;
    load.go_on(AFTERWARDS);
    nothing_failed(&load.finish("leaderless: scaled from 3 to 4 and back")?)
}

fn a_new_image_fails_no_request(given: &Scenario) -> Result<()> {
    let before = given.pod_uids()?;
    let image = image_roll::other_image(given)?;
    let load = given.start_load_behind("store-rw", "dc-a")?;
    given.patch_spec(&json!({ "image": image }))?;
    given.await_ready(3)?;
    load.go_on(AFTERWARDS);
    nothing_failed(&load.finish("leaderless: image change rolled")?)?;
    image_roll::check_rolled(given, &before, &image)
}

/// With the one more attempt that the client makes.
pub(crate) fn nothing_failed(report: &Report) -> Result<()> {
    let failed = (report.failed_writes, report.failed_reads);
    ensure!(failed == (0, 0), "{failed:?} writes and reads failed: {:?}", report.last_errors);
    Ok(())
}

/// Every shard has three replicas, all of them filled, and leaves none.
fn whole(status: &Value) -> Result<()> {
    let shards = status["shards"].as_array().context("the status lists shards")?;
    ensure!(shards.len() == 3, "three shards, not {}", shards.len());
    for shard in shards {
        let healthy = shard["health"] == "Healthy"
            && shard["voters"].as_array().is_some_and(|voters| voters.len() == 3)
            && shard["filling"].is_null()
            && shard["leaving"].is_null();
        ensure!(healthy, "{shard}");
    }
    Ok(())
}

fn identity(given: &Scenario, pod: &str) -> Result<String> {
    let store = given.store()?;
    let nodes = store["status"]["nodes"].as_array().context("the status lists nodes")?;
    let of_pod = nodes.iter().filter(|node| node["name"] == pod && node["state"] != "Lost");
    let ids: Vec<&str> = of_pod.filter_map(|node| node["id"].as_str()).collect();
    Ok(ids.first().copied().unwrap_or("unknown").to_owned())
}
