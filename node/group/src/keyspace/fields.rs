//! Walking over the field rows of one hash or set: all of them, a step of a scan, a random pick.
//!
//! Bounds: no command looks at more than [`ELEMENTS_MAX`] elements or answers with more than [`ANSWER_BYTES_MAX`] bytes; beyond
//! that it is refused, so that one command never stops a shard for long. Scans and picks take small steps over any size.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_storage::state::{Rows, StateError};

use super::View;
use super::editor::Stop;
use super::glob::matches;
use super::layers::Row;
use super::layout::{Collection, FIELD_BYTES_MAX, Fields, field_of_row, value_of_cell};
use super::random::Random;
use super::scan::{after, walk};
use super::view::damaged;
use crate::{Part, Value, ValueError};

/// How many elements one command looks at, at most.
pub const ELEMENTS_MAX: u64 = 250_000;
/// How long an answer is, at most, about.
pub const ANSWER_BYTES_MAX: u64 = 32 << 20;
/// What an element takes in an answer beside its bytes.
const ELEMENT_OVERHEAD_BYTES: u64 = 16;
/// The most fields that one step of a scan looks at, whatever COUNT says.
const STEP_MAX: u32 = 10_000;
/// Up to this size everything is read for a pick, which is then exactly even.
const PICK_FROM_ALL_MAX: u64 = 1_024;
/// How many elements after a random place a pick chooses from: the more, the more even.
const PICK_WINDOW: usize = 64;
/// How many different elements are picked one by one from a collection that is too large to be read.
const PICKS_MAX: usize = 10_000;

/// How often one more is tried for each element that is wanted.
const TRIES_MAX: usize = 100;
/// What is wrong when there are not as many fields as a header says.
const COUNT: &str = "a count of fields";

#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: Bytes,
    pub(crate) value: Bytes,
}

impl From<Row> for Field {
    fn from((row, cell): Row) -> Self {
        Self { name: field_of_row(&row).1, value: value_of_cell(&cell) }
    }
}

/// Counts what an answer takes, as it grows.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    bytes: u64,
    pub(crate) values: Vec<Value>,
}

impl Answer {
    pub(crate) fn push(&mut self, value: Bytes) -> Result<(), ValueError> {
        self.count(value.len())?;
        self.values.push(Value::Bulk(value));
        Ok(())
    }

    /// Makes room for so many bytes.
    pub(super) const fn count(&mut self, bytes: usize) -> Result<(), ValueError> {
        self.bytes += bytes as u64 + ELEMENT_OVERHEAD_BYTES;
        if self.bytes > ANSWER_BYTES_MAX {
            return Err(ValueError::AnswerTooLong(ANSWER_BYTES_MAX));
        }
        Ok(())
    }

    pub(crate) fn push_part(&mut self, field: Field, part: Part) -> Result<(), ValueError> {
        if part != Part::Values {
            self.push(field.name)?;
        }
        if part != Part::Fields {
            self.push(field.value)?;
        }
        Ok(())
    }
}

/// # Errors
/// When a command would have to look at so many elements.
pub(crate) const fn check_elements(count: u64) -> Result<(), ValueError> {
    if count > ELEMENTS_MAX { Err(ValueError::TooManyElements(ELEMENTS_MAX)) } else { Ok(()) }
}

/// Every field, in the order of the rows.
pub(super) fn all<R: Rows>(
    view: &View<'_, R>,
    collection: Collection,
    mut visit: impl FnMut(Field) -> Result<(), ValueError>,
) -> Result<(), Stop> {
    check_elements(collection.count)?;
    let mut error = None;
    walk(view, collection.fields.range(), |row, cell| {
        error = visit(Field::from((row.clone(), cell.clone()))).err();
        error.is_none()
    })?;
    error.map_or(Ok(()), |error| Err(error.into()))
}

/// One step of a scan: what matches, and the hash at which the next step begins, 0 at the end.
pub(super) fn step<R: Rows>(
    view: &View<'_, R>,
    fields: Fields,
    from: u32,
    count: u32,
    pattern: Option<&[u8]>,
    part: Part,
) -> Result<(u32, Vec<Value>), Stop> {
    let wanted = count.clamp(1, STEP_MAX) as usize;
    let (begin, end) = fields.range_from(from);
    let mut page = view.range(&begin, &end, wanted + 1)?;
    let mut next = 0;
    if page.len() > wanted {
        let (last, _) = field_of_row(&page[wanted].0);
        let whole = page.partition_point(|(row, _)| field_of_row(row).0 < last);
        if whole > 0 {
            page.truncate(whole);
            next = last;
        } else {
            // Everything read has one hash: all of it belongs into this step.
            next = last.checked_add(1).unwrap_or(0);
            let end = if next == 0 { end } else { fields.range_from(next).0 };
            let from = after(&page[wanted].0);
            walk(view, (from, end), |row, cell| {
                page.push((row.clone(), cell.clone()));
                true
            })?;
        }
    }
    let mut answer = Answer::default();
    for field in page.into_iter().map(Field::from) {
        if pattern.is_none_or(|pattern| matches(pattern, &field.name)) {
            answer.push_part(field, part)?;
        }
    }
    Ok((next, answer.values))
}

/// So many picks, each among all fields.
pub(super) fn picks<R: Rows>(
    view: &View<'_, R>,
    collection: Collection,
    count: u64,
    part: Part,
    random: &mut Random,
) -> Result<Vec<Value>, Stop> {
    check_elements(count)?;
    let mut answer = Answer::default();
    // Many picks from what can be read at once cost less so.
    if collection.count <= PICK_FROM_ALL_MAX
        || (collection.count <= ELEMENTS_MAX && collection.count / PICK_WINDOW as u64 <= count)
    {
        let rows = read_all(view, collection)?;
        for _ in 0..count {
            let (row, cell) = &rows[random.below(rows.len())];
            answer.push_part(Field::from((row.clone(), cell.clone())), part)?;
        }
    } else {
        check_picks(count)?;
        for _ in 0..count {
            answer.push_part(Field::from(pick(view, collection.fields, random)?), part)?;
        }
    }
    Ok(answer.values)
}

/// So many different fields, all of them when there are no more.
pub(super) fn distinct<R: Rows>(
    view: &View<'_, R>,
    collection: Collection,
    count: u64,
    random: &mut Random,
) -> Result<Vec<Field>, Stop> {
    let count = count.min(collection.count);
    check_elements(count)?;
    let wanted = usize::try_from(count).expect("bounded by ELEMENTS_MAX");
    if collection.count <= PICK_FROM_ALL_MAX
        || (collection.count <= ELEMENTS_MAX && collection.count / PICK_WINDOW as u64 <= count)
    {
        let rows = random.choose(read_all(view, collection)?, wanted);
        return Ok(rows.into_iter().map(Field::from).collect());
    }
    check_picks(count)?;
    let mut chosen = BTreeSet::new();
    let mut picked = Vec::with_capacity(wanted);
    let mut tries = 0;
    while picked.len() < wanted {
        // Fewer than one of eight is wanted, so most tries find a new one.
        tries += 1;
        if tries > TRIES_MAX * wanted {
            return Err(damaged(COUNT).into());
        }
        let row = pick(view, collection.fields, random)?;
        if chosen.insert(row.0.clone()) {
            picked.push(Field::from(row));
        }
    }
    Ok(picked)
}

pub(super) fn has<R: Rows>(
    view: &View<'_, R>,
    fields: Fields,
    field: &[u8],
) -> Result<bool, StateError> {
    Ok(field.len() <= FIELD_BYTES_MAX && view.row(&fields.row(field))?.is_some())
}

fn check_picks(count: u64) -> Result<(), ValueError> {
    if count > PICKS_MAX as u64 {
        Err(ValueError::TooManyElements(PICKS_MAX as u64))
    } else {
        Ok(())
    }
}

fn read_all<R: Rows>(view: &View<'_, R>, collection: Collection) -> Result<Vec<Row>, Stop> {
    let mut rows = Vec::new();
    let mut bytes = 0;
    walk(view, collection.fields.range(), |row, cell| {
        bytes += (row.len() + cell.len()) as u64;
        rows.push((row.clone(), cell.clone()));
        bytes <= ANSWER_BYTES_MAX
    })?;
    if bytes > ANSWER_BYTES_MAX {
        return Err(ValueError::AnswerTooLong(ANSWER_BYTES_MAX).into());
    }
    if rows.is_empty() {
        return Err(damaged(COUNT).into());
    }
    Ok(rows)
}

/// One of the fields after a random place, round the end where it must.
fn pick<R: Rows>(
    view: &View<'_, R>,
    fields: Fields,
    random: &mut Random,
) -> Result<Row, StateError> {
    let (from, to) = fields.range_from(random.hash());
    let mut window = view.range(&from, &to, PICK_WINDOW)?;
    if window.len() < PICK_WINDOW {
        let begin = fields.range().0;
        window.extend(view.range(&begin, &from, PICK_WINDOW - window.len())?);
    }
    if window.is_empty() {
        return Err(damaged(COUNT));
    }
    let at = random.below(window.len());
    Ok(window.swap_remove(at))
}

/// The first fields, so many at most.
pub(super) fn sample<R: Rows>(
    view: &View<'_, R>,
    fields: Fields,
    count: usize,
) -> Result<Vec<Field>, StateError> {
    let (from, to) = fields.range();
    Ok(view.range(&from, &to, count)?.into_iter().map(Field::from).collect())
}
