//! Collects the row changes of one command; the command sees its own changes.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::WallTime;
use quorate_storage::state::{Rows, StateError};

use super::causal::Writing;
use super::layers::changed;
use super::layout::{
    Body, COUNTED_MAX, Collection, FIELD_BYTES_MAX, FLUSH_ROW, Fields, Header, Hidden,
    INSTANCE_ROW, KEY_BYTES_MAX, STRING_BYTES_MAX, ScanPosition, cell_of, expiry_row, garbage_row,
    header_row, number, number_cell, removal_row, value_of_cell,
};
use super::random::Random;
use super::scan::walk;
use super::view::damaged;
use super::{Context, Effects, RowChange, View};
use crate::{CollectionKind, ValueError, Version};

/// Up to so many field rows go in the entry that ends their key; more are left to the sweep.
const REMOVED_AT_ONCE_MAX: u64 = 64;

pub(super) struct Editor<'a, R: Rows> {
    view: &'a View<'a, R>,
    context: Context,
    /// Changed headers, in the order of their rows.
    headers: BTreeMap<Bytes, Option<Header>>,
    /// Changed rows beside the headers.
    rows: BTreeMap<Bytes, Option<Bytes>>,
    random: Random,
    keys: i64,
    clear: bool,
    /// Of one of several leaders: what the others are told.
    pub(super) writing: Option<Writing>,
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
    pub(super) fn new(view: &'a View<'a, R>, context: Context) -> Self {
        let writing = view.leaders().map(|leaders| Writing::new(leaders.origin));
        Self { writing, ..Self::showing(view, context) }
    }

    /// For rows that show what others wrote.
    pub(super) const fn showing(view: &'a View<'a, R>, context: Context) -> Self {
        Self {
            view,
            context,
            headers: BTreeMap::new(),
            rows: BTreeMap::new(),
            random: Random::new(context.seed),
            keys: 0,
            clear: false,
            writing: None,
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
            Some(_) if self.writing.is_some() => {
                self.expire_cells(key)?;
                Ok(self.stored(key)?.filter(|header| header.is_live(self.now())))
            }
            Some(_) => {
                self.remove(key)?;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// As [`Self::live`], for commands on strings: the value and the expiry.
    pub(super) fn live_string(
        &mut self,
        key: &[u8],
    ) -> Result<Option<(Bytes, Option<WallTime>)>, Stop> {
        match self.live(key)? {
            None => Ok(None),
            Some(Header { body: Body::String(value), expiry, .. }) => Ok(Some((value, expiry))),
            Some(Header { body: Body::Hash(_) | Body::Set(_), .. }) => {
                Err(ValueError::WrongType.into())
            }
            Some(Header { body: Body::Siblings(count), .. }) => {
                Err(ValueError::Siblings(count).into())
            }
        }
    }

    /// As [`Self::live`], for commands on hashes or on sets.
    pub(super) fn live_fields(
        &mut self,
        key: &[u8],
        kind: CollectionKind,
    ) -> Result<Option<Collection>, Stop> {
        let Some(header) = self.live(key)? else { return Ok(None) };
        let collection = header.collection_of(kind)?;
        self.name(collection.fields, key, kind);
        Ok(Some(collection))
    }

    pub(super) fn put_string(
        &mut self,
        key: &[u8],
        value: Bytes,
        expiry: Option<WallTime>,
    ) -> Result<(), Stop> {
        if value.len() > STRING_BYTES_MAX {
            return Err(ValueError::TooLong(STRING_BYTES_MAX as u64).into());
        }
        self.put(key, Body::String(value), expiry)
    }

    /// As [`Self::put_string`], of what so much was added to.
    pub(super) fn put_sum(
        &mut self,
        key: &[u8],
        by: i64,
        sum: i64,
        expiry: Option<WallTime>,
    ) -> Result<(), Stop> {
        let sum = Bytes::from(sum.to_string());
        if self.writing.is_none() {
            return self.put_string(key, sum, expiry);
        }
        let hidden = self.write_addition(key, by, expiry)?;
        self.place(key, Body::String(sum), expiry, hidden)
    }

    /// The key is this from now on, whatever it was.
    pub(super) fn put(
        &mut self,
        key: &[u8],
        body: Body,
        expiry: Option<WallTime>,
    ) -> Result<(), Stop> {
        if key.len() > KEY_BYTES_MAX {
            return Err(ValueError::KeyTooLong(KEY_BYTES_MAX as u64).into());
        }
        let hidden = match &self.writing {
            Some(_) => self.write_put(key, &body, expiry)?,
            None => Hidden::default(),
        };
        self.place(key, body, expiry, hidden)
    }

    /// As [`Self::put`], for the rows alone.
    pub(super) fn place(
        &mut self,
        key: &[u8],
        body: Body,
        expiry: Option<WallTime>,
        hidden: Hidden,
    ) -> Result<(), Stop> {
        let old = self.stored(key)?;
        self.index_expiry(key, old.as_ref().and_then(|old| old.expiry), expiry);
        let header = Header { expiry, version: self.version(), hidden, body };
        match old {
            None => self.keys += 1,
            Some(old) => {
                let kept = header.collection().map(|collection| collection.fields);
                if let Some(gone) = old.collection().filter(|gone| Some(gone.fields) != kept) {
                    self.release(gone)?;
                }
            }
        }
        self.headers.insert(header_row(key), Some(header));
        Ok(())
    }

    pub(super) fn put_expiry(
        &mut self,
        key: &[u8],
        header: Header,
        expiry: Option<WallTime>,
    ) -> Result<(), Stop> {
        if self.writing.is_some() {
            // An expiry is part of a value, and a collection is none.
            return match header.body {
                Body::String(_) => self.put(key, header.body, expiry),
                Body::Siblings(count) => Err(ValueError::Siblings(count).into()),
                Body::Hash(_) | Body::Set(_) => Err(ValueError::NotAmongLeaders.into()),
            };
        }
        self.index_expiry(key, header.expiry, expiry);
        let version = self.version();
        self.headers.insert(header_row(key), Some(Header { expiry, version, ..header }));
        Ok(())
    }

    /// Removes the key, whether its time has come or not.
    pub(super) fn remove(&mut self, key: &[u8]) -> Result<(), Stop> {
        if let Some(collection) = self.forget(key)?.and_then(|old| old.collection()) {
            self.release(collection)?;
        }
        Ok(())
    }

    /// Takes the key away and leaves its field rows, if it has any, to the caller.
    pub(super) fn forget(&mut self, key: &[u8]) -> Result<Option<Header>, Stop> {
        if self.writing.is_some() {
            self.write_removal(key)?;
        }
        self.take_away(key)
    }

    /// As [`Self::forget`], for the rows alone.
    pub(super) fn take_away(&mut self, key: &[u8]) -> Result<Option<Header>, Stop> {
        let old = self.stored(key)?;
        if let Some(old) = &old {
            self.index_expiry(key, old.expiry, None);
            self.keys -= 1;
            self.headers.insert(header_row(key), None);
            let version = self.version();
            self.rows.insert(removal_row(key), Some(number_cell(version.0)));
        }
        Ok(old)
    }

    /// Field rows that no other ever had, for a key of this slot.
    pub(super) fn new_fields(&mut self, key: &[u8], kind: CollectionKind) -> Result<Fields, Stop> {
        let newest = match self.row(INSTANCE_ROW)? {
            None => 0,
            Some(cell) => number(&cell)
                .filter(|newest| *newest < COUNTED_MAX)
                .ok_or_else(|| damaged("the newest instance"))?,
        };
        let instance = newest + 1;
        self.rows.insert(Bytes::from_static(INSTANCE_ROW), Some(number_cell(instance)));
        let fields = Fields { slot: ScanPosition::of_key(key).slot, instance };
        self.name(fields, key, kind);
        Ok(fields)
    }

    /// A field's cell.
    pub(super) fn field(&self, fields: Fields, field: &[u8]) -> Result<Option<Bytes>, Stop> {
        if field.len() > FIELD_BYTES_MAX {
            return Ok(None);
        }
        Ok(self.row(&fields.row(field))?)
    }

    pub(super) fn put_field(
        &mut self,
        fields: Fields,
        field: &[u8],
        cell: Bytes,
    ) -> Result<(), Stop> {
        if field.len() > FIELD_BYTES_MAX {
            return Err(ValueError::FieldTooLong(FIELD_BYTES_MAX as u64).into());
        }
        if cell.len() > STRING_BYTES_MAX {
            return Err(ValueError::TooLong(STRING_BYTES_MAX as u64).into());
        }
        if self.writing.is_some() {
            self.write_field(fields, field, &value_of_cell(&cell))?;
        }
        self.put_row(fields.row(field), Some(cell));
        Ok(())
    }

    /// As [`Self::put_field`], of what so much was added to.
    pub(super) fn put_field_sum(
        &mut self,
        fields: Fields,
        field: &[u8],
        by: i64,
        sum: i64,
    ) -> Result<(), Stop> {
        let cell = cell_of(sum.to_string().as_bytes());
        if self.writing.is_none() || field.len() > FIELD_BYTES_MAX {
            return self.put_field(fields, field, cell);
        }
        self.write_field_addition(fields, field, by)?;
        self.put_row(fields.row(field), Some(cell));
        Ok(())
    }

    pub(super) fn remove_field(&mut self, fields: Fields, field: &[u8]) -> Result<(), Stop> {
        if self.writing.is_some() {
            self.write_field_removal(fields, field)?;
        }
        self.put_row(fields.row(field), None);
        Ok(())
    }

    /// Any row beside the headers.
    pub(super) fn put_row(&mut self, row: Bytes, value: Option<Bytes>) {
        self.rows.insert(row, value);
    }

    /// Only the number of fields changes; without any left the key goes.
    pub(super) fn put_count(&mut self, key: &[u8], count: u64) -> Result<(), Stop> {
        if count == 0 {
            let old = self.take_away(key)?;
            if old.is_some_and(|old| old.hidden.types) {
                self.show_key(key)?;
            }
            return Ok(());
        }
        if let Some(header) = self.stored(key)? {
            let version = self.version();
            let recount = |collection: Collection| Collection { count, ..collection };
            let body = match header.body {
                Body::String(_) | Body::Siblings(_) => {
                    unreachable!("only collections are counted")
                }
                Body::Hash(collection) => Body::Hash(recount(collection)),
                Body::Set(collection) => Body::Set(recount(collection)),
            };
            self.headers.insert(header_row(key), Some(Header { version, body, ..header }));
        }
        Ok(())
    }

    /// Removes field rows that no header leads to, so many at most.
    pub(super) fn sweep(&mut self, rows_max: usize) -> Result<(), Stop> {
        let mut left = rows_max;
        for fields in self.view.garbage(rows_max)? {
            if left == 0 {
                break;
            }
            let (from, to) = fields.range();
            let page = self.view.range(&from, &to, left)?;
            if page.len() < left {
                self.rows.insert(garbage_row(fields), None);
            }
            // The note counts as a row, so that many empty instances are bounded too.
            left = left.saturating_sub(page.len() + 1);
            self.rows.extend(page.into_iter().map(|(row, _)| (row, None)));
        }
        Ok(())
    }

    pub(super) fn clear(&mut self) -> Result<(), Stop> {
        if self.writing.is_some() {
            return self.remove_all();
        }
        self.clear = true;
        let version = self.version();
        self.rows.insert(Bytes::from_static(FLUSH_ROW), Some(number_cell(version.0)));
        Ok(())
    }

    pub(super) fn due_keys(&self, count_max: usize) -> Result<Vec<Bytes>, Stop> {
        Ok(self.view.due_keys(self.now(), count_max)?)
    }

    pub(super) const fn view(&self) -> &'a View<'a, R> {
        self.view
    }

    pub(super) const fn random(&mut self) -> &mut Random {
        &mut self.random
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
            writes: self.writing.map_or_else(Vec::new, Writing::into_writes),
        }
    }

    /// What every header and removal of this evaluation is stamped with.
    const fn version(&self) -> Version {
        Version(self.context.seed)
    }

    pub(super) fn row(&self, row: &[u8]) -> Result<Option<Bytes>, StateError> {
        match self.rows.get(row) {
            Some(changed) => Ok(changed.clone()),
            None => self.view.row(row),
        }
    }

    /// What has changed of these rows beside the headers.
    pub(super) fn changed_rows(
        &self,
        from: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = (&Bytes, &Option<Bytes>)> {
        changed(&self.rows, from, to)
    }

    /// Field rows that no header leads to any more.
    pub(super) fn release(&mut self, gone: Collection) -> Result<(), Stop> {
        if gone.count > REMOVED_AT_ONCE_MAX {
            self.rows.insert(garbage_row(gone.fields), Some(Bytes::new()));
            return Ok(());
        }
        let (from, to) = gone.fields.range();
        let rows = &mut self.rows;
        walk(self.view, (from, to), |row, _| {
            rows.insert(row.clone(), None);
            true
        })?;
        Ok(())
    }

    pub(super) fn stored(&self, key: &[u8]) -> Result<Option<Header>, StateError> {
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
