//! One writer and one reader for each key, over one client.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use redis::cmd;
use tokio::io::AsyncReadExt;
use tokio::sync::Mutex;

use crate::client::{Client, Sent};
use crate::history::History;
use crate::report::Report;

const PAUSE: Duration = Duration::from_millis(5);
const ERRORS_KEPT: usize = 5;

struct Shared {
    client: Client,
    histories: Vec<Mutex<History>>,
    errors: Mutex<VecDeque<String>>,
    stop: AtomicBool,
}

impl Shared {
    async fn note<T>(&self, answer: &redis::RedisResult<T>) {
        let Err(error) = answer else { return };
        let mut errors = self.errors.lock().await;
        if errors.len() == ERRORS_KEPT {
            errors.pop_front();
        }
        errors.push_back(error.to_string());
    }
}

/// Runs until standard input ends, then waits up to `settle` until every key can be read.
pub(crate) async fn run(client: Client, keys: u32, settle: Duration) -> anyhow::Result<Report> {
    // Keys of this run's own: what an earlier one wrote to the same store is none of its history.
    let run: u32 = rand::random();
    let histories =
        (0..keys).map(|key| Mutex::new(History::new(format!("load:{run:08x}:{key}")))).collect();
    let shared = Arc::new(Shared {
        client,
        histories,
        errors: Mutex::new(VecDeque::new()),
        stop: AtomicBool::new(false),
    });
    let started = Instant::now();
    let mut tasks = Vec::new();
    for key in 0..keys as usize {
        tasks.push(tokio::spawn(write(Arc::clone(&shared), key)));
        tasks.push(tokio::spawn(read(Arc::clone(&shared), key)));
    }
    await_first_writes(&shared).await;
    #[expect(clippy::print_stdout, reason = "whoever started this program waits for the word")]
    {
        println!("ready");
    }
    let mut rest = Vec::new();
    tokio::io::stdin()
        .read_to_end(&mut rest)
        .await
        .context("wait for the end of standard input")?;
    shared.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.context("join a client")?;
    }
    let run_ms = millis(started.elapsed());
    read_all_once(&shared, settle).await;
    Ok(summary(&shared, keys, run_ms).await)
}

async fn await_first_writes(shared: &Shared) {
    for history in &shared.histories {
        while history.lock().await.writes == 0 {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn write(shared: Arc<Shared>, key: usize) {
    while !shared.stop.load(Ordering::Relaxed) {
        let (name, value) = {
            let mut history = shared.histories[key].lock().await;
            (history.key().to_owned(), history.send())
        };
        let set = cmd("SET").arg(&name).arg(value).to_owned();
        let (answer, sent) = shared.client.ask::<()>(&set, key).await;
        shared.note(&answer).await;
        let mut history = shared.histories[key].lock().await;
        match answer {
            Ok(()) => history.acknowledge(value, sent == Sent::PerhapsMore),
            Err(_) => history.unanswered(value),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn read(shared: Arc<Shared>, key: usize) {
    while !shared.stop.load(Ordering::Relaxed) {
        let (name, floor) = {
            let history = shared.histories[key].lock().await;
            (history.key().to_owned(), history.read_begins())
        };
        let get = cmd("GET").arg(&name).to_owned();
        let (answer, _) = shared.client.ask::<Option<u64>>(&get, key).await;
        shared.note(&answer).await;
        let mut history = shared.histories[key].lock().await;
        match answer {
            Ok(found) => history.read_ends(floor, found),
            Err(_) => history.failed_reads += 1,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Every acknowledged write must still be there once the store answers again.
async fn read_all_once(shared: &Shared, settle: Duration) {
    let deadline = Instant::now() + settle;
    for (key, history) in shared.histories.iter().enumerate() {
        let mut history = history.lock().await;
        let name = history.key().to_owned();
        let get = cmd("GET").arg(&name).to_owned();
        let floor = history.read_begins();
        loop {
            let (answer, _) = shared.client.ask::<Option<u64>>(&get, key).await;
            shared.note(&answer).await;
            match answer {
                Ok(found) => break history.read_ends(floor, found),
                Err(error) if Instant::now() > deadline => {
                    history.violations.push(format!("{name}: cannot be read any more: {error}"));
                    break;
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

async fn summary(shared: &Shared, keys: u32, run_ms: u64) -> Report {
    let mut report = Report { keys, run_ms, ..Report::default() };
    for history in &shared.histories {
        let history = history.lock().await;
        report.acknowledged_writes += history.writes;
        report.unknown_writes += history.unknown_writes();
        report.reads += history.reads;
        report.failed_reads += history.failed_reads;
        report.failed_writes += history.failed_writes;
        report.violations.extend(history.violations.iter().cloned());
        if millis(history.longest_gap) > report.longest_gap_ms {
            report.longest_gap_ms = millis(history.longest_gap);
            report.longest_gap_began_ms = millis(history.longest_gap_began);
        }
    }
    report.clients_replaced = shared.client.replaced();
    report.last_errors = shared.errors.lock().await.iter().cloned().collect();
    report
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
