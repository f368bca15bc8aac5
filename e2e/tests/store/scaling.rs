//! Three nodes become six, and three again.

use std::time::Duration;

use anyhow::ensure;
use quorate_e2e::cluster::progress::Probe;
use serde_json::json;

use crate::scenario::on_a_store;

#[test]
fn a_store_scales_up_and_down_without_loss() {
    on_a_store("scaling", |given| {
        let load = given.start_load()?;
        given.patch_spec(&json!({ "nodes": 6 }))?;
        given.await_ready(6)?;
        load.go_on(Duration::from_secs(3));
        given.patch_spec(&json!({ "nodes": 3 }))?;
        given.await_ready(3)?;
        given.wait_for("three pods", Duration::from_secs(60), || {
            let pods = given.pods()?.len();
            Ok(if pods == 3 { Probe::Ready(()) } else { Probe::Waiting(format!("{pods} pods")) })
        })?;
        load.go_on(Duration::from_secs(3));
        load.finish("scaled from 3 to 6 and back")?;
        let epoch = given.store()?["status"]["epoch"].as_i64();
        ensure!(epoch.is_some_and(|epoch| epoch > 1), "the topology changed: epoch {epoch:?}");
        Ok(())
    });
}
