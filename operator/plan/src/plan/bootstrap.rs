//! The beginning of a store: one node is chosen, the choice is persisted, and only that node is ever told to begin.
//!
//! A store that begins twice has two histories. So nothing begins while any node that could know of a beginning is
//! silent, and never when the status remembers an epoch.

use std::collections::{BTreeMap, BTreeSet};

use quorate_api::BootstrapStatus;
use quorate_model::{
    Epoch, Member, NodeId, ShardPlacement, Topology,
    admin::{Bootstrap, NodeReport},
};

use super::{
    Action, Finding, WaitingOn,
    facts::{Facts, PodFacts},
    replicas,
};
use crate::{
    names,
    placement::{self, Site, Sites, Standing},
};

/// How long all nodes are waited for before a store begins with those that are there.
const PATIENCE_SECONDS: i64 = 180;

pub(super) fn step(facts: &Facts<'_>) -> Finding {
    if facts.topology.is_some() {
        return Finding::Pass(vec![]);
    }
    if facts.observed.status.epoch.is_some() {
        // The store exists; nobody who knows it answers.
        let pods = facts.pods.iter().filter(|(_, pod)| pod.report.is_none());
        let pods = pods.map(|(name, _)| name.clone()).collect();
        return Finding::Block(vec![WaitingOn::Reports { pods }]);
    }
    match &facts.observed.status.bootstrap {
        Some(chosen) => tell(facts, chosen),
        None => choose(facts),
    }
}

/// The nodes that are asked for, answer, and are blank.
fn blank<'f, 'a>(
    facts: &'f Facts<'a>,
) -> BTreeMap<NodeId, (&'f String, &'f PodFacts<'a>, &'a NodeReport)> {
    let pods = facts.pods.iter().filter(|(_, pod)| pod.desired && !pod.is_ending());
    pods.filter_map(|(name, pod)| {
        let report = pod.report.filter(|report| {
            report.topology.is_none()
                && report.corrupt.is_none()
                && Some(&report.datacenter) == pod.datacenter.as_ref()
        })?;
        Some((report.node, (name, pod, report)))
    })
    .collect()
}

fn choose(facts: &Facts<'_>) -> Finding {
    let blank = blank(facts);
    let known: BTreeSet<&String> = blank.values().map(|(name, _, _)| *name).collect();
    // One that is to end and says that it knows of nothing is not waited for.
    let ends_blank = |pod: &PodFacts<'_>| {
        !pod.desired && pod.report.is_some_and(|report| report.topology.is_none())
    };
    let missing: Vec<(&String, &PodFacts<'_>)> =
        facts.pods.iter().filter(|(name, pod)| !known.contains(name) && !ends_blank(pod)).collect();
    let wait = || {
        let pods = missing.iter().map(|(name, _)| (*name).clone()).collect();
        Finding::Block(vec![WaitingOn::Pods { pods }])
    };
    if !missing.is_empty() {
        let patient = facts.store.created.as_ref().is_none_or(|created| {
            facts.observed.now.0.as_second() - created.0.as_second() < PATIENCE_SECONDS
        });
        // A node that never had a volume knows of no other beginning.
        let all_new =
            missing.iter().all(|(name, pod)| pod.desired && never_had_volume(facts, name));
        if patient || !all_new || blank.len() < facts.store.replicas_in_all() {
            return wait();
        }
    }
    let Some(topology) = first_topology(facts, None) else { return wait() };
    let home = facts.store.single_leader().and_then(|s| s.preferred.all.datacenter.as_ref());
    let chosen = topology
        .meta_voters
        .iter()
        .filter_map(|node| topology.members.get(node))
        .min_by_key(|member| (Some(&member.datacenter) != home, &member.name));
    match chosen {
        Some(member) => Finding::Act(Action::RecordBootstrap(BootstrapStatus {
            store_id: facts.store.id,
            node: member.id,
            pod: member.name.clone(),
        })),
        None => wait(),
    }
}

/// There is no claim for it, or none with a volume yet.
pub(super) fn never_had_volume(facts: &Facts<'_>, pod: &str) -> bool {
    let claim = facts.observed.children.claims.get(&names::claim(pod));
    claim.is_none_or(|claim| {
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        phase == Some("Pending")
    })
}

fn tell(facts: &Facts<'_>, chosen: &BootstrapStatus) -> Finding {
    let Some(report) = facts.pods.get(&chosen.pod).and_then(|pod| pod.report) else {
        return Finding::Block(vec![WaitingOn::Pods { pods: [chosen.pod.clone()].into() }]);
    };
    if report.node != chosen.node {
        let (pod, node) = (chosen.pod.clone(), chosen.node);
        return Finding::Block(vec![WaitingOn::BootstrapNode { pod, node }]);
    }
    match first_topology(facts, Some(chosen.node)) {
        Some(topology) => Finding::Act(Action::Bootstrap {
            pod: chosen.pod.clone(),
            request: Box::new(Bootstrap { node: chosen.node, topology }),
        }),
        None => Finding::Block(vec![WaitingOn::Nodes {
            wanted: facts.store.replicas_in_all(),
            usable: blank(facts).len(),
        }]),
    }
}

/// Epoch 1 over the blank nodes, with `first` among the meta voters when given.
fn first_topology(facts: &Facts<'_>, first: Option<NodeId>) -> Option<Topology> {
    let blank = blank(facts);
    let members: BTreeMap<NodeId, Member> = blank
        .iter()
        .map(|(node, (name, pod, report))| {
            let member = Member {
                id: *node,
                name: (*name).clone(),
                datacenter: report.datacenter.clone(),
                zone: facts.zone(pod, report),
                addresses: report.addresses.clone(),
            };
            (*node, member)
        })
        .collect();
    let sites: Sites = members
        .values()
        .map(|member| {
            let site = Site {
                name: member.name.clone(),
                datacenter: member.datacenter.clone(),
                zone: member.zone.clone(),
                standing: Standing::Open,
            };
            (member.id, site)
        })
        .collect();
    let wanted = replicas::meta_voters_wanted(facts.store, sites.len());
    let meta = placement::settle(
        &sites,
        &placement::Replicas::Over(wanted),
        vec![first.into_iter().collect()],
    )
    .ok()?;
    let voters =
        placement::place(&sites, &facts.store.placed(), usize::from(facts.store.shards)).ok()?;
    let leaders = replicas::leaders(facts.store, &sites, &voters, &vec![None; voters.len()]);
    let shards = voters.into_iter().zip(leaders).map(|(voters, preferred_leader)| ShardPlacement {
        genesis: voters.clone(),
        voters,
        preferred_leader,
    });
    let mut topology = Topology {
        store: facts.store.id,
        epoch: Epoch::ZERO.next(),
        members,
        meta_voters: meta.into_iter().next()?,
        shards: shards.collect(),
        policy: facts.store.policy().cloned().unwrap_or_default(),
        mode: quorate_model::Mode::default(),
    };
    topology.mode = facts.store.first_mode(&topology);
    topology.validate().is_ok().then_some(topology)
}
