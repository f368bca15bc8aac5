//! A leader is killed: the status says how its successor came about, and an event tells it once.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::scenario::{STORE, Scenario};

pub(super) fn a_killed_leader_is_reported(given: &Scenario) -> Result<()> {
    let load = given.start_load()?;
    let old = given.leader()?;
    given.faults()?.kill_process(given.namespace(), &old)?;
    let failover = given.await_status("the failover with its first write", |status| {
        let failovers = status["failovers"].as_array()?;
        let of_shard = failovers.iter().find(|f| f["shard"] == 0 && f["planned"] == false)?;
        let complete = of_shard["oldLeader"] == *old && of_shard["pauseMs"].is_number();
        complete.then(|| of_shard.clone())
    })?;
    println!("failover: {failover}");
    ensure!(failover["lostWrites"] == 0, "nothing is lost under Quorum: {failover}");
    ensure!(failover["term"].as_i64() > failover["oldTerm"].as_i64(), "{failover}");
    given.await_event("Failover", &format!("leads after {old}"))?;
    given.await_ready(3)?;
    load.go_on(Duration::from_secs(1));
    load.finish("leader killed and reported")?;
    println!("{}", given.quorate(&["failovers", STORE])?);
    Ok(())
}
