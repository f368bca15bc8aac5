//! What a log entry would have done, read from its rows: for people who look at writes that a failover took back, and for doing
//! them again.

use bytes::Bytes;
use quorate_model::WallTime;

use super::layout::{Header, is_data_row, key_of_row};
use super::{DecodeError, Effects};
use crate::{Expiry, KeyType, SetCondition, Write};

/// One key as a lost entry would have left it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostWrite {
    pub key: Bytes,
    pub outcome: LostOutcome,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LostOutcome {
    String { value: Bytes, expiry: Option<WallTime> },
    Deleted,
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
        }
    }
}

/// The writes that a log entry's command stands for.
///
/// # Errors
/// [`DecodeError`] for what no leader of this version wrote.
pub fn lost_writes(command: Bytes) -> Result<Vec<LostWrite>, DecodeError> {
    let effects = Effects::decode(command)?;
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
    Ok(writes.collect())
}
