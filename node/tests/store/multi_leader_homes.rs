//! Keys with a home: one datacenter writes them, whoever is asked, also while the home moves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_model::{Datacenter, Mode, Unreachable};
use quorate_node::node::Announcement;
use redis::Value;
use tokio::task::JoinHandle;

use crate::support::{Dev, PATIENCE, Signal, ask, connect, eventually, propose, signal};

const POLICY: &str = r#"{"homes":{"keys":[{"pattern":"user:*","home":"dc-b"}]}}"#;

/// Three datacenters of one node, two shards.
fn start() -> Dev {
    let size = ["--nodes", "3", "--datacenters", "3", "--shards", "2"];
    let mode = ["--mode", "multi-leader", "--multi-leader", POLICY];
    Dev::start(&[&mode[..], &size].concat())
}

async fn run(node: &Announcement, words: &[&str]) -> redis::RedisResult<Value> {
    let mut client = connect(&node.addresses.plain, PATIENCE).await?;
    ask(&mut client, words).await
}

async fn await_home(dev: &Dev, key: &str, home: &str) {
    let wanted = Value::BulkString(home.as_bytes().to_vec());
    for node in &dev.nodes {
        eventually("the home", || async {
            let found = run(node, &["HOME", key]).await.ok()?;
            (found == wanted).then_some(())
        })
        .await;
    }
}

async fn declare(dev: &Dev, change: impl Fn(&mut quorate_model::Homes) + Copy) {
    let nodes: Vec<&Announcement> = dev.nodes.iter().collect();
    propose(&nodes, |topology| {
        let Mode::MultiLeader(multi_leader) = &mut topology.mode else { panic!("several leaders") };
        let homes = &mut multi_leader.policy.homes;
        let before = homes.clone();
        change(homes);
        *homes = homes.declared_after(&before, topology.epoch.next());
    })
    .await;
}

fn datacenter(name: &str) -> Datacenter {
    Datacenter::new(name).unwrap()
}

/// Clients of every datacenter that add one and one; what each was answered.
struct Adders {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Vec<i64>>>,
}

impl Adders {
    fn start(dev: &Dev, key: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = |node: &Announcement| {
            let (address, stop) = (node.addresses.plain.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut client = connect(&address, PATIENCE).await.unwrap();
                let mut answers = Vec::new();
                while !stop.load(Ordering::Relaxed) || answers.len() < 20 {
                    let answer: i64 = ask(&mut client, &["INCR", key]).await.unwrap();
                    answers.push(answer);
                }
                answers
            })
        };
        let tasks = dev.nodes.iter().map(task).collect();
        Self { stop, tasks }
    }

    /// Had two datacenters added at once, two would have been answered the same.
    async fn finish(self) -> i64 {
        self.stop.store(true, Ordering::Relaxed);
        let (mut all, mut count) = (BTreeSet::new(), 0);
        for task in self.tasks {
            for answer in task.await.unwrap() {
                assert!(all.insert(answer), "{answer} was answered twice");
                count += 1;
            }
        }
        assert_eq!(all.last().copied(), Some(count));
        count
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_datacenter_adds_at_a_time_however_the_home_moves() {
    let dev = start();
    let adders = Adders::start(&dev, "user:1");
    await_home(&dev, "user:1", "dc-b").await;
    for home in ["dc-c", "dc-a", "dc-b", "dc-a"] {
        // Whoever is asked.
        run(&dev.nodes[1], &["HOME", "user:1", home]).await.unwrap();
        await_home(&dev, "user:1", home).await;
    }
    run(&dev.nodes[2], &["HOME", "user:1", "-"]).await.unwrap();
    await_home(&dev, "user:1", "dc-b").await;
    // All of the pattern's.
    declare(&dev, |homes| homes.keys[0].home = datacenter("dc-c")).await;
    await_home(&dev, "user:1", "dc-c").await;
    run(&dev.nodes[0], &["HOME", "user:2", "dc-a"]).await.unwrap();
    await_home(&dev, "user:2", "dc-a").await;
    declare(&dev, |homes| {
        homes.evacuated.insert(datacenter("dc-c"), datacenter("dc-b"));
        homes.evacuated.insert(datacenter("dc-a"), datacenter("dc-b"));
    })
    .await;
    await_home(&dev, "user:1", "dc-b").await;
    await_home(&dev, "user:2", "dc-b").await;
    let count = adders.finish().await;
    for node in &dev.nodes {
        eventually("all increments", || async {
            let found = run(node, &["GET", "user:1"]).await.ok()?;
            (found == Value::BulkString(count.to_string().into_bytes())).then_some(())
        })
        .await;
        assert_eq!(run(node, &["CONFLICTS"]).await.unwrap(), Value::Array(Vec::new()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_connection_writes_keeps_its_order_on_the_way_to_the_home() {
    let dev = start();
    let mut client = connect(&dev.nodes[0].addresses.plain, PATIENCE).await.unwrap();
    let mut pipeline = redis::pipe();
    for number in 0..200 {
        pipeline.cmd("APPEND").arg("user:1").arg(format!("{number},"));
    }
    let lengths: Vec<usize> = pipeline.query_async(&mut client).await.unwrap();
    assert!(lengths.is_sorted(), "{lengths:?}");
    let wanted: String = (0..200).map(|number| format!("{number},")).collect();
    let found = run(&dev.nodes[1], &["GET", "user:1"]).await.unwrap();
    assert_eq!(found, Value::BulkString(wanted.clone().into_bytes()));
    // Who wrote it there finds it here.
    let found: String = ask(&mut client, &["GET", "user:1"]).await.unwrap();
    assert_eq!(found, wanted);
    for number in 0..20 {
        let number = number.to_string();
        let _: Value =
            ask(&mut client, &["MSET", "user:{t}3", &number, "user:{t}4", &number]).await.unwrap();
        let found: Vec<String> =
            ask(&mut client, &["MGET", "user:{t}3", "user:{t}4"]).await.unwrap();
        assert_eq!(found, [number.clone(), number]);
    }
    // A transaction goes there whole.
    let mut pipeline = redis::pipe();
    pipeline.atomic().cmd("SET").arg("user:{t}1").arg(1).cmd("INCR").arg("user:{t}1");
    let (_, sum): (Value, i64) = pipeline.query_async(&mut client).await.unwrap();
    assert_eq!(sum, 2);
    for words in [&["WATCH", "user:1"][..], &["FLUSHALL"]] {
        let error = ask::<Value>(&mut client, words).await.unwrap_err();
        assert!(error.to_string().contains("HOMES"), "{error}");
    }
    let error = ask::<Value>(&mut client, &["HOME", "other", "dc-a"]).await.unwrap_err();
    assert!(error.to_string().contains("NOHOME"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_home_does_not_answer_writes_are_refused_or_taken_as_declared() {
    let dev = start();
    run(&dev.nodes[0], &["SET", "user:1", "before"]).await.unwrap();
    signal(dev.nodes[1].pid, Signal::Freeze);
    eventually("the refusal", || async {
        // What was sent before the silence was noticed may be carried out by the home later.
        let error = run(&dev.nodes[0], &["SET", "user:2", "meanwhile"]).await.err()?;
        error.to_string().contains("HOMEDOWN").then_some(())
    })
    .await;
    run(&dev.nodes[0], &["SET", "elsewhere", "x"]).await.unwrap();
    declare(&dev, |homes| homes.unreachable = Unreachable::Accept).await;
    eventually("the write", || async {
        run(&dev.nodes[0], &["SET", "user:1", "taken"]).await.ok()
    })
    .await;
    let moved = run(&dev.nodes[0], &["HOME", "user:1", "dc-a"]).await.unwrap_err();
    assert!(moved.to_string().contains("HOMEDOWN"), "{moved}");
    signal(dev.nodes[1].pid, Signal::Thaw);
    for node in &dev.nodes {
        eventually("what was taken", || async {
            let found = run(node, &["GET", "user:1"]).await.ok()?;
            (found == Value::BulkString(b"taken".to_vec())).then_some(())
        })
        .await;
    }
}
