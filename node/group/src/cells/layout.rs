//! How keys become cell keys: slot(2) hash(4) key length(2) key kind(1), then for a field or a member hash(4) field. Numbers are
//! big-endian.
//!
//! All cells of a key are one range, and so are those of one kind, in which the fields' hash is a scan's cursor.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::{SLOTS, Slot};
use quorate_replication::leaderless::{Asked, CellKey, Place};
use xxhash_rust::xxh3::xxh3_64;

use crate::keyspace::{FIELD_BYTES_MAX, KEY_BYTES_MAX};
use crate::{CollectionKind, KeyType, ValueError};

/// Of a key and a field together: rows of the state store's tree are at most 64 KiB.
const KEY_AND_FIELD_BYTES_MAX: usize = 60 << 10;
const KEY_AT: usize = 2 + 4 + 2;
const HASH_BYTES: usize = 4;
const HASH_BITS: u32 = 32;

/// What a cell key says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Named {
    pub(crate) key: Bytes,
    pub(crate) kind: KeyType,
    /// Nothing of a string.
    pub(crate) field: Bytes,
}

impl Named {
    /// `None` for what no layout of this version wrote.
    pub(crate) fn of(cell: &CellKey) -> Option<Self> {
        let bytes = cell.bytes();
        if bytes[..2] >= SLOTS.to_be_bytes()[..] {
            return None;
        }
        let length = bytes.get(KEY_AT - 2..KEY_AT)?;
        let kind_at = KEY_AT + usize::from(u16::from_be_bytes([length[0], length[1]]));
        let kind = kind_of(*bytes.get(kind_at)?)?;
        let field_at = match kind {
            KeyType::String => kind_at + 1,
            KeyType::Hash | KeyType::Set => kind_at + 1 + HASH_BYTES,
        };
        let known = field_at <= bytes.len();
        known.then(|| Self {
            key: bytes.slice(KEY_AT..kind_at),
            kind,
            field: bytes.slice(field_at..),
        })
    }
}

/// The cell of a string or a counter.
///
/// # Errors
/// [`ValueError::KeyTooLong`].
pub(crate) fn string_cell(key: &Bytes) -> Result<CellKey, ValueError> {
    Ok(cell(begin_of(key, Some(KeyType::String))?))
}

/// The cell of a hash's field or a set's member.
///
/// # Errors
/// [`ValueError::KeyTooLong`], [`ValueError::FieldTooLong`].
pub(crate) fn field_cell(
    key: &Bytes,
    kind: CollectionKind,
    field: &Bytes,
) -> Result<CellKey, ValueError> {
    let mut bytes = begin_of(key, Some(kind.into()))?;
    let field_bytes_max = FIELD_BYTES_MAX.min(KEY_AND_FIELD_BYTES_MAX - key.len());
    if field.len() > field_bytes_max {
        return Err(ValueError::FieldTooLong(field_bytes_max as u64));
    }
    bytes.put_u32(hash(field));
    bytes.put_slice(field);
    Ok(cell(bytes))
}

/// All cells of a key.
///
/// # Errors
/// [`ValueError::KeyTooLong`].
pub(crate) fn cells_of(key: &Bytes) -> Result<Bounds, ValueError> {
    Ok(Bounds::of(&begin_of(key, None)?))
}

/// All cells of a collection.
///
/// # Errors
/// [`ValueError::KeyTooLong`].
pub(crate) fn fields_of(key: &Bytes, kind: CollectionKind) -> Result<Bounds, ValueError> {
    Ok(Bounds::of(&begin_of(key, Some(kind.into()))?))
}

/// Those of them from this hash on.
///
/// # Errors
/// [`ValueError::KeyTooLong`].
pub(crate) fn fields_from(
    key: &Bytes,
    kind: CollectionKind,
    from: u32,
) -> Result<Bounds, ValueError> {
    let mut begin = begin_of(key, Some(kind.into()))?;
    let Bounds { to, .. } = Bounds::of(&begin);
    begin.put_u32(from);
    Ok(Bounds { from: begin.freeze(), to })
}

/// Where a scan of a collection stands at this field.
pub(crate) fn field_hash(field: &[u8]) -> u32 {
    hash(field)
}

/// All cells of a slot.
pub(crate) fn cells_of_slot(slot: Slot) -> Bounds {
    let place = |number: u64| Place(number << HASH_BITS).first_key();
    let number = u64::from(slot.number());
    Bounds { from: place(number), to: place(number + 1) }
}

/// All cells from a place on.
pub(crate) fn cells_from(place: Place) -> Bounds {
    Bounds { from: place.first_key(), to: Place(u64::from(SLOTS) << HASH_BITS).first_key() }
}

/// From the first on, before the second.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bounds {
    pub(crate) from: Bytes,
    pub(crate) to: Bytes,
}

impl Bounds {
    /// All that begins so.
    fn of(begin: &[u8]) -> Self {
        let last = begin.iter().rposition(|byte| *byte < u8::MAX);
        let last = last.expect("a slot's number does not begin with 255");
        let mut to = begin[..=last].to_vec();
        to[last] += 1;
        Self { from: Bytes::copy_from_slice(begin), to: Bytes::from(to) }
    }
}

impl From<Bounds> for Asked {
    fn from(Bounds { from, to }: Bounds) -> Self {
        Self::Range { from, to }
    }
}

impl From<CollectionKind> for KeyType {
    fn from(kind: CollectionKind) -> Self {
        match kind {
            CollectionKind::Hash => Self::Hash,
            CollectionKind::Set => Self::Set,
        }
    }
}

/// How all cells of a key begin, or those of one kind.
fn begin_of(key: &Bytes, kind: Option<KeyType>) -> Result<BytesMut, ValueError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(ValueError::KeyTooLong(KEY_BYTES_MAX as u64));
    }
    let mut begin = BytesMut::with_capacity(KEY_AT + key.len() + 1);
    begin.put_u16(Slot::of_key(key).number());
    begin.put_u32(hash(key));
    begin.put_u16(u16::try_from(key.len()).expect("at most 32 KiB"));
    begin.put_slice(key);
    if let Some(kind) = kind {
        begin.put_u8(byte_of(kind));
    }
    Ok(begin)
}

fn cell(bytes: BytesMut) -> CellKey {
    CellKey::new(bytes.freeze()).expect("it says where it stands")
}

const fn byte_of(kind: KeyType) -> u8 {
    match kind {
        KeyType::String => b's',
        KeyType::Hash => b'h',
        KeyType::Set => b'm',
    }
}

const fn kind_of(byte: u8) -> Option<KeyType> {
    match byte {
        b's' => Some(KeyType::String),
        b'h' => Some(KeyType::Hash),
        b'm' => Some(KeyType::Set),
        _ => None,
    }
}

/// Orders the keys of a slot and the fields of a key.
fn hash(key: &[u8]) -> u32 {
    let hash = xxh3_64(key) >> 32;
    u32::try_from(hash).expect("32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_key_says_what_it_is_of_and_lies_in_its_ranges() {
        for (key, field) in [("k", "f"), ("", ""), ("\u{ff}", "\u{ff}"), ("a\0b", "c\0d")] {
            let [key, field] = [key, field].map(|text| Bytes::copy_from_slice(text.as_bytes()));
            let string = string_cell(&key).unwrap();
            let named = Named { key: key.clone(), kind: KeyType::String, field: Bytes::new() };
            assert_eq!(Named::of(&string), Some(named));
            for kind in [CollectionKind::Hash, CollectionKind::Set] {
                let cell = field_cell(&key, kind, &field).unwrap();
                let named = Named { key: key.clone(), kind: kind.into(), field: field.clone() };
                assert_eq!(Named::of(&cell), Some(named));
                assert!(Asked::from(fields_of(&key, kind).unwrap()).covers(&cell));
                assert!(!Asked::from(fields_of(&key, kind).unwrap()).covers(&string));
                assert!(
                    Asked::from(fields_from(&key, kind, field_hash(&field)).unwrap()).covers(&cell)
                );
                for cell in [&cell, &string] {
                    assert!(Asked::from(cells_of(&key).unwrap()).covers(cell));
                    assert!(Asked::from(cells_of_slot(Slot::of_key(&key))).covers(cell));
                    assert!(Asked::from(cells_from(cell.place())).covers(cell));
                }
            }
        }
    }

    #[test]
    fn a_row_of_a_long_key_and_a_long_field_is_refused() {
        let [key, field] =
            [KEY_BYTES_MAX, FIELD_BYTES_MAX].map(|length| Bytes::from(vec![b'x'; length]));
        let refused = field_cell(&key, CollectionKind::Hash, &field);
        assert_eq!(refused, Err(ValueError::FieldTooLong(28 << 10)));
        assert_eq!(
            Named::of(&CellKey::new(Bytes::from_static(b"\0\0hash\0\x09key")).unwrap()),
            None
        );
    }
}
