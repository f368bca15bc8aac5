//! What a log entry would have done, read from its rows: for people who look at writes that a failover took back, and for doing
//! them again.

use bytes::Bytes;
use quorate_model::WallTime;

use super::Effects;
use super::layout::{Header, is_data_row, key_of_row};
use crate::entry::{Command, CommandError};
use crate::{Expiry, KeyType, Operation, SetCondition, Write};

/// One key as a lost entry would have left it.
#[derive(Clone, PartialEq, Debug)]
pub struct LostWrite {
    pub key: Bytes,
    pub outcome: LostOutcome,
}

#[derive(Clone, PartialEq, Debug)]
pub enum LostOutcome {
    String {
        value: Bytes,
        expiry: Option<WallTime>,
    },
    Deleted,
    /// A command as the client sent it: what it would have left depends on what stood there. Doing it again does it once more.
    Statement(Box<Write>),
}

impl LostWrite {
    /// The command that does it again, over whatever stands there now.
    #[must_use]
    pub fn again(&self) -> Write {
        let key = self.key.clone();
        match &self.outcome {
            LostOutcome::String { value, expiry } => Write::Set {
                key,
                value: value.clone(),
                condition: SetCondition::Always,
                expiry: expiry.map_or(Expiry::Never, Expiry::At),
                get: false,
            },
            LostOutcome::Deleted => Write::Delete { keys: vec![key] },
            LostOutcome::Statement(write) => write.as_ref().clone(),
        }
    }
}

/// The writes that a log entry's command stands for.
///
/// # Errors
/// [`CommandError`] for what no leader of this version wrote.
pub fn lost_writes(command: Bytes) -> Result<Vec<LostWrite>, CommandError> {
    Ok(match Command::decode_here(command)? {
        Command::Logical(effects) => of_rows(&effects),
        Command::Wal(wal) => of_rows(&wal.effects()),
        Command::Statement(statement) => of_statement(statement.write),
        // What a leader tells the log is nobody's write.
        Command::Switch(_) | Command::Mark(_) => Vec::new(),
    })
}

fn of_statement(write: Write) -> Vec<LostWrite> {
    let operation = Operation::Write(write);
    let key = operation.keys().first().map(|key| (*key).clone());
    match (operation, key) {
        (Operation::Write(write), Some(key)) => {
            vec![LostWrite { key, outcome: LostOutcome::Statement(Box::new(write)) }]
        }
        // Of no key: a whole shard's, which nobody does again, or the leader's own.
        (Operation::Write(_) | Operation::Read(_), _) => Vec::new(),
    }
}

fn of_rows(effects: &Effects) -> Vec<LostWrite> {
    let data = effects.changes.iter().filter(|change| is_data_row(&change.row));
    let writes = data.filter_map(|change| {
        let (key, is_header) = key_of_row(&change.row);
        let outcome = match &change.value {
            None => LostOutcome::Deleted,
            Some(cell) => {
                let header = Header::decode(cell)?;
                match header.kind {
                    KeyType::String => {
                        LostOutcome::String { value: header.value, expiry: header.expiry }
                    }
                }
            }
        };
        is_header.then_some(LostWrite { key, outcome })
    });
    writes.collect()
}
