//! Commands of log entries, in every format: what is read survives being written again, and can be read as what it changed.

use bytes::Bytes;
use quorate_group::entry::{Command, Mark, Part, Statement, Switch, Verdict, Wal, is_write};
use quorate_group::keyspace::{Effects, RowChange, lost_writes};
use quorate_group::{Operation, Value, Write};
use quorate_model::{LogFormat, LogIndex, WallTime};
use quorate_storage::state::FORMAT_VERSION;

const PREFIX: &[u8; 8] = b"prefix00";

pub(super) fn check(input: &[u8]) {
    let bytes = Bytes::copy_from_slice(input);
    let decoded = Command::decode_here(bytes.clone());
    // Whoever reads a rollback file meets the same commands.
    let lost = lost_writes(bytes.clone());
    let Ok(command) = decoded else {
        assert!(lost.is_err());
        return;
    };
    let again = match &command {
        Command::Logical(effects) => effects.encode(),
        Command::Statement(statement) => statement.encode(),
        Command::Wal(wal) => {
            let effects = wal.effects();
            let encoded = Wal::encode(&effects, PREFIX, FORMAT_VERSION);
            let Ok(Command::Wal(again)) = Command::decode_here(encoded) else {
                panic!("written by this program");
            };
            assert_eq!(again.effects(), effects);
            assert_eq!(again.changes_under(b"another!"), wal.changes_under(b"another!"));
            return;
        }
        Command::Switch(switch) => switch.encode(),
        Command::Mark(mark) => mark.encode(),
        Command::Changes(changes) => changes.encode(),
    };
    assert_eq!(Command::decode_here(again.clone()).as_ref(), Ok(&command));
    assert_eq!(is_write(&again), is_write(&bytes));
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let bytes = Bytes::from_static;
    let effects = Effects {
        time: WallTime(9),
        clear: false,
        keys: -1,
        changes: vec![
            RowChange { row: bytes(b"row"), value: Some(bytes(b"value")) },
            RowChange { row: bytes(b"gone"), value: None },
        ],
        writes: Vec::new(),
    };
    let once = Write::Once {
        token: bytes(b"token"),
        fingerprint: 5,
        write: Box::new(Write::Transaction {
            watched: Vec::new(),
            operations: vec![Operation::Write(Write::PopMembers { key: bytes(b"s"), count: None })],
        }),
        answer: Some(Value::List(vec![Value::Nil])),
    };
    let part = Part { from: bytes(b"d"), rows_max: 2, bytes_max: 3 };
    let verdict = Verdict { index: LogIndex(4), hash: 5 };
    [
        effects.encode(),
        Statement { time: WallTime(9), seed: 3, write: once }.encode(),
        Statement { time: WallTime(9), seed: 3, write: Write::Flush }.encode(),
        Wal::encode(&effects, PREFIX, FORMAT_VERSION),
        Switch { format: LogFormat::Wal, engine: 7 }.encode(),
        Mark { verdict: Some(verdict), part: Some(part) }.encode(),
    ]
    .map(|encoded| encoded.to_vec())
    .to_vec()
}
