//! Simulated clients: each has at most one operation under way on one of a few keys, and writes down what it saw.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_group::host::{Failure, Reply};
use quorate_group::{Expiry, Operation, Read, SetCondition, Value, Write};
use quorate_model::Time;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::checkers::linearizability::{Action, Call};

/// Numbers the clients of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ClientId(pub(crate) usize);

/// What became of an attempt, for the client's next step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Attempt {
    /// The call is over.
    Done,
    /// It surely had no effect: ask again, elsewhere.
    Again,
}

/// A `v` and a number.
pub(crate) const VALUE_BYTES: usize = 9;

#[derive(Clone, Debug)]
struct UnderWay {
    key: usize,
    called: Time,
    action: Action,
}

pub(crate) struct Workload {
    keys: Vec<Bytes>,
    /// Every call of every key, in the order in which they ended.
    history: BTreeMap<usize, Vec<Call>>,
    under_way: BTreeMap<ClientId, UnderWay>,
    next_value: u64,
    pub(crate) answered: u64,
}

impl Workload {
    pub(crate) fn new(keys: usize) -> Self {
        let keys = (0..keys).map(|key| Bytes::from(format!("key-{key}"))).collect();
        Self {
            keys,
            history: BTreeMap::new(),
            under_way: BTreeMap::new(),
            next_value: 0,
            answered: 0,
        }
    }

    /// The client begins a call.
    pub(crate) fn begin(&mut self, client: ClientId, now: Time, random: &mut ChaCha8Rng) {
        let key = random.random_range(0..self.keys.len());
        // A third of the keys are numbers, so that increments never meet other text.
        let number = key % 3 == 2;
        let action = match random.random_range(0..10) {
            0..4 => Action::Get { found: None },
            4..7 if number => Action::Increment { result: None },
            4..7 => Action::Set { value: self.fresh_value() },
            7 if !number => Action::SetIfAbsent { value: self.fresh_value(), set: None },
            8 => Action::Delete { existed: None },
            _ => Action::Get { found: None },
        };
        let earlier = self.under_way.insert(client, UnderWay { key, called: now, action });
        assert!(earlier.is_none(), "one call at a time");
    }

    /// What the client's call asks for; `None` when it has none.
    pub(crate) fn operation(&self, client: ClientId) -> Option<Operation> {
        let under_way = self.under_way.get(&client)?;
        let key = self.keys[under_way.key].clone();
        let set = |value: &Bytes, condition| Write::Set {
            key: key.clone(),
            value: value.clone(),
            condition,
            expiry: Expiry::Never,
            get: false,
        };
        Some(match &under_way.action {
            Action::Get { .. } => Operation::Read(Read::Get { key }),
            Action::Set { value } => Operation::Write(set(value, SetCondition::Always)),
            Action::SetIfAbsent { value, .. } => {
                Operation::Write(set(value, SetCondition::IfAbsent))
            }
            Action::Delete { .. } => Operation::Write(Write::Delete { keys: vec![key] }),
            Action::Increment { .. } => Operation::Write(Write::Increment { key, by: 1 }),
        })
    }

    /// An attempt of the client's call was answered.
    pub(crate) fn answer(
        &mut self,
        client: ClientId,
        now: Time,
        reply: Result<Reply, Failure>,
    ) -> Attempt {
        match reply {
            Ok(Reply::Value { value, .. }) => {
                self.end(client, Some(now), Some(value));
                Attempt::Done
            }
            Ok(other) => panic!("{other:?} is no answer to an operation"),
            Err(Failure::Unknown) => {
                self.end(client, None, None);
                Attempt::Done
            }
            // Everything else promises that nothing happened.
            Err(
                Failure::NotLeader { .. }
                | Failure::NoLeader { .. }
                | Failure::NotHosted { .. }
                | Failure::Overloaded
                | Failure::EpochMoved { .. }
                | Failure::AlreadyBootstrapped
                | Failure::Invalid(_)
                | Failure::Behind { .. }
                | Failure::PositionLost { .. }
                | Failure::TimedOut { .. }
                | Failure::Damaged(_),
            ) => Attempt::Again,
        }
    }

    /// The client heard nothing and gives up.
    pub(crate) fn give_up(&mut self, client: ClientId) {
        if self.under_way.contains_key(&client) {
            self.end(client, None, None);
        }
    }

    /// Every key's calls; those still under way are calls without an answer.
    pub(crate) fn histories(&self) -> BTreeMap<Bytes, Vec<Call>> {
        let mut histories = BTreeMap::<Bytes, Vec<Call>>::new();
        for (key, calls) in &self.history {
            histories.insert(self.keys[*key].clone(), calls.clone());
        }
        for under_way in self.under_way.values() {
            let call =
                Call { called: under_way.called, answered: None, action: under_way.action.clone() };
            histories.entry(self.keys[under_way.key].clone()).or_default().push(call);
        }
        for calls in histories.values_mut() {
            // A read without an answer says nothing.
            calls.retain(|call| {
                call.answered.is_some() || !matches!(call.action, Action::Get { .. })
            });
        }
        histories
    }

    fn end(&mut self, client: ClientId, answered: Option<Time>, value: Option<Value>) {
        let UnderWay { key, called, mut action } =
            self.under_way.remove(&client).expect("a call is under way");
        if let Some(value) = value {
            note(&mut action, value);
            self.answered += 1;
        }
        self.history.entry(key).or_default().push(Call { called, answered, action });
    }

    fn fresh_value(&mut self) -> Bytes {
        self.next_value += 1;
        let value = Bytes::from(format!("v{:08}", self.next_value));
        assert_eq!(value.len(), VALUE_BYTES);
        value
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
