//! Sessions that go from one datacenter to another, each with leaders of its own: with a token they are answered from no less than
//! they have written and seen, or are told what is lacking and where it is.

use std::time::Instant;

use quorate_node::node::Announcement;
use redis::aio::MultiplexedConnection;

use crate::support::{Dev, PATIENCE, Signal, ask, connect, eventually, key_of, signal};
use quorate_model::ShardId;

const SHARDS: u16 = 2;
const ROUNDS: u64 = 100;

/// A ring of three datacenters. What is written in the first comes to the third by the second only.
fn ring(more: &[&str]) -> Dev {
    let policy = r#"{"links":{"Circular":["dc-a","dc-b","dc-c"]},"reroute":false,
        "conflicts":{"keys":[{"pattern":"*siblings*","resolution":"Siblings"}]}}"#;
    let shards = SHARDS.to_string();
    let mode = ["--mode", "multi-leader", "--multi-leader", policy];
    Dev::start(&[&mode[..], &["--datacenters", "3", "--shards", &shards], more].concat())
}

async fn plain(node: &Announcement) -> MultiplexedConnection {
    eventually("a connection", || async { connect(&node.addresses.plain, PATIENCE).await.ok() })
        .await
}

async fn session(client: &mut MultiplexedConnection, words: &[&str]) -> String {
    ask(client, &[&["SESSION"], words].concat()).await.unwrap()
}

async fn set(client: &mut MultiplexedConnection, key: &str, value: &str) {
    ask::<()>(client, &["SET", key, value]).await.unwrap();
}

async fn get(client: &mut MultiplexedConnection, key: &str) -> redis::RedisResult<Option<String>> {
    ask(client, &["GET", key]).await
}

/// What came over the ring by now is there; whatever is written next in the first stays away from the third.
async fn cut(dev: &Dev) {
    let [first, between, third] = &dev.nodes[..3] else { panic!("three datacenters") };
    for shard in (0..SHARDS).map(ShardId) {
        let key = key_of(shard, SHARDS, 0);
        set(&mut plain(first).await, &key, "before").await;
        let mut there = plain(third).await;
        eventually("around the ring", || {
            let mut there = there.clone();
            let key = key.clone();
            async move { get(&mut there, &key).await.ok()? }
        })
        .await;
        get(&mut there, &key).await.unwrap();
    }
    signal(between.pid, Signal::Freeze);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_waits_for_its_write_or_hears_where_it_is() {
    let dev = ring(&["--nodes", "3"]);
    cut(&dev).await;
    let [first, between, third] = &dev.nodes[..] else { panic!("three nodes") };
    let mut here = plain(first).await;
    let own = key_of(ShardId(0), SHARDS, 1);
    session(&mut here, &["SET", "WAIT", "100"]).await;
    set(&mut here, &own, "mine").await;
    let token = session(&mut here, &["TOKEN"]).await;
    // Without the token the write is missed.
    let mut there = plain(third).await;
    assert_eq!(get(&mut there, &own).await.unwrap(), None);
    let damaged = token.replacen('.', ".0", 1);
    let error = ask::<String>(&mut there, &["SESSION", "RESUME", &damaged]).await.unwrap_err();
    assert!(error.to_string().contains("BADTOKEN"), "{error}");
    session(&mut there, &["RESUME", &token]).await;
    for words in [&["GET", &own][..], &["SET", &own, "other"], &["DBSIZE"], &["WATCH", &own]] {
        let error = ask::<redis::Value>(&mut there, words).await.unwrap_err().to_string();
        assert!(
            error.contains("BEHIND") && error.contains("1 writes of dc-a"),
            "{words:?}: {error}"
        );
    }
    // Where it is, the session goes on at once.
    let mut back = plain(first).await;
    session(&mut back, &["RESUME", &token]).await;
    assert_eq!(get(&mut back, &own).await.unwrap().as_deref(), Some("mine"));
    signal(between.pid, Signal::Thaw);
    let found = eventually("the own write", || {
        let mut there = there.clone();
        let own = own.clone();
        async move { get(&mut there, &own).await.ok() }
    })
    .await;
    assert_eq!(found.as_deref(), Some("mine"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_back_behind_nothing_that_it_saw_nor_behind_what_came_before_that() {
    let dev = ring(&["--nodes", "3"]);
    cut(&dev).await;
    let [first, between, third] = &dev.nodes[..] else { panic!("three nodes") };
    let [cause, effect] = [0, 1].map(|shard| key_of(ShardId(shard), SHARDS, 1));
    let mut writer = plain(first).await;
    set(&mut writer, &cause, "question").await;
    set(&mut writer, &effect, "answer").await;
    // Somebody else has seen the second of the two only.
    let mut reader = plain(first).await;
    session(&mut reader, &["SET", "WAIT", "100"]).await;
    assert_eq!(get(&mut reader, &effect).await.unwrap().as_deref(), Some("answer"));
    let token = session(&mut reader, &["TOKEN"]).await;
    let mut there = plain(third).await;
    assert_eq!(get(&mut there, &effect).await.unwrap(), None, "the anomaly");
    session(&mut there, &["RESUME", &token]).await;
    for key in [&effect, &cause] {
        let error = get(&mut there, key).await.unwrap_err().to_string();
        assert!(error.contains("BEHIND") && error.contains("dc-a"), "{error}");
    }
    signal(between.pid, Signal::Thaw);
    for (key, value) in [(&effect, "answer"), (&cause, "question")] {
        let found = eventually("what was seen", || {
            let (mut there, key) = (there.clone(), key.clone());
            async move { get(&mut there, &key).await.ok() }
        })
        .await;
        assert_eq!(found.as_deref(), Some(value));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_comes_after_what_its_session_saw_elsewhere() {
    let dev = ring(&["--nodes", "3"]);
    cut(&dev).await;
    let [first, between, third] = &dev.nodes[..] else { panic!("three nodes") };
    let mut here = plain(first).await;
    let [with, without] = ["with-siblings", "without-siblings"];
    set(&mut here, with, "A").await;
    set(&mut here, without, "A").await;
    let token = session(&mut here, &["TOKEN"]).await;
    let (mut there, mut other) = (plain(third).await, plain(third).await);
    session(&mut there, &["RESUME", &token]).await;
    set(&mut other, without, "B").await;
    let waiting = tokio::spawn(async move {
        loop {
            let written = ask::<()>(&mut there, &["SET", with, "B"]).await;
            match written {
                Ok(()) => return,
                Err(error) => assert!(error.to_string().contains("BEHIND"), "{error}"),
            }
        }
    });
    signal(between.pid, Signal::Thaw);
    waiting.await.unwrap();
    for node in &dev.nodes {
        for (key, values) in [(with, &["B"][..]), (without, &["A", "B"])] {
            eventually(key, || async {
                let mut client = connect(&node.addresses.plain, PATIENCE).await.ok()?;
                let found: Vec<String> = ask(&mut client, &["VGET", key]).await.ok()?;
                (found[1..] == *values).then_some(())
            })
            .await;
        }
    }
}

/// Writes in one datacenter, reads at the replicas of another.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_another_datacenter_misses_a_write_without_a_token_and_never_with_one() {
    let dev = ring(&["--nodes", "6", "--replicas", "2"]);
    let mut writer = plain(&dev.nodes[0]).await;
    let mut readers = [plain(&dev.nodes[1]).await, plain(&dev.nodes[4]).await];
    let replica = ["SET", "READS", "REPLICA"];
    for client in readers.iter_mut().chain([&mut writer]) {
        session(client, &replica).await;
    }
    let until = Instant::now() + PATIENCE;
    let mut number = 0u64;
    loop {
        assert!(Instant::now() < until, "no read was ever stale");
        number += 1;
        set(&mut writer, "key", &number.to_string()).await;
        let found: Option<u64> = ask(&mut readers[0], &["GET", "key"]).await.unwrap();
        if found < Some(number) {
            break;
        }
    }
    println!("a stale read in round {number}");
    for _ in 0..ROUNDS {
        for reader in &mut readers {
            number += 1;
            set(&mut writer, "key", &number.to_string()).await;
            let token = session(&mut writer, &["TOKEN"]).await;
            session(reader, &["RESUME", &token]).await;
            let found: u64 = ask(reader, &["GET", "key"]).await.unwrap();
            assert!(found >= number, "{found} after {number}");
            // And the way back.
            let token = session(reader, &["TOKEN"]).await;
            session(&mut writer, &["RESUME", &token]).await;
        }
    }
}
