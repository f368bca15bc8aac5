//! Changes where every datacenter has leaders of its own: each group is judged by itself, never over several datacenters.

use std::collections::BTreeSet;

use quorate_model::{
    Datacenter, GroupId, Homes, Links, MultiLeader, MultiLeaderPolicy, NodeId, ShardId, Topology,
};

use super::{Violation, evidence::Evidence, topology};
use crate::{GroupAt, Mode, names};

pub(super) fn proposal(
    evidence: &Evidence<'_>,
    now: &Topology,
    (next, after): (&Topology, &MultiLeader),
    violations: &mut Vec<Violation>,
) {
    if now.mode.multi_leader().is_some_and(|before| before.policy != after.policy)
        && !is_declared(evidence, next, &after.policy)
    {
        violations.push(Violation::Policy);
    }
    let placed = |(node, place): (&NodeId, &Datacenter)| {
        let known = now.mode.multi_leader().and_then(|before| before.founders.get(node));
        known.or_else(|| next.datacenter_of(*node)) == Some(place)
    };
    if next.check_founders(now).is_err() || !after.founders.iter().all(placed) {
        violations.push(Violation::Mode);
    }
    let places = |topology: &Topology| {
        let voters = topology.shards.iter().flat_map(|shard| &shard.voters);
        voters.filter_map(|n| topology.datacenter_of(*n).cloned()).collect::<BTreeSet<_>>()
    };
    let (were, are) = (places(now), places(next));
    for place in were.difference(&are) {
        if evidence.store.datacenter(place).is_some() || !may_end(evidence, now, place) {
            violations.push(Violation::LosesWrites { datacenter: place.clone() });
        }
    }
    for (shard, _) in now.placements() {
        for place in were.intersection(&are) {
            let group = GroupAt { id: GroupId::Shard(shard), datacenter: Some(place.clone()) };
            let change = (&voters_at(now, shard, place), &voters_at(next, shard, place));
            topology::voters(evidence, &group, change, violations);
        }
        for place in are.difference(&were) {
            begins(evidence, now, (next, after), (shard, place), violations);
        }
    }
}

/// What is told does not differ from what the resource says, but for links on the way from one set of datacenters to another.
pub(super) fn is_declared(
    evidence: &Evidence<'_>,
    topology: &Topology,
    policy: &MultiLeaderPolicy,
) -> bool {
    let Mode::MultiLeader(store) = &evidence.store.mode else { return false };
    let declared = &store.policy;
    let all = |place: &Datacenter| {
        topology.placements().all(|(shard, _)| !voters_at(topology, shard, place).is_empty())
    };
    let complete = evidence.store.datacenters.iter().all(|one| all(&one.name));
    let alike = matches!(
        (&policy.links, &declared.links),
        (Links::AllToAll, _)
            | (Links::Circular(_), Links::Circular(_))
            | (Links::Star { .. }, Links::Star { .. })
    );
    let members = topology.members.values();
    let going = members.into_iter().any(|m| evidence.store.datacenter(&m.datacenter).is_none());
    let links = policy.links == declared.links || (alike && (!complete || going));
    links
        && policy.reroute == declared.reroute
        && policy.conflicts == declared.conflicts
        && homes_are_declared(evidence, topology, &policy.homes, &declared.homes)
}

/// But for those that are declared where nobody is yet, and those that leave a datacenter that goes.
fn homes_are_declared(
    evidence: &Evidence<'_>,
    topology: &Topology,
    told: &Homes,
    declared: &Homes,
) -> bool {
    let here = |place: &Datacenter| {
        topology.placements().any(|(shard, _)| !voters_at(topology, shard, place).is_empty())
    };
    let mut wanted = declared.keys.iter();
    let each = told.keys.iter().all(|told| {
        let found = wanted.find(|one| one.pattern == told.pattern || here(&one.home));
        found.is_some_and(|one| {
            one.pattern == told.pattern && (one.home == told.home || !here(&one.home))
        })
    });
    let known = |place: &Datacenter| evidence.store.datacenter(place).is_some();
    each && wanted.all(|left| !here(&left.home))
        && told.unreachable == declared.unreachable
        && told.evacuated.iter().all(|(from, to)| {
            declared.evacuated.get(from) == Some(to) || (!known(from) && known(to))
        })
        && declared
            .evacuated
            .iter()
            .all(|(from, to)| told.evacuated.contains_key(from) || !here(to))
}

fn voters_at(topology: &Topology, shard: ShardId, place: &Datacenter) -> BTreeSet<NodeId> {
    let voters = topology.placement(shard).into_iter().flat_map(|placement| &placement.voters);
    voters.filter(|node| topology.datacenter_of(**node) == Some(place)).copied().collect()
}

/// A new group is of nodes that answer, and all of them found it.
fn begins(
    evidence: &Evidence<'_>,
    now: &Topology,
    (next, after): (&Topology, &MultiLeader),
    (shard, place): (ShardId, &Datacenter),
    violations: &mut Vec<Violation>,
) {
    let group = GroupAt { id: GroupId::Shard(shard), datacenter: Some(place.clone()) };
    let voters = voters_at(next, shard, place);
    let genesis = next.placement(shard).into_iter().flat_map(|placement| &placement.genesis);
    let genesis: BTreeSet<NodeId> =
        genesis.filter(|node| after.founders.get(node) == Some(place)).copied().collect();
    if voters != genesis {
        violations.push(Violation::ChangesGenesis { group: group.clone() });
    }
    let there = |node: &NodeId| {
        let mut reports = evidence.reports.values();
        reports.any(|report| report.node == *node && report.corrupt.is_none())
    };
    let hosted = |node: &NodeId| {
        let mut founders = now.mode.multi_leader().into_iter().map(|before| &before.founders);
        founders.any(|founders| founders.contains_key(node))
    };
    if voters.iter().any(hosted) {
        violations.push(Violation::ChangesGenesis { group: group.clone() });
    }
    let declared = evidence.store.datacenter(place).is_some();
    if !declared || voters.len() != evidence.store.replicas() || !voters.iter().all(there) {
        violations.push(Violation::LosesQuorum { group });
    }
}

/// Of every shard another datacenter that stays has all of its writes, or no volume is left that could have any.
fn may_end(evidence: &Evidence<'_>, now: &Topology, place: &Datacenter) -> bool {
    let lost = now.members.values().filter(|member| member.datacenter == *place).all(|member| {
        let report = evidence.reports.get(member.name.as_str());
        let claim = evidence.observed.children.claims.get(&names::claim(&member.name));
        let bound = claim.is_some_and(|claim| {
            let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
            phase != Some("Pending") && claim.metadata.deletion_timestamp.is_none()
        });
        match report {
            Some(report) => report.node != member.id,
            None => !bound,
        }
    });
    let known = |shard: ShardId| {
        let id = GroupId::Shard(shard);
        let own = GroupAt { id, datacenter: Some(place.clone()) };
        let others = evidence.groups().into_iter().filter(|group| {
            let stays = |name| evidence.store.datacenter(name).is_some();
            group.id == id && group.datacenter.as_ref().is_some_and(stays)
        });
        let mut replicas = others.flat_map(|group| evidence.replicas(&group));
        let told = replicas.any(|(_, replica)| {
            let links = replica.exchange.iter().flat_map(|exchange| &exchange.links);
            let mut from = links.filter(|link| link.from == *place);
            from.any(|link| link.lacking == 0 && !link.silent && !link.behind)
        });
        told && evidence.group(&own).is_some()
    };
    lost || now.placements().all(|(shard, _)| known(shard))
}
