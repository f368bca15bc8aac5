//! A replica whose rows went bad: found by comparison, taken out, rebuilt. Whoever is wrong, the leader as well.

use std::time::Duration;

use quorate_model::{GroupId, NodeId};

use super::super::{Failure, ReadLevel};
use super::cluster::{Cluster, SHARD, bulk, get, node};

const GROUP: GroupId = GroupId::Shard(SHARD);
const KEYS: u32 = 60;

fn written(seed: u64, nodes: u128) -> Cluster {
    let mut cluster = Cluster::new(seed, nodes);
    cluster.settings.check_interval = Duration::from_millis(200);
    // A pass takes several marks.
    cluster.settings.check_rows_max = 25;
    let members: Vec<u128> = (1..=nodes).collect();
    for id in &members {
        cluster.restart(node(*id));
    }
    cluster.bootstrap(super::cluster::topology(&members, 1, &members));
    for number in 0..KEYS {
        cluster.write(&format!("key-{number}"), "value");
    }
    cluster.settle();
    cluster
}

fn followers(cluster: &mut Cluster) -> (NodeId, Vec<NodeId>) {
    let leader = cluster.await_leader(GROUP);
    (leader, cluster.machines.keys().copied().filter(|id| *id != leader).collect())
}

fn flip(cluster: &Cluster, id: NodeId, key: &str) {
    let row = cluster.stored_row(id, key);
    assert!(cluster.machines[&id].state.flip_bit(&row, 10, 3));
}

fn await_rebuilt(cluster: &mut Cluster, id: NodeId) {
    cluster.until("it is taken out", |cluster| {
        cluster.host(id).status().quarantines > 0
            && cluster.replica(id, GROUP).is_some_and(|replica| replica.quarantined.is_some())
    });
    let read = cluster.read_local(id, "key-1");
    assert!(matches!(read, Err(Failure::Damaged(_))), "{read:?}");
    cluster.until("it is rebuilt", |cluster| {
        let replica = cluster.replica(id, GROUP).unwrap();
        replica.quarantined.is_none()
    });
}

fn assert_whole(cluster: &mut Cluster) {
    cluster.write("after", "wards");
    cluster.settle();
    let ids: Vec<NodeId> = cluster.machines.keys().copied().collect();
    for id in &ids {
        assert_eq!(cluster.rows(*id), cluster.rows(ids[0]), "{id}");
        assert_eq!(cluster.machines[id].fatal, None);
    }
    for number in 0..KEYS {
        assert_eq!(cluster.read(&format!("key-{number}")), bulk("value"));
    }
}

#[test]
fn a_followers_flipped_bit_is_found_and_the_follower_rebuilt() {
    let mut cluster = written(61, 3);
    let (_, followers) = followers(&mut cluster);
    flip(&cluster, followers[0], "key-33");
    assert_eq!(cluster.read_local(followers[0], "key-2"), Ok(bulk("value")));
    await_rebuilt(&mut cluster, followers[0]);
    assert_whole(&mut cluster);
}

#[test]
fn a_leaders_flipped_bit_costs_it_its_office_and_nothing_else() {
    let mut cluster = written(62, 3);
    let (leader, _) = followers(&mut cluster);
    flip(&cluster, leader, "key-7");
    await_rebuilt(&mut cluster, leader);
    assert_ne!(cluster.leader(GROUP), Some(leader));
    assert_whole(&mut cluster);
}

#[test]
fn equal_replicas_are_compared_for_ever_and_left_alone() {
    let mut cluster = written(63, 3);
    let (leader, _) = followers(&mut cluster);
    cluster.until("three passes over all rows", |cluster| {
        cluster.replica(leader, GROUP).is_some_and(|replica| replica.passes >= 3)
    });
    for id in [1, 2, 3].map(node) {
        assert_eq!(cluster.host(id).status().quarantines, 0);
    }
}

#[test]
fn a_replica_that_is_out_stays_out_over_a_restart() {
    let mut cluster = written(64, 3);
    let (leader, followers) = followers(&mut cluster);
    flip(&cluster, followers[1], "key-33");
    cluster.until("it is taken out", |cluster| {
        cluster.replica(followers[1], GROUP).is_some_and(|replica| replica.quarantined.is_some())
    });
    // No snapshot reaches it before it restarts.
    cluster.cut.insert((leader, followers[1]));
    cluster.cut.insert((followers[0], followers[1]));
    cluster.settings.flush_age = Duration::from_millis(1);
    cluster.run_for(Duration::from_secs(40));
    cluster.restart(followers[1]);
    let replica = cluster.replica(followers[1], GROUP).unwrap();
    assert!(replica.quarantined.is_some() && !replica.damaged, "its log is whole");
    cluster.heal();
    cluster.until("it is rebuilt", |cluster| {
        cluster.replica(followers[1], GROUP).is_some_and(|replica| replica.quarantined.is_none())
    });
    assert_whole(&mut cluster);
}

#[test]
fn two_of_three_go_on_with_the_thirds_rows() {
    let mut cluster = written(66, 3);
    let (leader, followers) = followers(&mut cluster);
    for id in [leader, followers[0]] {
        flip(&cluster, id, "key-33");
        cluster.quarantine(id, GROUP);
    }
    // The logs are whole, so the one whose rows are right is elected, and writes are acknowledged meanwhile.
    cluster.until("the third leads", |cluster| cluster.leader(GROUP) == Some(followers[1]));
    cluster.write("meanwhile", "written");
    for id in [leader, followers[0]] {
        cluster.until("it is rebuilt", |cluster| {
            cluster.replica(id, GROUP).is_some_and(|replica| replica.quarantined.is_none())
        });
    }
    assert_whole(&mut cluster);
}

#[test]
fn rows_found_wrong_before_they_are_durable_are_replaced_again() {
    let mut cluster = written(67, 3);
    let (_, followers) = followers(&mut cluster);
    let id = followers[0];
    cluster.quarantine(id, GROUP);
    cluster.until("the rows are switched to", |cluster| {
        let incoming = cluster.host(id).groups[&GROUP].incoming.as_ref();
        incoming.is_some_and(|incoming| incoming.is_switched())
    });
    cluster.quarantine(id, GROUP);
    cluster.until("it is rebuilt", |cluster| {
        cluster.replica(id, GROUP).is_some_and(|replica| replica.quarantined.is_none())
    });
    assert_eq!(cluster.host(id).status().quarantines, 2);
    assert_whole(&mut cluster);
}

#[test]
fn where_no_majority_agrees_nobody_is_taken_out_and_it_is_said() {
    let mut cluster = written(65, 3);
    let (leader, followers) = followers(&mut cluster);
    flip(&cluster, followers[0], "key-33");
    flip(&cluster, followers[1], "key-7");
    flip(&cluster, leader, "key-41");
    cluster.settings.check_rows_max = 1_000;
    for id in [1, 2, 3].map(node) {
        // All rows at once from here on, so that all three differ in one part.
        cluster
            .machines
            .get_mut(&id)
            .unwrap()
            .host
            .as_mut()
            .unwrap()
            .shared
            .settings
            .check_rows_max = 1_000;
    }
    cluster.until("it is said", |cluster| {
        let undecided = |id| cluster.replica(id, GROUP).and_then(|replica| replica.undecided);
        [1, 2, 3].into_iter().map(node).filter_map(undecided).any(|why| why.contains("majority"))
    });
    cluster.write("still", "serving");
}

#[test]
fn rows_that_cannot_be_read_are_rebuilt_wherever_they_are() {
    for leads in [false, true] {
        let mut cluster = written(66, 3);
        let (leader, followers) = followers(&mut cluster);
        let id = if leads { leader } else { followers[0] };
        let row = cluster.stored_row(id, "key-33");
        cluster.machines[&id].state.fail_row(row);
        await_rebuilt(&mut cluster, id);
        assert_whole(&mut cluster);
    }
}

#[test]
fn a_read_that_meets_a_bad_block_is_answered_by_the_next_leader() {
    let mut cluster = written(67, 3);
    let (leader, _) = followers(&mut cluster);
    let row = cluster.stored_row(leader, "key-33");
    cluster.machines[&leader].state.fail_row(row);
    let first = cluster.execute(leader, SHARD, get("key-33"), ReadLevel::Linearizable);
    assert!(matches!(first, Err(Failure::NotLeader { .. })), "{first:?}");
    assert_eq!(cluster.read("key-33"), bulk("value"));
    assert_ne!(cluster.leader(GROUP), Some(leader));
}

#[test]
fn the_only_replica_stops_and_says_why() {
    let mut cluster = written(68, 1);
    let row = cluster.stored_row(node(1), "key-33");
    cluster.machines[&node(1)].state.fail_row(row);
    let _never = cluster.request(
        node(1),
        super::super::Request::Execute {
            shard: SHARD,
            operation: get("key-33"),
            level: ReadLevel::Linearizable,
        },
    );
    cluster.until("it stops", |cluster| cluster.machines[&node(1)].fatal.is_some());
    assert!(cluster.machines[&node(1)].fatal.as_ref().unwrap().contains("cannot read"));
}
