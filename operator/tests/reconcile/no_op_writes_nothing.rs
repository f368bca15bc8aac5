//! A pass over a settled store sends no write at all, so no resourceVersion moves.

use quorate_operator::reconcile::{Pass, reconcile};

use crate::world::{World, three_datacenters};

#[tokio::test]
async fn settled_store_is_not_written_to() {
    let world = World::new();
    let store = world.create_store("orders", three_datacenters());
    world.settle(&world.operator(), &store).await.unwrap();
    let before = world.api.versions();

    // The one that settled it, and one that remembers nothing.
    for _ in 0..2 {
        let operator = world.operator();
        for _ in 0..3 {
            world.api.forget_calls();
            assert_eq!(reconcile(&operator, &store).await.unwrap(), Pass::Settled);
            assert_eq!(world.api.writes(), Vec::<String>::new());
        }
    }
    assert_eq!(world.api.versions(), before);
}

#[tokio::test]
async fn drift_is_put_right_and_only_the_drift() {
    let world = World::new();
    let store = world.create_store("orders", three_datacenters());
    let operator = world.operator();
    world.settle(&operator, &store).await.unwrap();

    world.api.change("services", crate::world::NAMESPACE, "orders-rw", |service| {
        service["spec"]["selector"] = serde_json::json!({ "app": "something-else" });
    });
    world.api.forget_calls();
    reconcile(&operator, &store).await.unwrap();
    let path = format!("PATCH /api/v1/namespaces/{}/services/orders-rw", crate::world::NAMESPACE);
    assert_eq!(world.api.writes(), vec![path]);
}
