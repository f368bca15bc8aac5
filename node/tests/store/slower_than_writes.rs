//! A follower is sent less than is written: its leader says so, and keeps its own disk.

use quorate_model::ShardId;

use crate::support::{
    Signal, await_in_step, await_short_logs, await_snapshot, check_filled, fill, follower,
    settled_leader, short_log, signal, start_with,
};

const SHARD: ShardId = ShardId(0);
/// Far less than a client writes.
const SNAPSHOT_BYTES_PER_SECOND: u64 = 500_000;
const KEYS: u64 = 600;
const KEYS_AT_ONCE: u64 = 40;
const KEYS_MAX: u64 = 40_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_slower_than_the_writes_is_said_to_be_and_fills_nobodys_disk() {
    let settings = tempfile::tempdir().unwrap();
    let config = short_log(settings.path(), SNAPSHOT_BYTES_PER_SECOND);
    let dev = start_with(&config);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let leader = settled_leader(SHARD, &nodes).await;
    let slow = dev.others(leader)[0];
    let others = dev.others(slow.node);
    signal(slow.pid, Signal::Freeze);
    fill(dev.node(leader), SHARD, 0, KEYS).await;
    signal(slow.pid, Signal::Thaw);
    await_snapshot(SHARD, &others, slow.node).await;

    // While its snapshot is under way, more is written than the log holds for it.
    let mut written = KEYS;
    while !follower(SHARD, &others, slow.node).await.unwrap().catch_up.slower_than_writes {
        assert!(written < KEYS_MAX, "nobody says that it is slower than the writes");
        fill(dev.node(leader), SHARD, written, written + KEYS_AT_ONCE).await;
        written += KEYS_AT_ONCE;
    }
    await_short_logs(&dev, &others).await;
    let warned = others.iter().any(|node| {
        let log = dev.directory.join(format!("{}.log", node.name));
        std::fs::read_to_string(log).unwrap().contains("slower than the writes")
    });
    assert!(warned, "no warning in the log of who leads");

    await_in_step(SHARD, &others, slow).await;
    check_filled(slow, SHARD, written).await;
}
