//! The keys of a shard, as the coordinator's replica knows them: SCAN, KEYS, DBSIZE and their like ask nobody else.
//!
//! A key that was written elsewhere, or removed there, is listed so once this replica knows it.

use bytes::Bytes;
use quorate_model::{Slot, SlotRange};
use quorate_replication::leaderless::Place;

use super::layout::{Bounds, Named, cells_from, cells_of_slot};
use super::local::{Local, PAGE_MAX};
use crate::keyspace::{ELEMENTS_MAX, Random, matches};
use crate::{KeyType, ScanCursor, Value, ValueError};

/// The most cells that one SCAN step looks at, whatever COUNT says, but for those of one place.
const STEP_MAX: u32 = 10_000;
/// From how many keys after a random place one is picked: the more, the more even.
const PICK_WINDOW: usize = 64;

/// A list of the next cursor (0 at the end) and the keys found.
pub(super) fn step(
    local: &Local<'_>,
    cursor: ScanCursor,
    pattern: Option<&[u8]>,
    count: u32,
    type_only: Option<KeyType>,
) -> Result<Value, ValueError> {
    let wanted = count.clamp(1, STEP_MAX) as usize;
    let mut keys = Vec::new();
    let mut next = 0;
    let (mut looked, mut last) = (0, None);
    walk(local, cells_from(Place(cursor.0)), wanted + 1, |place, found| {
        // Keys of one place are always met in one step.
        if looked >= wanted && last != Some(place) {
            next = place.0;
            return false;
        }
        (looked, last) = (looked + 1, Some(place));
        if let Some((key, kind)) = found
            && pattern.is_none_or(|pattern| matches(pattern, key))
            && type_only.is_none_or(|only| only == kind)
        {
            keys.push(Value::Bulk(key.clone()));
        }
        true
    })?;
    let next = Value::Integer(i64::try_from(next).expect("46 bits"));
    Ok(Value::List(vec![next, Value::List(keys)]))
}

/// DBSIZE.
pub(super) fn count(local: &Local<'_>) -> Result<Value, ValueError> {
    count_within(local, cells_from(Place(0)))
}

pub(super) fn count_in_slot(local: &Local<'_>, slot: Slot) -> Result<Value, ValueError> {
    count_within(local, cells_of_slot(slot))
}

pub(super) fn keys_in_slot(
    local: &Local<'_>,
    slot: Slot,
    count_max: usize,
) -> Result<Value, ValueError> {
    let mut keys = Vec::new();
    walk(local, cells_of_slot(slot), count_max.clamp(1, PAGE_MAX), |_, found| {
        if keys.len() < count_max {
            keys.extend(found.map(|(key, _)| Value::Bulk(key.clone())));
        }
        keys.len() < count_max
    })?;
    Ok(Value::List(keys))
}

/// KEYS.
pub(super) fn all_matching(
    local: &Local<'_>,
    pattern: &[u8],
    count_max: u32,
) -> Result<Value, ValueError> {
    let mut keys = Vec::new();
    walk(local, cells_from(Place(0)), PAGE_MAX, |_, found| {
        let found = found.filter(|(key, _)| matches(pattern, key));
        keys.extend(found.map(|(key, _)| Value::Bulk(key.clone())));
        keys.len() <= count_max as usize
    })?;
    if keys.len() > count_max as usize {
        return Err(ValueError::TooManyKeys(count_max));
    }
    Ok(Value::List(keys))
}

/// One of the keys after a random place in these slots, round their end where it must.
pub(super) fn random_key(local: &Local<'_>, slots: SlotRange) -> Result<Value, ValueError> {
    let mut random = Random::new(local.seed);
    let (first, last) = (cells_of_slot(slots.first), cells_of_slot(slots.last));
    let span = usize::from(slots.last.number() - slots.first.number()) + 1;
    let slot = slots.first.number() + u16::try_from(random.below(span)).expect("a slot");
    let place = Place(u64::from(slot) << 32 | u64::from(random.hash()));
    let from = place.first_key();
    let mut keys = Vec::new();
    for (from, to) in [(from.clone(), last.to), (first.from, from)] {
        walk(local, Bounds { from, to }, PICK_WINDOW, |_, found| {
            keys.extend(found.map(|(key, _)| key.clone()));
            keys.len() < PICK_WINDOW
        })?;
        if keys.len() >= PICK_WINDOW {
            break;
        }
    }
    if keys.is_empty() {
        return Ok(Value::Nil);
    }
    Ok(Value::Bulk(keys.swap_remove(random.below(keys.len()))))
}

fn count_within(local: &Local<'_>, bounds: Bounds) -> Result<Value, ValueError> {
    let mut count = 0;
    walk(local, bounds, PAGE_MAX, |_, found| {
        count += i64::from(found.is_some());
        true
    })?;
    Ok(Value::Integer(count))
}

/// Gives every key that lives to `visit`, once, with the first of its types, and `None` for each cell that makes none
/// known; until it answers `false`.
///
/// # Errors
/// [`ValueError::TooManyKeys`]: one command never stops a shard for long.
fn walk(
    local: &Local<'_>,
    bounds: Bounds,
    page: usize,
    mut visit: impl FnMut(Place, Option<(&Bytes, KeyType)>) -> bool,
) -> Result<(), ValueError> {
    let mut listed: Option<Bytes> = None;
    let (mut looked, mut goes_on) = (0, true);
    local.visit(bounds, page, |cell_key, cell| {
        looked += 1;
        let named = Named::of(cell_key).filter(|named| listed.as_ref() != Some(&named.key));
        let named = named.filter(|_| local.lives(cell));
        goes_on = visit(cell_key.place(), named.as_ref().map(|named| (&named.key, named.kind)));
        listed = named.map(|named| named.key).or(listed.take());
        goes_on && looked <= ELEMENTS_MAX
    });
    if goes_on && looked > ELEMENTS_MAX {
        return Err(ValueError::TooManyKeys(u32::try_from(ELEMENTS_MAX).unwrap_or(u32::MAX)));
    }
    Ok(())
}
