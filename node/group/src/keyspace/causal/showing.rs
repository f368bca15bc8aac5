//! Rows that show what cells read as.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::WallTime;
use quorate_replication::causal::CellKey;
use quorate_replication::multi_leader::Cell;
use quorate_storage::state::Rows;

use super::custom::Policy;
use super::reading::{Reads, reads};
use crate::cells::{Named, string_cell};
use crate::keyspace::editor::{Editor, Stop};
use crate::keyspace::layout::{Body, Collection, Header, Hidden, cell_of};
use crate::{CollectionKind, KeyType};

impl<R: Rows> Editor<'_, R> {
    /// A string whose time has come: what of its cell has not expired is what there is.
    pub(in super::super) fn expire_cells(&mut self, key: &[u8]) -> Result<(), Stop> {
        let string = string_cell(&Bytes::copy_from_slice(key))?;
        let header = self.stored(key)?;
        let cell = self.cell(&string, header.as_ref())?;
        self.show_string(key, &string, cell)
    }

    /// The string's cell is this.
    pub(super) fn show_string(
        &mut self,
        key: &[u8],
        string: &CellKey,
        mut cell: Cell,
    ) -> Result<(), Stop> {
        let old = self.stored(key)?;
        cell.expire(self.now());
        let shown = string_body(reads(&cell, self.policy(key)));
        let other = old.as_ref().is_some_and(|old| old.kind() != KeyType::String);
        let types = old.as_ref().is_some_and(|old| old.hidden.types) || other;
        self.put_cell(string, &cell, shown.is_some());
        match shown {
            Some((body, expiry)) => {
                if other {
                    self.remove_rows(key)?;
                }
                let hidden = Hidden { values: cell.alone().is_none(), types };
                self.place(key, body, expiry, hidden)
            }
            None if other => self.hide(key, Hidden { values: !cell.is_empty(), types }),
            None => {
                self.take_away(key)?;
                if types { self.show_key(key) } else { Ok(()) }
            }
        }
    }

    /// The cell of a field or a member is this.
    pub(super) fn show_field(
        &mut self,
        named: &Named,
        cell_key: &CellKey,
        cell: &Cell,
    ) -> Result<(), Stop> {
        let (key, field) = (&named.key, &named.field);
        self.put_cell(cell_key, cell, false);
        let kind = match named.kind {
            KeyType::Set => CollectionKind::Set,
            KeyType::Hash | KeyType::String => CollectionKind::Hash,
        };
        let shown = self.field_of(key, cell);
        let old = self.stored(key)?;
        match (old, shown) {
            (None, None) => Ok(()),
            (None, Some(value)) => {
                // What of a string's cell is left would be hidden.
                let string = self.cell(&string_cell(key)?, None)?;
                let fields = self.new_fields(key, kind)?;
                self.put_row(fields.row(field), Some(value));
                let hidden = Hidden { values: !string.is_empty(), types: false };
                self.place(
                    key,
                    collection_body(kind, Collection { fields, count: 1 }),
                    None,
                    hidden,
                )
            }
            (Some(old), shown) if old.kind() == named.kind => {
                let Some(collection) = old.collection() else { return Ok(()) };
                let row = collection.fields.row(field);
                let was = self.row(&row)?.is_some();
                let count = match (was, shown.is_some()) {
                    (false, true) => collection.count + 1,
                    (true, false) => collection.count.saturating_sub(1),
                    (true, true) | (false, false) => collection.count,
                };
                if was || shown.is_some() {
                    self.put_row(row, shown);
                    self.put_count(key, count)?;
                }
                Ok(())
            }
            (Some(_), None) => Ok(()),
            (Some(old), Some(_)) if old.kind() == KeyType::Set => self.show_key(key),
            (Some(old), Some(_)) => self.hide(key, Hidden { types: true, ..old.hidden }),
        }
    }

    /// All of a key anew, from its cells.
    pub(in super::super) fn show_key(&mut self, key: &[u8]) -> Result<(), Stop> {
        let key = Bytes::copy_from_slice(key);
        let old = self.stored(&key)?;
        let cells = self.cells_of_key(&key, old.as_ref())?;
        let mut fields: BTreeMap<bool, Vec<(Bytes, Bytes)>> = BTreeMap::new();
        let mut string = None;
        for (cell_key, cell) in cells {
            let Some(named) = Named::of(&cell_key) else { continue };
            match named.kind {
                KeyType::String => string = Some((cell_key, cell)),
                KeyType::Hash | KeyType::Set => {
                    if let Some(value) = self.field_of(&key, &cell) {
                        let of = fields.entry(named.kind == KeyType::Set).or_default();
                        of.push((named.field, value));
                    }
                }
            }
        }
        self.remove_rows(&key)?;
        let types = fields.len();
        let mut values = false;
        if let Some((cell_key, mut cell)) = string {
            cell.expire(self.now());
            let shown = string_body(reads(&cell, self.policy(&key)));
            self.put_cell(&cell_key, &cell, shown.is_some());
            if let Some((body, expiry)) = shown {
                let hidden = Hidden { values: cell.alone().is_none(), types: types > 0 };
                return self.place(&key, body, expiry, hidden);
            }
            values = !cell.is_empty();
        }
        let Some((is_set, found)) = fields.pop_first() else { return Ok(()) };
        let kind = if is_set { CollectionKind::Set } else { CollectionKind::Hash };
        let rows = self.new_fields(&key, kind)?;
        let count = found.len() as u64;
        for (field, value) in found {
            self.put_row(rows.row(&field), Some(value));
        }
        let body = collection_body(kind, Collection { fields: rows, count });
        self.place(&key, body, None, Hidden { values, types: types > 1 })
    }

    fn policy<'a>(&'a self, key: &'a [u8]) -> Policy<'a> {
        self.view().leaders().map_or(Policy::new(key, None), |one| one.policy(key))
    }

    /// A field's row.
    fn field_of(&self, key: &[u8], cell: &Cell) -> Option<Bytes> {
        match reads(cell, self.policy(key).of_field()) {
            Reads::Nothing | Reads::Siblings { .. } => None,
            Reads::Member => Some(cell_of(b"")),
            Reads::Value { value, .. } => Some(cell_of(&value)),
        }
    }

    /// The header and all field rows of the key go.
    fn remove_rows(&mut self, key: &[u8]) -> Result<(), Stop> {
        match self.take_away(key)?.and_then(|old| old.collection()) {
            Some(collection) => self.release(collection),
            None => Ok(()),
        }
    }

    /// The header shows what it did, and hides something else.
    fn hide(&mut self, key: &[u8], hidden: Hidden) -> Result<(), Stop> {
        match self.stored(key)? {
            Some(Header { body, expiry, hidden: before, .. }) if before != hidden => {
                self.place(key, body, expiry, hidden)
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn string_body(reads: Reads) -> Option<(Body, Option<WallTime>)> {
    match reads {
        Reads::Nothing | Reads::Member => None,
        Reads::Value { value, expiry } => Some((Body::String(value), expiry)),
        Reads::Siblings { count, expiry } => Some((Body::Siblings(count), expiry)),
    }
}

const fn collection_body(kind: CollectionKind, collection: Collection) -> Body {
    match kind {
        CollectionKind::Hash => Body::Hash(collection),
        CollectionKind::Set => Body::Set(collection),
    }
}
