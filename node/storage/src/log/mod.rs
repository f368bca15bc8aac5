//! The node's one log: records of all its groups interleaved in segments, a per-group index in memory.
//!
//! What the records of one group mean is not known here beyond what keeps the log: their order, where a group's
//! log starts and where it was cut. No thread, no clock; the disk is reached only through [`Disk`].
//!
//! Records are appended to a batch; one batch at a time is written and synced, whole segments go when nothing in them
//! counts any more. `recovery` tells a torn tail from damage; why it can is in `batch`.
//!
//! Keeps INV-19, INV-40, INV-41, INV-43 and INV-44, and its part of INV-45.

mod batch;
mod codec;
mod error;
mod group;
mod places;
mod reader;
mod record;
mod recovery;
mod release;
mod segment;
mod writer;

#[cfg(test)]
mod crash_test;
#[cfg(test)]
mod log_test;

use std::collections::{BTreeMap, VecDeque};

use quorate_model::{GroupId, LogIndex, Position, Term};

pub use batch::BatchId;
pub use codec::RECORD_BYTES_MAX;
pub use error::{Damage, DamageKind, LogError, OpenError};
pub use group::{HardState, Start};
pub use reader::Entry;
pub use record::{Body, EntryKind, Record};
pub use recovery::{Recovered, RecoveredGroup, TornTail};
pub use segment::{FORMAT_VERSION, SegmentNumber};

use crate::disk::{Completion, Disk};
use codec::Stored;
use group::Group;
use places::Places;
use writer::Writer;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// A new segment begins at this size. From 4 KiB to 1 GiB.
    pub segment_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20 }
    }
}

/// The log of one node. See the module.
pub struct Log<D> {
    disk: D,
    groups: BTreeMap<GroupId, Group>,
    places: Places,
    /// The batch that records are appended to, and closed ones before it.
    filling: Filling,
    ready: VecDeque<Filling>,
    writer: Writer,
    release: release::Progress,
    condition: Condition,
}

/// A batch before it is written.
#[derive(Debug)]
struct Filling {
    id: BatchId,
    records: Vec<Stored>,
    bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Condition {
    Sound,
    /// Readable up to the damage.
    Damaged,
    /// After a failed operation.
    Stopped,
}

impl<D: Disk> Log<D> {
    /// Reads the whole log and makes what it recovers durable. A torn tail is cut. With damage nothing at all is written.
    /// Blocks.
    ///
    /// # Errors
    /// [`OpenError`]: the log was left as it is.
    pub fn open(disk: D, settings: Settings) -> Result<(Self, Recovered), OpenError> {
        assert!((4 << 10..=1 << 30).contains(&settings.segment_bytes), "settings are validated");
        recovery::open(disk, settings)
    }

    /// Removes every segment and begins an empty log: the repair of a damaged one, once its content has other sources.
    /// Blocks.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn start_over(disk: D, settings: Settings) -> Result<Self, OpenError> {
        recovery::start_over(disk, settings)
    }

    /// Buffers the record and answers which batch it goes with. It is visible to reads at once.
    ///
    /// # Panics
    /// When the record does not fit its group's log (see [`Body`]), is longer than [`RECORD_BYTES_MAX`], or the log is damaged.
    pub fn append(&mut self, record: Record) -> BatchId {
        // INV-41
        assert_ne!(self.condition, Condition::Damaged, "a damaged log is never appended to");
        let bytes = codec::record_bytes(&record);
        assert!(bytes <= RECORD_BYTES_MAX, "the host bounds records");
        if !self.filling.records.is_empty() && self.filling.bytes + bytes > batch::BATCH_BYTES {
            let next = Filling::new(self.filling.id.next());
            self.ready.push_back(std::mem::replace(&mut self.filling, next));
        }
        let id = self.filling.id;
        let continuation = match record.body {
            Body::Forget => {
                self.groups.remove(&record.group);
                codec::Continuation::Drops
            }
            Body::Entry { .. } | Body::Cut { .. } | Body::HardState { .. } | Body::Start { .. } => {
                self.groups.entry(record.group).or_default().append(&record.body, id)
            }
        };
        self.filling.bytes += bytes;
        self.filling.records.push(Stored { record, continuation });
        id
    }

    /// Writes the next batch, if there is one, none is under way and its segment is ready. At most one batch is
    /// under way at any time: that is what lets recovery tell a torn tail from a hole.
    ///
    /// Call it after appending and after every completion.
    pub fn submit(&mut self) -> Option<BatchId> {
        match self.condition {
            Condition::Sound => writer::submit(self),
            Condition::Damaged | Condition::Stopped => None,
        }
    }

    /// An operation of the disk is complete. Answers the batch that is durable by it: so is everything before it.
    ///
    /// # Errors
    /// [`LogError`]: the process must stop.
    pub fn completed(&mut self, completion: Completion) -> Result<Option<BatchId>, LogError> {
        match self.condition {
            Condition::Sound => {}
            Condition::Damaged | Condition::Stopped => return Err(LogError::Stopped),
        }
        let outcome = writer::completed(self, completion);
        if outcome.is_err() {
            // INV-40
            self.condition = Condition::Stopped;
        }
        outcome
    }

    /// Everything up to this batch is durable.
    pub fn durable(&self) -> BatchId {
        self.writer.durable
    }

    /// Whether something is buffered or under way.
    pub fn is_idle(&self) -> bool {
        self.filling.records.is_empty() && self.ready.is_empty() && !self.writer.is_writing()
    }

    /// Whether a batch is under way.
    pub const fn is_writing(&self) -> bool {
        self.writer.is_writing()
    }

    /// Bytes of all segments on the disk, preallocated ones included.
    pub fn bytes(&self) -> u64 {
        self.writer.bytes()
    }

    /// Syncs submitted so far.
    pub fn syncs(&self) -> u64 {
        self.writer.syncs
    }

    /// Bytes of the group's entries that were written and still count.
    pub fn retained_bytes(&self, group: GroupId) -> u64 {
        self.places.group(group).map_or(0, places::GroupPlaces::entries_bytes)
    }

    /// A group whose entries keep the oldest segment and are too many to be rewritten: move its start.
    pub fn pinned_by(&self) -> Option<GroupId> {
        self.release.pinned_by
    }

    /// The groups that this log holds something of.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.groups.keys().copied()
    }

    pub fn hard_state(&self, group: GroupId) -> Option<HardState> {
        self.groups.get(&group)?.hard_state
    }

    /// Entries at or below it no longer count.
    pub fn start(&self, group: GroupId) -> Position {
        self.groups.get(&group).map_or(Position::ZERO, |group| group.start.position)
    }

    /// The last entry, or the start without one.
    pub fn last(&self, group: GroupId) -> Position {
        self.groups.get(&group).map_or(Position::ZERO, |group| group.last)
    }

    /// The term of the entry at this index, or of the start.
    pub fn term_at(&self, group: GroupId, index: LogIndex) -> Option<Term> {
        match self.groups.get(&group) {
            Some(group) => group.term_at(index),
            None => (index == LogIndex::ZERO).then_some(Term::ZERO),
        }
    }

    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// Ends the log, for [`Log::start_over`].
    ///
    /// # Panics
    /// When something is under way.
    pub fn into_disk(self) -> D {
        assert!(!self.writer.is_writing(), "a batch is under way");
        self.disk
    }
}

impl Filling {
    const fn new(id: BatchId) -> Self {
        Self { id, records: Vec::new(), bytes: 0 }
    }
}
