//! All that another datacenter has applied, part by part, where its log no longer goes back as far as is needed.
//!
//! Parts are read one after the other while writes go on there, so all of them are as of the first one: values that came later are
//! left out, and come as changes when this much is known here. What is gone from a later part is gone here a little early; so homes,
//! which come last, are as of when they were read, and nobody writes who has one since then before all that is known.
//!
//! Meanwhile, and after a filling that was broken off, some cells are *ahead*: they are as if more was known than is. So a change
//! that comes later does nothing to them where that covers it, a local write says what of it it replaces, and whoever is filled
//! from here is told of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::{ActorId, Hlc, VersionVector};
use quorate_replication::causal::{CellKey, Sibling};
use quorate_replication::multi_leader::Cell;
use quorate_storage::state::{Rows, StateError};
use serde::{Deserialize, Serialize};

use super::conflicts::{self, Conflict};
use super::homes::{PLACE, is_home};
use super::{CELLS, Known, Leaders, decode, is_a_cell};
use crate::KeyType;
use crate::cells::Named;
use crate::keyspace::editor::{Editor, Stop};
use crate::keyspace::view::damaged;
use crate::keyspace::{Context, Effects, View};

/// Bytes of cells in one part: a leader reads or merges it at once.
const PART_BYTES_MAX: usize = 16 << 10;

/// A part of all cells: those from some key on, before `next`; to the end without one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Portion {
    /// What was applied when it was read;
    pub known: VersionVector,
    /// and no write of that is later.
    pub newest: Hlc,
    ahead: Vec<Ahead>,
    pub cells: Vec<(CellKey, Cell)>,
    pub next: Option<Bytes>,
}

/// Cells from one key on, before another one or to the end, are as if this was known.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Ahead {
    vector: VersionVector,
    from: Bytes,
    to: Option<Bytes>,
}

impl Ahead {
    pub(super) const fn vector(&self) -> &VersionVector {
        &self.vector
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.from.as_ref() <= key && self.to.as_ref().is_none_or(|to| key < to.as_ref())
    }

    /// Whether it goes on behind this key.
    pub(super) fn reaches(&self, key: &[u8]) -> bool {
        self.to.as_ref().is_none_or(|to| key < to.as_ref())
    }

    /// What of it is within other bounds.
    fn within(&self, from: &Bytes, to: Option<&Bytes>) -> Option<Self> {
        let from = self.from.clone().max(from.clone());
        let to = match (&self.to, to) {
            (Some(one), Some(other)) => Some(one.min(other).clone()),
            (one, other) => one.as_ref().or(other).cloned(),
        };
        let some = to.as_ref().is_none_or(|to| from < *to);
        some.then(|| Self { vector: self.vector.clone(), from, to })
    }
}

impl Known {
    /// As if this was known a cell is.
    #[must_use]
    pub fn at(&self, key: &[u8]) -> VersionVector {
        let mut vector = self.vector.clone();
        join_at(&mut vector, &self.ahead, key);
        vector
    }

    /// Whether some cells are beyond what is known.
    #[must_use]
    pub const fn is_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Forgets what all cells are by now.
    pub(super) fn catch_up(&mut self) {
        let vector = &self.vector;
        self.ahead.retain(|ahead| !vector.covers_all(&ahead.vector));
    }

    fn add_ahead(&mut self, new: Ahead) {
        if self.vector.covers_all(&new.vector) {
            return;
        }
        if self.ahead.contains(&new) {
            return;
        }
        // One part goes on where the last one ended.
        let ends =
            |one: &&mut Ahead| one.vector == new.vector && one.to.as_ref() == Some(&new.from);
        match self.ahead.iter_mut().find(ends) {
            Some(one) => one.to = new.to,
            None => self.ahead.push(new),
        }
    }
}

fn join_at(vector: &mut VersionVector, ahead: &[Ahead], key: &[u8]) {
    ahead.iter().filter(|ahead| ahead.contains(key)).for_each(|ahead| vector.join(&ahead.vector));
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
        Self::read_within(view, from, cells_max, PART_BYTES_MAX)
    }

    fn read_within<R: Rows>(
        view: &View<'_, R>,
        from: &[u8],
        cells_max: usize,
        bytes_max: usize,
    ) -> Result<Self, StateError> {
        let Known { vector, newest, ahead, .. } = Known::of(view)?;
        let (mut cells, mut bytes) = (Vec::new(), 0);
        let mut rows = view.range(&bound(Some(from)), &bound(None), cells_max + 1)?;
        let next = rows.get(cells_max).map(|(row, _)| row.slice(1..));
        rows.truncate(cells_max);
        for (row, value) in rows {
            let key = row.slice(1..);
            if bytes > bytes_max {
                return Ok(Self { known: vector, newest, ahead, cells, next: Some(key) });
            }
            let key = CellKey::new(key).ok_or_else(|| damaged("a cell's key"))?;
            let header = match Named::of(&key) {
                Some(Named { key, kind: KeyType::String, .. }) => view.header(&key)?,
                Some(_) => None,
                None if is_home(&key) => None,
                None => return Err(damaged("a cell's key")),
            };
            let cell = decode(&value, header.as_ref())?;
            bytes += key.bytes().len() + cell.bytes();
            cells.push((key, cell));
        }
        Ok(Self { known: vector, newest, ahead, cells, next })
    }

    /// Whether it is as somebody reads it. What comes from outside must be asked.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let ahead = self.ahead.iter().map(|ahead| &ahead.vector);
        let sound = |(key, cell): &(CellKey, Cell)| is_a_cell(key) && cell.is_well_formed();
        ahead.chain([&self.known]).all(VersionVector::is_well_formed)
            && self.cells.iter().all(sound)
    }

    /// Roughly what it takes in memory and on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let cells = self.cells.iter().map(|(key, cell)| key.bytes().len() + cell.bytes());
        16 * self.known.len() * (1 + self.ahead.len()) + cells.sum::<usize>()
    }

    /// Merges it, from this key on, as of `first`, with so many cells at most; and answers what is left of it, and from which key on.
    ///
    /// # Errors
    /// [`StateError::Read`].
    pub fn fill<R: Rows>(
        mut self,
        from: &[u8],
        (first, cells_max): (&VersionVector, usize),
        context: Context,
        leaders: &Leaders,
        view: &View<'_, R>,
    ) -> Result<(Effects, Option<(Bytes, Self)>), StateError> {
        let context = Context { now: context.now.max(view.time_floor()), ..context };
        let mut known = Known::of(view)?;
        let ours = view.range(&bound(Some(from)), &bound(self.next.as_deref()), cells_max + 1)?;
        let cut = ours.get(cells_max).map(|(row, _)| row.slice(1..));
        let next = cut.clone().or_else(|| self.next.clone());
        let rest = cut.map(|cut| {
            let cells = self.cells.extract_if(.., |(key, _)| *key.bytes() >= cut).collect();
            let (ahead, next) = (self.ahead.clone(), self.next.clone());
            (cut, Self { known: self.known.clone(), newest: self.newest, ahead, cells, next })
        });
        let mut all: BTreeMap<Bytes, Cell> =
            ours.iter().map(|(row, _)| (row.slice(1..), Cell::default())).collect();
        all.extend(self.cells.into_iter().map(|(key, cell)| (key.bytes().clone(), cell)));
        if let Some(next) = &next {
            all.retain(|key, _| key < next);
        }
        let mut editor = Editor::showing(view, context);
        let mut found = Vec::new();
        for (key, theirs) in all {
            let mut there = first.clone();
            join_at(&mut there, &self.ahead, &key);
            if key.starts_with(&PLACE) {
                there.join(&self.known);
            }
            let (here, theirs) = (known.at(&key), theirs.within(&there));
            let merged = merge(&mut editor, key, &theirs, (&here, &there), leaders);
            match merged {
                Ok(conflict) => found.extend(conflict),
                Err(Stop::State(error)) => return Err(error),
                Err(Stop::Value(_)) => return Err(damaged("a cell that was told")),
            }
        }
        conflicts::note(&mut editor, &found)?;
        known.newest = known.newest.max(self.newest);
        let from = Bytes::copy_from_slice(from);
        let first = Ahead { vector: first.clone(), from: from.clone(), to: next.clone() };
        let theirs = self.ahead.iter().filter_map(|ahead| ahead.within(&from, next.as_ref()));
        // INV-112: a home that has moved since then is not where it was, nor here before what was written there.
        let homes = Ahead { vector: self.known, from: Bytes::from_static(&PLACE), to: None };
        let homes = homes.within(&from, next.as_ref());
        theirs.chain([first]).chain(homes).for_each(|ahead| known.add_ahead(ahead));
        let mut effects = editor.finish();
        effects.changes.push(known.row());
        Ok((effects, rest))
    }
}

/// What stands in a cell, without what only its history is: a value with its origin and time, and what was added by whom.
pub type Standing = (CellKey, Vec<Sibling>, Vec<(ActorId, i128)>);

/// The key that a cell belongs to, and the field of it, which a string has not; nothing of a home.
#[must_use]
pub fn name_of(cell: &CellKey) -> Option<(Bytes, Bytes)> {
    Named::of(cell).map(|named| (named.key, named.field))
}

/// Every cell in which something stands.
///
/// # Errors
/// [`StateError::Read`].
pub fn standing<R: Rows>(view: &View<'_, R>) -> Result<Vec<Standing>, StateError> {
    let all = Portion::read_within(view, b"", usize::MAX - 1, usize::MAX)?.cells.into_iter();
    let standing = all.map(|(key, cell)| {
        let amounts = cell.amounts().map(|(run, amount)| (run.origin, amount)).collect::<Vec<_>>();
        (key, cell.siblings().to_vec(), amounts)
    });
    Ok(standing
        .filter(|(_, siblings, amounts)| !siblings.is_empty() || !amounts.is_empty())
        .collect())
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
    known.catch_up();
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
    let key = CellKey::new(key).ok_or_else(|| damaged("a cell's key"))?;
    if is_home(&key) {
        let mut cell = editor.cell(&key, None)?;
        cell.merge(ours_known, theirs, theirs_known);
        editor.put_cell(&key, &cell, false);
        return Ok(None);
    }
    let named = Named::of(&key).ok_or_else(|| damaged("a cell's key"))?;
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

/// The row of this key; the end of all without one.
fn bound(key: Option<&[u8]>) -> Bytes {
    match key {
        Some(key) => Bytes::from([&[CELLS], key].concat()),
        None => Bytes::from_static(&[CELLS + 1]),
    }
}
