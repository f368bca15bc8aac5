//! How a store of mode leaderless reads and writes: what the resource declares, and what a connection or a request asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Datacenter, Leaving, Moved, NodeId, ShardId, majority};

/// The store's declared quorums. Part of the topology, so that a change has an epoch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct LeaderlessPolicy {
    pub read: Level,
    pub write: Level,
    pub conflicts: ConflictPolicy,
    /// Never changes.
    pub datacenters: Datacenters,
    /// Nodes without a replica stand in for replicas that do not answer, where the level of a write says so. Once on it stays:
    /// what is held has to be given back.
    pub hints: Option<Hints>,
}

/// What nodes that stand in for replicas hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hints {
    /// For so long a hint is kept for its target; after that it is enough that some replica has it.
    pub window_seconds: u64,
    /// Of one node, divided evenly among its shards. With 0 nobody stands in any more, and what is held is given back.
    pub max_bytes: u64,
}

/// What the topology of a store without leaders says beside its placements.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Leaderless {
    pub policy: LeaderlessPolicy,
    /// The shards whose replicas are others than those of their genesis, or are about to be. The store itself keeps this: who
    /// proposes a topology leaves it as it is.
    #[serde(default)]
    pub moved: BTreeMap<ShardId, Moved>,
}

/// How many replicas must answer before the client is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Level {
    /// So many of all.
    Count(u16),
    /// A majority of all.
    #[default]
    Quorum,
    All,
    /// One of the coordinator's datacenter.
    LocalOne,
    /// A majority of those in the coordinator's datacenter.
    LocalQuorum,
    /// A majority in every datacenter.
    EachQuorum,
    /// Of writes: a majority of all, where a node that stands in for a replica counts as that replica.
    SloppyQuorum,
    /// Of writes: one, a replica or a node that stands in for one.
    Any,
}

/// What a connection or a request asks for. Encoded as an optional level is, with one more choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Demand {
    /// What the store declares.
    #[default]
    Declared,
    Level(Level),
    /// A register that is as one copy: reads and writes at [`Level::LINEARIZABLE`], and a write reads first.
    Linearizable,
}

/// How a plain GET and SET treat concurrent values of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum ConflictPolicy {
    /// The highest write id wins; the others are discarded, and counted.
    #[default]
    LastWriterWins,
    /// All values are kept and read as one, joined in order.
    Merge,
    /// All values are kept; GET of several is an error that names VGET.
    Siblings,
}

/// How the replicas of a store with several datacenters belong together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Datacenters {
    /// n replicas over all of them, and every write goes to each at once.
    #[default]
    Global,
    /// n replicas in each: levels count within the coordinator's, and the others get its writes afterwards.
    Local,
}

/// Of each of these sets of replicas so many.
///
/// One set for a level of the whole, one for each datacenter for `EachQuorum`, and those of two placements while a shard moves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Need {
    parts: Vec<(BTreeSet<NodeId>, usize)>,
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0:?} is no level: use a number from 1, ONE, QUORUM, ALL, LOCAL_ONE, LOCAL_QUORUM, EACH_QUORUM, or for writes SLOPPY_QUORUM or ANY"
)]
pub struct LevelError(pub String);

impl Leaderless {
    /// The replicas that the shard leaves, while it does.
    #[must_use]
    pub fn leaving(&self, shard: ShardId) -> Option<&Leaving> {
        self.moved.get(&shard)?.leaves.as_ref()
    }

    /// Every shard that moves.
    pub fn moving(&self) -> impl Iterator<Item = (ShardId, &Leaving)> {
        self.moved.iter().filter_map(|(shard, moved)| Some((*shard, moved.leaves.as_ref()?)))
    }
}

impl LeaderlessPolicy {
    /// What a level needs of `owners` for a coordinator in `local`.
    #[must_use]
    pub fn need(
        &self,
        level: Level,
        owners: &BTreeMap<NodeId, Datacenter>,
        local: &Datacenter,
    ) -> Need {
        if self.is_within(level) {
            level.need(&within(owners, local), local)
        } else {
            level.need(owners, local)
        }
    }

    /// Whether strings can be as one copy (INV-105): all their values in one order, and every majority overlapping with every other.
    #[must_use]
    pub fn keeps_registers(&self) -> bool {
        self.conflicts == ConflictPolicy::LastWriterWins && self.datacenters == Datacenters::Global
    }

    /// Whether nodes without a replica stand in for replicas. Of stores whose datacenters are `Local` nobody does.
    #[must_use]
    pub fn stands_in(&self) -> bool {
        let allowed = self.hints.is_some_and(|hints| hints.max_bytes > 0);
        allowed && self.datacenters == Datacenters::Global
    }

    /// Whether only replicas of the coordinator's datacenter are asked and told at this level.
    #[must_use]
    pub fn is_within(&self, level: Level) -> bool {
        self.datacenters == Datacenters::Local && level != Level::EachQuorum
    }

    /// Of whom a replica in `local` counts.
    #[must_use]
    pub fn scope(
        &self,
        owners: &BTreeMap<NodeId, Datacenter>,
        local: &Datacenter,
    ) -> BTreeMap<NodeId, Datacenter> {
        match self.datacenters {
            Datacenters::Global => owners.clone(),
            Datacenters::Local => within(owners, local),
        }
    }
}

/// Those in that datacenter.
fn within(
    owners: &BTreeMap<NodeId, Datacenter>,
    local: &Datacenter,
) -> BTreeMap<NodeId, Datacenter> {
    let there = owners.iter().filter(|(_, place)| *place == local);
    there.map(|(node, place)| (*node, place.clone())).collect()
}

impl From<LeaderlessPolicy> for Leaderless {
    fn from(policy: LeaderlessPolicy) -> Self {
        Self { policy, moved: BTreeMap::new() }
    }
}

impl Default for LeaderlessPolicy {
    fn default() -> Self {
        Self {
            read: Level::Quorum,
            write: Level::Quorum,
            conflicts: ConflictPolicy::default(),
            datacenters: Datacenters::default(),
            hints: None,
        }
    }
}

impl Default for Hints {
    /// Three hours, 256 MiB.
    fn default() -> Self {
        Self { window_seconds: 10_800, max_bytes: 256 << 20 }
    }
}

impl Level {
    /// Any two of these meet, whatever the store declares.
    pub const LINEARIZABLE: Self = Self::Quorum;

    /// Whether nodes that stand in for replicas count, as they do for no read.
    #[must_use]
    pub const fn is_sloppy(self) -> bool {
        matches!(self, Self::SloppyQuorum | Self::Any)
    }

    /// How many replicas have to be there for it in any case: others may stand in for all but the coordinator.
    #[must_use]
    pub const fn of_replicas(self) -> Self {
        if self.is_sloppy() { Self::Count(1) } else { self }
    }

    /// What this level needs of `owners` for a coordinator in `local`.
    #[must_use]
    pub fn need(self, owners: &BTreeMap<NodeId, Datacenter>, local: &Datacenter) -> Need {
        let everybody: BTreeSet<NodeId> = owners.keys().copied().collect();
        let within = |datacenter: &Datacenter| -> BTreeSet<NodeId> {
            let there = owners.iter().filter(|(_, place)| *place == datacenter);
            there.map(|(node, _)| *node).collect()
        };
        let most = |nodes: BTreeSet<NodeId>| {
            let count = majority(nodes.len());
            (nodes, count)
        };
        let parts = match self {
            Self::Count(count) => vec![(everybody, usize::from(count))],
            Self::Quorum | Self::SloppyQuorum => vec![most(everybody)],
            Self::Any => vec![(everybody, 1)],
            Self::All => {
                let count = everybody.len().max(1);
                vec![(everybody, count)]
            }
            Self::LocalOne => vec![(within(local), 1)],
            Self::LocalQuorum => vec![most(within(local))],
            Self::EachQuorum => {
                let datacenters: BTreeSet<&Datacenter> = owners.values().collect();
                datacenters.into_iter().map(|datacenter| most(within(datacenter))).collect()
            }
        };
        Need { parts }
    }
}

impl Demand {
    #[must_use]
    pub const fn level(self, declared: Level) -> Level {
        match self {
            Self::Declared => declared,
            Self::Level(level) => level,
            Self::Linearizable => Level::LINEARIZABLE,
        }
    }
}

impl Need {
    /// Both must be met.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.parts.extend(other.parts);
        self
    }

    #[must_use]
    pub fn is_met(&self, answered: &BTreeSet<NodeId>) -> bool {
        let met = |(nodes, count): &(BTreeSet<NodeId>, usize)| {
            answered.iter().filter(|node| nodes.contains(node)).count() >= *count
        };
        self.parts.iter().all(met)
    }

    /// Whether there are enough replicas at all.
    #[must_use]
    pub fn can_be_met(&self) -> bool {
        self.parts.iter().all(|(nodes, count)| nodes.len() >= *count)
    }

    /// How many answers it takes, over all parts.
    #[must_use]
    pub fn count(&self) -> usize {
        self.parts.iter().map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(1) => f.write_str("ONE"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Quorum => f.write_str("QUORUM"),
            Self::All => f.write_str("ALL"),
            Self::LocalOne => f.write_str("LOCAL_ONE"),
            Self::LocalQuorum => f.write_str("LOCAL_QUORUM"),
            Self::EachQuorum => f.write_str("EACH_QUORUM"),
            Self::SloppyQuorum => f.write_str("SLOPPY_QUORUM"),
            Self::Any => f.write_str("ANY"),
        }
    }
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        let upper = text.to_ascii_uppercase();
        Ok(match upper.as_str() {
            "ONE" => Self::Count(1),
            "QUORUM" => Self::Quorum,
            "ALL" => Self::All,
            "LOCAL_ONE" => Self::LocalOne,
            "LOCAL_QUORUM" => Self::LocalQuorum,
            "EACH_QUORUM" => Self::EachQuorum,
            "SLOPPY_QUORUM" => Self::SloppyQuorum,
            "ANY" => Self::Any,
            number => match number.parse() {
                Ok(count) if count > 0 => Self::Count(count),
                Ok(_) | Err(_) => return Err(LevelError(text.to_owned())),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners() -> BTreeMap<NodeId, Datacenter> {
        let place = |name: &str| Datacenter::new(name).unwrap();
        (1..=3)
            .map(|id| (NodeId(id), place("dc-a")))
            .chain((4..=5).map(|id| (NodeId(id), place("dc-b"))))
            .collect()
    }

    fn met(level: Level, answered: &[u128]) -> bool {
        let answered = answered.iter().map(|id| NodeId(*id)).collect();
        level.need(&owners(), &Datacenter::new("dc-a").unwrap()).is_met(&answered)
    }

    #[test]
    fn levels_count_whom_they_name() {
        assert!(met(Level::Quorum, &[1, 4, 5]) && !met(Level::Quorum, &[1, 4]));
        assert!(met(Level::LocalQuorum, &[1, 2]) && !met(Level::LocalQuorum, &[1, 4, 5]));
        assert!(met(Level::LocalOne, &[3]) && !met(Level::LocalOne, &[4]));
        assert!(met(Level::EachQuorum, &[1, 2, 4, 5]) && !met(Level::EachQuorum, &[1, 2, 3, 4]));
        assert!(met(Level::All, &[1, 2, 3, 4, 5]) && !met(Level::All, &[1, 2, 3, 4]));
        assert!(met(Level::Count(1), &[5]) && !met(Level::Count(1), &[9]), "9 is no owner");
    }

    #[test]
    fn local_levels_count_within_the_coordinators_datacenter() {
        let policy =
            LeaderlessPolicy { datacenters: Datacenters::Local, ..LeaderlessPolicy::default() };
        let met = |level: Level, local: &str, answered: &[u128]| {
            let answered = answered.iter().map(|id| NodeId(*id)).collect();
            let local = Datacenter::new(local).unwrap();
            policy.need(level, &owners(), &local).is_met(&answered)
        };
        assert!(met(Level::Quorum, "dc-a", &[1, 2]) && !met(Level::Quorum, "dc-a", &[1, 4, 5]));
        assert!(met(Level::All, "dc-b", &[4, 5]) && !met(Level::All, "dc-b", &[1, 2, 3, 4]));
        assert!(met(Level::Count(1), "dc-b", &[4]) && !met(Level::Count(1), "dc-b", &[1]));
        assert!(met(Level::EachQuorum, "dc-b", &[1, 2, 4, 5]));
        assert!(!met(Level::EachQuorum, "dc-b", &[4, 5]));
        assert!(!met(Level::Quorum, "dc-c", &[1, 2, 3, 4, 5]), "nobody is there");
    }

    #[test]
    fn more_than_there_are_can_never_be_met() {
        let here = Datacenter::new("dc-a").unwrap();
        assert!(!Level::Count(6).need(&owners(), &here).can_be_met());
        assert!(Level::Count(5).need(&owners(), &here).can_be_met());
        let elsewhere = Datacenter::new("dc-c").unwrap();
        assert!(!Level::LocalOne.need(&owners(), &elsewhere).can_be_met());
        assert!(!Level::All.need(&BTreeMap::new(), &here).can_be_met());
    }

    #[test]
    fn levels_are_read_as_they_are_written() {
        let all = [
            Level::Count(1),
            Level::Count(7),
            Level::Quorum,
            Level::All,
            Level::LocalOne,
            Level::LocalQuorum,
            Level::EachQuorum,
            Level::SloppyQuorum,
            Level::Any,
        ];
        for level in all {
            assert_eq!(level.to_string().to_lowercase().parse(), Ok(level));
        }
        for wrong in ["", "0", "-1", "TWO", "QUORUMS"] {
            assert_eq!(wrong.parse::<Level>(), Err(LevelError(wrong.to_owned())));
        }
    }
}
