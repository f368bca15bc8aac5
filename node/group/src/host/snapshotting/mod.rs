//! Snapshots between hosts: the rows of one group at an exact position, as a stream of chunks.
//!
//! Three parts are played. The *leader* (`supplying`) asks the follower what it holds of an earlier stream, chooses who
//! streams, a replica that has caught up where there is one, and takes its place when it fails. The *source* (`sending`)
//! streams with a window of unanswered chunks, within the node's rate. The *receiver* (`receiving`) stages rows under a
//! generation that nobody reads and switches to it with the standing; only when that is flushed does the log start anew
//! and the protocol hear of it (INV-34).
//!
//! A stream outlives what orders it: over a broken connection its chunks are sent again, over a change of leader the next one
//! orders the same source to go on. An order has a term and a number; a receiver leaves a stream only for one of a later order.
//!
//! The first chunk is a head, the last one an end with the number of rows and a checksum over all chunks; between them
//! every chunk is a page of the engine (`quorate_storage::state::bulk`). The receiver takes them in order and says which
//! one it wants next.

mod rate;
mod receiving;
mod sending;
mod supplying;

use quorate_model::{LogFormat, LogIndex, NodeId, Position, Term, WallTime};
use quorate_replication::single_leader::Configuration;
use serde::{Deserialize, Serialize};

pub(super) use rate::Rate;
pub(super) use receiving::{Chunk, Incoming};
pub(super) use sending::Outgoing;
pub(super) use supplying::{Supplies, Told};

/// Says which of two orders is the later one: a leader's term, and its own number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct OrderId {
    pub term: Term,
    pub number: u64,
}

/// What a leader wants streamed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Order {
    pub id: OrderId,
    /// The receiver.
    pub to: NodeId,
    /// The snapshot holds everything through here.
    pub at_least: LogIndex,
    /// The stream to go on with, where the source still has it.
    pub resume: Option<u64>,
    /// Without regard to the node's rate: this follower would not catch up otherwise.
    pub hurried: bool,
}

/// What a receiver has of a stream that is not complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Held {
    pub source: NodeId,
    pub stream: u64,
    pub position: Position,
}

/// What a source tells its leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Streamed {
    pub state: StreamState,
    pub bytes_sent: u64,
    pub bytes_total: u64,
    pub bytes_per_second: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum StreamState {
    Waiting,
    Streaming(Position),
    Installed(Position),
    Failed,
}

/// What goes before the rows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    configuration: Configuration,
    keys: u64,
    time: WallTime,
    format: LogFormat,
}

/// What goes after them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct End {
    rows: u64,
    /// Over the checksums of all chunks before, in order.
    checksum: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the snapshot's stream is malformed")]
struct Malformed;

/// The checksum of a stream, one chunk further.
fn chained(checksum: u32, chunk: u32) -> u32 {
    crc32c::crc32c_append(checksum, &chunk.to_le_bytes())
}
