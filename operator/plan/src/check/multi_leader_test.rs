//! Planted bad plans for stores with leaders in every datacenter.

use quorate_model::{Datacenter, GroupId, Links, Mode, MultiLeader, NodeId, ShardId, Topology};
use serde_json::json;

use super::{
    Violation, check,
    check_test::{caught, proposal, restart},
};
use crate::{GroupAt, Observed, ValidStore, simulation::World};

fn settled() -> (World, ValidStore, Observed) {
    let mut world = World::settled_multi_leader(42, 12, json!({}));
    let (store, observed) = (world.valid(), world.observe());
    (world, store, observed)
}

fn named(name: &str) -> Datacenter {
    Datacenter::new(name).unwrap()
}

fn group(datacenter: &str) -> GroupAt {
    GroupAt { id: GroupId::Shard(ShardId(0)), datacenter: Some(named(datacenter)) }
}

fn multi_leader(topology: &mut Topology) -> &mut MultiLeader {
    match &mut topology.mode {
        Mode::MultiLeader(multi_leader) => multi_leader,
        Mode::SingleLeader | Mode::Leaderless(_) => panic!("every datacenter has leaders"),
    }
}

fn nodes_in(topology: &Topology, datacenter: &str) -> (Vec<NodeId>, Vec<NodeId>) {
    let here = topology.members.values().filter(|m| m.datacenter == named(datacenter));
    here.map(|member| member.id).partition(|node| topology.shards[0].voters.contains(node))
}

#[test]
fn harmless_plans_pass() {
    let (world, store, observed) = settled();
    assert_eq!(check(&store, &observed, &proposal(&observed, |_| {})), vec![]);
    let pod = world.hosts_of(ShardId(0))[0].clone();
    assert_eq!(check(&store, &observed, &restart(&observed, &pod)), vec![]);
    // One replica in each of two datacenters at once: neither is another's.
    let plan = proposal(&observed, |request| {
        for place in ["dc-a", "dc-b"] {
            let (voters, others) = nodes_in(&request.topology, place);
            request.topology.shards[0].voters.remove(&voters[0]);
            request.topology.shards[0].voters.insert(others[0]);
        }
    });
    assert_eq!(check(&store, &observed, &plan), vec![]);
}

#[test]
fn what_the_others_have_does_not_count_for_a_datacenter() {
    let (_, store, observed) = settled();
    let plan = proposal(&observed, |request| {
        let (voters, _) = nodes_in(&request.topology, "dc-b");
        request.topology.shards[0].voters.remove(&voters[0]);
    });
    caught(&store, &observed, &plan, &Violation::LosesTolerance { group: group("dc-b") });
    let plan = proposal(&observed, |request| {
        let (voters, _) = nodes_in(&request.topology, "dc-b");
        for voter in &voters[1..] {
            request.topology.shards[0].voters.remove(voter);
        }
    });
    caught(&store, &observed, &plan, &Violation::MovesTooMuch { group: group("dc-b") });
}

#[test]
fn a_restart_that_takes_a_datacenters_majority_is_caught() {
    let (mut world, store, observed) = settled();
    let topologies = observed.reports.values().filter_map(|r| r.fresh()?.topology.as_ref());
    let topology = topologies.max_by_key(|topology| topology.epoch).unwrap();
    let (voters, _) = nodes_in(topology, "dc-b");
    let pod = |node: &NodeId| topology.members[node].name.clone();
    let (away, next) = (pod(&voters[0]), pod(&voters[1]));
    world.stop(&away);
    let observed = world.observe();
    caught(
        &store,
        &observed,
        &restart(&observed, &next),
        &Violation::LosesQuorum { group: group("dc-b") },
    );
}

#[test]
fn a_declared_datacenter_never_goes() {
    let (_, store, observed) = settled();
    let plan = proposal(&observed, |request| {
        let (voters, others) = nodes_in(&request.topology, "dc-b");
        let here: Vec<NodeId> = voters.into_iter().chain(others).collect();
        for shard in &mut request.topology.shards {
            shard.voters.retain(|node| !here.contains(node));
            shard.genesis.retain(|node| !here.contains(node));
        }
    });
    caught(&store, &observed, &plan, &Violation::LosesWrites { datacenter: named("dc-b") });
}

#[test]
fn a_genesis_and_its_place_never_change() {
    let (_, store, observed) = settled();
    let plan = proposal(&observed, |request| {
        let (voters, _) = nodes_in(&request.topology, "dc-b");
        request.topology.shards[0].genesis.remove(&voters[0]);
    });
    caught(&store, &observed, &plan, &Violation::Mode);
    let plan = proposal(&observed, |request| {
        let (voters, _) = nodes_in(&request.topology, "dc-b");
        let founders = &mut multi_leader(&mut request.topology).founders;
        founders.insert(voters[0], named("dc-a"));
    });
    caught(&store, &observed, &plan, &Violation::Mode);
}

#[test]
fn a_policy_that_is_not_declared_is_caught() {
    let (_, store, observed) = settled();
    let plan = proposal(&observed, |request| {
        multi_leader(&mut request.topology).policy.links = Links::Star { hub: named("dc-a") };
    });
    caught(&store, &observed, &plan, &Violation::Policy);
}
