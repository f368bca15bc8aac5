//! What the observation means: the newest topology, what each node is, and how each group stands.
//!
//! Everything that the planner's steps ask is answered here, and only from what is known: a question whose answer
//! needs a report that is missing is answered "no" or `None`, never guessed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use k8s_openapi::api::core::v1::Pod;
use quorate_api::labels;
use quorate_model::{
    Datacenter, Durability, GroupId, Member, Name, NodeId, ShardId, StoreId, Topology, Zone,
    admin::{CatchUpPhase, NodeReport, ReplicaReport, Role},
    majority,
};

use super::owners::Owners;
use crate::{
    GroupAt, Observed, ValidStore, names,
    placement::{Site, Sites, Standing},
};

/// A follower that has not answered its leader for longer counts as silent.
pub(crate) const ANSWER_AGE_MS_MAX: u64 = 5_000;

pub(crate) struct Facts<'a> {
    pub(crate) store: &'a ValidStore,
    seen: Seen<'a>,
}

/// What can be said of a store without its spec: all that labels need, so that they follow the leaders of a store whose
/// spec is invalid, too.
pub(crate) struct Seen<'a> {
    pub(crate) observed: &'a Observed,
    /// The newest topology of this store that any fresh report holds.
    pub(crate) topology: Option<&'a Topology>,
    /// Every pod that exists, is asked for, or is a member's, by name.
    pub(crate) pods: BTreeMap<String, PodFacts<'a>>,
    pub(crate) groups: BTreeMap<GroupAt, GroupFacts<'a>>,
}

pub(crate) struct PodFacts<'a> {
    pub(crate) pod: Option<&'a Pod>,
    /// Fresh, and of a node of this store that goes by this pod's name.
    pub(crate) report: Option<&'a NodeReport>,
    /// The pod answered, and its data belongs to another store.
    pub(crate) other_store: bool,
    pub(crate) datacenter: Option<Datacenter>,
    /// The resource asks for it.
    pub(crate) desired: bool,
}

/// How one group stands, as its leader and the other replicas report it; of a shard without a leader, as its owners do.
pub(crate) struct GroupFacts<'a> {
    pub(crate) name: GroupAt,
    /// The leader of the newest term that any fresh report knows of.
    pub(crate) leader: Option<(NodeId, &'a ReplicaReport)>,
    /// Every fresh report of a replica.
    pub(crate) replicas: BTreeMap<NodeId, &'a ReplicaReport>,
    /// The voters that the topology asks for.
    pub(crate) wanted: BTreeSet<NodeId>,
    /// Of a shard without a leader.
    pub(crate) owners: Option<Owners<'a>>,
}

/// What a member is to the planner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberState {
    /// Answers under its name with its identity.
    Present,
    /// Answers, and its log is corrupt.
    Corrupt,
    /// Does not answer.
    Unknown,
    /// Another identity answers under its name: its volume is gone.
    Lost,
}

impl<'a> Deref for Facts<'a> {
    type Target = Seen<'a>;

    fn deref(&self) -> &Seen<'a> {
        &self.seen
    }
}

impl<'a> Seen<'a> {
    /// `wanted`: the pods that the resource asks for, with their datacenters.
    pub(crate) fn new(
        id: StoreId,
        observed: &'a Observed,
        wanted: BTreeMap<String, Datacenter>,
    ) -> Self {
        let topology = observed
            .reports
            .values()
            .filter_map(|reported| reported.fresh())
            .filter(|report| report.store == id)
            .filter_map(|report| report.topology.as_ref())
            .filter(|topology| topology.store == id)
            .max_by_key(|topology| topology.epoch);
        let pods = pods(id, observed, topology, wanted);
        let groups = topology.map(|topology| groups(topology, &pods)).unwrap_or_default();
        Self { observed, topology, pods, groups }
    }

    /// Call it for a store that has a topology.
    pub(crate) fn meta(&self) -> &GroupFacts<'a> {
        &self.groups[&GroupAt::META]
    }

    /// The groups of which a node in this datacenter can have a replica: others say nothing of it.
    pub(crate) fn groups_reaching(
        &self,
        datacenter: &Datacenter,
    ) -> impl Iterator<Item = &GroupFacts<'a>> {
        self.groups.values().filter(|group| group.name.reaches(datacenter))
    }

    pub(crate) fn pod_name(&self, node: NodeId) -> String {
        let member = self.topology.and_then(|topology| topology.members.get(&node));
        member.map_or_else(|| node.to_string(), |member| member.name.clone())
    }

    pub(crate) fn pod_names<'n>(
        &self,
        nodes: impl IntoIterator<Item = &'n NodeId>,
    ) -> BTreeSet<String> {
        nodes.into_iter().map(|node| self.pod_name(*node)).collect()
    }
}

impl<'a> Facts<'a> {
    pub(crate) fn new(store: &'a ValidStore, observed: &'a Observed) -> Self {
        let wanted = store.datacenters.iter().flat_map(|datacenter| {
            (0..datacenter.nodes).map(|ordinal| {
                (names::pod(store, &datacenter.name, ordinal), datacenter.name.clone())
            })
        });
        Self { store, seen: Seen::new(store.id, observed, wanted.collect()) }
    }

    pub(crate) fn member_state(&self, member: &Member) -> MemberState {
        match self.pods.get(&member.name).and_then(|pod| pod.report) {
            Some(report) if report.node != member.id => MemberState::Lost,
            Some(report) if report.corrupt.is_some() => MemberState::Corrupt,
            Some(_) => MemberState::Present,
            None => MemberState::Unknown,
        }
    }

    /// It is no member, or another identity answers under its name.
    pub(crate) fn is_lost(&self, node: NodeId) -> bool {
        let member = self.topology.and_then(|topology| topology.members.get(&node));
        member.is_none_or(|member| self.member_state(member) == MemberState::Lost)
    }

    /// The members as places for replicas.
    pub(crate) fn sites(&self, topology: &Topology) -> Sites {
        topology
            .members
            .values()
            .map(|member| {
                let pod = self.pods.get(&member.name);
                let desired = pod.is_some_and(|pod| pod.desired);
                let ending = pod.is_some_and(PodFacts::is_ending);
                let standing = match self.member_state(member) {
                    MemberState::Lost => Standing::Leaves,
                    _ if !desired => Standing::Leaves,
                    MemberState::Present if !ending => Standing::Open,
                    MemberState::Present | MemberState::Corrupt | MemberState::Unknown => {
                        Standing::Holds
                    }
                };
                let site = Site {
                    name: member.name.clone(),
                    datacenter: member.datacenter.clone(),
                    zone: member.zone.clone(),
                    standing,
                };
                (member.id, site)
            })
            .collect()
    }

    /// The zone of a pod, when its machine or the pod itself says so.
    pub(crate) fn known_zone(&self, pod: &PodFacts<'_>) -> Option<Zone> {
        let pod = pod.pod?;
        let machine = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        let label = machine
            .and_then(|name| self.observed.machines.get(name))
            .and_then(|machine| machine.labels.get(labels::ZONE))
            .or_else(|| pod.metadata.labels.as_ref()?.get(labels::ZONE))?;
        zone_name(label)
    }

    /// The zone under which a node joins: known, or said by itself, or the only one; else its datacenter is one zone.
    pub(crate) fn zone(&self, pod: &PodFacts<'_>, report: &NodeReport) -> Zone {
        let only = || match self.store.datacenter(&report.datacenter)?.zones.as_slice() {
            [zone] => zone_name(zone),
            _ => None,
        };
        self.known_zone(pod)
            .or_else(|| report.zone.clone())
            .or_else(only)
            .unwrap_or_else(|| report.datacenter.clone())
    }

    /// Whether any group may still count on `node`: by placement, by its leader's configuration, or by any replica's.
    pub(crate) fn may_host(&self, node: NodeId) -> Option<GroupAt> {
        self.groups.values().find(|group| group.may_count_on(node)).map(|group| group.name.clone())
    }

    /// Every group that reaches the datacenter has a known leader, where it has one at all, and a majority of its voters reports: what
    /// is in no configuration is in none.
    pub(crate) fn configurations_are_known(&self, datacenter: &Datacenter) -> bool {
        !self.groups.is_empty()
            && self.groups_reaching(datacenter).all(GroupFacts::configuration_is_known)
    }

    /// Every replica of every group that reaches the datacenter counts on members only.
    pub(crate) fn only_members_are_counted_on(&self, datacenter: &Datacenter) -> bool {
        let Some(topology) = self.topology else { return false };
        self.groups_reaching(datacenter).all(|group| {
            group.counted_replicas().all(|(_, replica)| {
                let mut named = replica.voters.iter().chain(&replica.learners);
                named.all(|node| topology.members.contains_key(node))
            })
        })
    }
}

impl PodFacts<'_> {
    pub(crate) fn uid(&self) -> Option<&str> {
        self.pod?.metadata.uid.as_deref()
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some())
    }

    /// The kubelet says that the node's container does not run. Nothing said is not "does not run".
    pub(crate) fn is_not_running(&self) -> bool {
        let Some(status) = self.pod.and_then(|pod| pod.status.as_ref()) else { return false };
        let containers = status.container_statuses.iter().flatten();
        match containers.into_iter().find(|container| container.name == names::CONTAINER) {
            Some(container) => {
                container.state.as_ref().is_some_and(|state| state.running.is_none())
            }
            None => status.phase.as_deref() == Some("Pending"),
        }
    }

    /// Answers, and says that it serves.
    pub(crate) fn serves(&self) -> bool {
        self.report.is_some_and(|report| report.not_serving.is_empty() && report.corrupt.is_none())
    }

    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.pod?.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

impl GroupFacts<'_> {
    /// How it stands can be said at all: without leaders the topology says it, else a leader does.
    pub(crate) const fn is_known(&self) -> bool {
        self.owners.is_some() || self.leader.is_some()
    }

    pub(crate) fn voters(&self) -> Option<&BTreeSet<NodeId>> {
        match &self.owners {
            Some(owners) => Some(&owners.counted),
            None => self.leader.map(|(_, report)| &report.voters),
        }
    }

    /// The leader's configuration is the wanted one. A shard then has no learners; the meta group's are its rest.
    pub(crate) fn is_settled(&self) -> bool {
        if let Some(owners) = &self.owners {
            return !owners.is_moving();
        }
        self.leader.is_some_and(|(_, leader)| {
            leader.voters == self.wanted
                && match self.name.id {
                    GroupId::Shard(_) => leader.learners.is_empty(),
                    GroupId::Meta => true,
                }
        })
    }

    /// What the group guarantees at present; `None` while it is not known or on its way from one rule to another.
    pub(crate) fn durability(&self) -> Option<Durability> {
        let (_, leader) = self.leader?;
        let kept = &leader.acknowledgement;
        match kept.durability {
            // A majority has to hold a write under this rule whether the rule itself is on one or not.
            Durability::Quorum => Some(Durability::Quorum),
            other @ (Durability::Async | Durability::SemiSync | Durability::Sync) => {
                kept.settled.then_some(other)
            }
        }
    }

    pub(crate) fn keeps(&self, durability: Durability) -> bool {
        self.durability() == Some(durability)
    }

    pub(crate) fn joining(&self) -> BTreeSet<NodeId> {
        let voters = self.voters();
        self.wanted.iter().filter(|n| voters.is_none_or(|v| !v.contains(n))).copied().collect()
    }

    /// What the configuration has and should not: voters, and learners of a shard.
    pub(crate) fn superfluous(&self) -> BTreeSet<NodeId> {
        let voters = self.voters().into_iter().flatten();
        let learners = self.leader.iter().flat_map(|(_, leader)| &leader.learners);
        let named = voters.chain(learners.filter(|_| self.name.id != GroupId::Meta));
        named.filter(|node| !self.wanted.contains(node)).copied().collect()
    }

    /// The leader knows that this replica has everything up to a few entries. Without a leader, its node says so itself.
    pub(crate) fn is_caught_up(&self, node: NodeId) -> bool {
        if let Some(owners) = &self.owners {
            return owners.is_whole(node);
        }
        self.leader.is_some_and(|(leader, report)| {
            leader == node
                || report.followers.get(&node).is_some_and(|follower| {
                    follower.phase == CatchUpPhase::CaughtUp
                        && follower.last_answer_ms.is_some_and(|age| age <= ANSWER_AGE_MS_MAX)
                })
        })
    }

    /// Voters that are behind or silent.
    pub(crate) fn lagging(&self) -> BTreeSet<NodeId> {
        let voters = self.voters().into_iter().flatten();
        voters.filter(|node| !self.is_caught_up(**node)).copied().collect()
    }

    /// Without `node`, everybody else who votes is caught up and is a majority; or nobody else votes at all.
    ///
    /// Without leaders nothing may be moving and there need not be a majority of others: the levels say how much must answer,
    /// and what is asked of every replica cannot be had while one of them restarts.
    pub(crate) fn can_spare(&self, node: NodeId) -> bool {
        let Some(voters) = self.voters() else { return false };
        let others = voters.iter().filter(|voter| **voter != node);
        let all_well = others.clone().all(|voter| self.is_caught_up(*voter));
        let enough = match &self.owners {
            Some(owners) if owners.is_moving() => return false,
            Some(_) => 1,
            None => majority(voters.len()),
        };
        all_well && (others.count() >= enough || !voters.contains(&node))
    }

    fn configuration_is_known(&self) -> bool {
        if self.owners.is_some() {
            return true;
        }
        self.voters().is_some_and(|voters| {
            let reporting = voters.iter().filter(|voter| self.replicas.contains_key(voter)).count();
            reporting >= majority(voters.len())
        })
    }

    /// The node's own view does not count where the others have let it go: it is the last to hear.
    pub(crate) fn may_count_on(&self, node: NodeId) -> bool {
        let learners_count = self.name.id != GroupId::Meta;
        self.wanted.contains(&node)
            || self.owners.as_ref().is_some_and(|owners| owners.counted.contains(&node))
            || self.counted_replicas().filter(|(replica, _)| *replica != node).any(|(_, report)| {
                report.voters.contains(&node) || (learners_count && report.learners.contains(&node))
            })
    }

    /// The replicas whose word counts. One that the leader's configuration has let go may remember any old one: a
    /// node that was removed and comes back does.
    fn counted_replicas(&self) -> impl Iterator<Item = (NodeId, &ReplicaReport)> {
        let leader = self.leader.map(|(_, leader)| leader);
        self.replicas
            .iter()
            .filter(move |(node, _)| {
                leader.is_none_or(|l| l.voters.contains(node) || l.learners.contains(node))
            })
            .map(|(node, report)| (*node, *report))
    }
}

fn pods<'a>(
    id: StoreId,
    observed: &'a Observed,
    topology: Option<&Topology>,
    wanted: BTreeMap<String, Datacenter>,
) -> BTreeMap<String, PodFacts<'a>> {
    let mut all: BTreeMap<String, (Option<Datacenter>, bool)> = BTreeMap::new();
    for (name, pod) in &observed.children.pods {
        let label = pod.metadata.labels.as_ref().and_then(|all| all.get(labels::DATACENTER));
        all.insert(name.clone(), (label.and_then(|dc| Name::new(dc.clone()).ok()), false));
    }
    for member in topology.iter().flat_map(|topology| topology.members.values()) {
        all.entry(member.name.clone()).or_insert((Some(member.datacenter.clone()), false));
    }
    for (name, datacenter) in wanted {
        all.insert(name, (Some(datacenter), true));
    }
    all.into_iter()
        .map(|(name, (datacenter, desired))| {
            let fresh = observed.reports.get(&name).and_then(|reported| reported.fresh());
            let facts = PodFacts {
                pod: observed.children.pods.get(&name),
                report: fresh.filter(|report| report.store == id && report.name == name),
                other_store: fresh.is_some_and(|report| report.store != id),
                datacenter,
                desired,
            };
            (name, facts)
        })
        .collect()
}

fn groups<'a>(
    topology: &'a Topology,
    pods: &BTreeMap<String, PodFacts<'a>>,
) -> BTreeMap<GroupAt, GroupFacts<'a>> {
    let mut wanted = BTreeMap::from([(GroupAt::META, topology.meta_voters.clone())]);
    for (shard, placement) in topology.placements() {
        for node in &placement.voters {
            let Some(datacenter) = topology.datacenter_of(*node) else { continue };
            let group = GroupAt::seen_from(datacenter, GroupId::Shard(shard), Some(topology));
            wanted.entry(group).or_default().insert(*node);
        }
    }
    let facts =
        |(group, wanted): (GroupAt, _)| (group.clone(), group_facts(topology, group, wanted, pods));
    wanted.into_iter().map(facts).collect()
}

fn group_facts<'a>(
    topology: &'a Topology,
    name: GroupAt,
    wanted: BTreeSet<NodeId>,
    pods: &BTreeMap<String, PodFacts<'a>>,
) -> GroupFacts<'a> {
    let mut replicas = BTreeMap::new();
    let reports = pods.values().filter_map(|pod| pod.report);
    for report in reports.filter(|report| name.reaches(&report.datacenter)) {
        if let Some(replica) = report.replicas.iter().find(|replica| replica.group == name.id) {
            replicas.insert(report.node, replica);
        }
    }
    let claims = replicas.iter().filter(|(_, replica)| replica.role == Role::Leader);
    let newest: Option<(NodeId, &ReplicaReport)> =
        claims.max_by_key(|(_, replica)| replica.term).map(|(node, replica)| (*node, *replica));
    // One of its own voters knows of a newer term: it may lead nobody any more.
    let leader = newest.filter(|(_, claim)| {
        let mut voters = claim.voters.iter().filter_map(|voter| replicas.get(voter));
        voters.all(|replica| replica.term <= claim.term)
    });
    let owners = match name.id {
        GroupId::Meta => None,
        GroupId::Shard(shard) => {
            Owners::new(topology, shard, pods.values().filter_map(|pod| pod.report))
        }
    };
    GroupFacts { name, leader, replicas, wanted, owners }
}

/// A label's value as a name: what is not allowed in one becomes a dash.
fn zone_name(label: &str) -> Option<Zone> {
    let name: String = label
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    Name::new(name.trim_matches('-')).ok()
}

/// The groups of shards, in order; where every datacenter has one, several of each shard.
pub(crate) fn shard_groups<'f, 'a>(
    facts: &'f Seen<'a>,
) -> impl Iterator<Item = (ShardId, &'f GroupFacts<'a>)> {
    facts.groups.values().filter_map(|group| Some((group.name.shard()?, group)))
}
