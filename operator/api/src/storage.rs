//! The volumes of a store: one claim per node.

#![expect(unreachable_pub, reason = "the schema derive repeats each struct inside a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens to the volumes of nodes and stores that are removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum ReclaimPolicy {
    /// Claims stay until somebody deletes them.
    #[default]
    Retain,
    /// A claim goes when its node has been removed and no replica is left on it, and with the store.
    Delete,
}

/// The volume that each node gets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.storageClass) == has(oldSelf.storageClass) && (!has(self.storageClass) || self.storageClass == oldSelf.storageClass)")
    .message("spec.storage.storageClass cannot change, because volumes keep the class they were made with: add a datacenter with the new class and remove the old one")
    .field_path(".storageClass"))]
pub struct StorageSpec {
    /// The size of each node's volume. It may grow (where the storage class allows expansion), never shrink.
    #[serde(default = "default_size")]
    #[schemars(length(min = 1, max = 20))]
    #[x_kube(validation = Rule::new("isQuantity(self) && quantity(self).compareTo(quantity('64Mi')) >= 0")
        .message("spec.storage.size must be a quantity of at least 64Mi, such as 10Gi"))]
    #[x_kube(validation = Rule::new("!isQuantity(self) || !isQuantity(oldSelf) || quantity(self).compareTo(quantity(oldSelf)) >= 0")
        .message("spec.storage.size cannot shrink, because volumes cannot: keep the size, or create a smaller store and copy the data"))]
    pub size: String,
    /// The storage class of the volumes. Without it: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class: Option<String>,
    /// What happens to the volumes of nodes that are removed, and of the store when it is deleted.
    #[serde(default)]
    pub reclaim_policy: ReclaimPolicy,
}

impl Default for StorageSpec {
    fn default() -> Self {
        Self { size: default_size(), storage_class: None, reclaim_policy: ReclaimPolicy::default() }
    }
}

fn default_size() -> String {
    "10Gi".to_owned()
}
