//! The operator dies at call k, for every k on a store's way from one state to another, both before and after the
//! call took effect. A successor that remembers nothing must bring the store to the same end.

use serde_json::{Value, json};

use crate::api_server::{Fault, Moment};
use crate::world::{World, three_datacenters};

/// A way from a settled store (or none) to the next.
struct Journey {
    start: Option<Value>,
    change: fn(&World, &quorate_operator::memory::StoreKey),
}

impl Journey {
    /// Travels with `fault`; whether the fault was met, and where the journey ended.
    async fn travel(&self, fault: Option<Fault>) -> (bool, Value) {
        let world = World::new();
        let store = match &self.start {
            Some(spec) => {
                let store = world.create_store("orders", spec.clone());
                world.settle(&world.operator(), &store).await.unwrap();
                store
            }
            None => world.create_store("orders", three_datacenters()),
        };
        (self.change)(&world, &store);
        let mut met = false;
        if let Some(fault) = fault {
            world.api.set_fault(fault);
            let died = world.settle(&world.operator(), &store).await;
            met = world.api.revive();
            assert!(met || died.is_ok(), "{fault:?}: {died:?}");
            world.turn();
        }
        world
            .settle(&world.operator(), &store)
            .await
            .unwrap_or_else(|error| panic!("{fault:?}: {}", error.sentence()));
        (met, world.essence(&store))
    }

    async fn survives_every_death(&self) {
        let (_, wanted) = self.travel(None).await;
        for moment in [Moment::Before, Moment::After] {
            for call in 0.. {
                let fault = Fault { call, moment };
                let (met, ended) = self.travel(Some(fault)).await;
                if !met {
                    assert!(call > 20, "the journey has only {call} calls");
                    break;
                }
                assert_eq!(ended, wanted, "{fault:?}");
            }
        }
    }
}

fn six_nodes() -> Value {
    let mut spec = three_datacenters();
    spec["nodes"] = json!(6);
    spec
}

#[tokio::test]
async fn creation_survives_death_at_every_call() {
    let journey = Journey { start: None, change: |_, _| {} };
    journey.survives_every_death().await;
}

#[tokio::test]
async fn growth_survives_death_at_every_call() {
    let journey = Journey {
        start: Some(three_datacenters()),
        change: |world, store| world.change_spec(store, |spec| spec["nodes"] = json!(6)),
    };
    journey.survives_every_death().await;
}

#[tokio::test]
async fn shrinking_survives_death_at_every_call() {
    let journey = Journey {
        start: Some(six_nodes()),
        change: |world, store| world.change_spec(store, |spec| spec["nodes"] = json!(3)),
    };
    journey.survives_every_death().await;
}

#[tokio::test]
async fn rolled_image_survives_death_at_every_call() {
    let journey = Journey {
        start: Some(three_datacenters()),
        change: |world, store| {
            world.change_spec(store, |spec| spec["image"] = json!("localhost/quorate-node:next"));
        },
    };
    journey.survives_every_death().await;
}

#[tokio::test]
async fn lost_volume_survives_death_at_every_call() {
    let journey = Journey {
        start: Some(three_datacenters()),
        change: |world, _| world.wipe("orders-dc-b-0"),
    };
    journey.survives_every_death().await;
}
