//! One writer and one reader for each key, over one cluster client.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use redis::AsyncCommands;
use tokio::io::AsyncReadExt;
use tokio::sync::Mutex;

use crate::client::{Client, RESPONSE_TIMEOUT};
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
        let Err(error) = answer else { return self.client.heard() };
        {
            let mut errors = self.errors.lock().await;
            if errors.len() == ERRORS_KEPT {
                errors.pop_front();
            }
            errors.push_back(error.to_string());
        }
        self.client.failed().await;
    }
}

/// Runs until standard input ends, then waits up to `settle` until every key can be read.
pub(crate) async fn run(nodes: Vec<String>, keys: u32, settle: Duration) -> anyhow::Result<Report> {
    let client = Client::connect(nodes).await.context("connect")?;
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
        let sent = Instant::now();
        let answer: redis::RedisResult<()> =
            shared.client.connection().await.set(&name, value).await;
        shared.note(&answer).await;
        let mut history = shared.histories[key].lock().await;
        match answer {
            // Slower than one attempt may take: the client library tried again and both may have arrived.
            Ok(()) => history.acknowledge(value, sent.elapsed() >= RESPONSE_TIMEOUT / 2),
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
        let answer: redis::RedisResult<Option<u64>> =
            shared.client.connection().await.get(&name).await;
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
    for history in &shared.histories {
        let mut history = history.lock().await;
        let name = history.key().to_owned();
        let floor = history.read_begins();
        loop {
            let answer: redis::RedisResult<Option<u64>> =
                shared.client.connection().await.get(&name).await;
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
