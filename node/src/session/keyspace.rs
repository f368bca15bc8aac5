//! Commands that are asked of many shards: SCAN, KEYS, DBSIZE, FLUSHALL, WAIT.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use quorate_group::host::{Failure, ReadLevel};
use quorate_group::{KeyType, Operation, Read, ScanCursor, Value, ValueError, Write};
use quorate_model::{Demand, Position, ShardId, SlotRange};
use rand::RngExt;

use super::options::Options;
use super::order::Access;
use super::promises::{Learnt, Promises, SessionClock};
use super::route::{Refusal, Replicas};
use super::{Answer, Execute, Port, Reach, Routing, Store, failure};
use crate::resp::Reply;
use crate::resp::commands::{KeyspaceCommand, TypeFilter, Wait};

/// How many shards are asked at the same time.
pub(super) const SHARDS_INFLIGHT_MAX: usize = 64;
/// How many shards one SCAN walks over when they hold no key that matches.
const SHARDS_PER_SCAN_MAX: usize = 16;

/// What it takes to ask many shards, for one command.
pub(super) struct Asker<S> {
    pub(super) store: S,
    pub(super) port: Port,
    pub(super) replicas: Replicas,
    pub(super) keys_max: u32,
    promises: Promises,
    clock: SessionClock,
    learnt: Arc<Mutex<Vec<Learnt>>>,
}

/// How durable writes are to be before they are answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Durability {
    /// Beside the leader.
    pub(super) followers: u32,
    pub(super) timeout_ms: u64,
}

impl Durability {
    /// Waits until so many followers hold the write. An error is the answer: what it says is true of the write.
    pub(super) async fn held<S: Store>(
        self,
        store: &S,
        shard: ShardId,
        position: Position,
    ) -> Result<(), String> {
        let Self { followers, timeout_ms } = self;
        match store.wait(shard, position, followers, timeout_ms).await {
            Ok(count) if count >= followers => Ok(()),
            Ok(count) => Err(format!(
                "NOTDURABLE the write is done as the store declares, and durable on {count} of the {followers} followers \
                 asked for after {timeout_ms} ms; it may still come to the others"
            )),
            Err(Failure::PositionLost { .. }) => Err(
                "LOST the write was done as the store declares, and a failover has lost it before it was as durable as asked for"
                    .to_owned(),
            ),
            Err(failure) => Err(format!(
                "NOTDURABLE the write was done as the store declares; how durable it is could not be found out: {failure}"
            )),
        }
    }
}

/// Which of these acknowledged writes a failover has lost. INV-74.
pub(super) async fn verify<S: Store>(
    store: &S,
    written: Vec<(ShardId, Position)>,
) -> (Reply, Vec<Learnt>) {
    let checks = written.into_iter().map(|(shard, position)| store.wait(shard, position, 0, 0));
    let mut checks = stream::iter(checks).buffer_unordered(SHARDS_INFLIGHT_MAX);
    let mut reply = Reply::Ok;
    let mut learnt = Vec::new();
    while let Some(checked) = checks.next().await {
        if let Err(failure) = checked
            && let Some(lost) = Learnt::of(&failure)
        {
            reply = Reply::Error(failure::text(&failure, Access::Read));
            learnt.push(lost);
        }
    }
    (reply, learnt)
}

/// A shard that is to be asked, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Asked {
    shard: ShardId,
    slots: SlotRange,
    level: ReadLevel,
    reach: Reach,
}

impl<S: Store> Asker<S> {
    pub(super) fn new(
        store: S,
        port: Port,
        replicas: Replicas,
        keys_max: u32,
        promises: Promises,
        clock: SessionClock,
    ) -> Self {
        Self { store, port, replicas, keys_max, promises, clock, learnt: Arc::default() }
    }

    /// The answer, and what it teaches the session.
    pub(super) async fn run(&self, command: KeyspaceCommand) -> (Reply, Vec<Learnt>) {
        let reply = self.reply(command).await;
        (reply, std::mem::take(&mut *self.learnt.lock()))
    }

    /// Waits until everything that was written is as durable as the connection asks for.
    pub(super) async fn held(&self, options: &Options, learnt: &[Learnt]) -> Result<(), String> {
        let routing = self.store.routing();
        for learnt in learnt {
            let Learnt::Wrote { shard, position: Some(position), .. } = learnt else { continue };
            let Some(durability) = options.durability(&routing, *shard) else { return Ok(()) };
            durability.held(&self.store, *shard, *position).await?;
        }
        Ok(())
    }

    async fn reply(&self, command: KeyspaceCommand) -> Reply {
        let routing = self.store.routing();
        if routing.shards.is_empty() {
            return Reply::Error(Refusal::NotBootstrapped.to_string());
        }
        let asked = self.asked(&routing);
        match command {
            KeyspaceCommand::Count => self.count(asked).await,
            KeyspaceCommand::Keys { pattern } => self.keys(asked, pattern).await,
            KeyspaceCommand::RandomKey => self.random_key(asked).await,
            KeyspaceCommand::Flush => self.flush(asked).await,
            KeyspaceCommand::Conflicts { .. } if routing.multi_leader.is_none() => {
                Reply::error("ERR CONFLICTS is for stores with several leaders")
            }
            KeyspaceCommand::Conflicts { count } => self.conflicts(asked, count).await,
            KeyspaceCommand::Scan { types: TypeFilter::Nothing, .. } => {
                scanned(ScanCursor::default(), Value::List(Vec::new()))
            }
            KeyspaceCommand::Scan { cursor, pattern, count, types } => {
                let type_only = match types {
                    TypeFilter::Only(kind) => Some(kind),
                    TypeFilter::Any | TypeFilter::Nothing => None,
                };
                let step = Step { pattern, count, type_only };
                self.scan(&routing, &asked, ScanCursor(cursor), &step).await
            }
        }
    }

    /// WAIT and WAITAOF: the fewest replicas that any of the written shards has.
    pub(super) async fn wait(&self, wait: Wait, written: BTreeMap<ShardId, Position>) -> Reply {
        let (Wait::Replicas { replicas, timeout_ms } | Wait::Durable { replicas, timeout_ms }) =
            wait;
        let routing = self.store.routing();
        let waits = written
            .into_iter()
            .map(|(shard, position)| self.store.wait(shard, position, replicas, timeout_ms));
        let mut waits = stream::iter(waits).buffer_unordered(SHARDS_INFLIGHT_MAX);
        let mut fewest = None;
        while let Some(waited) = waits.next().await {
            match waited {
                Ok(count) => fewest = Some(fewest.map_or(count, |fewest: u32| fewest.min(count))),
                Err(failure) => return Reply::Error(failure::text(&failure, Access::Read)),
            }
        }
        // Nothing was written: every replica has all of it.
        let fewest = fewest.unwrap_or_else(|| {
            let voters = routing.shards.iter().map(|route| route.voters.len()).min().unwrap_or(1);
            u32::try_from(voters.saturating_sub(1)).unwrap_or(u32::MAX)
        });
        let count = Reply::Integer(i64::from(fewest));
        match wait {
            Wait::Replicas { .. } => count,
            // A write that was answered is durable where it was answered.
            Wait::Durable { .. } => Reply::List(vec![Reply::Integer(1), count]),
        }
    }

    /// The shards that this port speaks for: all of them, or those that are led here, or with READONLY those hosted.
    fn asked(&self, routing: &Routing) -> Vec<Asked> {
        let allowed = self.replicas == Replicas::Allowed;
        let asked = routing.shards().filter_map(|(shard, slots, route)| {
            let (level, reach) = match self.port {
                _ if allowed && route.hosted && !routing.leads(shard) => {
                    (ReadLevel::Local, Reach::Here)
                }
                Port::Plain => (ReadLevel::Linearizable, Reach::Anywhere),
                Port::Cluster if routing.leads(shard) => (ReadLevel::Linearizable, Reach::Here),
                Port::Cluster => return None,
            };
            Some(Asked { shard, slots, level, reach })
        });
        asked.collect()
    }

    async fn count(&self, asked: Vec<Asked>) -> Reply {
        let mut total = 0i64;
        let mut answers = self.ask(asked, Operation::Read(Read::CountKeys));
        while let Some((_, answer)) = answers.next().await {
            match answer.map(|answer| answer.value) {
                Ok(Value::Integer(count)) => total = total.saturating_add(count),
                Ok(value) => return Reply::Value(value),
                Err(failure) => return Reply::Error(failure::text(&failure, Access::Read)),
            }
        }
        Reply::Integer(total)
    }

    async fn keys(&self, asked: Vec<Asked>, pattern: Bytes) -> Reply {
        let mut all = Vec::new();
        let read = Read::Keys { pattern, count_max: self.keys_max };
        let mut answers = self.ask(asked, Operation::Read(read));
        while let Some((_, answer)) = answers.next().await {
            match answer.map(|answer| answer.value) {
                Ok(Value::List(keys)) => all.extend(keys),
                Ok(value) => return Reply::Value(value),
                Err(failure) => return Reply::Error(failure::text(&failure, Access::Read)),
            }
            if all.len() > self.keys_max as usize {
                return Reply::Error(ValueError::TooManyKeys(self.keys_max).to_string());
            }
        }
        Reply::Value(Value::List(all))
    }

    /// The last ones, in the order in which they were found.
    async fn conflicts(&self, asked: Vec<Asked>, count: u32) -> Reply {
        let mut all = Vec::new();
        let mut answers = self.ask(asked, Operation::Read(Read::Conflicts { count }));
        while let Some((_, answer)) = answers.next().await {
            match answer.map(|answer| answer.value) {
                Ok(Value::List(conflicts)) => all.extend(conflicts),
                Ok(value) => return Reply::Value(value),
                Err(failure) => return Reply::Error(failure::text(&failure, Access::Read)),
            }
        }
        // Each begins with its time.
        all.sort_by_key(|conflict| {
            let Value::List(fields) = conflict else { return None };
            if let Some(Value::Integer(at)) = fields.get(1) { Some(*at) } else { None }
        });
        let more = all.len().saturating_sub(count as usize);
        Reply::Value(Value::List(all.split_off(more)))
    }

    /// From the first shard that has one, beginning at any.
    async fn random_key(&self, mut asked: Vec<Asked>) -> Reply {
        let first = rand::rng().random_range(0..asked.len().max(1));
        asked.rotate_left(first);
        for asked in asked {
            let read = Read::RandomKey { slots: asked.slots };
            match self.execute(asked, Operation::Read(read)).await {
                Ok(Value::Nil) => {}
                Ok(key) => return Reply::Value(key),
                Err(failure) => return Reply::Error(failure::text(&failure, Access::Read)),
            }
        }
        Reply::Nil
    }

    async fn flush(&self, mut asked: Vec<Asked>) -> Reply {
        // Only leaders take a write, whatever the connection's reads may do.
        match self.port {
            Port::Plain => asked.iter_mut().for_each(|asked| {
                (asked.level, asked.reach) = (ReadLevel::Linearizable, Reach::Anywhere);
            }),
            Port::Cluster => asked.retain(|asked| asked.level == ReadLevel::Linearizable),
        }
        let shards = asked.len();
        let mut failed = None;
        let mut flushed = 0;
        let mut answers = self.ask(asked, Operation::Write(Write::Flush));
        while let Some((_, answer)) = answers.next().await {
            match answer {
                Ok(Answer { value: Value::Error(error), .. }) => {
                    return Reply::Value(Value::Error(error));
                }
                Ok(_) => flushed += 1,
                Err(failure) => failed = Some(failure),
            }
        }
        match failed {
            None if shards == 0 => {
                Reply::error("READONLY You can't write against a read only replica.")
            }
            None => Reply::Ok,
            Some(failure) if shards == 1 => Reply::Error(failure::text(&failure, Access::Write)),
            Some(failure) => {
                Reply::Error(format!("UNKNOWN {flushed} of {shards} shards are flushed: {failure}"))
            }
        }
    }

    async fn scan(
        &self,
        routing: &Routing,
        asked: &[Asked],
        mut cursor: ScanCursor,
        step: &Step,
    ) -> Reply {
        for _ in 0..SHARDS_PER_SCAN_MAX {
            let Some(slot) = cursor.slot() else {
                return Reply::error("ERR invalid cursor");
            };
            let Some(next) = asked.iter().find(|asked| asked.slots.last >= slot) else {
                break;
            };
            if !next.slots.contains(slot) {
                let begun = routing.shards().any(|(_, slots, _)| {
                    slots.contains(slot) && cursor != ScanCursor::at(slots.first)
                });
                if begun {
                    return Reply::error(
                        "ERR the shard of this cursor is led by another node by now; begin again at 0",
                    );
                }
                cursor = ScanCursor::at(next.slots.first);
            }
            let answer = self.execute(*next, step.read(cursor)).await;
            let (after, keys) = match answer.map(split) {
                Ok(Ok(found)) => found,
                Ok(Err(value)) => return Reply::Value(value),
                Err(failure) => return Reply::Error(failure::text(&failure, Access::Read)),
            };
            let done = after == ScanCursor::default();
            cursor = if done { Self::after(asked, *next) } else { after };
            if !done || cursor == ScanCursor::default() || keys != Value::List(Vec::new()) {
                return scanned(cursor, keys);
            }
        }
        let over =
            asked.iter().all(|asked| cursor.slot().is_some_and(|slot| asked.slots.last < slot));
        scanned(if over { ScanCursor::default() } else { cursor }, Value::List(Vec::new()))
    }

    /// Where a scan goes on behind this shard: 0 at the end of all.
    fn after(asked: &[Asked], done: Asked) -> ScanCursor {
        asked
            .iter()
            .find(|next| next.shard > done.shard)
            .map_or(ScanCursor::default(), |next| ScanCursor::at(next.slots.first))
    }

    fn ask(
        &self,
        asked: Vec<Asked>,
        operation: Operation,
    ) -> impl stream::Stream<Item = (ShardId, Result<Answer, Failure>)> + Unpin {
        let requests = asked.into_iter().map(move |asked| {
            let answer = self.execute_future(asked, operation.clone());
            async move { (asked.shard, answer.await) }
        });
        Box::pin(stream::iter(requests).buffer_unordered(SHARDS_INFLIGHT_MAX))
    }

    async fn execute(&self, asked: Asked, operation: Operation) -> Result<Value, Failure> {
        self.execute_future(asked, operation).await.map(|answer| answer.value)
    }

    fn execute_future(
        &self,
        Asked { shard, slots: _, level, reach }: Asked,
        operation: Operation,
    ) -> impl Future<Output = Result<Answer, Failure>> + Send + 'static {
        let learnt = Arc::clone(&self.learnt);
        let store = self.store.clone();
        let promised = self.promises.finds_its_writes(&store.routing());
        let at_replica = match &operation {
            Operation::Read(read) if level == ReadLevel::Local => {
                self.promises.at_replica(&self.store.routing(), shard, read, self.clock)
            }
            Operation::Read(_) | Operation::Write(_) => None,
        };
        // What the session's promises keep from a replica, the leader answers.
        let local = level == ReadLevel::Local && at_replica.is_none();
        let level = ReadLevel::Linearizable;
        let reach = if local { Reach::Anywhere } else { reach };
        let wrote = matches!(operation, Operation::Write(_));
        async move {
            if let Some(read) = at_replica {
                let answer = store.read(read).await;
                let told = match &answer {
                    Ok(answer) => Some(Learnt::by(shard, answer.by)),
                    Err(failure) => Learnt::of(failure),
                };
                learnt.lock().extend(told);
                return answer.map(|answer| Answer {
                    value: answer.value,
                    position: None,
                    sight: None,
                    elsewhere: None,
                });
            }
            let (demand, seen) = (Demand::Declared, None);
            let execute = Execute { shard, operation, level, reach, demand, seen, promised };
            let mut answer = store.execute(execute).await?;
            learnt.lock().push(match answer.elsewhere.take() {
                Some(known) => Learnt::Elsewhere { shard, known },
                None if wrote => Learnt::Wrote { shard, position: answer.position, told: false },
                None => Learnt::ReadAtLeader { shard },
            });
            Ok(answer)
        }
    }
}

/// What every step of a SCAN repeats.
struct Step {
    pattern: Option<Bytes>,
    count: u32,
    type_only: Option<KeyType>,
}

impl Step {
    fn read(&self, cursor: ScanCursor) -> Operation {
        let Self { pattern, count, type_only } = self;
        Operation::Read(Read::Scan {
            cursor,
            pattern: pattern.clone(),
            count: *count,
            type_only: *type_only,
        })
    }
}

/// The keyspace's answer to a scan: the next cursor and the keys. Anything else is an error to pass on.
fn split(value: Value) -> Result<(ScanCursor, Value), Value> {
    match value {
        Value::List(items) => match <[Value; 2]>::try_from(items) {
            Ok([Value::Integer(cursor), keys]) => {
                Ok((ScanCursor(u64::try_from(cursor).unwrap_or(0)), keys))
            }
            Ok(other) => Err(Value::List(other.into())),
            Err(other) => Err(Value::List(other)),
        },
        other @ (Value::Ok
        | Value::Nil
        | Value::Integer(_)
        | Value::Bulk(_)
        | Value::Status(_)
        | Value::Error(_)) => Err(other),
    }
}

fn scanned(cursor: ScanCursor, keys: Value) -> Reply {
    Reply::List(vec![Reply::text(cursor.0.to_string()), Reply::Value(keys)])
}
