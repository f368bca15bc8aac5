//! Changed rows over the rows below them, in order: how a range shows what is not applied yet.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use quorate_replication::causal::CellKey;
use quorate_replication::multi_leader::Write;
use quorate_storage::state::StateError;

use super::scan::after;
use super::{Effects, RowChange};

/// What the commands of one transaction did so far, seen by those after them.
#[derive(Debug, Default)]
pub(super) struct Changes {
    rows: BTreeMap<Bytes, Option<Bytes>>,
    cleared: bool,
    keys: i64,
    writes: Vec<(CellKey, Write)>,
}

impl Changes {
    pub(super) fn add(&mut self, effects: Effects) {
        if effects.clear {
            self.rows.clear();
            self.cleared = true;
            self.keys = 0;
        }
        self.keys += effects.keys;
        self.writes.extend(effects.writes);
        self.rows.extend(effects.changes.into_iter().map(|change| (change.row, change.value)));
    }

    /// All of it as one entry's, at the time of `context`.
    pub(super) fn into_effects(self, time: quorate_model::WallTime) -> Effects {
        let changes = self.rows.into_iter().map(|(row, value)| RowChange { row, value });
        Effects {
            time,
            clear: self.cleared,
            keys: self.keys,
            changes: changes.collect(),
            writes: self.writes,
        }
    }

    /// How many writes the others are to be told of.
    pub(super) const fn writes(&self) -> usize {
        self.writes.len()
    }

    pub(super) const fn keys(&self) -> i64 {
        self.keys
    }

    pub(super) const fn is_cleared(&self) -> bool {
        self.cleared
    }

    /// `Some(None)` when the row is gone, `None` when those below know.
    pub(super) fn row(&self, row: &[u8]) -> Option<Option<Bytes>> {
        match self.rows.get(row) {
            Some(value) => Some(value.clone()),
            None => self.cleared.then_some(None),
        }
    }

    pub(super) fn range(
        &self,
        from: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = (&Bytes, Option<&Bytes>)> {
        changed(&self.rows, from, to).map(|(row, value)| (row, value.as_ref()))
    }
}

pub(super) fn changed<'a, V>(
    rows: &'a BTreeMap<Bytes, V>,
    from: &[u8],
    to: &[u8],
) -> impl Iterator<Item = (&'a Bytes, &'a V)> {
    // An empty range has no order to be wrong in.
    let to = to.max(from);
    rows.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)))
}

pub(super) type Row = (Bytes, Bytes);

/// At most `count_max` rows from `from` on: those of `layer`, which holds every changed row of the range in order, else
/// those that `below` gives; a change without a value hides a row.
pub(super) fn merged<'a>(
    layer: impl Iterator<Item = (&'a Bytes, Option<&'a Bytes>)>,
    mut below: impl FnMut(&[u8], usize) -> Result<Vec<Row>, StateError>,
    from: &[u8],
    count_max: usize,
) -> Result<Vec<Row>, StateError> {
    let mut layer = layer.peekable();
    let mut rows = Vec::new();
    let mut from = Bytes::copy_from_slice(from);
    while rows.len() < count_max {
        let wanted = count_max - rows.len();
        let page = below(&from, wanted)?;
        let complete = page.len() < wanted;
        if let Some((last, _)) = page.last() {
            from = after(last);
        }
        for (row, value) in page {
            while let Some((changed, new)) = layer.next_if(|(changed, _)| **changed < row) {
                rows.extend(new.map(|new| (changed.clone(), new.clone())));
            }
            match layer.next_if(|(changed, _)| **changed == row) {
                Some((_, new)) => rows.extend(new.map(|new| (row, new.clone()))),
                None => rows.push((row, value)),
            }
        }
        if complete {
            // Nothing is left below.
            let left = layer.filter_map(|(row, new)| Some((row.clone(), new?.clone())));
            rows.extend(left.take(count_max.saturating_sub(rows.len())));
            break;
        }
    }
    rows.truncate(count_max);
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_rows_are_those_of_one_map_whatever_the_page() {
        let row = |number: u32| Bytes::from(format!("{number:02}"));
        let below: BTreeMap<_, _> = (0..30).map(|number| (row(number), row(number))).collect();
        let layer: BTreeMap<_, _> = (0..40)
            .filter(|number| number % 3 != 0)
            .map(|number| (row(number), (number % 2 == 0).then(|| "new".into())))
            .collect();
        let mut expected = below.clone();
        for (row, value) in &layer {
            match value {
                Some(value) => expected.insert(row.clone(), Bytes::clone(value)),
                None => expected.remove(row),
            };
        }
        for (from, to) in [("", "99"), ("05", "17"), ("31", "36"), ("50", "60"), ("20", "10")] {
            let (from, to) = (from.as_bytes(), to.as_bytes());
            for count_max in [0, 1, 2, 5, 100] {
                let got = merged(
                    changed(&layer, from, to).map(|(row, value)| (row, value.as_ref())),
                    |from, count| {
                        let rows = changed(&below, from, to).take(count);
                        Ok(rows.map(|(row, value)| (row.clone(), value.clone())).collect())
                    },
                    from,
                    count_max,
                );
                let expected: Vec<_> = changed(&expected, from, to)
                    .take(count_max)
                    .map(|(row, value)| (row.clone(), value.clone()))
                    .collect();
                assert_eq!(got.unwrap(), expected, "{from:?} {to:?} {count_max}");
            }
        }
    }
}
