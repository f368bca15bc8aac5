//! The first topology of a store on one machine: even, and spread over the datacenters. Pure.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{
    Datacenter, Epoch, Member, Mode, MultiLeader, Name, NodeId, Policy, ShardPlacement, Topology,
};

use super::layout::Layout;
use crate::node::Announcement;

const META_VOTERS_MAX: usize = 3;
const ZONE: &str = "local";

pub(super) fn topology(
    layout: &Layout,
    nodes: &[Announcement],
    policy: Policy,
    mode: Mode,
) -> Topology {
    assert_eq!(nodes.len(), usize::from(layout.nodes()));
    let members = nodes.iter().map(|node| (node.node, member(node))).collect::<BTreeMap<_, _>>();
    let ids: Vec<NodeId> = nodes.iter().map(|node| node.node).collect();
    let mut places: BTreeMap<&str, Vec<NodeId>> = BTreeMap::new();
    for node in nodes {
        // With several leaders each datacenter has replicas of its own.
        let place = if mode.multi_leader().is_some() { node.datacenter.as_str() } else { "" };
        places.entry(place).or_default().push(node.node);
    }
    let replicas = usize::from(layout.replicas());
    let shards = (0..layout.shards()).map(|shard| {
        let groups =
            places.values().map(|ids| placement(ids, usize::from(shard), replicas.min(ids.len())));
        groups.reduce(together).expect("there are nodes")
    });
    let mut topology = Topology {
        store: layout.store(),
        epoch: Epoch(1),
        members,
        meta_voters: ids.iter().take(META_VOTERS_MAX).copied().collect(),
        shards: shards.collect(),
        policy,
        mode,
    };
    if let Some(multi_leader) = topology.mode.multi_leader() {
        let multi_leader = MultiLeader::new(multi_leader.policy.clone(), &topology);
        topology.mode = Mode::MultiLeader(multi_leader);
    }
    topology
}

/// The groups of two datacenters. Which node of each leads is left to them.
fn together(one: ShardPlacement, other: ShardPlacement) -> ShardPlacement {
    ShardPlacement {
        genesis: one.genesis.union(&other.genesis).copied().collect(),
        voters: one.voters.union(&other.voters).copied().collect(),
        preferred_leader: None,
    }
}

/// Nodes are in the datacenters in turn, so that consecutive nodes are in different ones.
fn placement(ids: &[NodeId], shard: usize, replicas: usize) -> ShardPlacement {
    let voters: BTreeSet<NodeId> =
        (0..replicas).map(|replica| ids[(shard + replica) % ids.len()]).collect();
    assert_eq!(voters.len(), replicas);
    ShardPlacement {
        genesis: voters.clone(),
        voters,
        preferred_leader: Some(ids[shard % ids.len()]),
    }
}

fn member(node: &Announcement) -> Member {
    Member {
        id: node.node,
        name: node.name.clone(),
        datacenter: Datacenter::new(node.datacenter.clone())
            .expect("the node was started with it, and announces what it parsed"),
        zone: Name::new(ZONE).expect("a DNS label"),
        addresses: node.addresses.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_and_their_leaders_are_even() {
        let ids: Vec<NodeId> = (1..=5).map(NodeId).collect();
        let placements: Vec<_> = (0..10).map(|shard| placement(&ids, shard, 3)).collect();
        for id in &ids {
            let hosts = placements.iter().filter(|p| p.voters.contains(id)).count();
            let leads = placements.iter().filter(|p| p.preferred_leader == Some(*id)).count();
            assert_eq!((hosts, leads), (6, 2));
        }
    }
}
