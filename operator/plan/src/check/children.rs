//! What is applied beside the action must disturb nobody.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use quorate_api::labels;
use quorate_model::{GroupId, Term, admin::Role};

use super::{Violation, evidence::Evidence};
use crate::{Plan, PodLabels, Prune};

pub(super) fn check(evidence: &Evidence<'_>, plan: &Plan, violations: &mut Vec<Violation>) {
    let existing = &evidence.observed.children.stateful_sets;
    for set in plan.children.iter().flat_map(|children| &children.stateful_sets) {
        let name = set.metadata.name.clone().unwrap_or_default();
        if existing.get(&name).is_some_and(|found| replicas(set) < replicas(found)) {
            violations.push(Violation::ShrinksSilently { name });
        }
    }
    for prune in &plan.prune {
        match prune {
            Prune::DisruptionBudget { .. } => {}
            Prune::Service { name, uid } => unserved(evidence, name, uid, violations),
            Prune::StatefulSet { name, uid } => pruned(evidence, existing, name, uid, violations),
        }
    }
    for change in &plan.pod_labels {
        labelled(evidence, change, violations);
    }
    for growth in &plan.claim_growth {
        let found = evidence.observed.children.claims.get(&growth.claim);
        if found.and_then(|claim| claim.metadata.uid.as_ref()) != Some(&growth.uid) {
            violations.push(Violation::Stale { pod: growth.claim.clone() });
        }
    }
}

fn replicas(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0)
}

fn pruned(
    evidence: &Evidence<'_>,
    existing: &BTreeMap<String, StatefulSet>,
    name: &str,
    uid: &str,
    violations: &mut Vec<Violation>,
) {
    let found = existing.get(name);
    let empty = found.is_some_and(|set| {
        let prefix = format!("{name}-");
        let pods = &evidence.observed.children.pods;
        set.metadata.uid.as_deref() == Some(uid)
            && replicas(set) == 0
            && !pods.keys().any(|pod| {
                pod.strip_prefix(&prefix).is_some_and(|ordinal| ordinal.parse::<u32>().is_ok())
            })
    });
    if !empty {
        violations.push(Violation::DeletesOnlyCopy { object: format!("StatefulSet {name}") });
    }
}

/// Only Services of one datacenter go, with it.
fn unserved(evidence: &Evidence<'_>, name: &str, uid: &str, violations: &mut Vec<Violation>) {
    let found = evidence.observed.children.services.get(name);
    let local = found.is_some_and(|service| {
        let labels = service.metadata.labels.as_ref();
        let datacenter = labels.and_then(|all| all.get(labels::DATACENTER));
        let declared = datacenter.is_none_or(|label| {
            evidence.store.datacenters.iter().any(|one| one.name.as_str() == label)
        });
        service.metadata.uid.as_deref() == Some(uid) && !declared
    });
    if !local {
        violations.push(Violation::DeletesOnlyCopy { object: format!("Service {name}") });
    }
}

fn labelled(evidence: &Evidence<'_>, change: &PodLabels, violations: &mut Vec<Violation>) {
    let pod = evidence.observed.children.pods.get(&change.pod);
    if pod.and_then(|pod| pod.metadata.uid.as_ref()) != Some(&change.uid) {
        violations.push(Violation::Stale { pod: change.pod.clone() });
    }
    let leader = change.labels.get(labels::ROLE) == Some(&Some(labels::ROLE_LEADER));
    if leader && !may_be_leader(evidence, &change.pod) {
        violations.push(Violation::LabelGoesBack { pod: change.pod.clone() });
    }
}

/// It leads a shard in a term that nothing newer contradicts, or was last known to.
fn may_be_leader(evidence: &Evidence<'_>, pod: &str) -> bool {
    evidence.groups().into_iter().any(|group| {
        if group.id == GroupId::Meta {
            return false;
        }
        let replicas = evidence.replicas(&group);
        let newest = replicas.iter().map(|(_, r)| r.term).max().unwrap_or(Term::ZERO);
        let before = evidence.observed.status.shards.iter().find(|status| group.is_of(status));
        let remembered = before.map_or(Term::ZERO, |s| Term(u64::try_from(s.term).unwrap_or(0)));
        let reports = evidence.reports.get(pod);
        let claims =
            reports.filter(|report| group.reaches(&report.datacenter)).is_some_and(|report| {
                report.replicas.iter().any(|replica| {
                    replica.group == group.id
                        && replica.role == Role::Leader
                        && replica.term >= newest
                        && replica.term >= remembered
                })
            });
        let newer_leader = replicas
            .iter()
            .any(|(_, replica)| replica.role == Role::Leader && replica.term > remembered);
        let known = before.and_then(|status| status.leader.as_deref()) == Some(pod);
        claims || (known && !newer_leader)
    })
}
