//! The leader's process is killed while a client writes.

use quorate_model::ShardId;

use crate::support::{Dev, Signal, Writer, leader_of, signal};

const SHARD: ShardId = ShardId(0);

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_write_is_lost_when_the_leader_is_killed() {
    let dev = Dev::start(&["--nodes", "3", "--shards", "1"]);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let leader = leader_of(SHARD, &nodes).await;
    let others = dev.others(leader);
    // Through the others: what is measured is the store's failover, not the client's.
    let addresses = others.iter().map(|node| node.addresses.plain.clone()).collect();
    let writer = Writer::start(addresses, SHARD, 1);
    writer.progress(100).await;
    signal(dev.node(leader).pid, Signal::Kill);
    writer.progress(100).await;
    let next = leader_of(SHARD, &others).await;
    assert_ne!(next, leader);
    let written = writer.finish(&others[0].addresses.plain).await;
    println!(
        "leader killed: write gap {:?}, {} acknowledged, {} failed",
        written.gap(),
        written.keys.len(),
        written.failed,
    );
}
