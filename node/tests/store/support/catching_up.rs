//! Stores whose log is short, so that a follower is soon behind it, and what their leaders say of it.

use std::path::{Path, PathBuf};

use quorate_model::admin::{CatchUp, CatchUpPhase, FollowerReport};
use quorate_model::{NodeId, ShardId};
use quorate_node::node::Announcement;

use super::{Dev, PATIENCE, caught_up, connect, eventually, key_of, leader_of, leading, topology};

/// What of the log nodes with these settings keep at the most: kept, held, and not yet released.
const LOG_BYTES_MAX: u64 = 4 << 20;
const VALUE_BYTES: usize = 10_000;
const TOGETHER: u64 = 20;

/// A file of settings: little log, and snapshots that take seconds.
pub(crate) fn short_log(directory: &Path, catch_up_bytes_per_second: u64) -> PathBuf {
    let path = directory.join("short-log.yaml");
    let settings = format!(
        "replication:\n  catch_up_bytes_per_second: {catch_up_bytes_per_second}\nstorage:\n  flush_bytes: 131072\n  \
         segment_bytes: 131072\n  log_kept_bytes: 262144\n  log_held_bytes: 524288\n  snapshot_chunk_bytes: 16384\n"
    );
    std::fs::write(&path, settings).unwrap();
    path
}

/// Three nodes with these settings and one shard.
pub(crate) fn start_with(config: &Path) -> Dev {
    Dev::start(&["--nodes", "3", "--shards", "1", "--config", config.to_str().unwrap()])
}

/// The leader, once it is the preferred one: it stays so when a follower has caught up.
pub(crate) async fn settled_leader(shard: ShardId, nodes: &[&Announcement]) -> NodeId {
    let preferred = topology(nodes[0]).await.placement(shard).unwrap().preferred_leader;
    eventually("the preferred leader", || async {
        let leader = leader_of(shard, nodes).await;
        preferred.is_none_or(|node| node == leader).then_some(leader)
    })
    .await
}

/// Writes keys `from` to `to`, 10,000 bytes each.
pub(crate) async fn fill(node: &Announcement, shard: ShardId, from: u64, to: u64) {
    let mut connection = eventually("a connection", || async {
        connect(&node.addresses.plain, PATIENCE).await.ok()
    })
    .await;
    for first in (from..to).step_by(usize::try_from(TOGETHER).unwrap()) {
        let mut batch = redis::pipe();
        for number in first..to.min(first + TOGETHER) {
            batch.set(key_of(shard, 1, number), value(number)).ignore();
        }
        eventually("acknowledged writes", || {
            let (batch, mut connection) = (&batch, connection.clone());
            async move { batch.query_async::<()>(&mut connection).await.ok() }
        })
        .await;
    }
    // The connection is of no more use; nobody waits for its end.
    drop(connection.send_packed_command(&redis::cmd("QUIT")).await);
}

/// Reads some of them from this node's own rows.
pub(crate) async fn check_filled(node: &Announcement, shard: ShardId, to: u64) {
    let address = &node.addresses.cluster;
    let mut connection =
        eventually("a connection", || async { connect(address, PATIENCE).await.ok() }).await;
    redis::cmd("READONLY").query_async::<()>(&mut connection).await.unwrap();
    for number in (0..to).step_by(7).chain([to - 1]) {
        let found = eventually("a read", || {
            let mut connection = connection.clone();
            let mut get = redis::cmd("GET");
            get.arg(key_of(shard, 1, number));
            async move { get.query_async::<Option<Vec<u8>>>(&mut connection).await.ok() }
        })
        .await;
        assert!(found == Some(value(number)), "key {number} is not what was written");
    }
}

/// What the shard's leader says of a follower.
pub(crate) async fn follower(
    shard: ShardId,
    nodes: &[&Announcement],
    of: NodeId,
) -> Option<FollowerReport> {
    leading(shard, nodes).await.followers.remove(&of)
}

/// Waits until a snapshot to this follower is under way, its rows among what was sent.
pub(crate) async fn await_snapshot(shard: ShardId, nodes: &[&Announcement], to: NodeId) {
    eventually("a snapshot under way", || async {
        let phase = follower(shard, nodes, to).await?.phase;
        matches!(phase, CatchUpPhase::Snapshot { bytes_sent, .. } if bytes_sent > 100_000)
            .then_some(())
    })
    .await;
}

/// Waits until what a follower that is gone would need is not kept.
pub(crate) async fn await_short_logs(dev: &Dev, nodes: &[&Announcement]) {
    eventually("short logs", || async {
        nodes.iter().all(|node| has_short_log(dev, node)).then_some(())
    })
    .await;
}

pub(crate) fn has_short_log(dev: &Dev, node: &Announcement) -> bool {
    log_bytes(&dev.directory.join(&node.name)) < LOG_BYTES_MAX
}

fn log_bytes(data: &Path) -> u64 {
    let segments = std::fs::read_dir(data.join("log")).unwrap();
    segments.map(|segment| segment.unwrap().metadata().map_or(0, |file| file.len())).sum()
}

/// Waits until a node has caught up, by its own word and its leader's.
pub(crate) async fn await_in_step(shard: ShardId, nodes: &[&Announcement], node: &Announcement) {
    eventually("caught up", || async { caught_up(node).await.then_some(()) }).await;
    eventually("nothing more is said of it", || async {
        let seen = follower(shard, nodes, node.node).await?;
        (seen.catch_up == CatchUp::default()).then_some(())
    })
    .await;
}

fn value(number: u64) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(VALUE_BYTES).collect()
}
