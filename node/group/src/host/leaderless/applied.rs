//! The rows of a shard as the protocol sees them: `c` and the cell's key, then the cell.

use std::cell::RefCell;

use bytes::{BufMut, Bytes, BytesMut};
use quorate_replication::causal::Cell;
use quorate_replication::leaderless::{CellKey, Cells};
use quorate_storage::state::{Change, StateStore};

use super::super::persisting::describe;
use super::super::rows::{self, Prefix};

const CELL: u8 = b'c';

/// One generation of a shard's cells in the state store.
pub(super) struct Applied<'a, S> {
    state: &'a S,
    prefix: Prefix,
    last: &'a Last,
    keeps: bool,
    /// Why something could not be read. Whatever was made of it is worth nothing.
    failure: RefCell<Option<String>>,
}

/// The cell that a coordinator read last: it reads it three times, for what to answer, for a time that is later, and to change
/// it.
#[derive(Debug, Default)]
pub(super) struct Last(RefCell<Option<(CellKey, Option<Cell>)>>);

impl Last {
    /// Cells change.
    pub(super) fn forget(&mut self) {
        self.0 = RefCell::default();
    }
}

impl<'a, S: StateStore> Applied<'a, S> {
    pub(super) const fn new(state: &'a S, prefix: Prefix, last: &'a Last) -> Self {
        Self { state, prefix, last, keeps: false, failure: RefCell::new(None) }
    }

    /// For a coordinator: what it reads it reads again soon.
    pub(super) fn keeping(self) -> Self {
        Self { keeps: true, ..self }
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.failure.borrow_mut().take()
    }

    fn decode(&self, value: &[u8]) -> Option<Cell> {
        match rows::decode::<Cell>(value) {
            Ok(cell) if cell.is_well_formed() => Some(cell),
            Ok(_) => self.fail("a cell is not well formed".to_owned()),
            Err(what) => self.fail(format!("a cell {what}")),
        }
    }

    fn fail<T>(&self, why: String) -> Option<T> {
        self.failure.borrow_mut().get_or_insert(why);
        None
    }
}

impl<S: StateStore> Cells for Applied<'_, S> {
    fn cell(&self, key: &CellKey) -> Option<Cell> {
        if let Some((last, cell)) = self.last.0.borrow().as_ref()
            && last == key
        {
            return cell.clone();
        }
        let cell = match self.state.row(&cell_row(self.prefix, key.bytes())) {
            Ok(Some(value)) => Some(self.decode(&value)?),
            Ok(None) => None,
            Err(error) => return self.fail(describe(&error)),
        };
        if self.keeps {
            self.last.0.replace(Some((key.clone(), cell.clone())));
        }
        cell
    }

    fn range(&self, from: &Bytes, to: &Bytes, count_max: usize) -> Vec<(CellKey, Cell)> {
        let (from, to) = (cell_row(self.prefix, from), cell_row(self.prefix, to));
        let found = match self.state.range(&from, &to, count_max) {
            Ok(found) => found,
            Err(error) => {
                self.fail::<()>(describe(&error));
                return Vec::new();
            }
        };
        let cut = self.prefix.as_slice().len() + 1;
        let cell = |(row, value): (Bytes, Bytes)| {
            let key = CellKey::new(row.slice(cut..));
            let key = key.or_else(|| self.fail("a row is no cell's".to_owned()))?;
            Some((key, self.decode(&value)?))
        };
        found.into_iter().filter_map(cell).collect()
    }
}

pub(super) fn put_cell(prefix: Prefix, key: &CellKey, encoded: Bytes) -> Change {
    Change::Put { row: cell_row(prefix, key.bytes()), value: encoded }
}

/// A row's value, and in the log what comes behind its key.
pub(super) fn encode_cell(cell: &Cell) -> Bytes {
    rows::encode_sized(cell, 2 * cell.bytes())
}

pub(super) fn cell_row(prefix: Prefix, key: &[u8]) -> Bytes {
    let mut row = BytesMut::with_capacity(prefix.as_slice().len() + 1 + key.len());
    row.put_slice(prefix.as_slice());
    row.put_u8(CELL);
    row.put_slice(key);
    row.freeze()
}
