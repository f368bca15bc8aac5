//! The clients themselves, as tasks of one thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;

use super::client::{Client, Protocol};
use super::{Place, Recorder, Shape, Target, keys, multiplexed};

/// Values drawn before the clock runs; each operation takes one of them.
const VALUES: usize = 64;
/// Between a failure and the next attempt, so that a refused client does not spin.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);

pub(super) fn run(
    target: &Target,
    shape: Shape,
    recorder: &Arc<Recorder>,
    stop: &Arc<AtomicBool>,
    connected: std::sync::mpsc::Sender<()>,
    mut starts: Vec<Receiver<Instant>>,
) -> impl Future<Output = Result<()>> + use<> {
    let (target, recorder, stop) = (target.clone(), Arc::clone(recorder), Arc::clone(stop));
    async move {
        let mut workers = Vec::new();
        for (number, client) in connect(&target, shape).await?.into_iter().enumerate() {
            let place = target.places[number % target.places.len()].clone();
            let mut random = ChaCha8Rng::seed_from_u64(number as u64);
            workers.push(Worker {
                client,
                values: (0..VALUES).map(|_| keys::value(&mut random)).collect(),
                random,
                protocol: target.protocol,
                place,
                shape,
                recorder: Arc::clone(&recorder),
                stop: Arc::clone(&stop),
            });
        }
        let mut tasks = JoinSet::new();
        starts.reverse();
        for worker in workers {
            match starts.pop() {
                None if shape.sharing > 1 && target.protocol == Protocol::Resp => {
                    tasks.spawn(multiplexed::run(worker))
                }
                None => tasks.spawn(worker.closed()),
                Some(starts) => tasks.spawn(worker.open(starts)),
            };
        }
        // Nobody waits any more when starting took too long.
        connected.send(()).ok();
        while let Some(ended) = tasks.join_next().await {
            ended.context("a client's task")?;
        }
        Ok(())
    }
}

async fn connect(target: &Target, shape: Shape) -> Result<Vec<Client>> {
    let clients = connections(target, shape);
    let mut made: Vec<Client> = Vec::with_capacity(clients);
    let places = target.places.len();
    for number in 0..clients {
        let shared = match target.protocol {
            Protocol::Resp => None,
            // The first of those that share a connection makes it.
            Protocol::Etcd => {
                let turn = number / places;
                let first = turn - turn % shape.sharing;
                Some(first * places + number % places).filter(|first| *first != number)
            }
        };
        made.push(match shared.map(|first| &made[first]) {
            Some(Client::Etcd(etcd)) => Client::Etcd(etcd.clone()),
            Some(Client::Resp(_)) | None => {
                Client::connect(target.protocol, &target.places[number % places].address).await?
            }
        });
    }
    Ok(made)
}

/// Clients of Redis's protocol that share a connection are one worker, which keeps an operation in flight for each.
fn connections(target: &Target, shape: Shape) -> usize {
    match target.protocol {
        Protocol::Resp => shape.clients.div_ceil(shape.sharing),
        Protocol::Etcd => shape.clients,
    }
}

pub(super) struct Worker {
    pub(super) client: Client,
    protocol: Protocol,
    place: Place,
    pub(super) shape: Shape,
    pub(super) recorder: Arc<Recorder>,
    pub(super) stop: Arc<AtomicBool>,
    random: ChaCha8Rng,
    values: Vec<Bytes>,
}

impl Worker {
    async fn closed(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let start = Instant::now();
            self.operate(start).await;
        }
    }

    /// Ends when the pacer does.
    async fn open(mut self, mut starts: Receiver<Instant>) {
        while let Some(start) = starts.recv().await {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            self.operate(start).await;
        }
    }

    async fn operate(&mut self, start: Instant) {
        let pool = Arc::clone(&self.place.keys);
        let chosen: Vec<&Bytes> =
            (0..self.shape.depth).map(|_| &pool[self.random.random_range(0..pool.len())]).collect();
        let value = &self.values[self.random.random_range(0..VALUES)];
        match self.client.exchange(self.shape.operation, &chosen, value).await {
            Ok(()) => self.recorder.done_in(start.elapsed(), self.shape.depth),
            Err(error) => {
                self.recorder.failed(&error);
                self.reconnect().await;
            }
        }
    }

    /// A key and a value for one operation.
    pub(super) fn draw(&mut self) -> (Bytes, Bytes) {
        let key = self.random.random_range(0..self.place.keys.len());
        let value = self.random.random_range(0..VALUES);
        (self.place.keys[key].clone(), self.values[value].clone())
    }

    pub(super) async fn reconnect(&mut self) {
        tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        if let Ok(client) = Client::connect(self.protocol, &self.place.address).await {
            self.client = client;
        }
    }
}
