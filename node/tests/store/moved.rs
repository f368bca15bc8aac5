//! Nodes come back at other addresses, as pods do.

use quorate_model::ShardId;

use crate::support::{Dev, Node, Writer, await_ready, eventually, topology};

const SHARD: ShardId = ShardId(0);

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_nodes_all_moved_finds_itself_through_a_seed() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start_in(data.path(), &["--nodes", "3", "--shards", "1"]);
    let before = dev.nodes.clone();
    let writer = Writer::start(dev.plain_addresses(), SHARD, 1);
    writer.progress(30).await;
    assert!(dev.stop().success());

    let mut nodes: Vec<Node> = Vec::new();
    for node in &before {
        let seed = nodes.first().map(|first| first.at.addresses.peer.clone());
        let seeds: Vec<&str> = seed.iter().flat_map(|seed| ["--seeds", seed.as_str()]).collect();
        let directory = data.path().join(&node.name);
        let store = node.store.to_string();
        nodes.push(Node::start_with(&store, &node.name, &node.datacenter, &directory, &seeds));
    }
    for (node, before) in nodes.iter().zip(&before) {
        assert_eq!(node.at.node, before.node);
        assert_ne!(node.at.addresses, before.addresses);
        await_ready(&node.at).await;
    }
    // The topology follows them.
    for reader in &nodes {
        for moved in &nodes {
            eventually("the new address in the topology", || async {
                let member = topology(&reader.at).await.members[&moved.at.node].clone();
                (member.addresses == moved.at.addresses).then_some(())
            })
            .await;
        }
    }
    writer.finish(&nodes[2].at.addresses.plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_node_at_another_address_says_so_itself() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start_in(data.path(), &["--nodes", "1"]);
    let before = dev.nodes[0].clone();
    assert!(dev.stop().success());
    let directory = data.path().join(&before.name);
    let node = Node::start(&before.store.to_string(), &before.name, &before.datacenter, &directory);
    eventually("the new address in the topology", || async {
        let member = topology(&node.at).await.members[&node.at.node].clone();
        (member.addresses == node.at.addresses).then_some(())
    })
    .await;
}
