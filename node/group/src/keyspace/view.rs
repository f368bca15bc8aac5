//! A shard's rows as an evaluation sees them: the state store's, under what is proposed.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::WallTime;
use quorate_storage::state::{Rows, StateError};

use super::Overlay;
use super::layout::{Header, KEY_BYTES_MAX, expiry_range, header_row, key_of_expiry_row};

/// One group's rows at one moment.
pub struct View<'a, R: Rows> {
    rows: &'a R,
    /// In front of every row of the group in the shared state store.
    prefix: &'a [u8],
    overlay: Option<&'a Overlay>,
    /// How many keys the applied state holds.
    keys: u64,
}

impl<'a, R: Rows> View<'a, R> {
    /// What is applied, for reads.
    pub const fn applied(rows: &'a R, prefix: &'a [u8], keys: u64) -> Self {
        Self { rows, prefix, overlay: None, keys }
    }

    /// What will be applied, for a leader's evaluation of writes.
    pub const fn proposed(rows: &'a R, prefix: &'a [u8], keys: u64, overlay: &'a Overlay) -> Self {
        Self { rows, prefix, overlay: Some(overlay), keys }
    }

    pub(super) const fn keys(&self) -> u64 {
        self.keys
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
        Ok(self.row(&header_row(key))?.as_ref().and_then(Header::decode))
    }

    /// Applied rows, the prefix taken off again.
    pub(super) fn range(
        &self,
        from: &[u8],
        to: &[u8],
        count_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        let mut rows = self.rows.range(&self.prefixed(from), &self.prefixed(to), count_max)?;
        for (row, _) in &mut rows {
            *row = row.slice(self.prefix.len()..);
        }
        Ok(rows)
    }

    /// Keys whose time has come by the applied state, the longest due first.
    pub(super) fn due_keys(
        &self,
        now: WallTime,
        count_max: usize,
    ) -> Result<Vec<Bytes>, StateError> {
        let (from, to) = expiry_range(now);
        let rows = self.range(&from, &to, count_max)?;
        Ok(rows.iter().map(|(row, _)| key_of_expiry_row(row)).collect())
    }

    fn row(&self, row: &[u8]) -> Result<Option<Bytes>, StateError> {
        match self.overlay.and_then(|overlay| overlay.row(row)) {
            Some(known) => Ok(known),
            None => self.rows.row(&self.prefixed(row)),
        }
    }

    fn prefixed(&self, row: &[u8]) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.prefix.len() + row.len());
        whole.put_slice(self.prefix);
        whole.put_slice(row);
        whole.freeze()
    }
}

/// Whether any key's time has come: a leader then proposes `Write::RemoveExpired`.
///
/// # Errors
/// [`StateError::Read`].
pub fn due<R: Rows>(view: &View<'_, R>, now: WallTime) -> Result<bool, StateError> {
    Ok(!view.due_keys(now, 1)?.is_empty())
}
