//! The load generator: closed loops of N clients that keep D operations each in flight, or an open loop at a rate.
//!
//! It runs in one thread with a runtime of its own, so that it costs the same whoever is measured, and takes at most
//! one core. The same code for every system.

mod cassandra;
mod client;
mod etcd;
pub(crate) mod keys;
mod multiplexed;
mod preload;
pub(crate) mod probe;
mod protobuf;
mod recorder;
mod resp;
mod schedule;
pub(crate) mod visibility;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;

pub(crate) use cassandra::{is_cassandra_whole, prepare_cassandra};
pub(crate) use client::{Operation, Protocol};
pub(crate) use preload::preload;
pub(crate) use recorder::{Latencies, Recorder};
pub(crate) use resp::{Reply, Resp};
use schedule::Schedule;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Starts that a client of an open loop may be behind before they count as lost.
const BEHIND_MAX: usize = 100_000;

/// Where clients connect, and with which keys; the clients are dealt out over the places in turn, as
/// `redis-benchmark --cluster` does it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) protocol: Protocol,
    pub(crate) places: Vec<Place>,
}

#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) address: String,
    pub(crate) keys: Arc<[Bytes]>,
}

impl Target {
    /// Each of the first `count` places with a part of the keys that all of them have.
    pub(crate) fn divided(&self, count: usize) -> Self {
        let part = |(at, place): (usize, &Place)| Place {
            keys: place.keys.iter().skip(at).step_by(count).cloned().collect(),
            ..place.clone()
        };
        Self {
            places: self.places.iter().take(count).enumerate().map(part).collect(),
            ..self.clone()
        }
    }
}

/// What the clients do.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shape {
    pub(crate) operation: Operation,
    /// What half of the operations are instead, at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alternative: Option<Operation>,
    pub(crate) clients: usize,
    /// Clients that share a connection, as the callers of a client library do: etcd's gives each a stream, those of Redis
    /// send what is asked for meanwhile and hand the replies out in order.
    pub(crate) sharing: usize,
    /// Operations that a client has in flight at once.
    pub(crate) depth: usize,
    /// The open loop's operations a second; `None` is the closed loop.
    pub(crate) rate: Option<f64>,
    /// How long a client waits for an answer before it asks the next place, once; `None` waits for ever and asks nobody else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) patience: Option<Duration>,
}

impl Shape {
    /// Each client with a connection of its own and one operation in flight.
    pub(crate) const fn closed(operation: Operation, clients: usize) -> Self {
        let (alternative, rate, patience) = (None, None, None);
        Self { operation, alternative, clients, sharing: 1, depth: 1, rate, patience }
    }
}

/// A load under way.
#[derive(Debug)]
pub(crate) struct Load {
    recorder: Arc<Recorder>,
    stop: Arc<AtomicBool>,
    clients: JoinHandle<Result<()>>,
    pacer: Option<JoinHandle<u64>>,
}

impl Load {
    /// Starts the clients; returns when all are connected.
    pub(crate) fn start(target: &Target, shape: Shape) -> Result<Self> {
        let recorder = Arc::new(Recorder::default());
        let stop = Arc::new(AtomicBool::new(false));
        let (connected, all_connected) = std::sync::mpsc::channel();
        let (mut senders, mut starts) = (Vec::new(), Vec::new());
        if shape.rate.is_some() {
            (senders, starts) =
                (0..shape.clients).map(|_| tokio::sync::mpsc::channel(BEHIND_MAX)).unzip();
        }
        let clients = {
            let (target, recorder, stop) =
                (target.clone(), Arc::clone(&recorder), Arc::clone(&stop));
            std::thread::Builder::new().name("load".to_owned()).spawn(move || {
                let all = worker::run(&target, shape, &recorder, &stop, connected, starts);
                tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(all)
            })?
        };
        if all_connected.recv_timeout(CONNECT_TIMEOUT).is_err() {
            stop.store(true, Ordering::Relaxed);
            if clients.is_finished() {
                clients.join().map_err(|_| anyhow::anyhow!("the load's thread panicked"))??;
            }
            bail!("the clients did not connect");
        }
        let pacer = shape.rate.map(|per_second| {
            let stop = Arc::clone(&stop);
            let schedule = Schedule { begin: Instant::now(), per_second };
            std::thread::spawn(move || schedule::pace(schedule, &senders, &stop))
        });
        Ok(Self { recorder, stop, clients, pacer })
    }

    /// From here on latencies are kept.
    pub(crate) fn record(&self) {
        self.recorder.begin();
    }

    /// Operations done since the clients started.
    pub(crate) fn done(&self) -> u64 {
        self.recorder.done()
    }

    /// Why the first of the operations that failed did.
    pub(crate) fn reason(&self) -> Option<String> {
        self.recorder.reason()
    }

    /// What was recorded since `record`, and starts anew.
    pub(crate) fn take(&self) -> Latencies {
        self.recorder.take()
    }

    /// Stops the clients and says what was recorded.
    pub(crate) fn finish(self) -> Result<Latencies> {
        let latencies = self.recorder.take();
        self.stop.store(true, Ordering::Relaxed);
        if let Some(pacer) = self.pacer {
            let lost = pacer.join().map_err(|_| anyhow::anyhow!("the pacer panicked"))?;
            if lost > 0 {
                bail!("{lost} operations of the open loop were never started");
            }
        }
        let ended =
            self.clients.join().map_err(|_| anyhow::anyhow!("the load's thread panicked"))?;
        ended.context("a client of the load")?;
        Ok(latencies)
    }
}

/// What one member of etcd itself holds, whatever the others do.
pub(crate) fn serializable_get(address: &str, key: &Bytes) -> Result<Option<Bytes>> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async { etcd::Etcd::connect(address).await?.get(key, true).await })
}
