//! The operator dies at call k, for every k on a store's way from one state to another, both before and after the
//! call took effect. A successor that remembers nothing must bring the store to the same end.

use quorate_operator::memory::StoreKey;
use serde_json::{Value, json};

use crate::api_server::{Fault, Moment};
use crate::world::{World, three_datacenters};

/// A way from a settled store (or none) to the next.
struct Journey {
    start: Option<Value>,
    change: fn(&World, &StoreKey),
}

/// Where a journey ended, and the calls on the way, up to the death.
struct Arrival {
    calls: Vec<String>,
    essence: Value,
}

#[derive(Clone, Copy, PartialEq)]
enum Reads {
    Each,
    FirstInARow,
}

impl Journey {
    /// The world before the operator takes its first step.
    async fn outset(&self) -> (World, StoreKey) {
        let world = World::new();
        let spec = self.start.clone().unwrap_or_else(three_datacenters);
        let store = world.create_store("orders", spec);
        if self.start.is_some() {
            world.settle(&world.operator(), &store).await.unwrap();
        }
        (self.change)(&world, &store);
        (world, store)
    }

    /// Dies at every call; at every read too, or only at the first of reads in a row: the API server is in the same
    /// state at each of them, and the successor remembers nothing.
    async fn survives_every_death(&self, reads: Reads) {
        let (outset, store) = self.outset().await;
        let undisturbed = travel(outset.fork(), &store, None).await;
        let calls = &undisturbed.calls;
        assert!(calls.len() > 20, "the journey has only {} calls", calls.len());
        for call in 0..calls.len() {
            let reads_on = is_read(&calls[call]) && call > 0 && is_read(&calls[call - 1]);
            if reads_on && reads == Reads::FirstInARow {
                continue;
            }
            for moment in [Moment::Before, Moment::After] {
                if moment == Moment::After && is_read(&calls[call]) {
                    // To die after a read is to die before the next call.
                    continue;
                }
                let fault = Fault { call, moment };
                let arrival = travel(outset.fork(), &store, Some(fault)).await;
                assert_eq!(arrival.essence, undisturbed.essence, "{fault:?} {}", calls[call]);
            }
        }
    }
}

async fn travel(world: World, store: &StoreKey, fault: Option<Fault>) -> Arrival {
    let outcome = {
        world.api.forget_calls();
        if let Some(fault) = fault {
            world.api.set_fault(fault);
        }
        world.settle(&world.operator(), store).await
    };
    let calls = world.api.calls();
    let died = world.api.revive();
    assert_eq!(died, fault.is_some(), "the calls of a journey are the same every time");
    assert!(died || outcome.is_ok(), "{outcome:?}");
    if died {
        world.turn();
        world
            .settle(&world.operator(), store)
            .await
            .unwrap_or_else(|error| panic!("{fault:?}: {}", error.sentence()));
    }
    Arrival { calls, essence: world.essence(store) }
}

fn is_read(call: &str) -> bool {
    call.starts_with("GET ")
}

fn six_nodes() -> Value {
    let mut spec = three_datacenters();
    spec["nodes"] = json!(6);
    spec
}

#[tokio::test]
async fn creation_survives_death_at_every_call() {
    let journey = Journey { start: None, change: |_, _| {} };
    journey.survives_every_death(Reads::Each).await;
}

#[tokio::test]
async fn growth_survives_death_at_every_call() {
    let journey = Journey {
        start: Some(three_datacenters()),
        change: |world, store| world.change_spec(store, |spec| spec["nodes"] = json!(6)),
    };
    journey.survives_every_death(Reads::FirstInARow).await;
}

#[tokio::test]
async fn shrinking_survives_death_at_every_call() {
    let journey = Journey {
        start: Some(six_nodes()),
        change: |world, store| world.change_spec(store, |spec| spec["nodes"] = json!(3)),
    };
    journey.survives_every_death(Reads::FirstInARow).await;
}

#[tokio::test]
async fn rolled_image_survives_death_at_every_call() {
    let journey = Journey {
        start: Some(three_datacenters()),
        change: |world, store| {
            world.change_spec(store, |spec| spec["image"] = json!("localhost/quorate-node:next"));
        },
    };
    journey.survives_every_death(Reads::FirstInARow).await;
}

#[tokio::test]
async fn lost_volume_survives_death_at_every_call() {
    let journey = Journey {
        start: Some(three_datacenters()),
        change: |world, _| world.wipe("orders-dc-b-0"),
    };
    journey.survives_every_death(Reads::FirstInARow).await;
}
