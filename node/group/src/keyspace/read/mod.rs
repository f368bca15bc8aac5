//! Reads, evaluated on what a replica has applied.

mod collections;
mod keys;

use bytes::Bytes;
use quorate_model::WallTime;
use quorate_storage::state::{Rows, StateError};

use super::causal;
use super::editor::Stop;
use super::layout::{Body, Header};
use super::random::Random;
use super::{Context, View, digest, scan};
use crate::{KeyType, Read, TtlUnit, Value, ValueError};

/// What becomes of a key whose time has come but whose removal is not in the log yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expired {
    /// A linearizable read reports it, so that it is removed through the log before the answer.
    Report,
    /// A local read answers as if it were gone.
    Hide,
}

#[derive(Clone, PartialEq, Debug)]
pub enum ReadOutcome {
    Value(Value),
    /// Propose `Write::RemoveIfExpired` for these keys and read again once it is applied.
    Expired(Vec<Bytes>),
}

/// # Errors
/// [`StateError::Read`].
pub fn read<R: Rows>(
    read: &Read,
    context: Context,
    view: &View<'_, R>,
    expired: Expired,
) -> Result<ReadOutcome, StateError> {
    let random = Random::new(context.seed);
    let mut reader = Reader { view, now: context.now, random, due: Vec::new() };
    let value = match reader.value_of(read) {
        Ok(value) => value,
        Err(Stop::Value(error)) => Value::Error(error),
        Err(Stop::State(error)) => return Err(error),
    };
    Ok(match expired {
        Expired::Report if !reader.due.is_empty() => ReadOutcome::Expired(reader.due),
        Expired::Report | Expired::Hide => ReadOutcome::Value(value),
    })
}

struct Reader<'a, R: Rows> {
    view: &'a View<'a, R>,
    now: WallTime,
    random: Random,
    /// Keys found whose time has come.
    due: Vec<Bytes>,
}

impl<R: Rows> Reader<'_, R> {
    #[expect(clippy::too_many_lines, reason = "one arm for each read")]
    fn value_of(&mut self, read: &Read) -> Result<Value, Stop> {
        Ok(match read {
            Read::Get { key } => self.string(key)?.map_or(Value::Nil, Value::Bulk),
            Read::Siblings { key } => causal::read_siblings(self.view, key, self.now)?,
            Read::Home { key } => causal::read_home(self.view, key)?,
            Read::Conflicts { count } => causal::read_conflicts(self.view, *count)?,
            Read::GetMany { keys } => {
                let mut values = Vec::with_capacity(keys.len());
                for key in keys {
                    values.push(match self.live(key)? {
                        Some(Header { body: Body::String(value), .. }) => Value::Bulk(value),
                        Some(Header { body: Body::Siblings(count), .. }) => {
                            Value::Error(ValueError::Siblings(count))
                        }
                        Some(Header { body: Body::Hash(_) | Body::Set(_), .. }) | None => {
                            Value::Nil
                        }
                    });
                }
                Value::List(values)
            }
            Read::GetRange { key, start, end } => {
                let value = self.string(key)?.unwrap_or_default();
                Value::Bulk(part(&value, *start, *end))
            }
            Read::StringLength { key } => {
                integer(self.string(key)?.map_or(0, |value| value.len() as u64))
            }
            Read::CountExisting { keys } => {
                let mut count = 0;
                for key in keys {
                    count += u64::from(self.live(key)?.is_some());
                }
                integer(count)
            }
            Read::Type { key } => Value::Status(
                match self.live(key)?.map(|header| header.kind()) {
                    None => "none",
                    Some(KeyType::String) => "string",
                    Some(KeyType::Hash) => "hash",
                    Some(KeyType::Set) => "set",
                }
                .to_owned(),
            ),
            Read::TimeToLive { key, unit } => Value::Integer(match self.live(key)? {
                None => -2,
                Some(Header { expiry: None, .. }) => -1,
                Some(Header { expiry: Some(at), .. }) => time_to_live(at, self.now, *unit),
            }),
            Read::Scan { cursor, pattern, count, type_only } => {
                scan::step(self.view, self.now, *cursor, pattern.as_deref(), *count, *type_only)?
            }
            Read::CountKeys => integer(self.view.keys()),
            Read::CountKeysInSlot { slot } => {
                integer(scan::count_in_slot(self.view, self.now, *slot)?)
            }
            Read::KeysInSlot { slot, count } => {
                Value::List(scan::keys_in_slot(self.view, self.now, *slot, *count as usize)?)
            }
            Read::Keys { pattern, count_max } => {
                match scan::all_matching(self.view, self.now, pattern, *count_max as usize)? {
                    Some(keys) => Value::List(keys),
                    None => Value::Error(ValueError::TooManyKeys(*count_max)),
                }
            }
            Read::RandomKey { slots } => {
                scan::random_key(self.view, self.now, *slots, &mut self.random)?
                    .map_or(Value::Nil, Value::Bulk)
            }
            Read::Encoding { key } => self.encoding(key)?,
            Read::MemoryUsage { key } => self.memory_usage(key)?,
            Read::Digest { key } => self.string(key)?.map_or(Value::Nil, |value| {
                Value::Bulk(digest::text(digest::digest(&value)).into())
            }),
            Read::Versions { keys } => {
                causal::check_watched(self.view, keys)?;
                self.versions(keys)?
            }
            Read::Field { key, field } => self.field(key, field)?.map_or(Value::Nil, Value::Bulk),
            Read::FieldsNamed { key, fields } => self.fields_named(key, fields)?,
            Read::AllFields { key, kind, part } => self.all_fields(key, *kind, *part)?,
            Read::CountFields { key, kind } => {
                integer(self.collection(key, *kind)?.map_or(0, |collection| collection.count))
            }
            Read::FieldLength { key, field } => {
                let value = self.field(key, field)?;
                integer(value.map_or(0, |value| value.len() as u64))
            }
            Read::HasFields { key, kind, fields, many } => {
                self.has_fields(key, *kind, fields, *many)?
            }
            Read::RandomFields { key, kind, count, part } => {
                self.random_fields(key, *kind, *count, *part)?
            }
            Read::ScanFields { key, kind, cursor, pattern, count, part } => {
                self.scan_fields(key, *kind, *cursor, pattern.as_deref(), *count, *part)?
            }
            Read::CombineSets { keys, combination } => self.combine_sets(keys, *combination)?,
            Read::CountIntersection { keys, limit } => self.count_intersection(keys, *limit)?,
        })
    }

    fn string(&mut self, key: &Bytes) -> Result<Option<Bytes>, Stop> {
        match self.live(key)? {
            None => Ok(None),
            Some(Header { body: Body::String(value), .. }) => Ok(Some(value)),
            Some(Header { body: Body::Hash(_) | Body::Set(_), .. }) => {
                Err(ValueError::WrongType.into())
            }
            Some(Header { body: Body::Siblings(count), .. }) => {
                Err(ValueError::Siblings(count).into())
            }
        }
    }

    fn live(&mut self, key: &Bytes) -> Result<Option<Header>, StateError> {
        match self.view.header(key)? {
            Some(header) if header.is_live(self.now) => Ok(Some(header)),
            Some(_) => {
                self.due.push(key.clone());
                Ok(None)
            }
            None => Ok(None),
        }
    }
}

/// Redis' GETRANGE: both ends included, negative offsets count from the end.
pub(crate) fn part(value: &Bytes, start: i64, end: i64) -> Bytes {
    let length = i64::try_from(value.len()).expect("bounded by STRING_BYTES_MAX");
    let from_begin = |offset: i64| if offset < 0 { (length + offset).max(0) } else { offset };
    if length == 0 || (start < 0 && end < 0 && start > end) {
        return Bytes::new();
    }
    let first = from_begin(start);
    let last = from_begin(end).min(length - 1);
    if first > last {
        return Bytes::new();
    }
    let first = usize::try_from(first).expect("not negative");
    let last = usize::try_from(last).expect("not negative");
    value.slice(first..=last)
}

pub(crate) fn time_to_live(at: WallTime, now: WallTime, unit: TtlUnit) -> i64 {
    let left = at.0.saturating_sub(now.0);
    let shown = match unit {
        // Redis rounds to the nearest second.
        TtlUnit::Seconds => left.saturating_add(500) / 1000,
        TtlUnit::Milliseconds => left,
        TtlUnit::AtSeconds => at.0 / 1000,
        TtlUnit::AtMilliseconds => at.0,
    };
    i64::try_from(shown).unwrap_or(i64::MAX)
}

fn integer(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}
