//! Everything that a node replicates: all its groups, its log and its state store, driven by one caller.
//!
//! # Contract
//! 1. Give it an input with [`Host::step`]; `now` never goes back. Drain [`Host::pop_output`] afterwards.
//! 2. Disk completions come back as [`Input::Disk`]; at [`Host::deadline`] at the latest, step with [`Input::Tick`].
//! 3. A request is answered exactly once, by [`Output::Reply`] with its id. What the answer says is true: a write that
//!    was not acknowledged says whether it may still take effect.

use std::collections::VecDeque;

use quorate_model::{GroupId, NodeId, StoreId, Time, Topology, WallTime};
use quorate_storage::disk::Disk;
use quorate_storage::state::{StateError, StateStore};

mod input;
mod output;
mod report;
mod settings;

pub use input::{Input, PeerMessage, ReadLevel, Request, RequestId};
pub use output::{Failure, Output, Reply};
pub use report::{Progress, ReplicaStatus, Status};
pub use settings::Settings;

/// Who the host is and when it starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    pub node: NodeId,
    pub store: StoreId,
    /// Entropy for election timeouts and stream numbers; another one at every start.
    pub seed: u64,
    pub now: Time,
    pub wall: WallTime,
}

/// Why a host cannot start. A damaged log is no reason: see [`Status::damaged`].
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot read the log")]
    Log(#[source] std::io::Error),
    #[error("cannot read the state store")]
    State(#[from] StateError),
    #[error("{group}: {what}")]
    Format { group: GroupId, what: String },
}

/// Everything that a node replicates. See the module for its contract.
pub struct Host<D: Disk, S: StateStore> {
    start: Start,
    settings: Settings,
    disk: D,
    state: S,
    outputs: VecDeque<Output>,
}

impl<D: Disk, S: StateStore> Host<D, S> {
    /// Recovers from `disk` and `state`. Outputs may be waiting afterwards.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(start: Start, disk: D, state: S, settings: Settings) -> Result<Self, StartError> {
        Ok(Self { start, settings, disk, state, outputs: VecDeque::new() })
    }

    /// Takes one input. `now` never goes back.
    pub fn step(&mut self, _now: Time, _input: Input) {}

    pub fn pop_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to step with [`Input::Tick`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        None
    }

    #[must_use]
    pub fn status(&self) -> Status {
        Status::default()
    }

    /// The newest topology that this node holds.
    #[must_use]
    pub fn topology(&self) -> Option<&Topology> {
        None
    }

    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.start.node
    }
}
