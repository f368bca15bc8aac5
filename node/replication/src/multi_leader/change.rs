//! What a datacenter wrote to a shard at once, as it goes to the others.

#[cfg(test)]
use std::collections::BTreeMap;

use quorate_model::{ActorId, Dot, Hlc, VersionVector};
use serde::{Deserialize, Serialize};

#[cfg(test)]
use crate::causal;
use crate::causal::{Cell, CellKey, cell_bytes};

/// One transaction: applied whole, once, and in its turn (INV-107, 108).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    /// Whose: the shard's group in the datacenter that wrote it.
    pub origin: ActorId,
    /// Its writes are the dots from here on of that origin, one for each cell,
    pub first: u64,
    /// through here.
    pub last: u64,
    /// What its origin had applied of the others.
    pub after: VersionVector,
    /// As they stood at the origin after it.
    pub cells: Vec<(CellKey, Cell)>,
}

/// Whether it is a change's turn where this is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    Known,
    Next,
    /// This, and what its origin wrote before it, comes first.
    Behind(Dot),
}

impl Change {
    /// What is known once it is applied.
    #[must_use]
    pub const fn through(&self) -> Dot {
        Dot { actor: self.origin, counter: self.last }
    }

    /// The one rule for order, loops and repetitions.
    #[must_use]
    pub fn turn(&self, known: &VersionVector) -> Turn {
        if known.covers(self.through()) {
            return Turn::Known;
        }
        let before = Dot { actor: self.origin, counter: self.first - 1 };
        let lacking = [before].into_iter().chain(self.after.dots()).find(|dot| !known.covers(*dot));
        lacking.map_or(Turn::Next, Turn::Behind)
    }

    /// Whether it is as an origin makes it. What comes from outside must be asked.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let knows = |dot: Dot| match dot.actor == self.origin {
            true => dot.counter <= self.last,
            false => self.after.covers(dot),
        };
        let whole = |cell: &Cell| cell.is_well_formed() && cell.known().dots().all(knows);
        self.first > 0
            && self.first <= self.last
            && self.after.is_well_formed()
            && self.after.counter(self.origin) == 0
            && self.cells.iter().all(|(_, cell)| whole(cell))
    }

    /// Roughly what it takes in memory and on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let cells = self.cells.iter().map(|(key, cell)| cell_bytes(key, cell));
        24 + 16 * self.after.len() + cells.sum::<usize>()
    }

    /// The latest time of what it brings.
    #[must_use]
    pub fn newest(&self) -> Option<Hlc> {
        self.cells.iter().filter_map(|(_, cell)| cell.newest()).max()
    }
}

#[cfg(test)]
impl Change {
    /// What an origin that has applied this writes, one after the other: its time is not before what it follows.
    pub(super) fn written(
        origin: ActorId,
        known: &VersionVector,
        cells: &BTreeMap<CellKey, Cell>,
        at: Hlc,
        writes: Vec<(CellKey, causal::Change)>,
    ) -> Self {
        let first = known.counter(origin) + 1;
        let after = known.dots().filter(|dot| dot.actor != origin).collect();
        let write = |(counter, (key, change)): (u64, (CellKey, causal::Change))| {
            let mut cell = cells.get(&key).cloned().unwrap_or_default();
            let later = Hlc(cell.newest().unwrap_or_default().0 + 1);
            cell.change(Dot { actor: origin, counter }, at.max(later), change);
            (key, cell)
        };
        let cells: Vec<(CellKey, Cell)> = (first..).zip(writes).map(write).collect();
        let change = Self { origin, first, last: first + cells.len() as u64 - 1, after, cells };
        assert!(change.is_well_formed());
        change
    }
}
