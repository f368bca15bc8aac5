//! One connection as one task: reads, dispatches, gathers answers, writes.
//!
//! Bounds: what is unanswered is limited in number and in bytes; at a limit the connection is not read until some of
//! it is answered and taken by the client. Answers that are ready together leave in one write.

mod alone;
mod crossing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use quorate_group::host::{Failure, ReadLevel};
use quorate_group::{Operation, Value, Version};
use quorate_model::{ReadPreference, ShardId, Slot};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crossing::Arrival;

use super::budget::Permit;
use super::counters::add;
use super::dispatch::{Action, Alone, Dispatcher, Run, State};
use super::keyspace::Durability;
use super::order::{Access, Order};
use super::promises::Learnt;
use super::queue::{Audible, Queue, Sequence};
use super::registry::Client;
use super::route::Replicas;
use super::{
    Answer, Ends, Execute, Port, Reach, Routing, SessionAnswer, SessionRead, Sessions, Sight,
    Store, authorize, failure, route,
};
use crate::resp::commands::{DurabilityOption, ReplyMode};
use crate::resp::{Parser, Reply, Request};

/// How much is read at once, at least.
const READ_BYTES: usize = 16 << 10;
/// How much room is made ahead for a long argument that is on its way.
const READ_AHEAD_BYTES_MAX: usize = 1 << 20;
/// A half-read request up to this length is not counted against the node's bytes.
const UNCOUNTED_BYTES: usize = 64 << 10;

pub(super) struct Connection<S: Store, R, W> {
    sessions: Arc<Sessions<S>>,
    client: Arc<Client>,
    port: Port,
    reader: R,
    writer: W,
    input: BytesMut,
    output: BytesMut,
    parser: Parser,
    /// For the request that is half read.
    half_read: Permit,
    state: State,
    queue: Queue,
    order: Order<Started>,
    running: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// In their order: what waits, for each shard, until what the session brought from another datacenter is here.
    arriving: BTreeMap<ShardId, Vec<Started>>,
    alone: Option<(Sequence, Alone)>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    /// Nothing more is read; what is in flight is answered.
    Closing,
}

/// An operation that is to be started.
#[derive(Debug)]
struct Started {
    sequence: Sequence,
    access: Access,
    run: Run,
}

/// What was under way and is so no more.
enum Ended {
    Done(Done),
    Arrived(Arrival),
}

struct Done {
    sequence: Sequence,
    reply: Reply,
    /// The slot that is free for what waits for it; `None` for what ran alone.
    slot: Option<Slot>,
    learnt: Vec<Learnt>,
    watched: Watched,
}

/// What a WATCH came to.
#[derive(Debug)]
enum Watched {
    Nothing,
    Keys(Vec<(Bytes, Version)>),
    Failed,
}

/// Where a read goes.
#[derive(Debug)]
enum Way {
    /// Nothing is promised beyond what the routing gives.
    AsRouted,
    /// To the leader, for this read.
    Leader,
    Replica(SessionRead),
}

/// Why no further request was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Taken {
    /// More bytes are needed.
    All,
    /// A bound is reached, or something runs alone.
    Enough,
}

enum Event {
    Read(std::io::Result<usize>),
    Written(std::io::Result<usize>),
    Ended(Option<Ended>),
    Shutdown,
    Gone,
}

impl<S: Store, R, W> Connection<S, R, W>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    pub(super) fn new(
        sessions: Arc<Sessions<S>>,
        reader: R,
        writer: W,
        port: Port,
        ends: Ends,
    ) -> Self {
        add(&sessions.counters.connections, 1);
        let client = sessions.registry.open(ends);
        Self {
            client,
            port,
            reader,
            writer,
            input: BytesMut::new(),
            output: BytesMut::new(),
            parser: Parser::default(),
            half_read: sessions.budget.nothing(),
            state: State::default(),
            queue: Queue::default(),
            order: Order::default(),
            running: FuturesUnordered::new(),
            arriving: BTreeMap::new(),
            alone: None,
            phase: Phase::Open,
            sessions,
        }
    }

    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let killed = self.client.killed.clone();
        let mut deadline = None;
        loop {
            let taken = self.work();
            self.publish();
            if self.phase == Phase::Closing && self.queue.is_empty() && self.output.is_empty() {
                break;
            }
            let until = deadline.or_else(|| self.idle_until());
            let event = self.event(taken, until, &killed, &shutdown).await;
            match event {
                Event::Read(Ok(bytes)) if bytes > 0 => {
                    add(&self.sessions.counters.bytes_in, bytes as u64)
                }
                // The client sends no more; it may still wait for answers.
                Event::Read(Ok(_)) => self.phase = Phase::Closing,
                Event::Written(Ok(bytes)) if bytes > 0 => {
                    add(&self.sessions.counters.bytes_out, bytes as u64);
                }
                Event::Read(Err(_)) | Event::Written(_) | Event::Gone => break,
                Event::Ended(Some(ended)) => self.end(ended),
                Event::Ended(None) => {}
                Event::Shutdown => {
                    self.phase = Phase::Closing;
                    deadline = Some(Instant::now() + self.sessions.settings.drain_timeout);
                }
            }
        }
        if let Err(error) = self.writer.shutdown().await {
            debug!(%error, client = self.client.id, "the client closed first");
        }
    }

    /// Takes requests and gathers answers until nothing more can be done without waiting.
    fn work(&mut self) -> Taken {
        loop {
            let taken = self.take_requests();
            while let Some(Some(ended)) = self.running.next().now_or_never() {
                self.end(ended);
            }
            let before = self.queue.len();
            self.queue.drain_into(&mut self.output);
            // Room was made: there may be more requests in the buffer.
            if taken == Taken::All || self.queue.len() == before || self.phase == Phase::Closing {
                return taken;
            }
            if self.output.len() >= self.sessions.settings.connection_bytes_max {
                return taken;
            }
        }
    }

    async fn event(
        &mut self,
        taken: Taken,
        until: Option<Instant>,
        killed: &CancellationToken,
        shutdown: &CancellationToken,
    ) -> Event {
        let reads = self.phase == Phase::Open && taken == Taken::All;
        if reads {
            let wants = self.parser.wants(&self.input).clamp(READ_BYTES, READ_AHEAD_BYTES_MAX);
            self.input.reserve(wants);
        }
        let until_or_now = tokio::time::Instant::from_std(until.unwrap_or_else(Instant::now));
        tokio::select! {
            biased;
            () = killed.cancelled() => Event::Gone,
            () = shutdown.cancelled(), if self.phase == Phase::Open => Event::Shutdown,
            written = self.writer.write_buf(&mut self.output), if !self.output.is_empty() => {
                Event::Written(written)
            }
            ended = self.running.next(), if !self.running.is_empty() => Event::Ended(ended),
            read = self.reader.read_buf(&mut self.input), if reads => Event::Read(read),
            () = tokio::time::sleep_until(until_or_now), if until.is_some() => Event::Gone,
        }
    }

    fn take_requests(&mut self) -> Taken {
        while self.phase == Phase::Open {
            if self.is_full() {
                return Taken::Enough;
            }
            let limits = authorize::limits(self.state.identity, self.sessions.settings.limits);
            match self.parser.next(&mut self.input, &limits) {
                Ok(Some(request)) => {
                    // Its bytes are counted with the request from here on.
                    let shrunk = self.half_read.resize(0);
                    assert!(shrunk, "giving back needs no room");
                    self.take(request);
                }
                Ok(None) => return self.count_half_read(),
                Err(error) => {
                    self.refuse_and_close(error.to_string());
                    return Taken::Enough;
                }
            }
        }
        Taken::Enough
    }

    /// Counts a long request that is half read, so that many of them cannot fill the memory.
    fn count_half_read(&mut self) -> Taken {
        let held = self.parser.held(&self.input);
        let counted = if held > UNCOUNTED_BYTES { held } else { 0 };
        if self.half_read.resize(counted) {
            return Taken::All;
        }
        self.refuse_and_close("ERR too many bytes of requests are held by this node".to_owned());
        Taken::Enough
    }

    fn take(&mut self, request: Request) {
        let sessions = Arc::clone(&self.sessions);
        let Some(permit) = sessions.budget.take(request.bytes) else {
            let audible = self.state.audible();
            let nothing = sessions.budget.nothing();
            let sequence = self.queue.push(self.state.protocol, audible, nothing);
            let text =
                "TRYAGAIN too many bytes of requests are held by this node; nothing was changed";
            self.queue.fulfil(sequence, Reply::error(text));
            return;
        };
        let before = self.state.replies;
        let skipped = self.state.audible();
        let protocol = self.state.protocol;
        let action = Dispatcher {
            sessions: &sessions,
            client: &self.client,
            port: self.port,
            state: &mut self.state,
        }
        .dispatch(&request.arguments);
        let audible = match (before, self.state.replies) {
            (_, ReplyMode::Off | ReplyMode::Skip) => Audible::No,
            // CLIENT REPLY ON is answered itself.
            (ReplyMode::Off, ReplyMode::On) => Audible::Yes,
            (ReplyMode::On | ReplyMode::Skip, ReplyMode::On) => skipped,
        };
        // HELLO is answered in the encoding that it asks for.
        let protocol =
            if matches!(action, Action::Answer(_)) { self.state.protocol } else { protocol };
        let sequence = self.queue.push(protocol, audible, permit);
        match action {
            Action::Answer(reply) => self.queue.fulfil(sequence, reply),
            Action::AnswerAndClose(reply) => {
                self.queue.fulfil(sequence, reply);
                self.phase = Phase::Closing;
            }
            Action::Run { slot, access, run } => {
                // What is written at a home elsewhere must not overtake what was asked for before.
                self.order.one_by_one = self.state.promises.options.remembers().any()
                    || self.sessions.store.routing().has_homes();
                let task = Started { sequence, access, run };
                if let Some(task) = self.order.admit(slot, access, task) {
                    self.start(task);
                }
            }
            Action::Alone(alone) => {
                self.alone = Some((sequence, alone));
                self.start_alone();
            }
        }
    }

    /// Starts a task that may, or lets it wait for what the session brought.
    fn start(&mut self, task: Started) {
        let shard = task.run.execute.shard;
        match self.state.promises.floor(shard) {
            None => self.run_task(task),
            Some(floor) => {
                let floor = floor.clone();
                self.start_arrived(shard, floor, task);
            }
        }
    }

    fn run_task(&mut self, Started { sequence, access, run }: Started) {
        let Run { mut execute, slot, shaping, spec } = run;
        let (shard, reach) = (execute.shard, execute.reach);
        let sessions = Arc::clone(&self.sessions);
        let way = self.way(&execute);
        if let Way::Replica(read) = way {
            let answer = self.sessions.store.read(read);
            self.begin(async move {
                let (reply, learnt) = match answer.await {
                    Ok(SessionAnswer { value, by }) => {
                        count_hits(&sessions, access, &value);
                        (shaping.reply(spec.name, value), Some(Learnt::by(shard, by)))
                    }
                    Err(failure) => {
                        let learnt = Learnt::of(&failure);
                        (failed(&sessions, &failure, access, Reach::Anywhere, shard, slot), learnt)
                    }
                };
                let learnt = learnt.into_iter().collect();
                Done { sequence, reply, slot: Some(slot), learnt, watched: Watched::Nothing }
            });
            return;
        }
        if execute.level == ReadLevel::Local {
            (execute.level, execute.reach) = (ReadLevel::Linearizable, Reach::Anywhere);
        }
        let durability = self.durability(access, shard);
        let routing = sessions.store.routing();
        let leaderless = routing.is_leaderless();
        if leaderless {
            execute.seen = self.state.promises.seen(&execute.operation);
        }
        let remembers = self.state.promises.options.remembers();
        execute.promised = self.state.promises.finds_its_writes(&routing);
        let answer = self.sessions.store.execute(execute);
        self.begin(async move {
            let (reply, learnt) = match answer.await {
                Ok(Answer { value, position, sight, elsewhere }) => {
                    count_hits(&sessions, access, &value);
                    let learnt = match (access, way) {
                        _ if leaderless => Learnt::Saw(saw(sight, remembers.what(access))),
                        _ if let Some(known) = elsewhere => Learnt::Elsewhere { shard, known },
                        (Access::Write, _) => {
                            Learnt::Wrote { shard, position, told: value != Value::Ok }
                        }
                        (Access::Read, Way::Leader) => Learnt::ReadAtLeader { shard },
                        (Access::Read, Way::AsRouted | Way::Replica(_)) => Learnt::Read,
                    };
                    let held = match (durability, position) {
                        (Some(durability), Some(position)) => {
                            durability.held(&sessions.store, shard, position).await
                        }
                        (Some(_) | None, _) => Ok(()),
                    };
                    let reply = match held {
                        Ok(()) => shaping.reply(spec.name, value),
                        Err(text) => {
                            add(&sessions.counters.failed, 1);
                            Reply::Error(text)
                        }
                    };
                    (reply, vec![learnt])
                }
                Err(failure) => {
                    (failed(&sessions, &failure, access, reach, shard, slot), Vec::new())
                }
            };
            Done { sequence, reply, slot: Some(slot), learnt, watched: Watched::Nothing }
        });
    }

    fn begin(&mut self, work: impl Future<Output = Done> + Send + 'static) {
        self.running.push(Box::pin(work.map(Ended::Done)));
    }

    /// Where a read goes under what the session is promised.
    fn way(&self, execute: &Execute) -> Way {
        let Operation::Read(read) = &execute.operation else { return Way::AsRouted };
        let routing = self.sessions.store.routing();
        // Its quorum decides how new a read is.
        if routing.is_leaderless() {
            return Way::AsRouted;
        }
        let at_replicas = match self.port {
            Port::Plain => self.reads(&routing) == ReadPreference::Replica,
            // A client of this port is told where leaders are; what is routed to them stays there.
            Port::Cluster => execute.level == ReadLevel::Local,
        };
        if !at_replicas {
            return Way::AsRouted;
        }
        // What is watched is as the leader has it; a replica may show what came before.
        if self.state.transaction.watches() {
            return Way::Leader;
        }
        let promises = &self.state.promises;
        let clock = self.sessions.clock();
        promises.at_replica(&routing, execute.shard, read, clock).map_or(Way::Leader, Way::Replica)
    }

    fn reads(&self, routing: &Routing) -> ReadPreference {
        let declared = match (self.state.replicas, self.port) {
            (Replicas::Allowed, _) => ReadPreference::Replica,
            (Replicas::Never, Port::Plain) => routing.policy.sessions.reads,
            (Replicas::Never, Port::Cluster) => return ReadPreference::Leader,
        };
        self.state.promises.options.reads.unwrap_or(declared)
    }

    /// How durable the connection wants a write to this shard, where that is more than the store asks for.
    fn durability(&self, access: Access, shard: ShardId) -> Option<Durability> {
        let options = &self.state.promises.options;
        if access == Access::Read || options.durability == DurabilityOption::Store {
            return None;
        }
        options.durability(&self.sessions.store.routing(), shard)
    }

    fn end(&mut self, ended: Ended) {
        match ended {
            Ended::Done(done) => self.finish(done),
            Ended::Arrived(arrival) => self.arrived(arrival),
        }
    }

    fn finish(&mut self, Done { sequence, reply, slot, learnt, watched }: Done) {
        match watched {
            Watched::Nothing => {}
            Watched::Keys(keys) => self.state.transaction.watch(keys),
            Watched::Failed => self.state.transaction.watch_failed(),
        }
        if !learnt.is_empty() {
            let now = self.sessions.clock().now();
            for learnt in learnt {
                if let Learnt::Wrote { shard, position: Some(position), .. } = learnt {
                    let last = self.state.written.entry(shard).or_default();
                    *last = position.max(*last);
                }
                self.state.promises.learn(learnt, now);
            }
        }
        self.queue.fulfil(sequence, reply);
        if let Some(slot) = slot {
            self.start_next(slot);
        }
        self.start_alone();
    }

    /// What waited for an operation on the slot that has ended.
    fn start_next(&mut self, slot: Slot) {
        for task in self.order.finished(slot) {
            self.start(task);
        }
    }

    fn refuse_and_close(&mut self, text: String) {
        debug!(client = self.client.id, %text, "closing the connection");
        add(&self.sessions.counters.failed, 1);
        let nothing = self.sessions.budget.nothing();
        let audible = self.state.audible();
        let sequence = self.queue.push(self.state.protocol, audible, nothing);
        self.queue.fulfil(sequence, Reply::Error(text));
        self.phase = Phase::Closing;
    }

    /// What others see of the connection, once per batch.
    fn publish(&self) {
        let (input_bytes, output_bytes) = (self.input.len(), self.output.len());
        self.client.change(|details| {
            details.input_bytes = input_bytes;
            details.output_bytes = output_bytes;
            details.last_active = Instant::now();
        });
    }

    fn is_full(&self) -> bool {
        let settings = &self.sessions.settings;
        let alone = self.alone.is_some() || (self.order.is_empty() && !self.running.is_empty());
        alone
            || self.queue.len() >= settings.requests_inflight_max
            || self.queue.bytes() + self.output.len() >= settings.connection_bytes_max
    }

    /// Only a connection to which nothing is owed is idle.
    fn idle_until(&self) -> Option<Instant> {
        let timeout = self.sessions.settings.idle_timeout?;
        self.queue.is_empty().then(|| Instant::now() + timeout)
    }
}

/// A failure as the answer; on the cluster port a client of a shard that is not led here is sent on.
fn failed<S: Store>(
    sessions: &Sessions<S>,
    failure: &Failure,
    access: Access,
    reach: Reach,
    shard: ShardId,
    slot: Slot,
) -> Reply {
    add(&sessions.counters.failed, 1);
    let leader = match failure {
        Failure::NotLeader { leader, .. } => *leader,
        Failure::NotHosted { .. } | Failure::Filling { .. } => None,
        Failure::NoLeader { .. }
        | Failure::Overloaded
        | Failure::Unknown
        | Failure::TimedOut { .. }
        | Failure::EpochMoved { .. }
        | Failure::AlreadyBootstrapped
        | Failure::Invalid(_)
        | Failure::Behind { .. }
        | Failure::PositionLost { .. }
        | Failure::NoQuorum { .. }
        | Failure::Home { .. }
        | Failure::HomeSilent { .. }
        | Failure::Lacking { .. }
        | Failure::Damaged(_) => return Reply::Error(failure::text(failure, access)),
    };
    match reach {
        Reach::Anywhere => Reply::Error(failure::text(failure, access)),
        Reach::Here => {
            let refusal = route::elsewhere(&sessions.store.routing(), shard, slot, leader);
            if matches!(refusal, route::Refusal::Moved { .. }) {
                add(&sessions.counters.moved, 1);
            }
            Reply::Error(refusal.to_string())
        }
    }
}

/// What a session learns by an answer, where that is remembered.
fn saw(sight: Option<Sight>, remembers: bool) -> Sight {
    let mut sight = sight.unwrap_or_default();
    if !remembers {
        sight.seen.clear();
    }
    sight
}

fn count_hits<S: Store>(sessions: &Sessions<S>, access: Access, value: &Value) {
    let counters = &sessions.counters;
    match (access, value) {
        (Access::Read, Value::Nil) => add(&counters.misses, 1),
        (Access::Read, Value::Bulk(_)) => add(&counters.hits, 1),
        (Access::Read | Access::Write, _) => {}
    }
}

impl<S: Store, R, W> Drop for Connection<S, R, W> {
    fn drop(&mut self) {
        self.sessions.registry.close(self.client.id);
    }
}
