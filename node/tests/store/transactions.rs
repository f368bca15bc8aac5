//! MULTI, EXEC and WATCH through a Redis client library, while the leader's process is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quorate_model::ShardId;
use redis::aio::MultiplexedConnection;
use tokio::task::JoinSet;

use crate::support::{Dev, PATIENCE, Signal, connect, leader_of, signal};

const SHARD: ShardId = ShardId(0);
const TIMEOUT: Duration = Duration::from_secs(10);
const ACCOUNTS: [&str; 3] = ["{bank}a", "{bank}b", "{bank}c"];
const BALANCE: i64 = 1_000;

/// What tasks did so far, and when they are to end.
#[derive(Default)]
struct Progress {
    done: AtomicU64,
    unknown: AtomicU64,
    over: AtomicBool,
}

impl Progress {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn did(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    async fn more(&self, more: u64) {
        let wanted = self.done.load(Ordering::Relaxed) + more;
        let deadline = Instant::now() + PATIENCE;
        while self.done.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < deadline, "nothing is done any more");
            tokio::task::yield_now().await;
        }
    }
}

async fn client(address: &str) -> MultiplexedConnection {
    connect(address, TIMEOUT).await.unwrap()
}

async fn balances(connection: &mut MultiplexedConnection) -> redis::RedisResult<Vec<i64>> {
    let mut pipe = redis::pipe();
    pipe.atomic();
    for account in ACCOUNTS {
        pipe.get(account);
    }
    pipe.query_async(connection).await
}

/// Moves money between two accounts if both are still as they were read.
async fn transfer(connection: &mut MultiplexedConnection, turn: u64) -> redis::RedisResult<bool> {
    let place = usize::try_from(turn).unwrap();
    let (from, to) = (ACCOUNTS[place % 3], ACCOUNTS[(place + 1) % 3]);
    redis::cmd("WATCH").arg(from).arg(to).exec_async(connection).await?;
    let (a, b): (i64, i64) = redis::cmd("MGET").arg(from).arg(to).query_async(connection).await?;
    let moved: Option<Vec<String>> =
        redis::pipe().atomic().set(from, a - 7).set(to, b + 7).query_async(connection).await?;
    Ok(moved.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_neither_made_nor_lost_when_the_leader_is_killed() {
    let dev = Dev::start(&["--nodes", "3", "--shards", "1"]);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let leader = leader_of(SHARD, &nodes).await;
    let others = dev.others(leader);
    let mut first = client(&others[0].addresses.plain).await;
    let mut pipe = redis::pipe();
    pipe.atomic();
    for account in ACCOUNTS {
        pipe.set(account, BALANCE).ignore();
    }
    pipe.exec_async(&mut first).await.unwrap();

    let (moved, seen) = (Arc::new(Progress::default()), Arc::new(Progress::default()));
    let mut tasks = JoinSet::new();
    for worker in 0..4u64 {
        let (address, moved) =
            (others[usize::from(worker % 2 == 1)].addresses.plain.clone(), moved.clone());
        tasks.spawn(async move {
            let mut connection = client(&address).await;
            let mut turn = worker;
            while moved.goes_on() {
                turn += 1;
                match transfer(&mut connection, turn).await {
                    Ok(true) => moved.did(),
                    // Somebody else was there before.
                    Ok(false) => {}
                    // Done or not, and whole in both cases.
                    Err(_) => {
                        moved.unknown.fetch_add(1, Ordering::Relaxed);
                        connection = client(&address).await;
                    }
                }
            }
        });
    }
    let (address, watched) = (others[0].addresses.plain.clone(), seen.clone());
    tasks.spawn(async move {
        let mut connection = client(&address).await;
        while watched.goes_on() {
            match balances(&mut connection).await {
                Ok(balances) => {
                    assert_eq!(balances.iter().sum::<i64>(), 3 * BALANCE, "{balances:?}");
                    watched.did();
                }
                Err(_) => connection = client(&address).await,
            }
        }
    });
    moved.more(100).await;
    signal(dev.node(leader).pid, Signal::Kill);
    moved.more(100).await;
    seen.more(20).await;
    moved.over.store(true, Ordering::Relaxed);
    seen.over.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let last = balances(&mut client(&others[1].addresses.plain).await).await.unwrap();
    assert_eq!(last.iter().sum::<i64>(), 3 * BALANCE, "{last:?}");
    println!(
        "{} transfers, {} of unknown outcome, {last:?}",
        moved.done.load(Ordering::Relaxed),
        moved.unknown.load(Ordering::Relaxed)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn both_halves_of_a_transaction_are_done_or_neither() {
    let dev = Dev::start(&["--nodes", "3", "--shards", "1"]);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let leader = leader_of(SHARD, &nodes).await;
    let others = dev.others(leader);
    let progress = Arc::new(Progress::default());
    let (address, counted) = (others[0].addresses.plain.clone(), progress.clone());
    let counting = tokio::spawn(async move {
        let mut connection = client(&address).await;
        while counted.goes_on() {
            let both: redis::RedisResult<(u64, u64)> = redis::pipe()
                .atomic()
                .incr("{p}x", 1)
                .hincr("{p}h", "x", 1)
                .query_async(&mut connection)
                .await;
            match both {
                Ok((string, field)) => {
                    assert_eq!(string, field);
                    counted.did();
                }
                Err(_) => {
                    counted.unknown.fetch_add(1, Ordering::Relaxed);
                    connection = client(&address).await;
                }
            }
        }
    });
    progress.more(100).await;
    signal(dev.node(leader).pid, Signal::Kill);
    progress.more(100).await;
    progress.over.store(true, Ordering::Relaxed);
    counting.await.unwrap();
    let mut connection = client(&others[1].addresses.plain).await;
    let (string, field): (u64, u64) = redis::pipe()
        .atomic()
        .get("{p}x")
        .hget("{p}h", "x")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(string, field);
    let (done, unknown) =
        (progress.done.load(Ordering::Relaxed), progress.unknown.load(Ordering::Relaxed));
    assert!((done..=done + unknown).contains(&string), "{done} to {} of {string}", done + unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_client_runs_transactions_and_writes_with_tokens_on_every_shard() {
    let dev = Dev::start(&["--nodes", "3", "--shards", "6"]);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    for shard in 0..6 {
        leader_of(ShardId(shard), &nodes).await;
    }
    let seeds: Vec<String> =
        dev.nodes.iter().map(|node| format!("redis://{}/", node.addresses.cluster)).collect();
    let cluster = redis::cluster::ClusterClient::new(seeds).unwrap();
    let mut connection = cluster.get_async_connection().await.unwrap();
    for tag in 0..40 {
        let key = |name: &str| format!("{{{tag}}}{name}");
        let (count, members): (u64, u64) = redis::pipe()
            .atomic()
            .hset(key("hash"), "field", tag)
            .ignore()
            .incr(key("counter"), 2)
            .sadd(key("set"), &["a", "b", "c"])
            .query_async(&mut connection)
            .await
            .unwrap();
        assert_eq!((count, members), (2, 3));
        for _ in 0..2 {
            // A token with the key's hash tag is sent to the key's leader.
            let mut once = redis::cmd("ONCE");
            once.arg(key("token")).arg("INCR").arg(key("counter"));
            let count: u64 = once.query_async(&mut connection).await.unwrap();
            assert_eq!(count, 3);
        }
        let field: u64 = redis::cmd("HGET")
            .arg(key("hash"))
            .arg("field")
            .query_async(&mut connection)
            .await
            .unwrap();
        assert_eq!(field, tag);
    }
}
