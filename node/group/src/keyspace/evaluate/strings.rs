//! Writes of strings.

use bytes::{Bytes, BytesMut};
use quorate_storage::state::Rows;

use super::integer;
use super::keys::resolve;
use crate::keyspace::decimal::{add_decimal, integer_of};
use crate::keyspace::digest::digest;
use crate::keyspace::editor::{Editor, Stop};
use crate::keyspace::layout::STRING_BYTES_MAX;
use crate::{DeleteCondition, Expiry, FloatText, SetCondition, Value, ValueError};

pub(super) fn set<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    value: &Bytes,
    condition: &SetCondition,
    expiry: Expiry,
    get: bool,
) -> Result<Value, Stop> {
    // Only GET, IFEQ and IFNE look at the old value, and only they refuse another type; a plain SET overwrites it.
    let compares = matches!(condition, SetCondition::IfEqual(_) | SetCondition::IfNotEqual(_));
    let old = if get || compares {
        editor.live_string(key)?
    } else {
        editor.live(key)?.map(|header| (Bytes::new(), header.expiry))
    };
    let holds = match condition {
        SetCondition::Always => true,
        SetCondition::IfAbsent => old.is_none(),
        SetCondition::IfPresent => old.is_some(),
        SetCondition::IfEqual(expected) => old.as_ref().is_some_and(|(value, _)| value == expected),
        SetCondition::IfNotEqual(other) => old.as_ref().is_none_or(|(value, _)| value != other),
    };
    let (old_value, old_expiry) = old.map_or((None, None), |(value, expiry)| (Some(value), expiry));
    if holds {
        let expiry = resolve(expiry, editor.now(), old_expiry, "set")?;
        if expiry.is_some_and(|at| at <= editor.now()) {
            editor.remove(key)?;
        } else {
            editor.put_string(key, value.clone(), expiry)?;
        }
    }
    Ok(match (get, holds) {
        (true, _) => bulk_or_nil(old_value),
        (false, true) => Value::Ok,
        (false, false) => Value::Nil,
    })
}

pub(super) fn set_many<R: Rows>(
    editor: &mut Editor<'_, R>,
    pairs: &[(Bytes, Bytes)],
    only_if_none: bool,
) -> Result<Value, Stop> {
    if only_if_none {
        for (key, _) in pairs {
            if editor.live(key)?.is_some() {
                return Ok(Value::Integer(0));
            }
        }
    }
    for (key, value) in pairs {
        editor.put_string(key, value.clone(), None)?;
    }
    Ok(if only_if_none { Value::Integer(1) } else { Value::Ok })
}

pub(super) fn append<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    suffix: &Bytes,
) -> Result<Value, Stop> {
    let (old_value, expiry) = editor.live_string(key)?.unwrap_or_default();
    let length = old_value.len() + suffix.len();
    check_length(length)?;
    let mut value = BytesMut::with_capacity(length);
    value.extend_from_slice(&old_value);
    value.extend_from_slice(suffix);
    editor.put_string(key, value.freeze(), expiry)?;
    Ok(integer(length as u64))
}

pub(super) fn set_range<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    offset: u32,
    bytes: &Bytes,
) -> Result<Value, Stop> {
    let (old_value, expiry) = editor.live_string(key)?.unwrap_or_default();
    if bytes.is_empty() {
        return Ok(integer(old_value.len() as u64));
    }
    let offset = offset as usize;
    let end = offset + bytes.len();
    check_length(end)?;
    let mut value = BytesMut::from(old_value.as_ref());
    value.resize(end.max(old_value.len()), 0);
    value[offset..end].copy_from_slice(bytes);
    let length = value.len();
    editor.put_string(key, value.freeze(), expiry)?;
    Ok(integer(length as u64))
}

pub(super) fn increment<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    by: i64,
) -> Result<Value, Stop> {
    let old = editor.live_string(key)?;
    let (number, expiry) = match old {
        None => (0, None),
        Some((value, expiry)) => (integer_of(&value).ok_or(ValueError::NotInteger)?, expiry),
    };
    let number = number.checked_add(by).ok_or(ValueError::Overflow)?;
    editor.put_sum(key, by, number, expiry)?;
    Ok(Value::Integer(number))
}

pub(super) fn increment_float<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    by: &FloatText,
) -> Result<Value, Stop> {
    let old = editor.live_string(key)?;
    let (text, expiry) = match &old {
        None => ("0", None),
        Some((value, expiry)) => {
            (str::from_utf8(value).map_err(|_| ValueError::NotFloat)?, *expiry)
        }
    };
    let sum = Bytes::from(add_decimal(text, &by.0)?);
    editor.put_string(key, sum.clone(), expiry)?;
    Ok(Value::Bulk(sum))
}

/// DELEX.
pub(super) fn delete_if<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    condition: &DeleteCondition,
) -> Result<Value, Stop> {
    let Some((value, _)) = editor.live_string(key)? else { return Ok(Value::Integer(0)) };
    let holds = match condition {
        DeleteCondition::Value { value: expected, equal } => (value == *expected) == *equal,
        DeleteCondition::Digest { digest: expected, equal } => {
            (digest(&value) == *expected) == *equal
        }
    };
    if holds {
        editor.remove(key)?;
    }
    Ok(Value::Integer(i64::from(holds)))
}

fn check_length(length: usize) -> Result<(), ValueError> {
    if length > STRING_BYTES_MAX {
        Err(ValueError::TooLong(STRING_BYTES_MAX as u64))
    } else {
        Ok(())
    }
}

fn bulk_or_nil(value: Option<Bytes>) -> Value {
    value.map_or(Value::Nil, Value::Bulk)
}
