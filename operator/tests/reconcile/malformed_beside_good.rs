//! A resource that cannot be read is its own owner's trouble: the store beside it is created all the same, by the
//! controller as it runs in production.

use std::time::Duration;

use serde_json::json;

use quorate_operator::context::Pace;
use quorate_operator::controller::run_until;
use quorate_operator::reconcile::{Pass, reconcile};

use crate::world::{World, three_datacenters};

const ROUND: Duration = Duration::from_millis(20);

#[tokio::test]
async fn malformed_resource_says_so_once_and_is_left_alone() {
    let world = World::new();
    let store = world.create_store("broken", json!({ "nodes": "three", "datacenters": 7 }));
    let operator = world.operator();
    assert_eq!(reconcile(&operator, &store).await.unwrap(), Pass::Invalid);
    let status = world.status(&store);
    assert_eq!(status["phase"], "Invalid");
    assert_eq!(status["conditions"][0]["reason"], "Malformed");
    assert!(world.api.list("statefulsets").is_empty());

    world.api.forget_calls();
    assert_eq!(reconcile(&operator, &store).await.unwrap(), Pass::Invalid);
    assert_eq!(world.api.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn good_store_beside_a_malformed_one_is_created() {
    let world = World::new();
    world.create_store("broken", json!({ "nodes": "three", "datacenters": 7 }));
    let good = world.create_store("orders", three_datacenters());

    let (stop, stopped) = tokio::sync::oneshot::channel();
    let mut operator = world.operator();
    operator.pace = Pace { progressing: ROUND, settled: ROUND };
    let controller = tokio::spawn(run_until(operator, async move {
        stopped.await.unwrap_or_default();
    }));
    let mut rounds = tokio::time::interval(ROUND);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    while world.status(&good)["phase"] != "Ready" {
        assert!(tokio::time::Instant::now() < deadline, "{:#}", world.status(&good));
        world.turn();
        rounds.tick().await;
    }
    stop.send(()).unwrap();
    controller.await.unwrap();
}
