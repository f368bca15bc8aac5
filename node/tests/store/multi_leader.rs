//! With a leader of each shard in every datacenter: each takes writes, and what they write at the same time reads the same everywhere.

use quorate_node::node::Announcement;
use redis::Value;

use crate::support::{Dev, PATIENCE, Signal, ask, connect, eventually, metric, signal};

/// Three datacenters of one node, one shard.
fn start(policy: &str) -> Dev {
    let size = ["--nodes", "3", "--datacenters", "3", "--shards", "1"];
    let mode = ["--mode", "multi-leader", "--multi-leader", policy];
    Dev::start(&[&mode[..], &size].concat())
}

async fn run(node: &Announcement, words: &[&str]) -> redis::RedisResult<Value> {
    let mut client = connect(&node.addresses.plain, PATIENCE).await?;
    ask(&mut client, words).await
}

async fn get(node: &Announcement, key: &str) -> Option<String> {
    let mut client = connect(&node.addresses.plain, PATIENCE).await.ok()?;
    ask(&mut client, &["GET", key]).await.ok()?
}

async fn everywhere(dev: &Dev, what: &str, words: &[&str], expected: &Value) {
    for node in &dev.nodes {
        eventually(what, || async {
            let found = match run(node, words).await {
                Ok(found) => found,
                Err(error) => Value::SimpleString(error.to_string()),
            };
            (found == *expected).then_some(())
        })
        .await;
    }
}

fn bulk(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

fn freeze(nodes: &[&Announcement], how: Signal) {
    nodes.iter().for_each(|node| signal(node.pid, how));
}

/// Two values that two nodes gave a key at the same time, neither of them having heard of the other: a key that this came true for.
async fn concurrently(dev: &Dev, name: &str, values: [&str; 2]) -> String {
    for attempt in 0..100 {
        let key = format!("{name}{attempt}");
        run(&dev.nodes[0], &["SET", &key, "A"]).await.unwrap();
        everywhere(dev, "the insert", &["GET", &key], &bulk("A")).await;
        let [one, other] = values.map(|value| ["SET", &key, value]);
        let (one, other) = tokio::join!(run(&dev.nodes[1], &one), run(&dev.nodes[2], &other));
        one.and(other).unwrap();
        // All have heard of both when all know the same, and not A.
        let found = eventually("both", || async {
            let mut found = Vec::new();
            for node in &dev.nodes {
                let mut client = connect(&node.addresses.plain, PATIENCE).await.ok()?;
                let values: Vec<String> = ask(&mut client, &["VGET", &key]).await.ok()?;
                found.push(values);
            }
            let whole = found.iter().all(|one| *one == found[0]) && found[0][1..] != ["A"];
            whole.then(|| found.remove(0))
        })
        .await;
        if found.len() == 3 {
            return key;
        }
    }
    panic!("none of 100 pairs of writes was concurrent");
}

/// The textbook's wiki page: two rename it at the same time, from A to B and from A to C.
#[tokio::test(flavor = "multi_thread")]
async fn a_title_that_two_change_at_once_reads_the_same_everywhere() {
    let policies = r#"{"conflicts":{"keys":[
        {"pattern":"priority:*","resolution":{"ReplicaPriority":["dc-b","dc-c"]}},
        {"pattern":"merge:*","resolution":{"Merge":"Join"}},
        {"pattern":"max:*","resolution":{"Merge":"Max"}},
        {"pattern":"siblings:*","resolution":"Siblings"}]}}"#;
    let dev = start(policies);
    let mut keys = Vec::new();
    for name in ["last:", "priority:", "merge:", "siblings:"] {
        keys.push(concurrently(&dev, name, ["B", "C"]).await);
    }
    keys.push(concurrently(&dev, "max:", ["7", "30"]).await);
    let [last, priority, merge, siblings, max] = &keys[..] else { panic!("five keys") };
    everywhere(&dev, "the first datacenter's", &["GET", priority], &bulk("B")).await;
    everywhere(&dev, "both joined", &["GET", merge], &bulk("B/C")).await;
    everywhere(&dev, "the greater", &["GET", max], &bulk("30")).await;
    let won = get(&dev.nodes[0], last).await.unwrap();
    assert!(["B", "C"].contains(&won.as_str()), "{won}");
    everywhere(&dev, "the last writer's", &["GET", last], &bulk(&won)).await;
    for node in &dev.nodes {
        let mut client = connect(&node.addresses.plain, PATIENCE).await.unwrap();
        let error = ask::<Value>(&mut client, &["GET", siblings]).await.unwrap_err();
        assert!(error.to_string().contains("SIBLINGS"), "{error}");
        let values: Vec<String> = ask(&mut client, &["VGET", siblings]).await.unwrap();
        assert_eq!(values[1..], ["B", "C"]);
        // What became of each is told, on every side.
        let log: Value = ask(&mut client, &["CONFLICTS"]).await.unwrap();
        let Value::Array(log) = log else { panic!("{log:?}") };
        assert_eq!(log.len(), 5, "{log:?}");
        let text = format!("{log:?}");
        for name in keys.iter().map(String::as_str).chain(["dc-b", "dc-c"]) {
            assert!(text.contains(name), "{name}: {text}");
        }
    }
    // Whoever has read all values says what there is from then on.
    let mut client = connect(&dev.nodes[0].addresses.plain, PATIENCE).await.unwrap();
    let values: Vec<String> = ask(&mut client, &["VGET", siblings]).await.unwrap();
    let resolved = ["VSET", siblings, "D", "CONTEXT", &values[0]];
    ask::<Value>(&mut client, &resolved).await.unwrap();
    everywhere(&dev, "what was resolved", &["GET", siblings], &bulk("D")).await;
}

/// Where it fails the last writer's is, and that is counted.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_script_makes_of_concurrent_values_is_read_everywhere() {
    let custom = |pattern: &str, script: &str| serde_json::json!({"pattern": pattern, "resolution": {"Custom": {"script": script}}});
    let join = "let told = [];
        for one in siblings { told.push(`${one.origin}:${one.value}`); }
        told.sort();
        `${key.len > 5}(${told.join(\" \")})`";
    let longest = "let longest = siblings[0].value;
        for one in siblings { if one.value.len > longest.len { longest = one.value; } }
        longest";
    let keys = [
        custom("join:*", join),
        custom("longest:*", longest),
        custom("failing:*", "if siblings.len > 1 { loop {} }"),
    ];
    let dev = start(&serde_json::json!({"conflicts": {"keys": keys}}).to_string());
    let join = concurrently(&dev, "join:", ["B", "C"]).await;
    everywhere(&dev, "both", &["GET", &join], &bulk("true(dc-b:B dc-c:C)")).await;
    let longest = concurrently(&dev, "longest:", ["much longer", "short"]).await;
    everywhere(&dev, "the longest", &["GET", &longest], &bulk("much longer")).await;
    let failing = concurrently(&dev, "failing:", ["B", "C"]).await;
    let last = get(&dev.nodes[0], &failing).await.unwrap();
    everywhere(&dev, "the last writer's", &["GET", &failing], &bulk(&last)).await;
    for node in &dev.nodes {
        let mut client = connect(&node.addresses.plain, PATIENCE).await.unwrap();
        let log: Value = ask(&mut client, &["CONFLICTS"]).await.unwrap();
        let text = format!("{log:?}");
        assert!(text.contains("Custom") && text.contains("Too many operations"), "{text}");
        eventually("the failure is counted", || async {
            let mut client = connect(&node.addresses.plain, PATIENCE).await.ok()?;
            let text: String = ask(&mut client, &["INFO", "replication"]).await.ok()?;
            let line = text.lines().find(|line| line.starts_with("shard-0_exchange:"))?;
            line.contains(",failed=1,").then_some(())
        })
        .await;
    }
    // A write that has seen the value is as any other.
    run(&dev.nodes[1], &["APPEND", &longest, "!"]).await.unwrap();
    everywhere(&dev, "more", &["GET", &longest], &bulk("much longer!")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_transactions_and_collections_come_everywhere_whole() {
    let dev = start("{}");
    for node in &dev.nodes {
        for _ in 0..10 {
            run(node, &["INCR", "{p}count"]).await.unwrap();
        }
        run(node, &["SADD", "{p}places", &node.datacenter]).await.unwrap();
        run(node, &["HINCRBY", "hash", "field", "2"]).await.unwrap();
    }
    everywhere(&dev, "all increments", &["GET", "{p}count"], &bulk("30")).await;
    everywhere(&dev, "all members", &["SCARD", "{p}places"], &Value::Int(3)).await;
    everywhere(&dev, "all amounts", &["HGET", "hash", "field"], &bulk("6")).await;
    let mut client = connect(&dev.nodes[1].addresses.plain, PATIENCE).await.unwrap();
    for words in [
        &["MULTI"][..],
        &["SET", "{t}one", "1"],
        &["RPUSHX", "{t}two"],
        &["DISCARD"],
        &["MULTI"],
        &["SET", "{t}one", "1"],
        &["SET", "{t}two", "2", "NX"],
        &["APPEND", "{t}one", "0"],
        &["EXEC"],
    ] {
        ask::<Value>(&mut client, words).await.ok();
    }
    everywhere(
        &dev,
        "the transaction",
        &["MGET", "{t}one", "{t}two"],
        &Value::Array(vec![bulk("10"), bulk("2")]),
    )
    .await;
    run(&dev.nodes[2], &["DEL", "{p}places", "{p}count"]).await.unwrap();
    everywhere(&dev, "nothing of it", &["EXISTS", "{p}places", "{p}count"], &Value::Int(0)).await;
    run(&dev.nodes[0], &["SET", "short", "x", "PX", "50"]).await.unwrap();
    everywhere(&dev, "nothing of it", &["EXISTS", "short"], &Value::Int(0)).await;
}

/// The two others go around it; without `reroute` they wait, as the textbook says.
#[tokio::test(flavor = "multi_thread")]
async fn a_ring_goes_around_a_dead_member_where_that_is_allowed() {
    let ring = r#""links":{"Circular":["dc-a","dc-b","dc-c"]}"#;
    for reroute in [true, false] {
        let dev = start(&format!(r#"{{{ring},"reroute":{reroute}}}"#));
        run(&dev.nodes[0], &["SET", "before", "x"]).await.unwrap();
        everywhere(&dev, "around the ring", &["GET", "before"], &bulk("x")).await;
        // From the first to the third it goes by the second.
        freeze(&[&dev.nodes[1]], Signal::Freeze);
        run(&dev.nodes[0], &["SET", "meanwhile", "x"]).await.unwrap();
        if reroute {
            eventually("around the dead member", || async {
                get(&dev.nodes[2], "meanwhile").await
            })
            .await;
        } else {
            eventually("who does not answer", || async {
                let mut client = connect(&dev.nodes[2].addresses.plain, PATIENCE).await.ok()?;
                let text: String = ask(&mut client, &["INFO", "replication"]).await.ok()?;
                let line = text.lines().find(|line| line.starts_with("shard-0_link_dc-b:"))?;
                line.contains("silent=1").then_some(())
            })
            .await;
            let silent = r#"quorate_link_silent{group="shard-0",datacenter="dc-b"}"#;
            assert_eq!(metric(&dev.nodes[2], silent).await, 1);
            assert_eq!(get(&dev.nodes[2], "meanwhile").await, None);
        }
        freeze(&[&dev.nodes[1]], Signal::Thaw);
        everywhere(&dev, "what was written meanwhile", &["GET", "meanwhile"], &bulk("x")).await;
    }
}

/// The changes of one origin, each after what it was made of, whoever dies.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_survives_a_datacenter_that_restarts() {
    let data = tempfile::TempDir::new().unwrap();
    let flags = [
        &["--mode", "multi-leader", "--nodes", "6", "--datacenters", "2"][..],
        &["--shards", "1", "--multi-leader", r#"{"links":{"Star":{"hub":"dc-a"}}}"#],
    ]
    .concat();
    let dev = Dev::start_in(data.path(), &flags);
    for number in 0..50 {
        let at = &dev.nodes[number % 2];
        run(at, &["INCR", "count"]).await.unwrap();
        run(at, &["SET", &format!("key-{number}"), "x"]).await.unwrap();
    }
    assert!(dev.stop().success());
    let dev = Dev::start_in(data.path(), &flags);
    for number in 0..50 {
        run(&dev.nodes[number % 2], &["INCR", "count"]).await.unwrap();
    }
    everywhere(&dev, "all increments", &["GET", "count"], &bulk("100")).await;
    everywhere(&dev, "all keys", &["DBSIZE"], &Value::Int(51)).await;
}

/// A datacenter whose volume was put back from an older copy is given what it lacks, its own writes too, and what it writes then takes
/// nobody's place.
#[tokio::test(flavor = "multi_thread")]
async fn a_datacenter_put_back_from_an_old_volume_loses_nothing_that_others_have() {
    let data = tempfile::TempDir::new().unwrap();
    let size = ["--nodes", "3", "--datacenters", "3", "--shards", "1"];
    let flags = [&["--mode", "multi-leader"][..], &size].concat();
    let [volume, copy] = ["node-2", "copy"].map(|name| data.path().join(name));
    let copied = |from: &std::path::Path, to: &std::path::Path| {
        let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status();
        assert!(copied.unwrap().success());
    };
    let dev = Dev::start_in(data.path(), &flags);
    run(&dev.nodes[1], &["SET", "old", "x"]).await.unwrap();
    run(&dev.nodes[1], &["INCRBY", "count", "1"]).await.unwrap();
    everywhere(&dev, "before the copy", &["GET", "count"], &bulk("1")).await;
    assert!(dev.stop().success());
    copied(&volume, &copy);

    let dev = Dev::start_in(data.path(), &flags);
    for number in 0..20 {
        run(&dev.nodes[1], &["INCRBY", "count", "10"]).await.unwrap();
        run(&dev.nodes[1], &["SET", &format!("own-{number}"), "x"]).await.unwrap();
    }
    run(&dev.nodes[1], &["DEL", "old"]).await.unwrap();
    run(&dev.nodes[0], &["INCRBY", "count", "1000"]).await.unwrap();
    everywhere(&dev, "since the copy", &["GET", "count"], &bulk("1201")).await;
    everywhere(&dev, "removed", &["EXISTS", "old"], &Value::Int(0)).await;
    assert!(dev.stop().success());
    std::fs::remove_dir_all(&volume).unwrap();
    copied(&copy, &volume);

    let dev = Dev::start_in(data.path(), &flags);
    for _ in 0..20 {
        run(&dev.nodes[1], &["INCRBY", "count", "100000"]).await.unwrap();
    }
    everywhere(&dev, "all increments", &["GET", "count"], &bulk("2001201")).await;
    everywhere(&dev, "nothing comes back", &["EXISTS", "old"], &Value::Int(0)).await;
    everywhere(&dev, "its own keys", &["DBSIZE"], &Value::Int(21)).await;
}
