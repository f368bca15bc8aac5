//! Pods that are restarted or removed.

use quorate_model::GroupId;

use super::{Violation, evidence::Evidence};
use crate::{GroupAt, RestartReason, names};

pub(super) fn restart(
    evidence: &Evidence<'_>,
    pod: &str,
    uid: &str,
    why: &RestartReason,
    violations: &mut Vec<Violation>,
) {
    let found = evidence.observed.children.pods.get(pod);
    let as_observed = found.is_some_and(|found| {
        found.metadata.uid.as_deref() == Some(uid) && found.metadata.deletion_timestamp.is_none()
    });
    if !as_observed {
        violations.push(Violation::Stale { pod: pod.to_owned() });
    }
    let reported = evidence.reports.get(pod).map(|report| report.node);
    let datacenter = evidence.datacenter_of(pod);
    for node in evidence.member_named(pod).chain(reported) {
        for group in evidence.groups_reaching(datacenter.as_ref()) {
            let asked = evidence.topology.is_some_and(|topology| match group.id {
                GroupId::Meta => topology.meta_voters.contains(&node),
                GroupId::Shard(shard) => {
                    topology.placement(shard).is_some_and(|p| p.voters.contains(&node))
                }
            });
            let safe = match evidence.group(&group) {
                Some(state) if !state.voters.contains(&node) => true,
                Some(state) => {
                    let alone = state.voters.len() == 1;
                    let nothing_to_lose = *why == RestartReason::TemplateNotRunning
                        && reported.is_none()
                        && !state.well.contains(&node);
                    alone || nothing_to_lose || state.survives_without(node)
                }
                None => {
                    let named = asked || evidence.counted_on(&group, node);
                    !named || (*why == RestartReason::TemplateNotRunning && reported.is_none())
                }
            };
            if !safe {
                violations.push(Violation::LosesQuorum { group });
            }
        }
    }
}

pub(super) struct ScaleDown<'a> {
    pub(super) stateful_set: &'a str,
    pub(super) uid: &'a str,
    pub(super) resource_version: &'a str,
    pub(super) from: i32,
    pub(super) to: i32,
}

pub(super) fn scale_down(
    evidence: &Evidence<'_>,
    change: &ScaleDown<'_>,
    violations: &mut Vec<Violation>,
) {
    let ScaleDown { stateful_set, uid, resource_version, from, to } = *change;
    let as_observed =
        evidence.observed.children.stateful_sets.get(stateful_set).is_some_and(|set| {
            set.metadata.uid.as_deref() == Some(uid)
                && set.metadata.resource_version.as_deref() == Some(resource_version)
                && set.spec.as_ref().and_then(|spec| spec.replicas) == Some(from)
        });
    if !as_observed {
        violations.push(Violation::Stale { pod: stateful_set.to_owned() });
    }
    let pod = format!("{stateful_set}-{to}");
    if to != from - 1 || evidence.is_desired(&pod) {
        violations.push(Violation::ShrinksSilently { name: stateful_set.to_owned() });
    }
    unused(evidence, &pod, violations);
}

/// Nobody counts on the pod, by name or by identity.
pub(super) fn unused(evidence: &Evidence<'_>, pod: &str, violations: &mut Vec<Violation>) {
    let reported = evidence.reports.get(pod).map(|report| report.node);
    for node in evidence.member_named(pod) {
        violations.push(Violation::RemovesHost { node, group: GroupAt::META });
    }
    if let Some(node) = reported {
        for group in evidence.groups() {
            if evidence.counted_on(&group, node) {
                violations.push(Violation::RemovesHost { node, group });
            }
        }
    }
    if !evidence.all_configurations_are_members(evidence.datacenter_of(pod).as_ref()) {
        violations.push(Violation::DeletesOnlyCopy { object: names::claim(pod) });
    }
}
