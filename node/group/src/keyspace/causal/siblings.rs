//! VGET, VSET and VDEL: all values of a string, and what is written in place of those that were read.

use bytes::Bytes;
use quorate_model::{VersionVector, WallTime};
use quorate_replication::causal::{Content, Context};
use quorate_replication::multi_leader::{Cell, Write};
use quorate_storage::state::Rows;

use super::reading::values;
use super::{Known, cell_row, decode};
use crate::cells::{context, string_cell};
use crate::keyspace::View;
use crate::keyspace::editor::{Editor, Stop};
use crate::keyspace::layout::{Body, Header, STRING_BYTES_MAX};
use crate::{Value, ValueError};

/// So many concurrent values a client may make of a key by writing with contexts that do not cover them.
const SIBLINGS_MAX: usize = 64;

/// The context and every value.
pub(in super::super) fn read<R: Rows>(
    view: &View<'_, R>,
    key: &Bytes,
    now: WallTime,
) -> Result<Value, Stop> {
    if view.leaders().is_none() {
        return Err(ValueError::NeedsNoLeader.into());
    }
    let header = view.header(key)?;
    check_type(header.as_ref())?;
    let cell = match view.row(&cell_row(&string_cell(key)?))? {
        Some(bytes) => decode(&bytes, header.as_ref())?,
        None => Cell::default(),
    };
    Ok(answer(key, cell, now))
}

pub(in super::super) fn set_sibling<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    value: &Bytes,
    context: Option<&Bytes>,
) -> Result<Value, Stop> {
    if value.len() > STRING_BYTES_MAX {
        return Err(ValueError::TooLong(STRING_BYTES_MAX as u64).into());
    }
    let content = Content::Value { value: value.clone(), expiry: None };
    write(editor, key, context, |cell, known| Write::Put { content, over: cell.over(Some(known)) })
}

pub(in super::super) fn delete_siblings<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    context: &Bytes,
) -> Result<Value, Stop> {
    write(editor, key, Some(context), |cell, known| Write::Remove { over: cell.over(Some(known)) })
}

fn write<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: &Bytes,
    context: Option<&Bytes>,
    write: impl FnOnce(&Cell, &VersionVector) -> Write,
) -> Result<Value, Stop> {
    if editor.writing.is_none() {
        return Err(ValueError::NeedsNoLeader.into());
    }
    let known = match context {
        Some(text) => context::decode(key, text)?.known,
        None => VersionVector::default(),
    };
    // What this datacenter has not applied it cannot say that it replaces.
    if !Known::of(editor.view())?.at(string_cell(key)?.bytes()).covers_all(&known) {
        return Err(ValueError::UnknownContext.into());
    }
    editor.live(key)?;
    let header = editor.stored(key)?;
    check_type(header.as_ref())?;
    let string = string_cell(key)?;
    let cell = editor.cell(&string, header.as_ref())?;
    let cell = editor.write(&string, cell, |cell, _, _| Ok(write(cell, &known)))?;
    if cell.siblings().len() > SIBLINGS_MAX {
        return Err(ValueError::TooManySiblings(SIBLINGS_MAX as u64).into());
    }
    let now = editor.now();
    let answer = answer(key, cell.clone(), now);
    editor.show_string(key, &string, cell)?;
    Ok(answer)
}

fn check_type(header: Option<&Header>) -> Result<(), ValueError> {
    match header.map(|header| &header.body) {
        Some(Body::Hash(_) | Body::Set(_)) => Err(ValueError::WrongType),
        Some(Body::String(_) | Body::Siblings(_)) | None => Ok(()),
    }
}

fn answer(key: &Bytes, mut cell: Cell, now: WallTime) -> Value {
    cell.expire(now);
    let context = Context { known: cell.known(), ..Context::default() };
    let mut list = vec![Value::Bulk(context::encode(key, &context))];
    list.extend(values(&cell).into_iter().map(|(_, value, _)| Value::Bulk(value)));
    Value::List(list)
}
