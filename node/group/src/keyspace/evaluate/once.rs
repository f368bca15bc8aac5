//! ONCE: a write with a token, done at most once however often it is asked for. Keeps INV-67.
//!
//! The token, a fingerprint of the command and the answer are rows, written by the entry that does the write. So they are as durable
//! as the write itself, every leader knows them, and a snapshot carries them: what is asked again is answered as the first
//! time, after failovers and restarts too. A failover under `Async` that takes the write back takes its token back with it.
//!
//! A shard keeps [`TOKENS_MAX`] tokens and [`BYTES_MAX`] bytes of them; the oldest go, in the entry that is one too many. They are
//! numbered without a gap, so that the oldest is found by its number and nothing is searched. FLUSHALL takes them all.
//!
//! What changed nothing because it was refused (an error, an EXEC whose watched keys were touched) is not kept: asked again, it
//! is tried again.

use bytes::Bytes;
use quorate_model::planted::{self, Bug};
use quorate_storage::state::{Rows, StateError};

use super::{Context, Evaluated, evaluate};
use crate::keyspace::layers::Changes;
use crate::keyspace::layout::ScanPosition;
use crate::keyspace::tokens::{BOUNDS_ROW, Bounds, Done, Token, order_row};
use crate::keyspace::view::damaged;
use crate::keyspace::{Effects, RowChange, View};
use crate::{Value, ValueError, Write};

/// How many tokens a shard keeps.
pub const TOKENS_MAX: u64 = 262_144;
/// How many bytes they and their answers take at most, about.
const BYTES_MAX: u64 = 32 << 20;
/// How long a token is at most.
pub const TOKEN_BYTES_MAX: usize = 128;
/// How long an answer is that is kept.
pub const KEPT_ANSWER_BYTES_MAX: usize = 64 << 10;

/// What is asked to be done once.
pub(super) struct Once<'a> {
    pub(super) token: &'a Bytes,
    pub(super) fingerprint: u64,
    pub(super) write: &'a Write,
    /// What is kept, where the write itself is no longer answered as it was.
    pub(super) answer: Option<&'a Value>,
}

pub(super) fn once<R: Rows>(
    Once { token, fingerprint, write, answer }: Once<'_>,
    context: Context,
    view: &View<'_, R>,
) -> Result<Evaluated, StateError> {
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Ok(refused(ValueError::TokenLength(TOKEN_BYTES_MAX as u64)));
    }
    let Some(slot) = write.keys().first().map(|key| ScanPosition::of_key(key).slot) else {
        return Ok(refused(ValueError::Nested));
    };
    let token = Token::new(slot, token);
    if let Some(cell) = view.row(&token.row())? {
        let done = Done::decode(&cell).ok_or_else(|| damaged("what is kept of a token"))?;
        return Ok(if done.fingerprint == fingerprint {
            Evaluated { value: done.answer, effects: Effects::default() }
        } else {
            refused(ValueError::TokenUsed)
        });
    }
    let Evaluated { value, effects } = evaluate(write, context, view)?;
    if !is_kept(write, &value) || planted::is(Bug::ForgetToken) {
        return Ok(Evaluated { value, effects });
    }
    let done = Done { fingerprint, answer: answer.unwrap_or(&value).clone() };
    let cell = done.encode();
    if cell.len() > KEPT_ANSWER_BYTES_MAX {
        return Ok(refused(ValueError::AnswerNotKept(KEPT_ANSWER_BYTES_MAX as u64)));
    }
    let mut changes = Changes::default();
    changes.add(effects);
    let kept = keep(&view.beneath(&changes), &token, cell, context)?;
    changes.add(kept);
    Ok(Evaluated { value, effects: changes.into_effects(context.now) })
}

fn is_kept(write: &Write, value: &Value) -> bool {
    match value {
        Value::Error(_) => false,
        Value::Nil => !matches!(write, Write::Transaction { .. }),
        Value::Ok | Value::Integer(_) | Value::Bulk(_) | Value::Status(_) | Value::List(_) => true,
    }
}

/// Keeps one more, and lets go of the oldest that are too many.
fn keep<R: Rows>(
    view: &View<'_, R>,
    token: &Token,
    cell: Bytes,
    context: Context,
) -> Result<Effects, StateError> {
    let wrong = || damaged("the bounds of the tokens");
    let mut bounds = match view.row(BOUNDS_ROW)? {
        None => Bounds::default(),
        Some(cell) => Bounds::decode(&cell).ok_or_else(wrong)?,
    };
    let mut changes = Vec::new();
    bounds.newest += 1;
    bounds.bytes += token.taken(&cell);
    while bounds.count() > TOKENS_MAX || bounds.bytes > BYTES_MAX {
        // One token is far below the bound.
        if bounds.oldest >= bounds.newest {
            return Err(wrong());
        }
        let order = order_row(bounds.oldest);
        if let Some(oldest) = view.row(&order)?.map(Token::of_order) {
            let row = oldest.row();
            let cell = view.row(&row)?.unwrap_or_default();
            bounds.bytes = bounds.bytes.saturating_sub(oldest.taken(&cell));
            changes.push(RowChange { row, value: None });
        }
        changes.push(RowChange { row: order, value: None });
        bounds.oldest += 1;
    }
    changes.push(RowChange { row: token.row(), value: Some(cell) });
    changes.push(RowChange { row: order_row(bounds.newest), value: Some(token.order_cell()) });
    changes.push(RowChange { row: Bytes::from_static(BOUNDS_ROW), value: Some(bounds.encode()) });
    Ok(Effects { time: context.now, changes, ..Effects::default() })
}

fn refused(error: ValueError) -> Evaluated {
    Evaluated { value: Value::Error(error), effects: Effects::default() }
}
