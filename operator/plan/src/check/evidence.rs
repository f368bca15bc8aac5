//! What the checker believes, read from the reports by itself.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{
    Datacenter, GroupId, Name, NodeId, Topology,
    admin::{CatchUpPhase, NodeReport, ReplicaReport, Role, Standing},
    majority,
};

use crate::{GroupAt, Observed, ValidStore};

pub(super) struct Evidence<'a> {
    pub(super) store: &'a ValidStore,
    pub(super) observed: &'a Observed,
    /// Fresh reports of this store's nodes, by pod.
    pub(super) reports: BTreeMap<&'a str, &'a NodeReport>,
    pub(super) topology: Option<&'a Topology>,
}

/// A group as its newest leader sees it; a shard without a leader as the topology and its owners say.
pub(super) struct Group {
    /// How many voters must be well for the group to go on.
    pub(super) needed: usize,
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

    pub(super) fn replicas(&self, group: &GroupAt) -> Vec<(NodeId, &'a ReplicaReport)> {
        let all = self
            .reports
            .values()
            .filter(|report| group.reaches(&report.datacenter))
            .flat_map(|report| report.replicas.iter().map(|replica| (report.node, replica)));
        all.filter(|(_, replica)| replica.group == group.id).collect()
    }

    /// `None` when nobody is known to lead in the newest term.
    pub(super) fn group(&self, group: &GroupAt) -> Option<Group> {
        if let Some(owned) = self.owned(group) {
            return Some(owned);
        }
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
            needed: majority(report.voters.len()),
            voters: report.voters.clone(),
            learners: report.learners.clone(),
            well: well.filter(|node| report.voters.contains(node)).collect(),
        })
    }

    /// A shard without a leader: while it moves, the replicas that it leaves count, and all but one must be well.
    fn owned(&self, group: &GroupAt) -> Option<Group> {
        let shard = group.shard()?;
        let topology = self.topology?;
        let leaves = topology.mode.leaderless()?.leaving(shard);
        let placed = &topology.placement(shard)?.voters;
        let voters: BTreeSet<NodeId> = match leaves {
            Some(leaving) => leaving.owners.keys().copied().collect(),
            None => placed.clone(),
        };
        let whole = self.reports.values().filter(|report| {
            let mut shards = report.shards.iter();
            shards.any(|one| one.shard == shard && one.standing == Standing::Whole)
        });
        Some(Group {
            needed: voters.len().saturating_sub(1).max(1),
            learners: placed.difference(&voters).copied().collect(),
            well: whole.map(|report| report.node).filter(|node| voters.contains(node)).collect(),
            voters,
        })
    }

    /// Replicas that belong to the group: what a removed one remembers counts only while nobody is known to lead.
    fn belonging(&self, group: &GroupAt) -> Vec<(NodeId, &'a ReplicaReport)> {
        let mut replicas = self.replicas(group);
        if let Some(state) = self.group(group) {
            replicas
                .retain(|(node, _)| state.voters.contains(node) || state.learners.contains(node));
        }
        replicas
    }

    /// The meta group and those of shards: where every datacenter has leaders, one of each shard in each.
    pub(super) fn groups(&self) -> BTreeSet<GroupAt> {
        let mut groups = BTreeSet::from([GroupAt::META]);
        for (shard, placement) in self.topology.iter().flat_map(|topology| topology.placements()) {
            let places = placement.voters.iter().filter_map(|n| self.topology?.datacenter_of(*n));
            groups.extend(
                places.map(|place| GroupAt::seen_from(place, GroupId::Shard(shard), self.topology)),
            );
        }
        groups
    }

    /// The groups of which a node in this datacenter can have a replica.
    pub(super) fn groups_reaching(&self, datacenter: Option<&Datacenter>) -> Vec<GroupAt> {
        let reaches = |group: &GroupAt| datacenter.is_none_or(|place| group.reaches(place));
        self.groups().into_iter().filter(reaches).collect()
    }

    /// Where a pod of this name is, asked for or not.
    pub(super) fn datacenter_of(&self, pod: &str) -> Option<Datacenter> {
        let rest = pod.strip_prefix(self.store.name.as_str())?.strip_prefix('-')?;
        Name::new(rest.rsplit_once('-')?.0).ok()
    }

    /// A replica other than the node's own has it in its configuration. A shard without a leader counts on whom it leaves, too.
    pub(super) fn counted_on(&self, group: &GroupAt, node: NodeId) -> bool {
        if let Some(owned) = self.owned(group) {
            return owned.voters.contains(&node) || owned.learners.contains(&node);
        }
        self.belonging(group).iter().filter(|(replica, _)| *replica != node).any(|(_, replica)| {
            replica.voters.contains(&node)
                || (group.id != GroupId::Meta && replica.learners.contains(&node))
        })
    }

    /// The nodes that replicas name and the topology does not, and groups of which nobody is known to lead, as far as they reach the
    /// datacenter.
    pub(super) fn all_configurations_are_members(&self, datacenter: Option<&Datacenter>) -> bool {
        let Some(topology) = self.topology else { return false };
        self.groups_reaching(datacenter).iter().all(|group| {
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
        others >= self.needed
    }
}
