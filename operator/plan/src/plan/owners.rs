//! How a shard without a leader stands: who has a replica of it, who is to have one, and how far each says that it is.
//!
//! The topology is the configuration: no other log says who replicates the shard, and the store itself keeps the step of a move.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{
    Datacenter, LeaderlessPolicy, Leaving, NodeId, ShardId, Step, Topology,
    admin::{NodeReport, ShardReport, Standing},
};

pub(crate) struct Owners<'a> {
    policy: &'a LeaderlessPolicy,
    /// The replicas that the placement asks for, with their places.
    placed: BTreeMap<NodeId, Datacenter>,
    leaves: Option<&'a Leaving>,
    /// Whom a read may count on: while the shard moves, the replicas that it leaves.
    pub(crate) counted: BTreeSet<NodeId>,
    /// What each node that answers says of its replica; `None` when it has none yet.
    replicas: BTreeMap<NodeId, Option<&'a ShardReport>>,
}

/// Whether clients are served at the levels in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Served,
    /// Who does not answer us may well answer clients.
    Unknown,
    NotServed,
}

impl<'a> Owners<'a> {
    /// `None` in a store with leaders.
    pub(super) fn new(
        topology: &'a Topology,
        shard: ShardId,
        reports: impl Iterator<Item = &'a NodeReport>,
    ) -> Option<Self> {
        let leaderless = topology.mode.leaderless()?;
        let voters = &topology.placement(shard)?.voters;
        let place = |node: &NodeId| Some((*node, topology.members.get(node)?.datacenter.clone()));
        let leaves = leaderless.leaving(shard);
        let replicas = reports
            .map(|report| (report.node, report.shards.iter().find(|one| one.shard == shard)));
        Some(Self {
            policy: &leaderless.policy,
            placed: voters.iter().filter_map(place).collect(),
            counted: match leaves {
                Some(leaving) => leaving.owners.keys().copied().collect(),
                None => voters.clone(),
            },
            leaves,
            replicas: replicas.collect(),
        })
    }

    pub(super) const fn is_moving(&self) -> bool {
        self.leaves.is_some()
    }

    /// The old replicas are about to be let go: nobody may send the shard elsewhere now.
    pub(super) fn is_draining(&self) -> bool {
        self.leaves.is_some_and(|leaving| leaving.step == Step::Draining)
    }

    /// The node answers and holds all that it must.
    pub(super) fn is_whole(&self, node: NodeId) -> bool {
        self.replica(node).is_some_and(|replica| replica.standing == Standing::Whole)
    }

    /// Nodes that answer, should have a replica and do not count with it yet.
    pub(crate) fn filling(&self) -> BTreeSet<NodeId> {
        let answering = self.placed.keys().filter(|node| self.replicas.contains_key(node));
        answering.copied().filter(|node| !self.is_whole(*node)).collect()
    }

    pub(crate) fn service(&self) -> Service {
        if self.is_served_by(|_| false) {
            Service::Served
        } else if self.is_served_by(|node| !self.replicas.contains_key(&node)) {
            Service::Unknown
        } else {
            Service::NotServed
        }
    }

    /// Whether clients of some datacenter are served, if those that are silent are well where `presumed` says so.
    fn is_served_by(&self, presumed: impl Fn(NodeId) -> bool) -> bool {
        let old = self.leaves.map(|leaving| &leaving.owners);
        let all: BTreeMap<NodeId, Datacenter> = self
            .placed
            .iter()
            .chain(old.into_iter().flatten())
            .map(|(n, d)| (*n, d.clone()))
            .collect();
        let well = |node: NodeId| self.is_whole(node) || presumed(node);
        // Who joins acknowledges what it is told, whatever it lacks.
        let joins = |node: NodeId| !self.counted.contains(&node) && self.replica(node).is_some();
        let whole: BTreeSet<NodeId> = all.keys().copied().filter(|node| well(*node)).collect();
        let holding: BTreeSet<NodeId> =
            all.keys().copied().filter(|node| well(*node) || joins(*node)).collect();
        let read_from = match self.leaves {
            Some(Leaving { owners, step: Step::Filling }) => owners,
            Some(Leaving { step: Step::Draining, .. }) | None => &self.placed,
        };
        let places: BTreeSet<&Datacenter> = all.values().collect();
        places.into_iter().any(|local| {
            let LeaderlessPolicy { read, write, .. } = *self.policy;
            let write = write.of_replicas();
            // Of a set without a replica in the datacenter that the level is within nobody there reads.
            let hold = |set: &BTreeMap<NodeId, Datacenter>| {
                let counts = !self.policy.is_within(write) || set.values().any(|at| at == local);
                !counts || self.policy.need(write, set, local).is_met(&holding)
            };
            let reads = self.policy.need(read, read_from, local).is_met(&whole);
            reads && hold(&self.placed) && old.is_none_or(hold)
        })
    }

    fn replica(&self, node: NodeId) -> Option<&'a ShardReport> {
        self.replicas.get(&node).copied().flatten()
    }
}
