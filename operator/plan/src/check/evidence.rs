//! What the checker believes, read from the reports by itself.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{
    GroupId, NodeId, Topology,
    admin::{CatchUpPhase, NodeReport, ReplicaReport, Role},
    majority,
};

use crate::{Observed, ValidStore};

pub(super) struct Evidence<'a> {
    pub(super) store: &'a ValidStore,
    pub(super) observed: &'a Observed,
    /// Fresh reports of this store's nodes, by pod.
    pub(super) reports: BTreeMap<&'a str, &'a NodeReport>,
    pub(super) topology: Option<&'a Topology>,
}

/// A group as its newest leader sees it.
pub(super) struct Group {
    pub(super) voters: BTreeSet<NodeId>,
    pub(super) learners: BTreeSet<NodeId>,
    /// Voters that have everything and have answered lately, the leader among them.
    pub(super) well: BTreeSet<NodeId>,
}

impl<'a> Evidence<'a> {
    pub(super) fn new(store: &'a ValidStore, observed: &'a Observed) -> Self {
        let reports: BTreeMap<&str, &NodeReport> = observed
            .reports
            .iter()
            .filter_map(|(pod, reported)| Some((pod.as_str(), reported.fresh()?)))
            .filter(|(_, report)| report.store == store.id)
            .collect();
        let held = reports.values().filter_map(|report| report.topology.as_ref());
        let topology = held.max_by_key(|topology| topology.epoch);
        Self { store, observed, reports, topology }
    }

    pub(super) fn replicas(&self, group: GroupId) -> Vec<(NodeId, &'a ReplicaReport)> {
        let all = self
            .reports
            .values()
            .flat_map(|report| report.replicas.iter().map(|replica| (report.node, replica)));
        all.filter(|(_, replica)| replica.group == group).collect()
    }

    /// `None` when nobody is known to lead in the newest term.
    pub(super) fn group(&self, group: GroupId) -> Option<Group> {
        let replicas = self.replicas(group);
        let claims = replicas.iter().filter(|(_, replica)| replica.role == Role::Leader);
        let (leader, report) = claims.max_by_key(|(_, replica)| replica.term)?;
        let overtaken =
            replicas.iter().any(|(node, r)| report.voters.contains(node) && r.term > report.term);
        if overtaken {
            return None;
        }
        let answers = report.followers.iter().filter(|(_, follower)| {
            follower.phase == CatchUpPhase::CaughtUp
                && follower.last_answer_ms.is_some_and(|age| age <= 5_000)
        });
        let well = answers.map(|(node, _)| *node).chain([*leader]);
        Some(Group {
            voters: report.voters.clone(),
            learners: report.learners.clone(),
            well: well.filter(|node| report.voters.contains(node)).collect(),
        })
    }

    /// Replicas that belong to the group: what a removed one remembers counts only while nobody is known to lead.
    fn belonging(&self, group: GroupId) -> Vec<(NodeId, &'a ReplicaReport)> {
        let mut replicas = self.replicas(group);
        if let Some(state) = self.group(group) {
            replicas
                .retain(|(node, _)| state.voters.contains(node) || state.learners.contains(node));
        }
        replicas
    }

    pub(super) fn groups(&self) -> Vec<GroupId> {
        let shards = self.topology.iter().flat_map(|topology| topology.placements());
        let shards = shards.map(|(shard, _)| GroupId::Shard(shard));
        std::iter::once(GroupId::Meta).chain(shards).collect()
    }

    /// A replica other than the node's own has it in its configuration.
    pub(super) fn counted_on(&self, group: GroupId, node: NodeId) -> bool {
        self.belonging(group).iter().filter(|(replica, _)| *replica != node).any(|(_, replica)| {
            replica.voters.contains(&node)
                || (group != GroupId::Meta && replica.learners.contains(&node))
        })
    }

    /// The nodes that replicas name and the topology does not, and groups of which nobody is known to lead.
    pub(super) fn all_configurations_are_members(&self) -> bool {
        let Some(topology) = self.topology else { return false };
        self.groups().into_iter().all(|group| {
            self.group(group).is_some()
                && self.belonging(group).iter().all(|(_, replica)| {
                    let mut named = replica.voters.iter().chain(&replica.learners);
                    named.all(|node| topology.members.contains_key(node))
                })
        })
    }

    pub(super) fn member_named(&self, pod: &str) -> impl Iterator<Item = NodeId> + use<'a, '_> {
        let members = self.topology.iter().flat_map(|topology| topology.members.values());
        let pod = pod.to_owned();
        members.filter(move |member| member.name == pod).map(|member| member.id)
    }

    pub(super) fn is_desired(&self, pod: &str) -> bool {
        self.store.datacenters.iter().any(|datacenter| {
            (0..datacenter.nodes)
                .any(|ordinal| pod == format!("{}-{}-{ordinal}", self.store.name, datacenter.name))
        })
    }
}

impl Group {
    /// How many more voters may fail before the group stops; negative when it has stopped.
    pub(super) fn tolerance(voters: usize, well: usize) -> i64 {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        count(well) - count(majority(voters))
    }

    /// Whether the others go on without `node`.
    pub(super) fn survives_without(&self, node: NodeId) -> bool {
        let others = self.well.iter().filter(|well| **well != node).count();
        others >= majority(self.voters.len())
    }
}
