//! What every cluster of ours has beyond Kubernetes itself, and when it counts as ready.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::Kubectl;
use super::progress::{Probe, Progress};

/// Server-side apply, so that applying the same again writes nothing.
pub(super) fn apply(kubectl: &Kubectl, manifests: &[&str]) -> Result<()> {
    let all = manifests.join("\n---\n");
    let args = ["apply", "--server-side", "--force-conflicts", "--field-manager=quorate-local"];
    kubectl.output_of_input(args.into_iter().chain(["-f", "-"]), &all)?;
    Ok(())
}

/// When each registered node last reported, in the API server's own words.
pub(super) fn last_reports(kubectl: &Kubectl) -> Result<BTreeMap<String, String>> {
    let nodes = kubectl.json(["get", "nodes"])?;
    let nodes = nodes["items"].as_array().into_iter().flatten();
    Ok(nodes.map(|node| (name(node).to_owned(), last_report(node).to_owned())).collect())
}

/// Waits until so many nodes are Ready. A node whose last report is still the one in `stale`
/// does not count: it speaks of the time before it was started.
pub(super) fn wait_for_nodes(
    kubectl: &Kubectl,
    count: usize,
    stale: &BTreeMap<String, String>,
    limit: Duration,
    progress: &Progress,
) -> Result<()> {
    progress.wait("Kubernetes nodes", limit, || {
        let nodes = kubectl.json(["get", "nodes"])?;
        let nodes = nodes["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_stale =
            |node: &Value| stale.get(name(node)).is_some_and(|old| last_report(node) == old);
        let mut missing: Vec<&str> =
            nodes.iter().filter(|node| !is_ready(node) || is_stale(node)).map(name).collect();
        if nodes.len() < count {
            missing.push("some are not registered");
        }
        Ok(if missing.is_empty() {
            Probe::Ready(())
        } else {
            Probe::Waiting(format!("{} not Ready", missing.join(", ")))
        })
    })
}

fn last_report(node: &Value) -> &str {
    let conditions = node["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "Ready")
        .and_then(|condition| condition["lastHeartbeatTime"].as_str())
        .unwrap_or_default()
}

fn is_ready(object: &Value) -> bool {
    object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or("?")
}
