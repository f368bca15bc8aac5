//! Sessions over real processes: a client that writes at one node and reads at another's replica.

use std::time::{Duration, Instant};

use quorate_model::ShardId;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use crate::support::{Dev, PATIENCE, Signal, connect, leader_of, signal};

const SHARD: ShardId = ShardId(0);
const TIMEOUT: Duration = Duration::from_secs(10);
const ROUNDS: u64 = 300;

async fn session(connection: &mut MultiplexedConnection, words: &[&str]) -> String {
    let mut command = redis::cmd("SESSION");
    for word in words {
        command.arg(word);
    }
    command.query_async(connection).await.unwrap()
}

/// A connection that writes at the leader and one that reads at a follower.
async fn writer_and_reader(dev: &Dev) -> (MultiplexedConnection, MultiplexedConnection) {
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let leader = leader_of(SHARD, &nodes).await;
    let writer = connect(&dev.node(leader).addresses.plain, TIMEOUT).await.unwrap();
    let follower = dev.others(leader)[0];
    let mut reader = connect(&follower.addresses.cluster, TIMEOUT).await.unwrap();
    redis::cmd("READONLY").exec_async(&mut reader).await.unwrap();
    (writer, reader)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_misses_a_write_without_a_token_and_never_with_one() {
    let dev = Dev::start(&["--nodes", "3", "--shards", "1"]);
    let (mut writer, mut reader) = writer_and_reader(&dev).await;
    // The anomaly: a follower hears of a commit after the client does.
    let until = Instant::now() + PATIENCE;
    let mut number = 0u64;
    loop {
        assert!(Instant::now() < until, "no read was ever stale");
        number += 1;
        writer.set::<_, _, ()>("key", number).await.unwrap();
        let found: Option<u64> = reader.get("key").await.unwrap();
        if found < Some(number) {
            break;
        }
    }
    println!("a stale read in round {number}");
    for _ in 0..ROUNDS {
        number += 1;
        writer.set::<_, _, ()>("key", number).await.unwrap();
        let token = session(&mut writer, &["TOKEN"]).await;
        session(&mut reader, &["RESUME", &token]).await;
        redis::cmd("READONLY").exec_async(&mut reader).await.unwrap();
        let found: u64 = reader.get("key").await.unwrap();
        assert!(found >= number, "{found} after {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_on_connect_gives_a_plain_client_replica_reads_of_its_own_writes() {
    let dev = Dev::start(&["--nodes", "3", "--shards", "2"]);
    for node in &dev.nodes {
        let mut client = connect(&node.addresses.plain, TIMEOUT).await.unwrap();
        session(&mut client, &["SET", "READS", "REPLICA"]).await;
        for number in 0..ROUNDS {
            for key in ["a", "b", "c", "d"] {
                client.set::<_, _, ()>(key, number).await.unwrap();
                let found: u64 = client.get(key).await.unwrap();
                assert!(found >= number, "{found} after {number}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_whose_replica_is_frozen_is_answered_elsewhere() {
    let dev = Dev::start(&["--nodes", "3", "--shards", "1"]);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let leader = leader_of(SHARD, &nodes).await;
    let frozen = dev.others(leader)[0];
    let mut client = connect(&dev.node(leader).addresses.plain, TIMEOUT).await.unwrap();
    session(&mut client, &["SET", "READS", "REPLICA", "WAIT", "50"]).await;
    client.set::<_, _, ()>("key", 1).await.unwrap();
    signal(frozen.pid, Signal::Freeze);
    // Among so many users some read at the frozen replica.
    for user in 0..12 {
        session(&mut client, &["SET", "USER", &format!("user-{user}")]).await;
        client.set::<_, _, ()>("key", user).await.unwrap();
        let found: u64 = client.get("key").await.unwrap();
        assert_eq!(found, user);
    }
    signal(frozen.pid, Signal::Thaw);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_cannot_be_as_durable_as_asked_says_what_it_is() {
    let dev = Dev::start(&["--nodes", "3", "--shards", "1"]);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let leader = leader_of(SHARD, &nodes).await;
    let frozen = dev.others(leader)[0];
    let mut client = connect(&dev.node(leader).addresses.plain, TIMEOUT).await.unwrap();
    session(&mut client, &["SET", "DURABILITY", "SYNC", "DURABILITY-TIMEOUT", "300"]).await;
    client.set::<_, _, ()>("key", 1).await.unwrap();
    signal(frozen.pid, Signal::Freeze);
    let error = client.set::<_, _, ()>("key", 2).await.unwrap_err().to_string();
    assert!(error.contains("NOTDURABLE"), "{error}");
    let found: u64 = client.get("key").await.unwrap();
    assert_eq!(found, 2, "it is done as the store declares");
    session(&mut client, &["SET", "DURABILITY", "1"]).await;
    client.set::<_, _, ()>("key", 3).await.unwrap();
    signal(frozen.pid, Signal::Thaw);
}
