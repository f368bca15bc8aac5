//! A fourth node joins, takes over a replica, and leaves again, while a client writes.

use std::collections::BTreeSet;

use quorate_model::{Datacenter, GroupId, Member, NodeId, ShardId, Topology};

use crate::support::{
    Dev, Node, Writer, await_ready, eventually, leader_of, propose, report, topology,
};

const SHARD: ShardId = ShardId(0);

#[tokio::test(flavor = "multi_thread")]
async fn a_blank_node_joins_takes_a_replica_over_and_leaves_again() {
    let dev = Dev::start(&["--nodes", "3", "--shards", "1"]);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let writer = Writer::start(dev.plain_addresses(), SHARD, 1);
    writer.progress(50).await;

    let data = tempfile::tempdir().unwrap();
    let fourth = Node::start(&dev.nodes[0].store.to_string(), "node-4", "dc-a", data.path());
    let added = fourth.at.node;
    let member = Member {
        id: added,
        name: "node-4".to_owned(),
        datacenter: Datacenter::new("dc-a").unwrap(),
        zone: Datacenter::new("local").unwrap(),
        addresses: fourth.at.addresses.clone(),
    };
    propose(&nodes, |topology| {
        topology.members.insert(added, member.clone());
    })
    .await;
    await_ready(&fourth.at).await;

    let leader = leader_of(SHARD, &nodes).await;
    let leaving = dev.others(leader)[0].node;
    propose(&nodes, |topology| replace(topology, leaving, added)).await;
    await_voters(&dev, |voters| voters.contains(&added) && !voters.contains(&leaving)).await;
    writer.progress(50).await;

    propose(&nodes, |topology| replace(topology, added, leaving)).await;
    await_voters(&dev, |voters| voters.contains(&leaving) && !voters.contains(&added)).await;
    propose(&nodes, |topology| {
        topology.members.remove(&added);
    })
    .await;
    eventually("the removed node hosts nothing of the shard", || async {
        let report = report(&fourth.at).await?;
        let hosts = report.replicas.iter().any(|r| r.group == GroupId::Shard(SHARD));
        (!hosts).then_some(())
    })
    .await;
    eventually("three members", || async {
        (topology(&dev.nodes[0]).await.members.len() == 3).then_some(())
    })
    .await;
    let written = writer.finish(&dev.nodes[1].addresses.plain).await;
    println!("node added and removed: write gap {:?}, {} failed", written.gap(), written.failed);
}

fn replace(topology: &mut Topology, old: NodeId, new: NodeId) {
    let placement = &mut topology.shards[0];
    placement.voters.remove(&old);
    placement.voters.insert(new);
    placement.preferred_leader =
        placement.preferred_leader.filter(|node| placement.voters.contains(node));
}

async fn await_voters(dev: &Dev, fits: impl Fn(&BTreeSet<NodeId>) -> bool) {
    let nodes: Vec<_> = dev.nodes.iter().collect();
    eventually("the shard's voters", || async {
        let leader = leader_of(SHARD, &nodes).await;
        let report = report(dev.node(leader)).await?;
        let replica = report.replicas.into_iter().find(|r| r.group == GroupId::Shard(SHARD))?;
        fits(&replica.voters).then_some(())
    })
    .await;
}
