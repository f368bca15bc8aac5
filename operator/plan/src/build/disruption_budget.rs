//! One budget over the whole store: a second node may be evicted only when the first is back.
//!
//! Not one per datacenter: two drains in two datacenters at once would take a majority of three replicas.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::metadata;
use crate::{ValidStore, names};

pub(super) fn build(store: &ValidStore) -> Option<PodDisruptionBudget> {
    if !store.enable_pdb || store.nodes() < 2 || store.replicas() < 2 {
        return None;
    }
    let name = names::disruption_budget(store.name.as_str());
    Some(PodDisruptionBudget {
        metadata: metadata::child(store, name, metadata::common_labels(store)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(metadata::selector(store)),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    })
}
