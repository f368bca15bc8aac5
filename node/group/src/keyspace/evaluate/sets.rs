//! Writes of sets.

use bytes::Bytes;
use quorate_storage::state::Rows;

use super::integer;
use crate::keyspace::combine;
use crate::keyspace::editor::{Editor, Stop};
use crate::keyspace::fields::{self, Answer};
use crate::keyspace::layout::{Body, Collection, cell_of};
use crate::{CollectionKind, Combination, Part, Value};

/// SADD: how many are new.
pub(super) fn add<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    members: &[Bytes],
) -> Result<Value, Stop> {
    let old = editor.live_fields(key, CollectionKind::Set)?;
    let fields = match old {
        Some(old) => old.fields,
        None => editor.new_fields(key, CollectionKind::Set)?,
    };
    let mut new = 0;
    for member in members {
        if editor.field(fields, member)?.is_none() {
            editor.put_field(fields, member, cell_of(b""))?;
            new += 1;
        }
    }
    match old {
        // Nothing new leaves nothing to be written.
        _ if new == 0 => {}
        Some(old) => editor.put_count(key, old.count + new)?,
        None => editor.put(key, Body::Set(Collection { fields, count: new }), None)?,
    }
    Ok(integer(new))
}

pub(super) fn pop<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    count: Option<u64>,
) -> Result<Value, Stop> {
    let Some(collection) = editor.live_fields(key, CollectionKind::Set)? else {
        return Ok(count.map_or(Value::Nil, |_| Value::List(Vec::new())));
    };
    if count == Some(0) {
        return Ok(Value::List(Vec::new()));
    }
    let wanted = count.unwrap_or(1);
    let picked = fields::distinct(editor.view(), collection, wanted, editor.random())?;
    let mut answer = Answer::default();
    for member in &picked {
        editor.remove_field(collection.fields, &member.name)?;
    }
    editor.put_count(key, collection.count.saturating_sub(picked.len() as u64))?;
    for member in picked {
        answer.push_part(member, Part::Fields)?;
    }
    Ok(match count {
        Some(_) => Value::List(answer.values),
        None => answer.values.pop().unwrap_or(Value::Nil),
    })
}

pub(super) fn move_member<R: Rows>(
    editor: &mut Editor<'_, R>,
    from: &Bytes,
    to: &Bytes,
    member: &Bytes,
) -> Result<Value, Stop> {
    let source = editor.live_fields(from, CollectionKind::Set)?;
    let Some(source) = source else { return Ok(Value::Integer(0)) };
    editor.live_fields(to, CollectionKind::Set)?;
    if editor.field(source.fields, member)?.is_none() {
        return Ok(Value::Integer(0));
    }
    if from != to {
        editor.remove_field(source.fields, member)?;
        editor.put_count(from, source.count.saturating_sub(1))?;
        add(editor, to, std::slice::from_ref(member))?;
    }
    Ok(Value::Integer(1))
}

/// What is combined becomes `to`, whatever that was; nothing deletes it.
pub(super) fn store<R: Rows>(
    editor: &mut Editor<'_, R>,
    to: &Bytes,
    keys: &[Bytes],
    combination: Combination,
) -> Result<Value, Stop> {
    let mut sets = Vec::with_capacity(keys.len());
    for key in keys {
        sets.push(editor.live_fields(key, CollectionKind::Set)?);
    }
    let members = combine::members(editor.view(), &sets, combination)?;
    let count = members.len() as u64;
    if count == 0 {
        editor.live(to)?;
        editor.remove(to)?;
        return Ok(Value::Integer(0));
    }
    let fields = editor.new_fields(to, CollectionKind::Set)?;
    for member in members {
        editor.put_field(fields, &member, cell_of(b""))?;
    }
    editor.put(to, Body::Set(Collection { fields, count }), None)?;
    Ok(integer(count))
}
