//! The names of a store's objects, and the ports of its nodes. Every other room takes them from here.

use quorate_model::Datacenter;

use crate::{ValidDatacenter, ValidStore};

/// Redis protocol for plain clients.
pub const PORT_PLAIN: i32 = 6379;
/// Redis Cluster protocol.
pub const PORT_CLUSTER: i32 = 6380;
/// Links between nodes.
pub const PORT_PEER: i32 = 7400;
/// Admin HTTP: probes, metrics and the operator's API.
pub const PORT_ADMIN: i32 = 7480;

/// The name of the node's container in its pod.
pub const CONTAINER: &str = "node";
/// The name of the claim template: claims are called `data-<pod>`.
pub const VOLUME: &str = "data";

#[must_use]
pub fn stateful_set(store: &ValidStore, datacenter: &Datacenter) -> String {
    format!("{}-{datacenter}", store.name)
}

#[must_use]
pub fn pod(store: &ValidStore, datacenter: &Datacenter, ordinal: i32) -> String {
    format!("{}-{datacenter}-{ordinal}", store.name)
}

/// Whether a pod of the datacenter could be called so, whatever the store is called and however many nodes it has.
pub(crate) fn may_be_pod_of(name: &str, datacenter: &ValidDatacenter) -> bool {
    name.rsplit_once('-').is_some_and(|(set, ordinal)| {
        let ends = format!("-{}", datacenter.name);
        set.ends_with(&ends) && ordinal.parse::<u16>().is_ok()
    })
}

/// The claim of a pod, as the StatefulSet controller names it.
#[must_use]
pub fn claim(pod: &str) -> String {
    format!("{VOLUME}-{pod}")
}

/// The pod of a claim, when the name is one of ours.
#[must_use]
pub fn pod_of_claim(claim: &str) -> Option<&str> {
    claim.strip_prefix(VOLUME)?.strip_prefix('-')
}

#[must_use]
pub fn service_read_write(store: &str) -> String {
    format!("{store}-rw")
}

#[must_use]
pub fn service_read_only(store: &str) -> String {
    format!("{store}-ro")
}

#[must_use]
pub fn service_read(store: &str) -> String {
    format!("{store}-r")
}

/// Those of one datacenter, where each has leaders of its own.
#[must_use]
pub fn services_in(store: &str, datacenter: &Datacenter) -> ServicesOf {
    let name = format!("{store}-{datacenter}");
    ServicesOf {
        read_write: service_read_write(&name),
        read_only: service_read_only(&name),
        read: service_read(&name),
    }
}

/// The names of the Services for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicesOf {
    pub read_write: String,
    pub read_only: String,
    pub read: String,
}

#[must_use]
pub fn service_headless(store: &str) -> String {
    format!("{store}-nodes")
}

/// The PodDisruptionBudget, ConfigMap and ServiceAccount are called as the store's nodes.
#[must_use]
pub fn config_map(store: &str) -> String {
    format!("{store}-nodes")
}

#[must_use]
pub fn service_account(store: &str) -> String {
    format!("{store}-nodes")
}

#[must_use]
pub fn disruption_budget(store: &str) -> String {
    format!("{store}-nodes")
}

/// The label selector of every object of a store, as text.
#[must_use]
pub fn selector(store: &str) -> String {
    format!("{}={store}", quorate_api::labels::STORE)
}
