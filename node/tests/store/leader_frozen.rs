//! The leader's machine stalls: the process is there, and does nothing.

use quorate_model::ShardId;

use crate::support::{Dev, Signal, Writer, leader_of, signal};

const SHARD: ShardId = ShardId(0);

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_leader_is_replaced_and_comes_back_as_a_follower() {
    let dev = Dev::start(&["--nodes", "3", "--shards", "1"]);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let leader = leader_of(SHARD, &nodes).await;
    let others = dev.others(leader);
    let addresses = others.iter().map(|node| node.addresses.plain.clone()).collect();
    let writer = Writer::start(addresses, SHARD, 1);
    writer.progress(100).await;
    signal(dev.node(leader).pid, Signal::Freeze);
    let next = leader_of(SHARD, &others).await;
    assert_ne!(next, leader);
    writer.progress(100).await;
    signal(dev.node(leader).pid, Signal::Thaw);
    writer.progress(100).await;
    // Read through the one that was frozen: it must not answer from what it knew.
    let written = writer.finish(&dev.node(leader).addresses.plain).await;
    println!("leader frozen: write gap {:?}, {} failed", written.gap(), written.failed);
}
