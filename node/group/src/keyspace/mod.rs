//! The state machine of a shard: operations evaluated into row changes and answers.
//!
//! A leader evaluates a write against its state and its [`Overlay`] (what it proposed and has not applied), and
//! proposes the row images ([`Effects`]); every replica applies them blindly, so that replicas cannot differ by what they
//! compute. Nothing here knows of terms, quorums or disks.
//!
//! Expiry goes through the log: time is stamped by the leader, and a linearizable read that finds a key whose time has come
//! has it removed before it answers, so that no later leader with a slower clock can bring it back.

mod decimal;
mod editor;
mod effects;
mod evaluate;
mod glob;
mod layout;
mod lost;
mod overlay;
mod read;
mod scan;
mod view;

pub use effects::{DecodeError, Effects, RowChange};
pub use evaluate::{Context, Evaluated, evaluate};
pub use glob::matches;
pub use layout::{KEY_BYTES_MAX, STRING_BYTES_MAX};
pub use lost::{LostOutcome, LostWrite, lost_writes};
pub use overlay::Overlay;
pub use read::{Expired, ReadOutcome, read};
pub use view::{View, due};

#[cfg(test)]
mod keyspace_test;
