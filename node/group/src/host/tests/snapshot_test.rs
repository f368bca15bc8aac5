//! Followers that the log does not reach get a snapshot.

use std::time::Duration;

use quorate_model::GroupId;

use super::cluster::{Cluster, SHARD, bulk, node};

const GROUP: GroupId = GroupId::Shard(SHARD);

/// A cluster whose log is short and whose flushes are frequent.
fn tight(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed, 3);
    cluster.settings.flush_bytes = 8 << 10;
    cluster.settings.segment_bytes = 8 << 10;
    cluster.settings.log_kept_bytes = 16 << 10;
    cluster.settings.snapshot_chunk_bytes = 1 << 10;
    cluster.settings.replication.cache_bytes_max = 4 << 10;
    for id in 1..=3 {
        cluster.crash(node(id));
        cluster.start(node(id));
    }
    cluster.bootstrap(super::cluster::topology(&[1, 2, 3], 1, &[1, 2, 3]));
    cluster
}

fn fill(cluster: &mut Cluster, from: u32, count: u32) {
    let value = "v".repeat(400);
    for number in from..from + count {
        cluster.write(&format!("key-{number}"), &value);
    }
}

fn caught_up(cluster: &mut Cluster, id: quorate_model::NodeId) {
    cluster.until("it has caught up", |cluster| {
        let Some(leader) = cluster.leader(GROUP) else { return false };
        let leader = cluster.replica(leader, GROUP).unwrap();
        cluster
            .replica(id, GROUP)
            .is_some_and(|replica| replica.applied == leader.applied && replica.keys == leader.keys)
    });
}

#[test]
pub(super) fn a_follower_behind_the_log_catches_up_by_snapshot() {
    let mut cluster = tight(1);
    let leader = cluster.await_leader(GROUP);
    let behind = (1..=3).map(node).find(|id| *id != leader).unwrap();
    cluster.crash(behind);
    fill(&mut cluster, 0, 200);
    let leader_log = cluster.host(cluster.leader(GROUP).unwrap()).status().log_bytes;
    assert!(leader_log < 200 << 10, "{leader_log} bytes of log are kept");
    // At most one window is streamed to a node that says nothing.
    assert!(cluster.chunks <= 4);
    cluster.start(behind);
    caught_up(&mut cluster, behind);
    assert!(cluster.chunks > 10, "{} chunks", cluster.chunks);
    assert_eq!(cluster.read_local(behind, "key-199"), Ok(bulk(&"v".repeat(400))));
    // What was installed survives.
    cluster.restart(behind);
    fill(&mut cluster, 200, 5);
    caught_up(&mut cluster, behind);
    assert_eq!(cluster.read_local(behind, "key-7"), Ok(bulk(&"v".repeat(400))));
}

#[test]
pub(super) fn a_snapshot_goes_on_through_loss() {
    let mut cluster = tight(2);
    let leader = cluster.await_leader(GROUP);
    let behind = (1..=3).map(node).find(|id| *id != leader).unwrap();
    cluster.crash(behind);
    fill(&mut cluster, 0, 120);
    cluster.loss = 100;
    cluster.start(behind);
    caught_up(&mut cluster, behind);
    cluster.loss = 0;
    assert_eq!(cluster.read_local(behind, "key-119"), Ok(bulk(&"v".repeat(400))));
}

#[test]
pub(super) fn a_receiver_that_dies_at_any_moment_starts_again() {
    for delay in 0..12 {
        let mut cluster = tight(100 + delay);
        let leader = cluster.await_leader(GROUP);
        let behind = (1..=3).map(node).find(|id| *id != leader).unwrap();
        cluster.crash(behind);
        fill(&mut cluster, 0, 100);
        cluster.start(behind);
        let before = cluster.chunks;
        cluster.until("a snapshot begins", |cluster| cluster.chunks > before);
        cluster.run_for(Duration::from_millis(2 * delay));
        cluster.restart(behind);
        caught_up(&mut cluster, behind);
        assert_eq!(cluster.read_local(behind, "key-99"), Ok(bulk(&"v".repeat(400))));
    }
}

#[test]
pub(super) fn a_sender_that_dies_is_followed_by_another() {
    let mut cluster = tight(3);
    let leader = cluster.await_leader(GROUP);
    let behind = (1..=3).map(node).find(|id| *id != leader).unwrap();
    cluster.crash(behind);
    fill(&mut cluster, 0, 150);
    cluster.start(behind);
    let before = cluster.chunks;
    cluster.until("a snapshot begins", |cluster| cluster.chunks > before + 3);
    let leader = cluster.await_leader(GROUP);
    cluster.crash(leader);
    cluster.run_for(Duration::from_secs(5));
    cluster.start(leader);
    caught_up(&mut cluster, behind);
    fill(&mut cluster, 150, 3);
}

#[test]
pub(super) fn the_log_stays_bounded_and_restarts_replay_it() {
    let mut cluster = tight(4);
    fill(&mut cluster, 0, 600);
    for id in 1..=3 {
        let bytes = cluster.host(node(id)).status().log_bytes;
        assert!(bytes < 256 << 10, "{bytes} bytes of log");
    }
    for id in 1..=3 {
        cluster.crash(node(id));
    }
    for id in 1..=3 {
        cluster.start(node(id));
    }
    assert_eq!(cluster.read("key-0"), bulk(&"v".repeat(400)));
    assert_eq!(cluster.read("key-599"), bulk(&"v".repeat(400)));
}
