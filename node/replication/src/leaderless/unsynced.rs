//! Cells on their way to the disk: newer than the applied ones, and not to be told as durable yet.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::asked::within;
use super::{CellKey, PersistId};
use crate::causal::{Cell, CellDigest};

#[derive(Debug, Default)]
pub(super) struct Unsynced {
    newest: BTreeMap<CellKey, (PersistId, Cell)>,
    /// In the order of issue.
    queue: VecDeque<Batch>,
    /// Durable, and to be applied before the next step: until then the applied cells are older ones.
    applying: Vec<(CellKey, PersistId)>,
    bytes: usize,
}

/// What became of each cell.
#[derive(Debug)]
pub(super) struct Batch {
    id: PersistId,
    pub(super) cells: Vec<Swapped>,
}

#[derive(Debug)]
pub(super) struct Swapped {
    pub(super) key: CellKey,
    pub(super) before: Option<CellDigest>,
    pub(super) after: CellDigest,
    bytes: usize,
}

/// A cell in place of another one.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) key: CellKey,
    /// `None` where there was no cell.
    pub(super) before: Option<CellDigest>,
    pub(super) cell: Cell,
}

impl Unsynced {
    pub(super) fn cell(&self, key: &CellKey) -> Option<&Cell> {
        self.newest.get(key).map(|(_, cell)| cell)
    }

    pub(super) fn within(
        &self,
        from: &Bytes,
        to: &Bytes,
    ) -> impl Iterator<Item = (&CellKey, &Cell)> {
        within(&self.newest, from, to).map(|(key, (_, cell))| (key, cell))
    }

    /// Through which persist this cell is durable as it is known here; `None` where the applied one is the newest.
    pub(super) fn until(&self, key: &CellKey) -> Option<PersistId> {
        self.newest.get(key).map(|(id, _)| *id)
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, id: PersistId, replaced: &[Replaced]) {
        assert!(self.queue.back().is_none_or(|newest| newest.id < id));
        let mut cells = Vec::with_capacity(replaced.len());
        for Replaced { key, before, cell } in replaced {
            let (after, bytes) = (cell.digest(), cell.bytes());
            self.bytes += bytes;
            self.newest.insert(key.clone(), (id, cell.clone()));
            cells.push(Swapped { key: key.clone(), before: *before, after, bytes });
        }
        self.queue.push_back(Batch { id, cells });
    }

    /// The oldest batch, if it is durable through `id`.
    pub(super) fn pop(&mut self, id: PersistId) -> Option<Batch> {
        let batch = self.queue.pop_front_if(|oldest| oldest.id <= id)?;
        for Swapped { key, bytes, .. } in &batch.cells {
            self.bytes -= bytes;
            self.applying.push((key.clone(), batch.id));
        }
        Some(batch)
    }

    /// What was durable by the last step is applied.
    pub(super) fn applied(&mut self) {
        for (key, id) in std::mem::take(&mut self.applying) {
            if let Entry::Occupied(newest) = self.newest.entry(key)
                && newest.get().0 == id
            {
                newest.remove();
            }
        }
    }
}
