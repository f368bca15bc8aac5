//! The formats that a host alone writes and reads, each as bytes to bytes: for whoever checks the readers from outside.

use bytes::Bytes;
use quorate_replication::single_leader::Configuration;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::rows::{self, Standing};
use super::snapshotting::{End, Head};
use super::topology::SetTopology;

/// What bytes are read as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stored {
    /// Where a group stands, in the state store.
    Standing,
    /// The meta group's command, in the log.
    SetTopology,
    /// A configuration, in the log.
    Configuration,
    /// What goes before the rows of a snapshot, and after them.
    SnapshotHead,
    SnapshotEnd,
}

impl Stored {
    pub const ALL: [Self; 5] = [
        Self::Standing,
        Self::SetTopology,
        Self::Configuration,
        Self::SnapshotHead,
        Self::SnapshotEnd,
    ];

    /// What was read, written again; `None` when it is refused.
    #[must_use]
    pub fn reencoded(self, bytes: &[u8]) -> Option<Bytes> {
        fn again<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<Bytes> {
            rows::decode::<T>(bytes).ok().map(|read| rows::encode(&read))
        }
        match self {
            Self::Standing => again::<Standing>(bytes),
            Self::SetTopology => again::<SetTopology>(bytes),
            Self::Configuration => again::<Configuration>(bytes),
            Self::SnapshotHead => again::<Head>(bytes),
            Self::SnapshotEnd => again::<End>(bytes),
        }
    }
}
