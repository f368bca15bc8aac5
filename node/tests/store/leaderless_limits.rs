//! What quorums do not promise, each with what the store says of it or does about it.

use std::fs;
use std::path::Path;

use quorate_node::node::Announcement;
use redis::aio::MultiplexedConnection;

use crate::support::{
    PATIENCE, Signal, ask, connect, end, eventually, info, quorum, signal, start_again,
    start_leaderless, start_leaderless_as, vget,
};

async fn client(node: &Announcement) -> MultiplexedConnection {
    eventually("a connection", || async { connect(&node.addresses.plain, PATIENCE).await.ok() })
        .await
}

/// Both are written at once, through two nodes.
async fn write_both(clients: &mut [MultiplexedConnection; 2], key: &str) {
    let [one, two] = clients;
    let (first, second) = (["SET", key, "one"], ["SET", key, "two"]);
    let (one, two) = tokio::join!(ask::<()>(one, &first), ask::<()>(two, &second));
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_concurrent_writes_the_last_writer_keeps_one_and_counts_the_other() {
    let dev = start_leaderless_as("LastWriterWins");
    let mut clients = [client(&dev.nodes[0]).await, client(&dev.nodes[1]).await];
    let mut key = String::new();
    for number in 0.. {
        key = format!("key:{number}");
        write_both(&mut clients, &key).await;
        let mut discarded = 0;
        for node in &dev.nodes {
            discarded += info(node, "discarded").await;
        }
        if discarded > 0 {
            break;
        }
        assert!(number < 10_000, "no two writes met");
    }
    // Both were acknowledged, and every node comes to the same one.
    let mut all = quorum(&dev.nodes[2], "ALL", "ALL").await.unwrap();
    let kept: String = ask(&mut all, &["GET", &key]).await.unwrap();
    for client in &mut clients {
        assert_eq!(ask::<String>(client, &["GET", &key]).await.unwrap(), kept);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_concurrent_writes_a_store_of_siblings_keeps_both_until_a_client_has_seen_them() {
    let dev = start_leaderless();
    let mut clients = [client(&dev.nodes[0]).await, client(&dev.nodes[1]).await];
    write_both(&mut clients, "key").await;
    let (context, values) = vget(&mut clients[0], "key").await;
    assert_eq!(values, ["one", "two"]);
    let joined = ["VSET", "key", "both", "CONTEXT", &context];
    ask::<redis::Value>(&mut clients[1], &joined).await.unwrap();
    assert_eq!(ask::<String>(&mut clients[0], &["GET", "key"]).await.unwrap(), "both");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_read_of_a_write_under_way_has_shown_stays_shown() {
    const WRITES: u32 = 400;
    let dev = start_leaderless_as("LastWriterWins");
    let mut writer = client(&dev.nodes[0]).await;
    let writing = tokio::spawn(async move {
        for number in 1..=WRITES {
            ask::<()>(&mut writer, &["SET", "key", &number.to_string()]).await.unwrap();
        }
    });
    let mut readers = Vec::new();
    for node in &dev.nodes {
        readers.push(client(node).await);
    }
    let mut shown = 0;
    while shown < WRITES {
        for reader in &mut readers {
            let found: Option<u32> = ask(reader, &["GET", "key"]).await.unwrap();
            assert!(found.unwrap_or(0) >= shown, "{found:?} after {shown}");
            shown = found.unwrap_or(0);
        }
    }
    writing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_one_replica_may_go_back_where_a_quorum_does_not() {
    let dev = start_leaderless_as("LastWriterWins");
    let [alive, other, away] = [&dev.nodes[0], &dev.nodes[1], &dev.nodes[2]];
    let mut all = quorum(alive, "ALL", "ALL").await.unwrap();
    ask::<()>(&mut all, &["SET", "key", "old"]).await.unwrap();
    end(away.pid, Signal::Kill).await;
    let mut writer = quorum(alive, "ONE", "QUORUM").await.unwrap();
    ask::<()>(&mut writer, &["SET", "key", "new"]).await.unwrap();
    assert_eq!(ask::<String>(&mut writer, &["GET", "key"]).await.unwrap(), "new");
    // The other one cannot tell what was missed, and a quorum is not there.
    signal(alive.pid, Signal::Freeze);
    signal(other.pid, Signal::Freeze);
    let back = start_again(&dev, away);
    eventually("an older value than was shown", || async {
        let mut one = quorum(&back.at, "ONE", "ONE").await.ok()?;
        let found: String = ask(&mut one, &["GET", "key"]).await.ok()?;
        (found == "old").then_some(())
    })
    .await;
    signal(alive.pid, Signal::Thaw);
    signal(other.pid, Signal::Thaw);
    let mut reader = client(&back.at).await;
    let found = eventually("a quorum", || {
        let mut reader = reader.clone();
        async move { ask::<String>(&mut reader, &["GET", "key"]).await.ok() }
    });
    assert_eq!(found.await, "new");
    // What the quorum has shown this node holds, too.
    ask::<()>(&mut reader, &["QUORUM", "ONE", "ONE"]).await.unwrap();
    assert_eq!(ask::<String>(&mut reader, &["GET", "key"]).await.unwrap(), "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_without_its_quorum_says_so_and_is_seen_later() {
    let dev = start_leaderless();
    let alone = &dev.nodes[0];
    let mut writer = client(alone).await;
    let (context, _) = vget(&mut writer, "key").await;
    end(dev.nodes[1].pid, Signal::Kill).await;
    end(dev.nodes[2].pid, Signal::Kill).await;
    let write = ["VSET", "key", "value", "CONTEXT", &context];
    let error = ask::<redis::Value>(&mut writer, &write).await.unwrap_err().to_string();
    assert!(error.contains("NOQUORUM"), "{error}");
    assert!(error.contains("1 of 2 replicas answered in time"), "{error}");
    assert!(error.contains("the write may still take effect"), "{error}");

    // It was not rolled back.
    let back = start_again(&dev, &dev.nodes[1]);
    eventually("the write that failed", || async {
        let mut reader = connect(&back.at.addresses.plain, PATIENCE).await.ok()?;
        let found: Option<String> = ask(&mut reader, &["GET", "key"]).await.ok()?;
        (found.as_deref() == Some("value")).then_some(())
    })
    .await;
    // Written again it is the same value.
    eventually("the write", || {
        let (mut writer, write) = (writer.clone(), write);
        async move { ask::<redis::Value>(&mut writer, &write).await.ok() }
    })
    .await;
    assert_eq!(ask::<String>(&mut writer, &["GET", "key"]).await.unwrap(), "value");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linearizable_write_without_its_quorum_did_nothing() {
    let dev = start_leaderless_as("LastWriterWins");
    let alone = &dev.nodes[0];
    let mut writer = client(alone).await;
    ask::<()>(&mut writer, &["QUORUM", "LINEARIZABLE"]).await.unwrap();
    ask::<()>(&mut writer, &["SET", "key", "before"]).await.unwrap();
    let error = ask::<redis::Value>(&mut writer, &["INCR", "key"]).await.unwrap_err().to_string();
    assert!(error.contains("LINEARIZABLE is for strings"), "{error}");
    end(dev.nodes[1].pid, Signal::Kill).await;
    end(dev.nodes[2].pid, Signal::Kill).await;
    let error = ask::<redis::Value>(&mut writer, &["SET", "key", "after"]).await.unwrap_err();
    let error = error.to_string();
    assert!(error.contains("NOQUORUM") && !error.contains("may still"), "{error}");
    let mut one = quorum(alone, "ONE", "ONE").await.unwrap();
    assert_eq!(ask::<String>(&mut one, &["GET", "key"]).await.unwrap(), "before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_volume_was_put_back_from_an_old_copy_is_filled_again() {
    let dev = start_leaderless_as("LastWriterWins");
    let [alive, other, restored] = [&dev.nodes[0], &dev.nodes[1], &dev.nodes[2]];
    let mut all = quorum(alive, "ALL", "ALL").await.unwrap();
    ask::<()>(&mut all, &["SET", "key", "old"]).await.unwrap();
    end(restored.pid, Signal::Terminate).await;
    let data = dev.directory.join(&restored.name);
    let saved = dev.directory.join("saved");
    copy(&data, &saved);

    let mut back = start_again(&dev, restored);
    end(other.pid, Signal::Kill).await;
    // Held by these two alone.
    eventually("a write on the node that is back", || async {
        let mut writer = connect(&alive.addresses.plain, PATIENCE).await.ok()?;
        ask::<()>(&mut writer, &["SET", "key", "new"]).await.ok()
    })
    .await;
    // Later than what was written is told.
    let exchanges = info(&back.at, "exchanges").await;
    eventually("a comparison", || async {
        (info(&back.at, "exchanges").await > exchanges).then_some(())
    })
    .await;
    back.kill();
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&saved, &data).unwrap();

    let back = start_again(&dev, restored);
    eventually("the older copy is found and given up", || async {
        (standing(&back.at).await? == "filling").then_some(())
    })
    .await;
    // The other missed the write, and the restored one no longer holds it: filled again from both, it does.
    let other = start_again(&dev, other);
    eventually("it is whole again", || async {
        (standing(&back.at).await? == "whole").then_some(())
    })
    .await;
    signal(alive.pid, Signal::Freeze);
    for node in [&other.at, &back.at] {
        let mut reader = client(node).await;
        assert_eq!(ask::<String>(&mut reader, &["GET", "key"]).await.unwrap(), "new");
    }
    signal(alive.pid, Signal::Thaw);
}

async fn standing(node: &Announcement) -> Option<String> {
    let mut client = connect(&node.addresses.plain, PATIENCE).await.ok()?;
    let text: String = ask(&mut client, &["INFO", "replication"]).await.ok()?;
    let fields = text.lines().find_map(|line| line.strip_prefix("shard-0:standing="))?;
    fields.split(',').next().map(str::to_owned)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
