//! The durability of a running store changes, again and again, while a client writes.

use quorate_model::{Durability, InSyncPolicy, OnLoss, Policy, ShardId};

use crate::support::{Dev, Writer, await_durability, declare};

const SHARD: ShardId = ShardId(0);

#[tokio::test(flavor = "multi_thread")]
async fn every_durability_follows_every_other_without_losing_a_write() {
    let dev =
        Dev::start(&["--nodes", "3", "--shards", "1", "--policy", r#"{"durability":"Sync"}"#]);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let first = await_durability(SHARD, &nodes, Durability::Sync).await;
    assert_eq!(first.acknowledgement.in_sync.len(), 3);
    let writer = Writer::start(dev.plain_addresses(), SHARD, 1);
    for durability in [
        Durability::SemiSync,
        Durability::Async,
        Durability::Quorum,
        Durability::Sync,
        Durability::Async,
        Durability::SemiSync,
        Durability::Quorum,
    ] {
        let on_loss = OnLoss::Block;
        let in_sync = InSyncPolicy { on_loss, ..InSyncPolicy::default() };
        declare(SHARD, &nodes, &Policy { durability, in_sync, ..Policy::default() }).await;
        writer.progress(50).await;
    }
    let written = writer.finish(&dev.nodes[0].addresses.plain).await;
    println!("durability switched: write gap {:?}, {} failed", written.gap(), written.failed);
}
