//! What the schema says of stores with a leader in every datacenter.

use serde_json::{Value, json};

use crate::schema_test::{accepted, refused, store};

fn multi_leader(block: &Value) -> Value {
    store(|s| {
        s["spec"]["mode"] = json!("MultiLeader");
        s["spec"]["nodes"] = json!(9);
        s["spec"]["multiLeader"] = block.clone();
    })
}

#[test]
fn the_smallest_one_is_accepted_and_gets_its_defaults() {
    let smallest = store(|s| {
        s["spec"]["mode"] = json!("MultiLeader");
        s["spec"]["nodes"] = json!(9);
    });
    accepted(&smallest, None);
    let block = multi_leader(&json!({}));
    accepted(&block, None);
    assert_eq!(
        block["spec"]["multiLeader"],
        json!({
            "replicas": 3, "durability": "Quorum", "links": {"type": "AllToAll"}, "reroute": true,
            "conflicts": {"resolution": "LastWriterWins"},
        })
    );
}

#[test]
fn the_block_belongs_to_its_mode() {
    let single = store(|s| s["spec"]["multiLeader"] = json!({}));
    refused(&single, None, "spec.multiLeader belongs to mode MultiLeader");
    let both = store(|s| {
        s["spec"]["mode"] = json!("MultiLeader");
        s["spec"]["singleLeader"] = json!({});
    });
    refused(&both, None, "spec.singleLeader belongs to mode SingleLeader");
}

#[test]
fn the_mode_never_changes() {
    let with = store(|_| {});
    refused(&multi_leader(&json!({})), Some(&with), "spec.mode cannot change");
    refused(&with, Some(&multi_leader(&json!({}))), "spec.mode cannot change");
}

#[test]
fn the_rest_can_change() {
    let before = multi_leader(&json!({}));
    let after = multi_leader(&json!({
        "durability": "SemiSync", "reroute": false,
        "links": {"type": "Star", "hub": "dc-b"},
        "conflicts": {
            "resolution": "ReplicaPriority", "priority": ["dc-b", "dc-a"],
            "keys": [{"pattern": "cart:*", "resolution": "Merge", "merge": "Union"}],
        },
    }));
    accepted(&after, Some(&before));
    accepted(&before, Some(&after));
}

#[test]
fn every_datacenter_has_a_node_for_each_replica() {
    const FEW: &str = "one has fewer nodes";
    let nodes = |nodes: i32, pin: Option<i32>, replicas: i32| {
        store(|s| {
            s["spec"]["mode"] = json!("MultiLeader");
            s["spec"]["nodes"] = json!(nodes);
            s["spec"]["multiLeader"] = json!({"replicas": replicas});
            if let Some(pin) = pin {
                s["spec"]["datacenters"][0]["nodes"] = json!(pin);
            }
        })
    };
    refused(&nodes(8, None, 3), None, FEW);
    refused(&nodes(9, Some(2), 3), None, FEW);
    refused(&nodes(9, Some(5), 3), None, FEW);
    accepted(&nodes(9, None, 3), None);
    accepted(&nodes(3, None, 1), None);
    let by_default = store(|s| s["spec"]["mode"] = json!("MultiLeader"));
    refused(&by_default, None, FEW);
    refused(&nodes(9, None, 2), None, "spec.multiLeader.replicas must be odd");
}

#[test]
fn links_name_declared_datacenters() {
    let links = |links: &Value| multi_leader(&json!({ "links": links }));
    accepted(&links(&json!({"type": "Circular"})), None);
    accepted(&links(&json!({"type": "Circular", "ring": ["dc-c", "dc-a", "dc-b"]})), None);
    accepted(&links(&json!({"type": "Star", "hub": "dc-a"})), None);
    refused(&links(&json!({"type": "Star"})), None, "links.hub goes with type Star");
    refused(&links(&json!({"hub": "dc-a"})), None, "links.hub goes with type Star");
    refused(&links(&json!({"type": "Star", "hub": "dc-x"})), None, "links.hub is not one of");
    refused(&links(&json!({"ring": ["dc-a", "dc-b", "dc-c"]})), None, "links.ring belongs to");
    for ring in [json!(["dc-a", "dc-b"]), json!(["dc-a", "dc-b", "dc-b"])] {
        let ring = links(&json!({"type": "Circular", "ring": ring}));
        refused(&ring, None, "does not name each of spec.datacenters once");
    }
}

#[test]
fn resolutions_say_what_they_need_and_nothing_else() {
    let all = |conflicts: &Value| multi_leader(&json!({ "conflicts": conflicts }));
    let of_keys = |of: &Value| all(&json!({ "keys": [of] }));
    accepted(&all(&json!({"resolution": "Merge"})), None);
    accepted(&of_keys(&json!({"pattern": "a*", "resolution": "Siblings"})), None);
    refused(&all(&json!({"resolution": "ReplicaPriority"})), None, "conflicts.priority goes with");
    refused(&all(&json!({"priority": ["dc-a"]})), None, "conflicts.priority goes with");
    refused(&all(&json!({"merge": "Max"})), None, "conflicts.merge belongs to");
    let unknown = json!({"resolution": "ReplicaPriority", "priority": ["dc-x"]});
    refused(&all(&unknown), None, "conflicts.priority names what is not one");
    let mut unknown_of_keys = unknown;
    unknown_of_keys["pattern"] = json!("a*");
    refused(&of_keys(&unknown_of_keys), None, "conflicts.keys names what is not one");
    let merge = json!({"pattern": "a*", "resolution": "Siblings", "merge": "Max"});
    refused(&of_keys(&merge), None, "belongs to resolution Merge");
    let mut script = json!({"resolution": "Custom", "script": "siblings[0].value"});
    accepted(&all(&script), None);
    script["pattern"] = json!("a*");
    accepted(&of_keys(&script), None);
    refused(&all(&json!({"resolution": "Custom"})), None, "conflicts.script goes with");
    script["resolution"] = json!("Siblings");
    refused(&of_keys(&script), None, "goes with resolution Custom");
}

#[test]
fn in_sync_sets_are_of_each_datacenter() {
    let many = json!({"durability": "SemiSync", "inSync": {"count": 3}});
    refused(&multi_leader(&many), None, "spec.multiLeader.inSync.count (1 when not given)");
    refused(&multi_leader(&json!({"inSync": {}})), None, "belongs to durability SemiSync and Sync");
    let replace = json!({"durability": "Sync", "inSync": {"onLoss": "Replace"}});
    refused(&multi_leader(&replace), None, "spec.multiLeader.inSync.onLoss Replace");
}

#[test]
fn the_groups_are_bounded() {
    let groups = |shards: i32| {
        store(|s| {
            s["spec"]["mode"] = json!("MultiLeader");
            s["spec"]["nodes"] = json!(5);
            s["spec"]["shards"] = json!(shards);
            s["spec"]["multiLeader"] = json!({"replicas": 1});
            s["spec"]["datacenters"] = (0..5).map(|n| json!({"name": format!("dc-{n}")})).collect();
        })
    };
    accepted(&groups(204), None);
    refused(&groups(205), None, "above 1024 groups");
}
