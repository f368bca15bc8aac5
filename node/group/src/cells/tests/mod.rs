//! Three replicas without the protocol: a command is begun by what its coordinator knows, and finished by what those who answer
//! know together.

mod commands_test;
mod listing_test;
mod merging_test;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use quorate_model::{ActorId, ConflictPolicy, Dot, Hlc, WallTime};
use quorate_replication::causal::Cell;
use quorate_replication::leaderless::CellKey;

use super::{Begun, Local, begin};
use crate::{
    CollectionKind, Expiry, Operation, Part, Read, SetCondition, Value, ValueError, Write,
};

pub(super) const POLICIES: [ConflictPolicy; 3] =
    [ConflictPolicy::LastWriterWins, ConflictPolicy::Merge, ConflictPolicy::Siblings];
const REPLICAS: usize = 3;

pub(super) type Known = BTreeMap<CellKey, Cell>;

pub(super) struct Replicas {
    pub(super) known: [Known; REPLICAS],
    pub(super) now: WallTime,
    conflicts: ConflictPolicy,
    writes: u64,
    /// How many cells the last read was answered from.
    pub(super) answered_from: usize,
}

impl Replicas {
    pub(super) fn new(conflicts: ConflictPolicy) -> Self {
        let known = Default::default();
        Self { known, now: WallTime(1_000), conflicts, writes: 0, answered_from: 0 }
    }

    /// Coordinated by the first, to which those also named answer.
    pub(super) fn run(&mut self, named: &[usize], operation: impl Into<Operation>) -> Value {
        let at = named[0];
        let known = RefCell::new(&self.known[at]);
        let local = Local {
            cell: &|key| known.borrow().get(key).cloned().unwrap_or_default(),
            range: &|from, to, count_max| {
                let known = known.borrow();
                let bounds = (Bound::Included(from), Bound::Excluded(to));
                let cells = known.range::<Bytes, _>(bounds).take(count_max);
                cells.map(|(key, cell)| (key.clone(), cell.clone())).collect()
            },
            conflicts: self.conflicts,
            now: self.now,
            seed: self.writes,
        };
        match begin(&operation.into(), &local) {
            Err(error) => Value::Error(error),
            Ok(Begun::Answered(value)) => value,
            Ok(Begun::Read { asked, finish }) => {
                let mut answer = Known::new();
                for replica in named {
                    let cells = self.known[*replica].iter();
                    let cells =
                        cells.filter(|(key, _)| asked.iter().any(|asked| asked.covers(key)));
                    merge(&mut answer, cells, self.conflicts);
                }
                self.answered_from = answer.len();
                let cells: Vec<(CellKey, Cell)> = answer.into_iter().collect();
                finish.finish(&cells, self.conflicts, self.now)
            }
            Ok(Begun::Write { changes, finish }) => {
                let mut stands = Vec::new();
                for (key, change) in changes {
                    self.writes += 1;
                    let dot = Dot { actor: ActorId(at as u64 + 1), counter: self.writes };
                    let cell = self.known[at].entry(key.clone()).or_default();
                    cell.change(dot, Hlc(self.writes), change);
                    stands.push((key, cell.clone()));
                }
                let cells = stands.iter().map(|(key, cell)| (key, cell));
                for other in &named[1..] {
                    merge(&mut self.known[*other], cells.clone(), self.conflicts);
                }
                finish.finish(&stands, self.conflicts, self.now)
            }
        }
    }

    /// The first takes over what the second knows.
    pub(super) fn tell(&mut self, to: usize, from: usize) {
        let cells = self.known[from].clone();
        merge(&mut self.known[to], cells.iter(), self.conflicts);
    }
}

pub(super) fn merge<'c>(
    known: &mut Known,
    told: impl Iterator<Item = (&'c CellKey, &'c Cell)>,
    conflicts: ConflictPolicy,
) {
    for (key, theirs) in told {
        let cell = known.entry(key.clone()).or_default();
        cell.merge(theirs);
        if conflicts == ConflictPolicy::LastWriterWins {
            cell.keep_last_writer();
        }
    }
}

impl From<Read> for Operation {
    fn from(read: Read) -> Self {
        Self::Read(read)
    }
}

impl From<Write> for Operation {
    fn from(write: Write) -> Self {
        Self::Write(write)
    }
}

// Commands and answers.

pub(super) fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(super) fn texts(names: &[&str]) -> Vec<Bytes> {
    names.iter().map(|name| text(name)).collect()
}

pub(super) fn get(key: &str) -> Read {
    Read::Get { key: text(key) }
}

pub(super) fn set(key: &str, value: &str) -> Write {
    let (key, value) = (text(key), text(value));
    Write::Set { key, value, condition: SetCondition::Always, expiry: Expiry::Never, get: false }
}

pub(super) fn increment(key: &str, by: i64) -> Write {
    Write::Increment { key: text(key), by }
}

pub(super) fn delete(keys: &[&str]) -> Write {
    Write::Delete { keys: texts(keys) }
}

pub(super) fn hset(key: &str, field: &str, value: &str) -> Write {
    Write::SetFields { key: text(key), pairs: vec![(text(field), text(value))] }
}

pub(super) fn hget(key: &str, field: &str) -> Read {
    Read::Field { key: text(key), field: text(field) }
}

pub(super) fn hincrby(key: &str, field: &str, by: i64) -> Write {
    Write::IncrementField { key: text(key), field: text(field), by }
}

pub(super) fn hdel(key: &str, fields: &[&str]) -> Write {
    Write::RemoveFields { key: text(key), kind: CollectionKind::Hash, fields: texts(fields) }
}

pub(super) fn sadd(key: &str, members: &[&str]) -> Write {
    Write::AddMembers { key: text(key), members: texts(members) }
}

pub(super) fn srem(key: &str, members: &[&str]) -> Write {
    Write::RemoveFields { key: text(key), kind: CollectionKind::Set, fields: texts(members) }
}

pub(super) fn all(key: &str, kind: CollectionKind, part: Part) -> Read {
    Read::AllFields { key: text(key), kind, part }
}

pub(super) fn smembers(key: &str) -> Read {
    all(key, CollectionKind::Set, Part::Fields)
}

pub(super) fn bulk(value: &str) -> Value {
    Value::Bulk(text(value))
}

pub(super) fn list(values: &[&str]) -> Value {
    Value::List(values.iter().map(|value| bulk(value)).collect())
}

/// A list whose order means nothing.
pub(super) fn sorted(value: Value) -> Vec<Bytes> {
    let Value::List(values) = value else { panic!("no list: {value:?}") };
    let text =
        |value| if let Value::Bulk(text) = value { text } else { panic!("no text: {value:?}") };
    let mut texts: Vec<Bytes> = values.into_iter().map(text).collect();
    texts.sort();
    texts
}

pub(super) const fn error(error: ValueError) -> Value {
    Value::Error(error)
}
