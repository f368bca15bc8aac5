//! The meta group's state machine: one topology, set by compare-and-set on its epoch.

use std::mem;

use quorate_model::planted::{self, Bug};
use quorate_model::{
    Epoch, Leaderless, LeaderlessPolicy, Leaving, Mode, Moved, NodeId, ShardId, Step, StoreId,
    Topology,
};
use quorate_storage::state::{Change, Rows, StateError};
use serde::{Deserialize, Serialize};

use bytes::Bytes;

use super::Failure;
use super::rows::{self, Prefix};

const ROW: &[u8] = b"topology";
/// What a topology ends with that an older version wrote without a mode: it has leaders.
const BEFORE_MODE: &[u8] = &[0];

/// The only command of the meta group.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct SetTopology {
    pub(super) expected: Epoch,
    pub(super) topology: Topology,
}

impl SetTopology {
    pub(super) fn encode(&self) -> Bytes {
        rows::encode(self)
    }

    /// # Errors
    /// A sentence for what no leader of this version proposed.
    pub(super) fn decode(command: &[u8]) -> Result<Self, String> {
        rows::decode_shorter(command, BEFORE_MODE).map_err(|error| format!("a topology {error}"))
    }

    /// Whether it holds against the current topology: the same answer on every replica.
    ///
    /// # Errors
    /// [`Failure::EpochMoved`] or [`Failure::Invalid`].
    pub(super) fn check(&self, store: StoreId, current: Option<&Topology>) -> Result<(), Failure> {
        let mut epoch = current.map_or(Epoch::ZERO, |topology| topology.epoch);
        if planted::is(Bug::IgnoreEpoch) && self.expected > Epoch::ZERO {
            epoch = self.expected;
        }
        if epoch != self.expected {
            return Err(Failure::EpochMoved { expected: self.expected, current: epoch });
        }
        let invalid = |why: String| Err(Failure::Invalid(why));
        if self.topology.epoch != epoch.next() {
            return invalid(format!("the epoch after {epoch} is not {}", self.topology.epoch));
        }
        if self.topology.store != store {
            return invalid(format!("this is store {store}, not {}", self.topology.store));
        }
        if let Err(error) = self.topology.validate() {
            return invalid(error.to_string());
        }
        let Some(current) = current else { return Ok(()) };
        if self.topology.shards.len() != current.shards.len() {
            return invalid("the number of shards never changes".to_owned());
        }
        let genesis = |topology: &Topology| {
            topology.shards.iter().map(|placement| placement.genesis.clone()).collect::<Vec<_>>()
        };
        if mem::discriminant(&self.topology.mode) != mem::discriminant(&current.mode) {
            return invalid("the replication mode never changes".to_owned());
        }
        if let (Some(proposed), Some(known)) =
            (self.topology.mode.leaderless(), current.mode.leaderless())
        {
            self.check_moves(proposed, current, known).map_err(Failure::Invalid)?;
        }
        if genesis(&self.topology) != genesis(current) {
            return invalid("a shard's genesis never changes".to_owned());
        }
        Ok(())
    }

    /// Shards move as their steps say, and nothing that those depend on changes meanwhile.
    fn check_moves(
        &self,
        proposed: &Leaderless,
        current: &Topology,
        known: &Leaderless,
    ) -> Result<(), String> {
        let moves = known.moved.values().any(|moved| moved.leaves.is_some());
        let levels = |policy: &LeaderlessPolicy| (policy.read, policy.write);
        if moves && levels(&proposed.policy) != levels(&known.policy) {
            return Err("the store's levels cannot change while a shard moves".to_owned());
        }
        for (shard, placement) in self.topology.placements() {
            let (before, after) = (known.moved.get(&shard), proposed.moved.get(&shard));
            let stays = current.placement(shard).is_some_and(|now| now.voters == placement.voters);
            let draining = before.is_some_and(|moved| {
                matches!(&moved.leaves, Some(Leaving { step: Step::Draining, .. }))
            });
            if !stays && draining {
                return Err(format!("shard {shard} is about to leave its old replicas"));
            }
            if before != after && !(stays && is_next_step(before, after, self.topology.epoch)) {
                return Err(format!("how shard {shard} moves is not to be set"));
            }
        }
        Ok(())
    }

    /// The topology that comes into force. A placement that differs is the first step of a move.
    pub(super) fn outcome(self, current: Option<&Topology>) -> Topology {
        let mut topology = self.topology;
        let (Mode::Leaderless(leaderless), Some(current)) = (&mut topology.mode, current) else {
            return topology;
        };
        for (shard, placement) in (0..).map(ShardId).zip(&topology.shards) {
            let Some(now) = current.placement(shard) else { continue };
            if now.voters == placement.voters {
                continue;
            }
            let before = leaderless.moved.get(&shard).and_then(|moved| moved.leaves.clone());
            let place =
                |node: &NodeId| Some((*node, current.members.get(node)?.datacenter.clone()));
            let owners = match before {
                Some(Leaving { owners, .. }) => owners,
                None => now.voters.iter().filter_map(place).collect(),
            };
            let back = owners.keys().eq(&placement.voters);
            let leaves = (!back).then_some(Leaving { owners, step: Step::Filling });
            leaderless.moved.insert(shard, Moved { since: topology.epoch, leaves });
        }
        topology
    }
}

fn is_next_step(before: Option<&Moved>, after: Option<&Moved>, epoch: Epoch) -> bool {
    let (Some(Moved { leaves: Some(leaving), .. }), Some(after)) = (before, after) else {
        return false;
    };
    let leaves = match leaving.step {
        Step::Filling => Some(Leaving { step: Step::Draining, ..leaving.clone() }),
        Step::Draining => None,
    };
    *after == Moved { since: epoch, leaves }
}

pub(super) fn put(topology: &Topology, prefix: Prefix) -> Change {
    Change::Put { row: prefix.row(ROW), value: rows::encode(topology) }
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("the stored topology {0}")]
    Format(String),
}

/// The topology that a meta group's rows hold.
///
/// # Errors
/// [`LoadError`].
pub(super) fn load(rows: &impl Rows, prefix: Prefix) -> Result<Option<Topology>, LoadError> {
    match rows.row(&prefix.row(ROW))? {
        Some(value) => {
            rows::decode_shorter(&value, BEFORE_MODE).map(Some).map_err(LoadError::Format)
        }
        None => Ok(None),
    }
}
