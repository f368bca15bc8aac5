//! A leader's view of what it proposed and has not applied yet, so that commands see those before them.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::{LogIndex, WallTime};

use super::Effects;
use super::layers::changed;

/// Rows as they will be once everything proposed is applied. Dropped when leadership is lost.
#[derive(Debug, Default)]
pub struct Overlay {
    rows: BTreeMap<Bytes, (Option<Bytes>, LogIndex)>,
    /// Every row that is not in `rows` is gone (a FLUSHALL is under way).
    cleared: Option<LogIndex>,
    newest: LogIndex,
    time: WallTime,
}

impl Overlay {
    /// Notes what the entry at `index` will do.
    ///
    /// # Panics
    /// When `index` is not above all that were noted.
    pub fn note(&mut self, index: LogIndex, effects: &Effects) {
        assert!(index > self.newest, "proposals are noted in the order of the log");
        self.newest = index;
        self.time = self.time.max(effects.time);
        if effects.clear {
            self.rows.clear();
            self.cleared = Some(index);
        }
        for change in &effects.changes {
            self.rows.insert(change.row.clone(), (change.value.clone(), index));
        }
    }

    /// Forgets what the entry at `index` did: the state store has it now.
    pub fn applied(&mut self, index: LogIndex, effects: &Effects) {
        if self.cleared == Some(index) {
            self.cleared = None;
        }
        for change in &effects.changes {
            if self.rows.get(&change.row).is_some_and(|(_, noted)| *noted == index) {
                self.rows.remove(&change.row);
            }
        }
    }

    /// The newest time that a proposal carries: later ones never carry an earlier one.
    #[must_use]
    pub const fn time(&self) -> WallTime {
        self.time
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.cleared.is_none()
    }

    /// Whether no row of the state store counts.
    pub(super) const fn is_cleared(&self) -> bool {
        self.cleared.is_some()
    }

    /// The changed rows of a range, gone ones without a value.
    pub(super) fn range(
        &self,
        from: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = (&Bytes, Option<&Bytes>)> {
        changed(&self.rows, from, to).map(|(row, (value, _))| (row, value.as_ref()))
    }

    /// `Some(None)` when the row is gone, `None` when the state store knows.
    pub(super) fn row(&self, row: &[u8]) -> Option<Option<Bytes>> {
        match self.rows.get(row) {
            Some((value, _)) => Some(value.clone()),
            None => self.cleared.map(|_| None),
        }
    }
}
