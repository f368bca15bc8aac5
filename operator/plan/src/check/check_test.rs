//! Planted bad plans, each of which must be caught, beside the good plan from which it was made.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{apps::v1::StatefulSet, core::v1::PersistentVolumeClaim},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use quorate_api::{ReclaimPolicy, labels};
use quorate_model::{Epoch, GroupId, NodeId, ShardId, admin::ProposeTopology};

use super::{Violation, check};
use crate::{
    Action, HandOver, Next, Observed, Plan, PodLabels, Prune, RestartReason, ValidStore, names,
    simulation::World,
};

const SHARD: GroupId = GroupId::Shard(ShardId(0));

/// A settled store of four nodes on three datacenters, and what is observed of it.
fn settled() -> (World, ValidStore, Observed) {
    let mut world = World::settled(42, 4);
    let (store, observed) = (world.valid(), world.observe());
    (world, store, observed)
}

fn only(next: Next) -> Plan {
    Plan { children: None, prune: vec![], pod_labels: vec![], claim_growth: vec![], next }
}

fn acting(action: Action) -> Plan {
    only(Next::Act(action))
}

pub(super) fn caught(store: &ValidStore, observed: &Observed, plan: &Plan, wanted: &Violation) {
    let found = check(store, observed, plan);
    assert!(found.contains(wanted), "{wanted:?} is not among {found:?}");
}

pub(super) fn proposal(observed: &Observed, change: impl FnOnce(&mut ProposeTopology)) -> Plan {
    let topologies = observed.reports.values().filter_map(|r| r.fresh()?.topology.clone());
    let mut topology = topologies.max_by_key(|topology| topology.epoch).unwrap();
    let expected = topology.epoch;
    topology.epoch = topology.epoch.next();
    let mut request = ProposeTopology { expected, topology };
    change(&mut request);
    acting(Action::ProposeTopology { via: vec![], request: Box::new(request), why: vec![] })
}

pub(super) fn restart(observed: &Observed, pod: &str) -> Plan {
    acting(Action::RestartPod {
        pod: pod.to_owned(),
        uid: observed.children.pods[pod].metadata.uid.clone().unwrap(),
        hand_over: HandOver::First,
        why: RestartReason::Template,
    })
}

fn scale_down(observed: &Observed, name: &str, from: i32) -> Plan {
    let metadata = &observed.children.stateful_sets[name].metadata;
    acting(Action::ScaleDown {
        stateful_set: name.to_owned(),
        uid: metadata.uid.clone().unwrap(),
        resource_version: metadata.resource_version.clone().unwrap(),
        from,
        to: from - 1,
    })
}

#[test]
fn harmless_plans_pass() {
    let (_, store, observed) = settled();
    assert_eq!(check(&store, &observed, &only(Next::Settled)), vec![]);
    assert_eq!(check(&store, &observed, &proposal(&observed, |_| {})), vec![]);
    assert_eq!(check(&store, &observed, &restart(&observed, "orders-dc-b-0")), vec![]);
}

#[test]
fn a_wrong_epoch_is_caught() {
    let (_, store, observed) = settled();
    let plan = proposal(&observed, |request| {
        request.topology.epoch = Epoch(request.topology.epoch.0 + 1);
    });
    let found = check(&store, &observed, &plan);
    assert!(matches!(found[..], [Violation::Epoch { .. }]), "{found:?}");
}

#[test]
fn two_replicas_of_a_group_at_once_are_caught() {
    let (_, store, observed) = settled();
    let plan = proposal(&observed, |request| {
        let placement = &mut request.topology.shards[0];
        let voters: Vec<NodeId> = placement.voters.iter().copied().take(1).collect();
        placement.preferred_leader = None;
        placement.voters = voters.into_iter().collect();
    });
    caught(&store, &observed, &plan, &Violation::MovesTooMuch { group: SHARD.into() });
}

#[test]
fn fewer_survivable_failures_are_caught() {
    let (_, store, observed) = settled();
    let plan = proposal(&observed, |request| {
        let placement = &mut request.topology.shards[0];
        placement.preferred_leader = None;
        let leaver = *placement.voters.first().unwrap();
        placement.voters.remove(&leaver);
    });
    caught(&store, &observed, &plan, &Violation::LosesTolerance { group: SHARD.into() });
}

#[test]
fn a_member_that_hosts_replicas_cannot_be_removed() {
    let (_, store, observed) = settled();
    let mut gone = NodeId(0);
    let plan = proposal(&observed, |request| {
        gone = *request.topology.meta_voters.first().unwrap();
        request.topology.members.remove(&gone);
    });
    caught(
        &store,
        &observed,
        &plan,
        &Violation::RemovesHost { node: gone, group: GroupId::Meta.into() },
    );
    let found = check(&store, &observed, &plan);
    assert!(found.iter().any(|violation| matches!(violation, Violation::Topology(_))));
}

#[test]
fn a_genesis_cannot_change() {
    let (_, store, observed) = settled();
    let plan = proposal(&observed, |request| request.topology.shards[0].genesis.clear());
    caught(&store, &observed, &plan, &Violation::ChangesGenesis { group: SHARD.into() });
}

#[test]
fn a_restart_while_another_replica_is_down_is_caught() {
    let (mut world, store, _) = settled();
    let first = world.hosts_of(ShardId(0))[0].clone();
    let second = world.hosts_of(ShardId(0))[1].clone();
    world.stop(&first);
    let observed = world.observe();
    caught(
        &store,
        &observed,
        &restart(&observed, &second),
        &Violation::LosesQuorum { group: SHARD.into() },
    );
}

#[test]
fn a_restart_of_another_pod_than_was_seen_is_caught() {
    let (_, store, observed) = settled();
    let pod = "orders-dc-a-0".to_owned();
    let plan = acting(Action::RestartPod {
        pod: pod.clone(),
        uid: "another".to_owned(),
        hand_over: HandOver::First,
        why: RestartReason::Template,
    });
    caught(&store, &observed, &plan, &Violation::Stale { pod });
}

#[test]
fn a_scale_down_of_a_member_is_caught() {
    let (mut world, _, _) = settled();
    world.change_spec(|spec| spec.nodes = 3);
    let (store, observed) = (world.valid(), world.observe());
    let node = world.node_of("orders-dc-a-1");
    let plan = scale_down(&observed, "orders-dc-a", 2);
    caught(&store, &observed, &plan, &Violation::RemovesHost { node, group: GroupId::Meta.into() });
}

#[test]
fn a_scale_down_below_what_is_asked_for_is_caught() {
    let (_, store, observed) = settled();
    let name = "orders-dc-b".to_owned();
    let plan = scale_down(&observed, &name, 1);
    caught(&store, &observed, &plan, &Violation::ShrinksSilently { name });
}

#[test]
fn children_cannot_shrink_a_stateful_set() {
    let (_, store, observed) = settled();
    let mut children = crate::build::desired(&store, &BTreeMap::new());
    children.stateful_sets[0].spec.as_mut().unwrap().replicas = Some(0);
    let plan = Plan { children: Some(Box::new(children)), ..only(Next::Settled) };
    let name = "orders-dc-a".to_owned();
    caught(&store, &observed, &plan, &Violation::ShrinksSilently { name });
}

#[test]
fn a_claim_in_use_or_retained_cannot_be_deleted() {
    let (mut world, _, observed) = settled();
    let claim = names::claim("orders-dc-a-0");
    let uid = observed.children.claims[&claim].metadata.uid.clone().unwrap();
    let plan = acting(Action::DeleteClaim { claim: claim.clone(), uid });
    for policy in [ReclaimPolicy::Retain, ReclaimPolicy::Delete] {
        world.change_spec(|spec| spec.storage.reclaim_policy = policy);
        let object = claim.clone();
        caught(&world.valid(), &observed, &plan, &Violation::DeletesOnlyCopy { object });
    }
}

#[test]
fn a_claim_cannot_be_deleted_while_a_group_has_no_known_leader() {
    let (mut world, _, _) = settled();
    world.change_spec(|spec| spec.storage.reclaim_policy = ReclaimPolicy::Delete);
    let store = world.valid();
    let mut observed = world.observe();
    let claim = names::claim("orders-dc-a-7");
    let found = PersistentVolumeClaim {
        metadata: ObjectMeta { uid: Some("u".to_owned()), ..ObjectMeta::default() },
        ..PersistentVolumeClaim::default()
    };
    observed.children.claims.insert(claim.clone(), found);
    let plan = acting(Action::DeleteClaim { claim: claim.clone(), uid: "u".to_owned() });
    assert_eq!(check(&store, &observed, &plan), vec![]);
    observed.reports.clear();
    caught(&store, &observed, &plan, &Violation::DeletesOnlyCopy { object: claim });
}

#[test]
fn a_volume_cannot_be_replaced_without_consent() {
    let (mut world, store, observed) = settled();
    let pod = "orders-dc-b-0".to_owned();
    let claim = names::claim(&pod);
    let plan = acting(Action::ReplaceVolume {
        node: world.node_of(&pod),
        claim_uid: observed.children.claims[&claim].metadata.uid.clone().unwrap(),
        claim: claim.clone(),
        pod: pod.clone(),
        pod_uid: None,
    });
    caught(&store, &observed, &plan, &Violation::DeletesOnlyCopy { object: claim.clone() });
    world.stop(&pod);
    caught(&store, &world.observe(), &plan, &Violation::DeletesOnlyCopy { object: claim });
}

#[test]
fn a_second_beginning_is_caught_even_from_an_old_report() {
    let (_, store, mut observed) = settled();
    let bootstrap = observed.status.bootstrap.take().unwrap();
    observed.status.epoch = None;
    for reported in observed.reports.values_mut() {
        if let crate::Reported::Known { age, .. } = reported {
            *age = std::time::Duration::from_secs(600);
        }
    }
    let plan = acting(Action::RecordBootstrap(bootstrap));
    caught(&store, &observed, &plan, &Violation::SecondBootstrap);
}

#[test]
fn a_label_behind_the_remembered_term_is_caught() {
    let (_, store, mut observed) = settled();
    let leader = observed.status.shards[0].leader.clone().unwrap();
    for shard in &mut observed.status.shards {
        shard.term += 100;
        shard.leader = None;
    }
    let plan = Plan {
        pod_labels: vec![PodLabels {
            uid: observed.children.pods[&leader].metadata.uid.clone().unwrap(),
            pod: leader.clone(),
            labels: BTreeMap::from([(labels::ROLE, Some(labels::ROLE_LEADER))]),
        }],
        ..only(Next::Settled)
    };
    caught(&store, &observed, &plan, &Violation::LabelGoesBack { pod: leader });
    assert_eq!(
        crate::plan(&store, &observed)
            .pod_labels
            .iter()
            .filter(|change| {
                change.labels.get(labels::ROLE) == Some(&Some(labels::ROLE_LEADER))
            })
            .count(),
        0
    );
}

#[test]
fn a_stateful_set_with_pods_cannot_be_pruned() {
    let (_, store, observed) = settled();
    let name = "orders-dc-a".to_owned();
    let uid = observed.children.stateful_sets[&name].metadata.uid.clone().unwrap();
    let plan =
        Plan { prune: vec![Prune::StatefulSet { name: name.clone(), uid }], ..only(Next::Settled) };
    let object = format!("StatefulSet {name}");
    caught(&store, &observed, &plan, &Violation::DeletesOnlyCopy { object });
}

#[test]
fn a_paused_store_cannot_be_touched() {
    let (mut world, _, observed) = settled();
    world.change_spec(|spec| spec.paused = true);
    caught(&world.valid(), &observed, &restart(&observed, "orders-dc-a-0"), &Violation::Paused);
    assert_eq!(crate::plan(&world.valid(), &observed).children, None);
}

#[test]
fn what_belongs_to_another_owner_is_left_alone() {
    let (_, store, mut observed) = settled();
    let foreign = StatefulSet {
        metadata: ObjectMeta {
            owner_references: Some(vec![
                k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
                    controller: Some(true),
                    uid: "another".to_owned(),
                    ..Default::default()
                },
            ]),
            ..ObjectMeta::default()
        },
        ..StatefulSet::default()
    };
    observed.children.stateful_sets.insert("orders-dc-a".to_owned(), foreign);
    let plan = crate::plan(&store, &observed);
    assert_eq!(plan.children, None);
    assert!(matches!(plan.next, Next::Wait(_)));
}

#[test]
fn labels_stay_where_nobody_answers() {
    let (_, store, mut observed) = settled();
    observed.reports.clear();
    assert_eq!(crate::plan(&store, &observed).pod_labels, vec![]);
}
