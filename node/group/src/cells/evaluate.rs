//! Operations: which cells they read or change, and what is answered in the end.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_model::{ConflictPolicy, WallTime};
use quorate_replication::causal::{Cell, Change, Content, Context};
use quorate_replication::leaderless::CellKey;

use super::layout::string_cell;
use super::shown::{Shown, shown, values};
use super::context;
use crate::keyspace::{STRING_BYTES_MAX, integer_of, time_to_live};
use crate::{Comparison, Expiry, Operation, Read, SetCondition, TtlUnit, Value, ValueError, Write};

/// How far an operation came without asking anybody.
#[derive(Debug)]
pub(crate) enum Begun {
    Answered(Value),
    Read { keys: Vec<CellKey>, finish: Finish },
    Write { changes: Vec<(CellKey, Change)>, finish: Finish },
}

/// What the cells that come back are answered as.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Finish {
    Text,
    Texts,
    Length,
    Count,
    Type,
    TimeToLive(TtlUnit),
    Versions { key: Bytes },
    Number,
    Fixed(Value),
}

/// What the coordinator's replica knows, and when.
pub(crate) struct Local<'a> {
    pub(crate) cell: &'a dyn Fn(&CellKey) -> Cell,
    pub(crate) conflicts: ConflictPolicy,
    pub(crate) now: WallTime,
}

/// What is to be asked of the replicas for an operation.
///
/// # Errors
/// Nothing is to be done.
pub(crate) fn begin(operation: &Operation, local: &Local<'_>) -> Result<Begun, ValueError> {
    match operation {
        Operation::Read(operation) => read(operation),
        Operation::Write(operation) => write(operation, local),
    }
}

fn read(operation: &Read) -> Result<Begun, ValueError> {
    let one = |key: &Bytes, finish| Ok(Begun::Read { keys: vec![string_cell(key)?], finish });
    let many = |keys: &[Bytes], finish| {
        let keys = keys.iter().map(string_cell).collect::<Result<_, _>>()?;
        Ok(Begun::Read { keys, finish })
    };
    match operation {
        Read::Get { key } => one(key, Finish::Text),
        Read::StringLength { key } => one(key, Finish::Length),
        Read::Type { key } => one(key, Finish::Type),
        Read::TimeToLive { key, unit } => one(key, Finish::TimeToLive(*unit)),
        Read::GetMany { keys } => many(keys, Finish::Texts),
        Read::CountExisting { keys } => many(keys, Finish::Count),
        Read::Siblings { key } => one(key, Finish::Versions { key: key.clone() }),
        Read::Versions { .. } => Err(ValueError::NeedsLeader),
        Read::GetRange { .. }
        | Read::Scan { .. }
        | Read::CountKeys
        | Read::CountKeysInSlot { .. }
        | Read::KeysInSlot { .. }
        | Read::Keys { .. }
        | Read::Field { .. }
        | Read::FieldsNamed { .. }
        | Read::AllFields { .. }
        | Read::CountFields { .. }
        | Read::FieldLength { .. }
        | Read::HasFields { .. }
        | Read::RandomFields { .. }
        | Read::ScanFields { .. }
        | Read::CombineSets { .. }
        | Read::CountIntersection { .. }
        | Read::Encoding { .. }
        | Read::MemoryUsage { .. }
        | Read::RandomKey { .. }
        | Read::Digest { .. } => Err(ValueError::NotOffered),
    }
}

fn write(operation: &Write, local: &Local<'_>) -> Result<Begun, ValueError> {
    match operation {
        Write::Set { key, value, condition: SetCondition::Always, expiry, get: false } => {
            local.set(&[(key.clone(), value.clone())], *expiry)
        }
        Write::SetMany { pairs, only_if_none: false } => local.set(pairs, Expiry::Never),
        Write::Increment { key, by } => local.increment(key, *by),
        Write::Delete { keys } => local.delete(keys),
        Write::Expire { key, expiry, comparison } => local.expire(key, *expiry, *comparison),
        Write::Persist { key } => local.persist(key),
        Write::SetSibling { key, value, context } => {
            let context = match context {
                Some(text) => context::decode(key, text)?,
                None => Context::default(),
            };
            let content = content(value, None)?;
            local.version(key, Change::Put { content, context: Some(context) })
        }
        Write::DeleteSiblings { key, context } => {
            let context = Some(context::decode(key, context)?);
            local.version(key, local.removal(context))
        }
        Write::Set { condition, .. } if *condition != SetCondition::Always => {
            Err(ValueError::NeedsLeader)
        }
        Write::SetMany { .. }
        | Write::DeleteIf { .. }
        | Write::SetFieldIfNone { .. }
        | Write::Transaction { .. }
        | Write::Once { .. }
        | Write::Rename { only_if_none: true, .. } => Err(ValueError::NeedsLeader),
        Write::Set { .. }
        | Write::GetDelete { .. }
        | Write::GetExpire { .. }
        | Write::Append { .. }
        | Write::SetRange { .. }
        | Write::IncrementFloat { .. }
        | Write::Flush
        | Write::RemoveExpired { .. }
        | Write::RemoveIfExpired { .. }
        | Write::SetFields { .. }
        | Write::RemoveFields { .. }
        | Write::IncrementField { .. }
        | Write::IncrementFieldFloat { .. }
        | Write::AddMembers { .. }
        | Write::PopMembers { .. }
        | Write::MoveMember { .. }
        | Write::StoreSets { .. }
        | Write::Rename { only_if_none: false, .. }
        | Write::Copy { .. } => Err(ValueError::NotOffered),
    }
}

impl Local<'_> {
    fn set(&self, pairs: &[(Bytes, Bytes)], expiry: Expiry) -> Result<Begun, ValueError> {
        let mut changes = Vec::with_capacity(pairs.len());
        // Of a key that is named twice the last value counts.
        let pairs: BTreeMap<&Bytes, &Bytes> = pairs.iter().map(|(key, value)| (key, value)).collect();
        for (key, value) in pairs {
            let expiry = match expiry {
                Expiry::Keep => self.shown(key)?.and_then(|shown| shown.expiry),
                Expiry::Never | Expiry::In { .. } | Expiry::At(_) => self.time(expiry),
            };
            // A write without a context is concurrent with everything, where that is kept.
            let context = match self.conflicts {
                ConflictPolicy::LastWriterWins | ConflictPolicy::Merge => None,
                ConflictPolicy::Siblings => Some(Context::default()),
            };
            let content = content(value, expiry)?;
            changes.push((string_cell(key)?, Change::Put { content, context }));
        }
        Ok(Begun::Write { changes, finish: Finish::Fixed(Value::Ok) })
    }

    fn increment(&self, key: &Bytes, by: i64) -> Result<Begun, ValueError> {
        let number = match self.shown(key)? {
            Some(shown) => number(&shown.text)?,
            None => 0,
        };
        number.checked_add(by).ok_or(ValueError::Overflow)?;
        let changes = vec![(string_cell(key)?, Change::Add(by))];
        Ok(Begun::Write { changes, finish: Finish::Number })
    }

    fn delete(&self, keys: &[Bytes]) -> Result<Begun, ValueError> {
        let mut changes = Vec::new();
        let mut count = 0;
        for key in keys.iter().collect::<BTreeSet<_>>() {
            let cell_key = string_cell(key)?;
            let cell = (self.cell)(&cell_key);
            let known = !cell.siblings().is_empty();
            count += i64::from(!cell.is_tombstone() && self.lives(&cell));
            // Where the last writer wins, it wins also over what this replica does not know.
            if known || self.conflicts == ConflictPolicy::LastWriterWins {
                changes.push((cell_key, self.removal(None)));
            }
        }
        let answer = Value::Integer(count);
        if changes.is_empty() {
            return Ok(Begun::Answered(answer));
        }
        Ok(Begun::Write { changes, finish: Finish::Fixed(answer) })
    }

    fn expire(
        &self,
        key: &Bytes,
        expiry: Expiry,
        comparison: Comparison,
    ) -> Result<Begun, ValueError> {
        let none = Ok(Begun::Answered(Value::Integer(0)));
        let Some(Shown { text, expiry: before }) = self.shown(key)? else { return none };
        let Some(at) = self.time(expiry) else { return Err(ValueError::ExpireTime("expire".into())) };
        let fits = match comparison {
            Comparison::Always => true,
            Comparison::IfNone => before.is_none(),
            Comparison::IfAny => before.is_some(),
            Comparison::IfGreater => before.is_some_and(|before| at > before),
            Comparison::IfLess => before.is_none_or(|before| at < before),
            Comparison::IfAnyAndLess => before.is_some_and(|before| at < before),
        };
        if !fits {
            return none;
        }
        self.rewrite(key, &text, Some(at))
    }

    fn persist(&self, key: &Bytes) -> Result<Begun, ValueError> {
        match self.shown(key)? {
            Some(Shown { text, expiry: Some(_) }) => self.rewrite(key, &text, None),
            Some(_) | None => Ok(Begun::Answered(Value::Integer(0))),
        }
    }

    /// An expiry is part of its value: whoever changes it writes the value.
    fn rewrite(
        &self,
        key: &Bytes,
        text: &Bytes,
        expiry: Option<WallTime>,
    ) -> Result<Begun, ValueError> {
        let content = content(text, expiry)?;
        let changes = vec![(string_cell(key)?, Change::Put { content, context: None })];
        Ok(Begun::Write { changes, finish: Finish::Fixed(Value::Integer(1)) })
    }

    fn version(&self, key: &Bytes, change: Change) -> Result<Begun, ValueError> {
        let finish = Finish::Versions { key: key.clone() };
        Ok(Begun::Write { changes: vec![(string_cell(key)?, change)], finish })
    }

    /// Where the last writer wins, a removal must have a time to win by.
    const fn removal(&self, context: Option<Context>) -> Change {
        match self.conflicts {
            ConflictPolicy::LastWriterWins => {
                Change::Put { content: Content::Removed, context }
            }
            ConflictPolicy::Merge | ConflictPolicy::Siblings => Change::Remove { context },
        }
    }

    fn shown(&self, key: &Bytes) -> Result<Option<Shown>, ValueError> {
        shown(&(self.cell)(&string_cell(key)?), self.conflicts, self.now)
    }

    /// Whether there is anything to read; several values are something.
    fn lives(&self, cell: &Cell) -> bool {
        shown(cell, self.conflicts, self.now).is_ok_and(|shown| shown.is_some())
            || !values(cell, self.now).is_empty()
    }

    fn time(&self, expiry: Expiry) -> Option<WallTime> {
        match expiry {
            Expiry::Never | Expiry::Keep => None,
            Expiry::At(at) => Some(at),
            Expiry::In { ms } => Some(WallTime(self.now.0.saturating_add_signed(ms))),
        }
    }
}

impl Finish {
    /// What stands, as the operation's answer.
    pub(crate) fn finish(self, cells: &[Cell], conflicts: ConflictPolicy, now: WallTime) -> Value {
        self.value(cells, conflicts, now).unwrap_or_else(Value::Error)
    }

    fn value(
        self,
        cells: &[Cell],
        conflicts: ConflictPolicy,
        now: WallTime,
    ) -> Result<Value, ValueError> {
        let cell = cells.first().ok_or(ValueError::NoSuchKey);
        let one = || shown(cell.clone()?, conflicts, now);
        let bulk = |shown: Option<Shown>| shown.map_or(Value::Nil, |shown| Value::Bulk(shown.text));
        Ok(match self {
            Self::Fixed(value) => value,
            Self::Text => bulk(one()?),
            Self::Length => {
                let length = one()?.map_or(0, |shown| shown.text.len());
                Value::Integer(i64::try_from(length).unwrap_or(i64::MAX))
            }
            Self::Type => {
                Value::Status(one()?.map_or("none", |_| "string").to_owned())
            }
            Self::TimeToLive(unit) => Value::Integer(match one()? {
                None => -2,
                Some(Shown { expiry: None, .. }) => -1,
                Some(Shown { expiry: Some(at), .. }) => time_to_live(at, now, unit),
            }),
            Self::Number => Value::Integer(one()?.map_or(Ok(0), |shown| number(&shown.text))?),
            Self::Texts => {
                let texts = cells.iter().map(|cell| Ok(bulk(shown(cell, conflicts, now)?)));
                Value::List(texts.collect::<Result<_, _>>()?)
            }
            Self::Count => {
                let live = cells.iter().filter(|cell| {
                    shown(cell, conflicts, now).map_or(true, |shown| shown.is_some())
                });
                Value::Integer(i64::try_from(live.count()).unwrap_or(i64::MAX))
            }
            Self::Versions { key } => {
                let cell = cell?;
                let context = Value::Bulk(context::encode(&key, &cell.context()));
                let values = values(cell, now).into_iter().map(Value::Bulk);
                Value::List([context].into_iter().chain(values).collect())
            }
        })
    }
}

fn content(value: &Bytes, expiry: Option<WallTime>) -> Result<Content, ValueError> {
    if value.len() > STRING_BYTES_MAX {
        return Err(ValueError::TooLong(STRING_BYTES_MAX as u64));
    }
    Ok(Content::Value { value: value.clone(), expiry })
}

fn number(text: &[u8]) -> Result<i64, ValueError> {
    integer_of(text).ok_or(ValueError::NotInteger)
}
