//! Registers and counters whose histories must be linearizable, on a few keys.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_group::host::{ReadLevel, Reply, Request};
use quorate_group::{Expiry, Operation, Read, SetCondition, Value, Write};
use quorate_model::{GroupId, ShardId, Slot, Time};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{Attempt, COLD, COLD_KEYS, ClientId, Lost, Workload, fresh_value};
use crate::checkers::linearizability::{self, Action, Call};
use crate::verdict::{By, Verdict};

#[derive(Clone, Debug)]
struct UnderWay {
    key: usize,
    called: Time,
    action: Action,
    /// Asked again under it when nobody knows whether it was done.
    token: Option<Bytes>,
}

pub(crate) struct Registers {
    /// The cold ones are last.
    keys: Vec<Bytes>,
    hot: usize,
    /// When what is written to a cold key expires.
    cold_expiry_ms: i64,
    /// Every call of every key, in the order in which they ended.
    history: BTreeMap<usize, Vec<Call>>,
    under_way: BTreeMap<ClientId, UnderWay>,
    next_value: u64,
    next_token: u64,
    answered: u64,
}

impl Registers {
    pub(crate) fn new(keys: usize) -> Self {
        let hot = (0..keys).map(|key| Bytes::from(format!("key-{key}")));
        let cold = String::from_utf8_lossy(COLD);
        let cold = (0..COLD_KEYS).map(|key| Bytes::from(format!("{cold}{key}")));
        Self {
            keys: hot.chain(cold).collect(),
            hot: keys,
            cold_expiry_ms: 1,
            history: BTreeMap::new(),
            under_way: BTreeMap::new(),
            next_value: 0,
            next_token: 0,
            answered: 0,
        }
    }

    /// What the client's call asks for; `None` when it has none.
    fn operation(&self, client: ClientId) -> Option<Operation> {
        let under_way = self.under_way.get(&client)?;
        let key = self.keys[under_way.key].clone();
        let set = |value: &Bytes, condition| Write::Set {
            key: key.clone(),
            value: value.clone(),
            condition,
            expiry: if under_way.key < self.hot {
                Expiry::Never
            } else {
                Expiry::In { ms: self.cold_expiry_ms }
            },
            get: false,
        };
        let write = match &under_way.action {
            Action::Get { .. } => return Some(Operation::Read(Read::Get { key })),
            Action::Set { value } => set(value, SetCondition::Always),
            Action::SetIfAbsent { value, .. } => set(value, SetCondition::IfAbsent),
            Action::Delete { .. } => Write::Delete { keys: vec![key] },
            Action::Increment { .. } => Write::Increment { key, by: 1 },
        };
        Some(Operation::Write(match under_way.token.clone() {
            None => write,
            Some(token) => {
                Write::Once { token, fingerprint: 1, write: Box::new(write), answer: None }
            }
        }))
    }

    /// Every key's calls; those still under way are calls without an answer.
    fn histories(&self) -> BTreeMap<Bytes, Vec<Call>> {
        let mut histories = BTreeMap::<Bytes, Vec<Call>>::new();
        for (key, calls) in &self.history {
            histories.insert(self.keys[*key].clone(), calls.clone());
        }
        for under_way in self.under_way.values() {
            let call =
                Call { called: under_way.called, answered: None, action: under_way.action.clone() };
            histories.entry(self.keys[under_way.key].clone()).or_default().push(call);
        }
        histories.retain(|key, _| !key.starts_with(COLD));
        for calls in histories.values_mut() {
            // A read without an answer says nothing.
            calls.retain(|call| {
                call.answered.is_some() || !matches!(call.action, Action::Get { .. })
            });
        }
        histories
    }

    fn end(&mut self, client: ClientId, answered: Option<Time>, value: Option<Value>) {
        let UnderWay { key, called, mut action, token: _ } =
            self.under_way.remove(&client).expect("a call is under way");
        if let Some(value) = value {
            note(&mut action, value);
            self.answered += 1;
        }
        self.history.entry(key).or_default().push(Call { called, answered, action });
    }

    /// Every second write that must not be done twice has one.
    fn token(&mut self, action: &Action) -> Option<Bytes> {
        match action {
            Action::Get { .. } | Action::Set { .. } => None,
            Action::SetIfAbsent { .. } | Action::Delete { .. } | Action::Increment { .. } => {
                self.next_token += 1;
                let token = format!("token-{}", self.next_token);
                self.next_token.is_multiple_of(2).then(|| token.into())
            }
        }
    }
}

impl Workload for Registers {
    fn begin(&mut self, client: ClientId, now: Time, random: &mut ChaCha8Rng) {
        if random.random_ratio(1, 16) {
            let key = random.random_range(self.hot..self.keys.len());
            self.cold_expiry_ms = random.random_range(100..100_000);
            let action = Action::Set { value: fresh_value(&mut self.next_value) };
            let under_way = UnderWay { key, called: now, action, token: None };
            let earlier = self.under_way.insert(client, under_way);
            assert!(earlier.is_none(), "one call at a time");
            return;
        }
        let key = random.random_range(0..self.hot);
        // A third of the keys are numbers, so that increments never meet other text.
        let number = key % 3 == 2;
        let action = match random.random_range(0..10) {
            0..4 => Action::Get { found: None },
            4..7 if number => Action::Increment { result: None },
            4..7 => Action::Set { value: fresh_value(&mut self.next_value) },
            7 if !number => {
                Action::SetIfAbsent { value: fresh_value(&mut self.next_value), set: None }
            }
            8 => Action::Delete { existed: None },
            _ => Action::Get { found: None },
        };
        let token = self.token(&action);
        let under_way = UnderWay { key, called: now, action, token };
        let earlier = self.under_way.insert(client, under_way);
        assert!(earlier.is_none(), "one call at a time");
    }

    fn begin_read(&mut self, client: ClientId, now: Time, random: &mut ChaCha8Rng) {
        let key = random.random_range(0..self.hot);
        let action = Action::Get { found: None };
        let under_way = UnderWay { key, called: now, action, token: None };
        let earlier = self.under_way.insert(client, under_way);
        assert!(earlier.is_none(), "one call at a time");
    }

    fn reads(&self, client: ClientId) -> bool {
        let under_way = self.under_way.get(&client);
        under_way.is_some_and(|under_way| matches!(under_way.action, Action::Get { .. }))
    }

    fn request(&self, client: ClientId, shards: u16) -> Option<Request> {
        let operation = self.operation(client)?;
        let shard = self.shard(client, shards)?;
        Some(Request::Execute { shard, operation, level: ReadLevel::Linearizable })
    }

    fn shard(&self, client: ClientId, shards: u16) -> Option<ShardId> {
        let operation = self.operation(client)?;
        Some(Slot::of_key(operation.keys()[0]).shard(shards))
    }

    fn answered_with(&mut self, client: ClientId, now: Time, reply: Reply) -> Attempt {
        let Reply::Value { value, .. } = reply else {
            panic!("{reply:?} is no answer to an operation")
        };
        self.end(client, Some(now), Some(value));
        Attempt::Done
    }

    /// With a token it asks again: what it is answered then is the answer
    /// of a call that took effect once. INV-67.
    fn give_up(&mut self, client: ClientId) -> Attempt {
        match self.under_way.get(&client) {
            Some(UnderWay { token: Some(_), .. }) => Attempt::Again,
            Some(UnderWay { token: None, .. }) => {
                self.end(client, None, None);
                Attempt::Done
            }
            None => Attempt::Done,
        }
    }

    fn answered(&self) -> u64 {
        self.answered
    }

    fn read_all(&mut self, _now: Time) -> u64 {
        0
    }

    /// But not those of keys whose writes were lost, as under `Async` they may: there the rollback files are what is kept.
    fn check(&self, shards: u16, lost: &Lost) -> Verdict {
        for (key, calls) in self.histories() {
            let shard = Slot::of_key(&key).shard(shards);
            if lost.forgotten.contains(GroupId::Shard(shard), &key) {
                continue;
            }
            linearizability::check(&calls)
                .map_err(|why| format!("{key:?}: {why}"))
                .by("linearizability")?;
        }
        Ok(())
    }
}

/// Writes the answer into the action.
fn note(action: &mut Action, value: Value) {
    match (action, value) {
        (Action::Get { found }, Value::Bulk(text)) => *found = Some(text),
        (Action::Get { found }, Value::Nil) => *found = None,
        (Action::Set { .. }, Value::Ok) => {}
        (Action::SetIfAbsent { set, .. }, Value::Ok) => *set = Some(true),
        (Action::SetIfAbsent { set, .. }, Value::Nil) => *set = Some(false),
        (Action::Delete { existed }, Value::Integer(count)) => *existed = Some(count == 1),
        (Action::Increment { result }, Value::Integer(number)) => *result = Some(number),
        (action, value) => panic!("{value:?} is no answer to {action:?}"),
    }
}
