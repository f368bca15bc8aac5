//! The log format of a running store changes under load, again and again, and nodes are killed in between: the replicas
//! compare their states themselves, and all are the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use quorate_model::{GroupId, LogFormat, NodeId, ShardId};
use quorate_node::node::Announcement;

use crate::support::{
    Dev, Signal, Writer, await_ready, connect, eventually, leader_of, metric, propose, report,
    signal,
};

const SHARD: ShardId = ShardId(0);
const PASSES: &str = "quorate_replica_state_passes{group=\"shard-0\"}";
const UNDECIDED: &str = "quorate_replica_state_undecided{group=\"shard-0\"}";
/// Since its last start.
const QUARANTINES: &str = "quorate_quarantines_total";

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_equal_after_every_format_and_every_restart() {
    let dev = Dev::start(&["--nodes", "3", "--shards", "1", "--restart"]);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let writer = Writer::start(dev.plain_addresses(), SHARD, 1);
    let types = Types::start(dev.plain_addresses());
    let mut alive: Vec<NodeId> = nodes.iter().map(|node| node.node).collect();
    for format in [
        LogFormat::Statement,
        LogFormat::Wal,
        LogFormat::Logical,
        LogFormat::Wal,
        LogFormat::Statement,
        LogFormat::Logical,
    ] {
        propose(&nodes, |topology| topology.policy.log_format = format).await;
        await_format(&nodes, format).await;
        writer.progress(20).await;
        types.progress(60).await;
        // Each of them once: the leader as long as it was not killed yet.
        let leader = leader_of(SHARD, &nodes).await;
        let victim =
            alive.iter().position(|node| *node == leader).or((!alive.is_empty()).then_some(0));
        if let Some(victim) = victim {
            let victim = dev.node(alive.remove(victim));
            signal(victim.pid, Signal::Kill);
            writer.progress(20).await;
            await_ready(victim).await;
        }
    }
    let written = writer.finish(&dev.nodes[0].addresses.plain).await;
    let kinds = types.finish().await;
    println!("log format switched: {} keys, {kinds} commands of other types", written.keys.len());
    await_equal(&nodes).await;
}

/// Until every replica writes and has applied the format, the last one that was declared.
async fn await_format(nodes: &[&Announcement], format: LogFormat) {
    eventually("the format in force everywhere", || async {
        for node in nodes {
            let replicas = report(node).await?.replicas;
            let shard = replicas.iter().find(|one| one.group == GroupId::Shard(SHARD))?;
            if shard.log_format != format {
                return None;
            }
        }
        Some(())
    })
    .await;
}

/// Every row was compared on all replicas after the last write, with one result.
async fn await_equal(nodes: &[&Announcement]) {
    let passes = async || {
        let mut all = 0;
        for node in nodes {
            all += metric(node, PASSES).await;
        }
        all
    };
    let from = passes().await;
    // The pass that is under way may have begun before the last write. Whoever leads goes on: the preferred leader, which was killed,
    // may be handed its office at any time.
    eventually("two passes over all rows", || async { (passes().await >= from + 2).then_some(()) })
        .await;
    for node in nodes {
        assert_eq!(metric(node, UNDECIDED).await, 0, "{}", node.name);
        assert_eq!(metric(node, QUARANTINES).await, 0, "{}", node.name);
    }
    let last = eventually("all have applied the same", || async {
        let mut applied = Vec::new();
        for node in nodes {
            let replicas = report(node).await?.replicas;
            let shard = replicas.iter().find(|one| one.group == GroupId::Shard(SHARD))?;
            assert_eq!(shard.quarantined, None, "{}", node.name);
            applied.push((shard.last, shard.applied, shard.keys));
        }
        applied.iter().all(|one| *one == applied[0]).then(|| applied[0])
    })
    .await;
    assert_eq!(last.0, last.1);
}

/// Commands whose statements are more than their words: floats, random picks, expiry, sets of sets.
struct Types {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Types {
    fn start(addresses: Vec<String>) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let task = tokio::spawn(run(addresses, Arc::clone(&stop), Arc::clone(&done)));
        Self { stop, done, task }
    }

    async fn progress(&self, more: u64) {
        let from = self.done.load(Ordering::SeqCst);
        eventually("commands of other types", || async {
            (self.done.load(Ordering::SeqCst) >= from + more).then_some(())
        })
        .await;
    }

    async fn finish(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap();
        self.done.load(Ordering::SeqCst)
    }
}

async fn run(addresses: Vec<String>, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    let mut number = 0_u64;
    for address in addresses.iter().cycle() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(mut connection) = connect(address, Duration::from_secs(10)).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        while !stop.load(Ordering::SeqCst) {
            number += 1;
            let words = command(number);
            let answer: redis::RedisResult<redis::Value> =
                redis::cmd(&words[0]).arg(&words[1..]).query_async(&mut connection).await;
            if answer.is_err() {
                break;
            }
            done.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn command(number: u64) -> Vec<String> {
    let (key, member) = (number / 12 % 7, number % 97);
    let text = match number % 12 {
        0 => format!("incrbyfloat {{t}}:float:{key} {member}e-3"),
        1 => format!("hincrbyfloat {{t}}:hash:{key} field:{} 0.{member}", member % 5),
        2 => format!("sadd {{t}}:set:{key} {member} {} {}", member + 1, member + 2),
        3 => format!("spop {{t}}:set:{key}"),
        4 => format!("set {{t}}:short:{key} {number} px {}", 1 + member),
        5 => format!("append {{t}}:short:{} x", (key + 3) % 7),
        6 => format!("sinterstore {{t}}:both:{key} {{t}}:set:{key} {{t}}:set:{}", (key + 1) % 7),
        7 => format!("hset {{t}}:hash:{key} field:{member} {number}"),
        8 => format!("hdel {{t}}:hash:{key} field:{}", member + 2),
        9 => format!("once token:{number} incrby {{t}}:number:{key} {member}"),
        10 => format!("copy {{t}}:hash:{key} {{t}}:copy:{key} replace"),
        _ => format!("pexpire {{t}}:copy:{key} {}", 10 + member),
    };
    text.split(' ').map(str::to_owned).collect()
}
