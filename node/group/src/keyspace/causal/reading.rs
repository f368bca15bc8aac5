//! What a cell reads as: a function of the cell and of what is declared, so the same everywhere.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_model::{Dot, Merge, Resolution, WallTime};
use quorate_replication::causal::{Content, Sibling};
use quorate_replication::multi_leader::Cell;

use super::custom::Policy;
use super::is_of;
use crate::keyspace::integer_of;

/// What stands between joined values,
const JOINT: &[u8] = b"/";
/// and between the elements of a union.
const COMMA: u8 = b',';

/// What is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Reads {
    Nothing,
    /// The expiry is that of whatever goes first.
    Value {
        value: Bytes,
        expiry: Option<WallTime>,
    },
    Member,
    /// So many, and none of them is chosen.
    Siblings {
        count: u64,
        expiry: Option<WallTime>,
    },
}

/// What several values come to.
pub(super) struct Resolved {
    /// Nothing is chosen where it is none.
    value: Option<(Bytes, Option<WallTime>)>,
    /// Whose it is, where it is one of them.
    pub(super) won: Option<Dot>,
    /// Why a script did not answer.
    pub(super) failed: Option<String>,
}

/// A value, who wrote it last, and when it expires.
pub(super) type Found<'a> = (&'a Sibling, Bytes, Option<WallTime>);

/// Of a cell of which nothing has expired.
pub(super) fn reads(cell: &Cell, policy: Policy<'_>) -> Reads {
    reads_as(cell, || resolved(&values(cell), policy))
}

/// Where this is what its values come to, if there are several.
pub(super) fn reads_as(cell: &Cell, resolved: impl FnOnce() -> Resolved) -> Reads {
    if cell.siblings().iter().any(|sibling| sibling.content == Content::Member) {
        return Reads::Member;
    }
    let values = values(cell);
    let base = match values.as_slice() {
        [] => None,
        [(_, value, expiry)] => Some((value.clone(), *expiry)),
        several => match resolved().value {
            Some(base) => Some(base),
            None => {
                let count = several.len() as u64;
                return Reads::Siblings { count, expiry: first_of(several) };
            }
        },
    };
    with_amounts(cell, base)
}

/// What is made of several values expires with the first of them: then it is made anew, of what is left.
pub(super) fn resolved(several: &[Found<'_>], policy: Policy<'_>) -> Resolved {
    let made =
        |value| Resolved { value: Some((value, first_of(several))), won: None, failed: None };
    match policy.resolution {
        Resolution::Siblings => Resolved { value: None, won: None, failed: None },
        Resolution::Merge(merge) => made(merged(several, *merge)),
        Resolution::LastWriterWins => chosen(several, |_| 0),
        Resolution::ReplicaPriority(places) => chosen(several, |sibling| {
            let first = places.iter().position(|place| is_of(sibling.dot.actor, place));
            first.unwrap_or(places.len())
        }),
        Resolution::Custom { script } => {
            let last = |failed| {
                let last = chosen(several, |_| 0);
                let value = last.value.map(|(value, _)| (value, first_of(several)));
                Resolved { value, failed, ..last }
            };
            match policy.run(script, several) {
                Ok(Some(value)) => {
                    let won = several.iter().find(|(_, one, _)| *one == value);
                    Resolved { won: won.map(|(sibling, _, _)| sibling.dot), ..made(value) }
                }
                Ok(None) => last(None),
                Err(why) => last(Some(why)),
            }
        }
    }
}

/// The one with the least rank, of those the last writer's.
fn chosen(several: &[Found<'_>], rank: impl Fn(&Sibling) -> usize) -> Resolved {
    let won = several
        .iter()
        .max_by_key(|(sibling, _, _)| (std::cmp::Reverse(rank(sibling)), sibling.at, sibling.dot));
    Resolved {
        value: won.map(|(_, value, expiry)| (value.clone(), *expiry)),
        won: won.map(|(sibling, _, _)| sibling.dot),
        failed: None,
    }
}

/// The values that stand, each once, with whoever wrote it last; in the order of their bytes.
pub(super) fn values(cell: &Cell) -> Vec<Found<'_>> {
    let mut values: Vec<Found<'_>> = Vec::new();
    for sibling in cell.siblings() {
        let Content::Value { value, expiry } = &sibling.content else { continue };
        match values.iter_mut().find(|(_, known, _)| known == value) {
            Some(known) if (known.0.at, known.0.dot) < (sibling.at, sibling.dot) => {
                *known = (sibling, value.clone(), *expiry);
            }
            Some(_) => {}
            None => values.push((sibling, value.clone(), *expiry)),
        }
    }
    values.sort_by(|one, other| one.1.cmp(&other.1));
    values
}

fn first_of(values: &[Found<'_>]) -> Option<WallTime> {
    values.iter().filter_map(|(_, _, expiry)| *expiry).min()
}

fn merged(values: &[Found<'_>], merge: Merge) -> Bytes {
    let numbers: Option<Vec<i64>> = values.iter().map(|(_, value, _)| integer_of(value)).collect();
    let number = match merge {
        Merge::Max => numbers.and_then(|numbers| numbers.into_iter().max()),
        Merge::Min => numbers.and_then(|numbers| numbers.into_iter().min()),
        Merge::Join | Merge::Union => None,
    };
    match (number, merge) {
        (Some(number), _) => Bytes::from(number.to_string()),
        (None, Merge::Union) => {
            let elements = values.iter().flat_map(|(_, value, _)| value.split(|one| *one == COMMA));
            let elements: BTreeSet<&[u8]> = elements.filter(|one| !one.is_empty()).collect();
            Bytes::from(elements.into_iter().collect::<Vec<_>>().join(&COMMA))
        }
        (None, Merge::Join | Merge::Max | Merge::Min) => {
            let texts: Vec<&[u8]> = values.iter().map(|(_, value, _)| value.as_ref()).collect();
            Bytes::from(texts.join(JOINT))
        }
    }
}

/// What was added counts, where the value is a number. Where it is none the value is what there is.
fn with_amounts(cell: &Cell, base: Option<(Bytes, Option<WallTime>)>) -> Reads {
    let amounts: Vec<_> = cell.amounts().collect();
    let sum: i128 = amounts.iter().map(|(_, amount)| amount).sum();
    let first = amounts.iter().filter_map(|(run, _)| run.expiry).min();
    let sooner = |one: Option<WallTime>| match (one, first) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    match base {
        None if amounts.is_empty() => Reads::Nothing,
        None => Reads::Value { value: Bytes::from(sum.to_string()), expiry: first },
        Some((value, expiry)) => match integer_of(&value).filter(|_| !amounts.is_empty()) {
            Some(number) => {
                let value = Bytes::from((sum + i128::from(number)).to_string());
                Reads::Value { value, expiry: sooner(expiry) }
            }
            None => Reads::Value { value, expiry },
        },
    }
}
