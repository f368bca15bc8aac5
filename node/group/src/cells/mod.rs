//! What commands mean without a leader: operations become changes of cells at their coordinator, and cells become values.
//!
//! A coordinator decides by what its own replica knows. What would need to know more (SET NX, WATCH, MSETNX) is refused: under
//! concurrent writes its answer would be worth nothing. May not touch a disk, a clock or other replicas.
//!
//! # Rooms
//! `layout` says which cells a key has, `local` what the coordinator knows of them, `read` and `write` what it asks of the other
//! replicas, `finish` what is answered in the end, `shown` what one cell reads as. `listing` answers for whole shards, `register` says what may be linearizable,
//! `concerned` what a session has to be known of first.

mod concerned;
pub(crate) mod context;
mod finish;
pub(crate) mod layout;
mod listing;
mod local;
mod read;
mod register;
mod shown;
mod write;

#[cfg(test)]
mod tests;

use quorate_replication::causal::Change;
use quorate_replication::leaderless::{Asked, CellKey};

use crate::{Operation, Value, ValueError};

pub(crate) use concerned::{concerned, named, to_know};
pub(crate) use finish::Finish;
pub(crate) use layout::{Named, cells_of, field_cell, string_cell};
pub(crate) use local::Local;
pub(crate) use register::check as check_linearizable;

/// How far an operation came without asking anybody.
#[derive(Debug)]
pub(crate) enum Begun {
    Answered(Value),
    Read { asked: Vec<Asked>, finish: Finish },
    Write { changes: Vec<(CellKey, Change)>, finish: Finish },
}

/// What is to be asked of the replicas for an operation.
///
/// # Errors
/// Nothing is to be done.
pub(crate) fn begin(operation: &Operation, local: &Local<'_>) -> Result<Begun, ValueError> {
    match operation {
        Operation::Read(operation) => read::begin(operation, local),
        Operation::Write(operation) => write::begin(operation, local),
    }
}
