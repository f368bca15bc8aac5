//! What a cell reads as, under the store's policy.

use bytes::Bytes;
use quorate_model::{ConflictPolicy, WallTime};
use quorate_replication::causal::{Cell, Content, Sibling};

use crate::ValueError;
use crate::keyspace::integer_of;

/// What stands between joined values.
const JOINT: &[u8] = b"/";

/// A cell as a plain command sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Shown {
    pub(super) text: Bytes,
    pub(super) expiry: Option<WallTime>,
}

/// Every value that stands and has not expired, in the order of their dots.
pub(super) fn values(cell: &Cell, now: WallTime) -> Vec<Bytes> {
    live(cell, now).map(|(value, _)| value.clone()).collect()
}

/// Whether there is anything to read: several values are something, and so is a member.
pub(super) fn lives(cell: &Cell, conflicts: ConflictPolicy, now: WallTime) -> bool {
    let is_member = cell.siblings().iter().any(|sibling| sibling.content == Content::Member);
    is_member || shown(cell, conflicts, now).map_or(true, |shown| shown.is_some())
}

/// # Errors
/// [`ValueError::Siblings`] where the store keeps concurrent values and there are several.
pub(super) fn shown(
    cell: &Cell,
    conflicts: ConflictPolicy,
    now: WallTime,
) -> Result<Option<Shown>, ValueError> {
    let mut texts: Vec<(&Bytes, Option<WallTime>)> = match conflicts {
        ConflictPolicy::LastWriterWins => last_writer(cell, now).into_iter().collect(),
        ConflictPolicy::Merge | ConflictPolicy::Siblings => live(cell, now).collect(),
    };
    // The same value twice is one.
    texts.sort();
    texts.dedup_by(|next, one| next.0 == one.0);
    let base = match texts.as_slice() {
        [] => None,
        [(text, expiry)] => Some(Shown { text: (*text).clone(), expiry: *expiry }),
        several if conflicts == ConflictPolicy::Merge => Some(joined(several)),
        several => return Err(ValueError::Siblings(several.len() as u64)),
    };
    Ok(with_amounts(cell, base))
}

/// What was added counts, where the value is a number. Where it is none the value is what there is.
fn with_amounts(cell: &Cell, base: Option<Shown>) -> Option<Shown> {
    let mut amounts = cell.siblings().iter().filter_map(|sibling| match sibling.content {
        Content::Amount(amount) => Some(amount),
        Content::Value { .. } | Content::Removed | Content::Member => None,
    });
    let Some(first) = amounts.next() else { return base };
    let sum: i128 = first + amounts.sum::<i128>();
    match base {
        None => Some(Shown { text: Bytes::from(sum.to_string()), expiry: None }),
        Some(base) => Some(match integer_of(&base.text) {
            Some(number) => {
                Shown { text: Bytes::from((sum + i128::from(number)).to_string()), ..base }
            }
            None => base,
        }),
    }
}

/// In the order of the values, so that every replica joins alike. It lasts as long as the longest of them.
fn joined(values: &[(&Bytes, Option<WallTime>)]) -> Shown {
    let texts: Vec<&[u8]> = values.iter().map(|(text, _)| text.as_ref()).collect();
    let expiries: Option<Vec<WallTime>> = values.iter().map(|(_, expiry)| *expiry).collect();
    let expiry = expiries.and_then(|expiries| expiries.into_iter().max());
    Shown { text: Bytes::from(texts.join(JOINT)), expiry }
}

fn live(cell: &Cell, now: WallTime) -> impl Iterator<Item = (&Bytes, Option<WallTime>)> {
    cell.siblings().iter().filter_map(move |sibling| value(sibling, now))
}

/// Whoever wrote last decides, also when that is a removal, or has expired.
fn last_writer(cell: &Cell, now: WallTime) -> Option<(&Bytes, Option<WallTime>)> {
    let competes = |sibling: &&Sibling| sibling.content.competes();
    let last = cell.siblings().iter().filter(competes).max_by_key(|one| (one.at, one.dot))?;
    value(last, now)
}

fn value(sibling: &Sibling, now: WallTime) -> Option<(&Bytes, Option<WallTime>)> {
    match &sibling.content {
        Content::Value { value, expiry } if expiry.is_none_or(|at| at > now) => {
            Some((value, *expiry))
        }
        Content::Value { .. } | Content::Amount(_) | Content::Removed | Content::Member => None,
    }
}
