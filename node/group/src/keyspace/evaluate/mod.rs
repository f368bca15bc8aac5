//! Writes, evaluated by the leader: what the client is answered and what goes into the log.

mod hashes;
mod keys;
mod once;
mod sets;
mod strings;
mod transaction;

use bytes::Bytes;
use quorate_model::WallTime;
use quorate_storage::state::{Rows, StateError};

pub use once::{KEPT_ANSWER_BYTES_MAX, TOKEN_BYTES_MAX, TOKENS_MAX};

use super::causal;
use super::editor::{Editor, Stop};
use super::layers::Changes;
use super::{Effects, View};
use crate::{CollectionKind, Value, Write};

/// How many field rows that nobody reads any more one entry removes.
const SWEPT_ROWS_MAX: usize = 1_024;

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
    if let Write::Transaction { watched, operations } = write {
        return transaction::transaction(watched, operations, context, view);
    }
    if let Write::Once { token, fingerprint, write, answer } = write {
        let answer = answer.as_ref();
        let once = once::Once { token, fingerprint: *fingerprint, write, answer };
        return once::once(once, context, view);
    }
    let Some(expired) = without_expired(write, context, view)? else {
        return evaluate_one(write, context, view);
    };
    let mut changes = Changes::default();
    changes.add(expired);
    let Evaluated { value, effects } = evaluate_one(write, context, &view.beneath(&changes))?;
    changes.add(effects);
    Ok(Evaluated { value, effects: changes.into_effects(context.now) })
}

/// Of several leaders: what there is of the write's keys when their time has come, for it may be of another type than what expires.
/// Nothing where it has not.
fn without_expired<R: Rows>(
    write: &Write,
    context: Context,
    view: &View<'_, R>,
) -> Result<Option<Effects>, StateError> {
    if view.leaders().is_none() || matches!(write, Write::RemoveIfExpired { .. }) {
        return Ok(None);
    }
    let mut keys = Vec::new();
    for key in write.keys() {
        if view.header(key)?.is_some_and(|header| !header.is_live(context.now)) {
            keys.push(key.clone());
        }
    }
    if keys.is_empty() {
        return Ok(None);
    }
    let removal = Write::RemoveIfExpired { keys };
    Ok(Some(evaluate_one(&removal, context, view)?.effects))
}

fn evaluate_one<R: Rows>(
    write: &Write,
    context: Context,
    view: &View<'_, R>,
) -> Result<Evaluated, StateError> {
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
            strings::set(editor, key, value, condition, *expiry, *get)
        }
        Write::SetMany { pairs, only_if_none } => strings::set_many(editor, pairs, *only_if_none),
        Write::SetSibling { key, value, context } => {
            causal::set_sibling(editor, key, value, context.as_ref())
        }
        Write::DeleteSiblings { key, context } => causal::delete_siblings(editor, key, context),
        Write::SetHome { of, home } => causal::set_home(editor, of, home.as_ref()),
        Write::GetDelete { key } => {
            let Some((value, _)) = editor.live_string(key)? else { return Ok(Value::Nil) };
            editor.remove(key)?;
            Ok(Value::Bulk(value))
        }
        Write::GetExpire { key, expiry } => keys::get_expire(editor, key, *expiry),
        Write::Append { key, suffix } => strings::append(editor, key, suffix),
        Write::SetRange { key, offset, bytes } => strings::set_range(editor, key, *offset, bytes),
        Write::Increment { key, by } => strings::increment(editor, key, *by),
        Write::IncrementFloat { key, by } => strings::increment_float(editor, key, by),
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
        Write::DeleteIf { key, condition } => strings::delete_if(editor, key, condition),
        Write::Expire { key, expiry, comparison } => {
            keys::expire_if(editor, key, *expiry, *comparison)
        }
        Write::Persist { key } => match editor.live(key)? {
            Some(header) if header.expiry.is_some() => {
                editor.put_expiry(key, header, None)?;
                Ok(Value::Integer(1))
            }
            Some(_) | None => Ok(Value::Integer(0)),
        },
        Write::Rename { from, to, only_if_none } => keys::rename(editor, from, to, *only_if_none),
        Write::Copy { from, to, replace } => keys::copy(editor, from, to, *replace),
        Write::Flush => {
            editor.clear()?;
            Ok(Value::Ok)
        }
        Write::RemoveExpired { count_max } => {
            let due = editor.due_keys(*count_max as usize)?;
            editor.sweep(SWEPT_ROWS_MAX)?;
            remove_expired(editor, &due)
        }
        Write::RemoveIfExpired { keys } => remove_expired(editor, keys),
        Write::SetFields { key, pairs } => hashes::set_fields(editor, key, pairs),
        Write::SetFieldIfNone { key, field, value } => {
            hashes::set_field_if_none(editor, key, field, value)
        }
        Write::RemoveFields { key, kind, fields } => remove_fields(editor, key, *kind, fields),
        Write::IncrementField { key, field, by } => hashes::increment(editor, key, field, *by),
        Write::IncrementFieldFloat { key, field, by } => {
            hashes::increment_float(editor, key, field, by)
        }
        Write::AddMembers { key, members } => sets::add(editor, key, members),
        Write::PopMembers { key, count } => sets::pop(editor, key, *count),
        Write::MoveMember { from, to, member } => sets::move_member(editor, from, to, member),
        Write::StoreSets { to, keys, combination } => sets::store(editor, to, keys, *combination),
        Write::Transaction { .. } | Write::Once { .. } => unreachable!("of other writes"),
    }
}

/// HDEL and SREM.
fn remove_fields<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    kind: CollectionKind,
    fields: &[Bytes],
) -> Result<Value, Stop> {
    let Some(collection) = editor.live_fields(key, kind)? else { return Ok(Value::Integer(0)) };
    let mut removed = 0;
    for field in fields {
        if editor.field(collection.fields, field)?.is_some() {
            editor.remove_field(collection.fields, field)?;
            removed += 1;
        }
    }
    if removed > 0 {
        editor.put_count(key, collection.count.saturating_sub(removed))?;
    }
    Ok(integer(removed))
}

fn remove_expired<R: Rows>(editor: &mut Editor<'_, R>, keys: &[Bytes]) -> Result<Value, Stop> {
    for key in keys {
        // `live` removes a key whose time has come; one that got a new expiry since stays.
        editor.live(key)?;
    }
    Ok(Value::Ok)
}

fn integer(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}
