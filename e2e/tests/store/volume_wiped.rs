//! A volume loses its data: its node comes back as another one and is filled from the others.

use std::time::Duration;

use anyhow::{Context, ensure};
use quorate_e2e::cluster::progress::Probe;

use crate::scenario::{Scenario, on_a_store};

#[test]
fn a_wiped_volume_is_a_new_node() {
    on_a_store("volume-wiped", |given| {
        let load = given.start_load()?;
        let leader = given.leader()?;
        let before = identity(given, &leader)?;
        given.faults()?.wipe_volumes(given.namespace(), &leader)?;
        let after = given.wait_for("another identity", Duration::from_secs(120), || {
            let found = identity(given, &leader)?;
            Ok(if found == before { Probe::Waiting(found) } else { Probe::Ready(found) })
        })?;
        given.await_ready(3)?;
        ensure!(identity(given, &leader)? == after, "the identity changed twice");
        load.go_on(Duration::from_secs(5));
        load.finish("volume wiped")?;
        Ok(())
    });
}

fn identity(given: &Scenario, pod: &str) -> anyhow::Result<String> {
    let store = given.store()?;
    let nodes = store["status"]["nodes"].as_array().context("the status lists nodes")?;
    let node = nodes.iter().find(|node| node["name"] == pod).context("the status lists the pod")?;
    Ok(node["id"].as_str().unwrap_or("unknown").to_owned())
}
