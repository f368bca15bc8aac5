//! The topology as clients are told it: who leads which slots, and where everybody can be reached.
//!
//! A snapshot that the node replaces as a whole. Pure: no lock, no I/O.

use std::collections::BTreeMap;

use quorate_model::{
    Datacenter, Datacenters, Epoch, LeaderlessPolicy, Member, MultiLeaderPolicy, NodeId, Policy,
    ShardId, Slot, SlotRange, StoreId, Term,
};

#[derive(Clone, PartialEq, Debug)]
pub struct Routing {
    /// This node, whether or not it is a member yet.
    pub node: NodeId,
    pub name: String,
    pub datacenter: Datacenter,
    pub store: StoreId,
    /// 0 until the node belongs to a store.
    pub epoch: Epoch,
    pub members: BTreeMap<NodeId, Member>,
    /// One per shard, `ShardId(0)` first; empty until the node belongs to a store.
    pub shards: Vec<ShardRoute>,
    /// What the store declares.
    pub policy: Policy,
    /// Without leaders: every replica of a shard takes its reads and writes. The one named as its leader is whom nodes without a
    /// replica send clients to.
    pub leaderless: Option<LeaderlessPolicy>,
    /// With a leader of each shard in every datacenter; the shards' routes are those of this one.
    pub multi_leader: Option<MultiLeaderPolicy>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardRoute {
    /// Who leads as far as this node knows; `None` during an election.
    pub leader: Option<NodeId>,
    /// Who led last, where this node ever heard of a leader.
    pub leader_last: Option<NodeId>,
    /// The leader's term, 0 when there never was one.
    pub term: Term,
    /// The voters, as placed.
    pub voters: Vec<NodeId>,
    /// This node holds a replica from which it can answer local reads.
    pub hosted: bool,
}

impl Routing {
    /// The shard of a slot; `None` until the node belongs to a store.
    #[must_use]
    pub fn shard_of(&self, slot: Slot) -> Option<ShardId> {
        let count = self.shard_count()?;
        Some(slot.shard(count))
    }

    /// Some keys are written in one datacenter alone.
    #[must_use]
    pub fn has_homes(&self) -> bool {
        self.multi_leader.as_ref().is_some_and(|policy| !policy.homes.keys.is_empty())
    }

    #[must_use]
    pub fn shard(&self, shard: ShardId) -> Option<&ShardRoute> {
        self.shards.get(usize::from(shard.0))
    }

    pub fn shards(&self) -> impl Iterator<Item = (ShardId, SlotRange, &ShardRoute)> {
        let count = self.shard_count().unwrap_or(1);
        (0..)
            .map(ShardId)
            .zip(&self.shards)
            .map(move |(shard, route)| (shard, SlotRange::of_shard(shard, count), route))
    }

    /// Whether this node takes writes of the shard.
    #[must_use]
    pub fn leads(&self, shard: ShardId) -> bool {
        self.shard(shard).is_some_and(|route| self.takes_writes_of(route))
    }

    /// Whether this node takes writes of any shard.
    #[must_use]
    pub fn leads_any(&self) -> bool {
        self.shards.iter().any(|route| self.takes_writes_of(route))
    }

    /// The node that clients are shown as the master of the shard's slots. Without leaders this is the node that is asked, where it
    /// has a replica: it is up, and a client that lost its master finds another one by asking any other.
    #[must_use]
    pub fn shown_master(&self, route: &ShardRoute) -> Option<NodeId> {
        if self.is_leaderless() && route.hosted {
            return Some(self.node);
        }
        route.shown_leader()
    }

    /// Who takes the shard's writes when this node does not.
    #[must_use]
    pub fn elsewhere(&self, shard: ShardId) -> Option<NodeId> {
        let route = self.shard(shard)?;
        if self.is_leaderless() && route.leader == Some(self.node) {
            return self.asked_of(&route.voters).into_iter().find(|voter| *voter != self.node);
        }
        route.leader
    }

    /// Of a shard's replicas without a leader, those that clients of this node are to ask. Where levels count within a datacenter, one
    /// elsewhere knows nothing of what was acknowledged here.
    #[must_use]
    pub fn asked_of(&self, voters: &[NodeId]) -> Vec<NodeId> {
        let local = self.leaderless.as_ref().map(|policy| policy.datacenters);
        let near = voters.iter().copied().filter(|node| self.is_near(*node));
        let near: Vec<NodeId> = near.filter(|_| local == Some(Datacenters::Local)).collect();
        if near.is_empty() { voters.to_vec() } else { near }
    }

    #[must_use]
    pub fn is_near(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|member| member.datacenter == self.datacenter)
    }

    #[must_use]
    pub const fn is_leaderless(&self) -> bool {
        self.leaderless.is_some()
    }

    fn takes_writes_of(&self, route: &ShardRoute) -> bool {
        match self.is_leaderless() {
            true => route.hosted,
            false => route.leader == Some(self.node),
        }
    }

    fn shard_count(&self) -> Option<u16> {
        u16::try_from(self.shards.len()).ok().filter(|count| *count > 0)
    }
}

impl ShardRoute {
    /// The leader, else the last one, else a voter. Clients refuse a topology with holes, so there is one as soon as the shard has a
    /// voter.
    fn shown_leader(&self) -> Option<NodeId> {
        self.leader.or(self.leader_last).or_else(|| self.voters.first().copied())
    }
}

/// Splits `host:port`; an IPv6 host loses its brackets. `None` when there is no port or no host.
#[must_use]
pub fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return None;
    }
    port.parse().ok().map(|port| (host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_splits_at_the_last_colon() {
        assert_eq!(host_and_port("10.0.0.1:6380"), Some(("10.0.0.1", 6380)));
        assert_eq!(host_and_port("[::1]:6380"), Some(("::1", 6380)));
        assert_eq!(host_and_port("store-0.store:6380"), Some(("store-0.store", 6380)));
        assert_eq!(host_and_port(":6380"), None);
        assert_eq!(host_and_port("host"), None);
    }
}
