//! The world around the operator: the API server's objects, the volumes, and what the nodes really are.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, Pod},
};
use quorate_api::{ReplicatedStore, ReplicatedStoreStatus};
use quorate_model::{
    Datacenter, GroupId, LogFormat, NodeId, Term, Topology, admin::Acknowledgement,
};

use super::Random;
use crate::{GroupAt, ValidStore, fixtures, validate};

pub(crate) struct World {
    pub(super) random: Random,
    pub(super) clock: i64,
    pub(super) resource: ReplicatedStore,
    pub(super) status: ReplicatedStoreStatus,
    pub(super) objects: Objects,
    /// By claim: what is on the volume.
    pub(super) volumes: BTreeMap<String, Volume>,
    /// Processes that run, by pod.
    pub(super) running: BTreeMap<String, NodeId>,
    /// What the meta group holds.
    pub(super) topology: Option<Topology>,
    pub(super) groups: BTreeMap<GroupAt, Group>,
    /// Of a group's writes, how many a datacenter has not taken.
    pub(super) lacking: BTreeMap<(GroupAt, Datacenter), u64>,
    pub(super) next_id: u64,
    /// Writes to the API server and to nodes.
    pub(super) writes: usize,
    /// In percent: how often a node does not answer, and how often a reconcile is cut off.
    pub(super) silence: usize,
    pub(super) crashes: usize,
}

#[derive(Default)]
pub(super) struct Objects {
    pub(super) stateful_sets: BTreeMap<String, StatefulSet>,
    pub(super) pods: BTreeMap<String, Pod>,
    pub(super) claims: BTreeMap<String, PersistentVolumeClaim>,
    /// Everything else, as JSON, by kind and name.
    pub(super) others: BTreeMap<String, String>,
}

#[derive(Clone)]
pub(super) struct Volume {
    pub(super) node: NodeId,
    pub(super) topology: Option<Topology>,
    pub(super) corrupt: bool,
    /// The groups of which the node holds everything, and how it sees them.
    pub(super) views: BTreeMap<GroupId, View>,
}

#[derive(Clone)]
pub(super) struct View {
    pub(super) term: Term,
    pub(super) leader: Option<NodeId>,
    pub(super) voters: BTreeSet<NodeId>,
    pub(super) learners: BTreeSet<NodeId>,
}

/// The truth about a group.
#[derive(Clone)]
pub(super) struct Group {
    pub(super) voters: BTreeSet<NodeId>,
    pub(super) learners: BTreeSet<NodeId>,
    pub(super) leader: Option<NodeId>,
    pub(super) term: Term,
    pub(super) caught_up: BTreeSet<NodeId>,
    /// What the leader's newest configuration says, and whether a majority holds it.
    pub(super) acknowledgement: Acknowledgement,
    pub(super) log_format: LogFormat,
}

impl Group {
    /// By these voters, of whom nobody leads yet.
    pub(super) fn begun(voters: BTreeSet<NodeId>) -> Self {
        Self {
            caught_up: voters.clone(),
            voters,
            learners: BTreeSet::new(),
            leader: None,
            term: Term::ZERO,
            acknowledgement: Acknowledgement { settled: true, ..Acknowledgement::default() },
            log_format: LogFormat::default(),
        }
    }
}

impl World {
    pub(super) fn new(seed: u64, spec: serde_json::Value) -> Self {
        Self {
            random: Random::new(seed),
            clock: 0,
            resource: fixtures::resource(spec),
            status: ReplicatedStoreStatus::default(),
            objects: Objects::default(),
            volumes: BTreeMap::new(),
            running: BTreeMap::new(),
            topology: None,
            groups: BTreeMap::new(),
            lacking: BTreeMap::new(),
            next_id: 1,
            writes: 0,
            silence: 0,
            crashes: 0,
        }
    }

    pub(crate) fn change_spec(
        &mut self,
        change: impl FnOnce(&mut quorate_api::ReplicatedStoreSpec),
    ) {
        change(&mut self.resource.spec);
        let generation = self.resource.metadata.generation.get_or_insert(0);
        *generation += 1;
    }

    pub(crate) fn valid(&self) -> ValidStore {
        let mut resource = self.resource.clone();
        resource.status = Some(self.status.clone());
        validate(&resource).unwrap()
    }

    pub(super) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// The nodes whose process runs on an intact volume.
    pub(super) fn alive(&self) -> BTreeSet<NodeId> {
        let nodes = self.running.iter().filter(|(pod, _)| {
            self.volumes.get(&crate::names::claim(pod)).is_some_and(|volume| !volume.corrupt)
        });
        nodes.map(|(_, node)| *node).collect()
    }

    /// No group has lost its data: a majority of its voters still have their volumes.
    pub(super) fn assert_nothing_is_lost(&self) {
        let intact: BTreeSet<NodeId> =
            self.volumes.values().filter(|volume| !volume.corrupt).map(|v| v.node).collect();
        for (group, state) in &self.groups {
            let left = state
                .voters
                .iter()
                .filter(|node| intact.contains(node) && state.caught_up.contains(node));
            let needed = quorate_model::majority(state.voters.len());
            assert!(left.count() >= needed, "{group} lost its majority");
        }
    }

    /// Every group in which the node votes has a majority of others that run and have everything.
    pub(super) fn can_spare(&self, node: NodeId) -> bool {
        let alive = self.alive();
        self.groups.values().filter(|group| group.voters.contains(&node)).all(|group| {
            group
                .voters
                .iter()
                .filter(|voter| **voter != node)
                .all(|voter| alive.contains(voter) && group.caught_up.contains(voter))
                && group.voters.len() > 2
        })
    }
}
