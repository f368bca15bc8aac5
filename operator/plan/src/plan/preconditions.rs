//! When nothing may be touched at all, and which pods everything is waiting for.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{
    Finding, WaitingOn,
    facts::{Facts, shard_groups},
    owners::Owners,
};
use crate::{ValidStore, names};

/// Why a store's objects must be left alone, when they must.
pub(super) fn leave_alone(facts: &Facts<'_>) -> Option<WaitingOn> {
    let (store, observed) = (facts.store, facts.observed);
    if store.paused {
        return Some(WaitingOn::Paused);
    }
    if let Some(bootstrap) = &observed.status.bootstrap
        && bootstrap.store_id != store.id
    {
        return Some(WaitingOn::OtherStore { pod: bootstrap.pod.clone() });
    }
    if let Some(topology) = facts.topology
        && !store.is_mode_of(topology)
    {
        return Some(WaitingOn::OtherMode);
    }
    let children = &observed.children;
    let sets =
        children.stateful_sets.iter().map(|(name, set)| ("StatefulSet", name, &set.metadata));
    let services = children.services.iter().map(|(name, svc)| ("Service", name, &svc.metadata));
    let maps = children.config_maps.iter().map(|(name, map)| ("ConfigMap", name, &map.metadata));
    let accounts = children
        .service_accounts
        .iter()
        .map(|(name, account)| ("ServiceAccount", name, &account.metadata));
    sets.chain(services)
        .chain(maps)
        .chain(accounts)
        .find(|(_, _, metadata)| is_foreign(store, metadata))
        .map(|(kind, name, _)| WaitingOn::NameTaken { kind, name: name.clone() })
}

/// Controlled by something else. What nobody controls was not made by us but may be taken over.
fn is_foreign(store: &ValidStore, metadata: &ObjectMeta) -> bool {
    let owners = metadata.owner_references.iter().flatten();
    owners.filter(|owner| owner.controller == Some(true)).any(|owner| owner.uid != store.uid)
}

/// The pods that are asked for and do not serve yet, and those that are to end.
pub(super) fn pods_to_wait_for(facts: &Facts<'_>) -> Finding {
    let mut starting = BTreeSet::new();
    let mut silent = BTreeSet::new();
    let mut ending = BTreeSet::new();
    let mut waiting = vec![];
    for (name, pod) in &facts.pods {
        if pod.other_store {
            waiting.push(WaitingOn::OtherStore { pod: name.clone() });
        } else if !pod.desired {
            if pod.pod.is_some() {
                ending.insert(name.clone());
            }
        } else if pod.pod.is_none() || pod.is_not_running() || pod.is_ending() {
            starting.insert(name.clone());
        } else if pod.report.is_none() {
            silent.insert(name.clone());
        } else if !pod.serves() {
            starting.insert(name.clone());
        }
    }
    waiting.extend((!starting.is_empty()).then_some(WaitingOn::Pods { pods: starting }));
    waiting.extend((!silent.is_empty()).then_some(WaitingOn::Reports { pods: silent }));
    waiting.extend((!ending.is_empty()).then_some(WaitingOn::Ending { pods: ending }));
    for (_, state) in shard_groups(facts) {
        let group = || state.name.clone();
        let declared = facts.store.policy().filter(|_| state.leader.is_some());
        if declared.is_some_and(|policy| !state.keeps(policy.durability)) {
            waiting.push(WaitingOn::Durability { group: group() });
        }
        // A leader would know of a replica that is behind; without one, its node says it.
        let filling = state.owners.as_ref().map(Owners::filling).unwrap_or_default();
        if !filling.is_empty() {
            waiting.push(WaitingOn::CaughtUp { group: group(), pods: facts.pod_names(&filling) });
        }
    }
    for claim in claims_below_size(facts) {
        waiting.push(WaitingOn::Growth { claim });
    }
    Finding::Pass(waiting)
}

/// Claims whose volume is not as large as was asked for yet.
fn claims_below_size(facts: &Facts<'_>) -> Vec<String> {
    let size = facts.store.storage.size_bytes;
    let small = facts.observed.children.claims.iter().filter(|(name, claim)| {
        let wanted = names::pod_of_claim(name)
            .and_then(|pod| facts.pods.get(pod))
            .is_some_and(|pod| pod.desired);
        let capacity = claim.status.as_ref().and_then(|status| status.capacity.as_ref());
        let bytes = capacity
            .and_then(|all| all.get("storage"))
            .and_then(|quantity| crate::validate::quantity_bytes(&quantity.0));
        wanted && bytes.is_some_and(|bytes| bytes < size)
    });
    small.map(|(name, _)| name.clone()).collect()
}
