//! A follower was away for so long that nobody's log reaches it any more.

use quorate_model::ShardId;

use crate::support::{
    Node, Signal, await_in_step, await_short_logs, await_snapshot, check_filled, eventually, fill,
    is_running, settled_leader, short_log, signal, start_with,
};

const SHARD: ShardId = ShardId(0);
const KEYS: u64 = 1_000;
const SNAPSHOT_BYTES_PER_SECOND: u64 = 4 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_down_for_long_gets_a_snapshot_from_the_other_follower() {
    let settings = tempfile::tempdir().unwrap();
    let config = short_log(settings.path(), SNAPSHOT_BYTES_PER_SECOND);
    let dev = start_with(&config);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let leader = settled_leader(SHARD, &nodes).await;
    let away = dev.others(leader)[0];
    signal(away.pid, Signal::Kill);
    eventually("the node's end", || async { (!is_running(away.pid)).then_some(()) }).await;
    fill(dev.node(leader), SHARD, 0, KEYS).await;
    let alive = dev.others(away.node);
    await_short_logs(&dev, &alive).await;

    let data = dev.directory.join(&away.name);
    let more = ["--config", config.to_str().unwrap()];
    let back = Node::start_with(&away.store.to_string(), &away.name, "dc-1", &data, &more);
    assert_eq!(back.at.node, away.node);
    await_snapshot(SHARD, &alive, away.node).await;
    await_in_step(SHARD, &alive, &back.at).await;
    check_filled(&back.at, SHARD, KEYS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_frozen_for_long_fills_nobodys_disk_and_gets_a_snapshot() {
    let settings = tempfile::tempdir().unwrap();
    let config = short_log(settings.path(), SNAPSHOT_BYTES_PER_SECOND);
    let dev = start_with(&config);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let leader = settled_leader(SHARD, &nodes).await;
    let frozen = dev.others(leader)[0];
    signal(frozen.pid, Signal::Freeze);
    let awake = dev.others(frozen.node);
    fill(dev.node(leader), SHARD, 0, KEYS).await;
    await_short_logs(&dev, &awake).await;
    signal(frozen.pid, Signal::Thaw);
    await_snapshot(SHARD, &awake, frozen.node).await;
    await_in_step(SHARD, &awake, frozen).await;
    check_filled(frozen, SHARD, KEYS).await;
}
