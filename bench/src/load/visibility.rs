//! When a reader somewhere else sees what was written here.
//!
//! An open loop of writes, each to a key of its own for long, by writers in turn, so that a slow one holds up no other. The reader
//! looks for the one that was acknowledged first of those that it has not seen. It begins to look when one could be there at the earliest, so that looking costs little, and then does so
//! every millisecond.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval};

use super::Target;
use super::client::{Client, Protocol};
use super::recorder::{Latencies, Recorder};

const LOOKED_FOR_EVERY: Duration = Duration::from_millis(1);
const SEEN_TIMEOUT: Duration = Duration::from_secs(60);
const WRITERS: u32 = 16;
/// Written and not seen.
const OUTSTANDING_MAX: usize = 10_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Where is written and where is read, in turn to these keys, which nobody else writes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) writer: String,
    pub(crate) reader: String,
    pub(crate) keys: Vec<Bytes>,
    pub(crate) per_second: f64,
    /// What is written is not there before.
    pub(crate) one_way: Duration,
}

/// Until a reader sees a write, in microseconds.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Seen {
    /// Since it was to be sent.
    pub(crate) since_sent: Latencies,
    pub(crate) since_acknowledged: Latencies,
}

#[derive(Debug)]
pub(crate) struct Visibility {
    stop: Arc<AtomicBool>,
    recorders: Arc<Recorders>,
    thread: JoinHandle<Result<()>>,
}

#[derive(Debug, Default)]
struct Recorders {
    since_sent: Recorder,
    since_acknowledged: Recorder,
}

#[derive(Debug)]
struct Written {
    sent: Instant,
    acknowledged: Instant,
    key: Bytes,
    value: Bytes,
}

impl Visibility {
    /// Returns once both are connected.
    pub(crate) fn start(plan: Plan) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let recorders = Arc::new(Recorders::default());
        let (connected, all_connected) = std::sync::mpsc::channel();
        let thread = {
            let (stop, recorders) = (Arc::clone(&stop), Arc::clone(&recorders));
            std::thread::Builder::new().name("visibility".to_owned()).spawn(move || {
                let all = run(plan, stop, recorders, connected);
                tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(all)
            })?
        };
        if all_connected.recv_timeout(CONNECT_TIMEOUT).is_err() {
            bail!("the writer and the reader did not connect");
        }
        Ok(Self { stop, recorders, thread })
    }

    /// From here on it is kept.
    pub(crate) fn record(&self) {
        self.recorders.since_sent.begin();
        self.recorders.since_acknowledged.begin();
    }

    /// Waits until the last write is seen.
    pub(crate) fn finish(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the visibility's thread panicked"))??;
        Ok(Seen {
            since_sent: self.recorders.since_sent.take(),
            since_acknowledged: self.recorders.since_acknowledged.take(),
        })
    }
}

/// Writes every key of the target once, as its own value.
pub(crate) fn mark_all(target: &Target) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        for place in &target.places {
            let mut client = Client::connect(target.protocol, &place.address).await?;
            for key in place.keys.iter() {
                client.set(key, key).await?;
            }
        }
        Ok(())
    })
}

async fn run(
    plan: Plan,
    stop: Arc<AtomicBool>,
    recorders: Arc<Recorders>,
    connected: std::sync::mpsc::Sender<()>,
) -> Result<()> {
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        writers.push(Client::connect(Protocol::Resp, &plan.writer).await?);
    }
    let reader = Client::connect(Protocol::Resp, &plan.reader).await?;
    // Nobody waits any more when starting took too long.
    connected.send(()).ok();
    let (written, outstanding) = mpsc::channel(OUTSTANDING_MAX);
    let between = Duration::from_secs_f64(1.0 / plan.per_second);
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for (number, writer) in (0..WRITERS).zip(writers) {
        let tick = tokio::time::interval_at(begin + between * number, between * WRITERS);
        let keys = plan.keys.iter().skip(number as usize).step_by(WRITERS as usize);
        let keys = keys.cloned().collect();
        tasks.spawn(write(tick, keys, writer, Arc::clone(&stop), written.clone()));
    }
    drop(written);
    tasks.spawn(look(reader, plan.one_way, recorders, outstanding));
    while let Some(ended) = tasks.join_next().await {
        ended.context("a task of the visibility")??;
    }
    Ok(())
}

async fn write(
    mut tick: Interval,
    keys: Vec<Bytes>,
    mut writer: Client,
    stop: Arc<AtomicBool>,
    written: mpsc::Sender<Written>,
) -> Result<()> {
    for (number, key) in keys.iter().cycle().enumerate() {
        let sent = tick.tick().await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let value = Bytes::from(number.to_string());
        writer.set(key, &value).await?;
        let (acknowledged, key) = (Instant::now(), key.clone());
        // A reader that ended says why.
        written.send(Written { sent, acknowledged, key, value }).await.ok();
    }
    Ok(())
}

async fn look(
    mut reader: Client,
    one_way: Duration,
    recorders: Arc<Recorders>,
    mut outstanding: mpsc::Receiver<Written>,
) -> Result<()> {
    while let Some(Written { sent, acknowledged, key, value }) = outstanding.recv().await {
        tokio::time::sleep_until(sent + one_way).await;
        while reader.get(&key).await?.as_ref() != Some(&value) {
            if sent.elapsed() > SEEN_TIMEOUT {
                bail!("a write was not seen in {} s", SEEN_TIMEOUT.as_secs());
            }
            tokio::time::sleep(LOOKED_FOR_EVERY).await;
        }
        recorders.since_sent.done_in(sent.elapsed(), 1);
        recorders.since_acknowledged.done_in(acknowledged.elapsed(), 1);
    }
    Ok(())
}
