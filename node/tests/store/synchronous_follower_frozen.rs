//! The synchronous follower stalls while a client writes.

use quorate_model::admin::SwapReason;
use quorate_model::{Durability, InSyncPolicy, NodeId, OnLoss, Policy, ShardId};

use crate::support::{Dev, Signal, Writer, await_durability, declare, eventually, leading, signal};

const SHARD: ShardId = ShardId(0);

/// A store whose synchronous follower froze a moment ago, under a client that writes through the leader.
struct Frozen {
    dev: Dev,
    leader: NodeId,
    follower: NodeId,
    writer: Writer,
}

impl Frozen {
    async fn start(on_loss: OnLoss) -> Self {
        let dev = Dev::start(&["--nodes", "3", "--shards", "1"]);
        let nodes: Vec<_> = dev.nodes.iter().collect();
        let in_sync = InSyncPolicy { count: 1, on_loss, slow_after_ms: 300 };
        let durability = Durability::SemiSync;
        declare(SHARD, &nodes, &Policy { durability, in_sync, ..Policy::default() }).await;
        let before = leading(SHARD, &nodes).await;
        let leader = before.leader.unwrap();
        let mut set = before.acknowledgement.in_sync.into_iter();
        let follower = set.find(|node| *node != leader).unwrap();
        let writer = Writer::start(vec![dev.node(leader).addresses.plain.clone()], SHARD, 1);
        writer.progress(100).await;
        signal(dev.node(follower).pid, Signal::Freeze);
        Self { dev, leader, follower, writer }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_synchronous_follower_is_replaced() {
    let Frozen { dev, leader, follower, writer } = Frozen::start(OnLoss::Replace).await;
    writer.progress(100).await;
    let after = leading(SHARD, &dev.others(follower)).await;
    assert!(!after.acknowledgement.in_sync.contains(&follower), "{after:?}");
    let swap = after.swaps.iter().rev().find(|swap| swap.removed.contains(&follower)).unwrap();
    assert!(matches!(swap.why, SwapReason::Slow | SwapReason::Gone), "{swap:?}");
    signal(dev.node(follower).pid, Signal::Thaw);
    let written = writer.finish(&dev.node(leader).addresses.plain).await;
    println!(
        "synchronous follower frozen: write gap {:?}, {} failed",
        written.gap(),
        written.failed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn under_block_writes_wait_for_it() {
    let Frozen { dev, leader, follower, writer } = Frozen::start(OnLoss::Block).await;
    let awake = dev.others(follower);
    eventually("the leader says whom it waits for", || async {
        let shown = leading(SHARD, &awake).await.acknowledgement;
        shown.waiting_for.contains(&follower).then_some(())
    })
    .await;
    let waiting = leading(SHARD, &awake).await;
    assert!(waiting.acknowledgement.in_sync.contains(&follower));
    signal(dev.node(follower).pid, Signal::Thaw);
    writer.progress(100).await;
    let nodes: Vec<_> = dev.nodes.iter().collect();
    await_durability(SHARD, &nodes, Durability::SemiSync).await;
    writer.finish(&dev.node(leader).addresses.plain).await;
}
