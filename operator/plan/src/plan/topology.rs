//! The next change of the topology: the declared policy first, for it disturbs nobody; then members, then replicas,
//! then members that nobody counts on any more.

use quorate_model::{
    Epoch, Hints, Leaderless, LeaderlessPolicy, Mode, MultiLeader, NodeId, Topology,
    admin::ProposeTopology,
};

use super::{
    Action, Finding, TopologyChange, WaitingOn, datacenters,
    facts::{Facts, MemberState},
    membership, replicas,
};
use crate::{GroupAt, multi_leader};

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
    let rooms = [
        policy,
        levels,
        exchange,
        replicas::switch_over,
        membership::join,
        membership::forget,
        datacenters::come,
        datacenters::go,
        replicas::step,
        membership::leave,
    ];
    let mut waiting = vec![];
    for change in rooms {
        match change(facts, topology) {
            Change::To(next, why) => return propose(facts, topology, *next, why),
            // What one datacenter waits for keeps no other one waiting.
            Change::Wait(mut reasons) if topology.mode.multi_leader().is_some() => {
                waiting.append(&mut reasons);
            }
            Change::Wait(reasons) => return Finding::Block(reasons),
            Change::None => {}
        }
    }
    if waiting.is_empty() { Finding::Pass(vec![]) } else { Finding::Block(waiting) }
}

/// What the resource declares of durability, log format and sessions, in one step: each group's leader takes it from
/// there, and keeps the old and the new guarantee until a majority holds the change.
fn policy(facts: &Facts<'_>, topology: &Topology) -> Change {
    let Some(declared) = facts.store.policy().filter(|policy| topology.policy != **policy) else {
        return Change::None;
    };
    let mut why = vec![];
    let now = &topology.policy;
    if (now.durability, now.in_sync) != (declared.durability, declared.in_sync) {
        why.push(TopologyChange::Durability { from: now.durability, to: declared.durability });
    }
    if now.log_format != declared.log_format {
        why.push(TopologyChange::LogFormat { from: now.log_format, to: declared.log_format });
    }
    if now.sessions != declared.sessions {
        why.push(TopologyChange::Sessions);
    }
    let next = Topology { policy: declared.clone(), ..topology.clone() };
    Change::To(Box::new(next), why)
}

/// What the resource declares of a store without leaders: its levels, and what becomes of concurrent values. While a shard moves
/// the levels stay, because its steps depend on them.
fn levels(facts: &Facts<'_>, topology: &Topology) -> Change {
    let (Some(now), Some(declared)) = (topology.mode.leaderless(), facts.store.leaderless()) else {
        return Change::None;
    };
    let moves = now.moved.values().any(|moved| moved.leaves.is_some());
    let Leaderless { policy, moved } = now;
    // The schema keeps the datacenters as they are.
    let LeaderlessPolicy { read, write, conflicts, datacenters: _, hints } = declared.policy;
    // What is held is given back.
    let off = policy.hints.map(|hints| Hints { max_bytes: 0, ..hints });
    let hints = hints.or(off);
    let (read, write) = if moves { (policy.read, policy.write) } else { (read, write) };
    let next = LeaderlessPolicy { read, write, conflicts, datacenters: policy.datacenters, hints };
    if next == *policy {
        return Change::None;
    }
    let mut why = vec![];
    if (policy.read, policy.write) != (read, write) {
        why.push(TopologyChange::Levels { read, write });
    }
    if policy.conflicts != conflicts {
        why.push(TopologyChange::Conflicts { from: policy.conflicts, to: conflicts });
    }
    if policy.hints != hints {
        why.push(TopologyChange::Hints { stand_in: next.stands_in() });
    }
    let mode = Mode::Leaderless(Leaderless { policy: next, moved: moved.clone() });
    Change::To(Box::new(Topology { mode, ..topology.clone() }), why)
}

/// What the resource declares of links, conflicts and homes, where every datacenter has a leader; among the datacenters that there are.
fn exchange(facts: &Facts<'_>, topology: &Topology) -> Change {
    let (Some(now), Some(declared)) = (topology.mode.multi_leader(), facts.store.multi_leader())
    else {
        return Change::None;
    };
    let places = multi_leader::places(topology);
    let next = multi_leader::next(facts.store, &declared.policy, topology, &places);
    let mut why = vec![];
    if now.policy.links != next.links {
        why.push(TopologyChange::Links);
    }
    if now.policy.reroute != next.reroute {
        why.push(TopologyChange::Reroute { around: next.reroute });
    }
    if now.policy.conflicts != next.conflicts {
        why.push(TopologyChange::Resolutions);
    }
    if now.policy.homes != next.homes {
        why.push(TopologyChange::Homes);
    }
    if why.is_empty() {
        return Change::None;
    }
    let mode = Mode::MultiLeader(MultiLeader { policy: next, founders: now.founders.clone() });
    Change::To(Box::new(Topology { mode, ..topology.clone() }), why)
}

/// Where nobody asked for anything, leaders are evened out only when nothing else is to do.
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
    let Some((leader, _)) = facts.meta().leader else {
        return Finding::Block(vec![WaitingOn::Leader { group: GroupAt::META }]);
    };
    next.epoch = topology.epoch.next();
    let present = |node: &NodeId| {
        let member = topology.members.get(node)?;
        (facts.member_state(member) == MemberState::Present).then(|| member.name.clone())
    };
    let others = topology.meta_voters.iter().filter(|node| **node != leader);
    let via: Vec<String> = std::iter::once(&leader).chain(others).filter_map(present).collect();
    if via.is_empty() {
        return Finding::Block(vec![WaitingOn::Leader { group: GroupAt::META }]);
    }
    let request = ProposeTopology { expected: topology.epoch, topology: next };
    Finding::Act(Action::ProposeTopology { via, request: Box::new(request), why })
}
