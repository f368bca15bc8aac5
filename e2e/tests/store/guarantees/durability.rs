//! Every durability after the other, under load: no acknowledged write is lost, no pod restarted.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::scenario::Scenario;

pub(super) fn changes_lose_nothing(given: &Scenario) -> Result<()> {
    let load = given.start_load()?;
    let pods = given.pod_uids()?;
    for (durability, in_sync) in [
        ("SemiSync", json!({ "slowAfter": "500ms" })),
        ("Sync", json!({ "count": null, "onLoss": "Block" })),
        ("Async", json!(null)),
        ("Quorum", json!(null)),
    ] {
        given.change(&json!({ "durability": durability, "inSync": in_sync }))?;
        let store = given.store()?;
        ensure!(store["status"]["durability"] == durability, "{}", store["status"]);
        load.go_on(Duration::from_secs(1));
    }
    ensure!(given.pod_uids()? == pods, "a pod was replaced");
    load.finish("durability changed four times")?;
    given.await_event("PolicyChanged", "Async to Quorum")?;
    Ok(())
}
