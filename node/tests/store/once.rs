//! ONCE: what is repeated because nobody knew whether it was done is done once, through the death of a leader and a restart.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use quorate_model::ShardId;
use redis::aio::MultiplexedConnection;
use tokio::task::JoinSet;

use crate::support::{Dev, PATIENCE, Signal, connect, leader_of, signal};

const SHARD: ShardId = ShardId(0);
/// Shorter than a failover, so that writes on their way are given up and repeated.
const IMPATIENCE: Duration = Duration::from_millis(30);
const TIMEOUT: Duration = Duration::from_secs(10);
const CLIENTS: u64 = 4;
const WRITES: u64 = 150;

async fn increment(connection: &mut MultiplexedConnection, token: &str) -> redis::RedisResult<i64> {
    let mut once = redis::cmd("ONCE");
    once.arg(token).arg("INCR").arg("{c}counter").query_async(connection).await
}

/// Repeats until there is an answer; with how often it was repeated.
async fn persist(address: &str, token: &str) -> (i64, u64) {
    let until = Instant::now() + PATIENCE;
    let mut repeated = 0;
    while Instant::now() < until {
        if let Ok(mut connection) = connect(address, IMPATIENCE).await
            && let Ok(answer) = increment(&mut connection, token).await
        {
            return (answer, repeated);
        }
        repeated += 1;
    }
    panic!("nobody answers {token}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_repeated_with_a_token_is_done_once() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start_in(data.path(), &["--nodes", "3", "--shards", "1"]);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let leader = leader_of(SHARD, &nodes).await;
    let others = dev.others(leader);
    let mut tasks = JoinSet::new();
    for client in 0..CLIENTS {
        let address = others[usize::from(client % 2 == 1)].addresses.plain.clone();
        tasks.spawn(async move {
            let mut answers = BTreeMap::new();
            let mut repeated = 0;
            for number in 0..WRITES {
                let token = format!("{{c}}{client}-{number}");
                let (answer, times) = persist(&address, &token).await;
                repeated += times;
                answers.insert(token, answer);
            }
            (answers, repeated)
        });
    }
    let mut first = connect(&others[0].addresses.plain, TIMEOUT).await.unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        let count: Option<u64> =
            redis::cmd("GET").arg("{c}counter").query_async(&mut first).await.unwrap();
        if count > Some(CLIENTS * WRITES / 3) {
            break;
        }
        assert!(Instant::now() < until, "nothing is counted");
    }
    signal(dev.node(leader).pid, Signal::Kill);
    let (mut answers, mut repeated) = (BTreeMap::new(), 0);
    while let Some(done) = tasks.join_next().await {
        let (own, times) = done.unwrap();
        answers.extend(own);
        repeated += times;
    }
    println!("{} tokens, {repeated} repetitions", answers.len());
    let mut counted: Vec<i64> = answers.values().copied().collect();
    counted.sort_unstable();
    let all = i64::try_from(CLIENTS * WRITES).unwrap();
    assert_eq!(counted, (1..=all).collect::<Vec<_>>(), "each was done once");

    // Everybody still knows after a restart of the whole store.
    drop(first);
    dev.stop();
    let dev = Dev::start_in(data.path(), &["--nodes", "3", "--shards", "1"]);
    let mut connection = connect(&dev.nodes[0].addresses.plain, TIMEOUT).await.unwrap();
    for (token, answer) in answers {
        assert_eq!(increment(&mut connection, &token).await.unwrap(), answer, "{token}");
    }
    let other: redis::RedisResult<i64> = redis::cmd("ONCE")
        .arg("{c}0-0")
        .arg("DECR")
        .arg("{c}counter")
        .query_async(&mut connection)
        .await;
    assert!(other.unwrap_err().to_string().contains("TOKENUSED"));
    let count: i64 =
        redis::cmd("GET").arg("{c}counter").query_async(&mut connection).await.unwrap();
    assert_eq!(count, all);
}
