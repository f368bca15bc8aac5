//! The children of a store as they should be, one kind per file. Pure functions of the valid store.
//!
//! Nothing of the operator's own version or configuration goes into them: an upgraded operator restarts nothing unless
//! it has to build another pod. What is immutable in Kubernetes is taken over from the object that exists.

#[cfg(test)]
mod build_test;
mod config_map;
mod disruption_budget;
mod hash;
mod metadata;
mod pod_template;
mod service;
mod service_account;
mod stateful_set;

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Service, ServiceAccount},
    policy::v1::PodDisruptionBudget,
};
use quorate_api::labels;

use crate::ValidStore;

/// The desired objects, in the order in which they are applied: what pods refer to comes before the pods.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    pub service_account: ServiceAccount,
    pub config_map: ConfigMap,
    pub services: Vec<Service>,
    /// None for a store of one node: it would only block drains.
    pub disruption_budget: Option<PodDisruptionBudget>,
    pub stateful_sets: Vec<StatefulSet>,
}

/// The children of `store`, given the StatefulSets that exist.
///
/// A StatefulSet never shrinks here: nodes are emptied first, and the scale-down is an action of its own.
#[must_use]
pub fn desired(store: &ValidStore, existing: &BTreeMap<String, StatefulSet>) -> Desired {
    let config_map = config_map::build(store);
    let stateful_sets = store
        .datacenters
        .iter()
        .map(|datacenter| stateful_set::build(store, datacenter, &config_map, existing))
        .collect();
    Desired {
        service_account: service_account::build(store),
        config_map,
        services: service::all(store),
        disruption_budget: disruption_budget::build(store),
        stateful_sets,
    }
}

/// The hash of the pod template of a StatefulSet, as its pods carry it.
#[must_use]
pub fn template_hash(stateful_set: &StatefulSet) -> Option<&str> {
    let template = &stateful_set.spec.as_ref()?.template;
    let annotations = template.metadata.as_ref()?.annotations.as_ref()?;
    annotations.get(labels::TEMPLATE_HASH).map(String::as_str)
}
