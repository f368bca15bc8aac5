//! Restarts, one pod at a time: a pod goes only when everybody else in each of its groups is caught up.
//!
//! A pod whose container does not run may go at once: nobody counts on it, and it may be what a corrected spec is
//! meant to repair. So a bad image never has to become ready before a good one can replace it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::StatefulSet;
use quorate_api::labels;
use quorate_model::{Durability, GroupId, LogFormat, NodeId, admin::Role};

use super::{
    Action, Finding, HandOver, RestartReason, WaitingOn,
    facts::{Facts, GroupFacts, PodFacts},
};
use crate::{
    build::{Desired, template_hash},
    names,
};

/// A pod that was made from another template than the one that its StatefulSet should have.
struct Outdated<'f, 'a> {
    name: &'f String,
    pod: &'f PodFacts<'a>,
    uid: &'f str,
    stateful_set: String,
}

pub(super) fn pods_that_do_not_run(facts: &Facts<'_>, desired: &Desired) -> Finding {
    let found = outdated(facts, desired).into_iter().find(|outdated| {
        outdated.pod.is_not_running()
            && outdated.pod.report.is_none()
            && controller_is_ready(facts, desired, &outdated.stateful_set)
            && !somebody_counts_on(facts, outdated.name)
    });
    found.map_or(Finding::Pass(vec![]), |outdated| {
        Finding::Act(Action::RestartPod {
            pod: outdated.name.clone(),
            uid: outdated.uid.to_owned(),
            hand_over: HandOver::NotNeeded,
            why: RestartReason::TemplateNotRunning,
        })
    })
}

pub(super) fn one_pod(facts: &Facts<'_>, desired: &Desired) -> Finding {
    let mut outdated = outdated(facts, desired);
    if outdated.is_empty() {
        return Finding::Pass(vec![]);
    }
    if let Some(refused) = mixes_engine_formats(facts, &outdated) {
        return Finding::Block(vec![refused]);
    }
    // Who is in no in-sync set goes first: nobody's writes wait for it. A later one may be spared by then, too.
    outdated.sort_by_key(|outdated| {
        (leads(outdated.pod), in_sync_memberships(facts, outdated.pod), outdated.name)
    });
    let mut waiting = vec![];
    for candidate in &outdated {
        if !controller_is_ready(facts, desired, &candidate.stateful_set) {
            waiting.push(WaitingOn::StatefulSet { name: candidate.stateful_set.clone() });
            continue;
        }
        match may_restart(facts, candidate, &outdated) {
            Ok(()) => {
                return Finding::Act(Action::RestartPod {
                    pod: candidate.name.clone(),
                    uid: candidate.uid.to_owned(),
                    hand_over: if leads(candidate.pod) == 0 {
                        HandOver::NotNeeded
                    } else {
                        HandOver::First
                    },
                    why: RestartReason::Template,
                });
            }
            Err(reason) => waiting.push(reason),
        }
    }
    Finding::Block(waiting)
}

/// Log format Wal needs one format of the storage engine everywhere. What an image has is seen at the first pod that
/// runs it; which then stays the only one, unless going on is the shorter way back to a single format.
fn mixes_engine_formats(facts: &Facts<'_>, outdated: &[Outdated<'_, '_>]) -> Option<WaitingOn> {
    if facts.store.policy().is_none_or(|policy| policy.log_format != LogFormat::Wal) {
        return None;
    }
    let formats: BTreeMap<String, u32> = facts
        .pods
        .iter()
        .filter(|(_, pod)| pod.desired)
        .filter_map(|(name, pod)| Some((name.clone(), pod.report?.engine_format)))
        .collect();
    let is_outdated = |name: &String| outdated.iter().any(|outdated| outdated.name == name);
    let wanted = *formats.iter().filter(|(name, _)| !is_outdated(name)).map(|(_, f)| f).max()?;
    let (same, others): (Vec<u32>, Vec<u32>) = formats.values().partition(|f| **f == wanted);
    let goes_on = match same.len().cmp(&others.len()) {
        Ordering::Less => others.is_empty(),
        Ordering::Equal => others.iter().all(|other| wanted < *other),
        Ordering::Greater => true,
    };
    (!goes_on).then_some(WaitingOn::EngineFormats { formats })
}

fn outdated<'f, 'a>(facts: &'f Facts<'a>, desired: &Desired) -> Vec<Outdated<'f, 'a>> {
    let pods = facts.pods.iter().filter(|(_, pod)| pod.desired && !pod.is_ending());
    pods.filter_map(|(name, pod)| {
        let stateful_set = names::stateful_set(facts.store, pod.datacenter.as_ref()?);
        let wanted = template_hash(find(desired, &stateful_set)?);
        let (found, uid) = (pod.annotation(labels::TEMPLATE_HASH), pod.uid()?);
        (found != wanted).then_some(Outdated { name, pod, uid, stateful_set })
    })
    .collect()
}

fn find<'d>(desired: &'d Desired, name: &str) -> Option<&'d StatefulSet> {
    desired.stateful_sets.iter().find(|set| set.metadata.name.as_deref() == Some(name))
}

/// The controller would make the new pod from the new template: it was applied, and the controller has seen it.
fn controller_is_ready(facts: &Facts<'_>, desired: &Desired, name: &str) -> bool {
    let Some(found) = facts.observed.children.stateful_sets.get(name) else { return false };
    let seen = found.status.as_ref().and_then(|status| status.observed_generation);
    find(desired, name).is_some_and(|wanted| template_hash(found) == template_hash(wanted))
        && seen >= found.metadata.generation
}

/// A leader sees the node's replica caught up, whatever the kubelet last said.
fn somebody_counts_on(facts: &Facts<'_>, pod: &str) -> bool {
    let Some(topology) = facts.topology else { return false };
    let ids = topology.members.values().filter(|member| member.name == *pod).map(|m| m.id);
    ids.into_iter().any(|id| facts.groups.values().any(|group| group.is_caught_up(id)))
}

/// How many groups the node leads.
fn leads(pod: &PodFacts<'_>) -> usize {
    let replicas = pod.report.iter().flat_map(|report| &report.replicas);
    replicas.filter(|replica| replica.role == Role::Leader).count()
}

/// Of how many in-sync sets the node is a member, beside those of which it leads the group.
fn in_sync_memberships(facts: &Facts<'_>, pod: &PodFacts<'_>) -> usize {
    let Some(node) = pod.report.map(|report| report.node) else { return 0 };
    let sets = facts.groups.values().filter_map(|group| group.leader);
    sets.filter(|(leader, report)| {
        *leader != node && report.acknowledgement.in_sync.contains(&node)
    })
    .count()
}

/// Writes wait for a follower already, or its replacement is under way: another absence would make it longer. A wait for
/// the very node that is to go is no reason to keep it.
fn writes_wait(facts: &Facts<'_>, state: &GroupFacts<'_>, node: NodeId) -> Option<WaitingOn> {
    let (_, leader) = state.leader?;
    let in_sync = &leader.acknowledgement;
    let set = match in_sync.durability {
        Durability::SemiSync | Durability::Sync => in_sync,
        Durability::Async | Durability::Quorum => return None,
    };
    let waits = set.waiting_for.iter().any(|member| *member != node);
    (waits || !set.settled).then(|| WaitingOn::InSync {
        group: state.name.clone(),
        pods: facts.pod_names(set.waiting_for.iter().filter(|member| **member != node)),
    })
}

fn may_restart(
    facts: &Facts<'_>,
    candidate: &Outdated<'_, '_>,
    outdated: &[Outdated<'_, '_>],
) -> Result<(), WaitingOn> {
    // Those already restarted must be back before the next one goes.
    let waits_too = |name: &String| outdated.iter().any(|other| other.name == name);
    let absent: BTreeSet<String> = facts
        .pods
        .iter()
        .filter(|(name, pod)| pod.desired && !waits_too(name) && (!pod.serves() || pod.is_ending()))
        .map(|(name, _)| name.clone())
        .collect();
    if !absent.is_empty() {
        return Err(WaitingOn::Pods { pods: absent });
    }
    for node in identities(facts, candidate) {
        for state in facts.groups.values() {
            let group = || state.name.clone();
            let voters = state.voters();
            let involved = state.may_count_on(node)
                || (state.replicas.contains_key(&node) && state.name.id != GroupId::Meta);
            // Without leaders the levels say how much must answer, and who is asked may be anybody: every range is whole.
            if !involved && state.owners.is_none() {
                continue;
            }
            let Some(voters) = voters else { return Err(WaitingOn::Leader { group: group() }) };
            let alone = voters.len() == 1 && voters.contains(&node);
            if !alone && !state.can_spare(node) {
                let mut lagging = state.lagging();
                lagging.remove(&node);
                let pods = facts.pod_names(&lagging);
                return Err(WaitingOn::CaughtUp { group: group(), pods });
            }
            if let Some(reason) = writes_wait(facts, state, node) {
                return Err(reason);
            }
        }
    }
    Ok(())
}

/// The ids under which groups may know the pod.
fn identities(facts: &Facts<'_>, candidate: &Outdated<'_, '_>) -> BTreeSet<NodeId> {
    let members = facts.topology.iter().flat_map(|topology| topology.members.values());
    let by_name = members.filter(|member| member.name == *candidate.name).map(|member| member.id);
    by_name.chain(candidate.pod.report.map(|report| report.node)).collect()
}
