//! The `Wal` format: the rows as the state store takes them, with the prefix that the leader's store has them under.
//!
//! `kind(1) flags(1) engine(4) time(8) keys(8) prefix(8)`, then the engine's batch (`quorate_storage::state::wire`). A replica
//! whose rows of the group stand under the same prefix takes the batch as it is; another's differ by the generation, which is
//! each node's own, and are put under its prefix instead. The engine's version is compared before anything else is looked at.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_model::WallTime;
use quorate_storage::state::{Change, wire};

use super::{CommandError, WAL};
use crate::keyspace::{Effects, RowChange};

const CLEAR: u8 = 1;
pub(crate) const PREFIX_BYTES: usize = 8;
const HEAD_BYTES: usize = 1 + 1 + 4 + 8 + 8 + PREFIX_BYTES;

/// An engine's batch, and what goes with it as in [`Effects`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wal {
    pub time: WallTime,
    pub clear: bool,
    pub keys: i64,
    prefix: Bytes,
    changes: Vec<Change>,
}

impl Wal {
    /// The leader's `effects` on rows under `prefix`, for engines of the format `engine`.
    #[must_use]
    pub fn encode(effects: &Effects, prefix: &[u8; PREFIX_BYTES], engine: u32) -> Bytes {
        let under = |row: &Bytes| -> Bytes { [prefix.as_slice(), row].concat().into() };
        let changes: Vec<Change> = effects
            .changes
            .iter()
            .map(|change| match &change.value {
                Some(value) => Change::Put { row: under(&change.row), value: value.clone() },
                None => Change::Delete { row: under(&change.row) },
            })
            .collect();
        let mut out = BytesMut::with_capacity(HEAD_BYTES + wire::encoded_bytes(&changes));
        out.put_u8(WAL);
        out.put_u8(if effects.clear { CLEAR } else { 0 });
        out.put_u32(engine);
        out.put_u64(effects.time.0);
        out.put_i64(effects.keys);
        out.put_slice(prefix);
        wire::encode(&changes, &mut out);
        out.freeze()
    }

    pub(super) fn decode(mut command: Bytes, known: u32) -> Result<Self, CommandError> {
        if command.len() < HEAD_BYTES {
            return Err(CommandError::Malformed(WAL));
        }
        command.advance(1);
        let clear = command.get_u8() & CLEAR != 0;
        let written = command.get_u32();
        if written != known {
            return Err(CommandError::Engine { written, known });
        }
        let time = WallTime(command.get_u64());
        let keys = command.get_i64();
        let prefix = command.split_to(PREFIX_BYTES);
        let batch = wire::decode(command).map_err(|_| CommandError::Malformed(WAL))?;
        let of_the_group = |change: &Change| match change {
            Change::Put { row, .. } | Change::Delete { row } => {
                row.len() > PREFIX_BYTES && row.starts_with(&prefix)
            }
            // A leader clears by the flag: every replica has its own generation to clear.
            Change::DeleteRange { .. } => false,
        };
        if batch.changes.iter().all(of_the_group) {
            Ok(Self { time, clear, keys, prefix, changes: batch.changes })
        } else {
            Err(CommandError::Malformed(WAL))
        }
    }

    /// The changes for rows that stand under `prefix` here.
    #[must_use]
    pub fn changes_under(&self, prefix: &[u8; PREFIX_BYTES]) -> Vec<Change> {
        if self.prefix == prefix.as_slice() {
            return self.changes.clone();
        }
        let under = |row: &Bytes| -> Bytes { [prefix, &row[PREFIX_BYTES..]].concat().into() };
        self.changes
            .iter()
            .map(|change| match change {
                Change::Put { row, value } => Change::Put { row: under(row), value: value.clone() },
                Change::Delete { row } => Change::Delete { row: under(row) },
                Change::DeleteRange { .. } => unreachable!("refused when it was decoded"),
            })
            .collect()
    }

    /// The same as row images.
    #[must_use]
    pub fn effects(&self) -> Effects {
        let bare = |row: &Bytes| row.slice(PREFIX_BYTES..);
        let changes = self
            .changes
            .iter()
            .map(|change| match change {
                Change::Put { row, value } => {
                    RowChange { row: bare(row), value: Some(value.clone()) }
                }
                Change::Delete { row } => RowChange { row: bare(row), value: None },
                Change::DeleteRange { .. } => unreachable!("refused when it was decoded"),
            })
            .collect();
        Effects { time: self.time, clear: self.clear, keys: self.keys, changes, writes: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_under_each_nodes_own_prefix() {
        let row = Bytes::from_static(b"row");
        let change = RowChange { row, value: Some(Bytes::from_static(b"value")) };
        let effects = Effects { keys: 1, changes: vec![change], ..Effects::default() };
        let wal = Wal::decode(Wal::encode(&effects, b"leaders1", 1), 1).unwrap();
        assert_eq!(wal.effects(), effects);
        for prefix in [b"leaders1", b"another2"] {
            let [Change::Put { row, value }] = &wal.changes_under(prefix)[..] else {
                panic!("one put")
            };
            assert_eq!(row, &[prefix.as_slice(), b"row"].concat());
            assert_eq!(value, &Bytes::from_static(b"value"));
        }
    }
}
