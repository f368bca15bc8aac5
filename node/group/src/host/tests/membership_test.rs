//! The topology moves replicas: members join, voters move, the superfluous go.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_model::admin::Role;
use quorate_model::{GroupId, NodeId, ShardId};

use super::super::Input;
use super::cluster::{Cluster, SHARD, bulk, member, node};

const GROUP: GroupId = GroupId::Shard(SHARD);

fn nodes(ids: &[u128]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn await_voters(cluster: &mut Cluster, group: GroupId, voters: &BTreeSet<NodeId>) {
    cluster.until("the voters are as placed", |cluster| {
        let Some(leader) = cluster.leader(group) else { return false };
        let configuration = cluster.replica(leader, group).unwrap().configuration;
        configuration.voters == *voters
    });
}

fn join(cluster: &mut Cluster, id: NodeId) {
    cluster.add(id);
    cluster.change(|topology| {
        topology.members.insert(id, member(id));
    });
    cluster.until("the new member has the topology", |cluster| {
        cluster.machines[&id].topology.is_some()
    });
}

#[test]
pub(super) fn a_new_member_learns_the_topology() {
    let mut cluster = Cluster::bootstrapped(1, 3, 1);
    join(&mut cluster, node(4));
    cluster.until("it is a learner of the meta group", |cluster| {
        cluster.replica(node(4), GroupId::Meta).is_some_and(|meta| meta.role == Role::Learner)
    });
    assert!(cluster.replica(node(4), GROUP).is_none());
}

#[test]
pub(super) fn a_shard_moves_to_new_voters() {
    let mut cluster = Cluster::bootstrapped(2, 3, 2);
    cluster.write("key", "value");
    for id in 4..=6 {
        join(&mut cluster, node(id));
    }
    cluster.change(|topology| topology.shards[0].voters = nodes(&[4, 5, 6]));
    await_voters(&mut cluster, GROUP, &nodes(&[4, 5, 6]));
    assert_eq!(cluster.read("key"), bulk("value"));
    cluster.until("the old replicas are gone", |cluster| {
        (1..=3).all(|id| cluster.replica(node(id), GROUP).is_none())
    });
    // The other shard stays where it is.
    for id in 1..=3 {
        assert!(cluster.replica(node(id), GroupId::Shard(ShardId(1))).is_some());
    }
    // What was forgotten stays forgotten, once that is durable.
    cluster.run_for(Duration::from_millis(100));
    for id in 1..=3 {
        cluster.restart(node(id));
        assert!(cluster.replica(node(id), GROUP).is_none());
    }
    cluster.run_for(Duration::from_secs(3));
    assert!((1..=3).all(|id| cluster.replica(node(id), GROUP).is_none()));
    assert_eq!(cluster.read("key"), bulk("value"));
}

#[test]
pub(super) fn a_replica_that_was_forgotten_comes_back_blank() {
    let mut cluster = Cluster::bootstrapped(3, 4, 1);
    cluster.change(|topology| topology.shards[0].voters = nodes(&[2, 3, 4]));
    await_voters(&mut cluster, GROUP, &nodes(&[2, 3, 4]));
    cluster.until("it is gone", |cluster| cluster.replica(node(1), GROUP).is_none());
    cluster.write("key", "value");
    cluster.restart(node(1));
    cluster.change(|topology| topology.shards[0].voters = nodes(&[1, 2, 3]));
    await_voters(&mut cluster, GROUP, &nodes(&[1, 2, 3]));
    cluster.restart(node(1));
    cluster.crash(node(2));
    assert_eq!(cluster.read("key"), bulk("value"));
}

#[test]
pub(super) fn a_replica_that_is_called_back_before_its_log_is_forgotten_finds_no_damage() {
    let mut cluster = Cluster::bootstrapped(10, 4, 1);
    cluster.write("key", "value");
    cluster.change(|topology| topology.shards[0].voters = nodes(&[2, 3, 4]));
    await_voters(&mut cluster, GROUP, &nodes(&[2, 3, 4]));
    cluster.machines[&node(1)].disk.stall(true);
    cluster.until("it is gone", |cluster| cluster.replica(node(1), GROUP).is_none());
    cluster.change(|topology| topology.shards[0].voters = nodes(&[1, 2, 3]));
    cluster.until("it is called back", |cluster| cluster.replica(node(1), GROUP).is_some());
    cluster.restart(node(1));
    assert_eq!(cluster.host(node(1)).status().damaged, None);
    cluster.until("a snapshot made it whole", |cluster| {
        cluster.replica(node(1), GROUP).is_some_and(|replica| !replica.damaged)
    });
    await_voters(&mut cluster, GROUP, &nodes(&[1, 2, 3]));
    cluster.crash(node(2));
    assert_eq!(cluster.read("key"), bulk("value"));
}

#[test]
pub(super) fn a_replica_that_forgot_does_not_elect_one_that_missed_everything() {
    let mut cluster = Cluster::new(9, 4);
    cluster.bootstrap(super::cluster::topology(&[1, 2, 3, 4], 1, &[1, 2, 3]));
    cluster.crash(node(2));
    cluster.write("key", "value");
    cluster.change(|topology| topology.shards[0].voters = nodes(&[2, 3, 4]));
    await_voters(&mut cluster, GROUP, &nodes(&[2, 3, 4]));
    cluster.until("it is gone", |cluster| cluster.replica(node(1), GROUP).is_none());
    cluster.change(|topology| topology.shards[0].voters = nodes(&[1, 3, 4]));
    cluster.until("it comes back", |cluster| cluster.replica(node(1), GROUP).is_some());
    // The two that know nothing are a majority of the genesis.
    for known in [3, 4].map(node) {
        for other in [1, 2].map(node) {
            cluster.cut.insert((known, other));
            cluster.cut.insert((other, known));
        }
    }
    cluster.start(node(2));
    cluster.run_for(Duration::from_secs(10));
    assert_ne!(cluster.replica(node(2), GROUP).unwrap().role, Role::Leader);
    cluster.heal();
    await_voters(&mut cluster, GROUP, &nodes(&[1, 3, 4]));
    assert_eq!(cluster.read("key"), bulk("value"));
}

#[test]
pub(super) fn a_removed_member_is_not_needed() {
    let mut cluster = Cluster::bootstrapped(4, 3, 1);
    join(&mut cluster, node(4));
    cluster.change(|topology| {
        topology.shards[0].voters = nodes(&[2, 3, 4]);
        topology.meta_voters = nodes(&[2, 3, 4]);
    });
    await_voters(&mut cluster, GROUP, &nodes(&[2, 3, 4]));
    await_voters(&mut cluster, GroupId::Meta, &nodes(&[2, 3, 4]));
    cluster.change(|topology| {
        topology.members.remove(&node(1));
    });
    cluster.until("nobody counts it", |cluster| {
        let meta = cluster.leader(GroupId::Meta);
        meta.and_then(|leader| cluster.replica(leader, GroupId::Meta))
            .is_some_and(|meta| !meta.configuration.contains(node(1)))
    });
    cluster.crash(node(1));
    cluster.machines.remove(&node(1));
    cluster.write("key", "value");
    assert_eq!(cluster.read("key"), bulk("value"));
}

#[test]
pub(super) fn a_wiped_node_is_replaced_by_a_new_one() {
    let mut cluster = Cluster::bootstrapped(5, 3, 2);
    for number in 0..10 {
        cluster.write(&format!("key-{number}"), "value");
    }
    cluster.crash(node(3));
    cluster.machines.remove(&node(3));
    join(&mut cluster, node(4));
    cluster.change(|topology| {
        topology.meta_voters = nodes(&[1, 2, 4]);
        for shard in &mut topology.shards {
            shard.voters = nodes(&[1, 2, 4]);
        }
    });
    for group in [GroupId::Meta, GROUP, GroupId::Shard(ShardId(1))] {
        await_voters(&mut cluster, group, &nodes(&[1, 2, 4]));
    }
    cluster.change(|topology| {
        topology.members.remove(&node(3));
    });
    cluster.crash(node(1));
    for number in 0..10 {
        assert_eq!(cluster.read(&format!("key-{number}")), bulk("value"));
    }
}

#[test]
pub(super) fn a_late_genesis_voter_starts_with_the_others_data() {
    let mut cluster = Cluster::new(6, 3);
    cluster.crash(node(3));
    let members = [1, 2, 3];
    let request = super::super::Request::Bootstrap {
        topology: Box::new(super::cluster::topology(&members, 1, &members)),
    };
    assert!(cluster.ask(node(1), request).is_ok());
    cluster.await_leader(GROUP);
    cluster.write("key", "value");
    cluster.start(node(3));
    cluster.until("it has the data", |cluster| {
        cluster.replica(node(3), GROUP).is_some_and(|replica| replica.keys == 1)
    });
    assert_eq!(cluster.replica(node(3), GROUP).unwrap().role, Role::Follower);
}

#[test]
pub(super) fn a_member_with_a_new_address_is_found_again() {
    let mut cluster = Cluster::bootstrapped(7, 3, 1);
    let mut addresses = member(node(2)).addresses;
    addresses.peer = "10.9.9.9:1".to_owned();
    for id in 1..=3 {
        let told = Input::PeerAddresses { peer: node(2), addresses: addresses.clone() };
        cluster.step(node(id), told);
    }
    cluster.until("everybody has the new address", |cluster| {
        cluster.machines.values().all(|machine| {
            machine
                .topology
                .as_ref()
                .is_some_and(|topology| topology.members[&node(2)].addresses == addresses)
        })
    });
}

#[test]
pub(super) fn the_preferred_leader_leads() {
    let mut cluster = Cluster::bootstrapped(8, 3, 1);
    for preferred in [1, 2, 3, 1].map(node) {
        cluster.change(|topology| topology.shards[0].preferred_leader = Some(preferred));
        cluster.crash(preferred);
        cluster.await_other_leader(GROUP, preferred);
        cluster.start(preferred);
        cluster.run_for(Duration::from_secs(1));
        cluster.write("key", "value");
    }
}
