//! A node loses its volume: while it is filled from the others, the status shows how far it is.

use anyhow::{Context, Result};
use quorate_e2e::cluster::command;

use crate::scenario::Scenario;

pub(super) fn a_wiped_node_shows_how_far_it_is(given: &Scenario) -> Result<()> {
    fill(given)?;
    let victim = given.leader()?;
    given.faults()?.wipe_volumes(given.namespace(), &victim)?;
    let progress = given.await_status("catch-up progress", |status| {
        let behind = status["catchUp"].as_array()?;
        behind.iter().find(|replica| replica["pod"] == *victim).cloned()
    })?;
    println!("catch-up: {progress}");
    given.await_ready(3)?;
    let store = given.store()?;
    anyhow::ensure!(store["status"]["catchUp"].is_null(), "{}", store["status"]["catchUp"]);
    Ok(())
}

/// Some tens of megabytes, so that a snapshot takes a while.
fn fill(given: &Scenario) -> Result<()> {
    let pods = given.pods()?;
    let host = pods.iter().find_map(|pod| pod["status"]["podIP"].as_str()).context("an address")?;
    let mut fill = given.redis_client("redis-benchmark", host)?;
    fill.args(["-t", "set", "-n", "6000", "-r", "6000"]);
    command::output(fill.args(["-d", "8000", "-P", "8", "-c", "8", "-q"]))?;
    Ok(())
}
