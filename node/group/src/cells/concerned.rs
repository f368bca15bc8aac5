//! Which cells an operation is about, whatever is known of them: what a session has seen of these is to be known first.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_replication::leaderless::{Asked, CellKey, Seen};

use super::layout::{cells_of, field_cell, string_cell};
use crate::{CollectionKind, Operation, Read, ValueError, Write};

/// What its answer may follow from: whether a key is of another type, too.
///
/// # Errors
/// [`ValueError::KeyTooLong`], [`ValueError::FieldTooLong`].
pub(crate) fn concerned(operation: &Operation) -> Result<Vec<Asked>, ValueError> {
    let Some((key, kind, fields)) = fields(operation) else { return ranges(operation) };
    let mut asked = cells(key, kind, &fields)?;
    asked.push(Asked::Cell(string_cell(key)?));
    Ok(asked)
}

/// What it names of cells, and all that a key has where it takes them all.
///
/// # Errors
/// [`ValueError::KeyTooLong`], [`ValueError::FieldTooLong`].
pub(crate) fn named(operation: &Operation) -> Result<Vec<Asked>, ValueError> {
    if let Some((key, kind, fields)) = fields(operation) {
        return cells(key, kind, &fields);
    }
    match operation {
        Operation::Write(
            Write::Increment { key, .. }
            | Write::Expire { key, .. }
            | Write::Persist { key }
            | Write::SetSibling { key, .. }
            | Write::DeleteSiblings { key, .. },
        ) => Ok(vec![Asked::Cell(string_cell(key)?)]),
        Operation::Read(_) | Operation::Write(_) => ranges(operation),
    }
}

/// What a coordinator is to read so that it knows all that a session has seen: of what is remembered these cells are unknown to it.
///
/// # Errors
/// [`ValueError::KeyTooLong`], [`ValueError::FieldTooLong`].
pub(crate) fn to_know(
    operation: &Operation,
    seen: &Seen,
    unknown: BTreeSet<CellKey>,
) -> Result<Vec<Asked>, ValueError> {
    let mut asked: Vec<Asked> = Vec::new();
    // A read asks everybody for what is not remembered.
    if seen.more && matches!(operation, Operation::Write(_)) {
        let named = named(operation)?;
        let cells: Option<Vec<&CellKey>> = named.iter().map(Asked::cell).collect();
        if cells.is_none_or(|cells| !seen.remembers(cells.into_iter())) {
            asked = named;
        }
    }
    let apart = unknown.into_iter().filter(|key| !asked.iter().any(|asked| asked.covers(key)));
    let apart: Vec<Asked> = apart.map(Asked::Cell).collect();
    asked.extend(apart);
    Ok(asked)
}

fn ranges(operation: &Operation) -> Result<Vec<Asked>, ValueError> {
    let keys: BTreeSet<&Bytes> = operation.keys().into_iter().collect();
    keys.into_iter().map(|key| Ok(Asked::from(cells_of(key)?))).collect()
}

fn cells(key: &Bytes, kind: CollectionKind, fields: &[&Bytes]) -> Result<Vec<Asked>, ValueError> {
    fields.iter().map(|field| Ok(Asked::Cell(field_cell(key, kind, field)?))).collect()
}

/// The fields or members that it names.
fn fields(operation: &Operation) -> Option<(&Bytes, CollectionKind, Vec<&Bytes>)> {
    use CollectionKind::{Hash, Set};
    Some(match operation {
        Operation::Read(Read::Field { key, field } | Read::FieldLength { key, field })
        | Operation::Write(Write::IncrementField { key, field, .. }) => (key, Hash, vec![field]),
        Operation::Read(Read::FieldsNamed { key, fields }) => (key, Hash, fields.iter().collect()),
        Operation::Read(Read::HasFields { key, kind, fields, .. })
        | Operation::Write(Write::RemoveFields { key, kind, fields }) => {
            (key, *kind, fields.iter().collect())
        }
        Operation::Write(Write::SetFields { key, pairs }) => {
            (key, Hash, pairs.iter().map(|(field, _)| field).collect())
        }
        Operation::Write(Write::AddMembers { key, members }) => {
            (key, Set, members.iter().collect())
        }
        Operation::Read(_) | Operation::Write(_) => return None,
    })
}
