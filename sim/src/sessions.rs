//! Simulated sessions: clients that read at any replica under declared guarantees, as a node's sessions do.
//!
//! What a session knows and what a read needs is the node's own code, [`quorate_group::session`]; here it has no router, so
//! that a replica that cannot answer is simply given up. Sessions have dice of their own and take part in some seeds only:
//! the other seeds are what they were without them.

use std::time::Duration;

use bytes::Bytes;
use quorate_group::host::{Failure, Floor, ReadLevel, Reply, Request};
use quorate_group::session::{Knowledge, Source};
use quorate_group::{Operation, Read, Value, Write};
use quorate_model::{GroupId, ReadPreference, ReadYourWrites, SessionPolicy, ShardId, Slot, Time};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::checkers::acknowledged_writes::Forgotten;
use crate::checkers::consistent_prefix::ConsistentPrefix;
use crate::checkers::monotonic_reads::MonotonicReads;
use crate::checkers::read_your_writes::ReadYourWrites as OwnWrites;
use crate::checkers::staleness::Staleness;
use crate::cluster::{Cluster, Event};
use crate::machine::MachineId;
use crate::options::pick;
use crate::verdict::{Broken, By, Verdict};

const SESSIONS: usize = 3;
const DELAY: Duration = Duration::from_micros(200);
const PATIENCE: Duration = Duration::from_secs(3);

/// Numbers the sessions of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct SessionId(pub(crate) usize);

/// Two numbers that only rise, in different shards where there are two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Counter {
    Left,
    Right,
}

/// What happens to a session.
#[derive(Debug)]
pub(crate) enum Happening {
    Acts,
    Arrives { attempt: u64, machine: MachineId, request: Box<Request> },
    Answered { attempt: u64, machine: MachineId, reply: Box<Result<Reply, Failure>> },
    GivesUp { attempt: u64 },
}

pub(crate) struct Sessions {
    random: ChaCha8Rng,
    sessions: Vec<Session>,
    own_writes: OwnWrites,
    monotonic_reads: MonotonicReads,
    consistent_prefix: ConsistentPrefix,
    staleness: Staleness,
    broken: Vec<Broken>,
}

struct Session {
    knowledge: Knowledge,
    policy: SessionPolicy,
    doing: Doing,
    attempt: u64,
    leaders: [Option<MachineId>; 2],
    /// `Left` was counted up to this, and `Right` is next.
    left: Option<i64>,
}

#[derive(Clone, Debug)]
enum Doing {
    Nothing,
    Writing(Counter),
    ReadingAtLeader { counter: Counter, called: Time },
    Confirming { counter: Counter, called: Time, floor: Floor },
    Reading { counter: Counter, called: Time, floor: Floor },
}

impl Counter {
    fn key(self) -> Bytes {
        // Their slots are in different halves.
        Bytes::from_static(match self {
            Self::Left => b"left:b",
            Self::Right => b"right:a",
        })
    }

    fn shard(self, shards: u16) -> ShardId {
        Slot::of_key(&self.key()).shard(shards)
    }

    const fn place(self) -> usize {
        match self {
            Self::Left => 0,
            Self::Right => 1,
        }
    }
}

impl Sessions {
    pub(crate) fn new(seed: u64, wanted: bool) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x5e55_1014);
        let count = if wanted && random.random_bool(0.25) { SESSIONS } else { 0 };
        let sessions = (0..count).map(|_| Session::new(&mut random)).collect();
        Self {
            random,
            sessions,
            own_writes: OwnWrites::default(),
            monotonic_reads: MonotonicReads::default(),
            consistent_prefix: ConsistentPrefix::default(),
            staleness: Staleness::default(),
            broken: Vec::new(),
        }
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = SessionId> + use<> {
        (0..self.sessions.len()).map(SessionId)
    }
}

impl Sessions {
    fn check(&mut self, id: SessionId, counter: Counter, called: Time, number: i64) {
        let policy = &self.sessions[id.0].policy;
        let mut found = Ok(());
        if policy.read_your_writes == ReadYourWrites::Position {
            found = found.and(self.own_writes.read(id, counter, number).by("read_your_writes"));
        }
        if policy.monotonic {
            found = found.and(self.monotonic_reads.read(id, counter, number).by("monotonic_reads"));
        }
        if policy.consistent_prefix {
            let seen = self.consistent_prefix.read(id, counter, number);
            found = found.and(seen.by("consistent_prefix"));
        }
        if let Some(ms) = policy.staleness_ms_max {
            let age_max = Duration::from_millis(ms);
            let seen = self.staleness.read(counter, called, age_max, number);
            found = found.and(seen.by("staleness"));
        }
        self.broken.extend(found.err());
    }

    /// What was broken although neither counter lost what was acknowledged, as under `Async` it may: what a session saw of that
    /// is gone.
    pub(crate) fn end(&mut self, forgotten: &Forgotten, shards: u16) -> Verdict {
        let lost = [Counter::Left, Counter::Right].into_iter().any(|counter| {
            forgotten.contains(GroupId::Shard(counter.shard(shards)), &counter.key())
        });
        match self.broken.drain(..).next() {
            Some(broken) if !lost => Err(broken),
            Some(_) | None => Ok(()),
        }
    }
}

impl Session {
    fn new(random: &mut ChaCha8Rng) -> Self {
        let own = random.random_bool(0.8);
        let policy = SessionPolicy {
            reads: ReadPreference::Replica,
            read_your_writes: if own { ReadYourWrites::Position } else { ReadYourWrites::Off },
            monotonic: random.random_bool(0.8),
            consistent_prefix: random.random_bool(0.8),
            staleness_ms_max: *pick(random, &[None, None, Some(0), Some(200)]),
            wait_ms: *pick(random, &[0, 20, 500]),
        };
        Self {
            knowledge: Knowledge::default(),
            policy,
            doing: Doing::Nothing,
            attempt: 0,
            leaders: [None; 2],
            left: None,
        }
    }
}

impl Cluster {
    pub(crate) fn session(&mut self, id: SessionId, happening: Happening) -> Verdict {
        match happening {
            Happening::Acts => {
                if !self.quiet {
                    self.session_acts(id);
                }
                Ok(())
            }
            Happening::Arrives { attempt, machine, request } => {
                self.session_arrives(id, attempt, machine, request)
            }
            Happening::Answered { attempt, machine, reply } => {
                if self.sessions.sessions[id.0].attempt != attempt {
                    return Ok(());
                }
                self.session_answered(id, machine, *reply)
            }
            Happening::GivesUp { attempt } => {
                if self.sessions.sessions[id.0].attempt == attempt {
                    self.session_rests(id);
                }
                Ok(())
            }
        }
    }

    fn session_acts(&mut self, id: SessionId) {
        let now = self.now;
        let shards = self.options.shards;
        let random = &mut self.sessions.random;
        let dice = random.random_range(0..10);
        let counter = if random.random_bool(0.5) { Counter::Left } else { Counter::Right };
        let session = &mut self.sessions.sessions[id.0];
        let write = |counter: Counter| Request::Execute {
            shard: counter.shard(shards),
            operation: Operation::Write(Write::Increment { key: counter.key(), by: 1 }),
            level: ReadLevel::Linearizable,
        };
        let (doing, request, counter, at_leader) = match dice {
            0..3 => {
                let counter = if session.left.is_some() { Counter::Right } else { Counter::Left };
                (Doing::Writing(counter), write(counter), counter, true)
            }
            3 => {
                let operation = Operation::Read(Read::Get { key: counter.key() });
                let (shard, level) = (counter.shard(shards), ReadLevel::Linearizable);
                let request = Request::Execute { shard, operation, level };
                (Doing::ReadingAtLeader { counter, called: now }, request, counter, true)
            }
            _ => {
                let shard = counter.shard(shards);
                let keys = counter.key();
                let source = session.knowledge.source(shard, [&keys[..]], &session.policy, now);
                let Source::Replica(needs) = source else {
                    unreachable!("these sessions read at replicas")
                };
                let floor = needs.floor;
                if needs.after.is_some() {
                    let doing = Doing::Confirming { counter, called: now, floor };
                    (doing, Request::ReadIndex { shard }, counter, true)
                } else {
                    let request = read_at(counter, shards, floor, session.policy.wait_ms);
                    (Doing::Reading { counter, called: now, floor }, request, counter, false)
                }
            }
        };
        session.doing = doing;
        self.session_sends(id, counter, request, at_leader);
    }

    fn session_sends(
        &mut self,
        id: SessionId,
        counter: Counter,
        request: Request,
        at_leader: bool,
    ) {
        let anybody = MachineId(self.sessions.random.random_range(0..self.machines.len()));
        let session = &mut self.sessions.sessions[id.0];
        session.attempt += 1;
        let attempt = session.attempt;
        let machine = session.leaders[counter.place()].filter(|_| at_leader).unwrap_or(anybody);
        let request = Box::new(request);
        let arrives = Happening::Arrives { attempt, machine, request };
        self.schedule_in(DELAY, Event::Session(id, arrives));
        self.schedule_in(PATIENCE, Event::Session(id, Happening::GivesUp { attempt }));
    }

    fn session_arrives(
        &mut self,
        id: SessionId,
        attempt: u64,
        machine: MachineId,
        request: Box<Request>,
    ) -> Verdict {
        if self.sessions.sessions[id.0].attempt != attempt {
            return Ok(());
        }
        if !self.machines[machine.0].is_running() {
            let reply = Box::new(Err(Failure::NoLeader { group: GroupId::Meta }));
            let answered = Happening::Answered { attempt, machine, reply };
            self.schedule_in(DELAY, Event::Session(id, answered));
            return Ok(());
        }
        if let Some(until) = self.machines[machine.0].paused_until {
            let arrives = Happening::Arrives { attempt, machine, request };
            self.schedule(until, Event::Session(id, arrives));
            return Ok(());
        }
        self.ask_for_session((id, attempt), machine, *request)
    }

    /// The host's answer, on its way.
    pub(crate) fn session_replied(
        &mut self,
        (id, attempt): (SessionId, u64),
        machine: MachineId,
        reply: Result<Reply, Failure>,
    ) {
        let answered = Happening::Answered { attempt, machine, reply: Box::new(reply) };
        self.schedule_in(DELAY, Event::Session(id, answered));
    }

    fn session_answered(
        &mut self,
        id: SessionId,
        machine: MachineId,
        reply: Result<Reply, Failure>,
    ) -> Verdict {
        let shards = self.options.shards;
        let now = self.now;
        let session = &mut self.sessions.sessions[id.0];
        let doing = std::mem::replace(&mut session.doing, Doing::Nothing);
        let place = match &doing {
            Doing::Nothing => return Ok(()),
            Doing::Writing(counter)
            | Doing::ReadingAtLeader { counter, .. }
            | Doing::Confirming { counter, .. }
            | Doing::Reading { counter, .. } => counter.place(),
        };
        match &reply {
            Err(Failure::NotLeader { leader: Some(leader), .. }) => {
                let known = self.machines.iter().find(|machine| machine.node == *leader);
                session.leaders[place] = known.map(|machine| machine.id);
            }
            Err(Failure::PositionLost { group: GroupId::Shard(shard), position }) => {
                session.knowledge.lost(*shard, *position);
            }
            Err(Failure::Behind { .. }) => {}
            Err(_) => session.leaders[place] = None,
            Ok(_) if !matches!(doing, Doing::Reading { .. }) => {
                session.leaders[place] = Some(machine);
            }
            Ok(_) => {}
        }
        let verdict = match (doing, reply) {
            (_, Err(_)) => Ok(()),
            (
                Doing::Writing(counter),
                Ok(Reply::Value { value: Value::Integer(number), position }),
            ) => {
                let shard = counter.shard(shards);
                session.knowledge.wrote(shard, position, now);
                if let Some(position) = position {
                    session.knowledge.told(shard, position, now);
                }
                self.session_wrote(id, counter, number);
                Ok(())
            }
            (Doing::ReadingAtLeader { counter, called }, Ok(Reply::Value { value, .. })) => {
                session.knowledge.read_at_leader(counter.shard(shards), now);
                self.session_read(id, counter, called, &value)
            }
            (Doing::Confirming { counter, called, mut floor }, Ok(Reply::Index(index))) => {
                floor.confirmed = index;
                session.doing = Doing::Reading { counter, called, floor };
                let request = read_at(counter, shards, floor, session.policy.wait_ms);
                self.session_sends(id, counter, request, false);
                return Ok(());
            }
            (Doing::Reading { counter, called, floor }, Ok(Reply::Read { value, position })) => {
                session.knowledge.read_at_replica(counter.shard(shards), &floor, position, now);
                self.session_read(id, counter, called, &value)
            }
            (doing, Ok(reply)) => panic!("{reply:?} is no answer to {doing:?}"),
        };
        self.session_rests(id);
        verdict
    }

    fn session_wrote(&mut self, id: SessionId, counter: Counter, number: i64) {
        let sessions = &mut self.sessions;
        sessions.own_writes.wrote(id, counter, number);
        sessions.staleness.wrote(counter, self.now, number);
        let session = &mut sessions.sessions[id.0];
        match counter {
            Counter::Left => session.left = Some(number),
            Counter::Right => {
                if let Some(left) = session.left.take() {
                    sessions.consistent_prefix.wrote(left, number);
                }
            }
        }
    }

    fn session_read(
        &mut self,
        id: SessionId,
        counter: Counter,
        called: Time,
        value: &Value,
    ) -> Verdict {
        let number = if let Value::Bulk(text) = value {
            str::from_utf8(text).ok().and_then(|text| text.parse().ok()).expect("a counter")
        } else {
            assert_eq!(*value, Value::Nil, "counters are numbers");
            0
        };
        let known = self.sessions.broken.len();
        self.sessions.check(id, counter, called, number);
        if let Some(broken) = self.sessions.broken.get(known).cloned() {
            self.mark(|| format!("{}: {}", broken.checker, broken.what));
            if self.is_traced() {
                return Err(broken);
            }
        }
        Ok(())
    }

    fn session_rests(&mut self, id: SessionId) {
        let session = &mut self.sessions.sessions[id.0];
        session.doing = Doing::Nothing;
        session.attempt += 1;
        let pause = Duration::from_millis(self.sessions.random.random_range(1..60));
        self.schedule_in(pause, Event::Session(id, Happening::Acts));
    }
}

fn read_at(counter: Counter, shards: u16, floor: Floor, wait_ms: u64) -> Request {
    let read = Read::Get { key: counter.key() };
    Request::ReadAt { shard: counter.shard(shards), read, floor, wait_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_are_in_different_shards_of_two() {
        assert_ne!(Counter::Left.shard(2), Counter::Right.shard(2));
    }
}
