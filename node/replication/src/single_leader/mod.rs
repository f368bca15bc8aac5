//! Single-leader replication: Raft with pre-vote, check-quorum, leader stickiness, learners, leadership transfer,
//! one-at-a-time membership changes through the log, and read index.
//!
//! # Contract of [`Replica`]
//! 1. Give it an input with [`Replica::step`]; `now` never goes back.
//! 2. Drain [`Replica::pop_output`] until it answers `None`, before the next input. Outputs are carried out in
//!    order, except that an [`Output::Send`] waits for the persist that its `when` names.
//! 3. At [`Replica::deadline`] at the latest, step with [`Input::Tick`]; unless the group rests: see [`Replica::may_rest`].
//! 4. Persists complete in the order in which they were issued. A persist that fails ends the process.
//!    `Persisted` says the same of every earlier one.
//! 5. `Apply` hands out only what is committed and durable here, so a state store flushed at any moment is never ahead
//!    of the log on the disk.
//! 6. Ask [`Replica::accepts_snapshot`] right before an install begins. From then on until
//!    [`Input::SnapshotInstalled`] the replica gets no `Message`, and nothing it handed out is applied any more.
//! 7. Every `LoadEntries` and every `SendSnapshot` is answered, if only with failure. A snapshot is of everything
//!    applied by the time of `SendSnapshot`, with [`Replica::position_at`] and [`Replica::configuration_at`] of that
//!    index.
//! 8. After a damaged replica is repaired it persists a cut after the snapshot's index, where there may be nothing.
//!
//! A follower whose log is damaged answers [`AppendResult::Damaged`]: see INV-34 and INV-35. One whose state alone is wrong takes
//! part with its log, and answers [`AppendResult::NeedsState`]: see INV-36.
//!
//! Invariants kept here: see `docs/protocol.md`.

#[cfg(test)]
mod cluster_test;
mod configurations;
#[cfg(test)]
mod driving_test;
mod durability;
mod electing;
#[cfg(test)]
mod electing_test;
mod entry;
mod following;
#[cfg(test)]
mod following_test;
#[cfg(test)]
mod governing_test;
mod input;
mod kernel;
mod leading;
#[cfg(test)]
mod leading_test;
mod log;
mod message;
#[cfg(test)]
mod model_test;
mod output;
#[cfg(test)]
mod repairing_test;
mod replica;
mod resting;
#[cfg(test)]
mod resting_test;
mod settings;
#[cfg(test)]
mod state_test;
mod succession;

pub use entry::{Configuration, Entry, HardState, Payload, Rule};
pub use input::{Input, ProposalId, ReadId, Restored};
pub use leading::{AcknowledgementView, FollowerPhase, FollowerView};
pub use message::{AppendResult, Message};
pub use output::{Dropped, Output, PersistId, When};
pub use replica::{Deadline, Replica, Waiting};
pub use settings::Settings;
pub use succession::Succession;
