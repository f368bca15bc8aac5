//! Session defaults of the store: a plain client that asks for nothing reads on replicas, and finds its own writes there.

use anyhow::{Context, Result, ensure};
use quorate_e2e::cluster::command;
use serde_json::json;

use crate::scenario::Scenario;

const ROUNDS: usize = 100;

pub(super) fn a_plain_client_finds_its_writes_on_replicas(given: &Scenario) -> Result<()> {
    let sessions = json!({ "readFrom": "Replica", "readYourWrites": { "method": "Position" } });
    given.change(&json!({ "sessions": sessions }))?;
    let leader = given.leader()?;
    for pod in given.pods()? {
        if pod["metadata"]["name"] == *leader {
            continue;
        }
        let host = pod["status"]["podIP"].as_str().context("the pod has an address")?;
        let words: Vec<String> = (0..ROUNDS)
            .map(|round| format!("SET session:{{{host}}} {round}\nGET session:{{{host}}}\n"))
            .collect();
        let mut cli = given.redis_client("redis-cli", host)?;
        let said = command::output_of_input(&mut cli, &words.concat())?;
        let read: Vec<&str> = said.lines().filter(|line| *line != "OK").collect();
        let written: Vec<String> = (0..ROUNDS).map(|round| round.to_string()).collect();
        ensure!(read == written, "a session on {host} did not find its own writes: {read:?}");
    }
    given.change(&json!({ "sessions": null }))
}
