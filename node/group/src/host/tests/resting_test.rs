//! Groups in which nothing happens: they rest, wake for whatever happens, and are not left alone by who is gone.

use std::time::Duration;

use quorate_model::{GroupId, NodeId, Time};

use super::cluster::{Cluster, SHARD, bulk, node, topology};

const GROUP: GroupId = GroupId::Shard(SHARD);

/// Three nodes with this many shards, all of them at rest.
fn resting(seed: u64, shards: usize) -> Cluster {
    let mut cluster = Cluster::new(seed, 3);
    cluster.settings.check_interval = Duration::from_secs(1_000_000);
    for id in 1..=3 {
        cluster.restart(node(id));
    }
    cluster.bootstrap(topology(&[1, 2, 3], shards, &[1, 2, 3]));
    await_rest(&mut cluster);
    cluster
}

fn await_rest(cluster: &mut Cluster) {
    cluster.until("every group rests", |cluster| {
        cluster
            .machines
            .keys()
            .all(|id| (cluster.host(*id).groups.keys()).all(|group| rests(cluster, *id, *group)))
    });
}

fn rests(cluster: &Cluster, id: NodeId, group: GroupId) -> bool {
    cluster.host(id).groups[&group].repose.is_rest()
}

#[test]
fn an_idle_store_rests_and_wakes_for_a_write_and_a_read() {
    let mut cluster = resting(61, 4);
    let leader = cluster.await_leader(GROUP);
    cluster.run_for(Duration::from_secs(20));
    assert_eq!(cluster.leader(GROUP), Some(leader));
    for id in 1..=3 {
        assert!(rests(&cluster, node(id), GROUP), "on node {id}");
    }
    cluster.write("key", "value");
    assert!(!rests(&cluster, leader, GROUP));
    assert!(
        rests(&cluster, leader, GroupId::Meta) || cluster.leader(GroupId::Meta) != Some(leader)
    );
    await_rest(&mut cluster);
    assert_eq!(cluster.read("key"), bulk("value"));
    await_rest(&mut cluster);
    let status = cluster.host(leader).status();
    let shard = status.replicas.iter().find(|replica| replica.group == GROUP).unwrap();
    for progress in shard.followers.values() {
        assert!(progress.last_answer_ms.is_some_and(|age| age < 500), "{progress:?}");
    }
}

#[test]
fn one_node_alone_rests() {
    let mut cluster = Cluster::new(62, 1);
    cluster.settings.check_interval = Duration::from_secs(1_000_000);
    cluster.restart(node(1));
    cluster.bootstrap(topology(&[1], 2, &[1]));
    await_rest(&mut cluster);
    cluster.write("key", "value");
    await_rest(&mut cluster);
    assert_eq!(cluster.read("key"), bulk("value"));
}

/// Twice the election timeout after the last beat at the latest, and one round of votes.
#[test]
fn a_leader_that_falls_silent_is_replaced_as_soon_as_one_that_sent_heartbeats() {
    for seed in 0..8 {
        let mut cluster = resting(70 + seed, 3);
        let leader = cluster.await_leader(GROUP);
        let timeout = cluster.settings.replication.election_timeout;
        cluster.isolate(leader);
        let silent_since = cluster.now;
        cluster.await_other_leader(GROUP, leader);
        let took = cluster.now.since(silent_since);
        assert!(took < timeout * 2 + Duration::from_millis(200), "{took:?}");
        // INV-8: the old one has noticed as well.
        cluster.until("the old leader stops leading", |cluster| {
            cluster.host(leader).replica(GROUP).unwrap().leader() != Some(leader)
        });
        assert!(cluster.now.since(silent_since) < timeout * 2);
        cluster.heal();
        await_rest(&mut cluster);
    }
}

#[test]
fn every_group_of_a_node_whose_disk_stands_still_gets_another_leader() {
    let mut cluster = resting(63, 6);
    let old = cluster.await_leader(GROUP);
    let led: Vec<GroupId> = (cluster.host(old).groups.keys().copied())
        .filter(|group| cluster.leader(*group) == Some(old))
        .collect();
    cluster.machines[&old].disk.stall(true);
    let request = super::super::Request::Execute {
        shard: SHARD,
        operation: super::cluster::set("key", "value"),
        level: super::super::ReadLevel::Linearizable,
    };
    cluster.request(old, request);
    let (began, settings) = (cluster.now, cluster.settings.clone());
    for group in led {
        cluster.await_other_leader(group, old);
    }
    assert!(cluster.now.since(began) < settings.disk_stall + settings.replication.election_timeout);
    cluster.machines[&old].disk.stall(false);
}

#[test]
fn a_node_that_comes_back_is_followed_and_rests_again() {
    let mut cluster = resting(64, 3);
    for id in [1, 2, 3, 1] {
        cluster.restart(node(id));
        await_rest(&mut cluster);
    }
    // INV-81: what its earlier processes said is over.
    assert!(cluster.now > Time(0));
    assert_eq!(cluster.read("key"), crate::Value::Nil);
}

#[test]
fn a_network_that_loses_every_seventh_message_elects_nobody() {
    let mut cluster = resting(65, 3);
    let terms = |cluster: &Cluster| -> Vec<_> {
        let groups = cluster.host(node(1)).groups.values();
        groups.map(|group| group.replica.term()).collect()
    };
    let before = terms(&cluster);
    cluster.loss = 150;
    cluster.run_for(Duration::from_secs(20));
    assert_eq!(terms(&cluster), before);
}
