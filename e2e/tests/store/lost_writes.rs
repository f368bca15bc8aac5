//! Durability `Async`: what a failover takes back is exactly what its report says, and can be done again.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_e2e::cluster::command;
use serde_json::json;

use crate::scenario::{STORE, Scenario, on_a_store};

/// Its slot is 5061: shard 0 of three, so that one group tells all of it.
const TAG: &str = "{bar}";
/// More than an election takes.
const CUT: Duration = Duration::from_secs(4);

#[test]
fn writes_that_async_loses_are_counted_shown_and_done_again() {
    on_a_store("lost-writes", |given| {
        let preferred = json!({ "datacenter": "dc-a" });
        given.change(&json!({ "durability": "Async", "preferredLeader": preferred }))?;
        let (leader, term) = given.await_status("a leader in dc-a", |status| {
            let shard = &status["shards"][0];
            let leader = shard["leader"].as_str().filter(|pod| pod.contains("dc-a"))?;
            Some((leader.to_owned(), shard["term"].clone()))
        })?;
        let acknowledged = write_into_a_cut(given, &leader)?;
        let failover = given.await_status("the loss in the report", |status| {
            let failovers = status["failovers"].as_array()?;
            let of_term = failovers.iter().find(|f| f["shard"] == 0 && f["oldTerm"] == term)?;
            of_term["lostWrites"].is_number().then(|| of_term.clone())
        })?;
        given.await_ready(3)?;
        let lost = missing(given, acknowledged)?;
        println!("Async: {acknowledged} acknowledged, {} of them lost: {failover}", lost.len());
        // One more may have been on its way to an answer.
        let told = failover["lostWrites"].as_u64().context("the report counts")?;
        let found = lost.len() as u64;
        ensure!((found..=found + 1).contains(&told), "{found} are lost, {told} are reported");
        ensure!(found > 0, "the cut came too late to lose anything");
        given.await_event("WritesRolledBack", "shard 0")?;

        let file = failover["rollbackFiles"][0].as_str().context("the report names the file")?;
        let name = file.rsplit_once('/').context("pod and name")?.1;
        println!("{}", given.quorate(&["rollback", "list", STORE])?);
        let shown = given.quorate(&["rollback", "show", STORE, name])?;
        ensure!(shown.lines().count() as u64 == told, "{told} lines, not {shown}");
        for number in &lost {
            ensure!(shown.contains(&format!("{TAG}:{number}\"")), "{number} is not in {shown}");
        }
        println!("{}", given.quorate(&["rollback", "replay", STORE, name])?);
        let still = missing(given, acknowledged)?;
        ensure!(still.is_empty(), "{still:?} are missing after the replay");
        given.quorate(&["rollback", "delete", STORE, name])?;
        given.await_status("no file", |status| status["rollbacks"].is_null().then_some(()))
    });
}

/// One client writes to the leader, one key after the other, while what the leader sends to the others is dropped: it
/// acknowledges until it hears of its successor. Answers how many were acknowledged.
fn write_into_a_cut(given: &Scenario, leader: &str) -> Result<usize> {
    let mut writer = Writer::start(given, leader)?;
    let stop = AtomicBool::new(false);
    let faults = given.faults()?;
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| writer.write_until(&stop));
        let cut = (|| {
            faults.cut_direction("dc-a", "dc-b")?;
            faults.cut_direction("dc-a", "dc-c")
        })();
        std::thread::sleep(CUT);
        stop.store(true, Ordering::Relaxed);
        // The last write waits for an answer that only the healed network can bring.
        let healed = (|| {
            faults.heal_direction("dc-a", "dc-b")?;
            faults.heal_direction("dc-a", "dc-c")
        })();
        let written = writing.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
        cut.and(healed)?;
        written
    })
}

struct Writer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Writer {
    fn start(given: &Scenario, pod: &str) -> Result<Self> {
        let host = given.address_of(pod)?;
        let mut cli = given.redis_client("redis-cli", &host)?;
        cli.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = cli.spawn().context("start redis-cli")?;
        let input = child.stdin.take().context("its input is piped")?;
        let output = BufReader::new(child.stdout.take().context("its output is piped")?);
        Ok(Self { child, input, output })
    }

    /// Writes keys 0, 1, 2 and so on until one is not acknowledged, or until told to stop.
    fn write_until(&mut self, stop: &AtomicBool) -> Result<usize> {
        let mut acknowledged = 0;
        while !stop.load(Ordering::Relaxed) {
            writeln!(self.input, "SET {TAG}:{acknowledged} {acknowledged}")?;
            let mut answer = String::new();
            self.output.read_line(&mut answer)?;
            if answer.trim() != "OK" {
                break;
            }
            acknowledged += 1;
        }
        Ok(acknowledged)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The numbers below `count` whose keys are not there.
fn missing(given: &Scenario, count: usize) -> Result<Vec<usize>> {
    let host = given.address_of(&given.leader()?)?;
    let asked: String = (0..count).map(|number| format!("EXISTS {TAG}:{number}\n")).collect();
    let said = command::output_of_input(&mut given.redis_client("redis-cli", &host)?, &asked)?;
    let answers: Vec<&str> = said.lines().map(str::trim).collect();
    ensure!(answers.len() == count, "{} answers to {count} questions", answers.len());
    Ok(answers.iter().enumerate().filter(|(_, answer)| **answer == "0").map(|(n, _)| n).collect())
}
