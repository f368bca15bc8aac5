//! Several leaders of a shard, one in each datacenter.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Datacenter, Epoch, NodeId, ShardId, ShardPlacement, Topology};

/// What the topology of such a store says beside its placements. A shard has one group in each datacenter: the replicas there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MultiLeader {
    pub policy: MultiLeaderPolicy,
    /// Where every node of a genesis is, or was.
    pub founders: BTreeMap<NodeId, Datacenter>,
}

/// What is declared. Part of the topology, so that a change has an epoch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct MultiLeaderPolicy {
    pub links: Links,
    /// Changes go around a datacenter that does not answer.
    pub reroute: bool,
    pub conflicts: Conflicts,
    pub homes: Homes,
}

/// Along which links changes go from datacenter to datacenter.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Links {
    /// Each takes from each what was written there.
    #[default]
    AllToAll,
    /// Each takes from the one before it what that has, the first from the last.
    Circular(Vec<Datacenter>),
    /// The hub takes from each what was written there, and all others take from the hub what it has.
    Star { hub: Datacenter },
}

/// What concurrent values of a key read as. All are kept until a write that has seen them takes their place, so every datacenter
/// comes to the same whatever came first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Conflicts {
    pub resolution: Resolution,
    /// Of keys that match a pattern; the first that does counts.
    pub keys: Vec<KeyResolution>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyResolution {
    /// As of KEYS.
    pub pattern: String,
    pub resolution: Resolution,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Resolution {
    /// The highest write id: time, then origin.
    #[default]
    LastWriterWins,
    /// What comes from the first of these that wrote; of the same, or of none of them, the last writer's.
    ReplicaPriority(Vec<Datacenter>),
    Merge(Merge),
    /// None: GET of several is an error that names VGET.
    Siblings,
    /// What a script answers: see `docs/multi-leader.md`. Where it answers nothing or fails, the last writer's.
    Custom {
        script: String,
    },
}

/// Where keys are written, so that no writes of them conflict.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Homes {
    /// Of keys that match a pattern; the first that does counts.
    pub keys: Vec<KeyHome>,
    /// What becomes of a write elsewhere while the home does not answer.
    pub unreachable: Unreachable,
    /// What has its home in the first is to have it in the second.
    pub evacuated: BTreeMap<Datacenter, Datacenter>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyHome {
    /// As of KEYS.
    pub pattern: String,
    /// Where it is to be. Whoever has it hands it over.
    pub home: Datacenter,
    /// Who has it at first, and since which epoch the pattern is declared: neither changes while it is.
    #[serde(default)]
    pub first: Option<Datacenter>,
    #[serde(default)]
    pub since: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Unreachable {
    /// It is refused.
    #[default]
    Reject,
    /// It is done where it is asked for, and may conflict.
    Accept,
}

impl KeyHome {
    #[must_use]
    pub fn first(&self) -> &Datacenter {
        self.first.as_ref().unwrap_or(&self.home)
    }
}

impl Homes {
    /// Where what is to be in `home` is to be in fact.
    #[must_use]
    pub fn instead<'a>(&'a self, home: &'a Datacenter) -> &'a Datacenter {
        self.evacuated.get(home).unwrap_or(home)
    }

    /// What is declared of a pattern.
    #[must_use]
    pub fn of_pattern(&self, pattern: &str) -> Option<&KeyHome> {
        self.keys.iter().find(|one| one.pattern == pattern)
    }

    /// As declared anew in an epoch: what was declared before has been somebody's since then.
    #[must_use]
    pub fn declared_after(&self, current: &Self, epoch: Epoch) -> Self {
        let keys = self.keys.iter().map(|one| {
            let before = current.of_pattern(&one.pattern);
            KeyHome {
                first: Some(before.map_or(&one.home, KeyHome::first).clone()),
                since: before.map_or(epoch.0, |before| before.since),
                ..one.clone()
            }
        });
        Self { keys: keys.collect(), ..self.clone() }
    }

    fn problem(&self, current: Option<&Self>) -> Option<String> {
        for (at, one) in self.keys.iter().enumerate() {
            if self.keys[..at].iter().any(|before| before.pattern == one.pattern) {
                return Some(format!("the home of {:?} is declared twice", one.pattern));
            }
            let before = current.and_then(|current| current.of_pattern(&one.pattern));
            if before
                .is_some_and(|before| before.first() != one.first() || before.since != one.since)
            {
                return Some(format!("who had {:?} at first never changes", one.pattern));
            }
        }
        let evacuated = |home: &Datacenter| self.evacuated.contains_key(home);
        let nowhere = self.evacuated.values().find(|to| evacuated(to));
        nowhere.map(|to| format!("homes are to go to {to}, which is itself evacuated"))
    }
}

/// How several values are one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Merge {
    /// All of them in the order of their bytes, as `B/C`.
    #[default]
    Join,
    /// The greatest number; where one is none, as `Join`.
    Max,
    Min,
    /// Each a list with commas; every element once, in the order of their bytes.
    Union,
}

impl Default for MultiLeaderPolicy {
    fn default() -> Self {
        Self {
            links: Links::default(),
            reroute: true,
            conflicts: Conflicts::default(),
            homes: Homes::default(),
        }
    }
}

impl Conflicts {
    /// The sources of all scripts.
    pub fn scripts(&self) -> impl Iterator<Item = &str> {
        let all = self.keys.iter().map(|one| &one.resolution).chain([&self.resolution]);
        all.filter_map(|one| match one {
            Resolution::Custom { script } => Some(script.as_str()),
            Resolution::LastWriterWins
            | Resolution::ReplicaPriority(_)
            | Resolution::Merge(_)
            | Resolution::Siblings => None,
        })
    }
}

impl MultiLeader {
    /// Of a store that begins: its genesis says who founds it where.
    #[must_use]
    pub fn new(mut policy: MultiLeaderPolicy, topology: &Topology) -> Self {
        policy.homes = policy.homes.declared_after(&Homes::default(), topology.epoch);
        let named = topology.shards.iter().flat_map(|shard| &shard.genesis);
        let place = |node: &NodeId| Some((*node, topology.members.get(node)?.datacenter.clone()));
        Self { policy, founders: named.filter_map(place).collect() }
    }
}

impl Topology {
    #[must_use]
    pub fn datacenter_of(&self, node: NodeId) -> Option<&Datacenter> {
        self.members.get(&node).map(|member| &member.datacenter)
    }

    /// The group of a shard that this node may have a replica of: where there are several leaders, its datacenter's.
    #[must_use]
    pub fn group_at(&self, shard: ShardId, node: NodeId) -> Option<ShardPlacement> {
        let placement = self.placement(shard)?;
        match self.mode.multi_leader() {
            None => Some(placement.clone()),
            Some(multi_leader) => {
                let founded = multi_leader.founders.get(&node);
                let here = self.datacenter_of(node).or(founded);
                Some(self.group_in(placement, multi_leader, here))
            }
        }
    }

    /// Every other datacenter's replicas of a shard.
    #[must_use]
    pub fn groups_beside(
        &self,
        shard: ShardId,
        here: &Datacenter,
    ) -> BTreeMap<Datacenter, Vec<NodeId>> {
        let mut groups: BTreeMap<Datacenter, Vec<NodeId>> = BTreeMap::new();
        let voters = self.placement(shard).into_iter().flat_map(|placement| &placement.voters);
        for node in voters {
            if let Some(place) = self.datacenter_of(*node).filter(|place| *place != here) {
                groups.entry(place.clone()).or_default().push(*node);
            }
        }
        groups
    }

    fn group_in(
        &self,
        placement: &ShardPlacement,
        multi_leader: &MultiLeader,
        here: Option<&Datacenter>,
    ) -> ShardPlacement {
        let is_here = |node: &NodeId| here.is_some() && self.datacenter_of(*node) == here;
        let founds = |node: &NodeId| here.is_some() && multi_leader.founders.get(node) == here;
        ShardPlacement {
            genesis: placement.genesis.iter().copied().filter(founds).collect(),
            voters: placement.voters.iter().copied().filter(is_here).collect(),
            preferred_leader: placement.preferred_leader.filter(is_here),
        }
    }

    /// Homes are handed over, never taken: who had a pattern's at first stays who that was.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn check_homes(&self, current: Option<&Self>) -> Result<(), String> {
        let Some(next) = self.mode.multi_leader() else { return Ok(()) };
        let current = current.and_then(|current| current.mode.multi_leader());
        let problem = next.policy.homes.problem(current.map(|current| &current.policy.homes));
        problem.map_or(Ok(()), Err)
    }

    /// Where there are several leaders, every group's genesis is what it was: of a datacenter that comes it begins, of one that goes
    /// it ends.
    ///
    /// # Errors
    /// A sentence that says what is not.
    pub fn check_founders(&self, current: &Self) -> Result<(), String> {
        let (Some(next), Some(now)) = (self.mode.multi_leader(), current.mode.multi_leader())
        else {
            return Ok(());
        };
        let places: BTreeSet<&Datacenter> =
            next.founders.values().chain(now.founders.values()).collect();
        for (shard, placement) in self.placements() {
            let Some(before) = current.placement(shard) else { continue };
            for place in &places {
                let was = current.group_in(before, now, Some(place));
                let is = self.group_in(placement, next, Some(place));
                let begins = was.genesis.is_empty() && was.voters.is_empty();
                let ends = is.genesis.is_empty() && is.voters.is_empty();
                if was.genesis != is.genesis && !begins && !ends {
                    return Err(format!("the genesis of shard {shard} in {place} never changes"));
                }
            }
        }
        Ok(())
    }
}
