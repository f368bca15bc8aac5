//! Labels follow elections: forward in term, never back.

use std::collections::BTreeSet;

use quorate_operator::reconcile::reconcile;

use crate::world::{World, three_datacenters};

fn labelled_leaders(world: &World) -> BTreeSet<String> {
    let pods = world.api.list("pods");
    let leaders =
        pods.iter().filter(|pod| pod["metadata"]["labels"]["quorate.dev/role"] == "leader");
    leaders.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn leading(world: &World) -> BTreeSet<String> {
    let state = world.fleet.state();
    let topology = state.topology.as_ref().unwrap();
    let shards = state.groups.iter().filter(|(id, _)| id.0 != quorate_model::GroupId::Meta);
    shards.map(|(_, group)| topology.members[&group.leader.unwrap()].name.clone()).collect()
}

#[tokio::test]
async fn labels_follow_a_failover_in_one_pass() {
    let world = World::new();
    let store = world.create_store("orders", three_datacenters());
    let operator = world.operator();
    world.settle(&operator, &store).await.unwrap();
    assert_eq!(labelled_leaders(&world), leading(&world));

    // One node falls silent, the others elect, the pod is still there.
    let victim = leading(&world).into_iter().next().unwrap();
    for process in world.fleet.state().processes.values_mut() {
        process.answers = process.pod != victim;
    }
    world.fleet.turn();
    reconcile(&operator, &store).await.unwrap();
    assert_eq!(labelled_leaders(&world), leading(&world));
    assert!(!labelled_leaders(&world).contains(&victim));
}

/// Spoils the resource in one way or another, lets a leader fail, and looks whether the labels follow.
async fn labels_follow_though(spoil: impl FnOnce(&mut serde_json::Value)) {
    let world = World::new();
    let store = world.create_store("orders", three_datacenters());
    let operator = world.operator();
    world.settle(&operator, &store).await.unwrap();
    world.change_spec(&store, spoil);
    reconcile(&operator, &store).await.unwrap();
    let victim = leading(&world).into_iter().next().unwrap();
    for process in world.fleet.state().processes.values_mut() {
        process.answers = process.pod != victim;
    }
    world.fleet.turn();
    reconcile(&operator, &store).await.unwrap();
    assert_eq!(labelled_leaders(&world), leading(&world));
    assert!(!labelled_leaders(&world).contains(&victim));
}

#[tokio::test]
async fn labels_follow_a_failover_of_a_paused_store() {
    labels_follow_though(|spec| spec["paused"] = true.into()).await;
}

#[tokio::test]
async fn labels_follow_a_failover_of_a_store_whose_spec_cannot_be_carried_out() {
    labels_follow_though(|spec| spec["nodes"] = 1.into()).await;
}

#[tokio::test]
async fn labels_follow_a_failover_of_a_store_whose_spec_cannot_be_read() {
    labels_follow_though(|spec| spec["nodes"] = "three".into()).await;
}

#[tokio::test]
async fn labels_do_not_go_back_to_a_leader_of_an_older_term() {
    let world = World::new();
    let store = world.create_store("orders", three_datacenters());
    let operator = world.operator();
    world.settle(&operator, &store).await.unwrap();
    let old = world.fleet.state().groups.clone();
    let victim = leading(&world).into_iter().next().unwrap();
    for process in world.fleet.state().processes.values_mut() {
        process.answers = process.pod != victim;
    }
    world.fleet.turn();
    reconcile(&operator, &store).await.unwrap();
    let labelled = labelled_leaders(&world);

    // Only the old leader answers now, and still believes in its old term.
    {
        let mut state = world.fleet.state();
        state.groups = old;
        for process in state.processes.values_mut() {
            process.answers = process.pod == victim;
        }
    }
    // A successor that remembers nothing but the status.
    reconcile(&world.operator(), &store).await.unwrap();
    assert!(!labelled_leaders(&world).contains(&victim), "{labelled:?}");
}
