//! Single-leader replication: Raft with pre-vote, check-quorum, leader stickiness, learners, leadership transfer,
//! one-at-a-time membership changes through the log, and read index.
//!
//! # Contract of [`Replica`]
//! 1. Give it an input with [`Replica::step`]; `now` never goes back.
//! 2. Drain [`Replica::pop_output`] until it answers `None`, before the next input. Outputs are carried out in
//!    order, except that an [`Output::Send`] waits for the persist that its `when` names.
//! 3. At [`Replica::deadline`] at the latest, step with [`Input::Tick`].
//! 4. Persists complete in the order in which they were issued. A persist that fails ends the process.
//!
//! Invariants kept here: see `docs/protocol.md`.

mod entry;
mod input;
mod message;
mod output;
mod settings;

pub use entry::{Configuration, Entry, HardState, Payload};
pub use input::{Input, ProposalId, ReadId, Restored};
pub use message::{AppendResult, Message};
pub use output::{Dropped, Output, PersistId, When};
pub use settings::Settings;
