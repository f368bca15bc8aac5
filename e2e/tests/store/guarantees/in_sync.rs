//! The follower that writes wait for is frozen: another takes its place; where there is none, the set shrinks as declared.

use anyhow::{Context, Result, ensure};
use quorate_e2e::cluster::PodProcess;
use serde_json::json;

use super::reason_of;
use crate::scenario::Scenario;

pub(super) fn a_frozen_follower_is_replaced_and_the_set_shrinks(given: &Scenario) -> Result<()> {
    let quick = json!({ "slowAfter": "300ms" });
    given.change(&json!({ "durability": "SemiSync", "inSync": quick }))?;
    let load = given.start_load()?;
    let (follower, process) = freeze_a_follower(given)?;
    let swap = given.await_status("a swap", |status| {
        let swaps = status["swaps"].as_array()?;
        swaps
            .iter()
            .find(|swap| {
                swap["shard"] == 0
                    && (swap["why"] == "Slow" || swap["why"] == "Gone")
                    && swap["removed"]
                        .as_array()
                        .is_some_and(|pods| pods.contains(&json!(follower)))
            })
            .cloned()
    })?;
    given.await_event("InSyncSwapped", "shard 0")?;
    ensure!(changes_metric(given)?.contains("in_sync_changes"), "the metric counts swaps");
    given.faults()?.thaw(&process)?;
    given.await_ready(3)?;
    load.finish("in-sync follower frozen")?;
    println!("in-sync swap: {swap}");

    let both = json!({ "count": 2, "onLoss": "Shrink", "slowAfter": "300ms" });
    given.change(&json!({ "durability": "SemiSync", "inSync": both }))?;
    let load = given.start_load()?;
    let (_, process) = freeze_a_follower(given)?;
    given.await_status("a condition that says Shrunk", |status| {
        reason_of(status, "InSync", "False").filter(|reason| reason == "Shrunk")
    })?;
    given.faults()?.thaw(&process)?;
    given
        .await_status("the sets to be whole again", |status| reason_of(status, "InSync", "True"))?;
    given.await_ready(3)?;
    load.finish("in-sync set shrunk")?;
    given.change(&json!({ "durability": "Quorum", "inSync": null }))
}

/// Freezes a follower of shard 0 that its writes wait for.
fn freeze_a_follower(given: &Scenario) -> Result<(String, PodProcess)> {
    let follower = given.await_status("an in-sync follower of shard 0", |status| {
        let shard = &status["shards"][0];
        let members = shard["inSync"].as_array()?;
        let follower = members.iter().find(|member| **member != shard["leader"])?;
        follower.as_str().map(str::to_owned)
    })?;
    let process = given.faults()?.process_of(given.namespace(), &follower, None)?;
    given.faults()?.freeze(&process)?;
    Ok((follower, process))
}

fn changes_metric(given: &Scenario) -> Result<String> {
    let leader = given.leader()?;
    let path = format!("/api/v1/namespaces/{}/pods/{leader}:7480/proxy/metrics", given.namespace());
    let text = given.kubectl.output(["get", "--raw", &path])?;
    let line = text.lines().find(|line| line.contains("in_sync_changes") && !line.starts_with('#'));
    line.map(str::to_owned).context("the leader's metrics count changes of in-sync sets")
}
