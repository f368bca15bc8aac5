//! A follower stalls: nobody waits for it.

use quorate_model::ShardId;

use crate::support::{Dev, Signal, Writer, caught_up, eventually, leader_of, signal};

const SHARD: ShardId = ShardId(0);

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_while_a_follower_is_frozen_and_it_catches_up() {
    let dev = Dev::start(&["--nodes", "3", "--shards", "1"]);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let leader = leader_of(SHARD, &nodes).await;
    let frozen = dev.others(leader)[0];
    let writer = Writer::start(vec![dev.node(leader).addresses.plain.clone()], SHARD, 1);
    writer.progress(50).await;
    signal(frozen.pid, Signal::Freeze);
    writer.progress(300).await;
    signal(frozen.pid, Signal::Thaw);
    eventually("caught up", || async { caught_up(frozen).await.then_some(()) }).await;
    let written = writer.finish(&frozen.addresses.plain).await;
    println!("follower frozen: write gap {:?}, {} failed", written.gap(), written.failed);
}
