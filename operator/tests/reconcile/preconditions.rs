//! What the operator refuses to touch, although it could.

use serde_json::json;

use quorate_operator::error::Persistence;
use quorate_operator::reconcile::reconcile;

use crate::world::{NAMESPACE, World, three_datacenters};

#[tokio::test]
async fn somebody_elses_service_is_not_taken_over() {
    let world = World::new();
    world.api.put(
        "services",
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "orders-rw", "namespace": NAMESPACE },
            "spec": { "selector": { "app": "theirs" } },
        }),
    );
    let before = world.api.find("services", NAMESPACE, "orders-rw");
    let store = world.create_store("orders", three_datacenters());
    let error = reconcile(&world.operator(), &store).await.unwrap_err();
    assert_eq!(error.persistence(), Persistence::Terminal);
    assert!(error.sentence().contains("orders-rw"), "{}", error.sentence());
    assert_eq!(world.api.find("services", NAMESPACE, "orders-rw"), before);
}

#[tokio::test]
async fn status_is_not_written_over_a_newer_resource() {
    let world = World::new();
    let store = world.create_store("orders", three_datacenters());
    let operator = world.operator();
    world.settle(&operator, &store).await.unwrap();
    // A status of another time, and a user's change between the look and the write.
    world.api.change("replicatedstores", NAMESPACE, "orders", |resource| {
        resource["status"]["phase"] = json!("Unknown");
    });
    world.api.change_at_next_write("replicatedstores", NAMESPACE, "orders", |resource| {
        resource["metadata"]["labels"] = json!({ "team": "checkout" });
    });
    let error = reconcile(&operator, &store).await.unwrap_err();
    assert_eq!(error.persistence(), Persistence::Transient);
    world.settle(&operator, &store).await.unwrap();
    assert_eq!(world.status(&store)["phase"], "Ready");
}
