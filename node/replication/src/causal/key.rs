//! Which cell: opaque bytes but for where they stand in the order of all cells.

use std::borrow::Borrow;

use bytes::Bytes;
use quorate_model::SlotRange;
use serde::{Deserialize, Serialize};

use super::Cell;

/// A cell's key: slot(2) hash(4), big-endian, then what tells cells of one hash apart. Cells are ordered by it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct CellKey(Bytes);

/// Where a cell stands: its slot and hash as one number of 48 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place(pub u64);

/// The places of a shard: from the first to the second, which is excluded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    pub from: Place,
    pub to: Place,
}

const PLACE_BYTES: usize = 6;
const HASH_BITS: u32 = 32;

impl CellKey {
    /// `None` for what is too short to say where it stands.
    #[must_use]
    pub fn new(bytes: Bytes) -> Option<Self> {
        (bytes.len() >= PLACE_BYTES).then_some(Self(bytes))
    }

    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The least key after this one.
    #[must_use]
    pub fn next(&self) -> Bytes {
        let mut next = self.0.to_vec();
        next.push(0);
        Bytes::from(next)
    }

    #[must_use]
    pub fn place(&self) -> Place {
        Place(self.0[..PLACE_BYTES].iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

/// Ordered and hashed as its bytes are.
impl Borrow<Bytes> for CellKey {
    fn borrow(&self) -> &Bytes {
        &self.0
    }
}

/// Roughly what a cell and its key take on the wire.
pub(crate) fn cell_bytes(key: &CellKey, cell: &Cell) -> usize {
    4 + key.bytes().len() + cell.bytes()
}

impl Place {
    /// The least key of this place.
    #[must_use]
    pub fn first_key(self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_be_bytes()[8 - PLACE_BYTES..])
    }
}

impl Span {
    #[must_use]
    pub fn of(slots: SlotRange) -> Self {
        let place = |slot: u64| Place(slot << HASH_BITS);
        let (first, last) = (slots.first.number(), slots.last.number());
        Self { from: place(u64::from(first)), to: place(u64::from(last) + 1) }
    }

    #[must_use]
    pub fn contains(&self, place: Place) -> bool {
        (self.from..self.to).contains(&place)
    }
}
