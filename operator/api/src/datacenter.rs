//! One datacenter of a store: which machines belong to it and what differs there.

#![expect(unreachable_pub, reason = "the schema derive repeats each struct inside a function")]

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A datacenter: one StatefulSet, whose pods run on the machines that its node selector names.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.zones) || self.zones.all(z, self.zones.exists_one(y, y == z))")
    .message("a zone is listed twice in spec.datacenters[].zones: list each zone once")
    .field_path(".zones"))]
#[x_kube(validation = Rule::new("has(self.storageClass) == has(oldSelf.storageClass) && (!has(self.storageClass) || self.storageClass == oldSelf.storageClass)")
    .message("spec.datacenters[].storageClass cannot change, because volumes keep the class they were made with: add a datacenter with the new class and remove this one")
    .field_path(".storageClass"))]
pub struct DatacenterSpec {
    /// A DNS label. It becomes part of pod names and stays with the data: renaming is removing one and adding another.
    #[schemars(length(min = 1, max = 30), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Pins how many of spec.nodes run here. Datacenters without it share the rest evenly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub nodes: Option<i32>,
    /// The labels of the machines that make up this datacenter.
    /// Without it: `topology.kubernetes.io/region` equal to the name. Empty: any machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 8))]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// The zones (`topology.kubernetes.io/zone`) to use, over which pods are spread strictly.
    /// Without it: every zone of the datacenter, spread as far as possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 63)))]
    pub zones: Option<Vec<String>>,
    /// The storage class here, instead of spec.storage.storageClass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class: Option<String>,
}
