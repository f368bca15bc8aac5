//! Sets of groups with a position each, and what two nodes compare of them.

use std::collections::BTreeMap;

use quorate_model::planted::{self, Bug};
use quorate_model::{GroupId, Position};
use serde::{Deserialize, Serialize};

/// How many, and a hash that does not depend on their order: two sets with the same digest are taken to be equal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Digest {
    count: u32,
    hash: u64,
}

impl Digest {
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Groups in which something is agreed on, and behind which entry.
#[derive(Debug, Default)]
pub(super) struct Pacts {
    of: BTreeMap<GroupId, Position>,
    digest: Digest,
}

impl Pacts {
    pub(super) fn insert(&mut self, group: GroupId, last: Position) {
        self.remove(group);
        self.of.insert(group, last);
        self.digest.count += 1;
        self.digest.hash = self.digest.hash.wrapping_add(hash(group, last));
    }

    pub(super) fn remove(&mut self, group: GroupId) {
        if let Some(last) = self.of.remove(&group) {
            self.digest.count -= 1;
            self.digest.hash = self.digest.hash.wrapping_sub(hash(group, last));
        }
    }

    pub(super) const fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn agrees_with(&self, told: Digest) -> bool {
        if planted::is(Bug::CompareCountsOnly) {
            return self.digest.count == told.count;
        }
        self.digest == told
    }

    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.of.len()
    }

    pub(super) fn at(&self, group: GroupId) -> Option<Position> {
        self.of.get(&group).copied()
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.of.keys().copied()
    }

    pub(super) fn list(&self) -> Vec<(GroupId, Position)> {
        self.of.iter().map(|(group, last)| (*group, *last)).collect()
    }

    /// The groups of this set that `told` does not have, or has at another position.
    pub(super) fn differing(&self, told: &BTreeMap<GroupId, Position>) -> Vec<GroupId> {
        let differs = |(group, last): &(&GroupId, &Position)| told.get(group) != Some(last);
        self.of.iter().filter(differs).map(|(group, _)| *group).collect()
    }

    /// The groups of `told` that this set does not have like this.
    pub(super) fn missing(&self, told: &BTreeMap<GroupId, Position>) -> Vec<(GroupId, Position)> {
        let missing = told.iter().filter(|(group, last)| self.at(**group) != Some(**last));
        missing.map(|(group, last)| (*group, *last)).collect()
    }
}

/// Spreads a group and its position over 64 bits (SplitMix64's finalizer, over each part in turn).
fn hash(group: GroupId, last: Position) -> u64 {
    let parts = [u64::from(group.number()), last.term.0, last.index.0];
    parts.into_iter().fold(0, |state, part| {
        let mut mixed = (state ^ part).wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    })
}

#[cfg(test)]
mod tests {
    use quorate_model::{LogIndex, ShardId, Term};

    use super::*;

    fn at(index: u64) -> Position {
        Position { term: Term(3), index: LogIndex(index) }
    }

    #[test]
    fn a_digest_depends_on_what_is_in_the_set_and_on_nothing_else() {
        let groups: Vec<GroupId> = (0..100).map(|id| GroupId::Shard(ShardId(id))).collect();
        let (mut one, mut other) = (Pacts::default(), Pacts::default());
        groups.iter().for_each(|group| one.insert(*group, at(7)));
        groups.iter().rev().for_each(|group| other.insert(*group, at(8)));
        assert!(!one.agrees_with(other.digest()));
        groups.iter().for_each(|group| other.insert(*group, at(7)));
        assert!(one.agrees_with(other.digest()));
        one.remove(groups[4]);
        one.insert(GroupId::Meta, at(7));
        assert!(!one.agrees_with(other.digest()), "as many, but others");
        groups.iter().for_each(|group| one.remove(*group));
        one.remove(GroupId::Meta);
        assert_eq!(one.digest(), Digest::default());
    }
}
