//! The leader is deleted, killed, frozen; all nodes are.

use std::time::Duration;

use crate::scenario::on_a_store;

const AFTERWARDS: Duration = Duration::from_secs(5);

#[test]
fn a_deleted_leader_hands_over() {
    on_a_store("leader-deleted", |given| {
        let load = given.start_load()?;
        let leader = given.leader()?;
        given.kubectl.output([
            "delete",
            "pod",
            &leader,
            "--namespace",
            given.namespace(),
            "--wait=true",
        ])?;
        given.await_ready(3)?;
        load.go_on(AFTERWARDS);
        load.finish("leader pod deleted")?;
        Ok(())
    });
}

#[test]
fn a_killed_leader_is_replaced() {
    on_a_store("leader-killed", |given| {
        let mut gaps = Vec::new();
        for trial in 1..=5 {
            let load = given.start_load()?;
            let leader = given.leader()?;
            given.faults()?.kill_process(given.namespace(), &leader)?;
            load.go_on(AFTERWARDS);
            given.await_ready(3)?;
            gaps.push(load.finish(&format!("leader killed, trial {trial}"))?.longest_gap_ms);
        }
        gaps.sort_unstable();
        println!("leader killed: write gaps {gaps:?} ms, median {} ms", gaps[gaps.len() / 2]);
        Ok(())
    });
}

#[test]
fn a_frozen_leader_is_replaced_and_comes_back_as_a_follower() {
    on_a_store("leader-frozen", |given| {
        let load = given.start_load()?;
        let leader = given.leader()?;
        let process = given.faults()?.process_of(given.namespace(), &leader, None)?;
        given.faults()?.freeze(&process)?;
        load.go_on(Duration::from_secs(8));
        given.await_other_leader(&leader)?;
        given.faults()?.thaw(&process)?;
        given.await_ready(3)?;
        load.go_on(AFTERWARDS);
        load.finish("leader frozen")?;
        Ok(())
    });
}

#[test]
fn all_pods_deleted_at_once_find_each_other_at_their_new_addresses() {
    on_a_store("all-deleted", |given| {
        for key in 0..50 {
            let key = format!("kept:{key}");
            anyhow::ensure!(given.redis(&["SET", &key, "value"])? == "OK", "SET {key}");
        }
        let pods =
            ["delete", "pods", "--namespace", given.namespace(), "--selector=quorate.dev/store"];
        given.kubectl.output(pods)?;
        given.await_ready(3)?;
        for key in 0..50 {
            let key = format!("kept:{key}");
            anyhow::ensure!(given.redis(&["GET", &key])? == "value", "{key} is gone");
        }
        Ok(())
    });
}
