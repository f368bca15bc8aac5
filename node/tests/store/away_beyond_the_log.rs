//! A follower was away for so long that nobody's log reaches it any more.

use std::path::Path;

use quorate_model::admin::CatchUp;
use quorate_model::{NodeId, ShardId};
use quorate_node::node::Announcement;

use crate::support::{
    Dev, LOG_BYTES_MAX, Node, Signal, await_snapshot, caught_up, check_filled, eventually, fill,
    follower, is_running, leader_of, short_log, signal,
};

const SHARD: ShardId = ShardId(0);
const KEYS: u64 = 1_000;
const SNAPSHOT_BYTES_PER_SECOND: u64 = 4 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_down_for_long_gets_a_snapshot_from_the_other_follower() {
    let settings = tempfile::tempdir().unwrap();
    let config = short_log(settings.path(), SNAPSHOT_BYTES_PER_SECOND);
    let dev = start(&config);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let leader = leader_of(SHARD, &nodes).await;
    let away = dev.others(leader)[0];
    signal(away.pid, Signal::Kill);
    eventually("the node's end", || async { (!is_running(away.pid)).then_some(()) }).await;
    fill(dev.node(leader), SHARD, 0, KEYS).await;
    let alive = dev.others(away.node);
    await_bounded_logs(&dev, &alive).await;

    let data = dev.directory.join(&away.name);
    let more = ["--config", config.to_str().unwrap()];
    let back = Node::start_with(&away.store.to_string(), &away.name, "dc-1", &data, &more);
    assert_eq!(back.at.node, away.node);
    await_snapshot(SHARD, &alive, away.node).await;
    await_in_step(&alive, &back.at).await;
    check_filled(&back.at, SHARD, KEYS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_frozen_for_long_fills_nobodys_disk_and_gets_a_snapshot() {
    let settings = tempfile::tempdir().unwrap();
    let config = short_log(settings.path(), SNAPSHOT_BYTES_PER_SECOND);
    let dev = start(&config);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let leader = leader_of(SHARD, &nodes).await;
    let frozen = dev.others(leader)[0];
    signal(frozen.pid, Signal::Freeze);
    let awake = dev.others(frozen.node);
    fill(dev.node(leader), SHARD, 0, KEYS).await;
    await_bounded_logs(&dev, &awake).await;
    signal(frozen.pid, Signal::Thaw);
    await_snapshot(SHARD, &awake, frozen.node).await;
    await_in_step(&awake, frozen).await;
    check_filled(frozen, SHARD, KEYS).await;
}

fn start(config: &Path) -> Dev {
    Dev::start(&["--nodes", "3", "--shards", "1", "--config", config.to_str().unwrap()])
}

/// Ten megabytes were written; what a follower that is gone would need is not kept.
async fn await_bounded_logs(dev: &Dev, nodes: &[&Announcement]) {
    eventually("short logs", || async {
        let mut logs = nodes.iter().map(|node| log_bytes(&dev.directory.join(&node.name)));
        logs.all(|bytes| bytes < LOG_BYTES_MAX).then_some(())
    })
    .await;
}

fn log_bytes(data: &Path) -> u64 {
    let segments = std::fs::read_dir(data.join("log")).unwrap();
    segments.map(|segment| segment.unwrap().metadata().map_or(0, |file| file.len())).sum()
}

/// Caught up, by its own word and its leader's.
async fn await_in_step(nodes: &[&Announcement], node: &Announcement) {
    eventually("caught up", || async { caught_up(node).await.then_some(()) }).await;
    let of: NodeId = node.node;
    eventually("nothing more is said of it", || async {
        let seen = follower(SHARD, nodes, of).await?;
        (seen.catch_up == CatchUp::default()).then_some(())
    })
    .await;
}
