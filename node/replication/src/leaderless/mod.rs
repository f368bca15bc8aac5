//! Leaderless replication of one shard, Dynamo style: any replica of a key coordinates its reads and writes, and answers
//! when as many replicas as asked for have answered.
//!
//! # Contract
//! 1. [`Replica::step`] takes one input and the cells as they are applied; `now` never goes back. Drain
//!    [`Replica::pop_output`] before the next step.
//! 2. [`Output::Persist`] becomes durable in the order of issue; [`Input::Persisted`] says through which. [`Output::Apply`] is
//!    carried out before the next step, so that [`Cells`] shows what was persisted; nothing is applied that is not durable.
//! 3. After a crash the cells are those of some prefix of the persists that holds all that were reported.
//! 4. At [`Replica::deadline`] at the latest, step with [`Input::Tick`].
//! 5. Every request is answered exactly once, by [`Output::Answer`].
//!
//! # Rooms
//! `kernel` has what all share: this replica's cells, dots, clock and outputs. `writing` and `reading` coordinate, `asked` says
//! what a read is of, `serving` answers other coordinators, `exchanging` finds and mends differences in the background by `tree`,
//! `relaying` brings what was written in this datacenter to the others. `stand_ins` finds nodes that stand in for replicas,
//! `holding` is what such a node does.

mod asked;
mod collecting;
mod exchanging;
mod filling;
mod holding;
mod input;
mod kernel;
mod message;
mod output;
mod owners;
mod reading;
mod relaying;
mod replica;
mod serving;
mod settings;
mod stand_ins;
mod tree;
mod unsynced;
mod writing;

#[cfg(test)]
mod cluster_test;
#[cfg(test)]
mod collecting_test;
#[cfg(test)]
mod exchanging_test;
#[cfg(test)]
mod filling_test;
#[cfg(test)]
mod holding_test;
#[cfg(test)]
mod model_test;
#[cfg(test)]
mod overtaking_test;
#[cfg(test)]
mod range_test;
#[cfg(test)]
mod relaying_test;
#[cfg(test)]
mod session_test;
#[cfg(test)]
mod steps_test;

pub use crate::causal::{CellKey, Place, Span};
pub use asked::Asked;
pub use collecting::Collected;
pub use holding::HintsFor;
pub use input::{After, Cells, Input, ReadRepair, RequestId, Seen, Standing};
pub use message::Mark;
pub use message::{Found, Message};
pub use output::{Counts, Output, PersistId, Refused};
pub use owners::{Owners, Report};
pub use relaying::Relayed;
pub use replica::{Replica, Start};
pub use settings::Settings;
pub use stand_ins::StandIns;
pub use tree::{HashTree, LEAF_BITS_MAX, NodeAt};
