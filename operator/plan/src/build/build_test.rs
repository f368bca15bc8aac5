//! What Kubernetes gets: each test states what would hurt if it changed.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::{Value, json};

use super::{Desired, desired, template_hash};
use crate::fixtures::{UID, three_datacenters, valid};

fn built(spec: Value) -> Desired {
    desired(&valid(spec), &BTreeMap::new())
}

fn with(field: &str, value: Value) -> Value {
    let mut spec = three_datacenters(3);
    spec[field] = value;
    spec
}

fn existing(desired: &Desired) -> BTreeMap<String, StatefulSet> {
    let named = |set: &StatefulSet| (set.metadata.name.clone().unwrap(), set.clone());
    desired.stateful_sets.iter().map(named).collect()
}

#[test]
fn one_stateful_set_per_datacenter_with_its_share_of_nodes() {
    let children = built(three_datacenters(5));
    let sets: Vec<_> = children
        .stateful_sets
        .iter()
        .map(|set| (set.metadata.name.as_deref().unwrap(), set.spec.as_ref().unwrap().replicas))
        .collect();
    assert_eq!(
        sets,
        [("orders-dc-a", Some(2)), ("orders-dc-b", Some(2)), ("orders-dc-c", Some(1))]
    );
}

#[test]
fn every_child_is_owned_and_labelled() {
    let children =
        serde_json::to_value(desired(&valid(three_datacenters(3)), &BTreeMap::new()).stateful_sets)
            .unwrap();
    for child in children.as_array().unwrap() {
        let metadata = &child["metadata"];
        assert_eq!(metadata["ownerReferences"][0]["uid"], UID);
        assert_eq!(metadata["ownerReferences"][0]["controller"], true);
        assert_eq!(metadata["labels"]["quorate.dev/store"], "orders");
        assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], "orders");
        assert_eq!(metadata["namespace"], "shop");
    }
}

#[test]
fn a_pod_keeps_the_restricted_standard() {
    let children = built(three_datacenters(3));
    let set = serde_json::to_value(&children.stateful_sets[1]).unwrap();
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], 65_532);
    assert_eq!(pod["securityContext"]["fsGroup"], 65_532);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["nodeSelector"], json!({"topology.kubernetes.io/region": "dc-b"}));
    assert_eq!(pod["terminationGracePeriodSeconds"], 30);
    assert_eq!(set["spec"]["podManagementPolicy"], "Parallel");
    assert_eq!(set["spec"]["updateStrategy"], json!({"type": "OnDelete"}));
}

#[test]
fn named_zones_are_required_and_spread_strictly() {
    let children = built(with(
        "datacenters",
        json!([{"name": "dc-a", "zones": ["z1", "z2"], "nodeSelector": {}}]),
    ));
    let set = serde_json::to_value(&children.stateful_sets[0]).unwrap();
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["nodeSelector"], Value::Null);
    assert_eq!(pod["topologySpreadConstraints"][0]["whenUnsatisfiable"], "DoNotSchedule");
    assert_eq!(pod["topologySpreadConstraints"][1]["whenUnsatisfiable"], "ScheduleAnyway");
    let terms = &pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(terms["nodeSelectorTerms"][0]["matchExpressions"][0]["values"], json!(["z1", "z2"]));
}

/// This hash is in every running store: when it changes, every store restarts on an upgrade of the operator.
/// Change it only together with a pod that has to be different.
#[test]
fn the_template_hash_is_pinned() {
    let children = built(three_datacenters(3));
    assert_eq!(template_hash(&children.stateful_sets[0]), Some("61670b6ed4292ea9"));
}

#[test]
fn only_what_needs_a_restart_changes_the_template_hash() {
    let hash =
        |spec: Value| template_hash(&built(spec).stateful_sets[0]).map(str::to_owned).unwrap();
    let before = hash(three_datacenters(3));
    for same in [
        three_datacenters(6),
        with("shards", json!(7)),
        with("storage", json!({"size": "20Gi", "reclaimPolicy": "Delete"})),
        with("enablePDB", json!(false)),
    ] {
        assert_eq!(hash(same), before);
    }
    for different in [
        with("image", json!("node:2")),
        with("logLevel", json!("debug")),
        with("resources", json!({"requests": {"cpu": 1}})),
        with("pod", json!({"labels": {"team": "a"}})),
    ] {
        assert_ne!(hash(different), before);
    }
}

#[test]
fn a_stateful_set_never_shrinks_here_and_keeps_its_claim_template() {
    let before = built(with("storage", json!({"size": "1Gi"})));
    let mut smaller = three_datacenters(3);
    smaller["storage"] = json!({"size": "2Gi"});
    let mut sets = existing(&before);
    sets.get_mut("orders-dc-a").unwrap().spec.as_mut().unwrap().replicas = Some(4);
    let after = desired(&valid(smaller), &sets);
    let spec = after.stateful_sets[0].spec.as_ref().unwrap();
    assert_eq!(spec.replicas, Some(4));
    assert_eq!(
        spec.volume_claim_templates,
        before.stateful_sets[0].spec.as_ref().unwrap().volume_claim_templates
    );
}

#[test]
fn services_select_leaders_followers_and_all() {
    let children = built(three_datacenters(3));
    let selectors: Vec<_> = children
        .services
        .iter()
        .map(|service| {
            let spec = service.spec.as_ref().unwrap();
            let extra =
                spec.selector.as_ref().unwrap().iter().filter(|(k, _)| *k != "quorate.dev/store");
            (
                service.metadata.name.as_deref().unwrap(),
                extra.map(|(k, v)| format!("{k}={v}")).collect::<String>(),
                spec.publish_not_ready_addresses,
            )
        })
        .collect();
    assert_eq!(
        selectors,
        [
            ("orders-nodes", String::new(), Some(true)),
            ("orders-rw", "quorate.dev/role=leader".to_owned(), None),
            ("orders-ro", "quorate.dev/read-replica=true".to_owned(), None),
            ("orders-r", String::new(), None),
        ]
    );
}

#[test]
fn services_of_a_store_without_leaders_select_every_node() {
    for service in built(with("mode", json!("Leaderless"))).services {
        let selector = service.spec.unwrap().selector.unwrap();
        assert!(!selector.contains_key("quorate.dev/role"), "{selector:?}");
        assert!(!selector.contains_key("quorate.dev/read-replica"), "{selector:?}");
    }
}

#[test]
fn every_datacenter_with_leaders_has_services_of_its_own() {
    let services = built(crate::fixtures::multi_leader(9, json!({}))).services;
    assert_eq!(services.len(), 4 + 3 * 3);
    let local = services.iter().find(|s| s.metadata.name.as_deref() == Some("orders-dc-b-rw"));
    let local = local.unwrap();
    let selector = local.spec.as_ref().unwrap().selector.as_ref().unwrap();
    assert_eq!(selector["quorate.dev/role"], "leader");
    let (key, here) = (quorate_api::labels::DATACENTER, &"dc-b".to_owned());
    assert_eq!(selector.get(key), Some(here));
    assert_eq!(local.metadata.labels.as_ref().unwrap().get(key), Some(here));
}

#[test]
fn a_store_of_one_node_has_no_disruption_budget() {
    let one = json!({"nodes": 1, "singleLeader": {"replicas": 1}, "datacenters": [{"name": "a"}]});
    assert_eq!(built(one).disruption_budget, None);
    assert!(built(three_datacenters(3)).disruption_budget.is_some());
    assert_eq!(built(with("enablePDB", json!(false))).disruption_budget, None);
}
