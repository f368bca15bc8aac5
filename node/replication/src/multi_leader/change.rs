//! What a datacenter wrote to a shard at once, as it goes to the others.

use quorate_model::{ActorId, Dot, Hlc, VersionVector};
use serde::{Deserialize, Serialize};

use super::Write;
use crate::causal::CellKey;

/// One transaction: applied whole, once, and in its turn (INV-107, 108).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    /// Whose: the shard's group in the datacenter that wrote it.
    pub origin: ActorId,
    /// Its writes are the dots from here on of that origin, in their order.
    pub first: u64,
    /// What its origin had applied of the others.
    pub after: VersionVector,
    /// When, by the origin's clock, which is later than all that it had applied.
    pub at: Hlc,
    /// Never none.
    pub writes: Vec<(CellKey, Write)>,
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
    /// The last of its dots.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.first + self.writes.len() as u64 - 1
    }

    /// What is known once it is applied.
    #[must_use]
    pub const fn through(&self) -> Dot {
        Dot { actor: self.origin, counter: self.last() }
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

    /// Each of its writes, with its dot.
    pub fn each(&self) -> impl Iterator<Item = (Dot, &CellKey, &Write)> {
        let dot = |counter| Dot { actor: self.origin, counter };
        (self.first..)
            .zip(&self.writes)
            .map(move |(counter, (key, write))| (dot(counter), key, write))
    }

    /// What its origin knew when it made this one of its writes.
    #[must_use]
    pub fn before(&self, dot: Dot) -> VersionVector {
        let mut before = self.after.clone();
        before.include(Dot { actor: self.origin, counter: dot.counter - 1 });
        before
    }

    /// Whether it is as an origin makes it. What comes from outside must be asked.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let sound = |(dot, _, write): (Dot, &CellKey, &Write)| {
            write.is_well_formed(dot, |seen| match seen.actor == self.origin {
                true => seen.counter < dot.counter,
                false => self.after.covers(seen),
            })
        };
        self.first > 0
            && !self.writes.is_empty()
            && self.first.checked_add(self.writes.len() as u64).is_some()
            && self.after.is_well_formed()
            && self.after.counter(self.origin) == 0
            && self.each().all(sound)
    }

    /// Roughly what it takes in memory and on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let writes = self.writes.iter().map(|(key, write)| key.bytes().len() + write.bytes());
        32 + 16 * self.after.len() + writes.sum::<usize>()
    }
}
