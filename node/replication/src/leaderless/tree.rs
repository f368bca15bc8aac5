//! A hash tree over a shard's cells: tells where two replicas differ, at a cost in proportion to the differences.
//!
//! Leaves are equal parts of the shard's places. A node's hash is the exclusive or of what is below it, so one cell's change is
//! one step on each level, and the order of changes does not matter. Hashes are of keys and of what their cells know, never of
//! values. Two cells that change places cancel out with a chance of one in 2^64.

use quorate_model::planted::{self, Bug};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{CellKey, Place, Span};
use crate::causal::{Cell, CellDigest};

/// Levels differ by so many bits: a node has sixteen children.
const FAN_OUT_BITS: u8 = 4;
const FAN_OUT: usize = 1 << FAN_OUT_BITS;
/// The finest tree: 65,536 leaves of eight bytes.
pub const LEAF_BITS_MAX: u8 = 16;

/// A node: the part of the tree whose leaves begin with the `bits` bits of `index`.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize,
)]
pub struct NodeAt {
    pub bits: u8,
    pub index: u32,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct HashTree {
    span: Span,
    leaf_bits: u8,
    /// By level above the leaves, the root first; as long as there is no cell there is nothing.
    levels: Vec<Vec<u64>>,
    /// The leaves of each node of the last of those levels, if there ever were cells: a small shard has a small tree.
    leaves: Vec<Option<Box<[u64; FAN_OUT]>>>,
}

impl NodeAt {
    pub const ROOT: Self = Self { bits: 0, index: 0 };
}

impl HashTree {
    /// # Panics
    /// When it would have less than one leaf or more than allowed.
    #[must_use]
    pub fn new(span: Span, leaf_bits: u8) -> Self {
        assert!(leaf_bits <= LEAF_BITS_MAX, "settings are validated");
        assert!(span.from < span.to, "a shard has slots");
        Self { span, leaf_bits, levels: Vec::new(), leaves: Vec::new() }
    }

    /// A cell changed from what had the first digest to what has the second.
    pub fn replace(
        &mut self,
        key: &CellKey,
        before: Option<CellDigest>,
        after: Option<CellDigest>,
    ) {
        let hash = |digest: Option<CellDigest>| digest.map_or(0, |digest| hash(key, digest));
        let change = hash(before) ^ hash(after);
        if self.leaves.is_empty() {
            self.levels = self.bits_above().map(|bits| vec![0; 1 << bits]).collect();
            self.leaves.resize(1 << self.last_bits_above(), None);
        }
        let leaf = self.leaf_of(key.place());
        for (level, bits) in self.levels.iter_mut().zip(bits_above(self.leaf_bits)) {
            level[usize_of(leaf >> (self.leaf_bits - bits))] ^= change;
        }
        let (parent, child) = self.leaf_at(leaf);
        self.leaves[parent].get_or_insert_default()[child] ^= change;
    }

    /// Zero for a part without cells, and for one that is not of this tree.
    #[must_use]
    pub fn hash(&self, at: NodeAt) -> u64 {
        if at.bits == self.leaf_bits {
            let (parent, child) = self.leaf_at(at.index);
            let leaves = self.leaves.get(parent).and_then(Option::as_ref);
            return leaves.map_or(0, |leaves| leaves[child]);
        }
        let level = self.bits_above().position(|bits| bits == at.bits);
        let found = level.and_then(|level| self.levels.get(level));
        found.and_then(|hashes| hashes.get(usize_of(at.index))).copied().unwrap_or(0)
    }

    /// What a leaf with exactly these cells has for a hash.
    #[must_use]
    pub fn hash_of(cells: &[(CellKey, Cell)]) -> u64 {
        cells.iter().fold(0, |sum, (key, cell)| sum ^ hash(key, cell.digest()))
    }

    /// The leaf with this number, counted over and over.
    #[must_use]
    pub const fn leaf(&self, number: u32) -> NodeAt {
        NodeAt { bits: self.leaf_bits, index: number & ((1 << self.leaf_bits) - 1) }
    }

    #[must_use]
    pub const fn is_leaf(&self, at: NodeAt) -> bool {
        at.bits >= self.leaf_bits
    }

    /// The parts of one that is no leaf.
    pub fn children(&self, at: NodeAt) -> impl Iterator<Item = NodeAt> + use<> {
        let bits = at.bits.saturating_add(FAN_OUT_BITS).min(self.leaf_bits);
        let below = bits.saturating_sub(at.bits);
        let first = if self.is_leaf(at) { 0..0 } else { 0..1_u32 << below };
        first.map(move |child| NodeAt { bits, index: at.index << below | child })
    }

    /// The places of a leaf; none for a leaf that is not of this tree.
    #[must_use]
    pub fn span_of(&self, leaf: NodeAt) -> Option<Span> {
        let leaves = 1_u32 << self.leaf_bits;
        if leaf.bits != self.leaf_bits || leaf.index >= leaves {
            return None;
        }
        let size = u128::from(self.span.to.0 - self.span.from.0);
        let begin = |leaf: u32| {
            let offset = (u128::from(leaf) * size).div_ceil(u128::from(leaves));
            Place(self.span.from.0 + u64::try_from(offset).expect("within the span"))
        };
        Some(Span { from: begin(leaf.index), to: begin(leaf.index + 1) })
    }

    fn leaf_of(&self, place: Place) -> u32 {
        assert!(self.span.contains(place), "cells are within their shard");
        let size = u128::from(self.span.to.0 - self.span.from.0);
        let offset = u128::from(place.0 - self.span.from.0);
        u32::try_from((offset << self.leaf_bits) / size).expect("fewer than 2^16")
    }

    /// Among the leaves of which node it is, and which of them.
    fn leaf_at(&self, leaf: u32) -> (usize, usize) {
        let below = self.leaf_bits - self.last_bits_above();
        (usize_of(leaf >> below), usize_of(leaf & ((1 << below) - 1)))
    }

    fn bits_above(&self) -> impl Iterator<Item = u8> + use<> {
        bits_above(self.leaf_bits)
    }

    /// A tree that is one leaf has nothing above it.
    fn last_bits_above(&self) -> u8 {
        self.bits_above().last().unwrap_or(0)
    }
}

fn bits_above(leaf_bits: u8) -> impl Iterator<Item = u8> {
    (0..leaf_bits).step_by(usize::from(FAN_OUT_BITS))
}

fn usize_of(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

fn hash(key: &CellKey, digest: CellDigest) -> u64 {
    if planted::is(Bug::HashKeysOnly) {
        return xxh3_64_with_seed(key.bytes(), 0);
    }
    xxh3_64_with_seed(key.bytes(), digest.0)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn span() -> Span {
        Span { from: Place(5 << 32), to: Place(105 << 32) }
    }

    fn key(slot: u16, hash: u32) -> CellKey {
        let mut bytes = slot.to_be_bytes().to_vec();
        bytes.extend(hash.to_be_bytes());
        bytes.extend(b"key");
        CellKey::new(Bytes::from(bytes)).unwrap()
    }

    /// The leaves in which two trees differ.
    fn differences(one: &HashTree, other: &HashTree) -> Vec<NodeAt> {
        let mut open = vec![NodeAt::ROOT];
        let mut found = Vec::new();
        while let Some(at) = open.pop() {
            if one.hash(at) == other.hash(at) {
                continue;
            }
            if one.is_leaf(at) {
                found.push(at);
            }
            open.extend(one.children(at));
        }
        found
    }

    #[test]
    fn leaves_divide_the_span_without_a_gap() {
        for bits in [0, 1, 3, 4, 7, 16] {
            let tree = HashTree::new(span(), bits);
            let mut next = span().from;
            for index in 0..1 << bits {
                let part = tree.span_of(NodeAt { bits, index }).unwrap();
                assert_eq!(part.from, next);
                for place in [part.from, Place(part.to.0 - 1)] {
                    assert_eq!(tree.leaf_of(place), index);
                }
                next = part.to;
            }
            assert_eq!(next, span().to);
            assert_eq!(tree.span_of(NodeAt { bits, index: 1 << bits }), None);
        }
    }

    #[test]
    fn a_leaf_hashes_as_its_cells() {
        let cells = [5, 6, 7].map(|slot| (key(slot, 7), Cell::default()));
        let mut tree = HashTree::new(span(), 0);
        for (key, cell) in &cells {
            tree.replace(key, None, Some(cell.digest()));
        }
        assert_eq!(tree.hash(tree.leaf(1)), HashTree::hash_of(&cells));
        assert_ne!(tree.hash(tree.leaf(1)), HashTree::hash_of(&cells[1..]));
    }

    #[test]
    fn trees_differ_exactly_where_cells_do() {
        for bits in [0, 3, 6, 8, 16] {
            let mut one = HashTree::new(span(), bits);
            let mut other = HashTree::new(span(), bits);
            for slot in 5..105 {
                one.replace(&key(slot, 7), None, Some(CellDigest(1)));
            }
            for slot in (5..105).rev() {
                other.replace(&key(slot, 7), None, Some(CellDigest(2)));
                other.replace(&key(slot, 7), Some(CellDigest(2)), Some(CellDigest(1)));
            }
            assert_eq!(differences(&one, &other), [], "whatever the way there");
            other.replace(&key(50, 7), Some(CellDigest(1)), Some(CellDigest(3)));
            one.replace(&key(90, 9), None, Some(CellDigest(1)));
            let found = differences(&one, &other);
            let within = |slot: u16, hash| {
                let place = key(slot, hash).place();
                found.iter().filter(|leaf| one.span_of(**leaf).unwrap().contains(place)).count()
            };
            assert_eq!((within(50, 7), within(90, 9)), (1, 1));
            assert!(found.len() <= 2);
            one.replace(&key(90, 9), Some(CellDigest(1)), None);
            other.replace(&key(50, 7), Some(CellDigest(3)), Some(CellDigest(1)));
            assert_eq!(differences(&one, &other), [], "and back");
        }
    }
}
