//! A replica that may lack what it once acknowledged, or what its node is to hold from now on.
//!
//! It takes what it is told and acknowledges nothing, answers no read, coordinates nothing. It compares itself with one
//! replica after the other, without a pause. Keeps INV-98.

use std::collections::BTreeMap;

use quorate_model::planted::{self, Bug};
use quorate_model::{Level, NodeId};

use super::kernel::Kernel;

/// How many comparisons that came to their end count for a replica: each goes over hashes of 32 bits under a number of its
/// own, so that two miss the same difference once in 2^64.
const COMPARISONS: u32 = 2;

#[derive(Debug, Default)]
pub(super) struct Filling {
    /// Comparisons that came to their end, with all that was found taken over.
    compared: BTreeMap<NodeId, u32>,
}

impl Filling {
    /// With whom to go on; anybody when all are done.
    pub(super) fn lacks(&self, node: NodeId) -> bool {
        self.compared.get(&node).is_none_or(|count| *count < COMPARISONS)
    }
}

impl Kernel {
    /// Whether this replica's word counts.
    pub(super) fn counts_for_quorums(&self) -> bool {
        self.filling.is_none() || planted::is(Bug::CountFilling)
    }

    /// A comparison with this replica came to its end.
    pub(super) fn compared(&mut self, peer: NodeId) {
        let enough = self.comparisons_needed();
        let Some(filling) = &mut self.filling else { return };
        *filling.compared.entry(peer).or_default() += 1;
        let others = self.owners.keys().filter(|node| **node != self.id);
        let done = others.filter(|node| !filling.lacks(**node)).count();
        if done >= enough {
            self.filled();
        }
    }

    /// INV-98: of any write that was acknowledged by as many as the store declares, this replica perhaps among them, at least one of
    /// so many others holds it.
    fn comparisons_needed(&self) -> usize {
        let others = self.owners.len().saturating_sub(1);
        match self.policy.write {
            Level::Quorum | Level::Count(_) | Level::All => {
                let local = self.owners.get(&self.id);
                let acknowledged =
                    local.map_or(1, |local| self.policy.write.need(&self.owners, local).count());
                (self.owners.len() + 1).saturating_sub(acknowledged).min(others)
            }
            Level::LocalOne | Level::LocalQuorum | Level::EachQuorum => others,
        }
    }
}
