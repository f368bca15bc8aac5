//! A store without leaders through the real reconcile: it begins, grows, loses a volume, and is then left alone.

use quorate_operator::reconcile::{Pass, reconcile};
use serde_json::json;

use crate::world::{World, three_datacenters};

#[tokio::test]
async fn leaderless_store_lives_without_leaders_of_its_shards() {
    let world = World::new();
    let mut spec = three_datacenters();
    spec["mode"] = json!("Leaderless");
    spec["leaderless"] = json!({ "write": 2, "read": "QUORUM" });
    let store = world.create_store("orders", spec);
    let operator = world.operator();
    world.settle(&operator, &store).await.unwrap();
    let status = world.status(&store);
    assert_eq!(status["quorums"], "w=2 r=QUORUM n=3");
    assert_eq!(status["phase"], "Ready");
    assert!(status["shards"][0]["leader"].is_null());

    world.change_spec(&store, |spec| spec["nodes"] = json!(6));
    world.settle(&operator, &store).await.unwrap();
    world.wipe("orders-dc-b-0");
    world.settle(&operator, &store).await.unwrap();
    world.change_spec(&store, |spec| spec["nodes"] = json!(3));
    world.settle(&operator, &store).await.unwrap();
    assert_eq!(world.api.list("pods").len(), 3);

    world.api.forget_calls();
    assert_eq!(reconcile(&world.operator(), &store).await.unwrap(), Pass::Settled);
    assert_eq!(world.api.writes(), Vec::<String>::new());
}
