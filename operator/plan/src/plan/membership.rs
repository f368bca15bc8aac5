//! Who is a member: nodes that answer and are asked for join; lost and unwanted ones leave once nobody counts on them.

use std::collections::BTreeSet;

use quorate_model::{Member, Topology};

use super::{
    TopologyChange, WaitingOn, datacenters,
    facts::{Facts, MemberState},
    topology::Change,
};

/// Adds nodes that are asked for and are not members yet, and corrects zones. Joining moves no data by itself.
pub(super) fn join(facts: &Facts<'_>, topology: &Topology) -> Change {
    let mut next = topology.clone();
    let mut why = vec![];
    for (name, pod) in &facts.pods {
        let Some(report) = pod.report else { continue };
        if let Some(member) = topology.members.get(&report.node) {
            if let Some(zone) = facts.known_zone(pod).filter(|zone| *zone != member.zone)
                && let Some(member) = next.members.get_mut(&report.node)
            {
                member.zone = zone;
                why.push(TopologyChange::UpdateZone { node: report.node, pod: name.clone() });
            }
            continue;
        }
        let joins = pod.desired
            && !pod.is_ending()
            && report.corrupt.is_none()
            && datacenters::may_join(topology, report)
            && Some(&report.datacenter) == pod.datacenter.as_ref();
        if !joins {
            continue;
        }
        let lost = topology.members.values().find(|member| member.name == *name);
        why.push(match lost {
            Some(lost) => {
                TopologyChange::ReplaceMember { lost: lost.id, new: report.node, pod: name.clone() }
            }
            None => TopologyChange::AddMember { node: report.node, pod: name.clone() },
        });
        let member = Member {
            id: report.node,
            name: name.clone(),
            datacenter: report.datacenter.clone(),
            zone: facts.zone(pod, report),
            addresses: report.addresses.clone(),
        };
        next.members.insert(member.id, member);
    }
    if why.is_empty() { Change::None } else { Change::To(Box::new(next), why) }
}

/// Removes lost members that no placement names, while shards without leaders still leave them: nobody waits for what such a
/// member held once it is none.
pub(super) fn forget(facts: &Facts<'_>, topology: &Topology) -> Change {
    if topology.mode.leaderless().is_none() {
        return Change::None;
    }
    let placed = |node| topology.shards.iter().any(|shard| shard.voters.contains(&node));
    let meta = facts.meta();
    let lost = topology.members.values().filter(|member| {
        facts.member_state(member) == MemberState::Lost
            && !placed(member.id)
            && !meta.may_count_on(member.id)
    });
    let mut next = topology.clone();
    let mut why = vec![];
    for member in lost.filter(|member| facts.configurations_are_known(&member.datacenter)) {
        next.members.remove(&member.id);
        why.push(TopologyChange::RemoveMember { node: member.id, pod: member.name.clone() });
    }
    if why.is_empty() { Change::None } else { Change::To(Box::new(next), why) }
}

/// Removes members that are lost or not asked for, once no group counts on them.
pub(super) fn leave(facts: &Facts<'_>, topology: &Topology) -> Change {
    let mut next = topology.clone();
    let mut why = vec![];
    let mut waiting = vec![];
    for member in topology.members.values() {
        let desired = facts.pods.get(&member.name).is_some_and(|pod| pod.desired);
        if desired && facts.member_state(member) != MemberState::Lost {
            continue;
        }
        if let Some(group) = facts.may_host(member.id) {
            let leaving = [member.name.clone()].into();
            waiting.push(WaitingOn::Group { group, joining: BTreeSet::new(), leaving });
        } else if holds_hints(facts, member) {
            waiting.push(WaitingOn::Hints { pods: [member.name.clone()].into() });
        } else if facts.configurations_are_known(&member.datacenter) {
            next.members.remove(&member.id);
            why.push(TopologyChange::RemoveMember { node: member.id, pod: member.name.clone() });
        } else {
            waiting.push(unknown_groups(facts, member));
        }
    }
    datacenters::forget_founders(&mut next);
    match (why.is_empty(), waiting.is_empty()) {
        (false, _) => Change::To(Box::new(next), why),
        (true, false) => Change::Wait(waiting),
        (true, true) => Change::None,
    }
}

/// The node itself says that it holds what others' replicas have not taken yet. One that is lost has nothing to give.
fn holds_hints(facts: &Facts<'_>, member: &Member) -> bool {
    let report = facts.pods.get(&member.name).and_then(|pod| pod.report);
    report.is_some_and(|report| report.node == member.id && !report.hints.is_empty())
}

fn unknown_groups(facts: &Facts<'_>, member: &Member) -> WaitingOn {
    let unknown = facts.groups_reaching(&member.datacenter).find(|group| !group.is_known());
    match unknown {
        Some(group) => WaitingOn::Leader { group: group.name.clone() },
        None => {
            let silent = facts.pods.iter().filter(|(_, pod)| pod.report.is_none());
            WaitingOn::Reports { pods: silent.map(|(name, _)| name.clone()).collect() }
        }
    }
}
