//! Multi-leader replication of one shard between datacenters. In each a single-leader group has the shard and takes writes; the
//! leaders exchange what their groups have applied.
//!
//! # Contract
//! 1. An [`Exchange`] is made where a replica has become the group's leader and has applied all entries of earlier terms, with what the
//!    group has applied by then. It ends with the leadership, and when something of [`Output::Apply`] could not be written.
//! 2. [`Exchange::step`] takes one input and the group's [`Log`]; `now` never goes back. Drain [`Exchange::pop_output`] before the
//!    next step. At [`Exchange::deadline`] at the latest, step with [`Input::Tick`]; and if [`Exchange::goes_on`] as soon as the log has what
//!    it was given.
//! 3. The changes of [`Output::Apply`] are entries of the group's log in this order, each [`Turn::Next`] of what stands before it: no
//!    leader writes before it has applied what earlier ones wrote.
//! 4. Whatever the group applies, its own writes and those of others, is told by [`Input::Applied`] once it is committed and applied.
//!    Its own writes are made of what stands in the log before them, and are later than all of that.
//! 5. After [`Output::Lacks`], which comes again until then, a snapshot of everything that datacenter has applied is merged as one entry of
//!    the group's log, [`Entry::Snapshot`], if it is lacking still. One with times too far ahead waits (INV-111).
//! 6. Every change of the shard's members is told by [`Input::Routes`]. A replica that does not lead answers [`Message::Subscribe`] with
//!    [`Message::Elsewhere`].
//! 7. [`Exchange::oldest_given`] is of those that take at the moment, and for as long as their leaders live: what these hold for others to
//!    come first is behind it. How long the log is kept for those that are away is the host's.
//!
//! # Rooms
//! `change` says what goes from one datacenter to the others and when it is its turn, `cell` what its writes do to values, `taking` keeps to that, `pace` hands
//! it to the log, `giving` reads the log for others, `routes` chooses from whom to take, `feed` is how far each of these came, `lacking` whether what it has comes,
//! `exchange` brings these together.

mod cell;
mod change;
mod exchange;
mod feed;
mod giving;
mod input;
mod lacking;
mod message;
mod pace;
mod routes;
mod taking;

#[cfg(test)]
mod cluster_test;
#[cfg(test)]
mod full_test;
#[cfg(test)]
mod permutation_test;
#[cfg(test)]
mod site_test;

pub use cell::{Cell, Over, Run, Seen, Write};
pub use change::{Change, Turn};
pub use exchange::{Exchange, LinkStatus, Refused};
pub use input::{Entry, Input, Log, Output, Settings, Start};
pub use message::{Cursor, Message, Wanted};
pub use routes::Routes;
pub use taking::Blocked;
