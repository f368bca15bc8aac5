//! Reading all segments in order, up to the log's end or its damage. Writes nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::planted::{self, Bug};

use super::super::batch::{self, BatchId};
use super::super::codec;
use super::super::places::Place;
use super::super::segment::{self, SegmentNumber, UNIT_BYTES, is_zero};
use super::super::writer::Current;
use super::super::{Damage, DamageKind, FORMAT_VERSION, OpenError};
use super::TornTail;
use super::replay::Replay;
use crate::disk::Disk;

const CHUNK_BYTES: usize = 1 << 20;

/// Where the log ends.
#[derive(Debug)]
pub(super) struct Tail {
    /// `None`: there is no batch at all.
    pub(super) current: Option<Current>,
    /// No unit behind this offset of the current segment was ever written to.
    pub(super) written_to: u64,
    pub(super) torn: Option<TornTail>,
    /// The last batch, and the checksum of its first unit.
    pub(super) last: BatchId,
    pub(super) previous: u32,
    pub(super) oldest: SegmentNumber,
}

pub(super) struct Found {
    pub(super) segments: BTreeMap<SegmentNumber, u64>,
    pub(super) end: Result<Tail, Damage>,
}

pub(super) struct Scan<'a, D> {
    disk: &'a D,
    replay: &'a mut Replay,
    segments: BTreeMap<SegmentNumber, u64>,
    /// What the next batch must be.
    next: BatchId,
    previous: u32,
    oldest: SegmentNumber,
    current: Option<Current>,
}

/// Damage and failure both end the scan.
enum Stop {
    Failed(OpenError),
    Damaged(Damage),
}

/// Why reading stopped in a segment.
enum End {
    Zeros,
    Torn,
}

/// The segments that there are, in order.
pub(super) fn segments<D: Disk>(disk: &D) -> Result<Vec<SegmentNumber>, OpenError> {
    let files = disk.list().map_err(OpenError::List)?;
    let mut numbers: Vec<_> = files.iter().filter_map(SegmentNumber::of_file).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

impl<'a, D: Disk> Scan<'a, D> {
    pub(super) fn new(disk: &'a D, replay: &'a mut Replay) -> Result<Self, OpenError> {
        let numbers = segments(disk)?;
        Ok(Self {
            disk,
            replay,
            segments: numbers.into_iter().map(|number| (number, 0)).collect(),
            next: BatchId(1),
            previous: 0,
            oldest: SegmentNumber::FIRST,
            current: None,
        })
    }

    pub(super) fn run(mut self) -> Result<Found, OpenError> {
        match self.scan() {
            Ok(tail) => Ok(Found { segments: self.segments, end: Ok(tail) }),
            Err(Stop::Damaged(damage)) => Ok(Found { segments: self.segments, end: Err(damage) }),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn scan(&mut self) -> Result<Tail, Stop> {
        // Removals may have overtaken each other, so there may be gaps, but only among what is no longer needed.
        let numbers: Vec<SegmentNumber> = self.segments.keys().copied().collect();
        let gap = numbers.windows(2).rposition(|pair| pair[1] != pair[0].next());
        let mut rest = &numbers[gap.map_or(0, |gap| gap + 1)..];
        let first = rest.first().copied().unwrap_or(SegmentNumber::FIRST);
        self.oldest = first;
        let mut end = End::Zeros;
        while let Some((number, later)) = rest.split_first() {
            let mut reader = Reader::new(self.disk, *number);
            let unit = reader.bytes(0, UNIT_BYTES)?;
            let header = match segment::first(&unit) {
                segment::First::Header(header) => header,
                segment::First::Zero
                    if self.current.is_none() && *number != SegmentNumber::FIRST =>
                {
                    return damaged(SegmentNumber::FIRST, 0, DamageKind::MissingSegment);
                }
                segment::First::Zero => break,
                segment::First::Newer { version } => {
                    let (file, found, known) = (number.file(), version, FORMAT_VERSION);
                    return Err(Stop::Failed(OpenError::Newer { file, found, known }));
                }
                segment::First::Garbage => {
                    return damaged(*number, 0, DamageKind::SegmentHeader);
                }
            };
            self.enter(*number, &header, &end)?;
            end = self.batches(&mut reader)?;
            self.segments.insert(*number, reader.length()?);
            rest = later;
        }
        let (written_to, leftovers) = self.behind_the_end(rest)?;
        if self.current.is_some() && self.oldest < first {
            return damaged(first.previous(), 0, DamageKind::MissingSegment);
        }
        let at = self.current.map(|current| (current.number, current.end));
        let torn = (matches!(end, End::Torn) || leftovers).then(|| {
            let (segment, offset) = at.unwrap_or((first, 0));
            TornTail { segment, offset }
        });
        Ok(Tail {
            current: self.current,
            written_to,
            torn,
            last: BatchId(self.next.0 - 1),
            previous: self.previous,
            oldest: self.oldest,
        })
    }

    /// The segment must follow the one before, which ended cleanly.
    fn enter(
        &mut self,
        number: SegmentNumber,
        header: &segment::Header,
        end: &End,
    ) -> Result<(), Stop> {
        match self.current {
            None => {
                self.next = header.first;
                self.previous = header.previous;
            }
            Some(before) => {
                let follows = matches!(end, End::Zeros)
                    && header.first == self.next
                    && header.previous == self.previous
                    && header.previous_end == before.end;
                if !follows {
                    return damaged(before.number, before.end, DamageKind::Hole);
                }
                if self.zeros_behind(before)?.is_some() {
                    return damaged(before.number, before.end, DamageKind::BatchContent);
                }
            }
        }
        if header.number != number || header.first.0 == 0 {
            return damaged(number, 0, DamageKind::Discontinuous);
        }
        let salt = header.salt();
        self.current = Some(Current { number, end: UNIT_BYTES as u64, salt });
        Ok(())
    }

    /// Reads batches until one is not whole. `current.end` is where.
    fn batches(&mut self, reader: &mut Reader<'_, D>) -> Result<End, Stop> {
        let mut current = self.current.expect("the segment was entered");
        loop {
            let unit = reader.bytes(current.end, UNIT_BYTES)?;
            let header = match batch::first(&unit) {
                batch::First::Zero => return Ok(End::Zeros),
                batch::First::Garbage => {
                    return damaged(current.number, current.end, DamageKind::BatchHeader);
                }
                batch::First::Header(header) => header,
            };
            let expected = header.id == self.next
                && header.previous == self.previous
                && header.salt == current.salt
                && header.oldest <= current.number;
            if !expected {
                let kind =
                    if header.id > self.next { DamageKind::Hole } else { DamageKind::BatchHeader };
                return damaged(current.number, current.end, kind);
            }
            // What a header claims is taken for no more than the file holds.
            let there = usize::try_from(reader.length()? - current.end).unwrap_or(usize::MAX);
            let bytes = reader.bytes(current.end, header.total_bytes().min(there))?;
            let body = match batch::rest(&header, &bytes) {
                batch::Rest::Whole(body) => body,
                batch::Rest::Torn => return Ok(End::Torn),
                batch::Rest::Damaged { .. } if planted::is(Bug::OpenDamagedLog) => {
                    return Ok(End::Torn);
                }
                batch::Rest::Damaged { unit } => {
                    let offset = current.end + (unit * UNIT_BYTES) as u64;
                    return damaged(current.number, offset, DamageKind::BatchContent);
                }
            };
            self.records(&header, current, &body)?;
            self.oldest = header.oldest;
            self.next = header.id.next();
            self.previous = header.checksum;
            current.end += header.total_bytes() as u64;
            self.current = Some(current);
        }
    }

    fn records(
        &mut self,
        header: &batch::Header,
        current: Current,
        body: &Bytes,
    ) -> Result<(), Stop> {
        let mut at = 0;
        let begin = current.end + header.body_offset() as u64;
        for _ in 0..header.records {
            let offset = begin + at as u64;
            let wrong = |kind| Stop::Damaged(Damage::new(current.number, offset, kind));
            let (stored, length) = codec::decode(&body.slice(at..))
                .map_err(|malformed| wrong(DamageKind::Record(malformed.to_string())))?;
            let place = Place {
                segment: current.number,
                offset: u32::try_from(offset).expect("a segment is at most about a gibibyte"),
                bytes: u32::try_from(length).expect("at most RECORD_BYTES_MAX"),
            };
            self.replay.record(&stored, place).map_err(wrong)?;
            at += length;
        }
        if at != body.len() {
            let kind = DamageKind::Record("records do not fill their batch".to_owned());
            return damaged(current.number, begin + at as u64, kind);
        }
        Ok(())
    }

    /// Looks for signs of later batches behind the log's end: in the rest of its last segment and in `later` ones. Answers up
    /// to where the last segment was written to, and whether anything was.
    fn behind_the_end(&mut self, later: &[SegmentNumber]) -> Result<(u64, bool), Stop> {
        let mut written_to = 0;
        let mut leftovers = false;
        if let Some(current) = self.current {
            written_to = self.zeros_behind(current)?.unwrap_or(current.end);
            leftovers = written_to > current.end;
        }
        for (distance, number) in later.iter().enumerate() {
            let mut reader = Reader::new(self.disk, *number);
            let unit = reader.bytes(0, UNIT_BYTES)?;
            if !is_zero(&unit) {
                let (segment, offset) =
                    self.current.map_or((*number, 0), |current| (current.number, current.end));
                return damaged(segment, offset, DamageKind::Hole);
            }
            // Only the segment right behind can hold units of the batch under way; its salt is known.
            let salt = (distance == 0).then(|| segment::salt(*number, self.previous));
            let written = self.last_written(*number, UNIT_BYTES as u64, salt)?;
            leftovers |= written.is_some();
            let length = reader.length()?;
            self.segments.insert(*number, length);
        }
        Ok((written_to, leftovers))
    }

    fn zeros_behind(&self, current: Current) -> Result<Option<u64>, Stop> {
        self.last_written(current.number, current.end, Some(current.salt))
    }

    /// Where the last unit that is not zeros ends, from `from` on. A later batch there is damage.
    fn last_written(
        &self,
        number: SegmentNumber,
        from: u64,
        salt: Option<u32>,
    ) -> Result<Option<u64>, Stop> {
        let mut reader = Reader::new(self.disk, number);
        let length = reader.length()?;
        let mut last = None;
        let mut offset = from;
        while offset < length {
            let unit = reader.bytes(offset, UNIT_BYTES)?;
            match batch::first(&unit) {
                batch::First::Zero => {}
                batch::First::Header(header)
                    if header.id > self.next && salt.is_none_or(|salt| salt == header.salt) =>
                {
                    return damaged(number, from, DamageKind::Hole);
                }
                batch::First::Header(_) | batch::First::Garbage => {
                    last = Some(offset + UNIT_BYTES as u64);
                }
            }
            offset += UNIT_BYTES as u64;
        }
        Ok(last)
    }
}

const fn damaged<T>(segment: SegmentNumber, offset: u64, kind: DamageKind) -> Result<T, Stop> {
    Err(Stop::Damaged(Damage::new(segment, offset, kind)))
}

impl From<OpenError> for Stop {
    fn from(error: OpenError) -> Self {
        Self::Failed(error)
    }
}

/// Reads a segment in large chunks; behind its end there are zeros.
struct Reader<'a, D> {
    disk: &'a D,
    number: SegmentNumber,
    chunk_offset: u64,
    chunk: Bytes,
}

impl<'a, D: Disk> Reader<'a, D> {
    const fn new(disk: &'a D, number: SegmentNumber) -> Self {
        Self { disk, number, chunk_offset: 0, chunk: Bytes::new() }
    }

    /// Exactly `bytes`; the caller has checked that they are within the format's bounds.
    fn bytes(&mut self, offset: u64, bytes: usize) -> Result<Bytes, OpenError> {
        let within = offset.checked_sub(self.chunk_offset).and_then(|at| usize::try_from(at).ok());
        if let Some(at) = within
            && at.saturating_add(bytes) <= self.chunk.len()
        {
            return Ok(self.chunk.slice(at..at + bytes));
        }
        self.chunk = self.read(offset, bytes.max(CHUNK_BYTES))?;
        self.chunk_offset = offset;
        if self.chunk.len() >= bytes {
            return Ok(self.chunk.slice(..bytes));
        }
        let mut padded = self.chunk.to_vec();
        padded.resize(bytes, 0);
        Ok(padded.into())
    }

    /// Where the file ends, rounded up to whole units.
    fn length(&self) -> Result<u64, OpenError> {
        let file = self.number.file();
        let length = self.disk.length(&file).map_err(|source| OpenError::Read { file, source })?;
        Ok(length.next_multiple_of(UNIT_BYTES as u64))
    }

    fn read(&self, offset: u64, bytes: usize) -> Result<Bytes, OpenError> {
        let file = self.number.file();
        self.disk.read(&file, offset, bytes).map_err(|source| OpenError::Read { file, source })
    }
}
