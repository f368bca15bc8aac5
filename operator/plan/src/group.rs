//! Which replication group: the meta group's or a shard's, and where every datacenter has one of each shard, in which.

use std::fmt;

use quorate_api::ShardStatus;
use quorate_model::{Datacenter, GroupId, ShardId, Topology};

/// A group of a store.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupAt {
    pub id: GroupId,
    /// Of a shard that has one in every datacenter.
    pub datacenter: Option<Datacenter>,
}

impl GroupAt {
    pub const META: Self = Self { id: GroupId::Meta, datacenter: None };

    /// The group that a node in this datacenter has a replica of.
    #[must_use]
    pub fn seen_from(datacenter: &Datacenter, id: GroupId, topology: Option<&Topology>) -> Self {
        let each = topology.is_some_and(|topology| topology.mode.multi_leader().is_some());
        let within = each && id != GroupId::Meta;
        Self { id, datacenter: within.then(|| datacenter.clone()) }
    }

    #[must_use]
    pub const fn shard(&self) -> Option<ShardId> {
        match self.id {
            GroupId::Meta => None,
            GroupId::Shard(shard) => Some(shard),
        }
    }

    /// Whether this is what is said of it.
    #[must_use]
    pub fn is_of(&self, status: &ShardStatus) -> bool {
        let shard = self.shard().is_some_and(|shard| i32::from(shard.0) == status.shard);
        shard && self.datacenter.as_ref().map(Datacenter::as_str) == status.datacenter.as_deref()
    }

    /// As a list of shards has it.
    #[must_use]
    pub fn label(&self) -> String {
        let shard = self.shard().map_or_else(|| self.id.to_string(), |shard| shard.to_string());
        match &self.datacenter {
            Some(datacenter) => format!("{shard} in {datacenter}"),
            None => shard,
        }
    }

    /// Whether a node in this datacenter can have a replica of it.
    #[must_use]
    pub fn reaches(&self, datacenter: &Datacenter) -> bool {
        self.datacenter.as_ref().is_none_or(|within| within == datacenter)
    }
}

impl From<GroupId> for GroupAt {
    fn from(id: GroupId) -> Self {
        Self { id, datacenter: None }
    }
}

impl fmt::Display for GroupAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.datacenter {
            Some(datacenter) => write!(f, "{} in {datacenter}", self.id),
            None => write!(f, "{}", self.id),
        }
    }
}
