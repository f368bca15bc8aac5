//! Values and counters of a store without leaders, on a few keys: read and written anywhere, at any level, with whatever context
//! some client was once given.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use quorate_group::host::{Reply, Request};
use quorate_group::{Expiry, Operation, Read, SetCondition, Value, Write};
use quorate_model::{
    ConflictPolicy, Datacenter, Datacenters, Demand, LeaderlessPolicy, Level, ShardId, Slot, Time,
    majority,
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{Attempt, COLD, COLD_KEYS, ClientId, Lost, Workload, fresh_value, number};
use crate::checkers::versions::{Action, Quorums, Replaces};
use crate::checkers::{linearizability, sums, versions};
use crate::options::pick;
use crate::verdict::{By, Verdict};

/// Contexts of a key that some client may come back with.
const TOKENS_MAX: usize = 8;

/// Keys that are only ever read and written as linearizable registers, where there can be any.
const REGISTERS: usize = 2;

pub(crate) struct Versions {
    keys: Vec<Key>,
    policy: LeaderlessPolicy,
    replicas: usize,
    under_way: BTreeMap<ClientId, UnderWay>,
    next_value: u64,
    answered: u64,
    /// Each is to be read once more.
    unread: Option<Vec<usize>>,
    /// Since when.
    last_from: Option<Time>,
}

struct Key {
    name: Bytes,
    kind: Kind,
    tokens: VecDeque<Token>,
    versions: Vec<versions::Call>,
    sums: Vec<sums::Call>,
    linearizable: Vec<linearizability::Call>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Linearizable,
    Register,
    Counter,
    /// A register that is written and not read.
    Cold,
}

/// A context, and what its client was shown with it.
#[derive(Clone, Debug)]
struct Token {
    text: Bytes,
    shown: BTreeSet<Bytes>,
}

#[derive(Clone, Debug)]
struct UnderWay {
    key: usize,
    called: Time,
    demand: Demand,
    /// The datacenter that the last attempt came to.
    at: Option<Datacenter>,
    doing: Doing,
}

#[derive(Clone, Debug)]
enum Doing {
    Read,
    Get,
    Count,
    Add,
    Put {
        value: Bytes,
        token: Option<Token>,
    },
    Remove {
        token: Token,
    },
    /// Without contexts.
    Set {
        value: Bytes,
    },
    /// The same where it replaces nothing.
    SetBeside {
        value: Bytes,
    },
    Delete,
}

impl Versions {
    pub(crate) fn new(keys: usize, policy: LeaderlessPolicy, replicas: usize) -> Self {
        let hot = (0..keys).map(|key| {
            let kind = if key % 3 == 2 { Kind::Counter } else { Kind::Register };
            Key::new(format!("key-{key}"), kind)
        });
        let registers = if policy.keeps_registers() { REGISTERS } else { 0 };
        let registers =
            (0..registers).map(|key| Key::new(format!("register-{key}"), Kind::Linearizable));
        let cold = String::from_utf8_lossy(COLD);
        let cold = (0..COLD_KEYS).map(|key| Key::new(format!("{cold}{key}"), Kind::Cold));
        Self {
            keys: hot.chain(registers).chain(cold).collect(),
            policy,
            replicas,
            under_way: BTreeMap::new(),
            next_value: 0,
            answered: 0,
            unread: None,
            last_from: None,
        }
    }

    fn start(&mut self, client: ClientId, now: Time, key: usize, level: Level, doing: Doing) {
        let demand = match self.keys[key].kind {
            Kind::Linearizable => Demand::Linearizable,
            Kind::Register | Kind::Counter | Kind::Cold => Demand::Level(level),
        };
        let under_way = UnderWay { key, called: now, demand, at: None, doing };
        let earlier = self.under_way.insert(client, under_way);
        assert!(earlier.is_none(), "one call at a time");
    }

    fn something(&mut self, key: usize, random: &mut ChaCha8Rng) -> Doing {
        let keeps = self.policy.conflicts != ConflictPolicy::LastWriterWins;
        let Key { kind, tokens, .. } = &self.keys[key];
        let reads = random.random_bool(0.4);
        let removes = random.random_ratio(1, 6);
        let blindly =
            self.policy.conflicts == ConflictPolicy::Siblings && random.random_ratio(1, 6);
        let token = (!tokens.is_empty() && random.random_bool(0.8))
            .then(|| tokens[random.random_range(0..tokens.len())].clone());
        match (kind, keeps, token) {
            (Kind::Linearizable, _, _) if reads => Doing::Get,
            (Kind::Linearizable, _, _) if removes => Doing::Delete,
            (Kind::Linearizable, _, _) => Doing::Set { value: fresh_value(&mut self.next_value) },
            (Kind::Counter, _, _) if reads => Doing::Count,
            (Kind::Counter, _, _) => Doing::Add,
            (Kind::Register, _, _) if reads => Doing::Read,
            (Kind::Register | Kind::Cold, true, Some(token)) if removes => Doing::Remove { token },
            (Kind::Register | Kind::Cold, true, _) if blindly => {
                Doing::SetBeside { value: fresh_value(&mut self.next_value) }
            }
            (Kind::Register | Kind::Cold, true, token) => {
                Doing::Put { value: fresh_value(&mut self.next_value), token }
            }
            (Kind::Register | Kind::Cold, false, _) if removes => Doing::Delete,
            (Kind::Register | Kind::Cold, false, _) => {
                Doing::Set { value: fresh_value(&mut self.next_value) }
            }
        }
    }

    fn is_local(&self) -> bool {
        self.policy.datacenters == Datacenters::Local
    }

    fn end(&mut self, client: ClientId, answered: Option<(Time, Value)>) {
        let Some(UnderWay { key, called, demand, at, doing }) = self.under_way.remove(&client)
        else {
            return;
        };
        let level = demand.level(Level::default());
        let count = count_of(&self.policy, level, self.replicas);
        let within = at.filter(|_| self.policy.is_within(level));
        let key = &mut self.keys[key];
        let (answered, value) = match answered {
            Some((at, value)) => (Some(at), Some(value)),
            None => (None, None),
        };
        if key.kind == Kind::Linearizable {
            return key.note(called, answered, &doing, value);
        }
        let written = |puts, replaces| Action::Write { puts, replaces };
        let observed = |token: &Token| Replaces::Observed(token.shown.clone());
        let action = match (doing, value) {
            (Doing::Count, Some(value)) => {
                let read = Some(number(&value));
                return key.sums.push(sums::Call { called, answered, count, within, read });
            }
            (Doing::Add, _) => {
                return key.sums.push(sums::Call { called, answered, count, within, read: None });
            }
            (Doing::Read | Doing::Count, None) | (Doing::Get, _) => return,
            (Doing::Read, Some(value)) => Action::Read { shown: key.shown(value) },
            (Doing::Put { value: text, token }, value) => {
                value.map(|value| key.shown(value));
                let nothing = Replaces::Observed(BTreeSet::new());
                written(Some(text), token.as_ref().map_or(nothing, observed))
            }
            (Doing::Remove { token }, value) => {
                value.map(|value| key.shown(value));
                written(None, observed(&token))
            }
            (Doing::Set { value: text }, _) => written(Some(text), Replaces::Earlier),
            (Doing::SetBeside { value: text }, _) => {
                written(Some(text), Replaces::Observed(BTreeSet::new()))
            }
            (Doing::Delete, _) => written(None, Replaces::Earlier),
        };
        key.versions.push(versions::Call { called, answered, count, within, action });
    }

    /// Nothing happened, and nothing is to.
    fn drop_call(&mut self, client: ClientId) {
        self.under_way.remove(&client);
    }
}

impl Key {
    fn new(name: String, kind: Kind) -> Self {
        let (tokens, versions, sums) = (VecDeque::new(), Vec::new(), Vec::new());
        let linearizable = Vec::new();
        Self { name: Bytes::from(name), kind, tokens, versions, sums, linearizable }
    }

    /// A call of a linearizable register. What DEL answers is not of the register: that would take an agreement.
    fn note(&mut self, called: Time, answered: Option<Time>, doing: &Doing, value: Option<Value>) {
        use linearizability::Action;
        let action = match (doing, value) {
            (Doing::Get, None) => return,
            (Doing::Get, Some(Value::Nil)) => Action::Get { found: None },
            (Doing::Get, Some(Value::Bulk(text))) => Action::Get { found: Some(text) },
            (Doing::Set { value }, _) => Action::Set { value: value.clone() },
            (Doing::Delete, _) => Action::Delete { existed: None },
            (doing, value) => panic!("{value:?} is no answer of a register to {doing:?}"),
        };
        self.linearizable.push(linearizability::Call { called, answered, action });
    }

    /// A context and the values that go with it, which some client may use later.
    fn shown(&mut self, value: Value) -> BTreeSet<Bytes> {
        let bulk = |value| {
            let Value::Bulk(text) = value else { panic!("{value:?} is no context and no value") };
            text
        };
        let Value::List(parts) = value else { panic!("{value:?} are no versions") };
        let mut parts = parts.into_iter().map(bulk);
        let text = parts.next().expect("a context comes first");
        let shown: BTreeSet<Bytes> = parts.collect();
        if self.tokens.len() == TOKENS_MAX {
            self.tokens.pop_front();
        }
        self.tokens.push_back(Token { text, shown: shown.clone() });
        shown
    }

    fn operation(&self, doing: &Doing) -> Operation {
        let key = self.name.clone();
        Operation::Write(match doing.clone() {
            Doing::Read => return Operation::Read(Read::Siblings { key }),
            Doing::Count | Doing::Get => return Operation::Read(Read::Get { key }),
            Doing::Add => Write::Increment { key, by: 1 },
            Doing::Put { value, token } => {
                let context = token.map(|token| token.text);
                Write::SetSibling { key, value, context }
            }
            Doing::Remove { token } => Write::DeleteSiblings { key, context: token.text },
            Doing::Set { value } | Doing::SetBeside { value } => {
                let (condition, expiry) = (SetCondition::Always, Expiry::Never);
                Write::Set { key, value, condition, expiry, get: false }
            }
            Doing::Delete => Write::Delete { keys: vec![key] },
        })
    }
}

impl Workload for Versions {
    fn begin(&mut self, client: ClientId, now: Time, random: &mut ChaCha8Rng) {
        if let Some(unread) = &mut self.unread {
            if self.under_way.contains_key(&client) {
                return;
            }
            let Some(key) = unread.pop() else { return };
            let doing = match self.keys[key].kind {
                Kind::Counter => Doing::Count,
                Kind::Linearizable => Doing::Get,
                Kind::Register | Kind::Cold => Doing::Read,
            };
            return self.start(client, now, key, Level::All, doing);
        }
        let cold = random.random_ratio(1, 16);
        let hot = self.keys.len() - COLD_KEYS;
        let key = if cold {
            random.random_range(hot..self.keys.len())
        } else {
            random.random_range(0..hot)
        };
        let levels = [Level::Quorum, Level::Quorum, Level::Quorum, Level::Count(1), Level::All];
        let mut level = *pick(random, &levels);
        // It needs all of them, so that it is seen wherever it is read.
        let each = self.is_local() && random.random_ratio(1, 6);
        if each {
            level = Level::EachQuorum;
        }
        let doing = self.something(key, random);
        let reads = matches!(doing, Doing::Read | Doing::Count | Doing::Get);
        if self.policy.stands_in() && !reads && random.random_bool(0.5) {
            level = *pick(random, &[Level::SloppyQuorum, Level::SloppyQuorum, Level::Any]);
        }
        self.start(client, now, key, level, doing);
    }

    fn begin_read(&mut self, client: ClientId, now: Time, random: &mut ChaCha8Rng) {
        self.begin(client, now, random);
    }

    fn reads(&self, client: ClientId) -> bool {
        let under_way = self.under_way.get(&client);
        under_way.is_some_and(|one| matches!(one.doing, Doing::Read | Doing::Count | Doing::Get))
    }

    fn arrives(&mut self, client: ClientId, at: Datacenter) {
        if let Some(under_way) = self.under_way.get_mut(&client) {
            under_way.at = Some(at);
        }
    }

    fn request(&self, client: ClientId, shards: u16) -> Option<Request> {
        let UnderWay { key, demand, doing, .. } = self.under_way.get(&client)?;
        let shard = self.shard(client, shards)?;
        let operation = self.keys[*key].operation(doing);
        Some(Request::Coordinate { shard, operation, demand: *demand, seen: None })
    }

    fn shard(&self, client: ClientId, shards: u16) -> Option<ShardId> {
        let under_way = self.under_way.get(&client)?;
        Some(Slot::of_key(&self.keys[under_way.key].name).shard(shards))
    }

    fn answered_with(&mut self, client: ClientId, now: Time, reply: Reply) -> Attempt {
        let Reply::Value { value, .. } = reply else {
            panic!("{reply:?} is no answer to an operation")
        };
        // Refused by what stands in the cell.
        if matches!(value, Value::Error(_)) {
            self.drop_call(client);
            return Attempt::Done;
        }
        self.end(client, Some((now, value)));
        self.answered += 1;
        Attempt::Done
    }

    fn give_up(&mut self, client: ClientId) -> Attempt {
        // The last reads are answered in the end.
        if self.unread.is_some() && self.under_way.contains_key(&client) {
            return Attempt::Again;
        }
        self.end(client, None);
        Attempt::Done
    }

    fn answered(&self) -> u64 {
        self.answered
    }

    fn read_all(&mut self, now: Time) -> u64 {
        // Nobody waits for these any more, and they may take effect.
        for client in self.under_way.keys().copied().collect::<Vec<_>>() {
            self.end(client, None);
        }
        self.last_from = Some(now);
        self.unread = Some((0..self.keys.len()).collect());
        self.keys.len() as u64
    }

    fn check(&self, _shards: u16, lost: &Lost) -> Verdict {
        let (always, finally) = quorums(&self.policy, self.replicas, lost);
        let last = |called: Time| self.last_from.is_some_and(|from| called >= from);
        for Key { name, versions, sums, linearizable, .. } in &self.keys {
            let found = |why: String| format!("{name:?}: {why}");
            linearizability::check(linearizable).map_err(found).by("linearizability")?;
            versions::check(versions, always).map_err(found).by("versions")?;
            sums::check(sums, always).map_err(found).by("sums")?;
            // Datacenters have come to the same.
            let mut versions = versions.clone();
            versions.iter_mut().for_each(|call| call.within = None);
            // Replicas have got what was held for them (INV-104).
            versions.iter_mut().for_each(|call| call.count = call.count.max(1));
            versions
                .retain(|call| last(call.called) || matches!(call.action, Action::Write { .. }));
            versions::check(&versions, finally).map_err(found).by("versions")?;
            let mut sums = sums.clone();
            sums.retain(|call| last(call.called) || call.read.is_none());
            sums.iter_mut().for_each(|call| call.within = None);
            sums.iter_mut().for_each(|call| call.count = call.count.max(1));
            sums::check(&sums, finally).map_err(found).by("sums")?;
        }
        Ok(())
    }
}

/// How many replicas hold what is acknowledged at a level, at least.
pub(super) fn count_of(policy: &LeaderlessPolicy, level: Level, replicas: usize) -> usize {
    let local = policy.datacenters == Datacenters::Local;
    match level {
        Level::Count(count) => usize::from(count),
        Level::Quorum => majority(replicas),
        Level::LocalOne => 1,
        Level::LocalQuorum | Level::EachQuorum if local => majority(replicas),
        Level::LocalQuorum => 1,
        Level::All | Level::EachQuorum => replicas,
        // Others may stand in for all but the coordinator, and its own disk may hold it last, or never.
        Level::SloppyQuorum => majority(replicas).saturating_sub(replicas - 1),
        Level::Any => 1_usize.saturating_sub(replicas - 1),
    }
}

/// Whose word meets whose at any time, and in the end.
pub(super) fn quorums(
    policy: &LeaderlessPolicy,
    replicas: usize,
    lost: &Lost,
) -> (Quorums, Quorums) {
    // What fewer hold than the store declares may be lost with a replica, and is not to be seen while a shard moves.
    let declared = count_of(policy, policy.write, replicas).max(2);
    let floor = |applies: bool| if applies { declared } else { 0 };
    let departs = policy.datacenters == Datacenters::Local && lost.moves;
    let always = Quorums { replicas, lasting: floor(lost.replicas || lost.moves), departs };
    (always, Quorums { lasting: floor(lost.replicas), departs: false, ..always })
}
