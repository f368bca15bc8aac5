//! What commands mean without a leader: operations become changes of cells at their coordinator, and cells become values.
//!
//! A coordinator decides by what its own replica knows. What would need to know more (SET NX, WATCH, MSETNX) is refused: under
//! concurrent writes its answer would be worth nothing. May not touch a disk, a clock or other replicas.

mod context;
mod evaluate;
mod layout;
mod shown;

pub(crate) use evaluate::{Begun, Finish, Local, begin};
