//! A stream of writes of which each can be told apart: finds the gap in a system's service, and what it lost.
//!
//! An open loop over many connections to nodes that stay: a write that hangs keeps its own connection only, so the
//! first write that succeeds again is seen whatever the earlier ones wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::client::{Client, Protocol};

/// More than are started in the longest gap that is looked for.
const WORKERS: usize = 768;
/// Streams of one etcd connection; its server allows more.
const STREAMS: usize = 64;
const QUEUE: usize = 100_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const WRITE_TIMEOUT: Duration = Duration::from_secs(6);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Where the writes go and which keys they take, in order, each once.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) protocol: Protocol,
    pub(crate) addresses: Vec<String>,
    pub(crate) keys: Vec<Bytes>,
    pub(crate) per_second: f64,
}

/// What became of the writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acknowledged {
    /// When each acknowledgement came, in order, and for which key.
    pub(crate) acks: Vec<(Instant, Bytes)>,
    pub(crate) failed: usize,
}

#[derive(Debug)]
pub(crate) struct Probe {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<Acknowledged>>,
}

impl Probe {
    /// Returns once every connection is there.
    pub(crate) fn start(plan: Plan) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (connected, all_connected) = std::sync::mpsc::channel();
        let thread = {
            let stop = Arc::clone(&stop);
            std::thread::Builder::new().name("probe".to_owned()).spawn(move || {
                let all = run(plan, stop, connected);
                tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(all)
            })?
        };
        if all_connected.recv_timeout(CONNECT_TIMEOUT).is_err() {
            bail!("the probe's clients did not connect");
        }
        Ok(Self { stop, thread })
    }

    pub(crate) fn finish(self) -> Result<Acknowledged> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the probe panicked"))?
    }
}

async fn run(
    plan: Plan,
    stop: Arc<AtomicBool>,
    connected: std::sync::mpsc::Sender<()>,
) -> Result<Acknowledged> {
    let (starts, queue) = mpsc::channel::<Bytes>(QUEUE);
    let queue = Arc::new(Mutex::new(queue));
    let (report, mut reports) = mpsc::channel(QUEUE);
    let mut workers = JoinSet::new();
    let mut shared: Vec<Option<Client>> = vec_of_none(plan.addresses.len());
    for number in 0..WORKERS {
        let at = number % plan.addresses.len();
        let address = plan.addresses[at].clone();
        let client = match (&shared[at], (number / plan.addresses.len()).is_multiple_of(STREAMS)) {
            (Some(shared), false) => shared.shared(),
            (None, _) | (Some(_), true) => None,
        };
        let client = match client {
            Some(client) => client,
            None => Client::connect(plan.protocol, &address).await?,
        };
        shared[at] = client.shared();
        let (queue, report) = (Arc::clone(&queue), report.clone());
        workers.spawn(worker(client, plan.protocol, address, queue, report));
    }
    drop(report);
    // Nobody waits any more when starting took too long.
    connected.send(()).ok();
    let pacer = tokio::spawn(pace(plan.keys, plan.per_second, starts, stop));
    let mut acknowledged = Acknowledged::default();
    while let Some(ack) = reports.recv().await {
        match ack {
            Some(ack) => acknowledged.acks.push(ack),
            None => acknowledged.failed += 1,
        }
    }
    pacer.await.context("the pacer")??;
    acknowledged.acks.sort_by_key(|(at, _)| *at);
    Ok(acknowledged)
}

fn vec_of_none(count: usize) -> Vec<Option<Client>> {
    (0..count).map(|_| None).collect()
}

/// To the millisecond, which is what the runtime's timer keeps: a gap is measured from acknowledgements, not from here.
async fn pace(
    keys: Vec<Bytes>,
    per_second: f64,
    starts: mpsc::Sender<Bytes>,
    stop: Arc<AtomicBool>,
) -> Result<()> {
    let mut tick = tokio::time::interval(Duration::from_secs_f64(1.0 / per_second));
    for key in keys {
        tick.tick().await;
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        starts.try_send(key).context("the probe's clients are all stuck")?;
    }
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
    }
    bail!("the probe ran out of keys")
}

async fn worker(
    mut client: Client,
    protocol: Protocol,
    address: String,
    queue: Arc<Mutex<mpsc::Receiver<Bytes>>>,
    report: mpsc::Sender<Option<(Instant, Bytes)>>,
) {
    loop {
        let Some(key) = queue.lock().await.recv().await else { return };
        // The key is its own value: what is read back is surely this write.
        let written = tokio::time::timeout(WRITE_TIMEOUT, client.set(&key, &key)).await;
        let ack = matches!(written, Ok(Ok(()))).then(|| (Instant::now(), key));
        let failed = ack.is_none();
        if report.send(ack).await.is_err() {
            return;
        }
        if failed {
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            if let Ok(again) = Client::connect(protocol, &address).await {
                client = again;
            }
        }
    }
}

impl Acknowledged {
    /// The longest time between two acknowledgements that follow each other, of which the later is after `from`.
    pub(crate) fn gap(&self, from: Instant) -> Option<Duration> {
        self.acks
            .windows(2)
            .filter(|two| two[1].0 >= from)
            .map(|two| two[1].0.duration_since(two[0].0))
            .max()
    }
}

/// The keys of these that the store does not hold any more.
pub(crate) fn missing(protocol: Protocol, address: &str, keys: &[Bytes]) -> Result<Vec<Bytes>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut client = Client::connect(protocol, address).await?;
        let mut missing = Vec::new();
        for key in keys {
            if client.get(key).await?.as_ref() != Some(key) {
                missing.push(key.clone());
            }
        }
        Ok(missing)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_the_longest_pause_that_ends_after_the_fault() {
        let zero = Instant::now();
        let ms = |ms| zero + Duration::from_millis(ms);
        let acks = [0, 300, 301, 302, 500, 501].map(|at| (ms(at), Bytes::new())).to_vec();
        let acknowledged = Acknowledged { acks, failed: 0 };
        assert_eq!(acknowledged.gap(ms(302)), Some(Duration::from_millis(198)));
        assert_eq!(acknowledged.gap(ms(10)), Some(Duration::from_millis(300)));
        assert_eq!(acknowledged.gap(ms(600)), None);
    }
}
