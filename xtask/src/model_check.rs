//! `model-check`: every order of events in small groups of real replicas, and a broken rule found in each way.

use anyhow::Result;
use quorate_e2e::cluster::command::visible;

use crate::workspace::cargo;

pub(crate) fn run() -> Result<()> {
    let mut search = cargo(["test", "--profile", "fast", "-p", "quorate-replication"]);
    search.args(["--features", "planted", "--lib", "model_test", "--", "--nocapture"]);
    search.env("QUORATE_MODEL_CHECK", "1");
    visible(&mut search)
}
