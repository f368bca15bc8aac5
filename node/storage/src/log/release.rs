//! Giving segments back (INV-43).
//!
//! A segment goes when nothing in it counts any more. So that one cold group cannot hold the log, the few records that
//! still count in the oldest segment are appended again: hard states and starts one by one, a group's entries all
//! together behind a cut, in one batch, so that a crash leaves either all of them or none.
//!
//! Which segments are needed is itself in the log: every batch names the oldest one. A segment is removed only
//! after a batch that no longer names it is durable, so that a missing segment is noticed when the log is opened.

use quorate_model::{GroupId, LogIndex};

use super::batch::BatchId;
use super::places::GroupPlaces;
use super::segment::SegmentNumber;
use super::{Body, Log, LogError, Record, codec};
use crate::disk::Disk;

/// What a rewrite may append, as a part of a segment: 1/16, so that reclaiming a segment costs little of another.
const REWRITE_SHARE: u64 = 16;
/// And in bytes: a group's entries go into one batch.
const REWRITE_BYTES_MAX: u64 = 2 << 20;
/// How many batches later a group is looked at again that was not cold.
const RETRY_BATCHES: u64 = 64;

#[derive(Debug)]
pub(super) struct Progress {
    /// Something changed since the oldest segment was last looked at.
    pub(super) due: bool,
    pub(super) pinned_by: Option<GroupId>,
    /// What counted in this segment is appended again, but not yet durable.
    rewriting: Option<SegmentNumber>,
    retry_at: BatchId,
}

impl Default for Progress {
    fn default() -> Self {
        Self { due: true, pinned_by: None, rewriting: None, retry_at: BatchId(0) }
    }
}

/// Looks at the oldest segment, when no batch is under way. Bounded work: one segment's few records.
pub(super) fn advance<D: Disk>(log: &mut Log<D>) -> Result<(), LogError> {
    assert!(!log.writer.is_writing(), "between batches what was written is durable");
    let Some(current) = log.writer.current() else { return Ok(()) };
    let oldest = log.places.oldest().unwrap_or(current);
    if log.writer.needs_from(oldest) {
        log.release.due = true;
    }
    if oldest >= current {
        log.release.pinned_by = None;
        return Ok(());
    }
    let again = log.writer.durable >= log.release.retry_at;
    if !log.release.due || !again || log.release.rewriting == Some(oldest) {
        return Ok(());
    }
    log.release.due = false;
    log.release.pinned_by = None;
    let bound = (log.writer.segment_bytes() / REWRITE_SHARE).min(REWRITE_BYTES_MAX);
    let residents = residents(log, oldest);
    if residents.iter().map(|(_, bytes)| bytes).sum::<u64>() > bound {
        log.release.pinned_by =
            residents.iter().max_by_key(|(_, bytes)| bytes).map(|(group, _)| *group);
        return Ok(());
    }
    if residents.iter().any(|(group, _)| !log.groups.get(group).is_none_or(|log| log.is_settled()))
    {
        // Not cold.
        log.release.due = true;
        log.release.retry_at = BatchId(log.writer.durable.0 + RETRY_BATCHES);
        return Ok(());
    }
    for (group, _) in residents {
        rewrite(log, group, oldest)?;
    }
    log.release.rewriting = Some(oldest);
    Ok(())
}

/// The groups with something in the segment, and how much they would append to leave it.
fn residents<D: Disk>(log: &Log<D>, segment: SegmentNumber) -> Vec<(GroupId, u64)> {
    log.places
        .groups()
        .filter_map(|(group, places)| {
            let lives = Lives::of(places, segment);
            let entries = if lives.entries { places.entries_bytes() } else { 0 };
            let start = places.start.filter(|_| lives.start).map_or(0, |place| place.bytes);
            let hard_state =
                places.hard_state.filter(|_| lives.hard_state).map_or(0, |place| place.bytes);
            lives.any().then_some((group, entries + u64::from(start) + u64::from(hard_state)))
        })
        .collect()
}

fn rewrite<D: Disk>(
    log: &mut Log<D>,
    group: GroupId,
    segment: SegmentNumber,
) -> Result<(), LogError> {
    let Some(places) = log.places.group(group) else { return Ok(()) };
    let lives = Lives::of(places, segment);
    let cut_bytes =
        codec::record_bytes(&Record { group, body: Body::Cut { from: LogIndex::ZERO } });
    let places_bytes = places.entries_bytes() + cut_bytes as u64;
    // The group may have moved on in records that are appended but not written: what it says now is what counts.
    let Some(state) = log.groups.get(&group) else { return Ok(()) };
    let (hard_state, start, started) = (state.hard_state, state.start.clone(), state.started);
    let from = start.position.index.next();
    if let Some(hard_state) = hard_state.filter(|_| lives.hard_state) {
        let body = Body::HardState { term: hard_state.term, vote: hard_state.vote };
        log.append(Record { group, body });
    }
    if lives.start && started {
        let body = Body::Start { position: start.position, payload: start.payload };
        log.append(Record { group, body });
    }
    if lives.entries {
        let entries = log.read(group, from, usize::MAX)?;
        log.make_room(places_bytes);
        log.append(Record { group, body: Body::Cut { from } });
        for (position, kind, payload) in entries {
            log.append(Record { group, body: Body::Entry { position, kind, payload } });
        }
    }
    Ok(())
}

/// What of a group counts in a segment.
struct Lives {
    hard_state: bool,
    start: bool,
    entries: bool,
}

impl Lives {
    fn of(places: &GroupPlaces, segment: SegmentNumber) -> Self {
        Self {
            hard_state: places.hard_state.is_some_and(|place| place.segment == segment),
            start: places.start.is_some_and(|place| place.segment == segment),
            // Entries stand in the order of the segments, so the first one is in the oldest.
            entries: places.first_entry().is_some_and(|(_, place)| place.segment == segment),
        }
    }

    const fn any(&self) -> bool {
        self.hard_state || self.start || self.entries
    }
}
