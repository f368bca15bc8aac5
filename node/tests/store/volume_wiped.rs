//! A node loses its volume: it is another node then, which takes the lost one's place.

use quorate_model::{GroupId, Member, ShardId};

use crate::support::{
    Dev, Node, Signal, Writer, caught_up, eventually, is_running, leader_of, propose, report,
    signal, topology,
};

const SHARD: ShardId = ShardId(0);

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_comes_back_as_another_and_replaces_the_lost_one() {
    let dev = Dev::start(&["--nodes", "3", "--shards", "1"]);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let leader = leader_of(SHARD, &nodes).await;
    let others = dev.others(leader);
    let lost = others[0];
    let writer = Writer::start(vec![dev.node(leader).addresses.plain.clone()], SHARD, 1);
    writer.progress(50).await;
    signal(lost.pid, Signal::Kill);
    eventually("the node's end", || async { (!is_running(lost.pid)).then_some(()) }).await;
    let data = dev.directory.join(&lost.name);
    std::fs::remove_dir_all(&data).unwrap();

    let wiped = Node::start(&lost.store.to_string(), &lost.name, &lost.datacenter, &data);
    assert_ne!(wiped.at.node, lost.node);
    assert!(report(&wiped.at).await.unwrap().topology.is_none());
    let alive = [dev.node(leader), others[1]];
    propose(&alive, |topology| {
        let old = topology.members[&lost.node].clone();
        let addresses = wiped.at.addresses.clone();
        topology.members.insert(wiped.at.node, Member { id: wiped.at.node, addresses, ..old });
        for voters in [&mut topology.meta_voters, &mut topology.shards[0].voters] {
            voters.remove(&lost.node);
            voters.insert(wiped.at.node);
        }
        let placement = &mut topology.shards[0];
        placement.preferred_leader = None;
    })
    .await;
    eventually("the new one is a caught-up voter and the lost one gone", || async {
        let leader = leader_of(SHARD, &alive).await;
        let report = report(dev.node(leader)).await?;
        let replica = report.replicas.into_iter().find(|r| r.group == GroupId::Shard(SHARD))?;
        let replaced = replica.voters.contains(&wiped.at.node)
            && !replica.voters.contains(&lost.node)
            && !replica.learners.contains(&lost.node);
        (replaced && caught_up(&wiped.at).await).then_some(())
    })
    .await;
    propose(&alive, |topology| {
        topology.members.remove(&lost.node);
    })
    .await;
    eventually("three members", || async {
        (topology(alive[0]).await.members.len() == 3).then_some(())
    })
    .await;
    let written = writer.finish(&wiped.at.addresses.plain).await;
    println!("volume wiped: write gap {:?}, {} failed", written.gap(), written.failed);
}
