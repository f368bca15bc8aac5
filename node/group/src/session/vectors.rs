//! What a session has seen of cells, in a store without leaders: their version vectors are its positions.
//!
//! Keeps INV-106 together with the coordinators, which answer from no less.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use quorate_model::VersionVector;
use quorate_replication::leaderless::{CellKey, Seen};

use crate::cells;

/// Of each generation, roughly: some thousand cells.
const BYTES_MAX: usize = 256 << 10;

/// Bounded: when a generation is full, the one before it is forgotten, and only that something was is remembered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Vectors {
    lately: Generation,
    earlier: Generation,
    more: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Generation {
    cells: BTreeMap<CellKey, VersionVector>,
    bytes: usize,
}

impl Vectors {
    /// The session was answered from cells of which so much was known.
    pub fn learn(&mut self, seen: impl IntoIterator<Item = (CellKey, VersionVector)>) {
        for (key, mut known) in seen {
            for generation in [&mut self.lately, &mut self.earlier] {
                if let Some(before) = generation.take(&key) {
                    known.join(&before);
                }
            }
            if self.lately.bytes >= BYTES_MAX {
                self.more |= !self.earlier.cells.is_empty();
                self.earlier = std::mem::take(&mut self.lately);
            }
            self.lately.put(key, known);
        }
    }

    /// What was seen of these keys.
    pub fn of<'k>(&self, keys: impl IntoIterator<Item = &'k Bytes>) -> Seen {
        let mut seen = Seen { cells: Vec::new(), more: self.more };
        for key in keys {
            let Ok((from, to)) = cells::cells_of(key) else { continue };
            for Generation { cells, .. } in [&self.lately, &self.earlier] {
                let bounds = (Bound::Included(&from), Bound::Excluded(&to));
                let cells = cells.range::<Bytes, _>(bounds);
                seen.cells.extend(cells.map(|(key, known)| (key.clone(), known.clone())));
            }
        }
        seen
    }

    /// Everything, for another process to go on with.
    #[must_use]
    pub fn export(&self) -> Seen {
        let cells = self.earlier.cells.iter().chain(&self.lately.cells);
        Seen {
            cells: cells.map(|(key, known)| (key.clone(), known.clone())).collect(),
            more: self.more,
        }
    }

    /// Adds what another connection had seen.
    pub fn import(&mut self, Seen { cells, more }: Seen) {
        self.learn(cells);
        self.more |= more;
    }
}

impl Generation {
    fn put(&mut self, key: CellKey, known: VersionVector) {
        self.bytes += bytes(&key, &known);
        let before = self.cells.insert(key, known);
        assert!(before.is_none(), "it was taken out to be joined");
    }

    fn take(&mut self, key: &CellKey) -> Option<VersionVector> {
        let known = self.cells.remove(key)?;
        self.bytes -= bytes(key, &known);
        Some(known)
    }
}

const fn bytes(key: &CellKey, known: &VersionVector) -> usize {
    32 + key.bytes().len() + 16 * known.len()
}

#[cfg(test)]
mod tests {
    use quorate_model::{ActorId, Dot};

    use super::*;

    fn key(number: usize) -> Bytes {
        Bytes::from(format!("key-{number}"))
    }

    fn cell(number: usize) -> CellKey {
        CellKey::new(cells::cells_of(&key(number)).unwrap().0).unwrap()
    }

    fn known(actor: u64, counter: u64) -> VersionVector {
        VersionVector::from_iter([Dot { actor: ActorId(actor), counter }])
    }

    #[test]
    fn what_is_seen_of_a_key_is_all_that_was_learnt_of_its_cells() {
        let mut vectors = Vectors::default();
        vectors.learn([(cell(1), known(1, 5)), (cell(2), known(1, 6))]);
        vectors.learn([(cell(1), known(2, 1)), (cell(1), known(1, 4))]);
        let mut both = known(1, 5);
        both.join(&known(2, 1));
        let seen = Seen { cells: vec![(cell(1), both)], more: false };
        assert_eq!(vectors.of([&key(1)]), seen);
        assert_eq!(vectors.of([&key(3)]), Seen::default());
        let mut other = Vectors::default();
        other.import(vectors.export());
        assert_eq!(other.of([&key(1)]), seen);
    }

    #[test]
    fn what_was_seen_last_is_remembered_and_that_there_was_more() {
        let mut vectors = Vectors::default();
        let count = 4 * BYTES_MAX / bytes(&cell(100_000), &known(1, 1));
        for number in 0..count {
            vectors.learn([(cell(number), known(1, 1))]);
        }
        assert_eq!(vectors.of([&key(count - 1)]).cells.len(), 1);
        assert_eq!(vectors.of([&key(0)]), Seen { cells: Vec::new(), more: true });
        assert!(vectors.export().cells.len() <= 2 * BYTES_MAX / 32);
    }
}
