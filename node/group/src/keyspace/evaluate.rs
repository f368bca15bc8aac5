//! Writes, evaluated by the leader: what the client is answered and what goes into the log.

use bytes::{Bytes, BytesMut};
use quorate_model::WallTime;
use quorate_storage::state::{Rows, StateError};

use super::decimal::add_decimal;
use super::editor::{Editor, Stop};
use super::layout::STRING_BYTES_MAX;
use super::{Effects, View};
use crate::{Comparison, Expiry, FloatText, SetCondition, Value, ValueError, Write};

/// A write's answer and its effects. The answer may be given once everything proposed before it and the effects
/// themselves are applied; with empty effects nothing goes into the log, but the wait for what came before stays.
#[derive(Clone, PartialEq, Debug)]
pub struct Evaluated {
    pub value: Value,
    pub effects: Effects,
}

/// What an evaluation may know beside the rows: inputs that the leader chooses, never the process' own clock or chance.
/// With the same write, context and rows every replica comes to the same answer and effects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    pub now: WallTime,
    /// Where random picks (SPOP) come from: new for each evaluation.
    pub seed: u64,
}

/// Evaluates at the context's time, or at the newest proposal's where that is later.
///
/// # Errors
/// [`StateError::Read`] when the state store cannot be read; a client's mistake is a [`Value::Error`].
pub fn evaluate<R: Rows>(
    write: &Write,
    context: Context,
    view: &View<'_, R>,
) -> Result<Evaluated, StateError> {
    let context = Context { now: context.now.max(view.time_floor()), ..context };
    let mut editor = Editor::new(view, context);
    match value_of(write, &mut editor) {
        Ok(value) => Ok(Evaluated { value, effects: editor.finish() }),
        Err(Stop::Value(error)) => {
            Ok(Evaluated { value: Value::Error(error), effects: Effects::default() })
        }
        Err(Stop::State(error)) => Err(error),
    }
}

fn value_of<R: Rows>(write: &Write, editor: &mut Editor<'_, R>) -> Result<Value, Stop> {
    match write {
        Write::Set { key, value, condition, expiry, get } => {
            set(editor, key, value, condition, *expiry, *get)
        }
        Write::SetMany { pairs, only_if_none } => set_many(editor, pairs, *only_if_none),
        Write::GetDelete { key } => {
            let old = editor.live_string(key)?;
            editor.remove(key)?;
            Ok(bulk_or_nil(old.map(|old| old.value)))
        }
        Write::GetExpire { key, expiry } => {
            let Some(header) = editor.live_string(key)? else { return Ok(Value::Nil) };
            let value = header.value.clone();
            expire(editor, key, header, *expiry, "getex")?;
            Ok(Value::Bulk(value))
        }
        Write::Append { key, suffix } => append(editor, key, suffix),
        Write::SetRange { key, offset, bytes } => set_range(editor, key, *offset, bytes),
        Write::Increment { key, by } => increment(editor, key, *by),
        Write::IncrementFloat { key, by } => increment_float(editor, key, by),
        Write::Delete { keys } => {
            let mut removed = 0;
            for key in keys {
                if editor.live(key)?.is_some() {
                    editor.remove(key)?;
                    removed += 1;
                }
            }
            Ok(Value::Integer(removed))
        }
        Write::Expire { key, expiry, comparison } => expire_if(editor, key, *expiry, *comparison),
        Write::Persist { key } => match editor.live(key)? {
            Some(header) if header.expiry.is_some() => {
                editor.put_expiry(key, header, None);
                Ok(Value::Integer(1))
            }
            Some(_) | None => Ok(Value::Integer(0)),
        },
        Write::Flush => {
            editor.clear();
            Ok(Value::Ok)
        }
        Write::RemoveExpired { count_max } => {
            let due = editor.due_keys(*count_max as usize)?;
            remove_expired(editor, &due)
        }
        Write::RemoveIfExpired { keys } => remove_expired(editor, keys),
    }
}

fn set<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    value: &Bytes,
    condition: &SetCondition,
    expiry: Expiry,
    get: bool,
) -> Result<Value, Stop> {
    // Only GET and IFEQ look at the old value, and only they refuse another type; a plain SET overwrites it.
    let old = if get || matches!(condition, SetCondition::IfEqual(_)) {
        editor.live_string(key)?
    } else {
        editor.live(key)?
    };
    let holds = match condition {
        SetCondition::Always => true,
        SetCondition::IfAbsent => old.is_none(),
        SetCondition::IfPresent => old.is_some(),
        SetCondition::IfEqual(expected) => old.as_ref().is_some_and(|old| old.value == *expected),
    };
    let (old_value, old_expiry) = old.map_or((None, None), |old| (Some(old.value), old.expiry));
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

fn set_many<R: Rows>(
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

fn append<R: Rows>(editor: &mut Editor<'_, R>, key: &Bytes, suffix: &Bytes) -> Result<Value, Stop> {
    let old = editor.live_string(key)?;
    let (old_value, expiry) = old.map_or((Bytes::new(), None), |old| (old.value, old.expiry));
    let length = old_value.len() + suffix.len();
    check_length(length)?;
    let mut value = BytesMut::with_capacity(length);
    value.extend_from_slice(&old_value);
    value.extend_from_slice(suffix);
    editor.put_string(key, value.freeze(), expiry)?;
    Ok(integer(length))
}

fn set_range<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    offset: u32,
    bytes: &Bytes,
) -> Result<Value, Stop> {
    let old = editor.live_string(key)?;
    let (old_value, expiry) = old.map_or((Bytes::new(), None), |old| (old.value, old.expiry));
    if bytes.is_empty() {
        return Ok(integer(old_value.len()));
    }
    let offset = offset as usize;
    let end = offset + bytes.len();
    check_length(end)?;
    let mut value = BytesMut::from(old_value.as_ref());
    value.resize(end.max(old_value.len()), 0);
    value[offset..end].copy_from_slice(bytes);
    let length = value.len();
    editor.put_string(key, value.freeze(), expiry)?;
    Ok(integer(length))
}

fn increment<R: Rows>(editor: &mut Editor<'_, R>, key: &Bytes, by: i64) -> Result<Value, Stop> {
    let old = editor.live_string(key)?;
    let (number, expiry) = match old {
        None => (0, None),
        Some(old) => (integer_of(&old.value).ok_or(ValueError::NotInteger)?, old.expiry),
    };
    let number = number.checked_add(by).ok_or(ValueError::Overflow)?;
    editor.put_string(key, Bytes::from(number.to_string()), expiry)?;
    Ok(Value::Integer(number))
}

fn increment_float<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    by: &FloatText,
) -> Result<Value, Stop> {
    let old = editor.live_string(key)?;
    let (text, expiry) = match &old {
        None => ("0", None),
        Some(old) => {
            let text = str::from_utf8(&old.value).map_err(|_| ValueError::NotFloat)?;
            (text, old.expiry)
        }
    };
    let sum = Bytes::from(add_decimal(text, &by.0)?);
    editor.put_string(key, sum.clone(), expiry)?;
    Ok(Value::Bulk(sum))
}

fn expire_if<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    expiry: Expiry,
    comparison: Comparison,
) -> Result<Value, Stop> {
    let Some(header) = editor.live(key)? else { return Ok(Value::Integer(0)) };
    let new = resolve(expiry, editor.now(), header.expiry, "expire")?;
    // A key without an expiry counts as one that lives for ever.
    let old = header.expiry.map_or(u64::MAX, |at| at.0);
    let holds = match comparison {
        Comparison::Always => true,
        Comparison::IfNone => header.expiry.is_none(),
        Comparison::IfAny => header.expiry.is_some(),
        Comparison::IfGreater => new.is_some_and(|at| at.0 > old),
        Comparison::IfLess => new.is_some_and(|at| at.0 < old),
        Comparison::IfAnyAndLess => header.expiry.is_some() && new.is_some_and(|at| at.0 < old),
    };
    if holds {
        expire(editor, key, header, expiry, "expire")?;
    }
    Ok(Value::Integer(i64::from(holds)))
}

fn expire<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    header: super::layout::Header,
    expiry: Expiry,
    command: &str,
) -> Result<(), Stop> {
    let at = resolve(expiry, editor.now(), header.expiry, command)?;
    if at.is_some_and(|at| at <= editor.now()) {
        return editor.remove(key);
    }
    editor.put_expiry(key, header, at);
    Ok(())
}

fn remove_expired<R: Rows>(editor: &mut Editor<'_, R>, keys: &[Bytes]) -> Result<Value, Stop> {
    for key in keys {
        // `live` removes a key whose time has come; one that got a new expiry since stays.
        editor.live(key)?;
    }
    Ok(Value::Ok)
}

/// The absolute time of an expiry; `None` is never.
fn resolve(
    expiry: Expiry,
    now: WallTime,
    old: Option<WallTime>,
    command: &str,
) -> Result<Option<WallTime>, ValueError> {
    match expiry {
        Expiry::Never => Ok(None),
        Expiry::Keep => Ok(old),
        // Zero stands for "none" in the cell; any time so long ago is the same past.
        Expiry::At(at) => Ok(Some(WallTime(at.0.max(1)))),
        Expiry::In { ms } => {
            let now =
                i64::try_from(now.0).map_err(|_| ValueError::ExpireTime(command.to_owned()))?;
            let at =
                now.checked_add(ms).ok_or_else(|| ValueError::ExpireTime(command.to_owned()))?;
            Ok(Some(WallTime(u64::try_from(at.max(1)).expect("at least one"))))
        }
    }
}

/// As Redis reads integers: no plus sign, no leading zeros, no spaces.
fn integer_of(text: &[u8]) -> Option<i64> {
    let number: i64 = str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

fn check_length(length: usize) -> Result<(), ValueError> {
    if length > STRING_BYTES_MAX {
        Err(ValueError::TooLong(STRING_BYTES_MAX as u64))
    } else {
        Ok(())
    }
}

fn integer(length: usize) -> Value {
    Value::Integer(i64::try_from(length).expect("bounded by STRING_BYTES_MAX"))
}

fn bulk_or_nil(value: Option<Bytes>) -> Value {
    value.map_or(Value::Nil, Value::Bulk)
}
