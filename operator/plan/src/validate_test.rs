//! What the operator itself refuses, whatever the schema let through.

use quorate_model::LeaderlessPolicy;
use serde_json::{Value, json};

use crate::{
    SpecError,
    fixtures::{resource, three_datacenters, valid},
    validate,
    validate::quantity_bytes,
};

fn errors(change: impl FnOnce(&mut Value)) -> Vec<SpecError> {
    let mut spec = three_datacenters(3);
    change(&mut spec);
    validate(&resource(spec)).err().unwrap_or_default()
}

#[test]
fn defaults_are_resolved() {
    let store = valid(three_datacenters(5));
    let shares: Vec<i32> = store.datacenters.iter().map(|datacenter| datacenter.nodes).collect();
    assert_eq!(shares, [2, 2, 1]);
    assert_eq!((store.replicas(), store.shards, store.nodes()), (3, 3, 5));
    let selector = &store.datacenters[0].node_selector;
    assert_eq!(selector["topology.kubernetes.io/region"], "dc-a");
}

#[test]
fn pinned_datacenters_keep_their_share() {
    let mut spec = three_datacenters(7);
    spec["datacenters"][1]["nodes"] = json!(4);
    let shares: Vec<i32> = valid(spec).datacenters.iter().map(|d| d.nodes).collect();
    assert_eq!(shares, [2, 4, 1]);
}

#[test]
fn every_error_is_told_and_names_its_field() {
    let all = errors(|spec| {
        spec["datacenters"][1]["name"] = json!("dc-a");
        spec["datacenters"][2]["name"] = json!("DC");
        spec["singleLeader"] = json!({"replicas": 5, "preferredLeader": {
            "datacenter": "x", "pod": "orders-0", "shards": [{"shard": 3, "pod": "orders-dc-a-0"}],
        }});
        spec["shards"] = json!(0);
        spec["storage"] = json!({"size": "1"});
    });
    let text: Vec<String> = all.iter().map(ToString::to_string).collect();
    for field in [
        "two of spec.datacenters",
        "spec.datacenters[2].name",
        "spec.nodes is 3, below the 5",
        "preferredLeader names datacenter",
        "preferredLeader names pod",
        "preferredLeader.shards names shard 3",
        "spec.shards",
        "spec.storage.size",
    ] {
        assert!(text.iter().any(|sentence| sentence.contains(field)), "{field}: {text:?}");
    }
}

#[test]
fn pins_that_do_not_fit_are_refused() {
    let all = errors(|spec| spec["datacenters"][0]["nodes"] = json!(2));
    assert_eq!(all, [SpecError::NodesDoNotFit { nodes: 3, needed: 4 }]);
    assert!(errors(|spec| spec["datacenters"] = json!([])).contains(&SpecError::NoDatacenter));
}

#[test]
fn a_preferred_pod_that_a_smaller_store_does_not_have_is_no_error() {
    let mut spec = three_datacenters(3);
    spec["singleLeader"] = json!({"preferredLeader": {"pod": "orders-dc-a-7"}});
    assert_eq!(
        valid(spec).single_leader().unwrap().preferred.all.pod.as_deref(),
        Some("orders-dc-a-7")
    );
}

#[test]
fn a_leaderless_store_gets_its_defaults() {
    let mut spec = three_datacenters(3);
    spec["mode"] = json!("Leaderless");
    let store = valid(spec);
    let leaderless = store.leaderless().unwrap();
    assert_eq!((leaderless.replicas, &leaderless.policy), (3, &LeaderlessPolicy::default()));
    assert_eq!(store.policy(), None);
}

#[test]
fn what_the_schema_should_have_refused_of_a_leaderless_store_is_refused() {
    let with = |block: Value| {
        errors(|spec| {
            spec["mode"] = json!("Leaderless");
            spec["leaderless"] = block;
        })
    };
    for (block, sentence) in [
        (json!({"replicas": 0}), "spec.leaderless.replicas is 0"),
        (json!({"replicas": 5}), "spec.nodes is 3, below the 5 replicas of spec.leaderless"),
        (json!({"read": "SOME"}), "spec.leaderless.read \"SOME\" is no level"),
        (json!({"write": 4}), "spec.leaderless.write is 4, above the 3 replicas"),
        (json!({"write": 1, "read": 2}), "spec.leaderless.write ONE and read 2 need not meet"),
    ] {
        let text: Vec<String> = with(block).iter().map(ToString::to_string).collect();
        assert!(text.iter().any(|told| told.contains(sentence)), "{sentence}: {text:?}");
    }
    assert_eq!(with(json!({"write": 1, "allowWeakQuorums": true})), []);
    let foreign = errors(|spec| spec["leaderless"] = json!({}));
    assert!(matches!(foreign[..], [SpecError::OtherMode { .. }]));
}

#[test]
fn a_changed_shard_count_is_refused_against_the_status() {
    let mut changed = resource(three_datacenters(3));
    let mut world = crate::simulation::World::settled(3, 3);
    changed.status = Some(world.observe().status);
    changed.spec.shards = 4;
    let errors = validate(&changed).err().unwrap();
    assert_eq!(errors, [SpecError::ShardsChanged { shards: 4, actual: 3 }]);
}

#[test]
fn a_replace_annotation_must_be_an_identity() {
    let mut annotated = resource(three_datacenters(3));
    let annotations = annotated.metadata.annotations.get_or_insert_default();
    annotations.insert(quorate_api::labels::REPLACE_NODE.to_owned(), "orders-0".to_owned());
    let errors = validate(&annotated).err().unwrap();
    assert!(matches!(errors[..], [SpecError::ReplaceNode { .. }]));
}

#[test]
fn quantities_are_read_as_kubernetes_reads_them() {
    for (text, bytes) in [
        ("0", Some(0)),
        ("64Mi", Some(64 << 20)),
        ("1.5Gi", Some(3 << 29)),
        ("1G", Some(1_000_000_000)),
        ("1e3", Some(1000)),
        ("1500m", Some(2)),
        ("", None),
        (".", None),
        ("-1", None),
        ("1.2.3", None),
        ("1Zi", None),
        ("1e99", None),
        ("99999999999999999999999999", None),
    ] {
        assert_eq!(quantity_bytes(text), bytes, "{text}");
    }
}
