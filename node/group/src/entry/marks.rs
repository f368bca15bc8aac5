//! What a leader tells the log itself: which format its entries have from here on, and what the replicas' states are compared by.

use bytes::Bytes;
use quorate_model::{LogFormat, LogIndex};
use serde::{Deserialize, Serialize};

use super::{MARK, SWITCH, encode};

/// The leader's entries behind this one have this format, until the next one says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Switch {
    pub format: LogFormat,
    /// The format of the leader's storage engine; it says something for `Wal` alone.
    pub engine: u32,
}

/// Compares the replicas' states: see `host::checking`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// What an earlier comparison came to.
    pub verdict: Option<Verdict>,
    /// What every replica hashes when it applies this entry.
    pub part: Option<Part>,
}

/// A part of a shard's rows: as many from `from` on as fit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Part {
    pub from: Bytes,
    pub rows_max: u32,
    pub bytes_max: u32,
}

/// Most voters had this hash of the part that the entry at `index` named.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Verdict {
    pub index: LogIndex,
    pub hash: u64,
}

impl Switch {
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(SWITCH, self)
    }
}

impl Mark {
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(MARK, self)
    }
}
