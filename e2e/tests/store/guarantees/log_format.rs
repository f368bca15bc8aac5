//! The log format is changed under load, and back.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::scenario::Scenario;

pub(super) fn changes_under_load(given: &Scenario) -> Result<()> {
    let load = given.start_load()?;
    for format in ["Statement", "Wal", "Logical"] {
        given.change(&json!({ "logFormat": format }))?;
        given.await_status(&format!("log format {format}"), |status| {
            (status["logFormat"] == format).then_some(())
        })?;
        load.go_on(Duration::from_secs(1));
    }
    load.finish("log format changed three times")?;
    Ok(())
}
