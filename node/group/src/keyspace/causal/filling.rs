//! All that another datacenter has applied, part by part, where its log no longer goes back as far as is needed.
//!
//! Parts are read one after the other while writes go on there, so all of them are as of the first one: values that came later are
//! left out, and come as changes when this much is known here. What is gone from a later part is gone here a little early.
//!
//! Meanwhile a cell holds values of writes that are not known here yet: they are *ahead*. Where it was filled already, a local
//! write replaces them as well, and says so; where it was not, it says that it replaces no more than is known.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::{Hlc, VersionVector};
use quorate_replication::causal::CellKey;
use quorate_replication::multi_leader::Cell;
use quorate_storage::state::{Rows, StateError};
use serde::{Deserialize, Serialize};

use super::conflicts::{self, Conflict};
use super::{CELLS, Known, Leaders, decode};
use crate::KeyType;
use crate::cells::Named;
use crate::keyspace::editor::{Editor, Stop};
use crate::keyspace::view::damaged;
use crate::keyspace::{Context, Effects, View};

/// Bytes of cells in one part.
const PART_BYTES_MAX: usize = 512 << 10;

/// A part of all cells: those from some key on, before `next`; to the end without one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Portion {
    /// What was applied when it was read;
    pub known: VersionVector,
    /// and no write of that is later.
    pub newest: Hlc,
    pub cells: Vec<(CellKey, Cell)>,
    pub next: Option<Bytes>,
}

/// What is in some cells and not known yet.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(super) struct Ahead {
    pub(super) vector: VersionVector,
    /// Cells before this key are filled; all of them without one.
    pub(super) before: Option<Bytes>,
}

impl Portion {
    /// Reads one, of so many cells at most.
    ///
    /// # Errors
    /// [`StateError::Read`].
    pub fn read<R: Rows>(
        view: &View<'_, R>,
        from: &[u8],
        cells_max: usize,
    ) -> Result<Self, StateError> {
        let Known { vector, newest, .. } = Known::of(view)?;
        let (mut cells, mut bytes) = (Vec::new(), 0);
        let mut rows = view.range(&bound(Some(from)), &bound(None), cells_max + 1)?;
        let next = rows.get(cells_max).map(|(row, _)| row.slice(1..));
        rows.truncate(cells_max);
        for (row, value) in rows {
            let key = row.slice(1..);
            if bytes > PART_BYTES_MAX {
                return Ok(Self { known: vector, newest, cells, next: Some(key) });
            }
            let (key, named) = named(key)?;
            let header = match named.kind {
                KeyType::String => view.header(&named.key)?,
                KeyType::Hash | KeyType::Set => None,
            };
            let cell = decode(&value, header.as_ref())?;
            bytes += key.bytes().len() + cell.bytes();
            cells.push((key, cell));
        }
        Ok(Self { known: vector, newest, cells, next })
    }

    /// Roughly what it takes in memory and on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let cells = self.cells.iter().map(|(key, cell)| key.bytes().len() + cell.bytes());
        16 * self.known.len() + cells.sum::<usize>()
    }

    /// Merges it, from this key on, as of `first`, with so many cells at most; and answers before which key that ends.
    ///
    /// # Errors
    /// [`StateError::Read`].
    pub fn fill<R: Rows>(
        self,
        from: &[u8],
        (first, cells_max): (&VersionVector, usize),
        context: Context,
        leaders: &Leaders,
        view: &View<'_, R>,
    ) -> Result<(Effects, Option<Bytes>), StateError> {
        let context = Context { now: context.now.max(view.time_floor()), ..context };
        let mut known = Known::of(view)?;
        let ours = view.range(&bound(Some(from)), &bound(self.next.as_deref()), cells_max + 1)?;
        let cut = ours.get(cells_max).map(|(row, _)| row.slice(1..));
        let next = cut.or(self.next);
        let mut all: BTreeMap<Bytes, Cell> =
            ours.iter().map(|(row, _)| (row.slice(1..), Cell::default())).collect();
        let theirs = self.cells.into_iter();
        all.extend(theirs.map(|(key, cell)| (key.bytes().clone(), cell.within(first))));
        if let Some(next) = &next {
            all.retain(|key, _| key < next);
        }
        let mut editor = Editor::showing(view, context);
        let mut found = Vec::new();
        for (key, theirs) in all {
            let merged = merge(&mut editor, key, &theirs, (&known.vector, first), leaders);
            match merged {
                Ok(conflict) => found.extend(conflict),
                Err(Stop::State(error)) => return Err(error),
                Err(Stop::Value(_)) => return Err(damaged("a cell that was told")),
            }
        }
        conflicts::note(&mut editor, &found)?;
        known.newest = known.newest.max(self.newest);
        let ahead = known.ahead.get_or_insert_default();
        ahead.vector.join(first);
        ahead.before.clone_from(&next);
        let mut effects = editor.finish();
        effects.changes.push(known.row());
        Ok((effects, next))
    }
}

/// All parts are merged: this much is known with them. What was known before, what is now, and the row that says so.
///
/// # Errors
/// [`StateError::Read`].
pub fn filled<R: Rows>(
    first: &VersionVector,
    context: Context,
    view: &View<'_, R>,
) -> Result<(VersionVector, VersionVector, Effects), StateError> {
    let mut known = Known::of(view)?;
    let before = known.vector.clone();
    known.vector.join(first);
    known.ahead = None;
    let time = context.now.max(view.time_floor());
    let changes = vec![known.row()];
    Ok((before, known.vector, Effects { time, changes, ..Effects::default() }))
}

fn merge<R: Rows>(
    editor: &mut Editor<'_, R>,
    key: Bytes,
    theirs: &Cell,
    (ours_known, theirs_known): (&VersionVector, &VersionVector),
    leaders: &Leaders,
) -> Result<Option<Conflict>, Stop> {
    let (key, named) = named(key)?;
    let string = named.kind == KeyType::String;
    let header = if string { editor.stored(&named.key)? } else { None };
    let before = editor.cell(&key, header.as_ref())?;
    let mut cell = before.clone();
    cell.merge(ours_known, theirs, theirs_known);
    if cell == before {
        return Ok(None);
    }
    let news = cell.siblings().iter().map(|sibling| sibling.dot);
    let news = news.filter(|dot| before.siblings().iter().all(|known| known.dot != *dot));
    let now = editor.now();
    let conflict = news.last().and_then(|dot| Conflict::of(&named, &cell, dot, now, leaders));
    if string {
        editor.show_string(&named.key, &key, cell)?;
    } else {
        editor.show_field(&named, &key, &cell)?;
    }
    Ok(conflict)
}

fn named(key: Bytes) -> Result<(CellKey, Named), StateError> {
    let key = CellKey::new(key).ok_or_else(|| damaged("a cell's key"))?;
    let named = Named::of(&key).ok_or_else(|| damaged("a cell's key"))?;
    Ok((key, named))
}

/// The row of this key; the end of all without one.
fn bound(key: Option<&[u8]>) -> Bytes {
    match key {
        Some(key) => Bytes::from([&[CELLS], key].concat()),
        None => Bytes::from_static(&[CELLS + 1]),
    }
}
