//! How keys become rows. A row here has no group prefix: the host puts it in front.
//!
//! | row | value |
//! | --- | --- |
//! | `d` slot(2) hash(4) key length(2) key | header cell: type(1) expiry(8) string value |
//! | `d` slot(2) hash(4) key length(2) key field | a field's cell (none yet) |
//! | `e` expiry(8) slot(2) hash(4) key | nothing |
//!
//! Numbers are big-endian. The hash orders the keys of a slot, so that a scan's cursor is a number (slot and hash) and
//! needs no memory on the server.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::{SLOTS, Slot, WallTime};

use crate::KeyType;

/// The longest key. Rows of the state store's tree are at most 64 KiB, and an expiry row holds the whole key.
pub const KEY_BYTES_MAX: usize = 32 << 10;
/// The longest string value: an entry travels and is applied whole.
pub const STRING_BYTES_MAX: usize = 16 << 20;

const DATA: u8 = b'd';
const EXPIRY: u8 = b'e';
const KEY_AT: usize = 1 + 2 + 4 + 2;
const EXPIRY_KEY_AT: usize = 1 + 8 + 2 + 4;
const HEADER_BYTES: usize = 1 + 8;

/// Where a key stands in the order of a scan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ScanPosition {
    pub(super) slot: Slot,
    pub(super) hash: u32,
}

/// A key's header cell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) kind: KeyType,
    pub(super) expiry: Option<WallTime>,
    pub(super) value: Bytes,
}

impl ScanPosition {
    pub(super) fn of_key(key: &[u8]) -> Self {
        Self { slot: Slot::of_key(key), hash: hash(key) }
    }

    pub(super) fn of_row(row: &[u8]) -> Self {
        assert!(row.len() >= KEY_AT && row[0] == DATA);
        let slot = Slot::new(u16::from_be_bytes([row[1], row[2]]))
            .expect("rows are written with valid slots");
        Self { slot, hash: u32::from_be_bytes([row[3], row[4], row[5], row[6]]) }
    }

    /// The position after every key of this one's slot and hash; `None` after the last of all.
    pub(super) fn next(self) -> Option<Self> {
        match self.hash.checked_add(1) {
            Some(hash) => Some(Self { slot: self.slot, hash }),
            None => Slot::new(self.slot.number() + 1).map(|slot| Self { slot, hash: 0 }),
        }
    }

    /// The first data row at or after this position.
    pub(super) fn row(self) -> Bytes {
        let mut row = BytesMut::with_capacity(7);
        row.put_u8(DATA);
        row.put_u16(self.slot.number());
        row.put_u32(self.hash);
        row.freeze()
    }
}

impl Header {
    pub(super) fn is_live(&self, now: WallTime) -> bool {
        self.expiry.is_none_or(|at| at > now)
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut cell = BytesMut::with_capacity(HEADER_BYTES + self.value.len());
        cell.put_u8(match self.kind {
            KeyType::String => 1,
        });
        cell.put_u64(self.expiry.map_or(0, |at| at.0));
        cell.put_slice(&self.value);
        cell.freeze()
    }

    /// `None` for bytes that no version so far wrote.
    pub(super) fn decode(cell: &Bytes) -> Option<Self> {
        if cell.len() < HEADER_BYTES {
            return None;
        }
        let kind = match cell[0] {
            1 => KeyType::String,
            _ => return None,
        };
        let at = u64::from_be_bytes(cell[1..HEADER_BYTES].try_into().expect("eight bytes"));
        let expiry = (at != 0).then_some(WallTime(at));
        Some(Self { kind, expiry, value: cell.slice(HEADER_BYTES..) })
    }
}

/// The header row of a key.
pub(super) fn header_row(key: &[u8]) -> Bytes {
    assert!(key.len() <= KEY_BYTES_MAX, "checked before");
    let position = ScanPosition::of_key(key);
    let mut row = BytesMut::with_capacity(KEY_AT + key.len());
    row.put_u8(DATA);
    row.put_u16(position.slot.number());
    row.put_u32(position.hash);
    row.put_u16(u16::try_from(key.len()).expect("below 64 KiB"));
    row.put_slice(key);
    row.freeze()
}

pub(super) fn is_data_row(row: &[u8]) -> bool {
    row.first() == Some(&DATA)
}

/// The key of a data row, and whether the row is its header.
pub(super) fn key_of_row(row: &Bytes) -> (Bytes, bool) {
    assert!(row.len() >= KEY_AT && row[0] == DATA);
    let length = usize::from(u16::from_be_bytes([row[KEY_AT - 2], row[KEY_AT - 1]]));
    assert!(row.len() >= KEY_AT + length);
    (row.slice(KEY_AT..KEY_AT + length), row.len() == KEY_AT + length)
}

pub(super) fn expiry_row(at: WallTime, key: &[u8]) -> Bytes {
    let position = ScanPosition::of_key(key);
    let mut row = BytesMut::with_capacity(EXPIRY_KEY_AT + key.len());
    row.put_u8(EXPIRY);
    row.put_u64(at.0);
    row.put_u16(position.slot.number());
    row.put_u32(position.hash);
    row.put_slice(key);
    row.freeze()
}

pub(super) fn key_of_expiry_row(row: &Bytes) -> Bytes {
    assert!(row.len() >= EXPIRY_KEY_AT && row[0] == EXPIRY);
    row.slice(EXPIRY_KEY_AT..)
}

/// The expiry rows whose time has come at `now`: from the first to the second, which is excluded.
pub(super) fn expiry_range(now: WallTime) -> (Bytes, Bytes) {
    let mut end = BytesMut::with_capacity(9);
    end.put_u8(EXPIRY);
    end.put_u64(now.0.saturating_add(1));
    (Bytes::from_static(&[EXPIRY]), end.freeze())
}

/// Every data row from `position` on: the end is excluded.
pub(super) fn data_range_from(position: ScanPosition) -> (Bytes, Bytes) {
    (position.row(), Bytes::from_static(&[DATA + 1]))
}

pub(super) fn slot_range(slot: Slot) -> (Bytes, Bytes) {
    let first = ScanPosition { slot, hash: 0 };
    let end = if slot.number() + 1 == SLOTS {
        Bytes::from_static(&[DATA + 1])
    } else {
        let next = Slot::new(slot.number() + 1).expect("not the last slot");
        ScanPosition { slot: next, hash: 0 }.row()
    };
    (first.row(), end)
}

/// FNV-1a, folded: any spread-out hash does, but it is part of the format and never changes.
fn hash(key: &[u8]) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let folded = (hash >> 32) ^ (hash & 0xffff_ffff);
    u32::try_from(folded).expect("32 bits")
}
