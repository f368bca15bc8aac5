//! The schema that is installed: structural, and with rules that refuse what cannot work and nothing else.

use kube::core::cel::Validator;
use serde_json::{Value, json};

use crate::{ReplicatedStore, crd};

fn schema() -> Value {
    let crd = serde_json::to_value(crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// A resource as the API server would hand it to the rules: with defaults.
pub(crate) fn store(change: impl FnOnce(&mut Value)) -> Value {
    let mut store = json!({
        "apiVersion": "quorate.dev/v1alpha1",
        "kind": "ReplicatedStore",
        "metadata": {"name": "orders"},
        "spec": {"datacenters": [{"name": "dc-a"}, {"name": "dc-b"}, {"name": "dc-c"}]},
    });
    change(&mut store);
    let parsed: ReplicatedStore = serde_json::from_value(store).unwrap();
    serde_json::to_value(parsed).unwrap()
}

/// What the rules say of creating `new`, or of changing `old` to `new`.
fn errors(new: &Value, old: Option<&Value>) -> Vec<String> {
    match Validator::new().validate(&schema(), new, old) {
        Ok(()) => vec![],
        Err(errors) => errors.into_iter().map(|error| error.to_string()).collect(),
    }
}

pub(crate) fn refused(new: &Value, old: Option<&Value>, fragment: &str) {
    let errors = errors(new, old);
    assert!(errors.iter().any(|error| error.contains(fragment)), "{fragment}: {errors:?}");
}

pub(crate) fn accepted(new: &Value, old: Option<&Value>) {
    assert_eq!(errors(new, old), Vec::<String>::new());
}

#[test]
fn the_smallest_resource_is_accepted_and_gets_its_defaults() {
    let smallest = store(|_| {});
    accepted(&smallest, None);
    accepted(&smallest, Some(&smallest));
    let spec = &smallest["spec"];
    assert_eq!(spec["mode"], "SingleLeader");
    assert_eq!(spec["nodes"], 3);
    assert_eq!(spec["shards"], 3);
    assert_eq!(spec["storage"]["size"], "10Gi");
    assert_eq!(spec["storage"]["reclaimPolicy"], "Retain");
    assert_eq!(spec["logLevel"], "info");
    assert_eq!(spec["enablePDB"], true);
}

#[test]
fn two_datacenters_of_one_name_are_refused() {
    let bad = store(|s| s["spec"]["datacenters"][2]["name"] = json!("dc-a"));
    refused(&bad, None, "two of spec.datacenters have one name");
}

#[test]
fn fewer_nodes_than_replicas_are_refused() {
    refused(
        &store(|s| {
            s["spec"]["nodes"] = json!(1);
            s["spec"]["datacenters"] = json!([{"name": "dc-a"}]);
        }),
        None,
        "spec.nodes is below spec.singleLeader.replicas",
    );
    refused(
        &store(|s| s["spec"]["singleLeader"] = json!({"replicas": 5})),
        None,
        "spec.nodes is below spec.singleLeader.replicas",
    );
    accepted(
        &store(|s| {
            s["spec"]["nodes"] = json!(1);
            s["spec"]["singleLeader"] = json!({"replicas": 1});
            s["spec"]["datacenters"] = json!([{"name": "dc-a"}]);
        }),
        None,
    );
}

#[test]
fn fewer_nodes_than_datacenters_are_refused() {
    let bad = store(|s| {
        s["spec"]["nodes"] = json!(2);
        s["spec"]["singleLeader"] = json!({"replicas": 1});
    });
    refused(&bad, None, "spec.nodes is below the number of spec.datacenters");
}

#[test]
fn pins_must_fit_the_number_of_nodes() {
    let pinned = |nodes: i64, pins: [Option<i64>; 3]| {
        store(|s| {
            s["spec"]["nodes"] = json!(nodes);
            for (index, pin) in pins.into_iter().enumerate() {
                if let Some(pin) = pin {
                    s["spec"]["datacenters"][index]["nodes"] = json!(pin);
                }
            }
        })
    };
    accepted(&pinned(5, [Some(2), None, None]), None);
    accepted(&pinned(5, [Some(2), Some(2), Some(1)]), None);
    refused(&pinned(3, [Some(2), None, None]), None, "are more than spec.nodes");
    refused(&pinned(6, [Some(2), Some(2), Some(1)]), None, "spec.nodes is not the sum");
}

#[test]
fn an_even_number_of_replicas_is_refused() {
    let bad = store(|s| {
        s["spec"]["nodes"] = json!(4);
        s["spec"]["singleLeader"] = json!({"replicas": 4});
    });
    refused(&bad, None, "spec.singleLeader.replicas must be odd");
}

fn single(block: &Value) -> Value {
    store(|s| s["spec"]["singleLeader"] = block.clone())
}

#[test]
fn the_preferred_leader_must_be_possible() {
    let with = |preferred: Value| single(&json!({"preferredLeader": preferred}));
    accepted(&with(json!({"datacenter": "dc-b", "pod": "orders-dc-b-0"})), None);
    accepted(&with(json!({"shards": [{"shard": 2, "pod": "orders-dc-a-0"}]})), None);
    let elsewhere = "spec.singleLeader.preferredLeader.datacenter is not one of";
    refused(&with(json!({"datacenter": "dc-x"})), None, elsewhere);
    let unknown = "names a shard that is not below spec.shards";
    refused(&with(json!({"shards": [{"shard": 3, "pod": "orders-dc-a-0"}]})), None, unknown);
    let empty = "says neither datacenter nor pod";
    refused(&with(json!({"shards": [{"shard": 0}]})), None, empty);
}

#[test]
fn every_durability_is_accepted_and_can_be_changed_to_any_other() {
    let all = ["Async", "SemiSync", "Sync", "Quorum"].map(|d| single(&json!({"durability": d})));
    for old in &all {
        for new in &all {
            accepted(new, Some(old));
        }
    }
}

#[test]
fn an_in_sync_set_belongs_to_the_durabilities_that_have_one() {
    let with = |durability: &str, in_sync: Value| {
        single(&json!({"durability": durability, "inSync": in_sync}))
    };
    accepted(
        &with("SemiSync", json!({"count": 2, "onLoss": "Shrink", "slowAfter": "500ms"})),
        None,
    );
    accepted(&with("Sync", json!({"onLoss": "Shrink", "slowAfter": "1m30s"})), None);
    for durability in ["Async", "Quorum"] {
        let bad = with(durability, json!({"onLoss": "Block"}));
        refused(&bad, None, "belongs to durability SemiSync and Sync");
    }
    refused(
        &with("SemiSync", json!({"count": 3})),
        None,
        "is not below spec.singleLeader.replicas",
    );
    let alone = single(&json!({"durability": "SemiSync", "replicas": 1}));
    refused(&alone, None, "is not below spec.singleLeader.replicas");
    refused(&with("Sync", json!({"count": 1})), None, "Sync takes every replica");
    refused(&with("Sync", json!({"onLoss": "Replace"})), None, "has nobody to take");
    for slow in ["99ms", "61m"] {
        refused(&with("SemiSync", json!({"slowAfter": slow})), None, "between 100ms and 1h");
    }
}

#[test]
fn session_defaults_name_what_their_method_needs() {
    let with = |sessions: Value| single(&json!({"sessions": sessions}));
    accepted(&with(json!({})), None);
    accepted(
        &with(json!({
            "readFrom": "Replica", "maxStaleness": "5s", "replicaWait": "50ms",
            "readYourWrites": {"method": "Owner", "ownerKeys": ["profile:*"]},
        })),
        None,
    );
    let keys = "ownerKeys goes with method Owner";
    refused(&with(json!({"readYourWrites": {"method": "Owner"}})), None, keys);
    refused(&with(json!({"readYourWrites": {"ownerKeys": ["a"]}})), None, keys);
    let window = json!({"readYourWrites": {"method": "Position", "window": "60s"}});
    refused(&with(window), None, "window belongs to method Window");
    refused(&with(json!({"replicaWait": "11s"})), None, "at most 10s");
}

#[test]
fn a_zone_listed_twice_is_refused() {
    let with = |zones: Value| store(|s| s["spec"]["datacenters"][0]["zones"] = zones);
    accepted(&with(json!(["z1", "z2"])), None);
    refused(&with(json!(["z1", "z2", "z1"])), None, "a zone is listed twice");
}

#[test]
fn storage_grows_and_never_shrinks() {
    let sized = |size: &str| store(|s| s["spec"]["storage"] = json!({"size": size}));
    accepted(&sized("20Gi"), Some(&sized("10Gi")));
    accepted(&sized("1024Mi"), Some(&sized("1Gi")));
    refused(&sized("9Gi"), Some(&sized("10Gi")), "spec.storage.size cannot shrink");
    refused(&sized("lots"), None, "spec.storage.size must be a quantity");
    refused(&sized("1Mi"), None, "spec.storage.size must be a quantity");
}

#[test]
fn storage_classes_cannot_change() {
    let class = |class: Value| store(|s| s["spec"]["storage"] = class);
    let fast = class(json!({"storageClass": "fast"}));
    accepted(&fast, Some(&fast));
    refused(&class(json!({})), Some(&fast), "spec.storage.storageClass cannot change");
    refused(&fast, Some(&class(json!({}))), "spec.storage.storageClass cannot change");
    let slow = class(json!({"storageClass": "slow"}));
    refused(&slow, Some(&fast), "spec.storage.storageClass cannot change");
    let datacenter = |c: &str| store(|s| s["spec"]["datacenters"][0]["storageClass"] = json!(c));
    accepted(&datacenter("a"), Some(&datacenter("a")));
    refused(
        &datacenter("b"),
        Some(&datacenter("a")),
        "spec.datacenters[].storageClass cannot change",
    );
}

#[test]
fn shards_cannot_change() {
    let shards = |shards: i64| store(|s| s["spec"]["shards"] = json!(shards));
    accepted(&shards(4), Some(&shards(4)));
    refused(&shards(4), Some(&shards(3)), "spec.shards cannot change");
}

#[test]
fn the_operators_labels_cannot_be_set_on_pods() {
    let pod = |pod: Value| store(|s| s["spec"]["pod"] = pod);
    accepted(&pod(json!({"labels": {"team": "a"}, "annotations": {"note": "b"}})), None);
    refused(
        &pod(json!({"labels": {"quorate.dev/role": "leader"}})),
        None,
        "spec.pod.labels may not",
    );
    refused(
        &pod(json!({"annotations": {"quorate.dev/x": "y"}})),
        None,
        "spec.pod.annotations may not",
    );
}

#[test]
fn names_that_cannot_become_services_and_pods_are_refused() {
    let named = |name: &str| store(|s| s["metadata"]["name"] = json!(name));
    refused(&named("1st"), None, "metadata.name must be a DNS label");
    refused(&named("a.b"), None, "metadata.name must be a DNS label");
    refused(&named(&"a".repeat(47)), None, "together over 50 characters");
    accepted(&named(&"a".repeat(46)), None);
}

#[test]
fn modes_without_an_implementation_are_not_values() {
    let mode = &schema()["properties"]["spec"]["properties"]["mode"];
    assert_eq!(mode["enum"], json!(["SingleLeader", "Leaderless", "MultiLeader"]));
    assert_eq!(mode["default"], "SingleLeader");
    let transition = &mode["x-kubernetes-validations"][0];
    assert_eq!(transition["rule"], "self == oldSelf");
}

#[test]
fn quantities_may_be_numbers() {
    let numbers =
        store(|s| s["spec"]["resources"] = json!({"requests": {"cpu": 1, "memory": "1Gi"}}));
    assert_eq!(numbers["spec"]["resources"]["requests"], json!({"cpu": "1", "memory": "1Gi"}));
}

#[test]
fn the_schema_is_structural_and_bounded() {
    let mut found = vec![];
    walk("", &schema(), &mut found);
    assert_eq!(found, Vec::<String>::new());
}

/// What the API server would refuse, warn of, or find too expensive to check.
fn walk(path: &str, schema: &Value, found: &mut Vec<String>) {
    let Some(object) = schema.as_object() else { return };
    let int_or_string = object.contains_key("x-kubernetes-int-or-string");
    if !object.contains_key("type") && !int_or_string {
        found.push(format!("{path} has no type"));
    }
    if object.contains_key("nullable") {
        found.push(format!("{path} is nullable"));
    }
    if ["oneOf", "allOf", "not"].iter().any(|key| object.contains_key(*key)) {
        found.push(format!("{path} depends on values"));
    }
    if object.contains_key("anyOf") && !int_or_string {
        found.push(format!("{path} has alternatives"));
    }
    if let Some(format) = object.get("format").and_then(Value::as_str)
        && !["int32", "int64", "date-time"].contains(&format)
    {
        found.push(format!("{path} has format {format}"));
    }
    // Types of Kubernetes itself come without bounds; no rule looks into them.
    let foreign = path.contains(".conditions") || path.contains(".tolerations");
    let bounded = match object.get("type").and_then(Value::as_str) {
        Some("string") => {
            ["maxLength", "enum"].iter().any(|key| object.contains_key(*key))
                || object.get("format") == Some(&json!("date-time"))
        }
        Some("array") => object.contains_key("maxItems"),
        Some("object") => {
            !object.contains_key("additionalProperties") || object.contains_key("maxProperties")
        }
        _ => true,
    };
    let map_value = path.ends_with(".*");
    let meta = ["", ".apiVersion", ".kind"].contains(&path);
    if !bounded && !foreign && !map_value && !meta {
        found.push(format!("{path} has no bound"));
    }
    for (name, property) in
        object.get("properties").and_then(Value::as_object).into_iter().flatten()
    {
        walk(&format!("{path}.{name}"), property, found);
    }
    if let Some(items) = object.get("items") {
        walk(&format!("{path}[]"), items, found);
    }
    if let Some(values) = object.get("additionalProperties") {
        walk(&format!("{path}.*"), values, found);
    }
}

#[test]
fn subresources_columns_and_names_are_there() {
    let crd = serde_json::to_value(crd()).unwrap();
    let version = &crd["spec"]["versions"][0];
    assert_eq!(crd["metadata"]["name"], "replicatedstores.quorate.dev");
    assert_eq!(crd["spec"]["names"]["shortNames"], json!(["rstore"]));
    assert_eq!(crd["spec"]["scope"], "Namespaced");
    assert_eq!(version["name"], "v1alpha1");
    assert_eq!(version["subresources"]["status"], json!({}));
    assert_eq!(
        version["subresources"]["scale"],
        json!({
            "specReplicasPath": ".spec.nodes",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        })
    );
    let columns: Vec<_> = version["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        columns,
        [
            "Mode",
            "Nodes",
            "Ready",
            "Shards",
            "Durability",
            "Quorums",
            "Leaders",
            "Phase",
            "Message",
            "Age"
        ]
    );
    let datacenters =
        &version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["datacenters"];
    assert_eq!(datacenters["x-kubernetes-list-type"], "map");
    assert_eq!(datacenters["x-kubernetes-list-map-keys"], json!(["name"]));
}
