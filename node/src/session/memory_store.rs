//! A store in memory for tests: the real keyspace over a map per shard, answers held back on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_group::host::{Failure, ReadLevel, Status};
use quorate_group::keyspace::{
    Context, Effects, Expired, Overlay, ReadOutcome, View, evaluate, read,
};
use quorate_group::{Operation, Value, Write};
use quorate_model::{
    Addresses, Epoch, GroupId, LogIndex, Member, Name, NodeId, Position, ShardId, StoreId, Term,
    VersionVector, WallTime,
};
use tokio::sync::{oneshot, watch};

use super::{Answer, By, Execute, Reach, Routing, SessionAnswer, SessionRead, ShardRoute, Store};

/// Real time must not end a test that only waits for something to happen.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub(super) struct MemoryStore {
    inner: Arc<Inner>,
    /// How many answers are held.
    held: watch::Sender<usize>,
}

struct Inner {
    shards: Mutex<Vec<Shard>>,
    routing: Mutex<Arc<Routing>>,
    behaviour: Mutex<Behaviour>,
}

#[derive(Default)]
struct Behaviour {
    holds: bool,
    held: Vec<oneshot::Sender<()>>,
    fails: BTreeMap<ShardId, Failure>,
    executed: Vec<Execute>,
    waits: Vec<(ShardId, Position, u32)>,
    reads: Vec<SessionRead>,
    /// How many followers hold everything.
    holders: Option<Result<u32, Failure>>,
    /// Of several leaders: what this datacenter has of every shard, and what was waited for.
    known: VersionVector,
    awaited: Vec<(ShardId, VersionVector, Option<Duration>)>,
}

#[derive(Default)]
struct Shard {
    rows: BTreeMap<Bytes, Bytes>,
    keys: i64,
    last: LogIndex,
}

impl MemoryStore {
    /// A store of `nodes` nodes; shard `n` is led by node `n % nodes + 1`. We are node 1.
    pub(super) fn new(shards: u16, nodes: u16) -> Self {
        let shards_now = (0..shards).map(|_| Shard::default()).collect();
        let routing = routing(shards, nodes);
        let inner = Inner {
            shards: Mutex::new(shards_now),
            routing: Mutex::new(Arc::new(routing)),
            behaviour: Mutex::default(),
        };
        Self { inner: Arc::new(inner), held: watch::channel(0).0 }
    }

    pub(super) fn reroute(&self, change: impl FnOnce(&mut Routing)) {
        let mut routing = self.inner.routing.lock();
        let mut changed = Routing::clone(&routing);
        change(&mut changed);
        *routing = Arc::new(changed);
    }

    pub(super) fn fail(&self, shard: u16, failure: Failure) {
        self.inner.behaviour.lock().fails.insert(ShardId(shard), failure);
    }

    /// From now on answers wait to be released.
    pub(super) fn hold(&self) {
        self.inner.behaviour.lock().holds = true;
    }

    /// Waits until so many operations wait for their release.
    pub(super) async fn holds(&self, count: usize) {
        let mut held = self.held.subscribe();
        let enough = held.wait_for(|held| *held >= count);
        tokio::time::timeout(DEADLINE, enough).await.unwrap().unwrap();
        assert_eq!(self.inner.behaviour.lock().held.len(), count);
    }

    /// Releases the held operation at this place of those that are held.
    pub(super) fn release(&self, place: usize) {
        let mut behaviour = self.inner.behaviour.lock();
        behaviour.held.remove(place).send(()).unwrap();
        self.held.send_replace(behaviour.held.len());
    }

    /// While answers are held: what tells one that it may go.
    fn released(&self, behaviour: &mut Behaviour) -> Option<oneshot::Receiver<()>> {
        behaviour.holds.then(|| {
            let (release, released) = oneshot::channel();
            behaviour.held.push(release);
            self.held.send_replace(behaviour.held.len());
            released
        })
    }

    pub(super) fn executed(&self) -> Vec<Execute> {
        self.inner.behaviour.lock().executed.clone()
    }

    pub(super) fn reads(&self) -> Vec<SessionRead> {
        self.inner.behaviour.lock().reads.clone()
    }

    pub(super) fn set_holders(&self, holders: Result<u32, Failure>) {
        self.inner.behaviour.lock().holders = Some(holders);
    }

    pub(super) fn set_known(&self, known: &VersionVector) {
        self.inner.behaviour.lock().known = known.clone();
    }

    pub(super) fn awaited(&self) -> Vec<(ShardId, VersionVector, Option<Duration>)> {
        self.inner.behaviour.lock().awaited.clone()
    }

    pub(super) fn waits(&self) -> Vec<(ShardId, Position, u32)> {
        self.inner.behaviour.lock().waits.clone()
    }
}

impl Store for MemoryStore {
    fn execute(
        &self,
        request: Execute,
    ) -> impl Future<Output = Result<Answer, Failure>> + Send + 'static {
        let mut behaviour = self.inner.behaviour.lock();
        behaviour.executed.push(request.clone());
        let failure = behaviour.fails.get(&request.shard).cloned();
        let released = self.released(&mut behaviour);
        // Done when called, as the order of calls is the order of what they do; only the answer is held.
        let answer = failure.map_or_else(|| self.inner.run(&request), Err);
        async move {
            if let Some(released) = released {
                released.await.unwrap();
            }
            answer
        }
    }

    fn read(
        &self,
        read: SessionRead,
    ) -> impl Future<Output = Result<SessionAnswer, Failure>> + Send + 'static {
        let mut behaviour = self.inner.behaviour.lock();
        behaviour.reads.push(read.clone());
        let failure = behaviour.fails.get(&read.shard).cloned();
        let answer = failure.map_or_else(
            || {
                let SessionRead { shard, read, floor, .. } = read;
                let shard = &mut self.inner.shards.lock()[usize::from(shard.0)];
                let position = Position { term: Term(1), index: shard.last };
                Ok(SessionAnswer { value: shard.read(&read), by: By::Replica { floor, position } })
            },
            Err,
        );
        async move { answer }
    }

    fn wait(
        &self,
        shard: ShardId,
        position: Position,
        replicas: u32,
        _timeout_ms: u64,
    ) -> impl Future<Output = Result<u32, Failure>> + Send + 'static {
        self.inner.behaviour.lock().waits.push((shard, position, replicas));
        let holders = self.inner.behaviour.lock().holders.clone();
        async { holders.unwrap_or(Ok(2)) }
    }

    fn known(
        &self,
        shard: ShardId,
    ) -> impl Future<Output = Result<VersionVector, Failure>> + Send + 'static {
        let behaviour = self.inner.behaviour.lock();
        let known = behaviour.known.clone();
        let answer = behaviour.fails.get(&shard).cloned().map_or(Ok(known), Err);
        async { answer }
    }

    /// Held as operations are.
    fn await_known(
        &self,
        shard: ShardId,
        floor: VersionVector,
        wait: Option<Duration>,
    ) -> impl Future<Output = Result<LogIndex, Failure>> + Send + 'static {
        let mut behaviour = self.inner.behaviour.lock();
        let reached = behaviour.known.covers_all(&floor);
        behaviour.awaited.push((shard, floor, wait));
        let released = self.released(&mut behaviour);
        let index = self.inner.shards.lock()[usize::from(shard.0)].last;
        let group = GroupId::Shard(shard);
        async move {
            if let Some(released) = released {
                released.await.unwrap();
            }
            if reached { Ok(index) } else { Err(Failure::Behind { group }) }
        }
    }

    fn routing(&self) -> Arc<Routing> {
        Arc::clone(&self.inner.routing.lock())
    }

    fn status(&self) -> Arc<Status> {
        Arc::new(Status::default())
    }
}

impl Inner {
    fn run(&self, request: &Execute) -> Result<Answer, Failure> {
        let Execute { shard, operation, level, reach, .. } = request;
        let routing = Arc::clone(&self.routing.lock());
        let led = routing.leads(*shard);
        if *reach == Reach::Here && *level == ReadLevel::Linearizable && !led {
            let leader = routing.shard(*shard).and_then(|route| route.leader);
            return Err(Failure::NotLeader { group: GroupId::Shard(*shard), leader });
        }
        let mut shards = self.shards.lock();
        let shard = &mut shards[usize::from(shard.0)];
        Ok(match operation {
            Operation::Read(read) => {
                Answer { value: shard.read(read), position: None, sight: None, elsewhere: None }
            }
            Operation::Write(write) => {
                let value = shard.write(write);
                let position = Position { term: Term(1), index: shard.last };
                Answer { value, position: Some(position), sight: None, elsewhere: None }
            }
        })
    }
}

impl Shard {
    fn read(&mut self, wanted: &quorate_group::Read) -> Value {
        loop {
            let keys = u64::try_from(self.keys).unwrap();
            let view = View::applied(&self.rows, &[], keys);
            match read(wanted, Context { now: now(), seed: self.last.0 }, &view, Expired::Report)
                .unwrap()
            {
                ReadOutcome::Value(value) => return value,
                ReadOutcome::Expired(keys) => {
                    self.write(&Write::RemoveIfExpired { keys });
                }
            }
        }
    }

    fn write(&mut self, write: &Write) -> Value {
        let (keys, overlay) = (u64::try_from(self.keys).unwrap(), Overlay::default());
        let view = View::proposed(&self.rows, &[], keys, &overlay);
        let evaluated = evaluate(write, Context { now: now(), seed: self.last.0 }, &view).unwrap();
        self.last = self.last.next();
        self.apply(evaluated.effects);
        evaluated.value
    }

    fn apply(&mut self, effects: Effects) {
        if effects.clear {
            self.rows.clear();
            self.keys = 0;
        }
        for change in effects.changes {
            match change.value {
                Some(value) => self.rows.insert(change.row, value),
                None => self.rows.remove(&change.row),
            };
        }
        self.keys += effects.keys;
    }
}

fn now() -> WallTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    WallTime(u64::try_from(since.as_millis()).unwrap())
}

fn routing(shards: u16, nodes: u16) -> Routing {
    let members: BTreeMap<NodeId, Member> = (1..=nodes)
        .map(|node| {
            let address = |port: u16| format!("10.0.0.{node}:{port}");
            let member = Member {
                id: NodeId(u128::from(node)),
                name: format!("node-{node}"),
                datacenter: Name::new("dc-a").unwrap(),
                zone: Name::new("zone-1").unwrap(),
                addresses: Addresses {
                    peer: address(7400),
                    plain: address(6379),
                    cluster: address(6380),
                    admin: address(7480),
                },
            };
            (member.id, member)
        })
        .collect();
    let voters: BTreeSet<NodeId> = members.keys().copied().collect();
    let shards = (0..shards)
        .map(|shard| {
            let leader = NodeId(u128::from(shard % nodes + 1));
            ShardRoute {
                leader: Some(leader),
                leader_last: Some(leader),
                term: Term(1),
                voters: voters.iter().copied().collect(),
                hosted: true,
            }
        })
        .collect();
    Routing {
        node: NodeId(1),
        name: "node-1".to_owned(),
        datacenter: Name::new("dc-a").unwrap(),
        store: StoreId(0xabc),
        epoch: Epoch(1),
        members,
        shards,
        policy: Default::default(),
        leaderless: None,
        multi_leader: None,
    }
}
