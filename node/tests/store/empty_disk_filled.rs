//! An empty node is filled: what happens to it, and to who leads, in the midst of its snapshot.

use quorate_model::{Member, ShardId};

use crate::support::{
    Node, Signal, await_snapshot, caught_up, check_filled, eventually, fill, is_running, leader_of,
    leading, propose, settled_leader, short_log, signal, start_with,
};

const SHARD: ShardId = ShardId(0);
const KEYS: u64 = 600;
/// A snapshot takes six seconds, from two sources half of that.
const SNAPSHOT_BYTES_PER_SECOND: u64 = 1_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_node_is_filled_although_it_is_killed_and_the_leader_changes_meanwhile() {
    let settings = tempfile::tempdir().unwrap();
    let config = short_log(settings.path(), SNAPSHOT_BYTES_PER_SECOND);
    let more = ["--config", config.to_str().unwrap()];
    let dev = start_with(&config);
    let nodes: Vec<_> = dev.nodes.iter().collect();
    let leader = settled_leader(SHARD, &nodes).await;
    fill(dev.node(leader), SHARD, 0, KEYS).await;

    let data = tempfile::tempdir().unwrap();
    let start =
        || Node::start_with(&dev.nodes[0].store.to_string(), "node-4", "dc-1", data.path(), &more);
    let empty = start();
    let added = empty.at.node;
    propose(&nodes, |topology| {
        let member = Member {
            id: added,
            name: "node-4".to_owned(),
            addresses: empty.at.addresses.clone(),
            ..topology.members[&leader].clone()
        };
        topology.members.insert(added, member);
        topology.shards[0].voters.insert(added);
    })
    .await;
    await_snapshot(SHARD, &nodes, added).await;
    signal(empty.at.pid, Signal::Kill);
    eventually("the node's end", || async { (!is_running(empty.at.pid)).then_some(()) }).await;
    drop(empty);

    let again = start();
    assert_eq!(again.at.node, added);
    await_snapshot(SHARD, &nodes, added).await;
    let next = dev.others(leader)[0].node;
    propose(&nodes, |topology| topology.shards[0].preferred_leader = Some(next)).await;
    eventually("another leader", || async {
        (leader_of(SHARD, &nodes).await == next).then_some(())
    })
    .await;
    eventually("a caught-up voter", || async {
        let voters = leading(SHARD, &nodes).await.voters;
        (voters.contains(&added) && caught_up(&again.at).await).then_some(())
    })
    .await;
    check_filled(&again.at, SHARD, KEYS).await;
}
