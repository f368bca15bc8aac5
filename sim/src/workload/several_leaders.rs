//! What clients of a store with a leader in every datacenter do: registers, counters and members, written anywhere.
//!
//! Each value and each member is written once in a run, so what is there in the end says which writes still stand.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_group::host::{ReadLevel, Reply, Request};
use quorate_group::{CollectionKind, Expiry, HomeOf, Operation, Read, SetCondition, Value, Write};
use quorate_model::{Datacenter, Homes, ShardId, Slot, Time};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{Attempt, ClientId, Lost, Workload, fresh_value, number};
use crate::checkers::standing::{
    Call, Counter, check_counter, check_member, check_register, has_home, has_one_writer,
};
use crate::machine::datacenter;
use crate::options::Options;
use crate::verdict::{By, Verdict};

pub(crate) struct SeveralLeaders {
    keys: usize,
    homes: Homes,
    datacenters: usize,
    under_way: BTreeMap<ClientId, UnderWay>,
    registers: BTreeMap<usize, Vec<Call>>,
    counters: BTreeMap<usize, Counter>,
    /// What additions to counters with a home were answered.
    answers: BTreeSet<(usize, i64)>,
    answered_twice: Option<(usize, i64)>,
    members: BTreeMap<Bytes, Call>,
    /// What was read in the end.
    last: BTreeMap<usize, Option<Bytes>>,
    sums: BTreeMap<usize, i64>,
    found: BTreeMap<Bytes, bool>,
    unread: Option<Vec<Doing>>,
    next_value: u64,
    answered: u64,
}

#[derive(Clone, Debug)]
struct UnderWay {
    doing: Doing,
    called: Time,
    /// Where its last attempt came to.
    at: Option<Datacenter>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Doing {
    /// Nothing removes.
    Set(usize, Option<Bytes>),
    Get(usize),
    /// Both or neither, with a member.
    Increment(usize, Option<Bytes>),
    Sum(usize),
    Add(Bytes),
    Has(Bytes),
    /// A key's home goes there, or back to its pattern's.
    Move(Bytes, Option<Datacenter>),
}

const MEMBERS: &[u8] = b"members";

fn register(key: usize) -> Bytes {
    Bytes::from(format!("register-{key}"))
}

/// Of one slot with its member.
fn counter(key: usize) -> Bytes {
    Bytes::from(format!("{{members}}counter-{key}"))
}

impl SeveralLeaders {
    pub(crate) fn new(options: &Options) -> Self {
        let policy = options.mode.multi_leader().map(|multi_leader| &multi_leader.policy);
        Self {
            keys: options.keys,
            homes: policy.map(|policy| policy.homes.clone()).unwrap_or_default(),
            datacenters: options.datacenters,
            under_way: BTreeMap::new(),
            registers: BTreeMap::new(),
            counters: BTreeMap::new(),
            answers: BTreeSet::new(),
            answered_twice: None,
            members: BTreeMap::new(),
            last: BTreeMap::new(),
            sums: BTreeMap::new(),
            found: BTreeMap::new(),
            unread: None,
            next_value: 0,
            answered: 0,
        }
    }

    /// The call is over; without an answer nobody knows whether it took effect.
    fn end(&mut self, client: ClientId, answered: Option<(Time, Value)>) {
        let Some(UnderWay { doing, called, at }) = self.under_way.remove(&client) else { return };
        let call = |value: Option<Bytes>| Call {
            value,
            at,
            called,
            answered: answered.as_ref().map(|(at, _)| *at),
        };
        let value = answered.as_ref().map(|(_, value)| value);
        match (doing, value) {
            (Doing::Set(key, value), _) => {
                self.registers.entry(key).or_default().push(call(value));
            }
            (Doing::Increment(key, member), done) => {
                if let Some(sum) = value.and_then(sum_of)
                    && has_one_writer(&self.homes, &counter(key))
                    && !self.answers.insert((key, sum))
                {
                    self.answered_twice = Some((key, sum));
                }
                let counter = self.counters.entry(key).or_default();
                if done.is_some() {
                    counter.added += 1
                } else {
                    counter.perhaps += 1
                }
                if let Some(member) = member {
                    self.members.insert(member.clone(), call(Some(member)));
                }
            }
            (Doing::Add(member), _) => {
                self.members.insert(member.clone(), call(Some(member)));
            }
            (Doing::Get(key), Some(value)) => {
                let text = if let Value::Bulk(text) = value { Some(text.clone()) } else { None };
                self.last.insert(key, text);
            }
            (Doing::Sum(key), Some(value)) => {
                self.sums.insert(key, number(value));
            }
            (Doing::Has(member), Some(value)) => {
                self.found.insert(member, *value == Value::Integer(1));
            }
            (Doing::Get(_) | Doing::Sum(_) | Doing::Has(_), None) | (Doing::Move(..), _) => {}
        }
    }
}

/// Of an addition, or of a transaction that begins with one.
fn sum_of(value: &Value) -> Option<i64> {
    if let Value::List(values) = value {
        return values.first().and_then(sum_of);
    }
    if let Value::Integer(sum) = value { Some(*sum) } else { None }
}

impl Doing {
    fn key(&self) -> Bytes {
        match self {
            Self::Set(key, _) | Self::Get(key) => register(*key),
            Self::Increment(key, _) | Self::Sum(key) => counter(*key),
            Self::Add(_) | Self::Has(_) => Bytes::from_static(MEMBERS),
            Self::Move(key, _) => key.clone(),
        }
    }

    fn operation(&self) -> Operation {
        let add = |member: &Bytes| Write::AddMembers {
            key: Bytes::from_static(MEMBERS),
            members: vec![member.clone()],
        };
        let key = self.key();
        match self {
            Self::Set(_, Some(value)) => Operation::Write(Write::Set {
                key,
                value: value.clone(),
                condition: SetCondition::Always,
                expiry: Expiry::Never,
                get: false,
            }),
            Self::Set(_, None) => Operation::Write(Write::Delete { keys: vec![key] }),
            Self::Get(_) | Self::Sum(_) => Operation::Read(Read::Get { key }),
            Self::Increment(_, None) => Operation::Write(Write::Increment { key, by: 1 }),
            Self::Increment(_, Some(member)) => Operation::Write(Write::Transaction {
                watched: Vec::new(),
                operations: vec![
                    Operation::Write(Write::Increment { key, by: 1 }),
                    Operation::Write(add(member)),
                ],
            }),
            Self::Add(member) => Operation::Write(add(member)),
            Self::Move(_, home) => Operation::Write(Write::SetHome {
                of: HomeOf::Key(key),
                home: home.as_ref().map(|home| Bytes::copy_from_slice(home.as_str().as_bytes())),
            }),
            Self::Has(member) => Operation::Read(Read::HasFields {
                key,
                kind: CollectionKind::Set,
                fields: vec![member.clone()],
                many: false,
            }),
        }
    }
}

impl Workload for SeveralLeaders {
    fn begin(&mut self, client: ClientId, now: Time, random: &mut ChaCha8Rng) {
        if self.unread.is_some() && self.under_way.contains_key(&client) {
            return;
        }
        let key = random.random_range(0..self.keys);
        let mut fresh = || fresh_value(&mut self.next_value);
        let doing = match &mut self.unread {
            Some(unread) => {
                let Some(doing) = unread.pop() else { return };
                doing
            }
            None if has_home(&self.homes, &register(key)) && random.random_ratio(1, 12) => {
                let key = if random.random() { register(key) } else { counter(key) };
                let home = datacenter(random.random_range(0..self.datacenters));
                Doing::Move(key, random.random_bool(0.7).then_some(home))
            }
            None => match random.random_range(0..12) {
                0..4 => Doing::Set(key, Some(fresh())),
                4 => Doing::Set(key, None),
                5 => Doing::Get(key),
                6..9 => Doing::Increment(key, None),
                9 => Doing::Increment(key, Some(fresh())),
                _ => Doing::Add(fresh()),
            },
        };
        let earlier = self.under_way.insert(client, UnderWay { doing, called: now, at: None });
        assert!(earlier.is_none(), "one call at a time");
    }

    fn begin_read(&mut self, client: ClientId, now: Time, random: &mut ChaCha8Rng) {
        self.begin(client, now, random);
    }

    fn reads(&self, client: ClientId) -> bool {
        let doing = self.under_way.get(&client).map(|one| &one.doing);
        matches!(doing, Some(Doing::Get(_) | Doing::Sum(_) | Doing::Has(_)))
    }

    fn arrives(&mut self, client: ClientId, at: Datacenter) {
        if let Some(under_way) = self.under_way.get_mut(&client) {
            under_way.at = Some(at);
        }
    }

    fn request(&self, client: ClientId, shards: u16) -> Option<Request> {
        let operation = self.under_way.get(&client)?.doing.operation();
        let shard = self.shard(client, shards)?;
        Some(Request::Execute { shard, operation, level: ReadLevel::Linearizable })
    }

    fn shard(&self, client: ClientId, shards: u16) -> Option<ShardId> {
        let under_way = self.under_way.get(&client)?;
        Some(Slot::of_key(&under_way.doing.key()).shard(shards))
    }

    fn answered_with(&mut self, client: ClientId, now: Time, reply: Reply) -> Attempt {
        let Reply::Value { value, .. } = reply else { panic!("{reply:?} is no value") };
        self.answered += 1;
        self.end(client, Some((now, value)));
        Attempt::Done
    }

    fn give_up(&mut self, client: ClientId) -> Attempt {
        // The last reads are answered in the end.
        if self.unread.is_some() && self.reads(client) {
            return Attempt::Again;
        }
        self.end(client, None);
        Attempt::Done
    }

    fn answered(&self) -> u64 {
        self.answered
    }

    fn read_all(&mut self, _: Time) -> u64 {
        // Nobody waits for these any more, and they may take effect.
        for client in self.under_way.keys().copied().collect::<Vec<_>>() {
            self.end(client, None);
        }
        let keys = self.registers.keys().map(|key| Doing::Get(*key));
        let counters = self.counters.keys().map(|key| Doing::Sum(*key));
        let members = self.members.keys().cloned().map(Doing::Has);
        let unread: Vec<Doing> = keys.chain(counters).chain(members).collect();
        (self.last, self.sums) = Default::default();
        let count = unread.len() as u64;
        self.unread = Some(unread);
        count
    }

    fn check(&self, _: u16, _: &Lost) -> Verdict {
        for (key, found) in &self.last {
            let alone = has_one_writer(&self.homes, &register(*key));
            check_register(&self.registers[key], alone, found.as_ref()).by("standing")?;
        }
        if let Some((key, sum)) = self.answered_twice {
            let why = format!("{sum} was answered twice of counter {key}, which has a home");
            return Err(why).by("standing");
        }
        for (key, sum) in &self.sums {
            check_counter(self.counters[key], *sum).by("standing")?;
        }
        for (member, found) in &self.found {
            check_member(&self.members[member], *found).by("standing")?;
        }
        Ok(())
    }
}
