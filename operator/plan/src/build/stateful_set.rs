//! One StatefulSet per datacenter: its controller brings pods back while the operator is down.
//!
//! Pods are replaced only when the operator deletes them (`OnDelete`), and started without waiting for one another
//! (`Parallel`): a node that waits for its peers must not keep them from starting.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{
            StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
            StatefulSetUpdateStrategy,
        },
        core::v1::{
            ConfigMap, PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
    },
};
use quorate_api::ReclaimPolicy;

use super::{metadata, pod_template};
use crate::{ValidDatacenter, ValidStore, names};

pub(super) fn build(
    store: &ValidStore,
    datacenter: &ValidDatacenter,
    config: &ConfigMap,
    existing: &BTreeMap<String, StatefulSet>,
) -> StatefulSet {
    let name = names::stateful_set(store, &datacenter.name);
    let before = existing.get(&name).and_then(|set| set.spec.as_ref());
    let replicas_before = before.and_then(|spec| spec.replicas).unwrap_or(0);
    let claims_before = before.and_then(|spec| spec.volume_claim_templates.clone());
    StatefulSet {
        metadata: metadata::child(
            store,
            name,
            metadata::datacenter_labels(store, &datacenter.name),
        ),
        spec: Some(StatefulSetSpec {
            replicas: Some(datacenter.nodes.max(replicas_before)),
            service_name: Some(names::service_headless(store.name.as_str())),
            selector: LabelSelector {
                match_labels: Some(metadata::datacenter_selector(store, &datacenter.name)),
                ..LabelSelector::default()
            },
            template: pod_template::build(store, datacenter, config),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            // Kubernetes refuses any change here. Claims that exist grow one by one instead.
            volume_claim_templates: Some(
                claims_before.unwrap_or_else(|| vec![claim_template(store, datacenter)]),
            ),
            persistent_volume_claim_retention_policy: Some(retention(store)),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

/// A claim never goes because its pod went: only the operator can tell whether it holds the only copy.
fn retention(store: &ValidStore) -> StatefulSetPersistentVolumeClaimRetentionPolicy {
    let when_deleted = match store.storage.reclaim_policy {
        ReclaimPolicy::Retain => "Retain",
        ReclaimPolicy::Delete => "Delete",
    };
    StatefulSetPersistentVolumeClaimRetentionPolicy {
        when_deleted: Some(when_deleted.to_owned()),
        when_scaled: Some("Retain".to_owned()),
    }
}

fn claim_template(store: &ValidStore, datacenter: &ValidDatacenter) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::VOLUME.to_owned()),
            labels: Some(metadata::datacenter_labels(store, &datacenter.name)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: datacenter.storage_class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([(
                    "storage".to_owned(),
                    Quantity(store.storage.size.clone()),
                )])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}
