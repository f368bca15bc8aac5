//! Under `Async` a leader acknowledges what only its own disk holds, and is then replaced: what is lost is told, kept, and can be
//! done again.

use quorate_model::admin::{Replayed, RollbackFile};
use quorate_model::{Durability, Policy, ShardId};
use quorate_node::dev::http;
use redis::AsyncCommands;

use crate::support::{
    Dev, PATIENCE, Signal, connect, declare, eventually, key_of, leader_of, leading, report, signal,
};

const SHARD: ShardId = ShardId(0);
const WRITES: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_an_asynchronous_leader_lost_can_be_listed_read_and_replayed() {
    let dev = Dev::start(&["--nodes", "3", "--shards", "1", "--restart"]);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    declare(SHARD, &nodes, &Policy { durability: Durability::Async, ..Policy::default() }).await;
    let old = leader_of(SHARD, &nodes).await;
    let others = dev.others(old);
    let mut client = connect(&dev.node(old).addresses.plain, PATIENCE).await.unwrap();
    let key = |number| key_of(SHARD, 1, number);
    let _: () = client.set(key(0), "kept").await.unwrap();

    // With its followers dead, the leader is alone for an election timeout.
    for other in &others {
        signal(other.pid, Signal::Kill);
    }
    let mut acknowledged = 0;
    for number in 1..=WRITES {
        let outcome: redis::RedisResult<()> = client.set(key(number), "lost").await;
        if outcome.is_err() {
            break;
        }
        acknowledged += 1;
    }
    signal(dev.node(old).pid, Signal::Freeze);
    assert!(acknowledged > 0, "the leader acknowledges from its own disk");
    let new = leader_of(SHARD, &others).await;
    assert_ne!(new, old);
    assert!(leading(SHARD, &others).await.failovers.last().unwrap().lossy);
    signal(dev.node(old).pid, Signal::Thaw);

    let files = eventually("a rollback file", || async {
        let files = report(dev.node(old)).await?.rollbacks;
        (!files.is_empty()).then_some(files)
    })
    .await;
    // The last write may have been cut short by the freeze: it counts as lost, too.
    let lost: u64 = files.iter().map(|file| file.writes).sum();
    assert!((acknowledged..=acknowledged + 1).contains(&lost), "{lost} of {acknowledged}");
    let admin = &dev.node(old).addresses.admin;
    let listed: Vec<RollbackFile> = http::get(admin, "/v1/rollbacks").await.unwrap();
    assert_eq!(listed, files);

    let mut client = connect(&dev.node(new).addresses.plain, PATIENCE).await.unwrap();
    let gone: Option<String> = client.get(key(1)).await.unwrap();
    assert_eq!(gone, None);
    for file in &files {
        let path = format!("/v1/rollbacks/{}/replay", file.name);
        let replayed: Replayed = http::post(admin, &path, &()).await.unwrap();
        assert_eq!(replayed.writes, file.writes);
    }
    for number in 0..=acknowledged {
        let found: Option<String> = client.get(key(number)).await.unwrap();
        assert_eq!(found.as_deref(), Some(if number == 0 { "kept" } else { "lost" }), "{number}");
    }
}
