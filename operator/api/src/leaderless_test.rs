//! What the schema says of leaderless stores.

use serde_json::{Value, json};

use crate::schema_test::{accepted, refused, store};

fn leaderless(block: &Value) -> Value {
    store(|s| {
        s["spec"]["mode"] = json!("Leaderless");
        s["spec"]["nodes"] = json!(7);
        s["spec"]["leaderless"] = block.clone();
    })
}

fn levels(replicas: i32, write: &Value, read: &Value) -> Value {
    leaderless(&json!({"replicas": replicas, "write": write, "read": read}))
}

const WEAK: &str = "need not meet in any replica";

#[test]
fn the_smallest_leaderless_store_is_accepted_and_gets_its_defaults() {
    let smallest = store(|s| s["spec"]["mode"] = json!("Leaderless"));
    accepted(&smallest, None);
    let block = leaderless(&json!({}));
    accepted(&block, None);
    assert_eq!(
        block["spec"]["leaderless"],
        json!({
            "replicas": 3, "read": "QUORUM", "write": "QUORUM", "conflicts": "LastWriterWins",
            "allowWeakQuorums": false, "datacenters": "Global",
        })
    );
}

#[test]
fn each_block_belongs_to_its_mode() {
    let single = store(|s| s["spec"]["leaderless"] = json!({}));
    refused(&single, None, "spec.leaderless belongs to mode Leaderless");
    let both = store(|s| {
        s["spec"]["mode"] = json!("Leaderless");
        s["spec"]["singleLeader"] = json!({});
    });
    refused(&both, None, "spec.singleLeader belongs to mode SingleLeader");
}

#[test]
fn the_mode_never_changes() {
    let (with, without) = (store(|_| {}), store(|s| s["spec"]["mode"] = json!("Leaderless")));
    refused(&with, Some(&without), "spec.mode cannot change");
    refused(&without, Some(&with), "spec.mode cannot change");
}

#[test]
fn levels_and_conflicts_can_change() {
    let before = leaderless(&json!({}));
    let after = leaderless(&json!({"write": "ALL", "read": "ONE", "conflicts": "Siblings"}));
    accepted(&after, Some(&before));
    accepted(&before, Some(&after));
}

#[test]
fn levels_of_more_replicas_than_there_are_are_refused() {
    refused(&levels(3, &json!(4), &json!(1)), None, "spec.leaderless.write is above");
    refused(&levels(3, &json!(1), &json!(4)), None, "spec.leaderless.read is above");
    accepted(&levels(3, &json!(3), &json!(3)), None);
}

#[test]
fn fewer_nodes_than_replicas_are_refused() {
    let few = |nodes: i32, replicas: i32| {
        store(|s| {
            s["spec"]["mode"] = json!("Leaderless");
            s["spec"]["nodes"] = json!(nodes);
            s["spec"]["datacenters"] = json!([{"name": "dc-a"}]);
            s["spec"]["leaderless"] = json!({"replicas": replicas});
        })
    };
    refused(&few(4, 5), None, "spec.nodes is below spec.leaderless.replicas");
    accepted(&few(2, 2), None);
    let by_default = store(|s| {
        s["spec"]["mode"] = json!("Leaderless");
        s["spec"]["nodes"] = json!(2);
        s["spec"]["datacenters"] = json!([{"name": "dc-a"}]);
    });
    refused(&by_default, None, "spec.nodes is below spec.leaderless.replicas");
}

#[test]
fn quorums_that_need_not_meet_take_consent() {
    let [one, two, all] = [json!(1), json!(2), json!("ALL")];
    for (write, read) in [(&one, &two), (&json!("QUORUM"), &json!("ONE")), (&one, &one)] {
        refused(&levels(3, write, read), None, WEAK);
        let consent = json!({
            "write": write.clone(), "read": read.clone(), "allowWeakQuorums": true,
        });
        accepted(&leaderless(&consent), None);
    }
    for (write, read) in [(&two, &two), (&all, &one), (&json!("QUORUM"), &json!("2"))] {
        accepted(&levels(3, write, read), None);
    }
    accepted(&levels(4, &json!(2), &json!("QUORUM")), None);
    refused(&levels(4, &json!(2), &json!(2)), None, WEAK);
}

#[test]
fn local_quorums_meet_within_one_datacenter_only() {
    let local = json!("LOCAL_QUORUM");
    refused(&levels(3, &local, &local), None, WEAK);
    accepted(&levels(3, &json!("EACH_QUORUM"), &local), None);
    accepted(&levels(3, &local, &json!("ALL")), None);
    let mut alone = levels(3, &local, &local);
    alone["spec"]["datacenters"] = json!([{"name": "dc-a"}]);
    accepted(&alone, None);
}

#[test]
fn replicas_in_each_datacenter_need_so_many_nodes_there() {
    let local = |nodes: i32, pinned: &Value| {
        store(|s| {
            s["spec"]["mode"] = json!("Leaderless");
            s["spec"]["nodes"] = json!(nodes);
            s["spec"]["datacenters"] = json!([{"name": "dc-a"}, {"name": "dc-b"}]);
            if !pinned.is_null() {
                s["spec"]["datacenters"][0]["nodes"] = pinned.clone();
            }
            s["spec"]["leaderless"] = json!({
                "datacenters": "Local", "write": "LOCAL_QUORUM", "read": "LOCAL_QUORUM",
            });
        })
    };
    let few = "one has fewer nodes";
    accepted(&local(6, &Value::Null), None);
    refused(&local(5, &Value::Null), None, few);
    refused(&local(6, &json!(4)), None, few);
    refused(&local(6, &json!(2)), None, few);
    accepted(&local(7, &json!(4)), None);
}

#[test]
fn where_datacenters_are_local_nobody_stands_in_for_replicas() {
    let hints = |datacenters: &str| {
        leaderless(&json!({"datacenters": datacenters, "replicas": 1, "hints": {}}))
    };
    accepted(&hints("Global"), None);
    refused(&hints("Local"), None, "spec.leaderless.hints belong to datacenters Global");
}

#[test]
fn how_datacenters_belong_together_never_changes() {
    let with = |datacenters: &str| leaderless(&json!({"datacenters": datacenters, "replicas": 1}));
    let without = store(|s| {
        s["spec"]["mode"] = json!("Leaderless");
        s["spec"]["nodes"] = json!(7);
    });
    let never = "spec.leaderless.datacenters cannot change";
    refused(&with("Local"), Some(&with("Global")), never);
    refused(&with("Global"), Some(&with("Local")), never);
    refused(&with("Local"), Some(&without), never);
    accepted(&leaderless(&json!({})), Some(&without));
}
