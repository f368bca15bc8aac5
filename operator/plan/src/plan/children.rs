//! What of the children is no longer wanted, and which claims should grow. None of it disturbs a running node.

use k8s_openapi::api::core::v1::Service;
use quorate_api::labels;

use super::{ClaimGrowth, Prune, facts::Facts};
use crate::{build::Desired, names, validate::quantity_bytes};

/// Objects that hold nothing and are not asked for: an unneeded budget, the empty StatefulSet of a removed datacenter and
/// its Services.
pub(super) fn prune(facts: &Facts<'_>, desired: &Desired) -> Vec<Prune> {
    let children = &facts.observed.children;
    let budget = names::disruption_budget(facts.store.name.as_str());
    let mut prune = vec![];
    if desired.disruption_budget.is_none()
        && let Some(found) = children.disruption_budgets.get(&budget)
        && found.metadata.deletion_timestamp.is_none()
        && let Some(uid) = found.metadata.uid.clone()
    {
        prune.push(Prune::DisruptionBudget { name: budget, uid });
    }
    for (name, set) in &children.stateful_sets {
        let wanted = desired.stateful_sets.iter().any(|d| d.metadata.name.as_ref() == Some(name));
        let datacenter = set.metadata.labels.as_ref().and_then(|all| all.get(labels::DATACENTER));
        let empty = set.spec.as_ref().and_then(|spec| spec.replicas) == Some(0)
            && !children.pods.values().any(|pod| {
                let label =
                    pod.metadata.labels.as_ref().and_then(|all| all.get(labels::DATACENTER));
                label == datacenter
            });
        if !wanted
            && empty
            && set.metadata.deletion_timestamp.is_none()
            && let Some(uid) = set.metadata.uid.clone()
        {
            prune.push(Prune::StatefulSet { name: name.clone(), uid });
        }
    }
    let datacenter_label = |service: &Service| {
        service.metadata.labels.as_ref().is_some_and(|all| all.contains_key(labels::DATACENTER))
    };
    for (name, service) in &children.services {
        let wanted = desired.services.iter().any(|d| d.metadata.name.as_ref() == Some(name));
        if !wanted
            && datacenter_label(service)
            && service.metadata.deletion_timestamp.is_none()
            && let Some(uid) = service.metadata.uid.clone()
        {
            prune.push(Prune::Service { name: name.clone(), uid });
        }
    }
    prune
}

/// Claims of wanted pods that ask for less than the spec.
pub(super) fn claim_growth(facts: &Facts<'_>) -> Vec<ClaimGrowth> {
    let storage = &facts.store.storage;
    let claims = facts.observed.children.claims.iter().filter_map(|(name, claim)| {
        let pod = names::pod_of_claim(name).and_then(|pod| facts.pods.get(pod))?;
        let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
        let bytes = quantity_bytes(&requests.get("storage")?.0)?;
        let uid = claim.metadata.uid.clone()?;
        let grow = pod.desired
            && claim.metadata.deletion_timestamp.is_none()
            && claim.status.as_ref()?.phase.as_deref() == Some("Bound")
            && bytes < storage.size_bytes;
        grow.then(|| ClaimGrowth { claim: name.clone(), uid, size: storage.size.clone() })
    });
    claims.collect()
}
