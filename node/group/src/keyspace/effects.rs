//! What a command does to the rows: the payload of a log entry in the `Logical` format.
//!
//! `version(1) flags(1) time(8) keys(8) count(4)`, then per change `row length(4) row value length + 1(4) value`, where a
//! value length field of 0 is a deletion. Big-endian. Decoding shares the entry's bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_model::WallTime;
use quorate_replication::causal::CellKey;
use quorate_replication::multi_leader::Write;

const VERSION: u8 = 1;
const CLEAR: u8 = 1;
const HEAD_BYTES: usize = 1 + 1 + 8 + 8 + 4;

/// Row images, in order, and what goes with them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Effects {
    /// The leader's time of evaluation; never goes back within a log.
    pub time: WallTime,
    /// Every row of the group goes before `changes` are applied (FLUSHALL).
    pub clear: bool,
    /// By how much the number of keys changes; counted from zero after a clear.
    pub keys: i64,
    pub changes: Vec<RowChange>,
    /// Of several leaders: what the others are told of it. No part of the format.
    pub writes: Vec<(CellKey, Write)>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowChange {
    pub row: Bytes,
    /// `None` deletes.
    pub value: Option<Bytes>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("the command has format version {0}, this node knows {VERSION}")]
    Version(u8),
    #[error("the command ends early or has bytes left over")]
    Length,
}

impl Effects {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.clear && self.changes.is_empty()
    }

    #[must_use]
    pub fn encode(&self) -> Bytes {
        let bytes = self.changes.iter().map(RowChange::encoded_bytes).sum::<usize>();
        let mut out = BytesMut::with_capacity(HEAD_BYTES + bytes);
        out.put_u8(VERSION);
        out.put_u8(if self.clear { CLEAR } else { 0 });
        out.put_u64(self.time.0);
        out.put_i64(self.keys);
        out.put_u32(length(self.changes.len()));
        for change in &self.changes {
            out.put_u32(length(change.row.len()));
            out.put_slice(&change.row);
            match &change.value {
                None => out.put_u32(0),
                Some(value) => {
                    out.put_u32(length(value.len()) + 1);
                    out.put_slice(value);
                }
            }
        }
        out.freeze()
    }

    /// # Errors
    /// [`DecodeError`] for what no leader of this version wrote.
    pub fn decode(mut command: Bytes) -> Result<Self, DecodeError> {
        if command.len() < HEAD_BYTES {
            return Err(DecodeError::Length);
        }
        let version = command.get_u8();
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        let clear = command.get_u8() & CLEAR != 0;
        let time = WallTime(command.get_u64());
        let keys = command.get_i64();
        let count = command.get_u32() as usize;
        // Each change takes eight bytes at least: a count that cannot be true allocates nothing.
        if count > command.len() / 8 {
            return Err(DecodeError::Length);
        }
        let mut changes = Vec::with_capacity(count);
        for _ in 0..count {
            let row = take(&mut command, None)?.ok_or(DecodeError::Length)?;
            let value = take(&mut command, Some(1))?;
            changes.push(RowChange { row, value });
        }
        if command.is_empty() {
            Ok(Self { time, clear, keys, changes, writes: Vec::new() })
        } else {
            Err(DecodeError::Length)
        }
    }
}

impl RowChange {
    fn encoded_bytes(&self) -> usize {
        8 + self.row.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// A length-prefixed part; with `absent`, the length is stored raised by it and 0 means that there is none.
fn take(from: &mut Bytes, absent: Option<usize>) -> Result<Option<Bytes>, DecodeError> {
    if from.len() < 4 {
        return Err(DecodeError::Length);
    }
    let stored = from.get_u32() as usize;
    let raised = absent.unwrap_or(0);
    if stored < raised {
        return Ok(None);
    }
    let length = stored - raised;
    if from.len() < length {
        return Err(DecodeError::Length);
    }
    Ok(Some(from.split_to(length)))
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("a command is far below 4 GiB")
}
