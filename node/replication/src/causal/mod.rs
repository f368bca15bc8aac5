//! Values without a leader: cells of dotted siblings, for every protocol in which more than one replica takes writes.
//!
//! What is concurrent is decided by version vectors, never by clocks. A cell is always told and merged whole: only so does its
//! context, one number for each actor, say that everything up to it was seen (INV-92).

mod cell;
mod key;

#[cfg(test)]
mod cell_test;

pub use cell::{Cell, CellDigest, Change, Content, Context, Merged, Sibling};
pub(crate) use key::cell_bytes;
pub use key::{CellKey, Place, Span};
