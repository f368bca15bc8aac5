//! The clients themselves, as tasks of one thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;

use super::client::{Client, Operation, Protocol};
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
        for (number, mut connected) in connect(&target, shape).await?.into_iter().enumerate() {
            let (place, client) = connected.pop_front().context("a client has a place")?;
            let mut random = ChaCha8Rng::seed_from_u64(number as u64);
            workers.push(Worker {
                client,
                values: (0..VALUES).map(|_| keys::value(&mut random)).collect(),
                random,
                protocol: target.protocol,
                place,
                others: connected,
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

/// For each client its place; with patience the others too, in the order in which it tries them.
async fn connect(target: &Target, shape: Shape) -> Result<Vec<VecDeque<(Place, Client)>>> {
    let places = target.places.len();
    let tried = if shape.patience.is_some() { places } else { 1 };
    let mut shared: Vec<Option<Client>> = (0..places).map(|_| None).collect();
    let mut all = Vec::new();
    for number in 0..connections(target, shape) {
        let mut connected = VecDeque::with_capacity(tried);
        for at in (number..number + tried).map(|at| at % places) {
            let place = target.places[at].clone();
            let first = match target.protocol {
                Protocol::Resp | Protocol::Cassandra => false,
                // The first of those that share a connection makes it.
                Protocol::Etcd => (number / places).is_multiple_of(shape.sharing),
            };
            let client = shared[at].as_ref().filter(|_| !first).and_then(Client::shared);
            let client = match client {
                Some(client) => client,
                None => Client::connect(target.protocol, &place.address).await?,
            };
            shared[at] = client.shared();
            connected.push_back((place, client));
        }
        all.push(connected);
    }
    Ok(all)
}

/// Clients of Redis's protocol that share a connection are one worker, which keeps an operation in flight for each.
fn connections(target: &Target, shape: Shape) -> usize {
    match target.protocol {
        Protocol::Resp => shape.clients.div_ceil(shape.sharing),
        Protocol::Etcd | Protocol::Cassandra => shape.clients,
    }
}

pub(super) struct Worker {
    pub(super) client: Client,
    protocol: Protocol,
    place: Place,
    /// Connected, for the day when the place does not answer.
    others: VecDeque<(Place, Client)>,
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
        let (operation, key, value) = self.draw();
        let mut keys = vec![key];
        keys.extend((1..self.shape.depth).map(|_| self.draw_key()));
        let mut outcome = self.attempt(operation, &keys, &value).await;
        if outcome.is_err() && self.move_on() {
            self.recorder.retried();
            outcome = self.attempt(operation, &keys, &value).await;
        }
        match outcome {
            Ok(()) => self.recorder.done_in(start.elapsed(), self.shape.depth),
            Err(error) => {
                self.recorder.failed(&error);
                self.reconnect().await;
            }
        }
    }

    async fn attempt(&mut self, operation: Operation, keys: &[Bytes], value: &Bytes) -> Result<()> {
        let keys: Vec<&Bytes> = keys.iter().collect();
        let exchange = self.client.exchange(operation, &keys, value);
        let Some(patience) = self.shape.patience else { return exchange.await };
        match tokio::time::timeout(patience, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => bail!("no answer in {} ms", patience.as_millis()),
        }
    }

    /// To the next place, for good; `false` when there is none.
    fn move_on(&mut self) -> bool {
        let Some((place, client)) = self.others.pop_front() else { return false };
        (self.place, self.client) = (place, client);
        true
    }

    /// What to do, with which key, and a value for it.
    pub(super) fn draw(&mut self) -> (Operation, Bytes, Bytes) {
        let operation = match self.shape.alternative {
            Some(alternative) if self.random.random() => alternative,
            Some(_) | None => self.shape.operation,
        };
        let value = self.random.random_range(0..VALUES);
        (operation, self.draw_key(), self.values[value].clone())
    }

    fn draw_key(&mut self) -> Bytes {
        let key = self.random.random_range(0..self.place.keys.len());
        self.place.keys[key].clone()
    }

    pub(super) async fn reconnect(&mut self) {
        tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        if let Ok(client) = Client::connect(self.protocol, &self.place.address).await {
            self.client = client;
        }
    }
}
