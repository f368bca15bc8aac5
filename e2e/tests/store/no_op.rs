//! A store that is as asked for is left alone.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;

use crate::scenario::{Scenario, on_a_store};

#[test]
fn a_no_op_reconcile_writes_nothing() {
    on_a_store("no-op", |given| {
        // What the scale of a controller or a kubelet still has to write ends before this does.
        let before = settled(given)?;
        // A new operator reconciles everything at its start.
        given.scale_operator(0)?;
        given.scale_operator(2)?;
        std::thread::sleep(Duration::from_secs(40));
        let after = versions(given)?;
        ensure!(before == after, "resourceVersions changed: {before:#?} {after:#?}");
        Ok(())
    });
}

fn settled(given: &Scenario) -> anyhow::Result<BTreeMap<String, String>> {
    use quorate_e2e::cluster::progress::Probe;
    let mut last = versions(given)?;
    let mut unchanged = 0;
    given.wait_for("nothing to be written", Duration::from_secs(120), || {
        std::thread::sleep(Duration::from_secs(1));
        let now = versions(given)?;
        unchanged = if now == last { unchanged + 1 } else { 0 };
        last = now;
        Ok(if unchanged >= 10 {
            Probe::Ready(())
        } else {
            Probe::Waiting("objects change".to_owned())
        })
    })?;
    Ok(last)
}

/// Every object of the store, without what Kubernetes' own controllers write by themselves.
fn versions(given: &Scenario) -> anyhow::Result<BTreeMap<String, String>> {
    let kinds = "rstore,statefulset,service,configmap,serviceaccount,poddisruptionbudget,pod,pvc";
    let objects = given.kubectl.json(["get", kinds, "--namespace", given.namespace()])?;
    let mut versions = BTreeMap::new();
    for object in objects["items"].as_array().into_iter().flatten() {
        let meta = &object["metadata"];
        let name = format!("{} {}", object["kind"], meta["name"]);
        versions.insert(name, meta["resourceVersion"].to_string());
    }
    Ok(versions)
}
