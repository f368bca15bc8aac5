//! How keys become rows. A row here has no group prefix: the host puts it in front.
//!
//! | row | value |
//! | --- | --- |
//! | `d` slot(2) hash(4) key length(2) key | header cell: type and flags(1) expiry(8) version(8), then a string's value, a collection's instance(8) count(8), or how many concurrent values there are(8) |
//! | `f` slot(2) instance(8) hash(4) field | cell: 1, then a hash field's value; nothing for a set's member |
//! | `e` expiry(8) slot(2) hash(4) key | nothing: keys by the time that they expire |
//! | `e` 0(8) slot(2) instance(8) | nothing: an instance whose field rows nobody reads any more, to be swept |
//! | `i` | the newest instance(8) |
//! | `v` slot(2) bucket(1) | version(8): the newest removal of a key of this bucket |
//! | `v` | version(8): the newest FLUSHALL |
//! | `o`, `q` | what ONCE keeps: see `tokens` |
//! | `c`, `m`, `x` | of several leaders: see `causal` |
//!
//! Numbers are big-endian. The hash orders the keys of a slot and the fields of a collection, so that a scan's cursor is a
//! number and needs no memory on the server.
//!
//! **Instances.** Every hash or set that comes into being takes the next instance number, which is never used again in these
//! rows. What ends one (DEL, expiry, SET over it, RENAME onto it) takes its header away and nothing else matters: no header
//! leads to its field rows any more, and none ever will, so that an interrupted removal cannot bring a field back. Few field rows go
//! in the same entry; many are noted for the sweep, which removes them in bounded entries. RENAME moves the header alone.
//!
//! **Versions.** Every change of a key stamps its header with a number that no other change has (the evaluation's seed), and every
//! removal stamps its bucket, so that WATCH can tell whether a key was touched, come and gone included.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::{SLOTS, Slot, WallTime};
use xxhash_rust::xxh3::xxh3_64;

use crate::{CollectionKind, KeyType, ValueError, Version};

/// The longest key. Rows of the state store's tree are at most 64 KiB, and an expiry row holds the whole key.
pub const KEY_BYTES_MAX: usize = 32 << 10;
/// The longest string value: an entry travels and is applied whole.
pub const STRING_BYTES_MAX: usize = 16 << 20;
/// The longest field of a hash and member of a set.
pub const FIELD_BYTES_MAX: usize = 32 << 10;

const DATA: u8 = b'd';
const EXPIRY: u8 = b'e';
const FIELDS: u8 = b'f';
const VERSIONS: u8 = b'v';
const KEY_AT: usize = 1 + 2 + 4 + 2;
const EXPIRY_KEY_AT: usize = 1 + 8 + 2 + 4;
const FIELD_AT: usize = 1 + 2 + 8 + 4;
const GARBAGE_BYTES: usize = 1 + 8 + 2 + 8;
const HEADER_BYTES: usize = 1 + 8 + 8;
const HIDDEN_VALUES: u8 = 0x80;
const HIDDEN_TYPES: u8 = 0x40;
const CELL: u8 = 1;
/// Nothing is ever counted this far, from one on: what says so was not written.
pub(super) const COUNTED_MAX: u64 = 1 << 60;
/// How many keys of a slot share a removal's version. More make it rarer that a removal fails a WATCH of another key
/// that does not exist, and take more rows.
const REMOVAL_BUCKETS: u32 = 16;

/// Whether a row of a group's own may look like this. What reads rows relies on it.
pub(super) fn is_well_formed(row: &[u8]) -> bool {
    let slot_at = |at: usize| Slot::new(u16::from_be_bytes([row[at], row[at + 1]])).is_some();
    match row.first() {
        Some(&DATA) => {
            row.len() >= KEY_AT
                && slot_at(1)
                && usize::from(u16::from_be_bytes([row[KEY_AT - 2], row[KEY_AT - 1]]))
                    == row.len() - KEY_AT
        }
        Some(&FIELDS) => row.len() >= FIELD_AT && slot_at(1),
        Some(&EXPIRY) if row.len() >= 9 && row[1..9] == [0; 8] => {
            row.len() == GARBAGE_BYTES
                && slot_at(9)
                && number(&row[11..]).is_some_and(|number| (1..=COUNTED_MAX).contains(&number))
        }
        Some(&EXPIRY) => row.len() >= EXPIRY_KEY_AT && slot_at(9),
        Some(_) => true,
        None => false,
    }
}

/// The row that holds the newest instance.
pub(super) const INSTANCE_ROW: &[u8] = b"i";
/// The row that holds the version of the newest FLUSHALL.
pub(super) const FLUSH_ROW: &[u8] = &[VERSIONS];

/// Where a key stands in the order of a scan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ScanPosition {
    pub(super) slot: Slot,
    pub(super) hash: u32,
}

/// A key's header cell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) expiry: Option<WallTime>,
    /// Of the newest change.
    pub(super) version: Version,
    pub(super) hidden: Hidden,
    pub(super) body: Body,
}

/// Of several leaders: what the key's cells hold beside what the header shows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Hidden {
    /// The string's cell is not a value that stands alone.
    pub(super) values: bool,
    /// There may be cells of other types.
    pub(super) types: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Body {
    String(Bytes),
    Hash(Collection),
    Set(Collection),
    /// A string of so many concurrent values, of which none is chosen.
    Siblings(u64),
}

/// Which field rows are a key's, and how many there are: never none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Collection {
    pub(super) fields: Fields,
    pub(super) count: u64,
}

/// The field rows of one instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fields {
    pub(super) slot: Slot,
    pub(super) instance: u64,
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

    pub(super) const fn kind(&self) -> KeyType {
        match self.body {
            Body::String(_) | Body::Siblings(_) => KeyType::String,
            Body::Hash(_) => KeyType::Hash,
            Body::Set(_) => KeyType::Set,
        }
    }

    pub(super) const fn collection(&self) -> Option<Collection> {
        match self.body {
            Body::String(_) | Body::Siblings(_) => None,
            Body::Hash(collection) | Body::Set(collection) => Some(collection),
        }
    }

    /// # Errors
    /// When the key is of another type.
    pub(super) const fn collection_of(
        &self,
        kind: CollectionKind,
    ) -> Result<Collection, ValueError> {
        match (&self.body, kind) {
            (Body::Hash(collection), CollectionKind::Hash)
            | (Body::Set(collection), CollectionKind::Set) => Ok(*collection),
            (Body::String(_) | Body::Hash(_) | Body::Set(_) | Body::Siblings(_), _) => {
                Err(ValueError::WrongType)
            }
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut cell = BytesMut::with_capacity(HEADER_BYTES + self.body.bytes());
        let kind = match self.body {
            Body::String(_) => 1,
            Body::Hash(_) => 2,
            Body::Set(_) => 3,
            Body::Siblings(_) => 4,
        };
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let hidden = self.hidden;
        cell.put_u8(kind | flag(hidden.values, HIDDEN_VALUES) | flag(hidden.types, HIDDEN_TYPES));
        cell.put_u64(self.expiry.map_or(0, |at| at.0));
        cell.put_u64(self.version.0);
        match &self.body {
            Body::String(value) => cell.put_slice(value),
            Body::Hash(collection) | Body::Set(collection) => {
                assert!(collection.count > 0, "an empty collection is no key");
                cell.put_u64(collection.fields.instance);
                cell.put_u64(collection.count);
            }
            Body::Siblings(count) => cell.put_u64(*count),
        }
        cell.freeze()
    }

    /// The cell of a key in this slot. `None` for bytes that no version so far wrote.
    pub(super) fn decode(cell: &Bytes, slot: Slot) -> Option<Self> {
        if cell.len() < HEADER_BYTES {
            return None;
        }
        let at = number(&cell[1..9])?;
        let expiry = (at != 0).then_some(WallTime(at));
        let version = Version(number(&cell[9..HEADER_BYTES])?);
        let rest = cell.slice(HEADER_BYTES..);
        let body = match cell[0] & !(HIDDEN_VALUES | HIDDEN_TYPES) {
            1 => Body::String(rest),
            2 => Body::Hash(Collection::decode(&rest, slot)?),
            3 => Body::Set(Collection::decode(&rest, slot)?),
            4 => Body::Siblings(number(&rest)?),
            _ => return None,
        };
        let is = |flag: u8| cell[0] & flag != 0;
        let hidden = Hidden { values: is(HIDDEN_VALUES), types: is(HIDDEN_TYPES) };
        Some(Self { expiry, version, hidden, body })
    }
}

impl Body {
    const fn bytes(&self) -> usize {
        match self {
            Self::String(value) => value.len(),
            Self::Hash(_) | Self::Set(_) => 8 + 8,
            Self::Siblings(_) => 8,
        }
    }
}

impl Collection {
    fn decode(cell: &[u8], slot: Slot) -> Option<Self> {
        let (instance, count) = cell.split_at_checked(8)?;
        let counted = |cell| number(cell).filter(|number| (1..=COUNTED_MAX).contains(number));
        let fields = Fields { slot, instance: counted(instance)? };
        Some(Self { fields, count: counted(count)? })
    }
}

impl Fields {
    pub(super) fn row(self, field: &[u8]) -> Bytes {
        assert!(field.len() <= FIELD_BYTES_MAX, "checked before");
        let mut row = self.row_at(field_hash(field));
        row.put_slice(field);
        row.freeze()
    }

    /// Every row from this hash on: the end is excluded.
    pub(super) fn range_from(self, hash: u32) -> (Bytes, Bytes) {
        let mut end = BytesMut::with_capacity(FIELD_AT);
        match self.instance.checked_add(1) {
            Some(next) => Self { instance: next, ..self }.begin(&mut end),
            None => unreachable!("instances are counted from one"),
        }
        (self.row_at(hash).freeze(), end.freeze())
    }

    pub(super) fn range(self) -> (Bytes, Bytes) {
        self.range_from(0)
    }

    fn row_at(self, hash: u32) -> BytesMut {
        let mut row = BytesMut::with_capacity(FIELD_AT + 64);
        self.begin(&mut row);
        row.put_u32(hash);
        row
    }

    fn begin(self, row: &mut BytesMut) {
        row.put_u8(FIELDS);
        row.put_u16(self.slot.number());
        row.put_u64(self.instance);
    }
}

/// Whose row this is, when it is a field row.
pub(super) fn fields_of_row(row: &[u8]) -> Option<Fields> {
    if row.len() < FIELD_AT || row[0] != FIELDS {
        return None;
    }
    let slot = Slot::new(u16::from_be_bytes([row[1], row[2]]))?;
    Some(Fields { slot, instance: number(&row[3..11])? })
}

/// A field row's hash and field.
pub(super) fn field_of_row(row: &Bytes) -> (u32, Bytes) {
    assert!(row.len() >= FIELD_AT && row[0] == FIELDS);
    let hash = u32::from_be_bytes(row[FIELD_AT - 4..FIELD_AT].try_into().expect("four bytes"));
    (hash, row.slice(FIELD_AT..))
}

/// A field's cell; `value` is empty for a member of a set.
pub(super) fn cell_of(value: &[u8]) -> Bytes {
    let mut cell = BytesMut::with_capacity(1 + value.len());
    cell.put_u8(CELL);
    cell.put_slice(value);
    cell.freeze()
}

/// The value in a field's cell.
pub(super) fn value_of_cell(cell: &Bytes) -> Bytes {
    cell.slice(cell.len().min(1)..)
}

/// The row that has the rows of `fields` swept.
pub(super) fn garbage_row(fields: Fields) -> Bytes {
    let mut row = BytesMut::with_capacity(GARBAGE_BYTES);
    row.put_u8(EXPIRY);
    row.put_u64(0);
    row.put_u16(fields.slot.number());
    row.put_u64(fields.instance);
    row.freeze()
}

pub(super) fn fields_of_garbage_row(row: &[u8]) -> Fields {
    assert!(row.len() == GARBAGE_BYTES && row[0] == EXPIRY);
    let slot = Slot::new(u16::from_be_bytes([row[9], row[10]]))
        .expect("rows are written with valid slots");
    Fields { slot, instance: number(&row[11..]).expect("eight bytes") }
}

pub(super) fn garbage_range() -> (Bytes, Bytes) {
    (Bytes::from_static(&[EXPIRY]), expiry_range(WallTime(0)).0)
}

/// Where the version of the newest removal of this key or of one beside it stands.
pub(super) fn removal_row(key: &[u8]) -> Bytes {
    let position = ScanPosition::of_key(key);
    let mut row = BytesMut::with_capacity(4);
    row.put_u8(VERSIONS);
    row.put_u16(position.slot.number());
    row.put_u8(u8::try_from(position.hash % REMOVAL_BUCKETS).expect("few buckets"));
    row.freeze()
}

/// The number in a cell of eight bytes.
pub(super) fn number(cell: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(cell.try_into().ok()?))
}

pub(super) fn number_cell(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
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

/// The key of a data row, and its slot.
pub(super) fn key_of_row(row: &Bytes) -> (Bytes, Slot) {
    let slot = ScanPosition::of_row(row).slot;
    let length = usize::from(u16::from_be_bytes([row[KEY_AT - 2], row[KEY_AT - 1]]));
    assert_eq!(row.len(), KEY_AT + length);
    (row.slice(KEY_AT..), slot)
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

/// The expiry rows whose time has come at `now`: from the first to the second, which is excluded. No key expires at 0.
pub(super) fn expiry_range(now: WallTime) -> (Bytes, Bytes) {
    let bound = |time: u64| {
        let mut row = BytesMut::with_capacity(9);
        row.put_u8(EXPIRY);
        row.put_u64(time);
        row.freeze()
    };
    (bound(1), bound(now.0.saturating_add(1)))
}

/// What there is to do at any time, in the order of its time: sweeping, then expiry.
pub(super) fn due_range() -> (Bytes, Bytes) {
    (Bytes::from_static(&[EXPIRY]), Bytes::from_static(&[EXPIRY + 1]))
}

/// The time of one of these rows: zero for what is to be swept.
pub(super) fn time_of_due_row(row: &[u8]) -> WallTime {
    assert!(row.len() >= GARBAGE_BYTES.min(EXPIRY_KEY_AT) && row[0] == EXPIRY);
    WallTime(number(&row[1..9]).expect("eight bytes"))
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

/// The upper half of XXH3, which spreads short fields that are alike evenly, as random picks need. Part of the format too.
fn field_hash(field: &[u8]) -> u32 {
    u32::try_from(xxh3_64(field) >> 32).expect("32 bits")
}
