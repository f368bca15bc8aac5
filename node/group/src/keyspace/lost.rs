//! What a log entry would have done, read from its rows: for people who look at writes that a failover took back, and for doing
//! them again.

use bytes::Bytes;
use quorate_model::WallTime;

use super::Effects;
use super::layout::{
    Body, Fields, Header, field_of_row, fields_of_row, is_data_row, key_of_row, number_cell,
    removal_row, value_of_cell,
};
use crate::entry::{Command, CommandError};
use crate::{CollectionKind, Comparison, Expiry, Operation, SetCondition, Version, Write};

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
    /// Elements put into a hash or a set, a set's without a value, and elements taken out of it.
    Elements {
        kind: CollectionKind,
        put: Vec<(Bytes, Bytes)>,
        removed: Vec<Bytes>,
        expiry: Option<WallTime>,
    },
    /// A hash or set that had another name before.
    Renamed {
        from: Bytes,
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
            LostOutcome::Elements { kind, put, removed, expiry } => {
                let mut writes = Vec::new();
                if !removed.is_empty() {
                    let fields = removed.clone();
                    writes.push(Write::RemoveFields { key: key.clone(), kind: *kind, fields });
                }
                if !put.is_empty() {
                    let key = key.clone();
                    writes.push(match kind {
                        CollectionKind::Hash => Write::SetFields { key, pairs: put.clone() },
                        CollectionKind::Set => {
                            let members = put.iter().map(|(member, _)| member.clone()).collect();
                            Write::AddMembers { key, members }
                        }
                    });
                }
                if let Some(at) = expiry {
                    let (expiry, comparison) = (Expiry::At(*at), Comparison::Always);
                    writes.push(Write::Expire { key, expiry, comparison });
                }
                let operations = writes.into_iter().map(Operation::Write).collect();
                Write::Transaction { watched: Vec::new(), operations }
            }
            LostOutcome::Renamed { from } => {
                Write::Rename { from: from.clone(), to: key, only_if_none: false }
            }
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
        // What others wrote they still have.
        Command::Changes(changes) if !changes.told()?.own => Vec::new(),
        Command::Changes(changes) => of_rows(&changes.effects),
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
        let (key, slot) = key_of_row(&change.row);
        let outcome = match &change.value {
            None => LostOutcome::Deleted,
            Some(cell) => {
                let Header { body, expiry, version, hidden: _ } = Header::decode(cell, slot)?;
                let (kind, fields) = match body {
                    Body::String(value) => {
                        let outcome = LostOutcome::String { value, expiry };
                        return Some(LostWrite { key, outcome });
                    }
                    // No command makes several values of a plain write; VSET is not done again.
                    Body::Siblings(_) => return None,
                    Body::Hash(hash) => (CollectionKind::Hash, hash.fields),
                    Body::Set(set) => (CollectionKind::Set, set.fields),
                };
                match elements(effects, fields) {
                    // Nothing but the header: its expiry was changed, or it came from another key, elements and all.
                    (put, removed) if put.is_empty() && removed.is_empty() => {
                        match renamed_from(effects, version) {
                            Some(from) => LostOutcome::Renamed { from },
                            None => LostOutcome::Elements { kind, put, removed, expiry },
                        }
                    }
                    (put, removed) => LostOutcome::Elements { kind, put, removed, expiry },
                }
            }
        };
        Some(LostWrite { key, outcome })
    });
    let mut writes: Vec<LostWrite> = writes.collect();
    // What RENAME took away is done by doing the RENAME again, and only by that: the elements are nowhere else.
    let renamed: Vec<Bytes> = writes
        .iter()
        .filter_map(|write| match &write.outcome {
            LostOutcome::Renamed { from } => Some(from.clone()),
            LostOutcome::String { .. }
            | LostOutcome::Elements { .. }
            | LostOutcome::Deleted
            | LostOutcome::Statement(_) => None,
        })
        .collect();
    writes.retain(|write| write.outcome != LostOutcome::Deleted || !renamed.contains(&write.key));
    writes
}

/// The key that the same command took away: RENAME stamps both with one version, and nothing else does.
fn renamed_from(effects: &Effects, version: Version) -> Option<Bytes> {
    let stamp = number_cell(version.0);
    let stamped = |key: &Bytes| {
        let row = removal_row(key);
        let mut stamps = effects.changes.iter().filter(|change| change.row == row);
        stamps.any(|change| change.value.as_ref() == Some(&stamp))
    };
    let gone = effects.changes.iter().filter(|change| change.value.is_none());
    let mut gone =
        gone.filter(|change| is_data_row(&change.row)).map(|change| key_of_row(&change.row).0);
    gone.find(stamped)
}

/// What an entry puts into one collection and takes out of it: its header is written with every change of its elements.
fn elements(effects: &Effects, fields: Fields) -> (Vec<(Bytes, Bytes)>, Vec<Bytes>) {
    let (mut put, mut removed) = (Vec::new(), Vec::new());
    for change in &effects.changes {
        if fields_of_row(&change.row) == Some(fields) {
            let (_, field) = field_of_row(&change.row);
            match &change.value {
                Some(cell) => put.push((field, value_of_cell(cell))),
                None => removed.push(field),
            }
        }
    }
    (put, removed)
}
