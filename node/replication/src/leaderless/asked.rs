//! What a read is of: named cells, and ranges of which nobody may know all cells.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::CellKey;
use super::kernel::Kernel;
use super::{Cells, Settings};
use crate::causal::{Cell, CellDigest};

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Asked {
    Cell(CellKey),
    /// All cells from `from` on and before `to`.
    Range {
        from: Bytes,
        to: Bytes,
    },
}

/// The ranges hold more than a read may be of: it is refused, never cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TooMuch;

impl Asked {
    #[must_use]
    pub fn covers(&self, key: &CellKey) -> bool {
        match self {
            Self::Cell(asked) => asked == key,
            Self::Range { from, to } => (from..to).contains(&key.bytes()),
        }
    }

    /// The one cell that it is of.
    #[must_use]
    pub const fn cell(&self) -> Option<&CellKey> {
        match self {
            Self::Cell(key) => Some(key),
            Self::Range { .. } => None,
        }
    }

    /// What of these is asked for.
    #[must_use]
    pub fn of<'m, V>(&self, all: &'m BTreeMap<CellKey, V>) -> Vec<(&'m CellKey, &'m V)> {
        match self {
            Self::Cell(key) => all.get_key_value(key).into_iter().collect(),
            Self::Range { from, to } => within(all, from, to).collect(),
        }
    }

    /// Roughly what it takes on the wire.
    pub(super) const fn bytes(&self) -> usize {
        match self {
            Self::Cell(key) => key.bytes().len(),
            Self::Range { from, to } => from.len() + to.len(),
        }
    }
}

/// Equal where the same is known of the same cells.
pub(super) fn digest<'c>(known: impl IntoIterator<Item = (&'c CellKey, &'c Cell)>) -> CellDigest {
    let mut all = Vec::new();
    for (key, cell) in known {
        all.extend_from_slice(&(key.bytes().len() as u64).to_be_bytes());
        all.extend_from_slice(key.bytes());
        all.extend_from_slice(&cell.digest().0.to_be_bytes());
    }
    CellDigest(xxh3_64(&all))
}

/// Those from `from` on and before `to`; a message may name bounds that are none.
pub(super) fn within<'m, V>(
    all: &'m BTreeMap<CellKey, V>,
    from: &Bytes,
    to: &Bytes,
) -> impl Iterator<Item = (&'m CellKey, &'m V)> + use<'m, V> {
    let bounds = (Bound::Included(from), Bound::Excluded(to));
    (from < to).then(|| all.range::<Bytes, _>(bounds)).into_iter().flatten()
}

impl Kernel {
    /// What this replica knows of each part, durable or not.
    ///
    /// # Errors
    /// [`TooMuch`] when its ranges hold more than the settings say, together.
    pub(super) fn known<'a>(
        &self,
        cells: &dyn Cells,
        asked: impl IntoIterator<Item = &'a Asked>,
    ) -> Result<Vec<Vec<(CellKey, Cell)>>, TooMuch> {
        let Settings { range_cells_max, range_bytes_max, .. } = self.settings;
        let (mut cells_left, mut bytes_left) = (range_cells_max, range_bytes_max);
        let mut parts = Vec::new();
        for asked in asked {
            let (mut from, to) = match asked {
                Asked::Cell(key) => {
                    let cell = self.cell(cells, key);
                    parts.push(cell.map(|cell| (key.clone(), cell)).into_iter().collect());
                    continue;
                }
                Asked::Range { from, to } => (from.clone(), to),
            };
            let mut part = Vec::new();
            loop {
                const PAGE: usize = 256;
                let page = self.range(cells, &from, to, PAGE);
                let bytes = page.iter().map(|(key, cell)| key.bytes().len() + cell.bytes()).sum();
                cells_left = cells_left.checked_sub(page.len()).ok_or(TooMuch)?;
                bytes_left = bytes_left.checked_sub(bytes).ok_or(TooMuch)?;
                let next = page.last().filter(|_| page.len() == PAGE).map(|(key, _)| key.next());
                part.extend(page);
                match next {
                    Some(next) => from = next,
                    None => break,
                }
            }
            parts.push(part);
        }
        Ok(parts)
    }

    /// What this replica knows of a range, durable or not: the first cells of it, at most `count_max`, and fewer only where
    /// there are no more.
    pub(super) fn range(
        &self,
        cells: &dyn Cells,
        from: &Bytes,
        to: &Bytes,
        count_max: usize,
    ) -> Vec<(CellKey, Cell)> {
        if from >= to {
            return Vec::new();
        }
        let applied = cells.range(from, to, count_max);
        // What is applied behind these was not read.
        let end = applied.last().filter(|_| applied.len() == count_max).map(|(key, _)| key.next());
        let mut known: BTreeMap<CellKey, Cell> = applied.into_iter().collect();
        known.extend(self.unsynced_within(from, end.as_ref().unwrap_or(to)));
        known.into_iter().take(count_max).collect()
    }
}
