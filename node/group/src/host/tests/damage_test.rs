//! A log that does not hold what it held: nothing is touched, and the peers repair it.

use std::time::Duration;

use quorate_model::{GroupId, NodeId};

use super::super::rows::Health;
use super::super::{Failure, ReadLevel};
use super::cluster::{Cluster, SHARD, bulk, get, node, topology};

const GROUP: GroupId = GroupId::Shard(SHARD);

/// Flips a bit in the middle of what the log holds.
fn damage(cluster: &mut Cluster, id: NodeId) {
    cluster.crash(id);
    let disk = cluster.machines[&id].disk.clone();
    let (file, _) = disk.lengths().into_iter().next().unwrap();
    assert!(disk.flip_bit(&file, 1024, 3), "the first segment reaches that far");
}

#[test]
pub(super) fn a_damaged_log_is_repaired_by_the_peers() {
    let mut cluster = Cluster::bootstrapped(1, 3, 3);
    for number in 0..30 {
        cluster.write(&format!("key-{number}"), "value");
    }
    damage(&mut cluster, node(2));
    let files = cluster.machines[&node(2)].disk.lengths();
    cluster.start(node(2));
    let status = cluster.host(node(2)).status();
    assert!(status.damaged.is_some());
    assert!(status.replicas.iter().all(|replica| replica.damaged));
    assert_eq!(cluster.machines[&node(2)].disk.lengths(), files, "nothing is touched");
    let read = cluster.execute(node(2), SHARD, get("key-1"), ReadLevel::Local);
    assert!(matches!(read, Err(Failure::Damaged(_))), "{read:?}");
    cluster.until("it is repaired", |cluster| {
        let status = cluster.host(node(2)).status();
        status.damaged.is_none() && status.replicas.iter().all(|replica| !replica.damaged)
    });
    cluster.write("after", "repair");
    let other = [1, 3].map(node).into_iter().find(|id| cluster.leader(GROUP) != Some(*id)).unwrap();
    cluster.crash(other);
    // Every majority needs the repaired one.
    for number in 0..30 {
        assert_eq!(cluster.read(&format!("key-{number}")), bulk("value"));
    }
    assert_eq!(cluster.read("after"), bulk("repair"));
    cluster.restart(node(2));
    assert!(cluster.host(node(2)).status().damaged.is_none());
    assert_eq!(cluster.read("after"), bulk("repair"));
}

#[test]
pub(super) fn a_repair_that_dies_is_done_again() {
    for delay in 0..10 {
        let mut cluster = Cluster::bootstrapped(20 + delay, 3, 2);
        for number in 0..10 {
            cluster.write(&format!("key-{number}"), "value");
        }
        damage(&mut cluster, node(1));
        cluster.start(node(1));
        cluster.run_for(Duration::from_millis(5 * delay + 1));
        cluster.restart(node(1));
        cluster.until("it is repaired", |cluster| {
            let status = cluster.host(node(1)).status();
            status.damaged.is_none() && status.replicas.iter().all(|replica| !replica.damaged)
        });
        cluster.write("after", "repair");
        assert_eq!(cluster.read("key-9"), bulk("value"));
    }
}

#[test]
pub(super) fn a_repair_goes_on_when_a_group_has_left_for_other_nodes() {
    let mut cluster = Cluster::new(40, 6);
    cluster.bootstrap(topology(&[1, 2, 3, 4, 5, 6], 1, &[1, 2, 3]));
    cluster.write("key", "value");
    while cluster.await_leader(GROUP) == cluster.await_leader(GroupId::Meta) {
        let leader = cluster.await_leader(GROUP);
        cluster.restart(leader);
    }
    let leaders = [GROUP, GroupId::Meta].map(|group| cluster.await_leader(group));
    let damaged = [1, 2, 3].map(node).into_iter().find(|id| !leaders.contains(id)).unwrap();
    damage(&mut cluster, damaged);
    cluster.cut.insert((leaders[0], damaged));
    cluster.start(damaged);
    cluster.until("one of its groups is repaired", |cluster| {
        let groups = &cluster.host(damaged).groups;
        groups[&GroupId::Meta].standing.health == Health::Sound
    });
    cluster.change(|topology| topology.shards[0].voters = [4, 5, 6].map(node).into());
    cluster.until("the shard has moved", |cluster| {
        [1, 2, 3].map(node).iter().all(|id| *id == damaged || cluster.replica(*id, GROUP).is_none())
    });
    // Nobody of whom it knew from that shard is there any more.
    cluster.heal();
    cluster.until("it is repaired", |cluster| {
        let status = cluster.host(damaged).status();
        status.damaged.is_none() && cluster.replica(damaged, GROUP).is_none()
    });
    assert_eq!(cluster.read("key"), bulk("value"));
}

#[test]
pub(super) fn the_only_replica_stays_down_and_says_why() {
    let mut cluster = Cluster::bootstrapped(2, 1, 1);
    cluster.write("key", "value");
    damage(&mut cluster, node(1));
    let files = cluster.machines[&node(1)].disk.lengths();
    cluster.start(node(1));
    let read = cluster.execute(node(1), SHARD, get("key"), ReadLevel::Linearizable);
    let Err(Failure::Damaged(why)) = read else { panic!("{read:?}") };
    assert!(why.contains("damaged"), "{why}");
    cluster.run_for(Duration::from_secs(10));
    assert!(cluster.host(node(1)).status().damaged.is_some());
    assert_eq!(cluster.machines[&node(1)].disk.lengths(), files, "nothing is touched");
}

#[test]
pub(super) fn a_state_store_ahead_of_its_log_is_damage() {
    let mut cluster = Cluster::bootstrapped(3, 3, 1);
    cluster.settings.flush_bytes = 1;
    cluster.restart(node(3));
    for number in 0..10 {
        cluster.write(&format!("key-{number}"), "value");
    }
    cluster.run_for(Duration::from_secs(1));
    cluster.crash(node(3));
    cluster.machines[&node(3)].disk.wipe();
    cluster.start(node(3));
    assert!(cluster.host(node(3)).status().damaged.is_some());
    cluster.until("it is repaired", |cluster| cluster.host(node(3)).status().damaged.is_none());
    cluster.write("after", "repair");
    assert!(cluster.replica(node(3), GROUP).is_some());
}
