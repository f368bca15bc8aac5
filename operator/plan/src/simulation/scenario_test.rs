//! Lives of stores: each scenario alone, and many at random.

use std::collections::BTreeSet;

use quorate_api::LogFormat::{Logical, Wal};
use quorate_api::{Phase, ReclaimPolicy, labels};
use quorate_model::{GroupId, NodeId, Policy, ShardId};
use serde_json::json;

use super::World;
use super::kubernetes::has_engine_2;
use crate::{GroupAt, Next, Plan, fixtures::three_datacenters, names, plan};

const ROUNDS_MAX: usize = 3_000;

impl World {
    pub(super) fn tick(&mut self) -> Option<Next> {
        self.clock += 5;
        self.kubernetes();
        self.data_plane();
        self.assert_nothing_is_lost();
        let next = self.reconcile();
        self.assert_nothing_is_lost();
        next
    }

    /// As `tick`, while no kubelet restarts anything.
    pub(super) fn tick_without_kubernetes(&mut self) {
        self.clock += 5;
        self.data_plane();
        self.reconcile();
    }

    /// Runs the world, undisturbed, until it is as asked for and nothing is written any more.
    pub(super) fn settle(&mut self) {
        (self.silence, self.crashes) = (0, 0);
        let mut quiet = 0;
        let mut last = None;
        for _ in 0..ROUNDS_MAX {
            let writes = self.writes;
            last = self.tick();
            quiet =
                if last == Some(Next::Settled) && self.writes == writes { quiet + 1 } else { 0 };
            if quiet == 3 {
                self.assert_as_asked_for();
                return;
            }
        }
        panic!("does not settle: {last:?}\n{:?}", self.status.conditions);
    }

    fn assert_as_asked_for(&self) {
        let store = self.valid();
        let topology = self.topology.as_ref().unwrap();
        let members: BTreeSet<&String> = topology.members.values().map(|m| &m.name).collect();
        let wanted: BTreeSet<String> = store
            .datacenters
            .iter()
            .flat_map(|dc| (0..dc.nodes).map(|ordinal| names::pod(&store, &dc.name, ordinal)))
            .collect();
        assert_eq!(members, wanted.iter().collect());
        assert_eq!(self.objects.pods.keys().collect::<BTreeSet<_>>(), wanted.iter().collect());
        for (shard, placement) in topology.placements() {
            assert_eq!(placement.voters.len(), store.replicas_in_all());
            if store.multi_leader().is_some() {
                self.assert_in_each_as_asked_for(shard, placement);
                continue;
            }
            let group = GroupAt::from(GroupId::Shard(shard));
            assert_eq!(self.groups[&group].voters, placement.voters);
            let datacenters: BTreeSet<_> =
                placement.voters.iter().map(|node| &topology.members[node].datacenter).collect();
            assert_eq!(datacenters.len(), store.replicas().min(store.datacenters.len()));
        }
        assert_eq!(self.groups[&GroupAt::META].voters, topology.meta_voters);
        match store.policy() {
            Some(policy) => self.assert_led_as_asked_for(policy),
            None => self.assert_owned_as_asked_for(),
        }
        for pod in self.objects.pods.values() {
            let image = pod.spec.as_ref().unwrap().containers[0].image.as_ref();
            assert_eq!(image, Some(&store.image), "every pod runs what is asked for");
            let name = pod.metadata.name.as_ref().unwrap();
            let node = self.running[name];
            let hosts = topology.shards.iter().any(|shard| shard.voters.contains(&node));
            let labelled = pod.metadata.labels.as_ref().unwrap().contains_key(labels::ROLE);
            assert_eq!(labelled, hosts && store.leaderless().is_none());
        }
        assert_eq!(self.status.phase, Some(Phase::Ready), "{:?}", self.status);
        assert!(self.status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    }

    fn assert_led_as_asked_for(&self, policy: &Policy) {
        let topology = self.topology.as_ref().unwrap();
        assert_eq!(topology.policy, *policy, "what is declared is what the nodes have");
        for (group, state) in &self.groups {
            let shard = *group != GroupAt::META;
            let (kept, declared) = (&state.acknowledgement, policy.durability);
            let settled = kept.settled || declared == quorate_model::Durability::Quorum;
            assert!(!shard || (kept.durability == declared && settled), "{group}");
        }
    }

    pub(crate) fn node_of(&self, pod: &str) -> NodeId {
        self.running[pod]
    }

    /// The pods that host a shard.
    pub(crate) fn hosts_of(&self, shard: ShardId) -> Vec<String> {
        let topology = self.topology.as_ref().unwrap();
        let voters = &topology.placement(shard).unwrap().voters;
        voters.iter().map(|node| topology.members[node].name.clone()).collect()
    }

    /// The process ends; nobody has restarted it yet, but its peers have noticed.
    pub(crate) fn stop(&mut self, pod: &str) {
        self.running.remove(pod);
        for _ in 0..20 {
            self.data_plane();
        }
    }

    pub(crate) fn settled(seed: u64, nodes: i32) -> Self {
        let mut world = Self::new(seed, three_datacenters(nodes));
        world.settle();
        world
    }
}

fn settled(seed: u64, nodes: i32) -> World {
    World::settled(seed, nodes)
}

#[test]
fn a_store_begins_and_a_settled_store_is_left_alone() {
    let world = settled(1, 3);
    assert_eq!(world.status.ready.as_deref(), Some("3/3"));
    assert_eq!(world.status.shards_healthy.as_deref(), Some("3/3"));
}

#[test]
fn a_store_grows_from_three_to_six_nodes_and_back() {
    let mut world = settled(2, 3);
    world.change_spec(|spec| spec.nodes = 6);
    world.settle();
    assert_eq!(world.objects.pods.len(), 6);
    world.change_spec(|spec| spec.nodes = 3);
    world.settle();
    assert_eq!(world.objects.pods.len(), 3);
    assert_eq!(world.objects.claims.len(), 6, "claims are retained");
}

#[test]
fn claims_of_removed_nodes_go_when_the_policy_says_so() {
    let mut world = settled(3, 6);
    world.change_spec(|spec| {
        spec.nodes = 3;
        spec.storage.reclaim_policy = ReclaimPolicy::Delete;
    });
    world.settle();
    assert_eq!(world.objects.claims.len(), 3);
}

#[test]
fn a_new_image_is_rolled_one_pod_at_a_time() {
    let mut world = settled(4, 6);
    let before: BTreeSet<_> = world.objects.pods.values().map(|p| p.metadata.uid.clone()).collect();
    world.change_spec(|spec| spec.image = "node:2".to_owned());
    let mut restarted = 0;
    for _ in 0..ROUNDS_MAX {
        match world.tick() {
            Some(Next::Act(crate::Action::RestartPod { .. })) => restarted += 1,
            Some(Next::Settled) => break,
            Some(Next::Act(_) | Next::Wait(_)) | None => {}
        }
        let away =
            world.objects.pods.values().filter(|pod| pod.metadata.deletion_timestamp.is_some());
        assert!(away.count() <= 1);
    }
    world.settle();
    let after: BTreeSet<_> = world.objects.pods.values().map(|p| p.metadata.uid.clone()).collect();
    assert_eq!(before.intersection(&after).count(), 0);
    assert_eq!(restarted, 6);
}

#[test]
fn an_image_with_another_engine_format_is_not_rolled_out_under_wal() {
    let upgraded = |world: &World| world.objects.pods.values().filter(|p| has_engine_2(p)).count();
    for nodes in [3, 6] {
        let mut world = settled(7, nodes);
        world.change_spec(|spec| spec.single_leader.get_or_insert_default().log_format = Wal);
        world.settle();
        let refuse = |world: &mut World| {
            world.change_spec(|spec| spec.image = "node:2-engine-2".to_owned());
            for _ in 0..200 {
                world.tick();
                assert!(upgraded(world) <= 1);
            }
            assert_eq!(upgrade_safe(world), Some(("False", "EngineFormatsDiffer")));
        };
        refuse(&mut world);
        world.change_spec(|spec| spec.image = "node:1".to_owned());
        world.settle();
        assert_eq!((upgraded(&world), upgrade_safe(&world)), (0, None));

        refuse(&mut world);
        world.change_spec(|spec| spec.single_leader.get_or_insert_default().log_format = Logical);
        world.settle();
        assert_eq!((upgraded(&world), upgrade_safe(&world)), (world.objects.pods.len(), None));
    }
}

fn upgrade_safe(world: &World) -> Option<(&str, &str)> {
    let found = world.status.conditions.iter().find(|c| c.type_ == "UpgradeSafe")?;
    Some((&found.status, &found.reason))
}

#[test]
fn a_bad_image_stops_the_roll_and_a_good_one_goes_on() {
    let mut world = settled(5, 3);
    world.change_spec(|spec| spec.image = "bad".to_owned());
    for _ in 0..200 {
        world.tick();
    }
    let down = world.objects.pods.len() - world.running.len();
    assert_eq!(down, 1, "the roll stops at the first pod that does not come back");
    assert_eq!(world.status.phase, Some(Phase::Degraded));
    world.change_spec(|spec| spec.image = "node:3".to_owned());
    world.settle();
}

#[test]
fn a_wiped_volume_is_replaced_and_its_old_identity_removed() {
    let mut world = settled(6, 3);
    let old = world.node_of("orders-dc-b-0");
    world.wipe("orders-dc-b-0");
    world.settle();
    assert_ne!(world.node_of("orders-dc-b-0"), old);
    assert!(!world.topology.as_ref().unwrap().members.contains_key(&old));
}

#[test]
fn a_corrupt_node_is_rebuilt_only_with_consent() {
    let mut world = settled(7, 3);
    let node = world.node_of("orders-dc-c-0");
    world.volumes.get_mut("data-orders-dc-c-0").unwrap().corrupt = true;
    for _ in 0..100 {
        world.tick();
    }
    assert_eq!(world.node_of("orders-dc-c-0"), node);
    assert!(world.status.conditions.iter().any(|c| {
        c.type_ == "StorageHealthy" && c.status == "False" && c.reason == "CorruptLog"
    }));
    let annotations = world.resource.metadata.annotations.get_or_insert_default();
    annotations.insert(labels::REPLACE_NODE.to_owned(), node.to_string());
    world.settle();
    assert_ne!(world.node_of("orders-dc-c-0"), node);
}

#[test]
fn a_datacenter_is_added_and_another_removed() {
    let mut world = settled(8, 3);
    world.change_spec(|spec| {
        spec.nodes = 3;
        spec.datacenters.remove(0);
        spec.datacenters.push(quorate_api::DatacenterSpec {
            name: "dc-d".to_owned(),
            ..quorate_api::DatacenterSpec::default()
        });
    });
    world.settle();
    assert!(!world.objects.stateful_sets.contains_key("orders-dc-a"));
}

#[test]
fn more_replicas_are_added_one_by_one() {
    let mut world = settled(9, 6);
    world.change_spec(|spec| {
        let single = spec.single_leader.get_or_insert_default();
        single.replicas = 5;
    });
    world.settle();
    assert_eq!(world.topology.as_ref().unwrap().meta_voters.len(), 5);
    world.change_spec(|spec| spec.single_leader.as_mut().unwrap().replicas = 3);
    world.settle();
}

#[test]
fn every_policy_change_is_one_step_and_disturbs_nobody() {
    let mut world = settled(13, 3);
    let uids = |world: &World| {
        world.objects.pods.values().map(|p| p.metadata.uid.clone()).collect::<BTreeSet<_>>()
    };
    let pods = uids(&world);
    for change in [
        json!({"durability": "SemiSync", "inSync": {"slowAfter": "300ms"}}),
        json!({"durability": "Sync"}),
        json!({"durability": "Async", "logFormat": "Statement"}),
        json!({"durability": "Quorum", "logFormat": "Wal", "sessions": {"readFrom": "Replica"}}),
    ] {
        world.change_spec(|spec| {
            spec.single_leader = Some(serde_json::from_value(change.clone()).unwrap());
        });
        let mut proposals = 0;
        for _ in 0..ROUNDS_MAX {
            match world.tick() {
                Some(Next::Act(crate::Action::ProposeTopology { .. })) => proposals += 1,
                Some(Next::Settled) => break,
                Some(Next::Act(other)) => panic!("{other:?}"),
                Some(Next::Wait(_)) | None => {}
            }
        }
        assert_eq!(proposals, 1, "{change}");
        world.settle();
        let declared = world.resource.spec.single_leader.clone().unwrap();
        assert_eq!(world.status.durability, Some(declared.durability));
        assert_eq!(world.status.log_format, Some(declared.log_format));
    }
    assert_eq!(uids(&world), pods);
}

#[test]
fn a_policy_changes_while_a_node_is_down_and_a_roll_hangs() {
    let mut world = settled(14, 3);
    world.change_spec(|spec| spec.image = "bad".to_owned());
    for _ in 0..200 {
        world.tick();
    }
    world.change_spec(|spec| {
        spec.single_leader.get_or_insert_default().durability = quorate_api::Durability::Async;
    });
    for _ in 0..50 {
        world.tick();
    }
    assert_eq!(world.status.durability, Some(quorate_api::Durability::Async));
    world.change_spec(|spec| spec.image = "node:4".to_owned());
    world.settle();
}

fn leaders(world: &World) -> Vec<String> {
    world.status.shards.iter().filter_map(|shard| shard.leader.clone()).collect()
}

fn prefer(world: &mut World, preferred: serde_json::Value) {
    world.change_spec(|spec| {
        let single = spec.single_leader.get_or_insert_default();
        single.preferred_leader = Some(serde_json::from_value(preferred).unwrap());
    });
}

#[test]
fn a_switchover_moves_leaders_to_a_pod_to_a_datacenter_and_by_shard() {
    let mut world = settled(15, 3);
    prefer(&mut world, json!({"pod": "orders-dc-b-0"}));
    world.settle();
    assert_eq!(leaders(&world), ["orders-dc-b-0"; 3]);
    prefer(&mut world, json!({"datacenter": "dc-c"}));
    world.settle();
    assert_eq!(leaders(&world), ["orders-dc-c-0"; 3]);
    prefer(&mut world, json!({"shards": [{"shard": 1, "datacenter": "dc-a"}]}));
    world.settle();
    assert_eq!(leaders(&world)[1], "orders-dc-a-0");
    assert_eq!(leaders(&world).iter().collect::<BTreeSet<_>>().len(), 3, "the rest is spread");
}

#[test]
fn a_switchover_waits_for_no_node_but_the_one_that_is_to_lead() {
    let mut world = settled(16, 3);
    world.change_spec(|spec| spec.image = "bad".to_owned());
    for _ in 0..200 {
        world.tick();
    }
    let (up, down): (Vec<String>, Vec<String>) =
        world.objects.pods.keys().cloned().partition(|pod| world.running.contains_key(pod));
    assert_eq!((up.len(), down.len()), (2, 1));
    prefer(&mut world, json!({"pod": up[1]}));
    for _ in 0..100 {
        world.tick();
    }
    assert_eq!(leaders(&world), vec![up[1].clone(); 3]);
}

#[test]
fn labels_of_a_paused_and_of_an_invalid_store_follow_its_leaders() {
    for (seed, spoil) in [
        (17, (|spec| spec.paused = true) as fn(&mut quorate_api::ReplicatedStoreSpec)),
        (18, |spec| spec.nodes = 1),
    ] {
        let mut world = settled(seed, 3);
        world.change_spec(spoil);
        world.tick();
        let old = leaders(&world)[0].clone();
        world.stop(&old);
        for _ in 0..20 {
            world.tick_without_kubernetes();
        }
        let new = leaders(&world)[0].clone();
        assert_ne!(new, old);
        let labels = world.objects.pods[&new].metadata.labels.as_ref().unwrap();
        assert_eq!(labels[labels::ROLE], labels::ROLE_LEADER);
    }
}

#[test]
fn a_paused_store_is_left_alone() {
    let mut world = settled(10, 3);
    world.change_spec(|spec| {
        spec.paused = true;
        spec.nodes = 6;
    });
    for _ in 0..50 {
        world.tick();
    }
    assert_eq!(world.objects.pods.len(), 3);
    assert_eq!(world.status.phase, Some(Phase::Paused));
    world.change_spec(|spec| spec.paused = false);
    world.settle();
}

#[test]
fn a_store_of_one_node_begins_and_restarts() {
    let one = json!({"nodes": 1, "image": "node:1", "singleLeader": {"replicas": 1}, "datacenters": [{"name": "dc-a"}]});
    let mut world = World::new(11, one);
    world.settle();
    world.change_spec(|spec| spec.image = "node:2".to_owned());
    world.settle();
}

#[test]
fn nothing_is_decided_about_a_store_that_does_not_answer() {
    let mut world = settled(12, 6);
    world.change_spec(|spec| {
        spec.nodes = 3;
        spec.storage.reclaim_policy = ReclaimPolicy::Delete;
        spec.image = "node:2".to_owned();
    });
    world.silence = 100;
    for _ in 0..50 {
        let observed = world.observe();
        let Plan { next, .. } = plan(&world.valid(), &observed);
        assert!(!matches!(next, Next::Act(_)), "{next:?}");
        world.tick();
    }
    assert_eq!(world.status.phase, Some(Phase::Unknown));
    world.settle();
}

/// Random events on a random store, reconciles cut off and nodes silent, then peace.
fn life(seed: u64) {
    live(World::new(seed, three_datacenters(3)), seed, 3, disturb);
}

/// Disturbs the store at random, whose volumes go with their claims in one of `deletes` seeds; then peace.
pub(super) fn live(world: World, seed: u64, deletes: u64, disturb: impl Fn(&mut World, usize)) {
    trouble(world, seed, deletes, disturb).settle();
}

/// What comes before peace.
pub(super) fn trouble(
    mut world: World,
    seed: u64,
    deletes: u64,
    disturb: impl Fn(&mut World, usize),
) -> World {
    world.change_spec(|spec| {
        spec.shards = i32::try_from(seed % 5).unwrap() + 1;
        if seed.is_multiple_of(deletes) {
            spec.storage.reclaim_policy = ReclaimPolicy::Delete;
        }
    });
    (world.silence, world.crashes) = (10, 10);
    for round in 0..400 {
        if world.random.percent(4) {
            disturb(&mut world, round);
        }
        world.tick();
    }
    world.change_spec(|spec| spec.image = "node:last".to_owned());
    world
}

fn disturb(world: &mut World, round: usize) {
    let pods: Vec<String> = world.running.keys().cloned().collect();
    let Some(pod) = (!pods.is_empty()).then(|| pods[world.random.below(pods.len())].clone()) else {
        return;
    };
    let node = world.running[&pod];
    match world.random.below(8) {
        6 => {
            let durability = [
                quorate_api::Durability::Async,
                quorate_api::Durability::SemiSync,
                quorate_api::Durability::Sync,
                quorate_api::Durability::Quorum,
            ][world.random.below(4)];
            world.change_spec(|spec| {
                spec.single_leader.get_or_insert_default().durability = durability;
            });
        }
        7 => prefer(world, json!({ "pod": pod })),
        0 => {
            let nodes = [3, 4, 6, 7][world.random.below(4)];
            world.change_spec(|spec| spec.nodes = nodes);
        }
        1 => world.change_spec(|spec| spec.image = format!("node:{round}")),
        2 if world.can_spare(node) && world.topology.is_some() => world.wipe(&pod),
        3 if world.can_spare(node) => world.delete_pod(&pod),
        4 if world.can_spare(node) => drop(world.running.remove(&pod)),
        _ => {
            // A member got a new address: the meta leader raises the epoch by itself.
            if let Some(topology) = &mut world.topology {
                topology.epoch = topology.epoch.next();
            }
        }
    }
}

#[test]
fn random_lives_settle_and_lose_nothing() {
    let (first, count) = match std::env::var("QUORATE_PLAN_SEED") {
        Ok(seed) => (seed.parse().unwrap(), lives(1)),
        Err(_) => (1000, lives(20)),
    };
    for seed in first..first + count {
        let caught = std::panic::catch_unwind(|| life(seed));
        if let Err(panic) = caught {
            println!("QUORATE_PLAN_SEED={seed} cargo test -p quorate-plan random_lives");
            std::panic::resume_unwind(panic);
        }
    }
}

pub(super) fn lives(default: u64) -> u64 {
    std::env::var("QUORATE_PLAN_LIVES").map_or(default, |count| count.parse().unwrap())
}

/// Seeds of lives in which a defect was found: a repaired group that went on waiting for a lost node, restarts of
/// nodes that a group without a known leader still counted on, and a label for a leader of an older term.
#[test]
fn lives_that_once_went_wrong_go_well() {
    for seed in [1043, 5026, 7008, 12_009] {
        life(seed);
    }
}
