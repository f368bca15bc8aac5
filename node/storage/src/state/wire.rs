//! A batch of the state store as bytes: what a log entry of the `Wal` format carries.
//!
//! `count(4)`, then per change `kind(1) row length(4) row`, a put with `value length(4) value` behind it and a range deletion with
//! `end length(4) end`. Big-endian. Decoding shares the bytes. This is the engines' own format: [`FORMAT_VERSION`] names it
//! together with everything that the rows of a batch mean to an engine, and changes with either.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Batch, Change, ROW_BYTES_MAX};

/// The version of what this engine writes and takes. Another version's batches are refused, never guessed at.
pub const FORMAT_VERSION: u32 = 1;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_RANGE: u8 = 3;
/// A change's kind and one length: no change is shorter.
const CHANGE_BYTES_MIN: usize = 5;

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the batch is no batch of engine format {FORMAT_VERSION}")]
pub struct WireError;

/// How many bytes [`encode`] appends for these changes.
#[must_use]
pub fn encoded_bytes(changes: &[Change]) -> usize {
    let bytes = |change: &Change| match change {
        Change::Put { row: one, value: other } | Change::DeleteRange { from: one, to: other } => {
            1 + 4 + one.len() + 4 + other.len()
        }
        Change::Delete { row } => 1 + 4 + row.len(),
    };
    4 + changes.iter().map(bytes).sum::<usize>()
}

/// Appends a batch.
pub fn encode(changes: &[Change], out: &mut BytesMut) {
    out.reserve(encoded_bytes(changes));
    out.put_u32(length(changes.len()));
    for change in changes {
        let (kind, first, second) = match change {
            Change::Put { row, value } => (PUT, row, Some(value)),
            Change::Delete { row } => (DELETE, row, None),
            Change::DeleteRange { from, to } => (DELETE_RANGE, from, Some(to)),
        };
        out.put_u8(kind);
        for part in [Some(first), second].into_iter().flatten() {
            out.put_u32(length(part.len()));
            out.put_slice(part);
        }
    }
}

/// # Errors
/// [`WireError`] for bytes that are no batch, whole and with nothing behind it.
pub fn decode(mut from: Bytes) -> Result<Batch, WireError> {
    if from.len() < 4 {
        return Err(WireError);
    }
    let count = from.get_u32() as usize;
    if count > from.len() / CHANGE_BYTES_MIN {
        return Err(WireError);
    }
    let mut changes = Vec::with_capacity(count);
    for _ in 0..count {
        if from.is_empty() {
            return Err(WireError);
        }
        changes.push(match from.get_u8() {
            PUT => Change::Put { row: row(&mut from)?, value: part(&mut from)? },
            DELETE => Change::Delete { row: row(&mut from)? },
            DELETE_RANGE => Change::DeleteRange { from: part(&mut from)?, to: part(&mut from)? },
            _ => return Err(WireError),
        });
    }
    if from.is_empty() { Ok(Batch { changes }) } else { Err(WireError) }
}

fn row(from: &mut Bytes) -> Result<Bytes, WireError> {
    let row = part(from)?;
    if (1..=ROW_BYTES_MAX).contains(&row.len()) && row[0] != super::RESERVED {
        Ok(row)
    } else {
        Err(WireError)
    }
}

fn part(from: &mut Bytes) -> Result<Bytes, WireError> {
    if from.len() < 4 {
        return Err(WireError);
    }
    let length = from.get_u32() as usize;
    if from.len() < length { Err(WireError) } else { Ok(from.split_to(length)) }
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("a batch in the log is far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        let bytes = Bytes::from_static;
        Batch {
            changes: vec![
                Change::Put { row: bytes(b"row"), value: bytes(b"") },
                Change::Put { row: bytes(b"other"), value: Bytes::from(vec![7; 5_000]) },
                Change::Delete { row: bytes(b"gone") },
                Change::DeleteRange { from: bytes(b"a"), to: bytes(b"b") },
            ],
        }
    }

    #[test]
    fn a_batch_comes_back_and_shares_the_bytes() {
        let mut out = BytesMut::new();
        encode(&batch().changes, &mut out);
        assert_eq!(out.len(), encoded_bytes(&batch().changes));
        let whole = out.freeze();
        let decoded = decode(whole.clone()).unwrap();
        assert_eq!(decoded, batch());
        let Change::Put { value, .. } = &decoded.changes[1] else { panic!("a put") };
        assert!(whole.as_ptr_range().contains(&value.as_ptr()));
    }

    #[test]
    fn what_is_no_batch_is_refused_wherever_it_is_cut() {
        let mut out = BytesMut::new();
        encode(&batch().changes, &mut out);
        let whole = out.freeze();
        for cut in 0..whole.len() {
            assert_eq!(decode(whole.slice(..cut)), Err(WireError), "cut at {cut}");
        }
        assert_eq!(decode([whole.as_ref(), &[0]].concat().into()), Err(WireError));
        assert_eq!(decode(Bytes::from_static(&[0xff; 12])), Err(WireError));
        // An empty row, and one of the engine's own.
        assert_eq!(decode(Bytes::from_static(&[0, 0, 0, 1, 2, 0, 0, 0, 0])), Err(WireError));
        let reserved = Bytes::from_static(&[0, 0, 0, 1, 2, 0, 0, 0, 1, 0xff]);
        assert_eq!(decode(reserved), Err(WireError));
    }
}
