//! Sessions of a store with several leaders that go from one datacenter to another: what they take along, and the wait for it.
//!
//! A session that comes with a token brings for each shard what it has written or seen elsewhere. Nothing of such a shard is read or
//! written for it before this datacenter has that: one wait for each shard, then the positions of this datacenter say what follows.
//! What waits keeps its order.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use quorate_group::host::Failure;
use quorate_model::{Durability, ShardId, VersionVector};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Connection, Done, Ended, Started, Watched};
use crate::resp::Reply;
use crate::session::counters::add;
use crate::session::dispatch::Alone;
use crate::session::keyspace::SHARDS_INFLIGHT_MAX;
use crate::session::order::Access;
use crate::session::promises::{Learnt, Promises};
use crate::session::queue::Sequence;
use crate::session::{Routing, Store, failure};

/// What was waited for is here, or did not come in time.
pub(super) struct Arrival {
    whose: Whose,
    result: Result<Vec<Learnt>, Failure>,
}

/// Who waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Whose {
    /// Operations on this shard.
    Shard(ShardId),
    /// What runs alone.
    Alone,
}

impl<S: Store, R, W> Connection<S, R, W>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    /// Starts a task once its shard's group has all of `floor`, after those that wait already.
    pub(super) fn start_arrived(&mut self, shard: ShardId, floor: VersionVector, task: Started) {
        let waiting = self.arriving.entry(shard).or_default();
        waiting.push(task);
        if waiting.len() == 1 {
            self.arrive(Whose::Shard(shard), vec![(shard, floor)]);
        }
    }

    /// What must be here before a command that runs alone may.
    pub(super) fn floors_of(&self, alone: &Alone) -> Vec<(ShardId, VersionVector)> {
        let promises = &self.state.promises;
        match alone {
            Alone::Keyspace { .. } => promises.floors(),
            Alone::Watch { execute, .. } => {
                let shard = execute.shard;
                promises.floor(shard).map(|floor| (shard, floor.clone())).into_iter().collect()
            }
            Alone::Wait { .. } | Alone::Session { .. } => Vec::new(),
        }
    }

    pub(super) fn await_all(&mut self, floors: Vec<(ShardId, VersionVector)>) {
        self.arrive(Whose::Alone, floors);
    }

    fn arrive(&mut self, whose: Whose, floors: Vec<(ShardId, VersionVector)>) {
        let (store, wait) = (self.sessions.store.clone(), self.state.promises.options.wait());
        self.running.push(Box::pin(async move {
            let result = arrived(&store, floors, wait).await;
            Ended::Arrived(Arrival { whose, result })
        }));
    }

    /// Whoever waited goes on, or is told what is lacking here.
    pub(super) fn arrived(&mut self, Arrival { whose, result }: Arrival) {
        let refused = match result {
            Ok(learnt) => {
                let now = self.sessions.clock().now();
                learnt.into_iter().for_each(|learnt| self.state.promises.learn(learnt, now));
                None
            }
            Err(failure) => Some(failure::text(&failure, Access::Read)),
        };
        let tasks = match whose {
            Whose::Shard(shard) => self.arriving.remove(&shard).unwrap_or_default(),
            Whose::Alone => Vec::new(),
        };
        let Some(text) = refused else {
            tasks.into_iter().for_each(|task| self.start(task));
            return self.start_alone();
        };
        for Started { sequence, run, .. } in tasks {
            self.refuse(sequence, &text);
            self.start_next(run.slot);
        }
        if whose == Whose::Alone
            && let Some((sequence, alone)) = self.alone.take()
        {
            if matches!(alone, Alone::Watch { .. }) {
                self.state.transaction.watch_failed();
            }
            self.refuse(sequence, &text);
        }
        self.start_alone();
    }

    fn refuse(&mut self, sequence: Sequence, text: &str) {
        add(&self.sessions.counters.failed, 1);
        self.queue.fulfil(sequence, Reply::Error(text.to_owned()));
    }

    /// SESSION TOKEN: with what this datacenter has of every shard of which the session needs it elsewhere.
    pub(super) fn tell_crossing(&mut self, sequence: Sequence, routing: &Arc<Routing>) {
        let (promises, store) = (self.state.promises.clone(), self.sessions.store.clone());
        let (routing, now) = (Arc::clone(routing), self.sessions.clock().now());
        self.begin(async move {
            let told = carried(&store, &promises, &routing).await;
            let (reply, learnt) = match told {
                Ok(known) => (promises.token(&routing, Some(known), now), None),
                Err(failure) => {
                    let text = failure::text(&failure, Access::Read);
                    (Reply::Error(text), Learnt::of(&failure))
                }
            };
            let learnt = learnt.into_iter().collect();
            Done { sequence, reply, slot: None, learnt, watched: Watched::Nothing }
        });
    }
}

/// What the session takes along, in the words of this datacenter's leaders.
async fn carried<S: Store>(
    store: &S,
    promises: &Promises,
    routing: &Routing,
) -> Result<Vec<(ShardId, VersionVector)>, Failure> {
    let asked = promises.carried(routing).into_iter().map(|shard| {
        let known = store.known(shard);
        async move { Ok((shard, known.await?)) }
    });
    let known = stream::iter(asked).buffer_unordered(SHARDS_INFLIGHT_MAX).try_collect().await?;
    // INV-74: after that, since a write that is not lost by then is part of it.
    if routing.policy.durability == Durability::Async {
        let written = promises.knowledge.written();
        let looked_for = written.map(|(shard, position)| store.wait(shard, position, 0, 0));
        let mut looked_for = stream::iter(looked_for).buffer_unordered(SHARDS_INFLIGHT_MAX);
        while let Some(found) = looked_for.next().await {
            found?;
        }
    }
    Ok(known)
}

/// Until this datacenter has all of it.
async fn arrived<S: Store>(
    store: &S,
    floors: Vec<(ShardId, VersionVector)>,
    wait: Option<Duration>,
) -> Result<Vec<Learnt>, Failure> {
    let awaited = floors.into_iter().map(|(shard, floor)| {
        let arrived = store.await_known(shard, floor.clone(), wait);
        async move { Ok(Learnt::Arrived { shard, floor, index: arrived.await? }) }
    });
    stream::iter(awaited).buffer_unordered(SHARDS_INFLIGHT_MAX).try_collect().await
}
