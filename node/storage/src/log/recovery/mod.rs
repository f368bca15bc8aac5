//! Opening a log: what is there, and whether it is all that was ever durable (INV-41, INV-45).
//!
//! At most one batch was under way when the process died, and everything before it was durable. So in the order of their
//! sequences the batches on the disk are: whole ones, then perhaps one of which any units are there and the others zeros, then
//! nothing. Reading stops at the first place where no whole batch of the expected sequence begins:
//!
//! 1. All zeros from there on: the log ends here.
//! 2. Units that are zeros where they should not be, no unit that is wrong in another way, no sign of a later batch
//!    anywhere: a torn tail. It was never acknowledged. It is overwritten with zeros.
//! 3. Anything else is damage: a unit that is neither zeros nor what its checksum says; a batch of a later sequence behind
//!    the place; a segment that does not follow the one before; a segment that is missing though the last batch names it,
//!    or one before it, as needed; entries that do not follow each other. Nothing is written.
//!
//! What cannot be told from a log that is whole: the last segments are gone together, or the disk reverted the units of the last
//! batch to zeros after it had confirmed a sync. The host compares with what the state store holds.

mod replay;
mod scan;

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::{GroupId, Position};

use super::batch::BatchId;
use super::group::Group;
use super::segment::{SegmentNumber, UNIT_BYTES};
use super::writer::{Current, Resume, Writer};
use super::{
    Condition, Damage, DamageKind, EntryKind, Filling, HardState, Log, OpenError, Settings, Start,
    release,
};
use crate::disk::{Disk, Operation};
use replay::Replay;
use scan::{Scan, Tail};

/// The first segment of a new log: small, so that a new node starts at once.
const FIRST_SEGMENT_BYTES_MIN: u64 = 4 << 10;
const FIRST_SEGMENT_BYTES_MAX: u64 = 1 << 20;
/// Of what a segment is to be.
const FIRST_SEGMENT_SHARE: u64 = 64;
/// Zeros are written over a torn tail in steps of this size.
const ZEROS_BYTES: usize = 1 << 20;

/// What a log held when it was opened.
#[derive(Debug)]
pub struct Recovered {
    pub groups: BTreeMap<GroupId, RecoveredGroup>,
    /// Set: the log must not be appended to, and `groups` is only what stood before the damage.
    pub damage: Option<Damage>,
    /// What was cut: a batch that was under way when the process died.
    pub torn: Option<TornTail>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecoveredGroup {
    pub hard_state: Option<HardState>,
    /// `None` when none was ever written: the log starts at zero.
    pub start: Option<Start>,
    /// They follow the start without a gap. Their payloads are read with [`Log::read`].
    pub entries: Vec<(Position, EntryKind)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TornTail {
    pub segment: SegmentNumber,
    pub offset: u64,
}

pub(super) fn open<D: Disk>(disk: D, settings: Settings) -> Result<(Log<D>, Recovered), OpenError> {
    let mut replay = Replay::default();
    let found = Scan::new(&disk, &mut replay)?.run()?;
    let damage = match found.end {
        Ok(tail) => match replay.check(tail.oldest) {
            Ok(()) => return resume(disk, settings, replay, found.segments, tail),
            Err(damage) => damage,
        },
        Err(damage) => damage,
    };
    replay.drop_incomplete();
    let writer = Writer::idle(settings, found.segments);
    let mut log = Log::new(disk, writer, replay.places, BatchId(1));
    log.condition = Condition::Damaged;
    let groups = log.take_over(replay.groups);
    Ok((log, Recovered { groups, damage: Some(damage), torn: None }))
}

pub(super) fn start_over<D: Disk>(mut disk: D, settings: Settings) -> Result<Log<D>, OpenError> {
    let segments = scan::segments(&disk)?;
    // Oldest first: should this be interrupted, what is left lacks segments that it names, so it is still damaged.
    for number in segments {
        prepare(&mut disk, Operation::Remove { file: number.file() })?;
    }
    let (log, recovered) = open(disk, settings)?;
    assert!(recovered.groups.is_empty() && recovered.damage.is_none(), "every segment was removed");
    Ok(log)
}

/// The log is sound: cut what is torn, make durable what was found, go on.
fn resume<D: Disk>(
    mut disk: D,
    settings: Settings,
    replay: Replay,
    mut segments: BTreeMap<SegmentNumber, u64>,
    tail: Tail,
) -> Result<(Log<D>, Recovered), OpenError> {
    // Behind the tail there is only what was never acknowledged; newest first, so that no gap is ever left.
    let behind: Vec<SegmentNumber> = segments
        .keys()
        .copied()
        .filter(|number| tail.current.is_none_or(|current| *number > current.number))
        .collect();
    for number in behind.into_iter().rev() {
        prepare(&mut disk, Operation::Remove { file: number.file() })?;
        segments.remove(&number);
    }
    let mut ready = None;
    match tail.current {
        Some(current) => {
            overwrite_with_zeros(&mut disk, current, tail.written_to)?;
            // What was read may stand only in the page cache of a machine that did not go down.
            prepare(&mut disk, Operation::Sync { file: current.number.file() })?;
        }
        None => {
            let number = SegmentNumber::FIRST;
            let bytes = (settings.segment_bytes / FIRST_SEGMENT_SHARE)
                .clamp(FIRST_SEGMENT_BYTES_MIN, FIRST_SEGMENT_BYTES_MAX);
            prepare(&mut disk, Operation::Create { file: number.file(), bytes })?;
            segments.insert(number, bytes);
            ready = Some(number);
        }
    }
    // Only after the sync: the batch that no longer names them may have stood in the page cache alone (INV-43).
    let released: Vec<SegmentNumber> =
        segments.keys().copied().filter(|number| *number < tail.oldest).collect();
    for number in released {
        prepare(&mut disk, Operation::Remove { file: number.file() })?;
        segments.remove(&number);
    }
    let resume = Resume {
        current: tail.current,
        ready,
        segments,
        previous: tail.previous,
        durable: tail.last,
        oldest: tail.oldest,
    };
    let writer = Writer::new(settings, resume);
    let mut log = Log::new(disk, writer, replay.places, tail.last.next());
    let groups = log.take_over(replay.groups);
    Ok((log, Recovered { groups, damage: None, torn: tail.torn }))
}

fn overwrite_with_zeros<D: Disk>(
    disk: &mut D,
    current: Current,
    written_to: u64,
) -> Result<(), OpenError> {
    let mut offset = current.end;
    while offset < written_to {
        let bytes = usize::try_from(written_to - offset).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES);
        assert_eq!(bytes % UNIT_BYTES, 0, "batches begin and end at units");
        let parts = vec![Bytes::from(vec![0; bytes])];
        prepare(disk, Operation::Write { file: current.number.file(), offset, parts })?;
        offset += bytes as u64;
    }
    Ok(())
}

fn prepare<D: Disk>(disk: &mut D, operation: Operation) -> Result<(), OpenError> {
    disk.perform(&operation)
        .map_err(|source| OpenError::Prepare { file: operation.file().clone(), source })
}

impl<D: Disk> Log<D> {
    fn new(disk: D, writer: Writer, places: super::places::Places, next: BatchId) -> Self {
        Self {
            disk,
            groups: BTreeMap::new(),
            places,
            filling: Filling::new(next),
            ready: std::collections::VecDeque::new(),
            writer,
            release: release::Progress::default(),
            condition: Condition::Sound,
        }
    }

    fn take_over(
        &mut self,
        groups: BTreeMap<GroupId, RecoveredGroup>,
    ) -> BTreeMap<GroupId, RecoveredGroup> {
        for (id, group) in &groups {
            let positions = group.entries.iter().map(|(position, _)| *position);
            let recovered = Group::recovered(group.hard_state, group.start.clone(), positions);
            self.groups.insert(*id, recovered);
        }
        groups
    }
}

impl Damage {
    const fn new(segment: SegmentNumber, offset: u64, kind: DamageKind) -> Self {
        Self { segment, offset, kind }
    }
}
