//! The next change of the topology: members first, then replicas, then members that nobody counts on any more.

use quorate_model::{Epoch, GroupId, NodeId, Topology, admin::ProposeTopology};

use super::{
    Action, Finding, TopologyChange, WaitingOn,
    facts::{Facts, MemberState},
    membership, replicas,
};

/// What one of the rooms below found.
pub(super) enum Change {
    To(Box<Topology>, Vec<TopologyChange>),
    Wait(Vec<WaitingOn>),
    None,
}

pub(super) fn step(facts: &Facts<'_>) -> Finding {
    let Some(topology) = facts.topology else { return Finding::Pass(vec![]) };
    if let Some(finding) = behind(facts, topology) {
        return finding;
    }
    for change in [membership::join, replicas::step, membership::leave] {
        match change(facts, topology) {
            Change::To(next, why) => return propose(facts, topology, *next, why),
            Change::Wait(reasons) => return Finding::Block(reasons),
            Change::None => {}
        }
    }
    Finding::Pass(vec![])
}

/// Leaders are moved to where they are preferred only when nothing else is to do.
pub(super) fn prefer_leaders(facts: &Facts<'_>) -> Finding {
    let Some(topology) = facts.topology else { return Finding::Pass(vec![]) };
    match replicas::prefer_leaders(facts, topology) {
        Change::To(next, why) => propose(facts, topology, *next, why),
        Change::Wait(reasons) => Finding::Pass(reasons),
        Change::None => Finding::Pass(vec![]),
    }
}

/// The status has seen a newer epoch than anybody who answers now.
fn behind(facts: &Facts<'_>, topology: &Topology) -> Option<Finding> {
    let seen = facts.observed.status.epoch.and_then(|epoch| u64::try_from(epoch).ok())?;
    (topology.epoch < Epoch(seen)).then(|| {
        let silent = facts.pods.iter().filter(|(_, pod)| pod.report.is_none());
        let pods = silent.map(|(name, _)| name.clone()).collect();
        Finding::Block(vec![WaitingOn::Reports { pods }])
    })
}

fn propose(
    facts: &Facts<'_>,
    topology: &Topology,
    mut next: Topology,
    why: Vec<TopologyChange>,
) -> Finding {
    let meta = &facts.groups[&GroupId::Meta];
    let Some((leader, _)) = meta.leader else {
        return Finding::Block(vec![WaitingOn::Leader { group: GroupId::Meta }]);
    };
    next.epoch = topology.epoch.next();
    let present = |node: &NodeId| {
        let member = topology.members.get(node)?;
        (facts.member_state(member) == MemberState::Present).then(|| member.name.clone())
    };
    let others = topology.meta_voters.iter().filter(|node| **node != leader);
    let via: Vec<String> = std::iter::once(&leader).chain(others).filter_map(present).collect();
    if via.is_empty() {
        return Finding::Block(vec![WaitingOn::Leader { group: GroupId::Meta }]);
    }
    let request = ProposeTopology { expected: topology.epoch, topology: next };
    Finding::Act(Action::ProposeTopology { via, request: Box::new(request), why })
}
