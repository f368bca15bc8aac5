//! The rows of ONCE: what is kept of a token.
//!
//! | row | value |
//! | --- | --- |
//! | `o` slot(2) token | fingerprint(8) answer (postcard) |
//! | `q` number(8) | slot(2) token: the tokens by the order in which they came |
//! | `o` | newest number(8) oldest number(8) bytes(8) |
//!
//! Numbers are big-endian and without a gap from the oldest to the newest.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::Slot;
use xxhash_rust::xxh3::Xxh3;

use super::layout::{COUNTED_MAX, number};
use crate::Value;

const TOKENS: u8 = b'o';
const ORDER: u8 = b'q';
/// About what a token takes beside its own bytes and its answer's.
const OVERHEAD_BYTES: u64 = 64;

/// More tokens than any version ever kept.
const COUNT_POSSIBLE_MAX: u64 = 1 << 20;

/// The row that holds the [`Bounds`].
pub(super) const BOUNDS_ROW: &[u8] = &[TOKENS];

/// A token in its slot: the same one elsewhere is another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Token {
    /// slot(2) token.
    bytes: Bytes,
}

/// What was done for a token.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Done {
    pub(super) fingerprint: u64,
    pub(super) answer: Value,
}

/// Which tokens are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bounds {
    pub(super) newest: u64,
    pub(super) oldest: u64,
    pub(super) bytes: u64,
}

impl Token {
    pub(super) fn new(slot: Slot, token: &[u8]) -> Self {
        let mut bytes = BytesMut::with_capacity(2 + token.len());
        bytes.put_u16(slot.number());
        bytes.put_slice(token);
        Self { bytes: bytes.freeze() }
    }

    /// From its row in the order.
    pub(super) const fn of_order(cell: Bytes) -> Self {
        Self { bytes: cell }
    }

    pub(super) fn row(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(1 + self.bytes.len());
        row.put_u8(TOKENS);
        row.put_slice(&self.bytes);
        row.freeze()
    }

    pub(super) fn order_cell(&self) -> Bytes {
        self.bytes.clone()
    }

    /// How much it counts with this cell.
    pub(super) fn taken(&self, cell: &[u8]) -> u64 {
        (2 * self.bytes.len() + cell.len()) as u64 + OVERHEAD_BYTES
    }
}

impl Done {
    pub(super) fn encode(&self) -> Bytes {
        let cell = self.fingerprint.to_be_bytes().to_vec();
        let cell = postcard::to_extend(&self.answer, cell);
        cell.expect("answers serialize to memory").into()
    }

    /// `None` for bytes that no version so far wrote.
    pub(super) fn decode(cell: &[u8]) -> Option<Self> {
        let (fingerprint, answer) = cell.split_at_checked(8)?;
        let answer = postcard::from_bytes(answer).ok()?;
        Some(Self { fingerprint: number(fingerprint)?, answer })
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self { newest: 0, oldest: 1, bytes: 0 }
    }
}

impl Bounds {
    pub(super) fn encode(self) -> Bytes {
        let mut cell = BytesMut::with_capacity(24);
        cell.put_u64(self.newest);
        cell.put_u64(self.oldest);
        cell.put_u64(self.bytes);
        cell.freeze()
    }

    pub(super) fn decode(cell: &[u8]) -> Option<Self> {
        let (newest, rest) = cell.split_at_checked(8)?;
        let (oldest, bytes) = rest.split_at_checked(8)?;
        let (newest, oldest) = (number(newest)?, number(oldest)?);
        let bounds = Self { newest, oldest, bytes: number(bytes)? };
        let possible = (1..=newest.saturating_add(1)).contains(&oldest)
            && newest <= COUNTED_MAX
            && bounds.count() <= COUNT_POSSIBLE_MAX
            && bounds.bytes <= COUNTED_MAX;
        possible.then_some(bounds)
    }

    pub(super) const fn count(self) -> u64 {
        self.newest + 1 - self.oldest
    }
}

/// The row of a token by its place in the order.
pub(super) fn order_row(place: u64) -> Bytes {
    let mut row = BytesMut::with_capacity(9);
    row.put_u8(ORDER);
    row.put_u64(place);
    row.freeze()
}

/// What tells two commands with one token apart. It is in logs and rows, and never changes for the same words.
pub fn fingerprint<'a>(words: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hash = Xxh3::new();
    for word in words {
        hash.update(&(word.len() as u64).to_be_bytes());
        hash.update(word);
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ValueError;

    #[test]
    fn cells_come_back_and_what_is_cut_is_none() {
        let answer = Value::List(vec![Value::Integer(-1), Value::Error(ValueError::WrongType)]);
        let done = Done { fingerprint: 7, answer };
        let cell = done.encode();
        assert_eq!(Done::decode(&cell), Some(done));
        assert_eq!(Done::decode(&cell[..7]), None);
        assert_eq!(Done::decode(&cell[..cell.len() - 1]), None);
        let bounds = Bounds { newest: 9, oldest: 3, bytes: 100 };
        assert_eq!((Bounds::decode(&bounds.encode()), bounds.count()), (Some(bounds), 7));
        assert_eq!((Bounds::decode(b"short"), Bounds::default().count()), (None, 0));
    }

    #[test]
    fn a_fingerprint_knows_where_words_end_and_never_changes() {
        let of = |words: &[&str]| fingerprint(words.iter().map(|word| word.as_bytes()));
        assert_ne!(of(&["set", "ab", "c"]), of(&["set", "a", "bc"]));
        assert_ne!(of(&["incr", "a"]), of(&["decr", "a"]));
        assert_eq!(of(&["incr", "a"]), PINNED);
    }

    const PINNED: u64 = 12_322_652_357_759_149_950;
}
