//! A store with a leader of each shard in every datacenter through the real reconcile: it begins, loses a datacenter's nodes for a while, gives
//! a home elsewhere, and loses and gains a datacenter for good.

use std::collections::BTreeSet;

use quorate_operator::reconcile::{Pass, reconcile};
use serde_json::{Value, json};

use crate::world::{World, three_datacenters};

fn condition<'a>(status: &'a Value, name: &str) -> &'a Value {
    let conditions = status["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|condition| condition["type"] == name);
    &found.unwrap_or_else(|| panic!("no {name} in {conditions:?}"))["status"]
}

/// Where each shard has a leader.
fn led_in(world: &World) -> BTreeSet<String> {
    let state = world.fleet.state();
    let places = state.groups.iter().filter_map(|((_, place), group)| {
        group.leader?;
        place.as_ref().map(ToString::to_string)
    });
    places.collect()
}

#[tokio::test]
async fn store_with_several_leaders_has_one_in_every_datacenter() {
    let world = World::new();
    let mut spec = three_datacenters();
    spec["mode"] = json!("MultiLeader");
    spec["nodes"] = json!(3);
    spec["multiLeader"] = json!({
        "replicas": 1,
        "homes": { "keys": [{ "pattern": "user:*", "datacenter": "dc-c" }] },
    });
    let store = world.create_store("orders", spec);
    let operator = world.operator();
    world.settle(&operator, &store).await.unwrap();
    assert_eq!(led_in(&world), ["dc-a", "dc-b", "dc-c"].map(str::to_owned).into());
    let status = world.status(&store);
    assert_eq!(status["phase"], "Ready");
    assert_eq!(condition(&status, "LinksHealthy"), "True");
    let services = world.api.list("services");
    let names: BTreeSet<&str> =
        services.iter().filter_map(|service| service["metadata"]["name"].as_str()).collect();
    for name in ["orders-dc-a-rw", "orders-dc-b-rw", "orders-dc-c-rw"] {
        assert!(names.contains(name), "{names:?}");
    }

    // Nobody answers in one of them: the others see that its links are silent.
    let answer = |answers: bool| {
        for process in world.fleet.state().processes.values_mut() {
            process.answers = answers || !process.pod.contains("dc-b");
        }
        world.fleet.turn();
    };
    answer(false);
    reconcile(&operator, &store).await.unwrap();
    assert_eq!(condition(&world.status(&store), "LinksHealthy"), "False");
    answer(true);
    world.settle(&operator, &store).await.unwrap();
    assert_eq!(condition(&world.status(&store), "LinksHealthy"), "True");

    // One goes for good, and with it the homes that it had.
    world.change_spec(&store, |spec| {
        spec["nodes"] = json!(2);
        spec["datacenters"] = json!([{ "name": "dc-a" }, { "name": "dc-b" }]);
        spec["multiLeader"]["homes"]["keys"][0]["datacenter"] = json!("dc-a");
    });
    world.settle(&operator, &store).await.unwrap();
    assert_eq!(led_in(&world), ["dc-a", "dc-b"].map(str::to_owned).into());
    assert_eq!(world.api.list("pods").len(), 2);
    world.change_spec(&store, |spec| {
        spec["nodes"] = json!(3);
        spec["datacenters"] = json!([{ "name": "dc-a" }, { "name": "dc-b" }, { "name": "dc-d" }]);
    });
    world.settle(&operator, &store).await.unwrap();
    assert_eq!(led_in(&world), ["dc-a", "dc-b", "dc-d"].map(str::to_owned).into());

    world.api.forget_calls();
    assert_eq!(reconcile(&world.operator(), &store).await.unwrap(), Pass::Settled);
    assert_eq!(world.api.writes(), Vec::<String>::new());
}
