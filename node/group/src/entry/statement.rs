//! The `Statement` format: the command as the client sent it, and everything that its outcome depends on beside the rows.
//!
//! Every replica evaluates it when it applies the entry, the leader as well, so all of them do the same thing to the same rows.
//! What the leader answered its client is what it computed when it proposed, on all that stood in its log by then: the same rows.
//!
//! | depends on | pinned by |
//! | --- | --- |
//! | the time (expiry, what is expired) | the leader's, in the entry; never before an earlier entry's |
//! | chance (SPOP, versions of keys) | the leader's seed, in the entry |
//! | what stands there already | evaluation in the order of the log, each on the rows that those before it left |
//! | binary floating point | the leader's result, as text, in place of the command |
//! | the order of rows | rows are sorted bytes; nothing iterates over an unordered map |
//! | side effects: keys whose time has come | removed by entries of their own or by what meets them, at the pinned time |
//!
//! What could not be made deterministic would be refused by [`Statement::pin`]; every command there is can be.

use bytes::Bytes;
use quorate_model::WallTime;
use quorate_storage::state::{Rows, StateError};
use serde::{Deserialize, Serialize};

use super::{STATEMENT, encode};
use crate::keyspace::{self, Context, Evaluated, View};
use crate::{Expiry, Operation, SetCondition, Value, Write};

/// Changes of [`Write`] that change how one is encoded need another number than [`STATEMENT`]: fields and variants
/// are only ever appended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Statement {
    pub time: WallTime,
    pub seed: u64,
    pub write: Write,
}

/// The outcome depends on something that cannot be written down: it goes into no log as a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the command cannot be replicated as a statement")]
pub struct Undeterminable;

/// What the leader pins, for the tests that take a pin away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pin {
    Time,
    Seed,
    /// Each statement sees what those before it did.
    Order,
    /// Keys whose time has come are removed by the entry's time.
    Expiry,
}

impl Statement {
    /// A write as the leader evaluated it with `seed`.
    ///
    /// # Errors
    /// [`Undeterminable`].
    pub fn pin(write: &Write, evaluated: &Evaluated, seed: u64) -> Result<Self, Undeterminable> {
        let write = pinned(write, &evaluated.value)?;
        Ok(Self { time: evaluated.effects.time, seed, write })
    }

    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(STATEMENT, self)
    }

    /// Evaluates it on the rows that everything before it left.
    ///
    /// # Errors
    /// [`StateError::Read`].
    pub fn evaluate<R: Rows>(&self, view: &View<'_, R>) -> Result<Evaluated, StateError> {
        let context = Context { now: self.time, seed: self.seed };
        keyspace::evaluate(&self.write, context, view)
    }
}

/// What the leader answered, where that is a text.
fn text(answer: &Value) -> Result<Bytes, Undeterminable> {
    match answer {
        Value::Bulk(text) => Ok(text.clone()),
        Value::Ok
        | Value::Nil
        | Value::Integer(_)
        | Value::Status(_)
        | Value::List(_)
        | Value::Error(_) => Err(Undeterminable),
    }
}

/// The same write without what replicas might compute differently.
fn pinned(write: &Write, value: &Value) -> Result<Write, Undeterminable> {
    Ok(match write {
        Write::IncrementFloat { key, .. } => Write::Set {
            key: key.clone(),
            value: text(value)?,
            condition: SetCondition::Always,
            expiry: Expiry::Keep,
            get: false,
        },
        Write::IncrementFieldFloat { key, field, .. } => {
            Write::SetFields { key: key.clone(), pairs: vec![(field.clone(), text(value)?)] }
        }
        Write::Transaction { watched, operations } => {
            let Value::List(answers) = value else { return Err(Undeterminable) };
            let operations = pinned_operations(operations, answers)?;
            Write::Transaction { watched: watched.clone(), operations }
        }
        Write::Once { token, fingerprint, write, answer } => Write::Once {
            token: token.clone(),
            fingerprint: *fingerprint,
            write: Box::new(pinned(write, value)?),
            answer: Some(answer.as_ref().unwrap_or(value).clone()),
        },
        // By the pinned time and seed, the order of the log and the order of the rows.
        Write::Set { .. }
        | Write::SetMany { .. }
        | Write::GetDelete { .. }
        | Write::GetExpire { .. }
        | Write::Append { .. }
        | Write::SetRange { .. }
        | Write::Increment { .. }
        | Write::Delete { .. }
        | Write::Expire { .. }
        | Write::Persist { .. }
        | Write::Flush
        | Write::RemoveExpired { .. }
        | Write::RemoveIfExpired { .. }
        | Write::SetFields { .. }
        | Write::SetFieldIfNone { .. }
        | Write::RemoveFields { .. }
        | Write::IncrementField { .. }
        | Write::AddMembers { .. }
        | Write::PopMembers { .. }
        | Write::MoveMember { .. }
        | Write::StoreSets { .. }
        | Write::Rename { .. }
        | Write::Copy { .. }
        | Write::SetSibling { .. }
        | Write::DeleteSiblings { .. }
        | Write::SetHome { .. }
        | Write::DeleteIf { .. } => write.clone(),
    })
}

/// Those of a transaction, each by its own answer.
fn pinned_operations(
    operations: &[Operation],
    answers: &[Value],
) -> Result<Vec<Operation>, Undeterminable> {
    if answers.len() != operations.len() {
        return Err(Undeterminable);
    }
    let operations = operations.iter().zip(answers).map(|(operation, answer)| {
        Ok(match (operation, answer) {
            // One that failed changed nothing and fails again.
            (Operation::Write(write), Value::Error(_)) => Operation::Write(write.clone()),
            (Operation::Write(write), answer) => Operation::Write(pinned(write, answer)?),
            // Kept, since every operation of a transaction draws its own seed.
            (Operation::Read(read), _) => Operation::Read(read.clone()),
        })
    });
    operations.collect()
}

/// Takes a pin away in this thread: what goes wrong then shows what the pin is for.
#[cfg(test)]
pub(crate) mod unpinned {
    use std::cell::Cell;

    use super::Pin;

    thread_local! {
        static UNPINNED: Cell<Option<Pin>> = const { Cell::new(None) };
    }

    pub(crate) fn is(pin: Pin) -> bool {
        UNPINNED.get() == Some(pin)
    }

    /// Until the guard is dropped.
    pub(crate) struct Guard(());

    pub(crate) fn without(pin: Option<Pin>) -> Guard {
        UNPINNED.set(pin);
        Guard(())
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            UNPINNED.set(None);
        }
    }
}
