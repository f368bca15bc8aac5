//! A valid store for unit tests. Its names differ from the product's, so that a swapped label shows.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use quorate_api::ReplicatedStore;

use crate::{ValidStore, validate};

pub(crate) const UID: &str = "b350de51-0000-4000-8000-00000000002a";

pub(crate) fn time(second: i64) -> Time {
    Time(k8s_openapi::jiff::Timestamp::from_second(1_700_000_000 + second).unwrap())
}

/// A resource as the API server stores it, with `spec` as JSON (defaults filled in by serde, as in the schema).
pub(crate) fn resource(spec: serde_json::Value) -> ReplicatedStore {
    ReplicatedStore {
        metadata: ObjectMeta {
            name: Some("orders".to_owned()),
            namespace: Some("shop".to_owned()),
            uid: Some(UID.to_owned()),
            generation: Some(1),
            creation_timestamp: Some(time(0)),
            ..ObjectMeta::default()
        },
        spec: serde_json::from_value(spec).unwrap(),
        status: None,
    }
}

pub(crate) fn three_datacenters(nodes: i32) -> serde_json::Value {
    serde_json::json!({
        "nodes": nodes,
        "image": "node:1",
        "datacenters": [{"name": "dc-a"}, {"name": "dc-b"}, {"name": "dc-c"}],
    })
}

pub(crate) fn multi_leader(nodes: i32, block: serde_json::Value) -> serde_json::Value {
    let mut spec = three_datacenters(nodes);
    spec["mode"] = serde_json::json!("MultiLeader");
    spec["multiLeader"] = block;
    spec
}

pub(crate) fn valid(spec: serde_json::Value) -> ValidStore {
    validate(&resource(spec)).unwrap()
}
