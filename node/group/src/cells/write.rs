//! Writes: which cells they change, by what the coordinator's replica knows.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_model::planted::{self, Bug};
use quorate_model::{ConflictPolicy, WallTime};
use quorate_replication::causal::{Change, Content, Context};
use quorate_replication::leaderless::{CellKey, Place};

use super::finish::{Finish, field_number, number, of_field};
use super::layout::{cells_from, cells_of, field_cell, string_cell};
use super::local::Removal;
use super::shown::Shown;
use super::{Begun, Local, context};
use crate::keyspace::STRING_BYTES_MAX;
use crate::{
    CollectionKind, Comparison, Expiry, KeyType, Operation, SetCondition, Value, ValueError, Write,
};

impl Operation {
    /// Whether neither what it does nor what it answers follows from what its keys held before.
    #[must_use]
    pub const fn is_blind(&self) -> bool {
        match self {
            Self::Write(Write::Set {
                condition: SetCondition::Always, expiry, get: false, ..
            }) => !matches!(expiry, Expiry::Keep),
            Self::Write(Write::SetMany { only_if_none: false, .. }) => true,
            Self::Write(_) | Self::Read(_) => false,
        }
    }
}

pub(super) fn begin(operation: &Write, local: &Local<'_>) -> Result<Begun, ValueError> {
    match operation {
        Write::Set { key, value, condition: SetCondition::Always, expiry, get: false } => {
            local.set(&[(key.clone(), value.clone())], *expiry)
        }
        Write::SetMany { pairs, only_if_none: false } => local.set(pairs, Expiry::Never),
        Write::Increment { key, by } => local.increment(key, *by),
        Write::Delete { keys } => local.delete(keys),
        Write::Flush => local.flush(),
        Write::Expire { key, expiry, comparison } => local.expire(key, *expiry, *comparison),
        Write::Persist { key } => local.persist(key),
        Write::SetFields { key, pairs } => local.set_fields(key, pairs),
        Write::IncrementField { key, field, by } => local.increment_field(key, field, *by),
        Write::AddMembers { key, members } => local.add_members(key, members),
        Write::RemoveFields { key, kind, fields } => local.remove_fields(key, *kind, fields),
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
            local.version(key, local.removal(KeyType::String, context))
        }
        // What these do, or answer, follows from what the key held before: a member would be popped twice, an appended text lost.
        Write::Set { .. }
        | Write::SetMany { .. }
        | Write::SetFieldIfNone { .. }
        | Write::GetDelete { .. }
        | Write::GetExpire { .. }
        | Write::DeleteIf { .. }
        | Write::Append { .. }
        | Write::SetRange { .. }
        | Write::IncrementFloat { .. }
        | Write::IncrementFieldFloat { .. }
        | Write::PopMembers { .. }
        | Write::MoveMember { .. }
        | Write::Transaction { .. }
        | Write::Once { .. }
        | Write::Rename { only_if_none: true, .. } => Err(ValueError::NeedsLeader),
        Write::StoreSets { .. }
        | Write::Rename { only_if_none: false, .. }
        | Write::Copy { .. }
        | Write::SetHome { .. }
        | Write::RemoveExpired { .. }
        | Write::RemoveIfExpired { .. } => Err(ValueError::NotOffered),
    }
}

// Strings and counters.

impl Local<'_> {
    /// As in Redis, whatever the key held goes.
    fn set(&self, pairs: &[(Bytes, Bytes)], expiry: Expiry) -> Result<Begun, ValueError> {
        let mut changes = Vec::with_capacity(pairs.len());
        // Of a key that is named twice the last value counts.
        let pairs: BTreeMap<&Bytes, &Bytes> =
            pairs.iter().map(|(key, value)| (key, value)).collect();
        for (key, value) in pairs {
            let string = string_cell(key)?;
            let cell = self.cell(&string);
            let expiry = match expiry {
                Expiry::Keep => self.shown(&string)?.and_then(|shown| shown.expiry),
                Expiry::Never | Expiry::In { .. } | Expiry::At(_) => self.time(expiry),
            };
            if !self.lives(&cell) {
                let removal = self.removal_of(cells_of(key)?)?.changes.into_iter();
                changes.extend(removal.filter(|(cell, _)| *cell != string));
            }
            // A write without a context is concurrent with everything, where that is kept.
            let context = match self.conflicts {
                ConflictPolicy::LastWriterWins | ConflictPolicy::Merge => None,
                ConflictPolicy::Siblings => Some(Context::default()),
            };
            let content = content(value, expiry)?;
            changes.push((string, Change::Put { content, context }));
        }
        Ok(Begun::Write { changes, finish: Finish::Fixed(Value::Ok) })
    }

    fn increment(&self, key: &Bytes, by: i64) -> Result<Begun, ValueError> {
        self.check_type(key, KeyType::String)?;
        let cell = string_cell(key)?;
        let before = self.shown(&cell)?.map_or(Ok(0), |shown| number(&shown.text))?;
        before.checked_add(by).ok_or(ValueError::Overflow)?;
        Ok(Begun::Write { changes: vec![(cell, Change::Add(by))], finish: Finish::Number })
    }

    fn expire(
        &self,
        key: &Bytes,
        expiry: Expiry,
        comparison: Comparison,
    ) -> Result<Begun, ValueError> {
        let none = Ok(Begun::Answered(Value::Integer(0)));
        let Some(Shown { text, expiry: before }) = self.shown(&string_cell(key)?)? else {
            // An expiry is part of a value, and a collection is none.
            return if self.any_lives(cells_of(key)?) { Err(ValueError::NotOffered) } else { none };
        };
        let Some(at) = self.time(expiry) else {
            return Err(ValueError::ExpireTime("expire".into()));
        };
        if !comparison.holds(before, Some(at)) {
            return none;
        }
        self.rewrite(key, &text, Some(at))
    }

    fn persist(&self, key: &Bytes) -> Result<Begun, ValueError> {
        match self.shown(&string_cell(key)?)? {
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
        self.check_type(key, KeyType::String)?;
        let finish = Finish::Versions { key: key.clone() };
        Ok(Begun::Write { changes: vec![(string_cell(key)?, change)], finish })
    }
}

// Keys of any type.

impl Local<'_> {
    fn delete(&self, keys: &[Bytes]) -> Result<Begun, ValueError> {
        let mut changes = Vec::new();
        let mut count = 0;
        for key in keys.iter().collect::<BTreeSet<_>>() {
            let Removal { changes: known, lived } = self.removal_of(cells_of(key)?)?;
            count += i64::from(lived);
            let string = string_cell(key)?;
            // Where the last writer wins, it wins also over what this replica does not know.
            if self.conflicts == ConflictPolicy::LastWriterWins
                && known.iter().all(|(cell, _)| *cell != string)
            {
                changes.push((string, self.removal(KeyType::String, None)));
            }
            changes.extend(known);
        }
        Ok(begun(changes, count))
    }

    fn flush(&self) -> Result<Begun, ValueError> {
        let Removal { changes, .. } = self.removal_of(cells_from(Place(0)))?;
        if changes.is_empty() {
            return Ok(Begun::Answered(Value::Ok));
        }
        Ok(Begun::Write { changes, finish: Finish::Fixed(Value::Ok) })
    }
}

// Hashes and sets.

impl Local<'_> {
    /// A field has no contexts of its own, as VSET has them: what is written takes the place of what the coordinator knows, under
    /// every policy, and only what others write meanwhile is concurrent with it.
    fn set_fields(&self, key: &Bytes, pairs: &[(Bytes, Bytes)]) -> Result<Begun, ValueError> {
        self.check_type(key, KeyType::Hash)?;
        let pairs: BTreeMap<&Bytes, &Bytes> =
            pairs.iter().map(|(field, value)| (field, value)).collect();
        let mut changes = Vec::with_capacity(pairs.len());
        let mut new = 0;
        for (field, value) in pairs {
            let cell = field_cell(key, CollectionKind::Hash, field)?;
            new += i64::from(!self.lives(&self.cell(&cell)));
            let content = content(value, None)?;
            changes.push((cell, Change::Put { content, context: None }));
        }
        Ok(begun(changes, new))
    }

    fn increment_field(&self, key: &Bytes, field: &Bytes, by: i64) -> Result<Begun, ValueError> {
        self.check_type(key, KeyType::Hash)?;
        let cell = field_cell(key, CollectionKind::Hash, field)?;
        let before = self.shown(&cell).map_err(of_field)?;
        let before = before.map_or(Ok(0), |shown| field_number(&shown.text))?;
        before.checked_add(by).ok_or(ValueError::Overflow)?;
        Ok(Begun::Write { changes: vec![(cell, Change::Add(by))], finish: Finish::FieldNumber })
    }

    /// A member that is there is added again, so that no removal which has not seen this addition takes it away.
    fn add_members(&self, key: &Bytes, members: &[Bytes]) -> Result<Begun, ValueError> {
        self.check_type(key, KeyType::Set)?;
        let mut changes = Vec::with_capacity(members.len());
        let mut new = 0;
        for member in members.iter().collect::<BTreeSet<_>>() {
            let cell = field_cell(key, CollectionKind::Set, member)?;
            let lives = self.lives(&self.cell(&cell));
            new += i64::from(!lives);
            if lives && planted::is(Bug::SkipKnownMember) {
                continue;
            }
            changes.push((cell, Change::Put { content: Content::Member, context: None }));
        }
        Ok(begun(changes, new))
    }

    /// HDEL and SREM.
    fn remove_fields(
        &self,
        key: &Bytes,
        kind: CollectionKind,
        fields: &[Bytes],
    ) -> Result<Begun, ValueError> {
        self.check_type(key, kind.into())?;
        let mut changes = Vec::with_capacity(fields.len());
        let mut count = 0;
        for field in fields.iter().collect::<BTreeSet<_>>() {
            let cell_key = field_cell(key, kind, field)?;
            let cell = self.cell(&cell_key);
            count += i64::from(self.lives(&cell));
            let removal = self.removal(kind.into(), None);
            // A removal with a time wins also over what this replica does not know.
            if !cell.siblings().is_empty() || matches!(removal, Change::Put { .. }) {
                changes.push((cell_key, removal));
            }
        }
        Ok(begun(changes, count))
    }
}

fn begun(changes: Vec<(CellKey, Change)>, count: i64) -> Begun {
    let answer = Value::Integer(count);
    if changes.is_empty() {
        return Begun::Answered(answer);
    }
    Begun::Write { changes, finish: Finish::Fixed(answer) }
}

fn content(value: &Bytes, expiry: Option<WallTime>) -> Result<Content, ValueError> {
    if value.len() > STRING_BYTES_MAX {
        return Err(ValueError::TooLong(STRING_BYTES_MAX as u64));
    }
    Ok(Content::Value { value: value.clone(), expiry })
}
