//! A store begins, serves, and goes on when nodes die and come back.

use std::time::Duration;

use quorate_model::admin::Role;
use quorate_model::{Epoch, GroupId};

use super::super::{Failure, Reply, Request};
use super::cluster::{Cluster, SHARD, bulk, node, topology};
use crate::Value;

const GROUP: GroupId = GroupId::Shard(SHARD);

#[test]
pub(super) fn a_bootstrapped_store_serves() {
    let mut cluster = Cluster::bootstrapped(1, 3, 4);
    cluster.write("key", "value");
    assert_eq!(cluster.read("key"), bulk("value"));
    assert_eq!(cluster.read("other"), Value::Nil);
    for id in 1..=3 {
        let status = cluster.host(node(id)).status();
        assert_eq!(status.replicas.len(), 5);
        assert!(status.syncs > 0);
    }
}

#[test]
pub(super) fn one_node_is_a_store() {
    let mut cluster = Cluster::bootstrapped(2, 1, 2);
    cluster.write("key", "value");
    cluster.restart(node(1));
    assert_eq!(cluster.read("key"), bulk("value"));
}

#[test]
pub(super) fn a_second_bootstrap_is_refused() {
    let mut cluster = Cluster::bootstrapped(3, 3, 1);
    for id in 1..=3 {
        let request =
            Request::Bootstrap { topology: Box::new(topology(&[1, 2, 3], 1, &[1, 2, 3])) };
        assert_eq!(cluster.ask(node(id), request), Err(Failure::AlreadyBootstrapped));
    }
}

#[test]
pub(super) fn a_bootstrap_that_was_cut_short_is_done_again() {
    let mut cluster = Cluster::new(4, 1);
    let request = Request::Bootstrap { topology: Box::new(topology(&[1], 1, &[1])) };
    cluster.request(node(1), request.clone());
    cluster.run_for(Duration::from_millis(2));
    cluster.restart(node(1));
    match cluster.ask(node(1), request) {
        Ok(Reply::Proposed { epoch }) => assert_eq!(epoch, Epoch(1)),
        other => assert_eq!(other, Err(Failure::AlreadyBootstrapped)),
    }
    cluster.write("key", "value");
}

#[test]
pub(super) fn the_death_of_the_leader_loses_nothing_acknowledged() {
    let mut cluster = Cluster::bootstrapped(5, 3, 1);
    for number in 0..20 {
        cluster.write(&format!("key-{number}"), "value");
    }
    let old = cluster.await_leader(GROUP);
    cluster.crash(old);
    let new = cluster.await_other_leader(GROUP, old);
    assert_ne!(new, old);
    for number in 0..20 {
        assert_eq!(cluster.read(&format!("key-{number}")), bulk("value"));
    }
    cluster.write("after", "failover");
    cluster.start(old);
    cluster.until("the old leader follows", |cluster| {
        cluster.replica(old, GROUP).is_some_and(|replica| {
            replica.role == Role::Follower
                && replica.applied == cluster.replica(new, GROUP).unwrap().applied
        })
    });
    assert_eq!(cluster.read_local(old, "after"), Ok(bulk("failover")));
}

#[test]
pub(super) fn every_node_restarts_in_turn() {
    let mut cluster = Cluster::bootstrapped(6, 3, 2);
    for round in 0..3 {
        for id in 1..=3 {
            cluster.write(&format!("key-{id}"), &format!("round-{round}"));
            cluster.restart(node(id));
            for other in 1..=id {
                let expected = bulk(&format!("round-{round}"));
                assert_eq!(cluster.read(&format!("key-{other}")), expected);
            }
        }
    }
}

#[test]
pub(super) fn all_nodes_lose_power_together() {
    let mut cluster = Cluster::bootstrapped(7, 3, 3);
    for number in 0..50 {
        cluster.write(&format!("key-{number}"), "value");
    }
    for id in 1..=3 {
        cluster.crash(node(id));
    }
    for id in 1..=3 {
        cluster.start(node(id));
    }
    for number in 0..50 {
        assert_eq!(cluster.read(&format!("key-{number}")), bulk("value"));
    }
}

#[test]
pub(super) fn an_isolated_leader_answers_no_linearizable_read() {
    let mut cluster = Cluster::bootstrapped(8, 3, 1);
    cluster.write("key", "old");
    let old = cluster.await_leader(GROUP);
    cluster.isolate(old);
    let read = Request::Execute {
        shard: SHARD,
        operation: super::cluster::get("key"),
        level: super::super::ReadLevel::Linearizable,
    };
    let stale = cluster.request(old, read);
    cluster.await_other_leader(GROUP, old);
    cluster.write("key", "new");
    let reply = cluster.reply(stale);
    assert!(
        matches!(
            reply,
            Err(Failure::NoLeader { .. } | Failure::NotLeader { .. } | Failure::TimedOut { .. })
        ),
        "{reply:?}"
    );
    cluster.heal();
    assert_eq!(cluster.read("key"), bulk("new"));
}

#[test]
pub(super) fn a_handover_moves_every_leadership() {
    let mut cluster = Cluster::bootstrapped(9, 3, 8);
    cluster.run_for(Duration::from_secs(2));
    for id in 1..=3 {
        let reply = cluster.ask(node(id), Request::Handover);
        let Ok(Reply::HandedOver { kept, .. }) = reply else { panic!("{reply:?}") };
        assert_eq!(kept, Vec::new());
        let led = cluster.host(node(id)).status().replicas;
        assert!(led.iter().all(|replica| replica.role != Role::Leader), "{led:?}");
    }
    cluster.write("key", "value");
}

#[test]
pub(super) fn a_stalled_disk_gives_leadership_away() {
    let mut cluster = Cluster::bootstrapped(10, 3, 1);
    let old = cluster.await_leader(GROUP);
    cluster.machines[&old].disk.stall(true);
    let request = Request::Execute {
        shard: SHARD,
        operation: super::cluster::set("key", "value"),
        level: super::super::ReadLevel::Linearizable,
    };
    let pending = cluster.request(old, request);
    cluster.await_other_leader(GROUP, old);
    cluster.write("other", "value");
    cluster.machines[&old].disk.stall(false);
    let reply = cluster.reply(pending);
    assert!(matches!(reply, Ok(_) | Err(Failure::Unknown)), "{reply:?}");
}

#[test]
pub(super) fn a_failed_sync_stops_the_host() {
    let mut cluster = Cluster::bootstrapped(11, 3, 1);
    let leader = cluster.await_leader(GROUP);
    let disk = cluster.machines[&leader].disk.clone();
    disk.fail_next(quorate_storage::disk::simulated::Target::Sync, std::io::ErrorKind::Other);
    let request = Request::Execute {
        shard: SHARD,
        operation: super::cluster::set("key", "value"),
        level: super::super::ReadLevel::Linearizable,
    };
    cluster.request(leader, request);
    cluster.until("the host stops", |cluster| cluster.machines[&leader].fatal.is_some());
    let pending = disk.pending();
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(disk.pending(), pending, "INV-40: nothing is written after a failed sync");
    cluster.crash(leader);
    cluster.write("key", "again");
    cluster.start(leader);
    assert_eq!(cluster.read("key"), bulk("again"));
}

#[test]
pub(super) fn a_thousand_shards_elect_and_serve() {
    let mut cluster = Cluster::bootstrapped(12, 3, 1000);
    for shard in [0, 499, 999].map(quorate_model::ShardId) {
        let operation = super::cluster::set("key", "value");
        assert_eq!(cluster.run(shard, &operation).0, Value::Ok);
    }
}
