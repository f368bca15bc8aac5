//! Writes of hashes.

use bytes::Bytes;
use quorate_storage::state::Rows;

use super::integer;
use crate::keyspace::decimal::{add_decimal, integer_of};
use crate::keyspace::editor::{Editor, Stop};
use crate::keyspace::layout::{Body, Collection, Fields, cell_of, value_of_cell};
use crate::{CollectionKind, FloatText, Value, ValueError};

/// HSET and HMSET: how many fields are new.
pub(super) fn set_fields<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    pairs: &[(Bytes, Bytes)],
) -> Result<Value, Stop> {
    let old = editor.live_fields(key, CollectionKind::Hash)?;
    let fields = fields_for(editor, key, old)?;
    let mut new = 0;
    for (field, value) in pairs {
        new += u64::from(editor.field(fields, field)?.is_none());
        editor.put_field(fields, field, cell_of(value))?;
    }
    finish(editor, key, old, fields, new)?;
    Ok(integer(new))
}

pub(super) fn set_field_if_none<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    field: &Bytes,
    value: &Bytes,
) -> Result<Value, Stop> {
    let old = editor.live_fields(key, CollectionKind::Hash)?;
    if let Some(old) = old
        && editor.field(old.fields, field)?.is_some()
    {
        return Ok(Value::Integer(0));
    }
    let fields = fields_for(editor, key, old)?;
    editor.put_field(fields, field, cell_of(value))?;
    finish(editor, key, old, fields, 1)?;
    Ok(Value::Integer(1))
}

pub(super) fn increment<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    field: &Bytes,
    by: i64,
) -> Result<Value, Stop> {
    let mut sum = 0;
    change(editor, key, field, |old| {
        let old = old.map_or(Some(0), |old| integer_of(&old)).ok_or(ValueError::FieldNotInteger)?;
        sum = old.checked_add(by).ok_or(ValueError::Overflow)?;
        Ok(Bytes::from(sum.to_string()))
    })?;
    Ok(Value::Integer(sum))
}

pub(super) fn increment_float<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    field: &Bytes,
    by: &FloatText,
) -> Result<Value, Stop> {
    let sum = change(editor, key, field, |old| {
        let old = old.unwrap_or_else(|| Bytes::from_static(b"0"));
        let text = str::from_utf8(&old).map_err(|_| ValueError::FieldNotFloat)?;
        let sum = add_decimal(text, &by.0).map_err(|error| {
            if error == ValueError::NotFloat { ValueError::FieldNotFloat } else { error }
        })?;
        Ok(Bytes::from(sum))
    })?;
    Ok(Value::Bulk(sum))
}

/// Puts in a field what `change` makes of its value, and answers with it.
fn change<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    field: &Bytes,
    change: impl FnOnce(Option<Bytes>) -> Result<Bytes, ValueError>,
) -> Result<Bytes, Stop> {
    let old = editor.live_fields(key, CollectionKind::Hash)?;
    let cell = match old {
        Some(old) => editor.field(old.fields, field)?,
        None => None,
    };
    let new = u64::from(cell.is_none());
    let value = change(cell.as_ref().map(value_of_cell))?;
    let fields = fields_for(editor, key, old)?;
    editor.put_field(fields, field, cell_of(&value))?;
    finish(editor, key, old, fields, new)?;
    Ok(value)
}

fn fields_for<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    old: Option<Collection>,
) -> Result<Fields, Stop> {
    match old {
        Some(old) => Ok(old.fields),
        None => editor.new_fields(key),
    }
}

/// The header after so many new fields.
fn finish<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    old: Option<Collection>,
    fields: Fields,
    new: u64,
) -> Result<(), Stop> {
    match old {
        Some(old) => editor.put_count(key, old.count + new),
        // No field at all: no client's parser lets that pass, a peer's message may say so.
        None if new == 0 => Ok(()),
        None => editor.put(key, Body::Hash(Collection { fields, count: new }), None),
    }
}
