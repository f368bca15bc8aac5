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
    let (old, cell) = found(editor, key, field)?;
    let new = u64::from(cell.is_none());
    let before = cell.map_or(Some(0), |cell| integer_of(&value_of_cell(&cell)));
    let before = before.ok_or(ValueError::FieldNotInteger)?;
    let sum = before.checked_add(by).ok_or(ValueError::Overflow)?;
    let fields = fields_for(editor, key, old)?;
    editor.put_field_sum(fields, field, by, sum)?;
    finish(editor, key, old, fields, new)?;
    Ok(Value::Integer(sum))
}

pub(super) fn increment_float<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    field: &Bytes,
    by: &FloatText,
) -> Result<Value, Stop> {
    let (old, cell) = found(editor, key, field)?;
    let new = u64::from(cell.is_none());
    let before = cell.map_or(Bytes::from_static(b"0"), |cell| value_of_cell(&cell));
    let text = str::from_utf8(&before).map_err(|_| ValueError::FieldNotFloat)?;
    let sum = add_decimal(text, &by.0).map_err(|error| {
        if error == ValueError::NotFloat { ValueError::FieldNotFloat } else { error }
    })?;
    let fields = fields_for(editor, key, old)?;
    editor.put_field(fields, field, cell_of(sum.as_bytes()))?;
    finish(editor, key, old, fields, new)?;
    Ok(Value::Bulk(Bytes::from(sum)))
}

/// The hash, and the field's cell.
fn found<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    field: &Bytes,
) -> Result<(Option<Collection>, Option<Bytes>), Stop> {
    let old = editor.live_fields(key, CollectionKind::Hash)?;
    let cell = match old {
        Some(old) => editor.field(old.fields, field)?,
        None => None,
    };
    Ok((old, cell))
}

fn fields_for<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    old: Option<Collection>,
) -> Result<Fields, Stop> {
    match old {
        Some(old) => Ok(old.fields),
        None => editor.new_fields(key, CollectionKind::Hash),
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
