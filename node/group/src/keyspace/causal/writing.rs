//! What a command does, as writes of cells: each made of all that stands before it, and carried out at once.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::{ActorId, Dot, Hlc, VersionVector, WallTime};
use quorate_replication::causal::{CellKey, Content};
use quorate_replication::multi_leader::{Cell, Over, Write};
use quorate_storage::state::Rows;

use super::{Known, cell_row, decode, encode};
use crate::cells::{Named, cells_of, field_cell, string_cell};
use crate::keyspace::editor::{Editor, Stop};
use crate::keyspace::fields;
use crate::keyspace::layout::{Body, Collection, Fields, Header, Hidden};
use crate::keyspace::scan::walk;
use crate::{CollectionKind, KeyType, ValueError};

/// A FLUSHALL of more keys would be one entry of all of them.
const FLUSHED_KEYS_MAX: usize = 100_000;

/// What one command writes.
pub(in super::super) struct Writing {
    origin: ActorId,
    /// Read with the first write.
    begun: Option<Begun>,
    writes: Vec<(CellKey, Write)>,
    /// Whose field rows those of an instance are.
    names: BTreeMap<u64, (Bytes, CollectionKind)>,
}

/// What stands before the next write.
struct Begun {
    next: Dot,
    before: VersionVector,
    /// Some cells are ahead of that.
    is_ahead: bool,
    /// The time of all writes of the command.
    at: Hlc,
}

impl Begun {
    fn new(known: Known, origin: ActorId, done: u64, now: WallTime) -> Self {
        let (at, is_ahead) = (known.time(now), !known.ahead.is_empty());
        let mut before = known.vector;
        let last = Dot { actor: origin, counter: before.counter(origin) + done };
        before.include(last);
        Self { next: Dot { counter: last.counter + 1, ..last }, before, is_ahead, at }
    }

    fn follow(&mut self) {
        self.before.include(self.next);
        self.next.counter += 1;
    }

    /// What a write replaces that comes after all that stands in its cell.
    fn over(&self, cell: &Cell) -> Over {
        let known = self.is_ahead.then(|| {
            let mut known = self.before.clone();
            known.join(&cell.known());
            known
        });
        Over { known, ..cell.over(None) }
    }
}

impl Writing {
    pub(in super::super) const fn new(origin: ActorId) -> Self {
        Self { origin, begun: None, writes: Vec::new(), names: BTreeMap::new() }
    }

    pub(in super::super) fn into_writes(self) -> Vec<(CellKey, Write)> {
        self.writes
    }
}

impl<R: Rows> Editor<'_, R> {
    /// Field rows that are about to be written are this key's.
    pub(in super::super) fn name(&mut self, fields: Fields, key: &[u8], kind: CollectionKind) {
        if let Some(writing) = &mut self.writing {
            let name = || (Bytes::copy_from_slice(key), kind);
            writing.names.entry(fields.instance).or_insert_with(name);
        }
    }

    /// The key is to be this. What its header then hides.
    pub(in super::super) fn write_put(
        &mut self,
        key: &[u8],
        body: &Body,
        expiry: Option<WallTime>,
    ) -> Result<Hidden, Stop> {
        let old = self.stored(key)?;
        let kept = body_fields(body);
        if let Some(Body::Siblings(count)) = old.as_ref().map(|old| &old.body) {
            return Err(ValueError::Siblings(*count).into());
        }
        let string = string_cell(&Bytes::copy_from_slice(key))?;
        match body {
            Body::String(value) => {
                self.write_types_removal(key, old.as_ref(), None)?;
                let is_ahead = self.begun()?.is_ahead;
                let cell = match &old {
                    // It is replaced, and nothing else is there.
                    Some(old) if !old.hidden.values && !is_ahead => Cell::default(),
                    Some(_) | None => self.cell(&string, old.as_ref())?,
                };
                let content = Content::Value { value: value.clone(), expiry };
                let cell =
                    self.write(&string, cell, |_, _, over| Ok(Write::Put { content, over }))?;
                let values = cell.alone().is_none();
                self.put_cell(&string, &cell, true);
                Ok(Hidden { values, types: false })
            }
            Body::Hash(collection) | Body::Set(collection) => {
                if old.as_ref().is_some_and(|old| body_fields(&old.body) == kept) {
                    return Ok(old.map(|old| old.hidden).unwrap_or_default());
                }
                let values = self.write_string_removal(&string, old.as_ref())?;
                self.write_types_removal(key, old.as_ref(), kept)?;
                let writing = self.writing.as_ref();
                let mut names = writing.iter().flat_map(|writing| writing.names.iter());
                let instance = collection.fields.instance;
                if !names.any(|(named, (name, _))| *named == instance && name == key) {
                    self.write_renamed(key, body, *collection)?;
                }
                Ok(Hidden { values, types: false })
            }
            Body::Siblings(_) => unreachable!("no command puts several values"),
        }
    }

    /// INCR and its like.
    pub(in super::super) fn write_addition(
        &mut self,
        key: &[u8],
        by: i64,
        expiry: Option<WallTime>,
    ) -> Result<Hidden, Stop> {
        let old = self.stored(key)?;
        let string = string_cell(&Bytes::copy_from_slice(key))?;
        let cell = self.cell(&string, old.as_ref())?;
        let cell = self.write(&string, cell, |cell, dot, _| {
            cell.addition(dot, by, expiry).ok_or(ValueError::Overflow)
        })?;
        self.put_cell(&string, &cell, true);
        let types = old.is_some_and(|old| old.hidden.types);
        Ok(Hidden { values: true, types })
    }

    /// The key is to be nothing.
    pub(in super::super) fn write_removal(&mut self, key: &[u8]) -> Result<(), Stop> {
        let Some(old) = self.stored(key)? else { return Ok(()) };
        let string = string_cell(&Bytes::copy_from_slice(key))?;
        self.write_string_removal(&string, Some(&old))?;
        self.write_types_removal(key, Some(&old), None)
    }

    pub(in super::super) fn write_field(
        &mut self,
        fields: Fields,
        field: &[u8],
        value: &Bytes,
    ) -> Result<(), Stop> {
        let (cell_key, kind) = self.named_cell(fields, field)?;
        self.write_element(&cell_key, kind, value)
    }

    /// HINCRBY.
    pub(in super::super) fn write_field_addition(
        &mut self,
        fields: Fields,
        field: &[u8],
        by: i64,
    ) -> Result<(), Stop> {
        let (cell_key, _) = self.named_cell(fields, field)?;
        let cell = self.cell(&cell_key, None)?;
        let cell = self.write(&cell_key, cell, |cell, dot, _| {
            cell.addition(dot, by, None).ok_or(ValueError::Overflow)
        })?;
        self.put_cell(&cell_key, &cell, false);
        Ok(())
    }

    pub(in super::super) fn write_field_removal(
        &mut self,
        fields: Fields,
        field: &[u8],
    ) -> Result<(), Stop> {
        let (cell_key, _) = self.named_cell(fields, field)?;
        self.remove_cell(&cell_key, None)
    }

    /// FLUSHALL: all keys, one by one, for what others write at the same time stays.
    pub(in super::super) fn remove_all(&mut self) -> Result<(), Stop> {
        let mut keys = Vec::new();
        let range = (Bytes::from_static(b"d"), Bytes::from_static(b"e"));
        walk(self.view(), range, |row, _| {
            keys.push(crate::keyspace::layout::key_of_row(row).0);
            keys.len() <= FLUSHED_KEYS_MAX
        })?;
        if keys.len() > FLUSHED_KEYS_MAX {
            return Err(ValueError::TooManyKeys(FLUSHED_KEYS_MAX as u32).into());
        }
        keys.iter().try_for_each(|key| self.remove(key))
    }

    /// A cell as it stands; a string's by what the key's header shows.
    pub(super) fn cell(&self, key: &CellKey, header: Option<&Header>) -> Result<Cell, Stop> {
        match self.row(&cell_row(key))? {
            Some(bytes) => Ok(decode(&bytes, header)?),
            None => Ok(Cell::default()),
        }
    }

    /// `shown` where the header of a string is about to hold its value.
    pub(super) fn put_cell(&mut self, key: &CellKey, cell: &Cell, shown: bool) {
        self.put_row(cell_row(key), encode(cell, shown));
    }

    /// What stands before the next write of this command.
    fn begun(&mut self) -> Result<&mut Begun, Stop> {
        let (now, done) = (self.now(), self.view().writes_before());
        let begins = self.writing.as_ref().is_some_and(|writing| writing.begun.is_none());
        let known = if begins { Known::of(self.view())? } else { Known::default() };
        let writing = self.writing.as_mut().expect("only a leader of several writes cells");
        let origin = writing.origin;
        Ok(writing.begun.get_or_insert_with(|| Begun::new(known, origin, done, now)))
    }

    /// Carries out a write of this command.
    pub(super) fn write(
        &mut self,
        key: &CellKey,
        mut cell: Cell,
        write: impl FnOnce(&Cell, Dot, Over) -> Result<Write, ValueError>,
    ) -> Result<Cell, Stop> {
        let begun = self.begun()?;
        let dot = begun.next;
        let write = write(&cell, dot, begun.over(&cell))?;
        cell.apply(dot, begun.at, &write, &begun.before);
        begun.follow();
        if let Some(writing) = &mut self.writing {
            writing.writes.push((key.clone(), write));
        }
        Ok(cell)
    }

    /// Whether something is left of the string's cell.
    fn write_string_removal(
        &mut self,
        string: &CellKey,
        old: Option<&Header>,
    ) -> Result<bool, Stop> {
        let shown = old.is_some_and(|old| old.kind() == KeyType::String);
        if old.is_some_and(|old| !shown && !old.hidden.values) {
            return Ok(false);
        }
        let cell = self.cell(string, old)?;
        if !shown {
            return Ok(!cell.is_empty());
        }
        let remove = |_: &Cell, _, over| Ok(Write::Remove { over });
        let cell = self.write(string, cell, remove)?;
        self.put_cell(string, &cell, false);
        Ok(!cell.is_empty())
    }

    /// Everything of the key that is no string goes, but what is in these field rows.
    fn write_types_removal(
        &mut self,
        key: &[u8],
        old: Option<&Header>,
        kept: Option<Fields>,
    ) -> Result<(), Stop> {
        let Some(old) = old else { return Ok(()) };
        let named = |editor: &Self, fields: Fields| {
            let writing = editor.writing.as_ref()?;
            Some((fields, writing.names.get(&fields.instance)?.1))
        };
        let kept = kept.and_then(|fields| named(self, fields));
        let is_kept = |editor: &Self, kind: CollectionKind, field: &[u8]| match kept {
            Some((fields, new)) if new == kind => editor.row(&fields.row(field)),
            Some(_) | None => Ok(None),
        };
        if old.hidden.types {
            let string = string_cell(&Bytes::copy_from_slice(key))?;
            for (cell_key, _) in self.cells_of_key(key, Some(old))? {
                let named = Named::of(&cell_key).filter(|_| cell_key != string);
                let Some(named) = named else { continue };
                let kind = kind_of(named.kind).unwrap_or(CollectionKind::Hash);
                if is_kept(self, kind, &named.field)?.is_none() {
                    self.remove_cell(&cell_key, None)?;
                }
            }
            return Ok(());
        }
        let (Some(collection), Some(kind)) = (old.collection(), kind_of(old.kind())) else {
            return Ok(());
        };
        let key = Bytes::copy_from_slice(key);
        for field in self.fields_of(collection)? {
            if is_kept(self, kind, &field.name)?.is_none() {
                self.remove_cell(&field_cell(&key, kind, &field.name)?, None)?;
            }
        }
        Ok(())
    }

    /// RENAME brings all fields at once.
    fn write_renamed(
        &mut self,
        key: &[u8],
        body: &Body,
        collection: Collection,
    ) -> Result<(), Stop> {
        let kind = match body {
            Body::Set(_) => CollectionKind::Set,
            Body::Hash(_) | Body::String(_) | Body::Siblings(_) => CollectionKind::Hash,
        };
        let key = Bytes::copy_from_slice(key);
        for field in self.fields_of(collection)? {
            self.write_element(&field_cell(&key, kind, &field.name)?, kind, &field.value)?;
        }
        Ok(())
    }

    fn write_element(
        &mut self,
        key: &CellKey,
        kind: CollectionKind,
        value: &Bytes,
    ) -> Result<(), Stop> {
        let content = match kind {
            CollectionKind::Hash => Content::Value { value: value.clone(), expiry: None },
            CollectionKind::Set => Content::Member,
        };
        let cell = self.cell(key, None)?;
        let put = |_: &Cell, _, over| Ok(Write::Put { content, over });
        let cell = self.write(key, cell, put)?;
        self.put_cell(key, &cell, false);
        Ok(())
    }

    fn remove_cell(&mut self, key: &CellKey, header: Option<&Header>) -> Result<(), Stop> {
        let cell = self.cell(key, header)?;
        let remove = |_: &Cell, _, over| Ok(Write::Remove { over });
        let cell = self.write(key, cell, remove)?;
        self.put_cell(key, &cell, false);
        Ok(())
    }

    /// All cells of a key, as they stand.
    pub(super) fn cells_of_key(
        &self,
        key: &[u8],
        header: Option<&Header>,
    ) -> Result<Vec<(CellKey, Cell)>, Stop> {
        let bounds = cells_of(&Bytes::copy_from_slice(key))?;
        let row = |bound: &Bytes| [&[super::CELLS], bound.as_ref()].concat();
        let (from, to) = (row(&bounds.from), row(&bounds.to));
        let mut rows = BTreeMap::new();
        walk(self.view(), (from.clone().into(), to.clone().into()), |row, bytes| {
            rows.insert(row.clone(), bytes.clone());
            true
        })?;
        for (row, bytes) in self.changed_rows(&from, &to) {
            match bytes {
                Some(bytes) => rows.insert(row.clone(), bytes.clone()),
                None => rows.remove(row),
            };
        }
        let cell = |(row, bytes): (Bytes, Bytes)| {
            let key = CellKey::new(row.slice(1..)).filter(|key| Named::of(key).is_some());
            let key = key.ok_or_else(|| super::damaged("a cell's key"))?;
            Ok((key, decode(&bytes, header)?))
        };
        rows.into_iter().map(cell).collect()
    }

    /// As they were before this command.
    fn fields_of(&self, collection: Collection) -> Result<Vec<fields::Field>, Stop> {
        let mut all = Vec::new();
        fields::all(self.view(), collection, |field| {
            all.push(field);
            Ok(())
        })?;
        Ok(all)
    }

    fn named_cell(
        &self,
        fields: Fields,
        field: &[u8],
    ) -> Result<(CellKey, CollectionKind), ValueError> {
        let names = self.writing.as_ref().map(|writing| &writing.names);
        let (key, kind) = names
            .and_then(|names| names.get(&fields.instance))
            .expect("whoever writes fields has looked for their key");
        Ok((field_cell(key, *kind, &Bytes::copy_from_slice(field))?, *kind))
    }
}

const fn body_fields(body: &Body) -> Option<Fields> {
    match body {
        Body::Hash(collection) | Body::Set(collection) => Some(collection.fields),
        Body::String(_) | Body::Siblings(_) => None,
    }
}

const fn kind_of(kind: KeyType) -> Option<CollectionKind> {
    match kind {
        KeyType::String => None,
        KeyType::Hash => Some(CollectionKind::Hash),
        KeyType::Set => Some(CollectionKind::Set),
    }
}
