//! What was applied and is not in the tree's tables: the newest change of each row, in order, in memory.
//!
//! The tree's own memtable keeps every version of a row in a skip list, whose search is a cache miss at every step. Here a
//! row stands once and the first bytes of it beside its neighbours'; a copy of the whole costs nothing until one of the two
//! changes, which is what a view holds.

use std::cmp::Ordering;
use std::sync::Arc;

use lsm_tree::{InternalValue, SeqNo, Slice, ValueType};

use super::super::FlushId;
use super::row_map::RowMap;

/// A row with its first bytes at hand: most comparisons need no more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Row {
    head: [u64; 3],
    pub(super) row: Slice,
}

/// The newest change of a row: `None` removed it.
#[derive(Clone, Debug)]
pub(super) struct Newest {
    pub(super) at: SeqNo,
    pub(super) value: Option<Slice>,
}

/// The changes of all batches since the tables, newest first; what a flush is about to bring to the tables stands behind
/// those.
#[derive(Clone, Default)]
pub(super) struct Memtables {
    active: RowMap,
    /// Newest first.
    sealed: Arc<Vec<Sealed>>,
}

/// What the flush of this number brings to the tables.
#[derive(Clone)]
pub(super) struct Sealed {
    pub(super) flush: FlushId,
    pub(super) rows: RowMap,
}

impl Memtables {
    pub(super) fn put(&mut self, row: Row, newest: Newest) {
        self.active.put(row, newest);
    }

    pub(super) fn newest(&self, row: &Row) -> Option<&Newest> {
        self.parts().find_map(|rows| rows.get(row))
    }

    /// What applies to the rows of a range, in order.
    pub(super) fn range<'a>(
        &'a self,
        from: &Row,
        to: &Row,
    ) -> impl Iterator<Item = (&'a Row, &'a Newest)> + use<'a> {
        let to = to.clone();
        let parts = self.parts().map(|rows| rows.iter_from(from).peekable());
        let mut parts: Vec<_> = parts.collect();
        std::iter::from_fn(move || {
            // Of parts that have the same row the newest is the first.
            let next =
                parts.iter_mut().filter_map(|part| part.peek().map(|(row, _)| *row)).min()?;
            if *next >= to {
                return None;
            }
            let mut found = None;
            for part in &mut parts {
                if part.peek().is_some_and(|(row, _)| *row == next) {
                    let newest = part.next();
                    found = found.or(newest);
                }
            }
            found
        })
    }

    /// What was put until now goes with this flush.
    pub(super) fn seal(&mut self, flush: FlushId) {
        let rows = std::mem::take(&mut self.active);
        Arc::make_mut(&mut self.sealed).insert(0, Sealed { flush, rows });
    }

    pub(super) fn sealed(&self) -> &Arc<Vec<Sealed>> {
        &self.sealed
    }

    /// The tables have what so many of the oldest held. Answers what there was: to free a memtable takes tens of milliseconds,
    /// which is for the caller to do where nobody waits.
    #[must_use]
    pub(super) fn forget_oldest(&mut self, count: usize) -> Arc<Vec<Sealed>> {
        let before = Arc::clone(&self.sealed);
        let left = before.len() - count;
        Arc::make_mut(&mut self.sealed).truncate(left);
        before
    }

    fn parts(&self) -> impl Iterator<Item = &RowMap> {
        std::iter::once(&self.active).chain(self.sealed.iter().map(|sealed| &sealed.rows))
    }
}

impl Sealed {
    /// As the tree's tables hold them.
    pub(super) fn values(&self) -> impl Iterator<Item = InternalValue> + '_ {
        self.rows.iter().map(|(row, Newest { at, value })| {
            let (kind, value) = match value {
                Some(value) => (ValueType::Value, value.clone()),
                None => (ValueType::Tombstone, Slice::from([])),
            };
            InternalValue::from_components(row.row.clone(), value, *at, kind)
        })
    }
}

impl Row {
    pub(super) fn new(row: Slice) -> Self {
        let mut words = row.chunks(8).map(|bytes| {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            u64::from_be_bytes(word)
        });
        let head = std::array::from_fn(|_| words.next().unwrap_or(0));
        Self { head, row }
    }
}

/// As the bytes themselves: where the heads differ, so do the rows, in the same way.
impl Ord for Row {
    fn cmp(&self, other: &Self) -> Ordering {
        self.head.cmp(&other.head).then_with(|| self.row.cmp(&other.row))
    }
}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::simulated::Dice;

    #[test]
    fn rows_are_in_the_order_of_their_bytes() {
        let mut dice = Dice(1);
        let mut rows: Vec<Vec<u8>> = (0..500)
            .map(|_| {
                let length = dice.below(30);
                (0..length).map(|_| u8::try_from(dice.below(2)).unwrap()).collect()
            })
            .collect();
        let mut ordered: Vec<Row> =
            rows.iter().map(|row| Row::new(Slice::from(row.as_slice()))).collect();
        rows.sort();
        ordered.sort();
        let ordered: Vec<Vec<u8>> = ordered.iter().map(|row| row.row.to_vec()).collect();
        assert_eq!(ordered, rows);
    }
}
