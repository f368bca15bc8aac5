//! The keyspace against a plain map of rows.

mod collections_test;
mod custom_test;
mod homes_test;
mod leaders_test;
mod lost_test;
mod model_test;
mod once_test;
mod strings_test;
mod transaction_test;

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::{LogIndex, WallTime};
use quorate_replication::multi_leader::Change;

use super::*;
use crate::{Expiry, Read, ScanCursor, SetCondition, Value, Write};

const PREFIX: &[u8] = b"\x00\x00\x00\x01";

/// A shard with a leader that may have proposals under way.
#[derive(Default)]
struct Shard {
    rows: BTreeMap<Bytes, Bytes>,
    keys: i64,
    overlay: Overlay,
    last: LogIndex,
    under_way: Vec<(LogIndex, Bytes)>,
    now: WallTime,
    seed: u64,
    /// Of one of several leaders, with what it wrote.
    leaders: Option<Leaders>,
    changes: Vec<Change>,
}

impl Shard {
    fn new() -> Self {
        Self { now: WallTime(1_000_000), ..Self::default() }
    }

    fn propose(&mut self, write: &Write) -> Value {
        let keys = u64::try_from(self.keys).unwrap();
        self.seed += 1;
        let view = View::proposed(&self.rows, PREFIX, keys, &self.overlay);
        let view = view.among(self.leaders.as_ref());
        let context = Context { now: self.now, seed: self.seed };
        let Evaluated { value, mut effects } = evaluate(write, context, &view).unwrap();
        if let Some(leaders) = &self.leaders {
            self.changes.extend(change_of(&mut effects, leaders, &view).unwrap());
        }
        self.put_under_way(&effects);
        value
    }

    fn put_under_way(&mut self, effects: &Effects) {
        if !effects.is_empty() {
            self.last = self.last.next();
            self.overlay.note(self.last, effects);
            self.under_way.push((self.last, effects.encode()));
        }
    }

    /// Takes what another one wrote, where it is its turn.
    fn take(&mut self, changes: Vec<Change>) -> Vec<Conflict> {
        let keys = u64::try_from(self.keys).unwrap();
        self.seed += 1;
        let view = View::proposed(&self.rows, PREFIX, keys, &self.overlay);
        let view = view.among(self.leaders.as_ref());
        let context = Context { now: self.now, seed: self.seed };
        let taken = take(changes, context, self.leaders.as_ref().unwrap(), &view).unwrap();
        self.put_under_way(&taken.effects);
        taken.conflicts
    }

    fn apply_all(&mut self) {
        for (index, command) in std::mem::take(&mut self.under_way) {
            let effects = Effects::decode(command).unwrap();
            if effects.clear {
                self.rows.clear();
                self.keys = 0;
            }
            for change in &effects.changes {
                let row = Bytes::from([PREFIX, &change.row].concat());
                match &change.value {
                    Some(value) => self.rows.insert(row, value.clone()),
                    None => self.rows.remove(&row),
                };
            }
            self.keys += effects.keys;
            self.overlay.applied(index, &effects);
        }
        assert!(self.overlay.is_empty());
    }

    fn write(&mut self, write: &Write) -> Value {
        let value = self.propose(write);
        self.apply_all();
        value
    }

    fn outcome(&self, what: &Read, expired: Expired) -> ReadOutcome {
        let view = View::applied(&self.rows, PREFIX, u64::try_from(self.keys).unwrap());
        let view = view.among(self.leaders.as_ref());
        read(what, Context { now: self.now, seed: self.seed }, &view, expired).unwrap()
    }

    fn read(&self, what: &Read) -> Value {
        match self.outcome(what, Expired::Hide) {
            ReadOutcome::Value(value) => value,
            ReadOutcome::Expired(keys) => panic!("{keys:?}"),
        }
    }

    fn get(&self, key: &'static str) -> Value {
        self.read(&Read::Get { key: key.into() })
    }

    /// No row is left but the versions of what was removed and the newest instance.
    fn is_empty(&self) -> bool {
        self.rows.keys().all(|row| matches!(row[PREFIX.len()], b'v' | b'i'))
    }

    /// How many rows begin so.
    fn rows_of(&self, tag: u8) -> usize {
        self.rows.keys().filter(|row| row[PREFIX.len()] == tag).count()
    }

    fn expiry_rows(&self) -> usize {
        self.rows_of(b'e')
    }

    fn scan_all(&self, count: u32) -> Vec<Bytes> {
        let mut keys = Vec::new();
        let mut cursor = ScanCursor(0);
        loop {
            let Value::List(mut answer) =
                self.read(&Read::Scan { cursor, pattern: None, count, type_only: None })
            else {
                panic!("a list")
            };
            let Value::List(found) = answer.pop().unwrap() else { panic!("a list") };
            keys.extend(found.into_iter().map(|key| {
                let Value::Bulk(key) = key else { panic!("{key:?}") };
                key
            }));
            let Value::Integer(next) = answer.pop().unwrap() else { panic!("a number") };
            cursor = ScanCursor(u64::try_from(next).unwrap());
            if cursor.0 == 0 {
                return keys;
            }
        }
    }
}

fn set(key: &'static str, value: &'static str) -> Write {
    set_with(key, value, SetCondition::Always, Expiry::Never, false)
}

fn set_with(
    key: &'static str,
    value: &'static str,
    condition: SetCondition,
    expiry: Expiry,
    get: bool,
) -> Write {
    Write::Set { key: key.into(), value: value.into(), condition, expiry, get }
}

fn bulk(text: &'static str) -> Value {
    Value::Bulk(text.into())
}
