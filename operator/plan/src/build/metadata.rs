//! Names, labels and owners of children.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use quorate_api::labels;
use quorate_model::Datacenter;

use crate::ValidStore;

/// By which the pods of a store are found. Selectors are immutable, so this never grows.
pub(super) fn selector(store: &ValidStore) -> BTreeMap<String, String> {
    labelled([(labels::STORE, store.name.as_str())])
}

pub(super) fn datacenter_selector(
    store: &ValidStore,
    datacenter: &Datacenter,
) -> BTreeMap<String, String> {
    labelled([(labels::STORE, store.name.as_str()), (labels::DATACENTER, datacenter.as_str())])
}

/// The labels of every child.
pub(super) fn common_labels(store: &ValidStore) -> BTreeMap<String, String> {
    labelled([
        (labels::NAME, labels::PRODUCT),
        (labels::INSTANCE, store.name.as_str()),
        (labels::COMPONENT, labels::NODE),
        (labels::PART_OF, labels::PRODUCT),
        (labels::MANAGED_BY, labels::OPERATOR),
        (labels::STORE, store.name.as_str()),
    ])
}

pub(super) fn datacenter_labels(
    store: &ValidStore,
    datacenter: &Datacenter,
) -> BTreeMap<String, String> {
    let mut all = common_labels(store);
    all.insert(labels::DATACENTER.to_owned(), datacenter.as_str().to_owned());
    all
}

pub(super) fn labelled<'a>(
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Metadata of a child that goes with its store.
pub(super) fn child(
    store: &ValidStore,
    name: String,
    labels: BTreeMap<String, String>,
) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(store.namespace.clone()),
        labels: Some(labels),
        owner_references: Some(vec![OwnerReference {
            api_version: "quorate.dev/v1alpha1".to_owned(),
            kind: "ReplicatedStore".to_owned(),
            name: store.name.as_str().to_owned(),
            uid: store.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..ObjectMeta::default()
    }
}
