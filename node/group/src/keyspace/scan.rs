//! Walking the keys of a shard: SCAN, KEYS, and the keys of a slot.
//!
//! A cursor is a place in the order of slots and hashes, so a walk has no state on the server, and a key that is there
//! from its begin to its end is met. Keys with the same slot and hash are always met in one step.

use bytes::Bytes;
use quorate_model::{Slot, SlotRange, WallTime};
use quorate_storage::state::{Rows, StateError};

use super::View;
use super::glob::matches;
use super::layout::{Header, ScanPosition, data_range_from, key_of_row, slot_range};
use super::random::Random;
use crate::{KeyType, ScanCursor, Value};

/// How many rows one read of the state store brings.
const PAGE: usize = 1024;
/// The most keys that one SCAN step looks at, whatever COUNT says.
const STEP_MAX: u32 = 10_000;
/// From how many keys after a random place one is picked: the more, the more even.
const PICK_WINDOW: usize = 64;

impl ScanCursor {
    /// The cursor at which the walk over a slot begins. The first slot's is 0.
    #[must_use]
    pub const fn at(slot: Slot) -> Self {
        Self((slot.number() as u64) << 32)
    }

    /// The slot in which the walk goes on; `None` for a number that no walk gave.
    #[must_use]
    pub fn slot(self) -> Option<Slot> {
        u16::try_from(self.0 >> 32).ok().and_then(Slot::new)
    }

    fn position(self) -> Option<ScanPosition> {
        let hash = u32::try_from(self.0 & 0xffff_ffff).expect("32 bits");
        self.slot().map(|slot| ScanPosition { slot, hash })
    }
}

impl From<ScanPosition> for ScanCursor {
    fn from(position: ScanPosition) -> Self {
        Self(Self::at(position.slot).0 | u64::from(position.hash))
    }
}

/// A list of the next cursor (0 at the end) and the keys found.
pub(super) fn step<R: Rows>(
    view: &View<'_, R>,
    now: WallTime,
    cursor: ScanCursor,
    pattern: Option<&[u8]>,
    count: u32,
    type_only: Option<KeyType>,
) -> Result<Value, StateError> {
    let mut keys = Vec::new();
    let mut next = cursor.position();
    if let Some(from) = next {
        let wanted = count.clamp(1, STEP_MAX) as usize;
        let (page, resume) = page_from(view, from, wanted)?;
        for (row, cell) in &page {
            if let Some((key, header)) = live_key(row, cell, now)
                && pattern.is_none_or(|pattern| matches(pattern, &key))
                && type_only.is_none_or(|kind| kind == header.kind())
            {
                keys.push(Value::Bulk(key));
            }
        }
        next = resume;
    }
    let cursor = next.map_or(ScanCursor(0), ScanCursor::from);
    Ok(Value::List(vec![
        Value::Integer(i64::try_from(cursor.0).expect("46 bits")),
        Value::List(keys),
    ]))
}

pub(super) fn count_in_slot<R: Rows>(
    view: &View<'_, R>,
    now: WallTime,
    slot: Slot,
) -> Result<u64, StateError> {
    let mut count = 0;
    walk(view, slot_range(slot), |row, cell| {
        count += u64::from(live_key(row, cell, now).is_some());
        true
    })?;
    Ok(count)
}

pub(super) fn keys_in_slot<R: Rows>(
    view: &View<'_, R>,
    now: WallTime,
    slot: Slot,
    count_max: usize,
) -> Result<Vec<Value>, StateError> {
    let mut keys = Vec::new();
    walk(view, slot_range(slot), |row, cell| {
        if keys.len() < count_max
            && let Some((key, _)) = live_key(row, cell, now)
        {
            keys.push(Value::Bulk(key));
        }
        keys.len() < count_max
    })?;
    Ok(keys)
}

/// Every key that matches; `None` when there are more than `count_max`.
pub(super) fn all_matching<R: Rows>(
    view: &View<'_, R>,
    now: WallTime,
    pattern: &[u8],
    count_max: usize,
) -> Result<Option<Vec<Value>>, StateError> {
    let mut keys = Vec::new();
    let first = ScanPosition { slot: Slot::new(0).expect("the first slot"), hash: 0 };
    walk(view, data_range_from(first), |row, cell| {
        if let Some((key, _)) = live_key(row, cell, now)
            && matches(pattern, &key)
        {
            keys.push(Value::Bulk(key));
        }
        keys.len() <= count_max
    })?;
    Ok((keys.len() <= count_max).then_some(keys))
}

/// One of the keys after a random place in these slots, round their end where it must.
pub(super) fn random_key<R: Rows>(
    view: &View<'_, R>,
    now: WallTime,
    slots: SlotRange,
    random: &mut Random,
) -> Result<Option<Bytes>, StateError> {
    let (first, last) = (slots.first.number(), slots.last.number());
    let slot = first + u16::try_from(random.below(usize::from(last - first) + 1)).expect("a slot");
    let slot = Slot::new(slot).expect("between two slots");
    let (begin, end) = (slot_range(slots.first).0, slot_range(slots.last).1);
    let from = ScanPosition { slot, hash: random.hash() }.row();
    let mut keys = Vec::new();
    for range in [(from.clone(), end), (begin, from)] {
        walk(view, range, |row, cell| {
            keys.extend(live_key(row, cell, now).map(|(key, _)| key));
            keys.len() < PICK_WINDOW
        })?;
        if keys.len() >= PICK_WINDOW {
            break;
        }
    }
    Ok((!keys.is_empty()).then(|| keys.swap_remove(random.below(keys.len()))))
}

type Page = Vec<(Bytes, Bytes)>;

/// About `wanted` rows from `from` on, never ending within one slot and hash, and where to go on.
fn page_from<R: Rows>(
    view: &View<'_, R>,
    from: ScanPosition,
    wanted: usize,
) -> Result<(Page, Option<ScanPosition>), StateError> {
    let (begin, end) = data_range_from(from);
    let mut page = view.range(&begin, &end, wanted + 1)?;
    if page.len() <= wanted {
        return Ok((page, None));
    }
    let last = ScanPosition::of_row(&page[wanted].0);
    let whole = page.partition_point(|(row, _)| ScanPosition::of_row(row) < last);
    if whole > 0 {
        page.truncate(whole);
        return Ok((page, Some(last)));
    }
    // Everything read has one slot and hash: all of it belongs into this step.
    let next = last.next();
    let end = next.map_or(end, ScanPosition::row);
    page.clear();
    walk(view, (begin, end), |row, cell| {
        page.push((row.clone(), cell.clone()));
        true
    })?;
    Ok((page, next))
}

/// Gives every row of the range to `visit`, until it answers `false`.
pub(super) fn walk<R: Rows>(
    view: &View<'_, R>,
    (mut from, to): (Bytes, Bytes),
    mut visit: impl FnMut(&Bytes, &Bytes) -> bool,
) -> Result<(), StateError> {
    loop {
        let page = view.range(&from, &to, PAGE)?;
        for (row, cell) in &page {
            if !visit(row, cell) {
                return Ok(());
            }
        }
        let Some((last, _)) = page.last().filter(|_| page.len() == PAGE) else { return Ok(()) };
        from = after(last);
    }
}

/// The row right after: this one with a zero byte behind it.
pub(super) fn after(row: &[u8]) -> Bytes {
    let mut after = Vec::with_capacity(row.len() + 1);
    after.extend_from_slice(row);
    after.push(0);
    Bytes::from(after)
}

fn live_key(row: &Bytes, cell: &Bytes, now: WallTime) -> Option<(Bytes, Header)> {
    let (key, slot) = key_of_row(row);
    Header::decode(cell, slot).filter(|header| header.is_live(now)).map(|header| (key, header))
}
