//! Which rule of acknowledgement is in force, and how it came to be.

use quorate_model::admin::ReplicaReport;
use quorate_model::{Durability, GroupId, Policy, ShardId};
use quorate_node::node::Announcement;

use super::{eventually, leader_of, propose, report};

/// What the shard's leader says of its replica.
pub(crate) async fn leading(shard: ShardId, nodes: &[&Announcement]) -> ReplicaReport {
    eventually("a leader's report", || async {
        let leader = leader_of(shard, nodes).await;
        let node = nodes.iter().find(|node| node.node == leader)?;
        let replicas = report(node).await?.replicas;
        let leading = replicas.into_iter().find(|one| one.group == GroupId::Shard(shard))?;
        (leading.leader == Some(leader)).then_some(leading)
    })
    .await
}

/// Declares a policy and waits until the shard's leader keeps to it.
pub(crate) async fn declare(shard: ShardId, nodes: &[&Announcement], policy: &Policy) {
    propose(nodes, |topology| topology.policy = policy.clone()).await;
    await_durability(shard, nodes, policy.durability).await;
}

pub(crate) async fn await_durability(
    shard: ShardId,
    nodes: &[&Announcement],
    durability: Durability,
) -> ReplicaReport {
    eventually("the declared durability", || async {
        let leading = leading(shard, nodes).await;
        let shown = &leading.acknowledgement;
        let whole = shown.settled && !shown.shrunk && shown.waiting_for.is_empty();
        (shown.durability == durability && whole).then_some(leading)
    })
    .await
}
