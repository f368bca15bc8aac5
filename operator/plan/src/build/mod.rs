//! The children of a store as they should be, one kind per file. Pure functions of the valid store.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Service, ServiceAccount},
    policy::v1::PodDisruptionBudget,
};

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
