//! A Kubernetes node is drained: the pod's budget lets it go, its leadership is handed over first.

use std::time::Duration;

use anyhow::Context;

use crate::scenario::{Scenario, on_a_store};

#[test]
fn a_drain_moves_leadership_away() {
    on_a_store("node-drained", |given| {
        let load = given.start_load()?;
        let node = node_of(given, &given.leader()?)?;
        let drained = given.kubectl.output([
            "drain",
            &node,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--timeout=90s",
            "--pod-selector=quorate.dev/store",
        ]);
        load.go_on(Duration::from_secs(5));
        given.kubectl.output(["uncordon", &node])?;
        drained?;
        given.await_ready(3)?;
        load.finish("Kubernetes node drained")?;
        Ok(())
    });
}

fn node_of(given: &Scenario, pod: &str) -> anyhow::Result<String> {
    let pods = given.pods()?;
    let found =
        pods.iter().find(|found| found["metadata"]["name"] == pod).context("the leader's pod")?;
    found["spec"]["nodeName"].as_str().map(str::to_owned).context("the pod is on a node")
}
