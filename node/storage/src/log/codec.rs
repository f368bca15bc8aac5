//! Records as bytes: length, type, group number, fields, crc32c over all of it including the length. Little endian.
//!
//! Decoding checks every length before it is used and allocates nothing.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::planted::{self, Bug};
use quorate_model::{GroupId, LogIndex, NodeId, Position, Term};

use super::{Body, EntryKind, Record};

/// No record is longer, whole.
pub const RECORD_BYTES_MAX: usize = 64 << 20;
/// Length, type, group number.
const HEAD_BYTES: usize = 4 + 1 + 4;
const CHECKSUM_BYTES: usize = 4;
/// Indexes and terms are counted, and never this far: whoever adds to one need not look.
const NUMBER_MAX: u64 = 1 << 62;
/// A payload of this size and more is written from where it is; smaller ones are copied next to each other.
const LARGE_PAYLOAD_BYTES: usize = 4 << 10;

/// A record as it stands in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stored {
    pub(super) record: Record,
    /// Of a `Start`: decided when it was appended, so that replaying it does not need the entry at its position.
    pub(super) continuation: Continuation,
}

/// Whether the entries above a `Start` go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Continuation {
    Keeps,
    Drops,
}

/// Why bytes are not a record, though their batch is whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a record's length is out of bounds")]
    Length,
    #[error("a record's checksum is wrong")]
    Checksum,
    #[error("a record's type {0} is unknown")]
    Type(u8),
    #[error("a record's group number {0} is out of bounds")]
    Group(u32),
    #[error("a record's fields do not fill it")]
    Fields,
    #[error("a record's index or term is out of bounds")]
    Number,
}

mod tag {
    pub(super) const ENTRY: u8 = 1;
    pub(super) const CUT: u8 = 2;
    pub(super) const HARD_STATE: u8 = 3;
    pub(super) const START_KEEPING: u8 = 4;
    pub(super) const START_DROPPING: u8 = 5;
    pub(super) const FORGET: u8 = 6;
}

/// Records one after the other, as parts that are written without being joined.
#[derive(Default)]
pub(super) struct Parts {
    parts: Vec<Bytes>,
    open: BytesMut,
    bytes: usize,
}

impl Parts {
    /// Where the next record begins, and the end of the last one.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn finish(mut self) -> Vec<Bytes> {
        self.close();
        self.parts
    }

    pub(super) fn push(&mut self, stored: &Stored) {
        let begin = self.bytes;
        let length = record_bytes(&stored.record);
        assert!(length <= RECORD_BYTES_MAX, "append refuses longer records");
        let open_from = self.open.len();
        self.open.put_u32_le(u32::try_from(length).expect("at most RECORD_BYTES_MAX"));
        put_fields(&mut self.open, stored);
        let mut checksum = crc32c::crc32c(&self.open[open_from..]);
        let payload = payload(&stored.record.body);
        checksum = crc32c::crc32c_append(checksum, payload);
        if payload.len() < LARGE_PAYLOAD_BYTES {
            self.open.extend_from_slice(payload);
        } else {
            self.close();
            self.parts.push(payload.clone());
        }
        self.open.put_u32_le(checksum);
        self.bytes = begin + length;
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.parts.push(self.open.split().freeze());
        }
    }
}

/// How long the record is on the disk.
pub(super) fn record_bytes(record: &Record) -> usize {
    let fields = match &record.body {
        Body::Entry { .. } => 8 + 8 + 1,
        Body::Cut { .. } => 8,
        Body::HardState { .. } => 8 + 1 + 16,
        Body::Start { .. } => 8 + 8,
        Body::Forget => 0,
    };
    HEAD_BYTES + fields + payload(&record.body).len() + CHECKSUM_BYTES
}

/// The first record in `bytes` and how long it is.
pub(super) fn decode(bytes: &Bytes) -> Result<(Stored, usize), Malformed> {
    let mut head = Fields(bytes);
    let length = usize::try_from(head.u32().map_err(|_| Malformed::Length)?)
        .map_err(|_| Malformed::Length)?;
    let bounds = HEAD_BYTES + CHECKSUM_BYTES..=RECORD_BYTES_MAX.min(bytes.len());
    if !bounds.contains(&length) {
        return Err(Malformed::Length);
    }
    let checked = length - CHECKSUM_BYTES;
    let checksum = Fields(&bytes[checked..]).u32()?;
    if checksum != crc32c::crc32c(&bytes[..checked]) && !planted::is(Bug::SkipChecksum) {
        return Err(Malformed::Checksum);
    }
    let mut fields = Fields(&bytes[4..checked]);
    let tag = fields.u8()?;
    let number = fields.u32()?;
    let group = GroupId::from_number(number).ok_or(Malformed::Group(number))?;
    let mut continuation = Continuation::Drops;
    let body = match tag {
        tag::ENTRY => Body::Entry {
            position: fields.position()?,
            kind: EntryKind(fields.u8()?),
            payload: bytes.slice(checked - fields.take_rest()..checked),
        },
        tag::CUT => Body::Cut { from: LogIndex(fields.number()?) },
        tag::HARD_STATE => Body::HardState { term: Term(fields.number()?), vote: fields.vote()? },
        tag::START_KEEPING | tag::START_DROPPING => {
            if tag == tag::START_KEEPING {
                continuation = Continuation::Keeps;
            }
            Body::Start {
                position: fields.position()?,
                payload: bytes.slice(checked - fields.take_rest()..checked),
            }
        }
        tag::FORGET => Body::Forget,
        unknown => return Err(Malformed::Type(unknown)),
    };
    if !fields.0.is_empty() {
        return Err(Malformed::Fields);
    }
    Ok((Stored { record: Record { group, body }, continuation }, length))
}

fn put_fields(out: &mut BytesMut, stored: &Stored) {
    let tag = match (&stored.record.body, stored.continuation) {
        (Body::Entry { .. }, _) => tag::ENTRY,
        (Body::Cut { .. }, _) => tag::CUT,
        (Body::HardState { .. }, _) => tag::HARD_STATE,
        (Body::Start { .. }, Continuation::Keeps) => tag::START_KEEPING,
        (Body::Start { .. }, Continuation::Drops) => tag::START_DROPPING,
        (Body::Forget, _) => tag::FORGET,
    };
    out.put_u8(tag);
    out.put_u32_le(stored.record.group.number());
    match &stored.record.body {
        Body::Entry { position, kind, payload: _ } => {
            put_position(out, *position);
            out.put_u8(kind.0);
        }
        Body::Cut { from } => out.put_u64_le(from.0),
        Body::HardState { term, vote } => {
            out.put_u64_le(term.0);
            out.put_u8(u8::from(vote.is_some()));
            out.put_u128_le(vote.map_or(0, |node| node.0));
        }
        Body::Start { position, payload: _ } => put_position(out, *position),
        Body::Forget => {}
    }
}

fn put_position(out: &mut BytesMut, position: Position) {
    out.put_u64_le(position.term.0);
    out.put_u64_le(position.index.0);
}

fn payload(body: &Body) -> &Bytes {
    static NONE: Bytes = Bytes::new();
    match body {
        Body::Entry { payload, .. } | Body::Start { payload, .. } => payload,
        Body::Cut { .. } | Body::HardState { .. } | Body::Forget => &NONE,
    }
}

/// Fields read one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed::Fields)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn take_rest(&mut self) -> usize {
        std::mem::take(&mut self.0).len()
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.take()?))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let number = self.u64()?;
        if number <= NUMBER_MAX { Ok(number) } else { Err(Malformed::Number) }
    }

    fn position(&mut self) -> Result<Position, Malformed> {
        Ok(Position { term: Term(self.number()?), index: LogIndex(self.number()?) })
    }

    fn vote(&mut self) -> Result<Option<NodeId>, Malformed> {
        let there = self.u8()?;
        let node = NodeId(u128::from_le_bytes(self.take()?));
        match there {
            0 => Ok(None),
            1 => Ok(Some(node)),
            _ => Err(Malformed::Fields),
        }
    }
}
