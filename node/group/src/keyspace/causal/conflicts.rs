//! Conflicts that were resolved: what of concurrent values is no longer read, so that somebody can see it afterwards.
//!
//! Each datacenter keeps its own, the last of them, in rows: they survive a change of leader.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::planted::{self, Bug};
use quorate_model::{Dot, Resolution, WallTime};
use quorate_replication::multi_leader::Cell;
use quorate_storage::state::{Rows, StateError};
use serde::{Deserialize, Serialize};

use super::Leaders;
use super::reading::{Reads, reads_as, resolved, values};
use crate::Value;
use crate::cells::Named;
use crate::keyspace::View;
use crate::keyspace::editor::{Editor, Stop};
use crate::keyspace::view::damaged;

/// So many a shard keeps.
pub const CONFLICTS_MAX: u64 = 1_000;
/// Of a longer value its first bytes.
const VALUE_BYTES_MAX: usize = 256;
const ROW: &[u8] = b"x";

/// Concurrent values of one key, or of one field.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Conflict {
    /// When it was found here.
    pub at: WallTime,
    pub key: Bytes,
    /// Nothing of a string.
    pub field: Bytes,
    /// What was declared, for which keys.
    pub policy: String,
    pub pattern: String,
    pub values: Vec<Conflicting>,
    /// What is read now; nothing where it is an error.
    pub reads: Option<Bytes>,
    /// Why the script of the policy did not answer, so that the last writer's is read.
    pub failed: Option<String>,
}

/// One of the values.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Conflicting {
    /// The datacenter that wrote it.
    pub origin: String,
    /// By its clock.
    pub at: WallTime,
    /// Its first bytes, and how long it is.
    pub value: Bytes,
    pub bytes: u64,
    /// It is part of what is read.
    pub stands: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
struct Kept {
    /// Numbers from `oldest`, before `next`.
    oldest: u64,
    next: u64,
}

impl Conflict {
    /// Where what was written as `dot` is one of several values.
    pub(super) fn of(
        named: &Named,
        cell: &Cell,
        dot: Dot,
        now: WallTime,
        leaders: &Leaders,
    ) -> Option<Self> {
        let mut cell = cell.clone();
        cell.expire(now);
        let all = values(&cell);
        if all.len() < 2 || !all.iter().any(|(sibling, _, _)| sibling.dot == dot) {
            return None;
        }
        let policy = leaders.policy(&named.key);
        let policy = if named.field.is_empty() { policy } else { policy.of_field() };
        let resolved = resolved(&all, policy);
        let (won, failed) = (resolved.won, resolved.failed.clone());
        let values = all.iter().map(|(sibling, value, _)| Conflicting {
            origin: leaders.place_of(sibling.dot.actor),
            at: sibling.at.wall(),
            value: value.slice(..value.len().min(VALUE_BYTES_MAX)),
            bytes: value.len() as u64,
            stands: won.is_none_or(|won| won == sibling.dot),
        });
        let name = match policy.resolution {
            Resolution::LastWriterWins => "LastWriterWins",
            Resolution::ReplicaPriority(_) => "ReplicaPriority",
            Resolution::Merge(_) => "Merge",
            Resolution::Siblings => "Siblings",
            Resolution::Custom { .. } => "Custom",
        };
        Some(Self {
            at: now,
            key: named.key.clone(),
            field: named.field.clone(),
            policy: name.to_owned(),
            pattern: leaders.pattern(&named.key).to_owned(),
            values: values.collect(),
            reads: match reads_as(&cell, || resolved) {
                Reads::Value { value, .. } => Some(value.slice(..value.len().min(VALUE_BYTES_MAX))),
                Reads::Nothing | Reads::Member | Reads::Siblings { .. } => None,
            },
            failed,
        })
    }

    pub(super) fn cell(&self) -> (Bytes, Bytes) {
        (self.key.clone(), self.field.clone())
    }

    fn shown(self) -> Value {
        let integer = |number: u64| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        let text = |text: String| Value::Bulk(Bytes::from(text));
        let pairs = |pairs: Vec<(&'static str, Value)>| {
            let pair =
                |(name, value)| [Value::Bulk(Bytes::from_static(str::as_bytes(name))), value];
            Value::List(pairs.into_iter().flat_map(pair).collect())
        };
        let value = |one: Conflicting| {
            pairs(vec![
                ("origin", text(one.origin)),
                ("at", integer(one.at.0)),
                ("value", Value::Bulk(one.value)),
                ("bytes", integer(one.bytes)),
                ("stands", Value::Integer(i64::from(one.stands))),
            ])
        };
        pairs(vec![
            ("at", integer(self.at.0)),
            ("key", Value::Bulk(self.key)),
            ("field", Value::Bulk(self.field)),
            ("policy", text(self.policy)),
            ("pattern", text(self.pattern)),
            ("reads", self.reads.map_or(Value::Nil, Value::Bulk)),
            ("failed", self.failed.map_or(Value::Nil, text)),
            ("values", Value::List(self.values.into_iter().map(value).collect())),
        ])
    }

    /// Values that are no longer read.
    #[must_use]
    pub fn discarded(&self) -> usize {
        self.values.iter().filter(|value| !value.stands).count()
    }
}

/// Keeps them, and lets go of the oldest that are too many.
pub(super) fn note<R: Rows>(
    editor: &mut Editor<'_, R>,
    conflicts: &[Conflict],
) -> Result<(), StateError> {
    if conflicts.is_empty() || planted::is(Bug::DiscardSilently) {
        return Ok(());
    }
    let mut kept = kept(editor.row(ROW)?)?;
    for conflict in conflicts {
        editor.put_row(row(kept.next), Some(encoded(conflict)));
        kept.next += 1;
    }
    while kept.next - kept.oldest > CONFLICTS_MAX {
        editor.put_row(row(kept.oldest), None);
        kept.oldest += 1;
    }
    editor.put_row(Bytes::from_static(ROW), Some(encoded(&kept)));
    Ok(())
}

/// The last ones.
pub(in super::super) fn read<R: Rows>(view: &View<'_, R>, count: u32) -> Result<Value, Stop> {
    Ok(Value::List(last(view, u64::from(count))?.into_iter().map(Conflict::shown).collect()))
}

/// The last ones, the newest at the end.
///
/// # Errors
/// [`StateError::Read`].
pub fn last<R: Rows>(view: &View<'_, R>, count: u64) -> Result<Vec<Conflict>, StateError> {
    let kept = kept(view.row(ROW)?)?;
    let from = kept.next.saturating_sub(count).max(kept.oldest);
    let mut list = Vec::new();
    for number in from..kept.next {
        let Some(bytes) = view.row(&row(number))? else { continue };
        list.push(postcard::from_bytes(&bytes).map_err(|_| damaged("a conflict"))?);
    }
    Ok(list)
}

fn kept(row: Option<Bytes>) -> Result<Kept, StateError> {
    match row {
        Some(bytes) => {
            let kept: Option<Kept> = postcard::from_bytes(&bytes).ok();
            kept.filter(|kept| kept.oldest <= kept.next).ok_or_else(|| damaged("the conflicts"))
        }
        None => Ok(Kept::default()),
    }
}

fn encoded<T: Serialize>(value: &T) -> Bytes {
    Bytes::from(postcard::to_stdvec(value).expect("it always serializes to memory"))
}

fn row(number: u64) -> Bytes {
    let mut row = BytesMut::with_capacity(9);
    row.put_slice(ROW);
    row.put_u64(number);
    row.freeze()
}
