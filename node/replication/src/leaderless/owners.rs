//! Who has a replica of the shard, and what a request needs of them while it moves from some replicas to others.
//!
//! A shard moves in two steps. While it is *filling*, writes count in both sets, reads go to the old one, and the new one gets
//! what the old one holds. While it is *draining*, writes still count in both, and reads go to the new set. A replica
//! refuses whoever is a step behind it, so that a step counts as taken once so many have that too few are left for a quorum
//! of the step before (INV-99).

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::planted::{self, Bug};
use quorate_model::{Datacenter, Epoch, LeaderlessPolicy, Leaving, Level, Need, NodeId, Step};
use serde::{Deserialize, Serialize};

use super::{Refused, StandIns};

/// As the topology says.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Owners {
    /// The epoch of the newest step.
    pub since: Epoch,
    pub nodes: BTreeMap<NodeId, Datacenter>,
    pub leaves: Option<Leaving>,
    /// Those of the replicas that it leaves that are lost: what they alone hold is, too, and nobody waits for it.
    pub lost: BTreeSet<NodeId>,
    pub stand_ins: StandIns,
}

/// How far a replica came with a step, for whoever takes the next one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The step that it is at.
    pub since: Epoch,
    /// It holds what it must hold of the replicas that are left.
    pub ready: bool,
    /// The replicas that are left of which it has got everything.
    pub drained: BTreeSet<NodeId>,
}

impl Owners {
    /// Everybody who has a replica, or is to have one.
    pub(super) fn all(&self) -> BTreeSet<NodeId> {
        let leaving = self.leaves.iter().flat_map(|leaving| leaving.owners.keys());
        self.nodes.keys().chain(leaving).copied().collect()
    }

    /// Everybody who may hold something of the shard.
    pub(super) fn holders(&self) -> BTreeSet<NodeId> {
        let mut all = self.all();
        all.extend(&self.stand_ins.nodes);
        all
    }

    /// Those that reads go to, and that have what was acknowledged before this step.
    pub(super) fn read_from(&self) -> &BTreeMap<NodeId, Datacenter> {
        match &self.leaves {
            Some(Leaving { owners, step: Step::Filling }) => owners,
            Some(Leaving { step: Step::Draining, .. }) | None => &self.nodes,
        }
    }

    pub(super) fn is_filling(&self) -> bool {
        matches!(&self.leaves, Some(Leaving { step: Step::Filling, .. }))
    }

    /// Replicas that nobody reads from yet: they may acknowledge what they store, whatever they lack.
    pub(super) fn joining(&self) -> impl Iterator<Item = NodeId> + '_ {
        let filling = self.leaves.iter().filter(|leaving| leaving.step == Step::Filling);
        let new = filling.flat_map(|leaving| {
            self.nodes.keys().filter(|node| !leaving.owners.contains_key(node))
        });
        new.copied()
    }

    /// Those that together know everything that any replica knows, once they answer reads.
    pub(super) fn knowing(&self) -> BTreeSet<NodeId> {
        let mut knowing = self.all();
        for node in self.joining() {
            knowing.remove(&node);
        }
        &knowing - &self.lost
    }

    /// Those that are left for good.
    pub(super) fn leaving(&self) -> impl Iterator<Item = NodeId> + '_ {
        let draining = self.leaves.iter().filter(|leaving| leaving.step == Step::Draining);
        let owners = draining.flat_map(|leaving| leaving.owners.keys());
        owners.copied().filter(|node| !self.nodes.contains_key(node))
    }

    pub(super) fn place(&self, node: NodeId) -> Option<&Datacenter> {
        let leaving = self.leaves.as_ref().and_then(|leaving| leaving.owners.get(&node));
        self.nodes.get(&node).or(leaving)
    }

    /// Everybody in a datacenter who has a replica, or is to have one.
    pub(super) fn within<'a>(&'a self, place: &'a Datacenter) -> impl Iterator<Item = NodeId> + 'a {
        let leaving = self.leaves.iter().flat_map(|leaving| &leaving.owners);
        let all = self.nodes.iter().chain(leaving).filter(move |(_, there)| *there == place);
        all.map(|(node, _)| *node)
    }

    /// Where the replicas are.
    pub(super) fn places(&self) -> BTreeSet<&Datacenter> {
        let leaving = self.leaves.iter().flat_map(|leaving| leaving.owners.values());
        self.nodes.values().chain(leaving).collect()
    }

    /// Of answers to a read.
    pub(super) fn read_need(
        &self,
        policy: &LeaderlessPolicy,
        level: Level,
        local: &Datacenter,
    ) -> Need {
        policy.need(level, self.read_from(), local)
    }

    /// Of replicas that hold what is acknowledged or was shown: of both sets while the shard moves. Of a set without a replica in the
    /// datacenter that a level is within nobody there reads at that level.
    ///
    /// # Errors
    /// There can never be so many; nor of answers, which are of one of the sets.
    pub(super) fn hold_need(
        &self,
        policy: &LeaderlessPolicy,
        level: Level,
        local: &Datacenter,
    ) -> Result<Need, Refused> {
        let counts = |set: &BTreeMap<NodeId, Datacenter>| {
            !policy.is_within(level) || set.values().any(|place| place == local)
        };
        let old = self.leaves.as_ref().map(|leaving| &leaving.owners);
        let old = old.filter(|set| counts(set) && !planted::is(Bug::CountNewAlone));
        let new = Some(&self.nodes).filter(|set| counts(set));
        let needs = [new, old].into_iter().flatten().map(|set| policy.need(level, set, local));
        let need = needs.reduce(Need::and).ok_or(Refused::TooFewReplicas)?;
        if need.can_be_met() { Ok(need) } else { Err(Refused::TooFewReplicas) }
    }
}
