//! Batches: what is written and synced as one. A batch is on the disk whole or it is not in the log.
//!
//! A batch begins at a unit of 512 bytes and fills whole units, so that writing one never touches a unit of another. The
//! first unit ends with a checksum over itself; it names the batch's sequence, its length, the batch before it, and the
//! checksum of every unit of the body (in further header units where they are many). A body that fits stands in the first
//! unit itself.
//!
//! Why a checksum per unit: the disk loses or keeps units whole, and what was there before is zeros. A unit that is zeros
//! and should not be was never written: the batch was torn. A unit that is neither zeros nor right was damaged after it
//! was written. So even the last batch, which nothing follows, is never taken for torn when a bit of it flipped.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::planted::{self, Bug};

use super::codec::{Parts, RECORD_BYTES_MAX};
use super::segment::{SegmentNumber, UNIT_BYTES, is_zero, seal, sealed};

/// A batch is closed when its records reach this size.
pub(super) const BATCH_BYTES: usize = 4 << 20;
const BODY_BYTES_MAX: usize = BATCH_BYTES + RECORD_BYTES_MAX;

const MAGIC: u32 = u32::from_le_bytes(*b"QBAT");
const MAGIC_MORE: u32 = u32::from_le_bytes(*b"QMOR");
const FIRST_FIELDS_BYTES: usize = 36;
const MORE_FIELDS_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 4;
/// What the first unit has room for beside its fields: the whole of a small body, else checksums of units.
const FIRST_ROOM_BYTES: usize = UNIT_BYTES - FIRST_FIELDS_BYTES - CHECKSUM_BYTES;
const MORE_ROOM_BYTES: usize = UNIT_BYTES - MORE_FIELDS_BYTES - CHECKSUM_BYTES;
const FIRST_CHECKSUMS: usize = FIRST_ROOM_BYTES / CHECKSUM_BYTES;
const MORE_CHECKSUMS: usize = MORE_ROOM_BYTES / CHECKSUM_BYTES;

/// A batch's sequence: node-wide, without gaps, never reused. Batches are durable in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BatchId(pub u64);

impl BatchId {
    #[must_use]
    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What a batch's first unit says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    /// Its segment's: a client cannot write a value that looks like a batch of ours.
    pub(super) salt: u32,
    pub(super) id: BatchId,
    /// No segment before this one is needed any more.
    pub(super) oldest: SegmentNumber,
    /// The checksum of the first unit of the batch before.
    pub(super) previous: u32,
    pub(super) body_bytes: usize,
    pub(super) records: u32,
    /// The checksum of this first unit.
    pub(super) checksum: u32,
}

/// What a first unit is.
#[derive(Debug)]
pub(super) enum First {
    Zero,
    Header(Header),
    Garbage,
}

/// What the units of a batch are whose first unit is right.
#[derive(Debug)]
pub(super) enum Rest {
    /// The body.
    Whole(Bytes),
    Torn,
    /// The first damaged unit, counted from the batch's begin.
    Damaged {
        unit: usize,
    },
}

/// A batch as it is written.
pub(super) struct Encoded {
    pub(super) parts: Vec<Bytes>,
    /// Of its first unit: the `previous` of the next.
    pub(super) checksum: u32,
}

impl Header {
    /// From the batch's begin to the next one's.
    pub(super) const fn total_bytes(&self) -> usize {
        total_bytes(self.body_bytes)
    }

    /// Where the body begins, from the batch's begin.
    pub(super) const fn body_offset(&self) -> usize {
        body_offset(self.body_bytes)
    }

    const fn inline(&self) -> bool {
        self.body_bytes <= FIRST_ROOM_BYTES
    }
}

const fn body_units(body_bytes: usize) -> usize {
    if body_bytes <= FIRST_ROOM_BYTES { 0 } else { body_bytes.div_ceil(UNIT_BYTES) }
}

const fn header_units(body_bytes: usize) -> usize {
    1 + body_units(body_bytes).saturating_sub(FIRST_CHECKSUMS).div_ceil(MORE_CHECKSUMS)
}

pub(super) const fn body_offset(body_bytes: usize) -> usize {
    if body_bytes <= FIRST_ROOM_BYTES {
        FIRST_FIELDS_BYTES
    } else {
        header_units(body_bytes) * UNIT_BYTES
    }
}

pub(super) const fn total_bytes(body_bytes: usize) -> usize {
    (header_units(body_bytes) + body_units(body_bytes)) * UNIT_BYTES
}

/// `header.body_bytes` and `header.checksum` are filled in here.
pub(super) fn encode(mut header: Header, body: Parts) -> Encoded {
    header.body_bytes = body.bytes();
    assert!(header.body_bytes > 0 && header.body_bytes <= BODY_BYTES_MAX, "append bounds a batch");
    let mut parts = body.finish();
    let mut first = BytesMut::with_capacity(body_offset(header.body_bytes).max(UNIT_BYTES));
    put_fields(&mut first, &header);
    if header.inline() {
        parts.iter().for_each(|part| first.extend_from_slice(part));
        first.resize(UNIT_BYTES - CHECKSUM_BYTES, 0);
        let checksum = seal(&mut first, 0);
        return Encoded { parts: vec![first.freeze()], checksum };
    }
    let padding = body_units(header.body_bytes) * UNIT_BYTES - header.body_bytes;
    if padding > 0 {
        parts.push(Bytes::from(vec![0; padding]));
    }
    let checksums = unit_checksums(&parts);
    assert_eq!(checksums.len(), body_units(header.body_bytes), "one checksum for each unit");
    let (in_first, in_more) = checksums.split_at(checksums.len().min(FIRST_CHECKSUMS));
    in_first.iter().for_each(|checksum| first.put_u32_le(*checksum));
    first.resize(UNIT_BYTES - CHECKSUM_BYTES, 0);
    let checksum = seal(&mut first, 0);
    for (more, seed) in in_more.chunks(MORE_CHECKSUMS).zip(1..) {
        let mut unit = BytesMut::with_capacity(UNIT_BYTES);
        unit.put_u32_le(MAGIC_MORE);
        more.iter().for_each(|checksum| unit.put_u32_le(*checksum));
        unit.resize(UNIT_BYTES - CHECKSUM_BYTES, 0);
        seal(&mut unit, more_seed(checksum, seed));
        first.unsplit(unit);
    }
    assert_eq!(first.len(), body_offset(header.body_bytes), "the header fills its units");
    parts.insert(0, first.freeze());
    Encoded { parts, checksum }
}

/// Looks at one unit where a batch may begin.
pub(super) fn first(unit: &[u8]) -> First {
    assert_eq!(unit.len(), UNIT_BYTES, "the caller reads whole units");
    if is_zero(unit) {
        return First::Zero;
    }
    parse(unit).map_or(First::Garbage, First::Header)
}

/// Looks at all units of a batch; `bytes` are `header.total_bytes()`, or fewer where the file ends: zeros stand behind.
pub(super) fn rest(header: &Header, bytes: &Bytes) -> Rest {
    assert!(bytes.len() <= header.total_bytes(), "the caller reads one batch");
    assert!(bytes.len() >= UNIT_BYTES && bytes.len().is_multiple_of(UNIT_BYTES), "whole units");
    let body = header.body_offset()..header.body_offset() + header.body_bytes;
    if header.inline() {
        return Rest::Whole(bytes.slice(body));
    }
    let mut torn = bytes.len() < header.total_bytes();
    let mut checksums: Vec<Option<u32>> = Vec::with_capacity(body_units(header.body_bytes));
    let room = FIRST_FIELDS_BYTES..UNIT_BYTES - CHECKSUM_BYTES;
    checksums.extend(bytes[room].chunks(CHECKSUM_BYTES).map(|bytes| Some(word(bytes))));
    for index in 1..header_units(header.body_bytes) {
        let Some(unit) = bytes.get(index * UNIT_BYTES..(index + 1) * UNIT_BYTES) else { break };
        let seed = more_seed(header.checksum, u32::try_from(index).unwrap_or(u32::MAX));
        if sealed(unit, seed) {
            let room = MORE_FIELDS_BYTES..UNIT_BYTES - CHECKSUM_BYTES;
            checksums.extend(unit[room].chunks(CHECKSUM_BYTES).map(|bytes| Some(word(bytes))));
        } else if is_zero(unit) {
            torn = true;
            checksums.extend([None; MORE_CHECKSUMS]);
        } else {
            return Rest::Damaged { unit: index };
        }
    }
    let begin = header.body_offset();
    for (index, unit) in bytes.get(begin..).unwrap_or(&[]).chunks(UNIT_BYTES).enumerate() {
        match checksums[index] {
            Some(checksum) if checksum == crc32c::crc32c(unit) => {}
            Some(_) if planted::is(Bug::SkipChecksum) => {}
            Some(_) if is_zero(unit) => torn = true,
            Some(_) => return Rest::Damaged { unit: begin / UNIT_BYTES + index },
            // Nothing says what this unit should be; the batch is torn anyway.
            None => {}
        }
    }
    if torn { Rest::Torn } else { Rest::Whole(bytes.slice(body)) }
}

fn put_fields(out: &mut BytesMut, header: &Header) {
    out.put_u32_le(MAGIC);
    out.put_u32_le(header.salt);
    out.put_u64_le(header.id.0);
    out.put_u64_le(u64::from(header.oldest.0));
    out.put_u32_le(header.previous);
    out.put_u32_le(u32::try_from(header.body_bytes).expect("at most BODY_BYTES_MAX"));
    out.put_u32_le(header.records);
    assert_eq!(out.len(), FIRST_FIELDS_BYTES, "the fields fill their room");
}

fn parse(unit: &[u8]) -> Option<Header> {
    let right = sealed(unit, 0) || planted::is(Bug::SkipChecksum);
    if word(&unit[..4]) != MAGIC || !right {
        return None;
    }
    let long = |at: usize| {
        u64::from(word(&unit[at..at + 4])) | (u64::from(word(&unit[at + 4..at + 8])) << 32)
    };
    let body_bytes = usize::try_from(word(&unit[28..32])).ok()?;
    if body_bytes == 0 || body_bytes > BODY_BYTES_MAX {
        return None;
    }
    Some(Header {
        salt: word(&unit[4..8]),
        id: BatchId(long(8)),
        oldest: SegmentNumber(u32::try_from(long(16)).ok()?),
        previous: word(&unit[24..28]),
        body_bytes,
        records: word(&unit[32..36]),
        checksum: word(&unit[UNIT_BYTES - CHECKSUM_BYTES..]),
    })
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("callers slice four bytes"))
}

/// Binds a further header unit to its batch and its place.
const fn more_seed(first_checksum: u32, index: u32) -> u32 {
    first_checksum.rotate_left(7) ^ index
}

fn unit_checksums(parts: &[Bytes]) -> Vec<u32> {
    let mut checksums = Vec::new();
    let (mut checksum, mut filled) = (0, 0);
    for part in parts {
        let mut rest = part.as_ref();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(UNIT_BYTES - filled));
            checksum = crc32c::crc32c_append(checksum, now);
            filled += now.len();
            rest = later;
            if filled == UNIT_BYTES {
                checksums.push(checksum);
                (checksum, filled) = (0, 0);
            }
        }
    }
    assert_eq!(filled, 0, "the body is padded to whole units");
    checksums
}
