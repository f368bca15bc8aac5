//! Reads, evaluated on what a replica has applied.

use bytes::Bytes;
use quorate_model::WallTime;
use quorate_storage::state::{Rows, StateError};

use super::layout::Header;
use super::{View, scan};
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
    now: WallTime,
    view: &View<'_, R>,
    expired: Expired,
) -> Result<ReadOutcome, StateError> {
    let mut reader = Reader { view, now, due: Vec::new() };
    let value = reader.value_of(read)?;
    Ok(match expired {
        Expired::Report if !reader.due.is_empty() => ReadOutcome::Expired(reader.due),
        Expired::Report | Expired::Hide => ReadOutcome::Value(value),
    })
}

struct Reader<'a, R: Rows> {
    view: &'a View<'a, R>,
    now: WallTime,
    /// Keys found whose time has come.
    due: Vec<Bytes>,
}

impl<R: Rows> Reader<'_, R> {
    fn value_of(&mut self, read: &Read) -> Result<Value, StateError> {
        Ok(match read {
            Read::Get { key } => match self.live(key)? {
                None => Value::Nil,
                Some(header) => string_value(header, Value::Bulk),
            },
            Read::GetMany { keys } => {
                let mut values = Vec::with_capacity(keys.len());
                for key in keys {
                    values.push(match self.live(key)? {
                        Some(Header { kind: KeyType::String, value, .. }) => Value::Bulk(value),
                        None => Value::Nil,
                    });
                }
                Value::List(values)
            }
            Read::GetRange { key, start, end } => match self.live(key)? {
                None => Value::Bulk(Bytes::new()),
                Some(header) => {
                    string_value(header, |value| Value::Bulk(part(&value, *start, *end)))
                }
            },
            Read::StringLength { key } => match self.live(key)? {
                None => Value::Integer(0),
                Some(header) => string_value(header, |value| integer(value.len() as u64)),
            },
            Read::CountExisting { keys } => {
                let mut count = 0;
                for key in keys {
                    count += u64::from(self.live(key)?.is_some());
                }
                integer(count)
            }
            Read::Type { key } => Value::Status(
                match self.live(key)?.map(|header| header.kind) {
                    None => "none",
                    Some(KeyType::String) => "string",
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
        })
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

fn string_value(header: Header, value: impl FnOnce(Bytes) -> Value) -> Value {
    match header.kind {
        KeyType::String => value(header.value),
    }
}

/// Redis' GETRANGE: both ends included, negative offsets count from the end.
fn part(value: &Bytes, start: i64, end: i64) -> Bytes {
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

fn time_to_live(at: WallTime, now: WallTime, unit: TtlUnit) -> i64 {
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
