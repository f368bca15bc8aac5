//! A shard's rows as an evaluation sees them: the state store's, under what is proposed, under what a transaction did.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::WallTime;
use quorate_storage::state::{Rows, StateError};

use super::Overlay;
use super::causal::Leaders;
use super::layers::{Changes, Row, merged};
use super::layout::{
    FLUSH_ROW, Fields, Header, KEY_BYTES_MAX, ScanPosition, due_range, expiry_range,
    fields_of_garbage_row, garbage_range, header_row, is_well_formed, key_of_expiry_row, number,
    removal_row, time_of_due_row,
};
use crate::Version;

/// One group's rows at one moment.
pub struct View<'a, R: Rows> {
    rows: &'a R,
    /// In front of every row of the group in the shared state store.
    prefix: &'a [u8],
    overlay: Option<&'a Overlay>,
    /// What a transaction did before, over all the rest.
    changes: Option<&'a Changes>,
    /// How many keys the applied state holds.
    keys: u64,
    /// Of several leaders the one that evaluates.
    leaders: Option<&'a Leaders>,
}

impl<'a, R: Rows> View<'a, R> {
    /// What is applied, for reads.
    pub const fn applied(rows: &'a R, prefix: &'a [u8], keys: u64) -> Self {
        Self { rows, prefix, overlay: None, changes: None, keys, leaders: None }
    }

    /// What will be applied, for a leader's evaluation of writes.
    pub const fn proposed(rows: &'a R, prefix: &'a [u8], keys: u64, overlay: &'a Overlay) -> Self {
        Self { rows, prefix, overlay: Some(overlay), changes: None, keys, leaders: None }
    }

    /// The same rows with these changes made.
    pub(super) const fn beneath<'b>(&'b self, changes: &'b Changes) -> View<'b, R> {
        View {
            rows: self.rows,
            prefix: self.prefix,
            overlay: self.overlay,
            changes: Some(changes),
            keys: self.keys,
            leaders: self.leaders,
        }
    }

    /// For one of several leaders.
    #[must_use]
    pub const fn among(self, leaders: Option<&'a Leaders>) -> Self {
        Self { leaders, ..self }
    }

    /// The leader that evaluates, where there are several.
    #[must_use]
    pub const fn leaders(&self) -> Option<&'a Leaders> {
        self.leaders
    }

    /// How many writes a transaction did before.
    pub(super) fn writes_before(&self) -> u64 {
        self.changes.map_or(0, |changes| changes.writes() as u64)
    }

    pub(super) fn keys(&self) -> u64 {
        let before = if self.changes.is_some_and(Changes::is_cleared) { 0 } else { self.keys };
        before.saturating_add_signed(self.changes.map_or(0, Changes::keys))
    }

    /// The newest time that stands in a proposal, which a later one must not undercut.
    pub(super) fn time_floor(&self) -> WallTime {
        self.overlay.map_or(WallTime(0), Overlay::time)
    }

    /// The key's header, whether its time has come or not.
    pub(super) fn header(&self, key: &[u8]) -> Result<Option<Header>, StateError> {
        if key.len() > KEY_BYTES_MAX {
            return Ok(None);
        }
        let slot = ScanPosition::of_key(key).slot;
        let Some(cell) = self.row(&header_row(key))? else { return Ok(None) };
        Header::decode(&cell, slot).map(Some).ok_or_else(|| damaged("a key's header"))
    }

    /// What is the version of a key that does not exist: it changes with every removal of this key.
    pub(super) fn removal_version(&self, key: &[u8]) -> Result<Version, StateError> {
        let one = |row: &[u8]| -> Result<u64, StateError> {
            Ok(self.row(row)?.and_then(|cell| number(&cell)).unwrap_or(0))
        };
        Ok(Version(one(&removal_row(key))? ^ one(FLUSH_ROW)?.rotate_left(1)))
    }

    /// Rows in order, the prefix taken off again.
    pub(super) fn range(
        &self,
        from: &[u8],
        to: &[u8],
        count_max: usize,
    ) -> Result<Vec<Row>, StateError> {
        let Some(changes) = self.changes else { return self.range_proposed(from, to, count_max) };
        let below = |from: &[u8], count: usize| {
            if changes.is_cleared() { Ok(Vec::new()) } else { self.range_proposed(from, to, count) }
        };
        merged(changes.range(from, to), below, from, count_max)
    }

    /// Keys whose time has come, the longest due first.
    pub(super) fn due_keys(
        &self,
        now: WallTime,
        count_max: usize,
    ) -> Result<Vec<Bytes>, StateError> {
        let (from, to) = expiry_range(now);
        let rows = self.range(&from, &to, count_max)?;
        Ok(rows.iter().map(|(row, _)| key_of_expiry_row(row)).collect())
    }

    /// Instances that nobody reads any more.
    pub(super) fn garbage(&self, count_max: usize) -> Result<Vec<Fields>, StateError> {
        let (from, to) = garbage_range();
        let rows = self.range(&from, &to, count_max)?;
        Ok(rows.iter().map(|(row, _)| fields_of_garbage_row(row)).collect())
    }

    pub(super) fn row(&self, row: &[u8]) -> Result<Option<Bytes>, StateError> {
        if let Some(known) = self.changes.and_then(|changes| changes.row(row)) {
            return Ok(known);
        }
        match self.overlay.and_then(|overlay| overlay.row(row)) {
            Some(known) => Ok(known),
            None => self.rows.row(&self.prefixed(row)),
        }
    }

    fn range_proposed(
        &self,
        from: &[u8],
        to: &[u8],
        count_max: usize,
    ) -> Result<Vec<Row>, StateError> {
        match self.overlay {
            None => self.range_applied(from, to, count_max),
            Some(overlay) => {
                let below = |from: &[u8], count: usize| {
                    if overlay.is_cleared() {
                        Ok(Vec::new())
                    } else {
                        self.range_applied(from, to, count)
                    }
                };
                merged(overlay.range(from, to), below, from, count_max)
            }
        }
    }

    fn range_applied(
        &self,
        from: &[u8],
        to: &[u8],
        count_max: usize,
    ) -> Result<Vec<Row>, StateError> {
        let mut rows = self.rows.range(&self.prefixed(from), &self.prefixed(to), count_max)?;
        for (row, _) in &mut rows {
            *row = row.slice(self.prefix.len()..);
            if !is_well_formed(row) {
                return Err(damaged("a row"));
            }
        }
        Ok(rows)
    }

    fn prefixed(&self, row: &[u8]) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.prefix.len() + row.len());
        whole.put_slice(self.prefix);
        whole.put_slice(row);
        whole.freeze()
    }
}

/// The disk gave back what nobody wrote: the same as nothing at all.
pub(super) fn damaged(what: &str) -> StateError {
    StateError::Read(format!("{what} is not what was written").into())
}

/// When the first key's time comes, or zero when field rows are to be swept: a leader then proposes `Write::RemoveExpired`.
/// `None` when no key has an expiry.
///
/// # Errors
/// [`StateError::Read`].
pub fn next_due<R: Rows>(view: &View<'_, R>) -> Result<Option<WallTime>, StateError> {
    let (from, to) = due_range();
    Ok(view.range(&from, &to, 1)?.first().map(|(row, _)| time_of_due_row(row)))
}
