//! EXEC: many operations on keys of one slot as one entry.
//!
//! Each operation is evaluated on what those before it did, reads as well; all that they did becomes one [`Effects`], so that every
//! replica applies the whole or nothing. An operation that fails leaves its error in the answer and the others stand, as in Redis.
//!
//! The watched keys are compared here, in the leader's evaluation, on everything that was proposed before: a key's version is a
//! part of its rows, so it says the same under a new leader. There is no moment between the comparison and the entry.

use bytes::Bytes;
use quorate_storage::state::{Rows, StateError};

use super::{Context, Evaluated, evaluate, without_expired};
use crate::keyspace::fields::ANSWER_BYTES_MAX;
use crate::keyspace::layers::Changes;
use crate::keyspace::random::Random;
use crate::keyspace::{Effects, Expired, ReadOutcome, View, read};
use crate::{Operation, Read, Value, ValueError, Version, Write};

pub(super) fn transaction<R: Rows>(
    watched: &[(Bytes, Version)],
    operations: &[Operation],
    context: Context,
    view: &View<'_, R>,
) -> Result<Evaluated, StateError> {
    if !watched.is_empty() && !untouched(watched, context, view)? {
        return Ok(Evaluated { value: Value::Nil, effects: Effects::default() });
    }
    let mut changes = Changes::default();
    let mut answers = Vec::with_capacity(operations.len());
    let mut bytes = 0u64;
    // Every operation has its own seed, so that two changes of one key have two versions.
    let mut seeds = Random::new(context.seed);
    for operation in operations {
        let context = Context { seed: seeds.next(), ..context };
        let value = match operation {
            Operation::Read(read) => read_within(read, context, view, &mut changes)?,
            Operation::Write(Write::Transaction { .. }) => Value::Error(ValueError::Nested),
            Operation::Write(write) => {
                if let Some(expired) = without_expired(write, context, &view.beneath(&changes))? {
                    changes.add(expired);
                }
                let Evaluated { value, effects } =
                    evaluate(write, context, &view.beneath(&changes))?;
                changes.add(effects);
                value
            }
        };
        bytes = bytes.saturating_add(value.bytes());
        if bytes > ANSWER_BYTES_MAX {
            let value = Value::Error(ValueError::AnswerTooLong(ANSWER_BYTES_MAX));
            return Ok(Evaluated { value, effects: Effects::default() });
        }
        answers.push(value);
    }
    Ok(Evaluated { value: Value::List(answers), effects: changes.into_effects(context.now) })
}

/// Whether no watched key was changed. One whose time came since is changed, whether it is removed yet or not.
fn untouched<R: Rows>(
    watched: &[(Bytes, Version)],
    context: Context,
    view: &View<'_, R>,
) -> Result<bool, StateError> {
    for (key, version) in watched {
        let current = match view.header(key)? {
            Some(header) if header.is_live(context.now) => header.version,
            Some(_) => return Ok(false),
            None => view.removal_version(key)?,
        };
        if current != *version {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A read that finds keys whose time has come removes them, as it would outside.
fn read_within<R: Rows>(
    wanted: &Read,
    context: Context,
    view: &View<'_, R>,
    changes: &mut Changes,
) -> Result<Value, StateError> {
    loop {
        match read(wanted, context, &view.beneath(changes), Expired::Report)? {
            ReadOutcome::Value(value) => return Ok(value),
            ReadOutcome::Expired(keys) => {
                let removal = Write::RemoveIfExpired { keys };
                let removed = evaluate(&removal, context, &view.beneath(changes))?;
                assert!(!removed.effects.is_empty(), "keys whose time has come are removed");
                changes.add(removed.effects);
            }
        }
    }
}
