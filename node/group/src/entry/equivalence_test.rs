//! A leader evaluates ahead of what it has applied, on its overlay; the others evaluate the same statements when they apply them. Both
//! come to the same rows, and so do row images and the engine's batches.

use bytes::Bytes;
use quorate_model::{LogIndex, WallTime};
use quorate_storage::state::model::Store;
use quorate_storage::state::{Batch, Change, Rows, StateStore};

use super::{Command, Statement, Wal};
use crate::keyspace::{Context, Effects, Overlay, View, evaluate};
use crate::{
    CollectionKind, Combination, Comparison, Expiry, FloatText, Operation, Part, Read,
    SetCondition, Value, Write,
};

const PREFIX: &[u8; 8] = b"prefix00";
const OTHER_PREFIX: &[u8; 8] = b"prefix77";
const ENGINE: u32 = 1;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn key(&mut self) -> Bytes {
        Bytes::from(format!("key-{}", self.roll(6)))
    }

    fn expiry(&mut self) -> Expiry {
        match self.roll(4) {
            0 => Expiry::In { ms: i64::try_from(self.roll(400)).unwrap() },
            1 => Expiry::At(WallTime(1_000 + self.roll(2_000))),
            2 => Expiry::Keep,
            _ => Expiry::Never,
        }
    }

    fn write(&mut self) -> Write {
        let key = self.key();
        let value = Bytes::from(self.roll(50).to_string());
        match self.roll(23) {
            20..23 => {
                let write = Box::new(self.write());
                let token = Bytes::from(self.roll(40).to_string());
                Write::Once { token, fingerprint: self.roll(2), write, answer: None }
            }
            12..16 => self.hash_write(),
            16..19 => self.set_write(),
            19 => self.transaction(),
            0 => Write::Increment { key, by: 7 },
            1 => Write::IncrementFloat { key, by: FloatText(format!("{}e-3", self.roll(900))) },
            2 => Write::Append { key, suffix: value },
            3 => Write::SetRange { key, offset: 2, bytes: value },
            4 => Write::Expire { key, expiry: self.expiry(), comparison: Comparison::IfGreater },
            5 => Write::Persist { key },
            6 => Write::Delete { keys: vec![key, self.key()] },
            7 => Write::RemoveIfExpired { keys: vec![key, self.key()] },
            8 if self.roll(8) == 0 => Write::Flush,
            9 => Write::SetMany {
                pairs: vec![(key, value), (self.key(), Bytes::new())],
                only_if_none: true,
            },
            10 => {
                let condition = SetCondition::IfEqual(Bytes::from(self.roll(50).to_string()));
                Write::Set { key, value, condition, expiry: Expiry::Keep, get: true }
            }
            _ => {
                let expiry = self.expiry();
                Write::Set { key, value, condition: SetCondition::IfAbsent, expiry, get: false }
            }
        }
    }
}

impl Dice {
    fn field(&mut self) -> Bytes {
        Bytes::from(self.roll(9).to_string())
    }

    fn fields(&mut self) -> Vec<Bytes> {
        (0..=self.roll(4)).map(|_| self.field()).collect()
    }

    fn keys(&mut self) -> Vec<Bytes> {
        (0..=self.roll(2)).map(|_| self.set_key()).collect()
    }

    fn hash_key(&mut self) -> Bytes {
        Bytes::from(format!("{{tag}}hash-{}", self.roll(3)))
    }

    fn set_key(&mut self) -> Bytes {
        Bytes::from(format!("{{tag}}set-{}", self.roll(4)))
    }

    /// Of one slot, and mostly of another type than what a command wants there.
    fn tagged_key(&mut self) -> Bytes {
        if self.roll(2) == 0 { self.hash_key() } else { self.set_key() }
    }

    fn hash_write(&mut self) -> Write {
        let (key, field) = (self.hash_key(), self.field());
        match self.roll(7) {
            0 => Write::RemoveFields { key, kind: CollectionKind::Hash, fields: self.fields() },
            1 => Write::IncrementField { key, field, by: 3 },
            2 => {
                let by = FloatText(format!("{}e-3", self.roll(900)));
                Write::IncrementFieldFloat { key, field, by }
            }
            3 => Write::SetFieldIfNone { key, field, value: Bytes::from_static(b"1.5") },
            4 => Write::Expire { key, expiry: self.expiry(), comparison: Comparison::Always },
            5 => {
                Write::Rename { from: self.tagged_key(), to: key, only_if_none: self.roll(2) == 0 }
            }
            _ => {
                let pairs = self.fields().into_iter().map(|field| (field, self.field()));
                Write::SetFields { key, pairs: pairs.collect() }
            }
        }
    }

    fn set_write(&mut self) -> Write {
        let key = self.set_key();
        match self.roll(8) {
            0 => Write::RemoveFields { key, kind: CollectionKind::Set, fields: self.fields() },
            1 => Write::PopMembers { key, count: None },
            2 => Write::PopMembers { key, count: Some(self.roll(4)) },
            3 => Write::MoveMember { from: key, to: self.set_key(), member: self.field() },
            4 => {
                let combination = match self.roll(3) {
                    0 => Combination::Intersection,
                    1 => Combination::Union,
                    _ => Combination::Difference,
                };
                Write::StoreSets { to: key, keys: self.keys(), combination }
            }
            5 => Write::Copy { from: self.tagged_key(), to: key, replace: self.roll(2) == 0 },
            6 => Write::Delete { keys: vec![key] },
            _ => Write::AddMembers { key, members: self.fields() },
        }
    }

    fn transaction(&mut self) -> Write {
        let operations = (0..=self.roll(5)).map(|_| match self.roll(3) {
            0 => Operation::Write(self.hash_write()),
            1 => Operation::Write(self.set_write()),
            _ => Operation::Read(Read::RandomFields {
                key: self.set_key(),
                kind: CollectionKind::Set,
                count: Some(2),
                part: Part::Fields,
            }),
        });
        Write::Transaction { watched: Vec::new(), operations: operations.collect() }
    }
}

/// One replica's rows.
struct Replica {
    store: Store,
    prefix: &'static [u8; 8],
    keys: u64,
}

impl Replica {
    fn new(prefix: &'static [u8; 8]) -> Self {
        Self { store: Store::new(), prefix, keys: 0 }
    }

    fn view(&self) -> View<'_, Store> {
        View::applied(&self.store, self.prefix, self.keys)
    }

    fn apply(&mut self, clear: bool, keys: i64, mut changes: Vec<Change>) {
        if clear {
            let rows = self.store.range(self.prefix, &[0xfe], usize::MAX).unwrap();
            let gone = rows.into_iter().map(|(row, _)| Change::Delete { row });
            changes.splice(0..0, gone);
            self.keys = 0;
        }
        self.keys = self.keys.checked_add_signed(keys).unwrap();
        self.store.apply(Batch { changes });
    }

    fn apply_effects(&mut self, effects: &Effects) {
        let under = |row: &Bytes| -> Bytes { [self.prefix.as_slice(), row].concat().into() };
        let changes = effects.changes.iter().map(|change| match &change.value {
            Some(value) => Change::Put { row: under(&change.row), value: value.clone() },
            None => Change::Delete { row: under(&change.row) },
        });
        let changes = changes.collect();
        self.apply(effects.clear, effects.keys, changes);
    }

    fn apply_entry(&mut self, entry: Bytes) {
        match Command::decode(entry, ENGINE).unwrap() {
            Command::Logical(effects) => self.apply_effects(&effects),
            Command::Statement(statement) => {
                let effects = statement.evaluate(&self.view()).unwrap().effects;
                self.apply_effects(&effects);
            }
            Command::Wal(wal) => self.apply(wal.clear, wal.keys, wal.changes_under(self.prefix)),
            Command::Switch(_) | Command::Mark(_) | Command::Changes(_) => {
                panic!("nobody wrote one")
            }
        }
    }

    fn rows(&self) -> Vec<(Bytes, Bytes)> {
        let rows = self.store.range(self.prefix, &[0xfe], usize::MAX).unwrap();
        rows.into_iter().map(|(row, value)| (row.slice(8..), value)).collect()
    }
}

#[test]
fn every_format_gives_the_rows_that_the_leader_meant() {
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let mut leader = Replica::new(PREFIX);
        let mut followers = [(); 4].map(|()| Replica::new(OTHER_PREFIX));
        let mut overlay = Overlay::default();
        let mut pending: Vec<(LogIndex, Effects)> = Vec::new();
        let mut now = 1_000;
        let mut index = LogIndex(0);
        for _ in 0..300 {
            now += dice.roll(20);
            let write = dice.write();
            let context = Context { now: WallTime(now), seed: dice.roll(1 << 30) };
            let view = View::proposed(&leader.store, PREFIX, leader.keys, &overlay);
            let evaluated = evaluate(&write, context, &view).unwrap();
            if !evaluated.effects.is_empty() {
                index = index.next();
                let statement = Statement::pin(&write, &evaluated, context.seed).unwrap().encode();
                let logical = evaluated.effects.encode();
                let wal = Wal::encode(&evaluated.effects, PREFIX, ENGINE);
                let mixed = [&statement, &logical, &wal][usize::try_from(dice.roll(3)).unwrap()];
                for (follower, entry) in
                    followers.iter_mut().zip([&statement, &logical, &wal, mixed])
                {
                    follower.apply_entry(entry.clone());
                }
                overlay.note(index, &evaluated.effects);
                pending.push((index, evaluated.effects));
            }
            // The leader applies late and some at once.
            if dice.roll(5) == 0 {
                for (index, effects) in pending.drain(..) {
                    leader.apply_effects(&effects);
                    overlay.applied(index, &effects);
                }
            }
        }
        for (_, effects) in pending {
            leader.apply_effects(&effects);
        }
        for (number, follower) in followers.iter().enumerate() {
            assert_eq!(follower.rows(), leader.rows(), "seed {seed}, follower {number}");
            assert_eq!(follower.keys, leader.keys);
        }
        assert!(!leader.rows().is_empty() || seed > 0);
    }
}

#[test]
fn a_float_is_in_the_log_as_the_text_that_the_leader_computed() {
    let replica = Replica::new(PREFIX);
    let key = Bytes::from_static(b"float");
    let write = Write::IncrementFloat { key: key.clone(), by: FloatText("1e30".to_owned()) };
    let context = Context { now: WallTime(1), seed: 1 };
    let evaluated = evaluate(&write, context, &replica.view()).unwrap();
    let Value::Bulk(sum) = &evaluated.value else { panic!("a number") };
    let statement = Statement::pin(&write, &evaluated, 1).unwrap();
    let pinned = Write::Set {
        key,
        value: sum.clone(),
        condition: SetCondition::Always,
        expiry: Expiry::Keep,
        get: false,
    };
    assert_eq!(statement.write, pinned, "no replica adds floating point numbers");
    let undetermined = crate::keyspace::Evaluated { value: Value::Ok, ..evaluated };
    assert!(Statement::pin(&write, &undetermined, 1).is_err(), "without a result it is refused");
}

#[test]
fn what_is_pinned_in_a_transaction_or_for_a_token_is_pinned_by_its_own_answer() {
    let replica = Replica::new(PREFIX);
    let bytes = Bytes::from_static;
    let (key, field) = (bytes(b"hash"), bytes(b"field"));
    let by = FloatText("0.1".to_owned());
    let float = Write::IncrementFieldFloat { key: key.clone(), field: field.clone(), by };
    let failed = Write::Increment { key: key.clone(), by: 1 };
    let write = Write::Once {
        token: bytes(b"token"),
        fingerprint: 9,
        write: Box::new(Write::Transaction {
            watched: Vec::new(),
            operations: [float, failed.clone()].map(Operation::Write).to_vec(),
        }),
        answer: None,
    };
    let context = Context { now: WallTime(1), seed: 1 };
    let evaluated = evaluate(&write, context, &replica.view()).unwrap();
    let Value::List(answers) = &evaluated.value else { panic!("a list") };
    assert_eq!(answers[0], Value::Bulk(bytes(b"0.1")));
    let statement = Statement::pin(&write, &evaluated, 1).unwrap();
    let Write::Once { write: pinned, answer, .. } = &statement.write else { panic!("once") };
    assert_eq!(*answer, Some(evaluated.value.clone()), "what is kept is what the client was told");
    let set = Write::SetFields { key, pairs: vec![(field, bytes(b"0.1"))] };
    let operations = [set, failed].map(Operation::Write).to_vec();
    assert_eq!(**pinned, Write::Transaction { watched: Vec::new(), operations });
    let again = statement.evaluate(&replica.view()).unwrap();
    assert_eq!(again.effects, evaluated.effects);
}
