//! Leaders are moved by the resource, as `kubectl quorate switchover` does it.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::scenario::{STORE, Scenario};

pub(super) fn leaders_go_where_they_are_wanted(given: &Scenario) -> Result<()> {
    let load = given.start_load()?;
    for datacenter in ["dc-b", "dc-c"] {
        let said = given.quorate(&["switchover", STORE, "--to", datacenter])?;
        println!("switchover to {datacenter}: {said}");
        let store = given.store()?;
        for shard in store["status"]["shards"].as_array().into_iter().flatten() {
            let leader = shard["leader"].as_str().unwrap_or("nobody");
            ensure!(given.datacenter_of(leader)? == datacenter, "{shard}");
        }
    }
    let pod = "store-dc-a-0";
    given.quorate(&["switchover", STORE, "--to", pod, "--shard", "1"])?;
    let store = given.store()?;
    ensure!(store["status"]["shards"][1]["leader"] == pod, "{}", store["status"]["shards"]);
    load.go_on(Duration::from_secs(1));
    // The client's own gap has its retries in it; the pause itself is in the status.
    load.finish("leaders switched over")?;
    let planned = given.await_status("a planned failover with its pause", |status| {
        let failovers = status["failovers"].as_array()?;
        let planned = failovers.iter().find(|f| f["planned"] == true && f["pauseMs"].is_number());
        planned.map(|failover| failover["pauseMs"].clone())
    })?;
    println!("switchover: writes paused for {planned} ms");
    given.await_event("Switchover", "leads after")?;
    given.quorate(&["switchover", STORE, "--clear"])?;
    given.await_ready(3)
}
