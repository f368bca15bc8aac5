//! Segments: files of one fixed size that follow each other, each with a header unit.
//!
//! A segment is created ahead, all zeros. Its header is written together with its first batch, in the same sync; it names
//! the batch that comes first and where the segment before it ended, so that a lost end is noticed.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::batch::BatchId;
use crate::disk::FileName;

/// What a disk writes whole or not at all; everything in a segment begins at a multiple of it.
pub(super) const UNIT_BYTES: usize = 512;
/// The version of the format written here. A newer one is refused.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: u32 = u32::from_le_bytes(*b"QLOG");
const CHECKSUM_BYTES: usize = 4;
const FIELDS_BYTES: usize = 40;

/// Segments are numbered from 1, without gaps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentNumber(pub u32);

impl SegmentNumber {
    pub(super) const FIRST: Self = Self(1);

    #[must_use]
    pub(super) fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("four thousand million segments are never written"))
    }

    pub(super) fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    pub(super) fn file(self) -> FileName {
        FileName(format!("{:010}.log", self.0))
    }

    /// `None` for a file that is not a segment.
    pub(super) fn of_file(file: &FileName) -> Option<Self> {
        let number = file.0.strip_suffix(".log")?.parse().ok().map(Self)?;
        (number.file() == *file).then_some(number)
    }
}

impl fmt::Display for SegmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a segment's first unit says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) number: SegmentNumber,
    pub(super) first: BatchId,
    /// Where the last batch of the segment before ended; 0 without one.
    pub(super) previous_end: u64,
    /// The checksum of the last batch of the segment before; 0 without one.
    pub(super) previous: u32,
}

/// What a segment's first unit is.
#[derive(Debug)]
pub(super) enum First {
    Zero,
    Header(Header),
    Newer { version: u32 },
    Garbage,
}

impl Header {
    /// In every batch of the segment: follows from what came before, so that nobody who writes values can foresee it.
    pub(super) fn salt(&self) -> u32 {
        salt(self.number, self.previous)
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut unit = BytesMut::with_capacity(UNIT_BYTES);
        unit.put_u32_le(MAGIC);
        unit.put_u32_le(FORMAT_VERSION);
        unit.put_u64_le(u64::from(self.number.0));
        unit.put_u64_le(self.first.0);
        unit.put_u64_le(self.previous_end);
        unit.put_u32_le(self.previous);
        unit.put_u32_le(self.salt());
        assert_eq!(unit.len(), FIELDS_BYTES, "the fields fill their room");
        unit.resize(UNIT_BYTES - CHECKSUM_BYTES, 0);
        seal(&mut unit, 0);
        unit.freeze()
    }
}

pub(super) fn salt(number: SegmentNumber, previous: u32) -> u32 {
    crc32c::crc32c_append(previous, &number.0.to_le_bytes())
}

/// Looks at the unit at a segment's begin.
pub(super) fn first(unit: &[u8]) -> First {
    assert_eq!(unit.len(), UNIT_BYTES, "the caller reads whole units");
    if is_zero(unit) {
        return First::Zero;
    }
    let word = |at: usize| {
        u32::from_le_bytes(unit[at..at + 4].try_into().expect("four bytes were sliced"))
    };
    let long = |at: usize| u64::from(word(at)) | (u64::from(word(at + 4)) << 32);
    if word(0) != MAGIC || !sealed(unit, 0) {
        return First::Garbage;
    }
    if word(4) > FORMAT_VERSION {
        return First::Newer { version: word(4) };
    }
    let Ok(number) = u32::try_from(long(8)) else { return First::Garbage };
    let header = Header {
        number: SegmentNumber(number),
        first: BatchId(long(16)),
        previous_end: long(24),
        previous: word(32),
    };
    if header.salt() == word(36) { First::Header(header) } else { First::Garbage }
}

/// Ends a unit with the checksum over itself.
pub(super) fn seal(unit: &mut BytesMut, seed: u32) -> u32 {
    assert_eq!(
        unit.len(),
        UNIT_BYTES - CHECKSUM_BYTES,
        "a unit is sealed when all but the seal is there"
    );
    let checksum = crc32c::crc32c_append(seed, unit);
    unit.put_u32_le(checksum);
    checksum
}

pub(super) fn sealed(unit: &[u8], seed: u32) -> bool {
    let (content, checksum) = unit.split_at(UNIT_BYTES - CHECKSUM_BYTES);
    *checksum == crc32c::crc32c_append(seed, content).to_le_bytes()
}

pub(super) fn is_zero(unit: &[u8]) -> bool {
    unit == [0; UNIT_BYTES]
}
