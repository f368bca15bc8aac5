//! A store with a leader in each of two datacenters: its nodes are in them in turn, and each has replicas of every shard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use quorate_model::admin::{ExchangeReport, NodeReport, Role};
use quorate_model::{GroupId, NodeId, ShardId, ShardPlacement};

use super::{Node, Quorate, Server, report};
use crate::load::{Place, Protocol, Target, keys};

pub(crate) const DATACENTERS: usize = 2;

/// How far a datacenter is with what the others wrote, over all shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Taken {
    /// Changes, since its leaders lead.
    pub(crate) changes: u64,
    /// Writes that it knows to exist and does not have, and for how long there have been some.
    pub(crate) lacking: u64,
    pub(crate) lag_ms: u64,
    /// A link has not been heard of for long; or asks for more than its log holds.
    pub(crate) silent: bool,
    pub(crate) behind: bool,
}

impl Quorate {
    /// A node's datacenter, by number; where there is one leader each node is in its own.
    pub(super) const fn datacenter_of(&self, number: usize) -> usize {
        match self.options.mode.multi_leader() {
            Some(_) => (number - 1) % DATACENTERS + 1,
            None => number,
        }
    }

    /// All nodes have replicas; who leads is left to each datacenter.
    pub(super) fn placement(&self) -> ShardPlacement {
        let voters: BTreeSet<NodeId> = self.nodes.iter().map(|node| node.id).collect();
        ShardPlacement { genesis: voters.clone(), voters, preferred_leader: None }
    }

    /// Every shard has a leader in every datacenter.
    pub(super) fn is_led(&self) -> Result<bool> {
        let mut led = 0;
        for datacenter in 1..=DATACENTERS {
            led += self.leaders_in(datacenter)?.len();
        }
        Ok(led == DATACENTERS * usize::from(self.options.shards))
    }

    /// As `target`: clients of one datacenter.
    pub(crate) fn target_in(&self, datacenter: usize, all: Vec<Bytes>) -> Result<Target> {
        let leaders = self.leaders_in(datacenter)?;
        let mut places: BTreeMap<NodeId, Vec<Bytes>> = BTreeMap::new();
        for (shard, keys) in (0..).map(ShardId).zip(keys::by_shard(all, self.options.shards)) {
            let (leader, _) = leaders.get(&shard).context("a shard has no leader")?;
            places.entry(*leader).or_default().extend(keys);
        }
        let places = places.into_iter().map(|(leader, keys)| {
            let address = self.node(leader)?.addresses.cluster.clone();
            Ok(Place { address, keys: Arc::from(keys) })
        });
        Ok(Target { protocol: Protocol::Resp, places: places.collect::<Result<_>>()? })
    }

    pub(crate) fn pids_in(&self, datacenter: usize) -> Vec<u32> {
        let servers = self.nodes_in(datacenter).filter_map(|node| node.server.as_ref());
        servers.map(Server::pid).collect()
    }

    pub(crate) fn taken(&self, datacenter: usize) -> Result<Taken> {
        let mut sum = Taken::default();
        for (_, exchange) in self.leaders_in(datacenter)?.values() {
            let exchange = exchange.as_ref().context("a leader says nothing of its links")?;
            sum.changes += exchange.taken;
            for link in &exchange.links {
                sum.lacking += link.lacking;
                sum.lag_ms = sum.lag_ms.max(link.lag_ms);
                sum.silent |= link.silent;
                sum.behind |= link.behind;
            }
        }
        Ok(sum)
    }

    fn leaders_in(
        &self,
        datacenter: usize,
    ) -> Result<BTreeMap<ShardId, (NodeId, Option<ExchangeReport>)>> {
        let mut leaders = BTreeMap::new();
        for node in self.nodes_in(datacenter) {
            let NodeReport { node, replicas, .. } = report(&node.addresses.admin)?;
            for replica in replicas {
                if let (GroupId::Shard(shard), Role::Leader) = (replica.group, replica.role) {
                    leaders.insert(shard, (node, replica.exchange));
                }
            }
        }
        Ok(leaders)
    }

    fn nodes_in(&self, datacenter: usize) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.datacenter == datacenter)
    }
}
