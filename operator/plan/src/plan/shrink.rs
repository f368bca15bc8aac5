//! Fewer nodes: a StatefulSet loses its last pod, and claims go, only when nobody counts on what they hold.

use quorate_api::{ReclaimPolicy, labels};
use quorate_model::{Datacenter, Name};

use super::{Action, Finding, WaitingOn, facts::Facts};
use crate::{GroupAt, names};

/// Takes the highest pod from a StatefulSet that has more than are asked for.
pub(super) fn stateful_sets(facts: &Facts<'_>) -> Finding {
    let mut waiting = vec![];
    for (name, set) in &facts.observed.children.stateful_sets {
        let label = set.metadata.labels.as_ref().and_then(|all| all.get(labels::DATACENTER));
        let Some(datacenter) = label.and_then(|label| Name::new(label.clone()).ok()) else {
            continue;
        };
        let from = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        let wanted = facts.store.datacenter(&datacenter).map_or(0, |d| d.nodes);
        if from <= wanted || set.metadata.deletion_timestamp.is_some() {
            continue;
        }
        match may_end(facts, &datacenter, from - 1) {
            Ok(()) => {
                let metadata = &set.metadata;
                if let (Some(uid), Some(resource_version)) =
                    (metadata.uid.clone(), metadata.resource_version.clone())
                {
                    let stateful_set = name.clone();
                    let to = from - 1;
                    return Finding::Act(Action::ScaleDown {
                        stateful_set,
                        uid,
                        resource_version,
                        from,
                        to,
                    });
                }
            }
            Err(reason) => waiting.push(reason),
        }
    }
    Finding::Pass(waiting)
}

fn may_end(facts: &Facts<'_>, datacenter: &Datacenter, ordinal: i32) -> Result<(), WaitingOn> {
    let name = names::pod(facts.store, datacenter, ordinal);
    is_nobodys(facts, datacenter, &name)?;
    let Some(report) = facts.pods.get(&name).and_then(|pod| pod.report) else { return Ok(()) };
    match facts.may_host(report.node) {
        Some(group) => Err(WaitingOn::Group {
            group,
            joining: std::collections::BTreeSet::new(),
            leaving: [name].into(),
        }),
        None => Ok(()),
    }
}

/// No member goes by the pod's name and every group counts on members only: so nobody counts on the pod, whatever
/// identity its volume holds.
fn is_nobodys(facts: &Facts<'_>, datacenter: &Datacenter, pod: &str) -> Result<(), WaitingOn> {
    let Some(topology) = facts.topology else {
        return Err(WaitingOn::Leader { group: GroupAt::META });
    };
    let leaving = || [pod.to_owned()].into();
    if topology.members.values().any(|member| member.name == pod) {
        let joining = std::collections::BTreeSet::new();
        return Err(WaitingOn::Group { group: GroupAt::META, joining, leaving: leaving() });
    }
    if !facts.configurations_are_known(datacenter) {
        let unknown = facts.groups_reaching(datacenter).find(|group| !group.is_known());
        return Err(match unknown {
            Some(group) => WaitingOn::Leader { group: group.name.clone() },
            None => {
                let silent = facts.pods.iter().filter(|(_, pod)| pod.report.is_none());
                WaitingOn::Reports { pods: silent.map(|(name, _)| name.clone()).collect() }
            }
        });
    }
    if !facts.only_members_are_counted_on(datacenter) {
        let joining = std::collections::BTreeSet::new();
        return Err(WaitingOn::Group { group: GroupAt::META, joining, leaving: leaving() });
    }
    Ok(())
}

/// Deletes the claims of removed nodes, under reclaim policy Delete and with positive proof.
pub(super) fn claims(facts: &Facts<'_>) -> Finding {
    match facts.store.storage.reclaim_policy {
        ReclaimPolicy::Retain => return Finding::Pass(vec![]),
        ReclaimPolicy::Delete => {}
    }
    let children = &facts.observed.children;
    for (claim, found) in &children.claims {
        let Some(pod) = names::pod_of_claim(claim) else { continue };
        let label = found.metadata.labels.as_ref().and_then(|all| all.get(labels::DATACENTER));
        let Some(datacenter) = label.and_then(|label| Name::new(label.clone()).ok()) else {
            continue;
        };
        let set = names::stateful_set(facts.store, &datacenter);
        let found_set = children.stateful_sets.get(&set).and_then(|set| set.spec.as_ref());
        let replicas = found_set.and_then(|spec| spec.replicas).unwrap_or(0);
        let ordinal = pod.strip_prefix(set.as_str());
        let ordinal = ordinal.and_then(|rest| rest.strip_prefix('-')?.parse::<i32>().ok());
        let unused = ordinal.is_some_and(|ordinal| ordinal >= replicas)
            && !children.pods.contains_key(pod)
            && facts.pods.get(pod).is_none_or(|pod| !pod.desired)
            && found.metadata.deletion_timestamp.is_none();
        if unused
            && is_nobodys(facts, &datacenter, pod).is_ok()
            && let Some(uid) = found.metadata.uid.clone()
        {
            return Finding::Act(Action::DeleteClaim { claim: claim.clone(), uid });
        }
    }
    Finding::Pass(vec![])
}
