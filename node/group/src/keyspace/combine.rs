//! SINTER, SUNION and SDIFF over the sets of one slot.
//!
//! Bounds: as many elements are looked at as [`super::fields`] allows, over all sets together.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_storage::state::Rows;

use super::View;
use super::editor::Stop;
use super::fields::{self, ANSWER_BYTES_MAX, check_elements};
use super::layout::Collection;
use super::scan::walk;
use crate::{Combination, ValueError};

/// The members, in no order that a client may rely on, the same on every replica. `None` is a set that does not exist.
pub(super) fn members<R: Rows>(
    view: &View<'_, R>,
    sets: &[Option<Collection>],
    combination: Combination,
) -> Result<Vec<Bytes>, Stop> {
    match combination {
        Combination::Intersection => intersection(view, sets, 0),
        Combination::Union => union(view, sets),
        Combination::Difference => difference(view, sets),
    }
}

/// Stops at `limit` members where it is not 0.
pub(super) fn intersection<R: Rows>(
    view: &View<'_, R>,
    sets: &[Option<Collection>],
    limit: u64,
) -> Result<Vec<Bytes>, Stop> {
    let Some(mut sets) = sets.iter().copied().collect::<Option<Vec<_>>>() else {
        return Ok(Vec::new());
    };
    sets.sort_by_key(|set| set.count);
    let Some((smallest, others)) = sets.split_first() else { return Ok(Vec::new()) };
    // Each member of the smallest may be looked up in every other.
    check_elements(smallest.count.saturating_mul(sets.len() as u64))?;
    collect(view, *smallest, limit, |member| {
        for other in others {
            if !fields::has(view, other.fields, member)? {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

fn union<R: Rows>(view: &View<'_, R>, sets: &[Option<Collection>]) -> Result<Vec<Bytes>, Stop> {
    let sets: Vec<_> = sets.iter().flatten().copied().collect();
    check_elements(sets.iter().map(|set| set.count).fold(0, u64::saturating_add))?;
    let mut seen = BTreeSet::new();
    let mut members = Vec::new();
    let mut bytes = 0;
    for set in sets {
        fields::all(view, set, |field| {
            if seen.insert(field.name.clone()) {
                bytes += field.name.len() as u64;
                members.push(field.name);
            }
            check_bytes(bytes)
        })?;
    }
    Ok(members)
}

fn difference<R: Rows>(
    view: &View<'_, R>,
    sets: &[Option<Collection>],
) -> Result<Vec<Bytes>, Stop> {
    let Some((Some(first), others)) = sets.split_first() else { return Ok(Vec::new()) };
    let others: Vec<_> = others.iter().flatten().copied().collect();
    check_elements(first.count.saturating_mul(1 + others.len() as u64))?;
    collect(view, *first, 0, |member| {
        for other in &others {
            if fields::has(view, other.fields, member)? {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

/// The members of a set that `holds` accepts, up to `limit` where it is not 0.
fn collect<R: Rows>(
    view: &View<'_, R>,
    set: Collection,
    limit: u64,
    mut holds: impl FnMut(&[u8]) -> Result<bool, Stop>,
) -> Result<Vec<Bytes>, Stop> {
    let mut members = Vec::new();
    let mut bytes = 0;
    let mut stop = None;
    walk(view, set.fields.range(), |row, _| {
        let member = super::layout::field_of_row(row).1;
        match holds(&member) {
            Ok(true) => {
                bytes += member.len() as u64;
                members.push(member);
                stop = check_bytes(bytes).err().map(Stop::from);
            }
            Ok(false) => {}
            Err(error) => stop = Some(error),
        }
        stop.is_none() && (limit == 0 || (members.len() as u64) < limit)
    })?;
    stop.map_or(Ok(members), Err)
}

const fn check_bytes(bytes: u64) -> Result<(), ValueError> {
    if bytes > ANSWER_BYTES_MAX { Err(ValueError::AnswerTooLong(ANSWER_BYTES_MAX)) } else { Ok(()) }
}
