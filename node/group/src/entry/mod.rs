//! What a shard's log entries say: the command of an entry, in one of the log formats, or a word of the leader to the log
//! itself.
//!
//! The first byte names the kind and the version of what follows, so that one log may hold all of them, in any order. What a
//! number stands for never changes; what is encoded otherwise gets another number. `docs/log-formats.md` describes them.

mod changes;
#[cfg(test)]
mod equivalence_test;
mod marks;
mod statement;
mod wal;

use bytes::Bytes;
use quorate_storage::state;

pub use changes::{Changes, Told};
pub use marks::{Mark, Part, Switch, Verdict};
pub use statement::{Pin, Statement, Undeterminable};
pub use wal::Wal;

#[cfg(test)]
pub(crate) use statement::unpinned;

use crate::keyspace::{self, Effects};

/// Row images: the `Logical` format, whose own first byte this is.
const LOGICAL: u8 = 1;
const STATEMENT: u8 = 2;
const WAL: u8 = 3;
const SWITCH: u8 = 4;
const MARK: u8 = 5;
const CHANGES: u8 = 6;

/// An entry's command, decoded.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    Logical(Effects),
    Statement(Statement),
    Wal(Wal),
    Switch(Switch),
    Mark(Mark),
    Changes(Changes),
}

/// Why a command cannot be carried out here.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    #[error("its command is of format {0}, which this node does not know")]
    Unknown(u8),
    #[error("its rows are malformed: {0}")]
    Logical(#[from] keyspace::DecodeError),
    #[error("its command of format {0} is malformed")]
    Malformed(u8),
    #[error("its command is empty")]
    Empty,
    /// No mistake of anybody: it was written by a node with another engine.
    #[error("it holds rows of storage engine format {written}, this node's engine has {known}")]
    Engine { written: u32, known: u32 },
}

impl Command {
    /// `engine` is the format of this node's storage engine.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn decode(command: Bytes, engine: u32) -> Result<Self, CommandError> {
        match command.first().copied() {
            Some(LOGICAL) => Ok(Self::Logical(Effects::decode(command)?)),
            Some(STATEMENT) => body(STATEMENT, &command).map(Self::Statement),
            Some(WAL) => Wal::decode(command, engine).map(Self::Wal),
            Some(SWITCH) => body(SWITCH, &command).map(Self::Switch),
            Some(MARK) => body(MARK, &command).map(Self::Mark),
            Some(CHANGES) => Changes::decode(command).map(Self::Changes),
            Some(other) => Err(CommandError::Unknown(other)),
            None => Err(CommandError::Empty),
        }
    }

    /// As [`Self::decode`], with the engine of this program.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn decode_here(command: Bytes) -> Result<Self, CommandError> {
        Self::decode(command, state::FORMAT_VERSION)
    }
}

/// Whether a command is somebody's write, and not the leader's word to the log.
#[must_use]
pub fn is_write(command: &[u8]) -> bool {
    command.first().is_some_and(|kind| ![SWITCH, MARK].contains(kind))
}

/// Whether a command is of several leaders, and says what the others are told.
#[must_use]
pub fn is_of_changes(command: &[u8]) -> bool {
    command.first() == Some(&CHANGES)
}

/// A kind's byte and postcard: for what is not on the fast path.
fn encode<T: serde::Serialize>(kind: u8, body: &T) -> Bytes {
    let bytes = postcard::to_extend(body, vec![kind]).expect("these types serialize to memory");
    Bytes::from(bytes)
}

fn body<T: serde::de::DeserializeOwned>(kind: u8, command: &[u8]) -> Result<T, CommandError> {
    match postcard::take_from_bytes(&command[1..]) {
        Ok((body, [])) => Ok(body),
        Ok(_) | Err(_) => Err(CommandError::Malformed(kind)),
    }
}

#[cfg(test)]
mod tests {
    use quorate_model::{ActorId, Hlc, LogFormat, LogIndex, VersionVector, WallTime};
    use quorate_replication::causal::CellKey;
    use quorate_replication::multi_leader::{Change, Over, Write as CellWrite};

    use super::*;
    use crate::Write;
    use crate::keyspace::RowChange;

    fn effects() -> Effects {
        let bytes = Bytes::from_static;
        Effects {
            time: WallTime(9),
            clear: false,
            keys: -1,
            changes: vec![
                RowChange { row: bytes(b"row"), value: Some(bytes(b"value")) },
                RowChange { row: bytes(b"gone"), value: None },
            ],
            writes: Vec::new(),
        }
    }

    fn commands() -> Vec<(Bytes, Command)> {
        let wal = Wal::encode(&effects(), b"12345678", 7);
        let statement = Statement { time: WallTime(9), seed: 3, write: Write::Flush };
        let switch = Switch { format: LogFormat::Wal, engine: 7 };
        let part = Part { from: Bytes::from_static(b"d"), rows_max: 2, bytes_max: 3 };
        let verdict = Verdict { index: LogIndex(4), hash: 5 };
        let key = CellKey::new(Bytes::from_static(b"0123456")).unwrap();
        let change = Change {
            origin: ActorId(1),
            first: 1,
            after: VersionVector::default(),
            at: Hlc(9),
            writes: vec![(key, CellWrite::Remove { over: Over::default() })],
        };
        let told = Told { own: true, changes: vec![change], filled: None };
        let encoded = Changes::encoded(&told, &effects());
        let Ok(Command::Changes(changes)) = Command::decode(encoded, 7) else { panic!("changes") };
        assert_eq!((changes.is_own(), changes.told()), (true, Ok(told)));
        let mark = Mark { verdict: Some(verdict), part: Some(part) };
        vec![
            (effects().encode(), Command::Logical(effects())),
            (statement.encode(), Command::Statement(statement)),
            (wal.clone(), Command::Wal(Wal::decode(wal, 7).unwrap())),
            (switch.encode(), Command::Switch(switch)),
            (mark.encode(), Command::Mark(mark)),
            (changes.encode(), Command::Changes(changes)),
        ]
    }

    #[test]
    fn every_kind_comes_back_and_says_what_it_is() {
        let mut kinds = Vec::new();
        for (encoded, command) in commands() {
            kinds.push(encoded[0]);
            assert_eq!(Command::decode(encoded, 7).unwrap(), command);
        }
        // These numbers are in logs on disks.
        assert_eq!(kinds, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn what_is_cut_or_too_long_or_unknown_is_refused() {
        for (encoded, _) in commands() {
            for cut in 0..encoded.len() {
                assert!(Command::decode(encoded.slice(..cut), 7).is_err(), "{encoded:?} at {cut}");
            }
            let longer = [encoded.as_ref(), &[0]].concat();
            assert!(Command::decode(longer.into(), 7).is_err());
        }
        let unknown = Command::decode(Bytes::from_static(&[77, 0]), 7);
        assert_eq!(unknown, Err(CommandError::Unknown(77)));
    }

    #[test]
    fn another_engines_rows_are_refused_whatever_they_look_like() {
        let wal = Wal::encode(&effects(), b"12345678", 8);
        assert_eq!(Command::decode(wal, 7), Err(CommandError::Engine { written: 8, known: 7 }));
    }
}
