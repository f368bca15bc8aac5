//! Random commands against plain maps, and proposed against applied.
//!
//! Two shards run the same commands with the same seeds: one applies each entry at once, the other keeps entries under way and
//! applies them now and then. They must come to the same answers and the same entries, byte by byte: what is proposed
//! shows exactly as what is applied. Their answers must be those of a model of maps.

#![expect(clippy::wildcard_enum_match_arm, reason = "whatever else comes fails the test")]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_model::Resolution;

use super::super::random::Random;
use super::*;
use crate::{CollectionKind, Combination, Comparison, Operation, Part, ValueError};

pub(super) const KEYS: [&str; 4] = ["{t}a", "{t}b", "{t}c", "{t}d"];
const COMMANDS_MAX: usize = 600;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    String(Bytes),
    Hash(BTreeMap<Bytes, Bytes>),
    Set(BTreeSet<Bytes>),
}

#[derive(Clone, Debug, Default)]
struct Model {
    keys: BTreeMap<Bytes, (Held, Option<u64>)>,
    now: u64,
    /// Of one of several leaders, where collections do not expire.
    leaders: bool,
}

enum Expected {
    Exactly(Value),
    /// A list in any order.
    Elements(BTreeSet<Bytes>),
    /// As [`Expected::Elements`], fields and values in turn.
    Pairs(BTreeMap<Bytes, Bytes>),
    /// So many of these, which are gone then.
    Popped {
        key: Bytes,
        count: usize,
    },
}

fn error(error: ValueError) -> Expected {
    Expected::Exactly(Value::Error(error))
}

fn number(number: usize) -> Expected {
    Expected::Exactly(Value::Integer(i64::try_from(number).unwrap()))
}

impl Model {
    fn live(&mut self, key: &Bytes) -> Option<&mut Held> {
        let now = self.now;
        if self.keys.get(key).is_some_and(|(_, at)| at.is_some_and(|at| at <= now)) {
            self.keys.remove(key);
        }
        self.keys.get_mut(key).map(|(held, _)| held)
    }

    fn hash(&mut self, key: &Bytes) -> Result<BTreeMap<Bytes, Bytes>, ValueError> {
        match self.live(key) {
            None => Ok(BTreeMap::new()),
            Some(Held::Hash(hash)) => Ok(hash.clone()),
            Some(_) => Err(ValueError::WrongType),
        }
    }

    fn set(&mut self, key: &Bytes) -> Result<BTreeSet<Bytes>, ValueError> {
        match self.live(key) {
            None => Ok(BTreeSet::new()),
            Some(Held::Set(set)) => Ok(set.clone()),
            Some(_) => Err(ValueError::WrongType),
        }
    }

    /// Puts a value where one lives already or none, and keeps its expiry; an empty one is no key.
    fn put(&mut self, key: &Bytes, held: Held) {
        let empty = match &held {
            Held::String(_) => false,
            Held::Hash(hash) => hash.is_empty(),
            Held::Set(set) => set.is_empty(),
        };
        let expiry = self.keys.remove(key).and_then(|(_, expiry)| expiry);
        if !empty {
            self.keys.insert(key.clone(), (held, expiry));
        }
    }

    fn read(&mut self, read: &Read) -> Result<Expected, ValueError> {
        Ok(match read {
            Read::Get { key } => Expected::Exactly(match self.live(key) {
                None => Value::Nil,
                Some(Held::String(value)) => Value::Bulk(value.clone()),
                Some(_) => return Err(ValueError::WrongType),
            }),
            Read::Field { key, field } => {
                let value = self.hash(key)?.get(field).cloned();
                Expected::Exactly(value.map_or(Value::Nil, Value::Bulk))
            }
            Read::AllFields { key, kind: CollectionKind::Hash, .. } => {
                Expected::Pairs(self.hash(key)?)
            }
            Read::AllFields { key, kind: CollectionKind::Set, .. } => {
                Expected::Elements(self.set(key)?)
            }
            Read::CountFields { key, kind: CollectionKind::Hash } => number(self.hash(key)?.len()),
            Read::CountFields { key, kind: CollectionKind::Set } => number(self.set(key)?.len()),
            Read::CombineSets { keys, combination } => {
                Expected::Elements(self.combine(keys, *combination)?)
            }
            other => panic!("{other:?} is not drawn"),
        })
    }

    fn combine(
        &mut self,
        keys: &[Bytes],
        combination: Combination,
    ) -> Result<BTreeSet<Bytes>, ValueError> {
        let sets = keys.iter().map(|key| self.set(key)).collect::<Result<Vec<_>, _>>()?;
        let combined = sets.into_iter().reduce(|left, right| match combination {
            Combination::Intersection => &left & &right,
            Combination::Union => &left | &right,
            Combination::Difference => &left - &right,
        });
        Ok(combined.unwrap_or_default())
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each write")]
    fn write(&mut self, write: &Write) -> Result<Expected, ValueError> {
        Ok(match write {
            Write::Set { key, value, .. } => {
                self.keys.insert(key.clone(), (Held::String(value.clone()), None));
                Expected::Exactly(Value::Ok)
            }
            Write::SetFields { key, pairs } => {
                let mut hash = self.hash(key)?;
                let before = hash.len();
                hash.extend(pairs.iter().cloned());
                let new = hash.len() - before;
                self.put(key, Held::Hash(hash));
                number(new)
            }
            Write::RemoveFields { key, kind: CollectionKind::Hash, fields } => {
                let mut hash = self.hash(key)?;
                let before = hash.len();
                hash.retain(|field, _| !fields.contains(field));
                let removed = before - hash.len();
                self.put(key, Held::Hash(hash));
                number(removed)
            }
            Write::RemoveFields { key, kind: CollectionKind::Set, fields } => {
                let mut set = self.set(key)?;
                let before = set.len();
                set.retain(|member| !fields.contains(member));
                let removed = before - set.len();
                self.put(key, Held::Set(set));
                number(removed)
            }
            Write::AddMembers { key, members } => {
                let mut set = self.set(key)?;
                let before = set.len();
                set.extend(members.iter().cloned());
                let new = set.len() - before;
                self.put(key, Held::Set(set));
                number(new)
            }
            Write::MoveMember { from, to, member } => {
                let mut source = self.set(from)?;
                if self.live(from).is_none() {
                    return Ok(number(0));
                }
                let mut target = self.set(to)?;
                if !source.contains(member) {
                    return Ok(number(0));
                }
                if from != to {
                    source.remove(member);
                    target.insert(member.clone());
                    self.put(from, Held::Set(source));
                    self.put(to, Held::Set(target));
                }
                number(1)
            }
            Write::PopMembers { key, count } => {
                let set = self.set(key)?;
                let count = count.map_or(1, |count| usize::try_from(count).unwrap());
                Expected::Popped { key: key.clone(), count: count.min(set.len()) }
            }
            Write::StoreSets { to, keys, combination } => {
                let combined = self.combine(keys, *combination)?;
                let count = combined.len();
                self.keys.remove(to);
                self.put(to, Held::Set(combined));
                number(count)
            }
            Write::Delete { keys } => {
                let mut removed = 0;
                for key in keys {
                    removed += usize::from(self.live(key).is_some());
                    self.keys.remove(key);
                }
                number(removed)
            }
            Write::Rename { from, to, .. } => {
                if self.live(from).is_none() {
                    return Err(ValueError::NoSuchKey);
                }
                let held = self.keys.remove(from).expect("it lives");
                self.keys.insert(to.clone(), held);
                Expected::Exactly(Value::Ok)
            }
            Write::Copy { from, to, .. } => {
                if self.live(from).is_none() {
                    return Ok(number(0));
                }
                let held = self.keys.get(from).expect("it lives").clone();
                self.keys.insert(to.clone(), held);
                number(1)
            }
            Write::Expire { key, expiry: Expiry::In { ms }, .. } => {
                if self.live(key).is_none() {
                    return Ok(number(0));
                }
                if self.leaders && !matches!(self.live(key), Some(Held::String(_))) {
                    return Err(ValueError::NotAmongLeaders);
                }
                let at = self.now.checked_add_signed(*ms).unwrap();
                self.keys.get_mut(key).expect("it lives").1 = Some(at);
                number(1)
            }
            Write::Flush => {
                self.keys.clear();
                Expected::Exactly(Value::Ok)
            }
            Write::RemoveExpired { .. } => Expected::Exactly(Value::Ok),
            other => panic!("{other:?} is not drawn"),
        })
    }

    fn check(&mut self, expected: Result<Expected, ValueError>, value: &Value, what: &str) {
        match expected.unwrap_or_else(error) {
            Expected::Exactly(exactly) => assert_eq!(*value, exactly, "{what}"),
            Expected::Elements(elements) => {
                let found = elements_of(value);
                assert_eq!(found.len(), elements.len(), "{what}");
                assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), elements, "{what}");
            }
            Expected::Pairs(pairs) => {
                let found = elements_of(value);
                assert_eq!(found.len(), 2 * pairs.len(), "{what}");
                let found = found.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone()));
                assert_eq!(found.collect::<BTreeMap<_, _>>(), pairs, "{what}");
            }
            Expected::Popped { key, count } => {
                let popped = match value {
                    Value::Nil => Vec::new(),
                    Value::Bulk(one) => vec![one.clone()],
                    list => elements_of(list),
                };
                assert_eq!(popped.len(), count, "{what}");
                let mut set = self.set(&key).unwrap();
                for member in popped {
                    assert!(set.remove(&member), "{what}: {member:?} was not there");
                }
                self.put(&key, Held::Set(set));
            }
        }
    }
}

fn elements_of(value: &Value) -> Vec<Bytes> {
    let Value::List(items) = value else { panic!("{value:?}") };
    let items = items.iter().map(|item| match item {
        Value::Bulk(bytes) => bytes.clone(),
        other => panic!("{other:?}"),
    });
    items.collect()
}

pub(super) struct Draw(pub(super) Random);

impl Draw {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound)
    }

    pub(super) fn key(&mut self) -> Bytes {
        Bytes::from_static(KEYS[self.below(KEYS.len())].as_bytes())
    }

    fn keys(&mut self) -> Vec<Bytes> {
        (0..=self.below(3)).map(|_| self.key()).collect()
    }

    pub(super) fn field(&mut self) -> Bytes {
        Bytes::from(format!("f{}", self.below(30)))
    }

    /// Now and then more than go at once with their key.
    fn fields(&mut self) -> Vec<Bytes> {
        if self.below(12) == 0 {
            return (0..80 + self.below(80)).map(|n| Bytes::from(format!("many{n}"))).collect();
        }
        (0..=self.below(3)).map(|_| self.field()).collect()
    }

    fn combination(&mut self) -> Combination {
        match self.below(3) {
            0 => Combination::Intersection,
            1 => Combination::Union,
            _ => Combination::Difference,
        }
    }

    fn kind(&mut self) -> CollectionKind {
        if self.below(2) == 0 { CollectionKind::Hash } else { CollectionKind::Set }
    }

    fn read(&mut self) -> Read {
        let key = self.key();
        match self.below(5) {
            0 => Read::Get { key },
            1 => Read::Field { key, field: self.field() },
            2 => match self.kind() {
                CollectionKind::Hash => {
                    Read::AllFields { key, kind: CollectionKind::Hash, part: Part::Both }
                }
                CollectionKind::Set => {
                    Read::AllFields { key, kind: CollectionKind::Set, part: Part::Fields }
                }
            },
            3 => Read::CountFields { key, kind: self.kind() },
            _ => Read::CombineSets { keys: self.keys(), combination: self.combination() },
        }
    }

    pub(super) fn write(&mut self) -> Write {
        let key = self.key();
        match self.below(22) {
            0 => Write::Set {
                key,
                value: self.field(),
                condition: SetCondition::Always,
                expiry: Expiry::Never,
                get: false,
            },
            1..=4 => {
                let fields = self.fields();
                let pairs = fields.into_iter().map(|field| (field, self.field())).collect();
                Write::SetFields { key, pairs }
            }
            5..=8 => Write::AddMembers { key, members: self.fields() },
            9..=11 => Write::RemoveFields { key, kind: self.kind(), fields: self.fields() },
            12 => Write::MoveMember { from: key, to: self.key(), member: self.field() },
            13 => Write::PopMembers { key, count: None },
            14 => Write::PopMembers { key, count: Some(self.below(6) as u64) },
            15 => Write::StoreSets { to: key, keys: self.keys(), combination: self.combination() },
            16 => Write::Delete { keys: self.keys() },
            17 => Write::Rename { from: key, to: self.key(), only_if_none: false },
            18 => Write::Copy { from: key, to: self.other(), replace: true },
            19 => Write::Expire {
                key,
                expiry: Expiry::In { ms: 1 + i64::try_from(self.below(40)).unwrap() },
                comparison: Comparison::Always,
            },
            20 if self.below(8) == 0 => Write::Flush,
            20 | 21 => Write::RemoveExpired { count_max: 2 },
            _ => unreachable!(),
        }
    }

    /// A key that is no other's copy of itself.
    fn other(&mut self) -> Bytes {
        Bytes::from_static(b"{t}copy")
    }
}

/// One write to both shards and the model.
fn both(eager: &mut Shard, lazy: &mut Shard, write: &Write, what: &str) -> Value {
    let value = eager.propose(write);
    let proposed = lazy.propose(write);
    assert_eq!(value, proposed, "{what}");
    if let Some((_, entry)) = eager.under_way.last() {
        let last = lazy.under_way.last().map(|(_, entry)| entry);
        assert_eq!(Some(entry), last, "{what}");
    }
    eager.apply_all();
    value
}

fn run(seed: u64, leaders: Option<Leaders>) {
    let mut draw = Draw(Random::new(seed));
    let (mut eager, mut lazy, mut model) = (Shard::new(), Shard::new(), Model::default());
    (eager.leaders, lazy.leaders, model.leaders) =
        (leaders.clone(), leaders.clone(), leaders.is_some());
    for step in 0..COMMANDS_MAX {
        eager.now.0 += draw.below(4) as u64;
        lazy.now = eager.now;
        model.now = eager.now.0;
        match draw.below(10) {
            0..=1 => {
                let read = draw.read();
                let what = format!("seed {seed}, step {step}: {read:?}");
                // Within a transaction, as that shows what is proposed.
                let reads = Write::Transaction {
                    watched: vec![],
                    operations: vec![Operation::Read(read.clone())],
                };
                let Value::List(answers) = both(&mut eager, &mut lazy, &reads, &what) else {
                    panic!("{what}")
                };
                let expected = model.read(&read);
                model.check(expected, &answers[0], &what);
            }
            2 => {
                let writes: Vec<_> = (0..draw.below(5)).map(|_| draw.write()).collect();
                let what = format!("seed {seed}, step {step}: {writes:?}");
                let operations = writes.iter().cloned().map(Operation::Write).collect();
                let exec = Write::Transaction { watched: vec![], operations };
                let Value::List(answers) = both(&mut eager, &mut lazy, &exec, &what) else {
                    panic!("{what}")
                };
                for (write, answer) in writes.iter().zip(&answers) {
                    let expected = model.write(write);
                    model.check(expected, answer, &what);
                }
            }
            3 => lazy.apply_all(),
            _ => {
                let write = draw.write();
                let what = format!("seed {seed}, step {step}: {write:?}");
                let value = both(&mut eager, &mut lazy, &write, &what);
                let expected = model.write(&write);
                model.check(expected, &value, &what);
            }
        }
    }
    lazy.apply_all();
    assert_eq!(eager.rows, lazy.rows, "seed {seed}");
    nothing_else_is_kept(seed, eager, model);
}

fn nothing_else_is_kept(seed: u64, mut eager: Shard, mut model: Model) {
    // Everything due is removed and everything released is swept: only what the model holds is left.
    eager.now.0 += 1;
    model.now = eager.now.0;
    while {
        eager.propose(&Write::RemoveExpired { count_max: 100 });
        !eager.under_way.is_empty()
    } {
        eager.apply_all();
    }
    for key in KEYS.iter().chain([&"{t}copy"]) {
        model.live(&Bytes::from_static(key.as_bytes()));
    }
    assert_eq!(eager.keys, i64::try_from(model.keys.len()).unwrap(), "seed {seed}");
    let fields = model.keys.values().map(|(held, _)| match held {
        Held::String(_) => 0,
        Held::Hash(hash) => hash.len(),
        Held::Set(set) => set.len(),
    });
    assert_eq!(eager.rows_of(b'f'), fields.sum::<usize>(), "seed {seed}");
    assert_eq!(eager.rows_of(b'd'), model.keys.len(), "seed {seed}");
    if eager.leaders.is_some() {
        let strings = model.keys.values().filter(|(held, _)| matches!(held, Held::String(_)));
        let cells = eager.rows_of(b'f') + strings.count();
        assert_eq!(eager.rows_of(b'c'), cells, "seed {seed}: nothing is kept of what is gone");
    }
    let expiring = model.keys.values().filter(|(_, expiry)| expiry.is_some()).count();
    assert_eq!(eager.expiry_rows(), expiring, "seed {seed}");
}

#[test]
fn random_commands_answer_as_maps_do_proposed_or_applied() {
    for seed in 0..24 {
        run(seed, None);
    }
}

#[test]
fn one_of_several_leaders_answers_as_one_alone() {
    for seed in 100..124 {
        run(seed, Some(leaders_test::leaders(0, Resolution::LastWriterWins)));
    }
}
