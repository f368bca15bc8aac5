//! Datacenters that come and go where each has a leader of every shard: all its groups begin in one change, and end in one.
//!
//! A node never begins a group of which it had a replica before: one that was in a datacenter when that ended founds nothing there, and
//! stands among the founders until it is no member any more.
//!
//! A datacenter that begins has nothing and takes over all that another one has. One that goes may have taken writes that no other
//! has: it stays until another has them, or until none of its volumes is left that could give them.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{
    Datacenter, GroupId, Mode, MultiLeader, NodeId, Topology,
    admin::{NodeReport, ReplicaReport},
};

use super::{
    TopologyChange, WaitingOn, bootstrap,
    facts::{Facts, MemberState, shard_groups},
    topology::Change,
};
use crate::{
    multi_leader, names,
    placement::{self, Replicas, Sites, Standing},
};

/// Begins every shard's group in a declared datacenter that has none, once enough of its nodes are members and answer.
pub(super) fn come(facts: &Facts<'_>, topology: &Topology) -> Change {
    let Some(multi_leader) = topology.mode.multi_leader() else { return Change::None };
    let places = multi_leader::places(topology);
    let new = facts.store.datacenters.iter().map(|one| &one.name);
    let mut old = BTreeSet::new();
    for datacenter in new.filter(|name| !places.contains(*name)) {
        if let Some(next) = with(facts, topology, datacenter) {
            let datacenter = datacenter.clone();
            return Change::To(Box::new(next), vec![TopologyChange::AddDatacenter { datacenter }]);
        }
        old.extend(facts.pods.iter().filter_map(|(name, pod)| {
            let report = pod.report.filter(|report| report.datacenter == *datacenter)?;
            let founded = multi_leader.founders.contains_key(&report.node);
            let came_back = !topology.members.contains_key(&report.node) && !is_blank(report);
            (pod.desired && (founded || came_back)).then(|| name.clone())
        }));
    }
    if old.is_empty() {
        Change::None
    } else {
        Change::Wait(vec![WaitingOn::OldVolumes { pods: old }])
    }
}

/// Whether the node may join: where its datacenter has no groups it is to begin them, which takes one that never had any.
pub(super) fn may_join(topology: &Topology, report: &NodeReport) -> bool {
    topology.mode.multi_leader().is_none()
        || is_blank(report)
        || multi_leader::places(topology).contains(&report.datacenter)
}

const fn is_blank(report: &NodeReport) -> bool {
    report.topology.is_none()
}

/// Those who are no members and in no genesis have nothing to say of what they founded.
pub(super) fn forget_founders(topology: &mut Topology) {
    let Topology { members, shards, mode, .. } = topology;
    if let Mode::MultiLeader(multi_leader) = mode {
        multi_leader.founders.retain(|node, _| {
            members.contains_key(node) || shards.iter().any(|shard| shard.genesis.contains(node))
        });
    }
}

fn with(facts: &Facts<'_>, topology: &Topology, datacenter: &Datacenter) -> Option<Topology> {
    let founders = &topology.mode.multi_leader()?.founders;
    let sites = facts.sites(topology).into_iter().filter(|(node, site)| {
        site.datacenter == *datacenter
            && site.standing == Standing::Open
            && !founders.contains_key(node)
    });
    let sites: Sites = sites.collect();
    let replicas = Replicas::Over(facts.store.replicas());
    let voters = placement::place(&sites, &replicas, topology.shards.len()).ok()?;
    let mut next = topology.clone();
    let mut founders = founders.clone();
    for (shard, voters) in next.shards.iter_mut().zip(voters) {
        founders.extend(voters.iter().map(|node| (*node, datacenter.clone())));
        shard.genesis.extend(&voters);
        shard.voters.extend(voters);
    }
    finish(facts, next, founders)
}

/// Ends every shard's group in a datacenter that is not declared.
pub(super) fn go(facts: &Facts<'_>, topology: &Topology) -> Change {
    let places = multi_leader::places(topology);
    if topology.mode.multi_leader().is_none()
        || !places.iter().any(|place| facts.store.datacenter(place).is_some())
    {
        return Change::None;
    }
    let mut waiting = vec![];
    for datacenter in places.into_iter().filter(|name| facts.store.datacenter(name).is_none()) {
        if !is_empty(facts, topology, &datacenter) && !is_taken(facts, &datacenter) {
            waiting.push(WaitingOn::Exchange { datacenter });
        } else if let Some(next) = without(facts, topology, &datacenter) {
            let why = vec![TopologyChange::RemoveDatacenter { datacenter }];
            return Change::To(Box::new(next), why);
        }
    }
    if waiting.is_empty() { Change::None } else { Change::Wait(waiting) }
}

fn without(facts: &Facts<'_>, topology: &Topology, datacenter: &Datacenter) -> Option<Topology> {
    let mut founders = topology.mode.multi_leader()?.founders.clone();
    let mut next = topology.clone();
    for shard in &mut next.shards {
        shard.genesis.retain(|node| founders.get(node) != Some(datacenter));
        shard.voters.retain(|node| topology.datacenter_of(*node) != Some(datacenter));
        let stays = |node: &NodeId| topology.datacenter_of(*node) != Some(datacenter);
        shard.preferred_leader = shard.preferred_leader.filter(stays);
    }
    founders.retain(|_, place| place != datacenter);
    let here = topology.members.values().filter(|member| member.datacenter == *datacenter);
    founders.extend(here.map(|member| (member.id, datacenter.clone())));
    finish(facts, next, founders)
}

/// With links and homes among the datacenters that there are then.
fn finish(
    facts: &Facts<'_>,
    mut next: Topology,
    founders: BTreeMap<NodeId, Datacenter>,
) -> Option<Topology> {
    let declared = &facts.store.multi_leader()?.policy;
    let policy = multi_leader::next(facts.store, declared, &next, &multi_leader::places(&next));
    next.mode = Mode::MultiLeader(MultiLeader { policy, founders });
    next.validate().is_ok().then_some(next)
}

/// No volume of the datacenter's members is left. That they are silent does not say it; that somebody deletes the claims of those who
/// are is consent.
fn is_empty(facts: &Facts<'_>, topology: &Topology, datacenter: &Datacenter) -> bool {
    let mut members = topology.members.values().filter(|member| member.datacenter == *datacenter);
    members.all(|member| match facts.member_state(member) {
        MemberState::Lost => true,
        MemberState::Unknown => {
            let claim = facts.observed.children.claims.get(&names::claim(&member.name));
            let ends = claim.is_some_and(|claim| claim.metadata.deletion_timestamp.is_some());
            ends || bootstrap::never_had_volume(facts, &member.name)
        }
        MemberState::Present | MemberState::Corrupt => false,
    })
}

/// Of every shard another datacenter has all that is known to have been written there; from that one the others take it.
fn is_taken(facts: &Facts<'_>, datacenter: &Datacenter) -> bool {
    let has_all = |report: &ReplicaReport| {
        let links = report.exchange.iter().flat_map(|exchange| &exchange.links);
        let mut direct = links.filter(|link| link.from == *datacenter);
        direct.any(|link| link.lacking == 0 && !link.silent && !link.behind)
    };
    let going =
        shard_groups(facts).filter(|(_, group)| group.name.datacenter.as_ref() == Some(datacenter));
    going.into_iter().all(|(shard, group)| {
        let id = GroupId::Shard(shard);
        let others = facts.groups.values().filter(|other| {
            let stays = |name| facts.store.datacenter(name).is_some();
            other.name.id == id && other.name.datacenter.as_ref().is_some_and(stays)
        });
        let mut leaders = others.filter_map(|other| other.leader);
        group.leader.is_some() && leaders.any(|(_, report)| has_all(report))
    })
}
