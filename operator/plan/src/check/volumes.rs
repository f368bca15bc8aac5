//! Volumes that are thrown away.

use quorate_api::ReclaimPolicy;
use quorate_model::NodeId;

use super::{Violation, evidence::Evidence, pods};
use crate::names;

pub(super) fn delete(
    evidence: &Evidence<'_>,
    claim: &str,
    uid: &str,
    violations: &mut Vec<Violation>,
) {
    let only_copy = || Violation::DeletesOnlyCopy { object: claim.to_owned() };
    stale_claim(evidence, claim, uid, violations);
    let Some(pod) = names::pod_of_claim(claim) else {
        violations.push(only_copy());
        return;
    };
    let kept = evidence.store.storage.reclaim_policy == ReclaimPolicy::Retain;
    let in_use = evidence.observed.children.pods.contains_key(pod);
    if kept || in_use || evidence.is_desired(pod) {
        violations.push(only_copy());
    }
    pods::unused(evidence, pod, violations);
}

pub(super) fn replace(
    evidence: &Evidence<'_>,
    node: NodeId,
    (claim, uid): (&str, &str),
    pod: &str,
    violations: &mut Vec<Violation>,
) {
    stale_claim(evidence, claim, uid, violations);
    let report = evidence.reports.get(pod);
    let corrupt = report.is_some_and(|report| report.node == node && report.corrupt.is_some());
    let consent = evidence.store.replace_node == Some(node)
        || (corrupt && evidence.store.storage.reclaim_policy == ReclaimPolicy::Delete);
    let broken = corrupt || report.is_none();
    if !consent || !broken || !evidence.member_named(pod).any(|member| member == node) {
        violations.push(Violation::DeletesOnlyCopy { object: claim.to_owned() });
    }
    for group in evidence.groups_reaching(evidence.datacenter_of(pod).as_ref()) {
        let safe = match evidence.group(&group) {
            Some(state) => !state.voters.contains(&node) || state.survives_without(node),
            None => false,
        };
        if !safe {
            violations.push(Violation::LosesQuorum { group });
        }
    }
}

fn stale_claim(evidence: &Evidence<'_>, claim: &str, uid: &str, violations: &mut Vec<Violation>) {
    let found = evidence.observed.children.claims.get(claim);
    if found.and_then(|claim| claim.metadata.uid.as_deref()) != Some(uid) {
        violations.push(Violation::Stale { pod: claim.to_owned() });
    }
}
