//! How keys become cell keys: slot(2) hash(4) kind(1) key length(2) key. Numbers are big-endian.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::Slot;
use quorate_replication::leaderless::CellKey;
use xxhash_rust::xxh3::xxh3_64;

use crate::ValueError;
use crate::keyspace::KEY_BYTES_MAX;

/// The cell of a string or a counter.
const STRING: u8 = b's';

/// # Errors
/// [`ValueError::KeyTooLong`].
pub(super) fn string_cell(key: &Bytes) -> Result<CellKey, ValueError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(ValueError::KeyTooLong(KEY_BYTES_MAX as u64));
    }
    let mut cell = BytesMut::with_capacity(2 + 4 + 1 + 2 + key.len());
    cell.put_u16(Slot::of_key(key).number());
    cell.put_u32(hash(key));
    cell.put_u8(STRING);
    cell.put_u16(u16::try_from(key.len()).expect("at most 32 KiB"));
    cell.put_slice(key);
    Ok(CellKey::new(cell.freeze()).expect("it says where it stands"))
}

/// Orders the keys of a slot.
fn hash(key: &[u8]) -> u32 {
    let hash = xxh3_64(key) >> 32;
    u32::try_from(hash).expect("32 bits")
}
