//! The meta group's state machine: one topology, set by compare-and-set on its epoch.

use std::mem;

use quorate_model::planted::{self, Bug};
use quorate_model::{Epoch, StoreId, Topology};
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
        self.topology.check_homes(current).map_err(Failure::Invalid)?;
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
        self.topology.check_moves(current).map_err(Failure::Invalid)?;
        self.topology.check_founders(current).map_err(Failure::Invalid)?;
        let founded = self.topology.mode.multi_leader().is_some();
        if !founded && genesis(&self.topology) != genesis(current) {
            return invalid("a shard's genesis never changes".to_owned());
        }
        Ok(())
    }

    /// The topology that comes into force.
    pub(super) fn outcome(self, current: Option<&Topology>) -> Topology {
        match current {
            Some(current) => self.topology.moving_from(current),
            None => self.topology,
        }
    }
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
