//! A store comes back with its data.

use std::time::Duration;

use quorate_model::ShardId;
use redis::AsyncCommands;

use crate::support::{Dev, PATIENCE, Signal, Writer, connect, is_running, read_all, signal};

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_store_comes_back_with_its_data() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start_in(data.path(), &["--nodes", "3"]);
    let before = dev.nodes.clone();
    let mut connection =
        connect(&dev.nodes[0].addresses.plain, Duration::from_secs(20)).await.unwrap();
    for number in 0..50u64 {
        let (): () = connection.set(format!("k{number}"), number).await.unwrap();
    }
    assert!(dev.stop().success());

    let dev = Dev::start_in(data.path(), &["--nodes", "3"]);
    let same = |a: &[quorate_node::node::Announcement]| {
        a.iter().map(|n| (n.node, n.addresses.clone())).collect::<Vec<_>>()
    };
    assert_eq!(same(&before), same(&dev.nodes));
    let keys: Vec<String> = (0..50).map(|number| format!("k{number}")).collect();
    let found = read_all(&dev.nodes[2].addresses.plain, &keys).await;
    for number in 0..50u64 {
        assert_eq!(found[&format!("k{number}")], Some(number));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_node_that_is_killed_loses_nothing_that_it_acknowledged() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start_in(data.path(), &["--nodes", "1"]);
    let writer = Writer::start(dev.plain_addresses(), ShardId(0), 1);
    writer.progress(50).await;
    signal(dev.nodes[0].pid, Signal::Kill);
    let pid = dev.nodes[0].pid;
    let deadline = std::time::Instant::now() + PATIENCE;
    while is_running(pid) {
        assert!(std::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    assert!(dev.stop().success());
    let dev = Dev::start_in(data.path(), &["--nodes", "1"]);
    let written = writer.finish(&dev.nodes[0].addresses.plain).await;
    assert!(written.keys.len() >= 50);
}
