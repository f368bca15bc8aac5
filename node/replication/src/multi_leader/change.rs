//! What a datacenter wrote to a shard at once, as it goes to the others.

use quorate_model::{ActorId, Dot, VersionVector};
use serde::{Deserialize, Serialize};

use crate::causal::{Cell, CellKey};

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
        let cells = self.cells.iter().map(|(key, cell)| 4 + key.bytes().len() + cell.bytes());
        24 + 16 * self.after.len() + cells.sum::<usize>()
    }
}
