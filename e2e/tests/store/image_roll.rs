//! Another image: every pod is replaced, one at a time, leaders handed over first.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use serde_json::json;

use crate::scenario::{Scenario, on_a_store};

/// The name in the scenarios' manifests. The Kubernetes nodes have the same program under its digest, too.
const IMAGE: &str = "localhost/quorate-node:dev";

#[test]
fn a_new_image_is_rolled_one_pod_at_a_time() {
    on_a_store("image-roll", |given| {
        let before = given.pod_uids()?;
        let image = other_image(given)?;
        let load = given.start_load()?;
        given.patch_spec(&json!({ "image": image }))?;
        given.await_ready(3)?;
        load.finish("image change rolled")?;
        check_rolled(given, &before, &image)
    });
}

pub(crate) fn other_image(given: &Scenario) -> anyhow::Result<String> {
    let nodes = given.kubectl.json(["get", "nodes"])?;
    let images =
        nodes["items"][0]["status"]["images"].as_array().context("nodes list their images")?;
    let mut names = images.iter().flat_map(|image| image["names"].as_array().into_iter().flatten());
    let other = names.find_map(|name| {
        name.as_str().filter(|name| name.starts_with("localhost/quorate-node:") && *name != IMAGE)
    });
    other.map(str::to_owned).context("the image has another name: see cargo xtask images")
}

pub(crate) fn check_rolled(
    given: &Scenario,
    before: &BTreeSet<String>,
    image: &str,
) -> anyhow::Result<()> {
    let pods = given.pods()?;
    ensure!(pods.len() == 3, "three pods, not {}", pods.len());
    ensure!(before.is_disjoint(&given.pod_uids()?), "every pod was replaced");
    for pod in pods {
        ensure!(
            pod["spec"]["containers"][0]["image"] == image,
            "the pod runs the new image: {pod}"
        );
    }
    Ok(())
}
