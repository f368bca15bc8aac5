//! A datacenter was away for so long that the other one's log no longer tells what it lacks.

use quorate_model::ShardId;

use crate::support::{
    Dev, PATIENCE, Signal, ask, check_filled, connect, eventually, fill, has_short_log, short_log,
    signal,
};

const SHARD: ShardId = ShardId(0);
const KEYS: u64 = 1_000;
const BYTES_PER_SECOND: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_beyond_the_log_takes_over_all_and_gives_what_it_wrote_meanwhile() {
    let settings = tempfile::tempdir().unwrap();
    let config = short_log(settings.path(), BYTES_PER_SECOND);
    let size = ["--nodes", "2", "--datacenters", "2", "--shards", "1"];
    let more = ["--mode", "multi-leader", "--config", config.to_str().unwrap()];
    let dev = Dev::start(&[&size[..], &more].concat());
    let [one, other] = &dev.nodes[..] else { panic!("two nodes") };
    let set = |at, key: &'static str, value: &'static str| async move {
        let at: &quorate_node::node::Announcement = at;
        let mut client = connect(&at.addresses.plain, PATIENCE).await.unwrap();
        ask::<()>(&mut client, &["SET", key, value]).await.unwrap();
    };
    let reads = |at, key: &'static str, value: Option<&'static str>| async move {
        let at: &quorate_node::node::Announcement = at;
        eventually(key, || async {
            let mut client = connect(&at.addresses.plain, PATIENCE).await.ok()?;
            let found: Option<String> = ask(&mut client, &["GET", key]).await.ok()?;
            (found.as_deref() == value).then_some(())
        })
        .await;
    };
    set(one, "replaced", "before").await;
    set(one, "removed", "before").await;
    reads(other, "replaced", Some("before")).await;
    reads(other, "removed", Some("before")).await;
    signal(one.pid, Signal::Freeze);
    set(other, "of the other", "meanwhile").await;
    signal(other.pid, Signal::Freeze);
    signal(one.pid, Signal::Thaw);
    fill(one, SHARD, 0, KEYS).await;
    set(one, "replaced", "meanwhile").await;
    let mut client = connect(&one.addresses.plain, PATIENCE).await.unwrap();
    ask::<()>(&mut client, &["DEL", "removed"]).await.unwrap();
    // What is written last lets go of what was written before.
    eventually("a short log", || async {
        fill(one, SHARD, KEYS, KEYS + 20).await;
        has_short_log(&dev, one).then_some(())
    })
    .await;
    signal(other.pid, Signal::Thaw);
    reads(other, "replaced", Some("meanwhile")).await;
    reads(other, "removed", None).await;
    reads(other, "of the other", Some("meanwhile")).await;
    reads(one, "of the other", Some("meanwhile")).await;
    eventually("all keys", || async {
        let mut client = connect(&other.addresses.plain, PATIENCE).await.ok()?;
        let keys: u64 = ask(&mut client, &["DBSIZE"]).await.ok()?;
        (keys == KEYS + 20 + 2).then_some(())
    })
    .await;
    check_filled(other, SHARD, KEYS + 20).await;
    // And then changes go on.
    set(one, "after", "x").await;
    reads(other, "after", Some("x")).await;
    set(other, "after", "y").await;
    reads(one, "after", Some("y")).await;
}
