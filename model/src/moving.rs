//! How a shard without a leader comes from one set of replicas to another: two steps, each an epoch of the topology.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Datacenter, Datacenters, Epoch, LeaderlessPolicy, Mode, NodeId, ShardId, Topology};

/// Where a shard stands on its way from one set of replicas to another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Moved {
    /// The epoch in which it came there.
    pub since: Epoch,
    /// The replicas that it leaves; `None` once it has.
    pub leaves: Option<Leaving>,
}

/// Replicas that a shard leaves for those of its placement. Until it has, writes go to both sets and count in both.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Leaving {
    /// With their places: they need not be members any more.
    pub owners: BTreeMap<NodeId, Datacenter>,
    pub step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Step {
    /// Reads go to the replicas that it leaves; the others get what those hold.
    Filling,
    /// Reads go to the new ones. The old ones stay until nobody reads from them alone.
    Draining,
}

impl Moved {
    /// Where a shard that leaves replicas comes next, in that epoch; `None` for one that has arrived.
    #[must_use]
    pub fn next(&self, since: Epoch) -> Option<Self> {
        let leaving = self.leaves.as_ref()?;
        let leaves = match leaving.step {
            Step::Filling => Some(Leaving { step: Step::Draining, ..leaving.clone() }),
            Step::Draining => None,
        };
        Some(Self { since, leaves })
    }
}

impl Topology {
    /// Who has, is to have, or is about to leave a replica of the shard, each once.
    pub fn holders(&self, shard: ShardId) -> impl Iterator<Item = NodeId> + '_ {
        let voters = self.placement(shard).map(|placement| &placement.voters);
        let leaving = self.mode.leaderless().and_then(|leaderless| leaderless.leaving(shard));
        let leaving = leaving.into_iter().flat_map(|leaving| leaving.owners.keys());
        let goes = move |node: &&NodeId| voters.is_none_or(|voters| !voters.contains(node));
        voters.into_iter().flatten().chain(leaving.filter(goes)).copied()
    }

    #[must_use]
    pub fn holds(&self, shard: ShardId, node: NodeId) -> bool {
        self.holders(shard).any(|holder| holder == node)
    }

    /// Whether the node is to have a replica of the shard that nobody reads from yet.
    #[must_use]
    pub fn joins(&self, shard: ShardId, node: NodeId) -> bool {
        let leaving = self.mode.leaderless().and_then(|leaderless| leaderless.leaving(shard));
        let new = leaving.is_some_and(|leaving| {
            leaving.step == Step::Filling && !leaving.owners.contains_key(&node)
        });
        new && self.holds(shard, node)
    }

    /// Shards move as their steps say, and nothing that those depend on changes meanwhile. There is nothing to check where there are
    /// leaders.
    ///
    /// # Errors
    /// A sentence for what this topology, proposed against `current`, may not change.
    pub fn check_moves(&self, current: &Self) -> Result<(), String> {
        let (Some(proposed), Some(known)) = (self.mode.leaderless(), current.mode.leaderless())
        else {
            return Ok(());
        };
        let levels = |policy: &LeaderlessPolicy| (policy.read, policy.write);
        if known.moving().next().is_some() && levels(&proposed.policy) != levels(&known.policy) {
            return Err("the store's levels cannot change while a shard moves".to_owned());
        }
        if known.policy.hints.is_some() && proposed.policy.hints.is_none() {
            return Err(
                "hints are held that have to be given back: allow none of a byte".to_owned()
            );
        }
        if proposed.policy.hints.is_some() && proposed.policy.datacenters == Datacenters::Local {
            return Err("nobody stands in for replicas where datacenters are Local".to_owned());
        }
        if proposed.policy.datacenters != known.policy.datacenters {
            return Err("how the store's datacenters belong together cannot change".to_owned());
        }
        for (shard, placement) in self.placements() {
            let (before, after) = (known.moved.get(&shard), proposed.moved.get(&shard));
            let stays = current.placement(shard).is_some_and(|now| now.voters == placement.voters);
            let draining =
                known.leaving(shard).is_some_and(|leaving| leaving.step == Step::Draining);
            if !stays && draining {
                return Err(format!("shard {shard} is about to leave its old replicas"));
            }
            let next = || before.and_then(|moved| moved.next(self.epoch));
            if before != after && !(stays && after.is_some() && after == next().as_ref()) {
                return Err(format!("how shard {shard} moves is not to be set"));
            }
        }
        Ok(())
    }

    /// What comes into force when this topology takes the place of `current`: a placement that differs is the first step of a move.
    #[must_use]
    pub fn moving_from(mut self, current: &Self) -> Self {
        let Mode::Leaderless(leaderless) = &mut self.mode else { return self };
        for (shard, placement) in (0..).map(ShardId).zip(&self.shards) {
            let Some(now) = current.placement(shard) else { continue };
            if now.voters == placement.voters {
                continue;
            }
            let place =
                |node: &NodeId| Some((*node, current.members.get(node)?.datacenter.clone()));
            let owners = match leaderless.leaving(shard) {
                Some(leaving) => leaving.owners.clone(),
                None => now.voters.iter().filter_map(place).collect(),
            };
            let back = owners.keys().eq(&placement.voters);
            let leaves = (!back).then_some(Leaving { owners, step: Step::Filling });
            leaderless.moved.insert(shard, Moved { since: self.epoch, leaves });
        }
        self
    }
}
