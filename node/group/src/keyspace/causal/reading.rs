//! What a cell reads as: a function of the cell and of what is declared, so the same everywhere.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_model::{Merge, Resolution, WallTime};
use quorate_replication::causal::{Content, Sibling};
use quorate_replication::multi_leader::Cell;

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

/// Of a cell of which nothing has expired.
pub(super) fn reads(cell: &Cell, resolution: &Resolution) -> Reads {
    if cell.siblings().iter().any(|sibling| sibling.content == Content::Member) {
        return Reads::Member;
    }
    let values = values(cell);
    let base = match (values.as_slice(), resolution) {
        ([], _) => None,
        ([(_, value, expiry)], _) => Some((value.clone(), *expiry)),
        (several, Resolution::Siblings) => {
            let count = several.len() as u64;
            return Reads::Siblings { count, expiry: first_of(several) };
        }
        (several, Resolution::Merge(merge)) => Some((merged(several, *merge), first_of(several))),
        (several, Resolution::LastWriterWins | Resolution::ReplicaPriority(_)) => {
            winner(several, resolution).map(|(_, value, expiry)| (value.clone(), *expiry))
        }
    };
    with_amounts(cell, base)
}

/// The values that stand, each once, with whoever wrote it last; in the order of their bytes.
pub(super) fn values(cell: &Cell) -> Vec<(&Sibling, Bytes, Option<WallTime>)> {
    let mut values: Vec<(&Sibling, Bytes, Option<WallTime>)> = Vec::new();
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

/// Of several values the one that is read, where one is chosen.
pub(super) fn winner<'a>(
    values: &'a [(&'a Sibling, Bytes, Option<WallTime>)],
    resolution: &Resolution,
) -> Option<&'a (&'a Sibling, Bytes, Option<WallTime>)> {
    let rank = |sibling: &Sibling| match resolution {
        Resolution::ReplicaPriority(places) => {
            let first = places.iter().position(|place| is_of(sibling.dot.actor, place));
            std::cmp::Reverse(first.unwrap_or(places.len()))
        }
        Resolution::LastWriterWins | Resolution::Merge(_) | Resolution::Siblings => {
            std::cmp::Reverse(0)
        }
    };
    values.iter().max_by_key(|(sibling, _, _)| (rank(sibling), sibling.at, sibling.dot))
}

fn first_of(values: &[(&Sibling, Bytes, Option<WallTime>)]) -> Option<WallTime> {
    values.iter().filter_map(|(_, _, expiry)| *expiry).min()
}

fn merged(values: &[(&Sibling, Bytes, Option<WallTime>)], merge: Merge) -> Bytes {
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
