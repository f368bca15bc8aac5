//! Which cells a write is about, whatever is known of them: what a session has seen of these its coordinator is to know first.

use bytes::Bytes;
use quorate_replication::leaderless::{Asked, CellKey, Seen};

use super::layout::{cells_of, field_cell, string_cell};
use crate::{CollectionKind, ValueError, Write};

/// What is to be read so that a coordinator knows all that a session has seen of this write's cells: nothing where it `knows` what is
/// remembered, and there is no more.
///
/// # Errors
/// [`ValueError::KeyTooLong`], [`ValueError::FieldTooLong`].
pub(crate) fn to_know(write: &Write, seen: &Seen, knows: bool) -> Result<Vec<Asked>, ValueError> {
    let concerned = if seen.more { concerned(write)? } else { Vec::new() };
    let cells: Option<Vec<&CellKey>> = concerned.iter().map(Asked::cell).collect();
    let remembers = cells.is_some_and(|cells| seen.remembers(cells.into_iter()));
    if knows && remembers {
        return Ok(Vec::new());
    }
    let remembered = seen.cells.iter().map(|(key, _)| Asked::Cell(key.clone()));
    Ok(remembered.chain(concerned).collect())
}

fn concerned(write: &Write) -> Result<Vec<Asked>, ValueError> {
    let one = |cell| Ok(vec![Asked::Cell(cell)]);
    let fields = |key: &Bytes, kind, fields: &mut dyn Iterator<Item = &Bytes>| {
        fields.map(|field| Ok(Asked::Cell(field_cell(key, kind, field)?))).collect()
    };
    match write {
        Write::Increment { key, .. }
        | Write::SetSibling { key, .. }
        | Write::DeleteSiblings { key, .. } => one(string_cell(key)?),
        Write::SetFields { key, pairs } => {
            fields(key, CollectionKind::Hash, &mut pairs.iter().map(|(field, _)| field))
        }
        Write::IncrementField { key, field, .. } => {
            one(field_cell(key, CollectionKind::Hash, field)?)
        }
        Write::AddMembers { key, members } => fields(key, CollectionKind::Set, &mut members.iter()),
        Write::RemoveFields { key, kind, fields: names } => fields(key, *kind, &mut names.iter()),
        // What the key held goes, whatever it was; or it is a command that these stores do not have.
        Write::Set { .. }
        | Write::SetMany { .. }
        | Write::GetDelete { .. }
        | Write::GetExpire { .. }
        | Write::Append { .. }
        | Write::SetRange { .. }
        | Write::IncrementFloat { .. }
        | Write::Delete { .. }
        | Write::Expire { .. }
        | Write::Persist { .. }
        | Write::Flush
        | Write::RemoveExpired { .. }
        | Write::RemoveIfExpired { .. }
        | Write::SetFieldIfNone { .. }
        | Write::IncrementFieldFloat { .. }
        | Write::PopMembers { .. }
        | Write::MoveMember { .. }
        | Write::StoreSets { .. }
        | Write::Rename { .. }
        | Write::Copy { .. }
        | Write::DeleteIf { .. }
        | Write::Transaction { .. }
        | Write::Once { .. } => {
            write.keys().into_iter().map(|key| Ok(Asked::from(cells_of(key)?))).collect()
        }
    }
}
