//! A node that is asked to stop hands over first.

use quorate_model::ShardId;

use crate::support::{Dev, Signal, Writer, eventually, is_running, leader_of, signal};

const SHARD: ShardId = ShardId(0);

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_leader_hands_over_before_it_ends() {
    let dev = Dev::start(&["--nodes", "3", "--shards", "1"]);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let leader = leader_of(SHARD, &nodes).await;
    let others = dev.others(leader);
    let addresses = others.iter().map(|node| node.addresses.plain.clone()).collect();
    let writer = Writer::start(addresses, SHARD, 1);
    writer.progress(100).await;
    let pid = dev.node(leader).pid;
    signal(pid, Signal::Terminate);
    eventually("the node's end", || async { (!is_running(pid)).then_some(()) }).await;
    writer.progress(100).await;
    let log = std::fs::read_to_string(dev.directory.join(format!("{}.log", dev.node(leader).name)))
        .unwrap();
    assert!(log.contains("handed over"), "{log}");
    assert!(log.contains("stopped"), "{log}");
    let written = writer.finish(&others[1].addresses.plain).await;
    println!("handed over: write gap {:?}, {} failed", written.gap(), written.failed);
}
