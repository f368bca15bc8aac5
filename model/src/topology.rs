//! The topology: what a store consists of and where each shard's replicas are. The meta group replicates it.
//!
//! The topology says what *should* be; a group's own configuration (in its log) says what *is*. Each group's
//! leader moves its configuration towards the placement, one member at a time. Nothing else decides ownership.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Datacenter, Epoch, Leaderless, Links, LogFormat, MultiLeader, NodeId, Policy, SLOTS, ShardId,
    SlotRange, StoreId, Zone,
};

/// A replication group on a node: the meta group, or the group of one shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum GroupId {
    Meta,
    Shard(ShardId),
}

impl GroupId {
    /// A dense number for records and row prefixes: 0 is the meta group, shards follow.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Meta => 0,
            Self::Shard(ShardId(shard)) => shard as u32 + 1,
        }
    }

    /// The group with this number, when there is one.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Meta),
            shard => u16::try_from(shard - 1).ok().map(|shard| Self::Shard(ShardId(shard))),
        }
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meta => f.write_str("meta"),
            Self::Shard(shard) => write!(f, "shard-{shard}"),
        }
    }
}

/// Where a node can be reached, each `host:port`; the host is a DNS name or an IP address.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Addresses {
    /// The links between nodes.
    pub peer: String,
    /// Redis protocol for plain clients: any command on any node, forwarded.
    pub plain: String,
    /// Redis Cluster protocol.
    pub cluster: String,
    /// Admin HTTP.
    pub admin: String,
}

/// A node as a member of the store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    pub id: NodeId,
    /// The pod's name, or `node-1` and so on under `quorate-node dev`. For people; identity is `id`.
    pub name: String,
    pub datacenter: Datacenter,
    pub zone: Zone,
    pub addresses: Addresses,
}

/// Where the replicas of one shard should be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShardPlacement {
    /// The voters with which the group began. A node in this set that never hosted the group starts it from this
    /// configuration; it never changes afterwards.
    pub genesis: BTreeSet<NodeId>,
    /// The voters that the group should have.
    pub voters: BTreeSet<NodeId>,
    /// Who should lead when it can: a delay in elections and a target of transfers, never a veto.
    pub preferred_leader: Option<NodeId>,
}

/// The store's whole topology at one epoch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Topology {
    pub store: StoreId,
    pub epoch: Epoch,
    pub members: BTreeMap<NodeId, Member>,
    /// The voters that the meta group should have; every other member follows it as a learner.
    pub meta_voters: BTreeSet<NodeId>,
    /// One placement per shard, `ShardId(0)` first. The count never changes after bootstrap.
    pub shards: Vec<ShardPlacement>,
    /// What every shard's group keeps to. The meta group itself always has durability `Quorum`.
    #[serde(default)]
    pub policy: Policy,
    /// Fields are only ever added at the end: what an older version wrote ends before them.
    #[serde(default)]
    pub mode: Mode,
}

/// How the shards replicate. The meta group has a leader in every mode.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Mode {
    /// As [`Topology::policy`] says.
    #[default]
    SingleLeader,
    Leaderless(Leaderless),
    MultiLeader(MultiLeader),
}

impl Mode {
    #[must_use]
    pub const fn leaderless(&self) -> Option<&Leaderless> {
        match self {
            Self::SingleLeader | Self::MultiLeader(_) => None,
            Self::Leaderless(leaderless) => Some(leaderless),
        }
    }

    #[must_use]
    pub const fn multi_leader(&self) -> Option<&MultiLeader> {
        match self {
            Self::SingleLeader | Self::Leaderless(_) => None,
            Self::MultiLeader(multi_leader) => Some(multi_leader),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TopologyError {
    #[error("a topology has 1 to 16384 shards, not {0}")]
    Shards(usize),
    #[error("member {0} is listed under another id")]
    MemberKey(NodeId),
    #[error("{group} has no voters")]
    NoVoters { group: GroupId },
    #[error("{group} names {node}, which is not a member")]
    UnknownNode { group: GroupId, node: NodeId },
    #[error("it is not said in which datacenter {0} founded its groups")]
    Unplaced(NodeId),
    #[error("the links name {0}, where no shard has a replica, or not each datacenter once")]
    Links(Datacenter),
    #[error("the log of a store with several leaders is in the format Logical")]
    Format,
}

impl Topology {
    /// # Errors
    /// What makes the topology unusable: see [`TopologyError`].
    pub fn validate(&self) -> Result<(), TopologyError> {
        if self.shards.is_empty() || self.shards.len() > usize::from(SLOTS) {
            return Err(TopologyError::Shards(self.shards.len()));
        }
        // Two members may share an address: a wiped volume is a new node where the lost one was.
        for (id, member) in &self.members {
            if *id != member.id {
                return Err(TopologyError::MemberKey(*id));
            }
        }
        self.validate_voters(GroupId::Meta, &self.meta_voters)?;
        for (shard, placement) in self.placements() {
            self.validate_voters(GroupId::Shard(shard), &placement.voters)?;
            if let Some(node) = placement.preferred_leader
                && !placement.voters.contains(&node)
            {
                return Err(TopologyError::UnknownNode { group: GroupId::Shard(shard), node });
            }
        }
        self.mode.multi_leader().map_or(Ok(()), |multi_leader| self.validate_leaders(multi_leader))
    }

    fn validate_leaders(&self, multi_leader: &MultiLeader) -> Result<(), TopologyError> {
        let founds = |node: &&NodeId| !multi_leader.founders.contains_key(node);
        if let Some(node) = self.shards.iter().flat_map(|shard| &shard.genesis).find(founds) {
            return Err(TopologyError::Unplaced(*node));
        }
        if self.policy.log_format != LogFormat::Logical {
            return Err(TopologyError::Format);
        }
        let voters = self.shards.iter().flat_map(|shard| &shard.voters);
        let places: BTreeSet<&Datacenter> =
            voters.filter_map(|node| self.datacenter_of(*node)).collect();
        let wrong = match &multi_leader.policy.links {
            Links::AllToAll => None,
            Links::Star { hub } => Some(hub).filter(|hub| !places.contains(hub)),
            Links::Circular(ring) => {
                let named: BTreeSet<&Datacenter> = ring.iter().collect();
                let twice =
                    ring.iter().find(|one| ring.iter().filter(|two| two == one).count() > 1);
                twice.or_else(|| named.symmetric_difference(&places).next().copied())
            }
        };
        wrong.map_or(Ok(()), |place| Err(TopologyError::Links(place.clone())))
    }

    /// How many shards the keyspace is split into.
    #[must_use]
    pub fn shard_count(&self) -> u16 {
        u16::try_from(self.shards.len()).expect("validated: at most 16,384 shards")
    }

    pub fn placements(&self) -> impl Iterator<Item = (ShardId, &ShardPlacement)> {
        (0..).map(ShardId).zip(&self.shards)
    }

    #[must_use]
    pub fn placement(&self, shard: ShardId) -> Option<&ShardPlacement> {
        self.shards.get(usize::from(shard.0))
    }

    #[must_use]
    pub fn slots(&self, shard: ShardId) -> SlotRange {
        SlotRange::of_shard(shard, self.shard_count())
    }

    fn validate_voters(
        &self,
        group: GroupId,
        voters: &BTreeSet<NodeId>,
    ) -> Result<(), TopologyError> {
        if voters.is_empty() {
            return Err(TopologyError::NoVoters { group });
        }
        match voters.iter().find(|node| !self.members.contains_key(node)) {
            Some(node) => Err(TopologyError::UnknownNode { group, node: *node }),
            None => Ok(()),
        }
    }
}
