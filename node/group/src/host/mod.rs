//! Everything that a node replicates: all its groups, its log and its state store, driven by one caller.
//!
//! # Contract
//! 1. Give it an input with [`Host::step`]; `now` never goes back. Drain [`Host::pop_output`] afterwards.
//! 2. Disk completions come back as [`Input::Disk`]; at [`Host::deadline`] at the latest, step with [`Input::Tick`].
//! 3. A request is answered exactly once, by [`Output::Reply`] with its id. What the answer says is true: a write that
//!    was not acknowledged says whether it may still take effect.

mod input;
mod output;
mod report;
mod settings;

pub use input::{Input, PeerMessage, ReadLevel, Request, RequestId};
pub use output::{Failure, Output, Reply};
pub use report::{Progress, ReplicaStatus, Status};
pub use settings::Settings;
