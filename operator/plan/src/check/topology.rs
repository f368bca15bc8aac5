//! Beginnings and changes of the topology.

use std::collections::BTreeSet;

use quorate_api::BootstrapStatus;
use quorate_model::{
    Datacenter, Epoch, GroupId, LeaderlessPolicy, Mode, NodeId, Step, Topology,
    admin::{Bootstrap, ProposeTopology},
};

use super::{
    Violation, datacenters,
    evidence::{Evidence, Group},
};
use crate::{GroupAt, Reported};

pub(super) fn first(
    evidence: &Evidence<'_>,
    choice: &BootstrapStatus,
    violations: &mut Vec<Violation>,
) {
    if evidence.observed.status.bootstrap.is_some() || has_begun(evidence) {
        violations.push(Violation::SecondBootstrap);
    }
    let found = evidence.reports.get(choice.pod.as_str()).map(|report| report.node);
    if found != Some(choice.node) || choice.store_id != evidence.store.id {
        violations.push(Violation::Stale { pod: choice.pod.clone() });
    }
}

pub(super) fn bootstrap(
    evidence: &Evidence<'_>,
    pod: &str,
    request: &Bootstrap,
    violations: &mut Vec<Violation>,
) {
    let chosen = evidence.observed.status.bootstrap.as_ref();
    let as_recorded = chosen.is_some_and(|chosen| {
        chosen.node == request.node && chosen.pod == pod && chosen.store_id == evidence.store.id
    });
    if !as_recorded || has_begun(evidence) || request.topology.store != evidence.store.id {
        violations.push(Violation::SecondBootstrap);
    }
    let topology = &request.topology;
    let first = Epoch::ZERO.next();
    if topology.epoch != first {
        violations.push(Violation::Epoch { wanted: first, found: topology.epoch });
    }
    violations.extend(topology.validate().err().map(Violation::Topology));
    if !topology.meta_voters.contains(&request.node) {
        violations.push(Violation::LosesQuorum { group: GroupAt::META });
    }
    let declared = evidence.store.policy().is_none_or(|policy| topology.policy == *policy);
    if !declared || !begins_as_declared(evidence, topology) {
        violations.push(Violation::Policy);
    }
    for (shard, placement) in topology.placements() {
        if placement.genesis != placement.voters {
            violations.push(Violation::ChangesGenesis { group: GroupId::Shard(shard).into() });
        }
    }
}

/// Nothing has moved yet; where every datacenter has leaders, all that begin are where they say, and links are as declared once all
/// declared datacenters are there.
fn begins_as_declared(evidence: &Evidence<'_>, topology: &Topology) -> bool {
    match &topology.mode {
        Mode::SingleLeader | Mode::Leaderless(_) => {
            topology.mode == evidence.store.first_mode(topology)
        }
        Mode::MultiLeader(multi_leader) => {
            let placed = |(node, place): (&NodeId, &Datacenter)| {
                topology.datacenter_of(*node) == Some(place)
            };
            datacenters::is_declared(evidence, topology, &multi_leader.policy)
                && multi_leader.founders.iter().all(placed)
        }
    }
}

/// Anything at all says that the store exists, however old.
fn has_begun(evidence: &Evidence<'_>) -> bool {
    evidence.observed.status.epoch.is_some()
        || evidence.observed.reports.values().any(|reported| match reported {
            Reported::Known { report, .. } => {
                report.store == evidence.store.id && report.topology.is_some()
            }
            Reported::Unknown { .. } => false,
        })
}

pub(super) fn proposal(
    evidence: &Evidence<'_>,
    request: &ProposeTopology,
    violations: &mut Vec<Violation>,
) {
    let Some(now) = evidence.topology else {
        violations.push(Violation::Epoch { wanted: Epoch::ZERO, found: request.topology.epoch });
        return;
    };
    let next = &request.topology;
    if request.expected != now.epoch || next.epoch != now.epoch.next() {
        violations.push(Violation::Epoch { wanted: now.epoch.next(), found: next.epoch });
    }
    violations.extend(next.validate().err().map(Violation::Topology));
    if next.store != now.store || next.shards.len() != now.shards.len() {
        violations.push(Violation::SecondBootstrap);
        return;
    }
    if next.policy != now.policy && Some(&next.policy) != evidence.store.policy() {
        violations.push(Violation::Policy);
    }
    modes(evidence, now, next, violations);
    members(evidence, now, next, violations);
    voters(evidence, &GroupAt::META, (&now.meta_voters, &next.meta_voters), violations);
    if let (Some(_), Some(after)) = (now.mode.multi_leader(), next.mode.multi_leader()) {
        datacenters::proposal(evidence, now, (next, after), violations);
        return;
    }
    for ((shard, before), after) in now.placements().zip(&next.shards) {
        let group = GroupAt::from(GroupId::Shard(shard));
        if before.genesis != after.genesis {
            violations.push(Violation::ChangesGenesis { group: group.clone() });
        }
        voters(evidence, &group, (&before.voters, &after.voters), violations);
    }
}

/// The mode stays, and so does all that the store itself keeps of moves. Levels change only while nothing moves.
fn modes(
    evidence: &Evidence<'_>,
    now: &Topology,
    next: &Topology,
    violations: &mut Vec<Violation>,
) {
    let (before, after) = match (&now.mode, &next.mode) {
        (Mode::SingleLeader, Mode::SingleLeader) | (Mode::MultiLeader(_), Mode::MultiLeader(_)) => {
            return;
        }
        (Mode::Leaderless(before), Mode::Leaderless(after)) => (before, after),
        (Mode::SingleLeader | Mode::Leaderless(_) | Mode::MultiLeader(_), _) => {
            violations.push(Violation::Mode);
            return;
        }
    };
    if before.moved != after.moved {
        violations.push(Violation::Mode);
    }
    let moves = before.moving().next().is_some();
    let levels = |policy: &LeaderlessPolicy| (policy.read, policy.write);
    let declared = evidence.store.leaderless().map(|leaderless| &leaderless.policy);
    let known = declared.is_some_and(|declared| {
        let of_both = [&before.policy, declared];
        of_both.iter().any(|policy| levels(policy) == levels(&after.policy))
            && of_both.iter().any(|policy| policy.conflicts == after.policy.conflicts)
    });
    if !known || (moves && levels(&before.policy) != levels(&after.policy)) {
        violations.push(Violation::Policy);
    }
    for ((shard, before_it), after_it) in now.placements().zip(&next.shards) {
        let leaves = before.leaving(shard);
        let draining = leaves.is_some_and(|leaving| leaving.step == Step::Draining);
        if draining && before_it.voters != after_it.voters {
            violations.push(Violation::MovesTooMuch { group: GroupId::Shard(shard).into() });
        }
    }
}

fn members(
    evidence: &Evidence<'_>,
    now: &Topology,
    next: &Topology,
    violations: &mut Vec<Violation>,
) {
    for added in next.members.values().filter(|member| !now.members.contains_key(&member.id)) {
        let found = evidence.reports.get(added.name.as_str()).map(|report| report.node);
        if found != Some(added.id) {
            violations.push(Violation::Stale { pod: added.name.clone() });
        }
    }
    for removed in now.members.values().filter(|member| !next.members.contains_key(&member.id)) {
        let here = evidence.reports.get(removed.name.as_str()).map(|report| report.node);
        let gone = here.is_some_and(|node| node != removed.id);
        for group in evidence.groups_reaching(Some(&removed.datacenter)) {
            // A shard without a leader that leaves a lost replica waits for its removal.
            let waits = gone && group.id != GroupId::Meta && now.mode.leaderless().is_some();
            let counted_on = !waits && evidence.counted_on(&group, removed.id);
            if evidence.group(&group).is_none() || counted_on {
                violations.push(Violation::RemovesHost { node: removed.id, group });
            }
        }
        if evidence.is_desired(&removed.name) && !gone {
            violations.push(Violation::Stale { pod: removed.name.clone() });
        }
    }
}

/// One replica at a time, and never fewer failures survived than now, up to what the resource asks for.
pub(super) fn voters(
    evidence: &Evidence<'_>,
    group: &GroupAt,
    (before, after): (&BTreeSet<NodeId>, &BTreeSet<NodeId>),
    violations: &mut Vec<Violation>,
) {
    if before == after {
        return;
    }
    if after.difference(before).count() > 1 || before.difference(after).count() > 1 {
        violations.push(Violation::MovesTooMuch { group: group.clone() });
    }
    let Some(state) = evidence.group(group) else {
        violations.push(Violation::LosesQuorum { group: group.clone() });
        return;
    };
    // A replica that joins is caught up before another leaves: the group's leader sees to it. It must be there.
    let reporting =
        |node: &NodeId| evidence.reports.values().any(|r| r.node == *node && r.corrupt.is_none());
    let well = after
        .iter()
        .filter(|node| {
            state.well.contains(node) || (!state.voters.contains(node) && reporting(node))
        })
        .count();
    let tolerance_now = Group::tolerance(state.voters.len(), state.well.len());
    let tolerance_then = Group::tolerance(after.len(), well);
    let asked = match group.datacenter {
        Some(_) => evidence.store.replicas(),
        None => evidence.store.replicas_in_all(),
    };
    let wanted = tolerance_now.min(Group::tolerance(asked, asked));
    if tolerance_then < 0 && tolerance_now >= 0 {
        violations.push(Violation::LosesQuorum { group: group.clone() });
    } else if tolerance_then < wanted {
        violations.push(Violation::LosesTolerance { group: group.clone() });
    }
}
