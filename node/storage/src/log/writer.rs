//! Writing batches, rolling over to the next segment, and what completions mean.
//!
//! One batch is under way at a time: one write, one sync. The next segment is created while the current one is half full.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::GroupId;
use quorate_model::planted::{self, Bug};

use super::batch::{self, BatchId};
use super::codec::Parts;
use super::places::Place;
use super::release;
use super::segment::{self, SegmentNumber, UNIT_BYTES};
use super::{Body, Filling, Log, LogError, Settings};
use crate::disk::{Completion, Disk, Operation, OperationId};

/// How many times as large the next segment is, until it is as large as all are to be.
const GROWTH: u64 = 4;

#[derive(Debug)]
pub(super) struct Writer {
    settings: Settings,
    current: Option<Current>,
    next: Next,
    /// Every segment that is not being removed, and its size.
    segments: BTreeMap<SegmentNumber, u64>,
    /// The checksum of the last batch's first unit.
    previous: u32,
    /// Everything up to here is durable.
    pub(super) durable: BatchId,
    /// No segment before this one is needed by what is durable.
    oldest: SegmentNumber,
    under_way: Option<UnderWay>,
    operations: BTreeMap<OperationId, Purpose>,
    next_operation: OperationId,
    pub(super) syncs: u64,
}

/// The segment that is written to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current {
    pub(super) number: SegmentNumber,
    /// Where the next batch begins.
    pub(super) end: u64,
    pub(super) salt: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    None,
    Creating(SegmentNumber),
    Ready(SegmentNumber),
}

#[derive(Debug)]
struct UnderWay {
    id: BatchId,
    groups: BTreeSet<GroupId>,
    /// As the batch names it.
    oldest: SegmentNumber,
    moves_starts: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    Write,
    Sync,
    Create(SegmentNumber, u64),
    Remove(SegmentNumber),
}

/// Where a log goes on after recovery.
#[derive(Debug)]
pub(super) struct Resume {
    pub(super) current: Option<Current>,
    /// A segment that is all zeros.
    pub(super) ready: Option<SegmentNumber>,
    pub(super) segments: BTreeMap<SegmentNumber, u64>,
    pub(super) previous: u32,
    pub(super) durable: BatchId,
    pub(super) oldest: SegmentNumber,
}

impl Writer {
    pub(super) fn new(settings: Settings, resume: Resume) -> Self {
        assert!(
            resume.current.is_some() || resume.ready.is_some(),
            "there is a segment to write to"
        );
        Self {
            settings,
            current: resume.current,
            next: resume.ready.map_or(Next::None, Next::Ready),
            segments: resume.segments,
            previous: resume.previous,
            durable: resume.durable,
            oldest: resume.oldest,
            under_way: None,
            operations: BTreeMap::new(),
            next_operation: OperationId(0),
            syncs: 0,
        }
    }

    /// Of a damaged log: nothing is ever written.
    pub(super) fn idle(settings: Settings, segments: BTreeMap<SegmentNumber, u64>) -> Self {
        let oldest = segments.keys().next().copied().unwrap_or(SegmentNumber::FIRST);
        let ready = Some(oldest);
        let durable = BatchId(0);
        Self::new(settings, Resume { current: None, ready, segments, previous: 0, durable, oldest })
    }

    pub(super) const fn is_writing(&self) -> bool {
        self.under_way.is_some()
    }

    pub(super) const fn segment_bytes(&self) -> u64 {
        self.settings.segment_bytes
    }

    pub(super) fn current(&self) -> Option<SegmentNumber> {
        self.current.map(|current| current.number)
    }

    #[cfg(test)]
    pub(super) fn end(&self) -> u64 {
        self.current.map_or(0, |current| current.end)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().sum()
    }

    /// Nothing before `oldest` counts any more. Answers whether that is news.
    pub(super) fn needs_from(&mut self, oldest: SegmentNumber) -> bool {
        // INV-43
        assert!(oldest >= self.oldest, "what counts in a segment that was given up");
        let news = oldest > self.oldest;
        self.oldest = oldest;
        news
    }

    /// Where a batch of this size goes: `None` when its segment is not ready.
    fn room_for(&self, total_bytes: usize) -> Option<Room> {
        let room = self.current.map(|current| {
            let end = current.end + total_bytes as u64;
            // A batch that is larger than a segment has one to itself, beyond its size.
            let is_empty = current.end == UNIT_BYTES as u64;
            let fits = is_empty || end <= self.settings.segment_bytes;
            (current, fits, is_empty || end <= self.zeroed(current.number))
        });
        match (room, self.next) {
            (Some((current, true, true)), _) => Some(Room::Here(current)),
            // Rather than beyond the zeros, where each sync writes metadata, too.
            (_, Next::Ready(number)) => Some(Room::Roll(number)),
            (Some((current, true, false)), _) => Some(Room::Here(current)),
            (Some((_, false, _)) | None, Next::None | Next::Creating(_)) => None,
        }
    }

    /// The next segment is created when the current one is half full, at the latest when a batch does not fit. The first one is
    /// small, and they grow: what is filled with zeros is in proportion to what was written.
    fn next_to_create(&self, needed: bool) -> Option<(SegmentNumber, u64)> {
        let Next::None = self.next else { return None };
        let current = self.current.expect("without a current segment one is ready");
        let size = self.zeroed(current.number);
        let half_full = current.end * 2 > size;
        let bytes = size.saturating_mul(GROWTH).min(self.settings.segment_bytes);
        (needed || half_full).then(|| (current.number.next(), bytes))
    }

    /// Up to where a segment was filled with zeros, or written.
    fn zeroed(&self, segment: SegmentNumber) -> u64 {
        self.segments.get(&segment).copied().unwrap_or(0)
    }

    fn operation(&mut self, purpose: Purpose) -> OperationId {
        let id = self.next_operation;
        self.next_operation = OperationId(id.0 + 1);
        self.operations.insert(id, purpose);
        id
    }
}

enum Room {
    Here(Current),
    Roll(SegmentNumber),
}

pub(super) fn submit<D: Disk>(log: &mut Log<D>) -> Option<BatchId> {
    if log.writer.is_writing() {
        return None;
    }
    let front = log.ready.front().unwrap_or(&log.filling);
    if front.records.is_empty() {
        return None;
    }
    let room = log.writer.room_for(batch::total_bytes(front.bytes));
    let Some(room) = room else {
        prepare_next(log, true);
        return None;
    };
    let batch = log.take_batch();
    let id = batch.id;
    // INV-19
    assert_eq!(id, log.writer.durable.next(), "batches are written in order, one at a time");
    write(log, room, batch);
    prepare_next(log, false);
    Some(id)
}

pub(super) fn completed<D: Disk>(
    log: &mut Log<D>,
    completion: Completion,
) -> Result<Option<BatchId>, LogError> {
    let purpose = log.writer.operations.remove(&completion.id);
    let purpose = purpose.expect("only operations that were submitted complete, once");
    completion.result.map_err(|source| purpose.failed(log.writer.current(), source))?;
    match purpose {
        Purpose::Write | Purpose::Remove(_) => Ok(None),
        Purpose::Create(number, bytes) => {
            assert_eq!(log.writer.next, Next::Creating(number), "one segment is created at a time");
            log.writer.next = Next::Ready(number);
            log.writer.segments.insert(number, bytes);
            Ok(None)
        }
        Purpose::Sync => batch_durable(log).map(Some),
    }
}

fn write<D: Disk>(log: &mut Log<D>, room: Room, batch: Filling) {
    let mut parts = Vec::new();
    let (current, write_at) = match room {
        Room::Here(current) => (current, current.end),
        Room::Roll(number) => {
            let header = segment::Header {
                number,
                first: batch.id,
                previous_end: log.writer.current.map_or(0, |current| current.end),
                previous: log.writer.previous,
            };
            parts.push(header.encode());
            log.writer.next = Next::None;
            log.release.due = true;
            (Current { number, end: UNIT_BYTES as u64, salt: header.salt() }, 0)
        }
    };
    let under_way = place(log, current, &batch);
    let mut body = Parts::default();
    batch.records.iter().for_each(|stored| body.push(stored));
    assert_eq!(body.bytes(), batch.bytes, "records are as long as they were counted");
    let header = batch::Header {
        salt: current.salt,
        id: batch.id,
        oldest: log.writer.oldest,
        previous: log.writer.previous,
        body_bytes: batch.bytes,
        records: u32::try_from(batch.records.len()).expect("a batch is a few megabytes"),
        checksum: 0,
    };
    let encoded = batch::encode(header, body);
    parts.extend(encoded.parts);

    let writer = &mut log.writer;
    writer.previous = encoded.checksum;
    let end = current.end + batch::total_bytes(batch.bytes) as u64;
    writer.current = Some(Current { end, ..current });
    let size = writer.segments.entry(current.number).or_default();
    *size = end.max(*size);
    writer.under_way = Some(under_way);
    writer.syncs += 1;
    let file = current.number.file();
    let id = writer.operation(Purpose::Write);
    log.disk.submit(id, Operation::Write { file: file.clone(), offset: write_at, parts });
    let id = writer.operation(Purpose::Sync);
    let sync = if planted::is(Bug::SkipFsync) {
        Operation::Write { file, offset: write_at, parts: Vec::new() }
    } else {
        Operation::Sync { file }
    };
    log.disk.submit(id, sync);
}

/// Notes where each record will stand.
fn place<D>(log: &mut Log<D>, current: Current, batch: &Filling) -> UnderWay {
    let mut offset = current.end + batch::body_offset(batch.bytes) as u64;
    let mut groups = BTreeSet::new();
    let mut moves_starts = false;
    for stored in &batch.records {
        let bytes = super::codec::record_bytes(&stored.record) as u64;
        let place = Place {
            segment: current.number,
            offset: u32::try_from(offset).expect("a segment is at most about a gibibyte"),
            bytes: u32::try_from(bytes).expect("at most RECORD_BYTES_MAX"),
        };
        log.places.record(stored, place).expect("append checked the order");
        groups.insert(stored.record.group);
        moves_starts |= matches!(stored.record.body, Body::Start { .. } | Body::Forget);
        offset += bytes;
    }
    UnderWay { id: batch.id, groups, oldest: log.writer.oldest, moves_starts }
}

fn batch_durable<D: Disk>(log: &mut Log<D>) -> Result<BatchId, LogError> {
    let under_way = log.writer.under_way.take().expect("a sync belongs to the batch under way");
    // INV-19
    assert_eq!(under_way.id, log.writer.durable.next(), "batches become durable in order");
    log.writer.durable = under_way.id;
    for group in &under_way.groups {
        if let Some(group) = log.groups.get_mut(group) {
            group.settle(under_way.id);
        }
    }
    remove_before(log, under_way.oldest);
    log.release.due |= under_way.moves_starts;
    release::advance(log)?;
    Ok(under_way.id)
}

/// What is durable no longer names them.
fn remove_before<D: Disk>(log: &mut Log<D>, oldest: SegmentNumber) {
    while let Some((number, _)) = log.writer.segments.first_key_value() {
        let number = *number;
        if number >= oldest {
            break;
        }
        log.writer.segments.remove(&number);
        let id = log.writer.operation(Purpose::Remove(number));
        log.disk.submit(id, Operation::Remove { file: number.file() });
    }
}

fn prepare_next<D: Disk>(log: &mut Log<D>, needed: bool) {
    let Some((number, bytes)) = log.writer.next_to_create(needed) else { return };
    log.writer.next = Next::Creating(number);
    let id = log.writer.operation(Purpose::Create(number, bytes));
    log.disk.submit(id, Operation::Create { file: number.file(), bytes });
}

impl<D> Log<D> {
    /// The batch that is written next. What is appended from here on goes with a later one.
    fn take_batch(&mut self) -> Filling {
        if let Some(batch) = self.ready.pop_front() {
            return batch;
        }
        let next = Filling::new(self.filling.id.next());
        std::mem::replace(&mut self.filling, next)
    }

    /// The next records, of `bytes` together, go into one batch.
    pub(super) fn make_room(&mut self, bytes: u64) {
        assert!(bytes <= batch::BATCH_BYTES as u64, "nothing larger is appended as one");
        let fits = self.filling.bytes as u64 + bytes <= batch::BATCH_BYTES as u64;
        if !fits {
            let next = Filling::new(self.filling.id.next());
            self.ready.push_back(std::mem::replace(&mut self.filling, next));
        }
    }
}

impl Purpose {
    fn failed(self, current: Option<SegmentNumber>, source: std::io::Error) -> LogError {
        let current = current.unwrap_or(SegmentNumber::FIRST);
        let (what, number) = match self {
            Self::Write => ("write", current),
            Self::Sync => ("sync", current),
            Self::Create(number, _) => ("create", number),
            Self::Remove(number) => ("remove", number),
        };
        LogError::Disk { what, file: number.file(), source }
    }
}
