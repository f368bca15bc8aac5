//! Collects the row changes of one command; the command sees its own changes.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::WallTime;
use quorate_storage::state::{Rows, StateError};

use super::layout::{Header, KEY_BYTES_MAX, STRING_BYTES_MAX, expiry_row, header_row};
use super::{Context, Effects, RowChange, View};
use crate::{KeyType, ValueError};

pub(super) struct Editor<'a, R: Rows> {
    view: &'a View<'a, R>,
    context: Context,
    /// Changed headers, in the order of their rows.
    headers: BTreeMap<Bytes, Option<Header>>,
    /// Changed rows beside the headers.
    rows: BTreeMap<Bytes, Option<Bytes>>,
    keys: i64,
    clear: bool,
}

/// Why an evaluation ends early.
pub(super) enum Stop {
    /// The client's mistake: nothing is changed, the answer is an error.
    Value(ValueError),
    State(StateError),
}

impl From<StateError> for Stop {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl From<ValueError> for Stop {
    fn from(error: ValueError) -> Self {
        Self::Value(error)
    }
}

impl<'a, R: Rows> Editor<'a, R> {
    pub(super) const fn new(view: &'a View<'a, R>, context: Context) -> Self {
        Self {
            view,
            context,
            headers: BTreeMap::new(),
            rows: BTreeMap::new(),
            keys: 0,
            clear: false,
        }
    }

    pub(super) const fn now(&self) -> WallTime {
        self.context.now
    }

    /// The key's header if the key exists for a client. A key whose time has come is removed on the way, so that
    /// an answer which depends on its absence goes through the log with the removal.
    pub(super) fn live(&mut self, key: &[u8]) -> Result<Option<Header>, Stop> {
        match self.stored(key)? {
            Some(header) if header.is_live(self.now()) => Ok(Some(header)),
            Some(_) => {
                self.remove(key)?;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// As [`Self::live`], for commands on strings.
    pub(super) fn live_string(&mut self, key: &[u8]) -> Result<Option<Header>, Stop> {
        let header = self.live(key)?;
        match header.as_ref().map(|header| header.kind) {
            None | Some(KeyType::String) => Ok(header),
        }
    }

    pub(super) fn put_string(
        &mut self,
        key: &[u8],
        value: Bytes,
        expiry: Option<WallTime>,
    ) -> Result<(), Stop> {
        if key.len() > KEY_BYTES_MAX {
            return Err(ValueError::KeyTooLong(KEY_BYTES_MAX as u64).into());
        }
        if value.len() > STRING_BYTES_MAX {
            return Err(ValueError::TooLong(STRING_BYTES_MAX as u64).into());
        }
        let old = self.stored(key)?;
        self.index_expiry(key, old.as_ref().and_then(|old| old.expiry), expiry);
        if old.is_none() {
            self.keys += 1;
        }
        let header = Header { kind: KeyType::String, expiry, value };
        self.headers.insert(header_row(key), Some(header));
        Ok(())
    }

    pub(super) fn put_expiry(&mut self, key: &[u8], header: Header, expiry: Option<WallTime>) {
        self.index_expiry(key, header.expiry, expiry);
        self.headers.insert(header_row(key), Some(Header { expiry, ..header }));
    }

    /// Removes the key, whether its time has come or not.
    pub(super) fn remove(&mut self, key: &[u8]) -> Result<(), Stop> {
        if let Some(old) = self.stored(key)? {
            self.index_expiry(key, old.expiry, None);
            self.keys -= 1;
            self.headers.insert(header_row(key), None);
        }
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.clear = true;
    }

    pub(super) fn due_keys(&self, count_max: usize) -> Result<Vec<Bytes>, Stop> {
        Ok(self.view.due_keys(self.now(), count_max)?)
    }

    pub(super) fn finish(self) -> Effects {
        let headers = self
            .headers
            .into_iter()
            .map(|(row, header)| RowChange { row, value: header.map(|header| header.encode()) });
        let rows = self.rows.into_iter().map(|(row, value)| RowChange { row, value });
        Effects {
            time: self.context.now,
            clear: self.clear,
            keys: self.keys,
            changes: headers.chain(rows).collect(),
        }
    }

    fn stored(&self, key: &[u8]) -> Result<Option<Header>, StateError> {
        if key.len() > KEY_BYTES_MAX {
            return Ok(None);
        }
        match self.headers.get(&header_row(key)) {
            Some(header) => Ok(header.clone()),
            None => self.view.header(key),
        }
    }

    fn index_expiry(&mut self, key: &[u8], old: Option<WallTime>, new: Option<WallTime>) {
        if old == new {
            return;
        }
        if let Some(at) = old {
            self.rows.insert(expiry_row(at, key), None);
        }
        if let Some(at) = new {
            self.rows.insert(expiry_row(at, key), Some(Bytes::new()));
        }
    }
}
