//! What a session has seen of cells, in a store without leaders: their version vectors are its positions.
//!
//! Keeps INV-106 together with the coordinators, which answer from no less.

use std::collections::BTreeMap;

use quorate_model::VersionVector;
use quorate_replication::leaderless::{CellKey, Seen};

use crate::{Operation, cells};

/// Of each generation, roughly: some thousand cells.
const BYTES_MAX: usize = 256 << 10;
/// Of one cell.
const ACTORS_MAX: usize = 1024;

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
            // Only what nobody can have written has so many writers, or a cell that outlived thousands of restarts.
            if known.len() > ACTORS_MAX {
                self.more = true;
                continue;
            }
            if self.lately.bytes >= BYTES_MAX {
                self.more |= !self.earlier.cells.is_empty();
                self.earlier = std::mem::take(&mut self.lately);
            }
            self.lately.put(key, known);
        }
    }

    /// No replica knows any more what the session has seen of these: it is gone for good.
    pub fn forget(&mut self, gone: &[CellKey]) {
        for key in gone {
            self.lately.take(key);
            self.earlier.take(key);
        }
    }

    /// What was seen of what this is about.
    #[must_use]
    pub fn of(&self, operation: &Operation) -> Seen {
        let mut seen = Seen { cells: Vec::new(), more: self.more };
        for asked in cells::concerned(operation).unwrap_or_default() {
            for Generation { cells, .. } in [&self.lately, &self.earlier] {
                let found = asked.of(cells).into_iter();
                seen.cells.extend(found.map(|(key, known)| (key.clone(), known.clone())));
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
    use bytes::Bytes;
    use quorate_model::{ActorId, Dot};
    use quorate_replication::leaderless::Asked;

    use super::*;
    use crate::{Read, Write};

    fn get(number: usize) -> Operation {
        Operation::Read(Read::Get { key: Bytes::from(format!("key-{number}")) })
    }

    fn field(name: &'static [u8]) -> Operation {
        let (key, field) = (Bytes::from_static(b"hash"), Bytes::from_static(name));
        Operation::Read(Read::Field { key, field })
    }

    /// A cell that it is about.
    fn cell(operation: &Operation) -> CellKey {
        match &cells::concerned(operation).unwrap()[0] {
            Asked::Cell(key) => key.clone(),
            Asked::Range { from, .. } => CellKey::new(from.clone()).unwrap(),
        }
    }

    fn known(actor: u64, counter: u64) -> VersionVector {
        VersionVector::from_iter([Dot { actor: ActorId(actor), counter }])
    }

    #[test]
    fn what_is_seen_of_a_key_is_all_that_was_learnt_of_its_cells() {
        let mut vectors = Vectors::default();
        vectors.learn([(cell(&get(1)), known(1, 5)), (cell(&get(2)), known(1, 6))]);
        vectors.learn([(cell(&get(1)), known(2, 1)), (cell(&get(1)), known(1, 4))]);
        let mut both = known(1, 5);
        both.join(&known(2, 1));
        let seen = Seen { cells: vec![(cell(&get(1)), both)], more: false };
        assert_eq!(vectors.of(&get(1)), seen);
        assert_eq!(vectors.of(&get(3)), Seen::default());
        let mut other = Vectors::default();
        other.import(vectors.export());
        assert_eq!(other.of(&get(1)), seen);
    }

    #[test]
    fn an_operation_on_a_field_is_about_that_field_however_often_it_is_named() {
        let mut vectors = Vectors::default();
        vectors.learn([(cell(&field(b"a")), known(1, 5)), (cell(&field(b"b")), known(1, 6))]);
        assert_eq!(vectors.of(&field(b"a")).cells, [(cell(&field(b"a")), known(1, 5))]);
        let keys = vec![Bytes::from_static(b"hash"); 3];
        let all = Operation::Write(Write::Delete { keys });
        assert_eq!(vectors.of(&all).cells.len(), 2);
    }

    #[test]
    fn what_no_replica_knows_any_more_is_forgotten_and_what_is_no_vector_is_not_kept() {
        let mut vectors = Vectors::default();
        vectors.learn([(cell(&get(1)), known(1, 5))]);
        vectors.forget(&[cell(&get(1))]);
        assert_eq!(vectors, Vectors::default());
        let dots = (0..=ACTORS_MAX as u64).map(|actor| Dot { actor: ActorId(actor), counter: 1 });
        vectors.learn([(cell(&get(1)), dots.collect())]);
        assert_eq!(vectors.of(&get(1)), Seen { cells: Vec::new(), more: true });
    }

    #[test]
    fn what_was_seen_last_is_remembered_and_that_there_was_more() {
        let mut vectors = Vectors::default();
        let count = 4 * BYTES_MAX / bytes(&cell(&get(100_000)), &known(1, 1));
        for number in 0..count {
            vectors.learn([(cell(&get(number)), known(1, 1))]);
        }
        assert_eq!(vectors.of(&get(count - 1)).cells.len(), 1);
        assert_eq!(vectors.of(&get(0)), Seen { cells: Vec::new(), more: true });
        assert!(vectors.export().cells.len() <= 2 * BYTES_MAX / 32);
    }
}
