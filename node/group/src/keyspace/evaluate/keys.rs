//! Writes of keys of any type: expiry, RENAME, COPY.

use bytes::Bytes;
use quorate_model::WallTime;
use quorate_storage::state::Rows;

use crate::keyspace::editor::{Editor, Stop};
use crate::keyspace::fields::{self, Answer};
use crate::keyspace::layout::{Body, Collection, Header, cell_of};
use crate::{CollectionKind, Comparison, Expiry, Value, ValueError};

pub(super) fn get_expire<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    expiry: Expiry,
) -> Result<Value, Stop> {
    if editor.live_string(key)?.is_none() {
        return Ok(Value::Nil);
    }
    let Some(header) = editor.live(key)? else { return Ok(Value::Nil) };
    let Body::String(value) = &header.body else { return Err(ValueError::WrongType.into()) };
    let value = value.clone();
    expire(editor, key, header, expiry, "getex")?;
    Ok(Value::Bulk(value))
}

/// RENAME and RENAMENX. Field rows stay where they are: the new key's header leads to them.
pub(super) fn rename<R: Rows>(
    editor: &mut Editor<'_, R>,
    from: &Bytes,
    to: &Bytes,
    only_if_none: bool,
) -> Result<Value, Stop> {
    if editor.live(from)?.is_none() {
        return Err(ValueError::NoSuchKey.into());
    }
    let taken = editor.live(to)?.is_some();
    if only_if_none && taken {
        return Ok(Value::Integer(0));
    }
    if from != to
        && let Some(header) = editor.forget(from)?
    {
        if let Body::Siblings(count) = header.body {
            return Err(ValueError::Siblings(count).into());
        }
        editor.put(to, header.body, header.expiry)?;
    }
    Ok(if only_if_none { Value::Integer(1) } else { Value::Ok })
}

pub(super) fn copy<R: Rows>(
    editor: &mut Editor<'_, R>,
    from: &Bytes,
    to: &Bytes,
    replace: bool,
) -> Result<Value, Stop> {
    let Some(header) = editor.live(from)? else { return Ok(Value::Integer(0)) };
    if editor.live(to)?.is_some() && !replace {
        return Ok(Value::Integer(0));
    }
    let body = match header.body {
        Body::String(value) => Body::String(value),
        Body::Hash(collection) => {
            Body::Hash(copy_fields(editor, to, CollectionKind::Hash, collection)?)
        }
        Body::Set(collection) => {
            Body::Set(copy_fields(editor, to, CollectionKind::Set, collection)?)
        }
        Body::Siblings(count) => return Err(ValueError::Siblings(count).into()),
    };
    editor.put(to, body, header.expiry)?;
    Ok(Value::Integer(1))
}

fn copy_fields<R: Rows>(
    editor: &mut Editor<'_, R>,
    to: &Bytes,
    kind: CollectionKind,
    collection: Collection,
) -> Result<Collection, Stop> {
    let fields = editor.new_fields(to, kind)?;
    let mut copied = Vec::new();
    // An answer's bounds do for an entry as well.
    let mut size = Answer::default();
    fields::all(editor.view(), collection, |field| {
        size.count(field.name.len() + field.value.len())?;
        copied.push(field);
        Ok(())
    })?;
    for field in copied {
        editor.put_field(fields, &field.name, cell_of(&field.value))?;
    }
    Ok(Collection { fields, ..collection })
}

pub(super) fn expire_if<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    expiry: Expiry,
    comparison: Comparison,
) -> Result<Value, Stop> {
    let Some(header) = editor.live(key)? else { return Ok(Value::Integer(0)) };
    let new = resolve(expiry, editor.now(), header.expiry, "expire")?;
    let holds = comparison.holds(header.expiry, new);
    if holds {
        expire(editor, key, header, expiry, "expire")?;
    }
    Ok(Value::Integer(i64::from(holds)))
}

fn expire<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    header: Header,
    expiry: Expiry,
    command: &str,
) -> Result<(), Stop> {
    let at = resolve(expiry, editor.now(), header.expiry, command)?;
    if at.is_some_and(|at| at <= editor.now()) {
        return editor.remove(key);
    }
    editor.put_expiry(key, header, at)
}

impl Comparison {
    /// A key without an expiry counts as one that lives for ever.
    pub(crate) fn holds(self, before: Option<WallTime>, new: Option<WallTime>) -> bool {
        let lives_until = before.map_or(u64::MAX, |at| at.0);
        let less = || new.is_some_and(|at| at.0 < lives_until);
        match self {
            Self::Always => true,
            Self::IfNone => before.is_none(),
            Self::IfAny => before.is_some(),
            Self::IfGreater => new.is_some_and(|at| at.0 > lives_until),
            Self::IfLess => less(),
            Self::IfAnyAndLess => before.is_some() && less(),
        }
    }
}

/// The absolute time of an expiry; `None` is never.
pub(super) fn resolve(
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
