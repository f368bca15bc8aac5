//! Without leaders and with hints: two of a key's three replicas are lost for a while, writes go on, and nodes that have no
//! replica give back what they held.

use quorate_model::NodeId;
use quorate_node::node::Announcement;

use crate::support::{
    Dev, Node, Signal, ask, eventually, is_running, quorum, report, signal, topology,
};

const KEYS: usize = 20;

/// One shard on three of five nodes.
struct Store {
    dev: Dev,
    owners: Vec<Announcement>,
    others: Vec<Announcement>,
}

impl Store {
    async fn start() -> Self {
        let policy = r#"{"hints":{"windowSeconds":10800,"maxBytes":1048576}}"#;
        let arguments = ["--mode", "leaderless", "--nodes", "5", "--shards", "1", "--leaderless"];
        let dev = Dev::start(&[&arguments[..], &[policy]].concat());
        let placed = topology(&dev.nodes[0]).await.shards[0].voters.clone();
        let (owners, others): (Vec<_>, Vec<_>) =
            dev.nodes.iter().cloned().partition(|node| placed.contains(&node.node));
        assert_eq!((owners.len(), others.len()), (3, 2));
        Self { dev, owners, others }
    }

    async fn kill(&self, node: &Announcement) {
        signal(node.pid, Signal::Kill);
        eventually("the node's end", || async { (!is_running(node.pid)).then_some(()) }).await;
    }

    /// The same node at other addresses, which looks for another one there.
    fn start_again(&self, node: &Announcement, peers: &[&str]) -> Node {
        let data = self.dev.directory.join(&node.name);
        let store = node.store.to_string();
        Node::start_with(&store, &node.name, &node.datacenter, &data, peers)
    }

    /// What the nodes without a replica hold for that one.
    async fn held_for(&self, target: NodeId) -> Option<u64> {
        let mut count = 0;
        for node in &self.others {
            let hints = report(node).await?.hints;
            count +=
                hints.iter().filter(|one| one.target == target).map(|one| one.count).sum::<u64>();
        }
        Some(count)
    }
}

/// Limit 1: a read at QUORUM misses a write at `SLOPPY_QUORUM` until the replicas have it back.
#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_without_most_replicas_and_are_missed_until_they_are_given_back() {
    let store = Store::start().await;
    let [alive, two, three] = &store.owners[..] else { panic!("three replicas") };
    store.kill(two).await;
    store.kill(three).await;

    let mut strict = quorum(alive, "ONE", "QUORUM").await.unwrap();
    let error = ask::<redis::Value>(&mut strict, &["SET", "strict", "x"]).await.unwrap_err();
    assert!(error.to_string().contains("1 of 2 replicas answered in time"), "{error}");
    let mut sloppy = quorum(alive, "ONE", "SLOPPY_QUORUM").await.unwrap();
    for number in 0..KEYS {
        ask::<()>(&mut sloppy, &["SET", &format!("key:{number}"), "new"]).await.unwrap();
    }
    for target in [two.node, three.node] {
        eventually("hints for each replica that is away", || async {
            (store.held_for(target).await? >= KEYS as u64).then_some(())
        })
        .await;
    }
    let mut client = quorum(&store.others[0], "ONE", "ONE").await.unwrap();
    let info: String = ask(&mut client, &["INFO", "replication"]).await.unwrap();
    assert!(info.contains("hints_for_") && info.contains("hints_taken:"), "{info}");

    let holders = || [alive].into_iter().chain(&store.others);
    holders().for_each(|node| signal(node.pid, Signal::Freeze));
    let two = store.start_again(two, &[]);
    let three = store.start_again(three, &["--seeds", &two.at.addresses.peer]);
    let missed = eventually("an answer of the two that were away", || async {
        let mut reader = quorum(&two.at, "QUORUM", "QUORUM").await.ok()?;
        ask::<Option<String>>(&mut reader, &["GET", "key:0"]).await.ok()
    })
    .await;
    assert_eq!(missed, None, "two of three replicas have never heard of it");

    holders().for_each(|node| signal(node.pid, Signal::Thaw));
    for target in [&two.at, &three.at] {
        eventually("nothing that is held", || async {
            (store.held_for(target.node).await? == 0).then_some(())
        })
        .await;
    }
    // Alone it has what it was given.
    holders().for_each(|node| signal(node.pid, Signal::Freeze));
    let mut reader = quorum(&three.at, "QUORUM", "QUORUM").await.unwrap();
    for number in 0..KEYS {
        let found = eventually("an answer", || {
            let (key, mut reader) = (format!("key:{number}"), reader.clone());
            async move { ask::<Option<String>>(&mut reader, &["GET", &key]).await.ok() }
        })
        .await;
        assert_eq!(found.as_deref(), Some("new"));
    }
    holders().for_each(|node| signal(node.pid, Signal::Thaw));
    let _: String = ask(&mut reader, &["PING"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_replica_a_write_at_any_is_held_for_all_of_them() {
    let store = Store::start().await;
    for node in &store.owners {
        store.kill(node).await;
    }
    let mut client = quorum(&store.others[0], "ONE", "ANY").await.unwrap();
    ask::<()>(&mut client, &["SET", "key", "held"]).await.unwrap();
    ask::<()>(&mut client, &["MSET", "{key}1", "one", "{key}2", "two"]).await.unwrap();
    for command in [&["INCR", "number"][..], &["SET", "key", "x", "KEEPTTL"], &["GET", "key"]] {
        let error = ask::<redis::Value>(&mut client, command).await.unwrap_err();
        assert_eq!(error.code(), Some("NOQUORUM"), "{command:?}: {error}");
    }
    let first = store.start_again(&store.owners[0], &[]);
    let seeds = ["--seeds", &first.at.addresses.peer];
    let second = store.start_again(&store.owners[1], &seeds);
    for node in [&first, &second] {
        eventually("nothing that is held for it", || async {
            (store.held_for(node.at.node).await? == 0).then_some(())
        })
        .await;
    }
    let mut reader = quorum(&second.at, "QUORUM", "QUORUM").await.unwrap();
    for (key, value) in [("key", "held"), ("{key}1", "one"), ("{key}2", "two")] {
        let found = ask::<Option<String>>(&mut reader, &["GET", key]).await.unwrap();
        assert_eq!(found.as_deref(), Some(value));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stands_in_is_not_read_and_needs_hints() {
    let store = Store::start().await;
    let error = quorum(&store.owners[0], "ANY", "ONE").await.err().unwrap().to_string();
    assert!(error.contains("levels of writes"), "{error}");
    let without = Dev::start(&["--mode", "leaderless", "--nodes", "1", "--shards", "1"]);
    let error = quorum(&without.nodes[0], "ONE", "ANY").await.err().unwrap().to_string();
    assert!(error.contains("spec.leaderless.hints"), "{error}");
}
