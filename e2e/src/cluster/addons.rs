//! What every cluster of ours has beyond Kubernetes itself, and when it counts as ready.

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

pub(super) fn wait_for_nodes(
    kubectl: &Kubectl,
    count: usize,
    limit: Duration,
    progress: &Progress,
) -> Result<()> {
    progress.wait("Kubernetes nodes", limit, || {
        let nodes = kubectl.json(["get", "nodes"])?;
        let nodes = nodes["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut missing: Vec<&str> =
            nodes.iter().filter(|node| !is_ready(node)).map(name).collect();
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

pub(super) fn wait_for_dns(kubectl: &Kubectl, limit: Duration, progress: &Progress) -> Result<()> {
    progress.wait("cluster DNS", limit, || {
        let set = kubectl.json(["get", "daemonset", "coredns", "--namespace=kube-system"])?;
        let status = &set["status"];
        let (wanted, ready) =
            (status["desiredNumberScheduled"].as_u64(), status["numberReady"].as_u64());
        let observed = status["observedGeneration"] == set["metadata"]["generation"];
        Ok(match (wanted, ready) {
            (Some(wanted), Some(ready)) if observed && wanted > 0 && ready >= wanted => {
                Probe::Ready(())
            }
            (wanted, ready) => Probe::Waiting(format!(
                "{} of {} servers answer",
                ready.unwrap_or(0),
                wanted.unwrap_or(0)
            )),
        })
    })
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
