//! The node's one log: records of all its groups interleaved in segments, a per-group index in memory.
//!
//! What the records of one group mean is not known here beyond what keeps the log: their order, where a group's
//! log starts and where it was cut.

mod record;

pub use record::{Body, EntryKind, Record};
