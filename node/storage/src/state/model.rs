//! The state store of the simulation: a map with the flush semantics of the real one.
//!
//! Deterministic. The caller decides when a flush is complete and when ranges are really deleted; a crash brings back the state
//! of the last complete flush. Handles are clones of one store, which outlives its host as a disk does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};

use super::bulk::{self, Export, Exported, Ingest, IngestError, Page};
use super::{Batch, Change, FlushId, Rows, StateError, StateStore, below_reserved};

/// A handle to a store.
#[derive(Clone, Default)]
pub struct Store(Arc<Mutex<State>>);

/// All rows as they were at one moment.
#[derive(Clone)]
pub struct View(Arc<Map>);

/// Pages of a view, made when they are asked for.
pub struct Exporting {
    rows: std::iter::Peekable<std::vec::IntoIter<(Bytes, Bytes)>>,
    cut: usize,
    page_bytes: usize,
}

/// Rows that join the store all at once.
pub struct Ingesting {
    store: Store,
    prefix: Bytes,
    rows: Vec<(Bytes, Bytes)>,
    malformed: bool,
    finished: bool,
}

/// Row to the number of the batch that put it, and its value.
type Map = BTreeMap<Bytes, (u64, Bytes)>;

#[derive(Default)]
struct State {
    image: Image,
    batches: u64,
    /// What a crash brings back.
    durable: Image,
    flushes: VecDeque<(FlushId, Image)>,
    next_flush: u64,
    flushed: Option<FlushId>,
    unflushed_bytes: u64,
    at_once: bool,
    failing: bool,
    /// Rows that cannot be read.
    unreadable: BTreeSet<Bytes>,
}

#[derive(Clone, Default)]
struct Image {
    rows: Arc<Map>,
    /// Ranges to delete, each of the rows put before the batch of this number.
    deletions: Vec<(u64, Bytes, Bytes)>,
}

impl Store {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Completes the oldest flush that was asked for.
    #[must_use]
    pub fn complete_flush(&self) -> Option<FlushId> {
        self.state().complete_flush()
    }

    /// Flushes that were asked for and are not complete.
    #[must_use]
    pub fn pending_flushes(&self) -> usize {
        self.state().flushes.len()
    }

    /// Whether flushes complete when they are asked for.
    pub fn flush_at_once(&self, at_once: bool) {
        self.state().at_once = at_once;
    }

    /// From now on flushes fail.
    pub fn fail_flushes(&self) {
        self.state().failing = true;
    }

    /// Flips a bit of a row's value, in memory and in what is durable: what a bad disk does below every checksum of the log.
    /// Answers whether there is such a byte.
    #[must_use]
    pub fn flip_bit(&self, row: &[u8], byte: usize, bit: u8) -> bool {
        assert!(bit < 8);
        let mut state = self.state();
        let flipped = state.image.flip_bit(row, byte, bit);
        let _was_durable = state.durable.flip_bit(row, byte, bit);
        for (_, image) in &mut state.flushes {
            let _was_under_way = image.flip_bit(row, byte, bit);
        }
        flipped
    }

    /// From now on, also after a crash, a read that meets this row fails, as with a bad block. Until the row is put again.
    pub fn fail_row(&self, row: Bytes) {
        self.state().unreadable.insert(row);
    }

    /// Really deletes the ranges that were asked to be.
    pub fn carry_out_deletions(&self) {
        self.state().image.carry_out_deletions();
    }

    /// The process or the machine dies: everything is as of the last complete flush.
    pub fn crash(&self) {
        let mut state = self.state();
        state.image = state.durable.clone();
        state.flushes.clear();
        state.flushed = None;
        state.next_flush = 0;
        state.unflushed_bytes = 0;
        state.failing = false;
    }

    /// Everything is gone, as on a new volume.
    pub fn wipe(&self) {
        self.state().durable = Image::default();
        self.crash();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For tests of what is above an engine.
impl Rows for BTreeMap<Bytes, Bytes> {
    fn row(&self, row: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.get(row).cloned())
    }

    fn range(
        &self,
        from: &[u8],
        to: &[u8],
        count_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        let range = self.range(Bytes::copy_from_slice(from)..Bytes::copy_from_slice(to));
        Ok(range.take(count_max).map(|(row, value)| (row.clone(), value.clone())).collect())
    }
}

impl Rows for Store {
    fn row(&self, row: &[u8]) -> Result<Option<Bytes>, StateError> {
        let state = self.state();
        state.check_readable(row, &[row, &[0]].concat())?;
        Ok(state.image.rows.get(row).map(|(_, value)| value.clone()))
    }

    fn range(
        &self,
        from: &[u8],
        to: &[u8],
        count_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        let state = self.state();
        let rows = range(&state.image.rows, from, to, count_max);
        // Only as far as the read really went.
        let end = match rows.last() {
            Some((last, _)) if rows.len() == count_max => [last.as_ref(), &[0]].concat(),
            Some(_) | None => to.to_vec(),
        };
        state.check_readable(from, &end)?;
        Ok(rows)
    }
}

impl Rows for View {
    fn row(&self, row: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.0.get(row).map(|(_, value)| value.clone()))
    }

    fn range(
        &self,
        from: &[u8],
        to: &[u8],
        count_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        Ok(range(&self.0, from, to, count_max))
    }
}

impl StateStore for Store {
    type View = View;
    type Export = Exporting;
    type Ingest = Ingesting;

    fn apply(&self, batch: Batch) {
        batch.check();
        let mut state = self.state();
        state.unflushed_bytes += batch.bytes();
        state.batches += 1;
        let number = state.batches;
        for change in batch.changes {
            match change {
                Change::Put { row, value } => {
                    state.unreadable.remove(&row);
                    Arc::make_mut(&mut state.image.rows).insert(row, (number, value));
                }
                Change::Delete { row } => {
                    Arc::make_mut(&mut state.image.rows).remove(&row);
                }
                Change::DeleteRange { from, to } => {
                    state.image.deletions.push((number, from, to));
                }
            }
        }
    }

    fn view(&self) -> View {
        View(Arc::clone(&self.state().image.rows))
    }

    fn export(
        &self,
        view: View,
        from: Bytes,
        to: Bytes,
        cut: usize,
        page_bytes: usize,
    ) -> Exporting {
        let rows = range(&view.0, &from, &to, usize::MAX).into_iter().peekable();
        Exporting { rows, cut, page_bytes }
    }

    fn ingest(&self, prefix: Bytes, _end: Bytes) -> Ingesting {
        let store = self.clone();
        Ingesting { store, prefix, rows: Vec::new(), malformed: false, finished: false }
    }

    fn start_flush(&self) -> FlushId {
        let mut state = self.state();
        let id = FlushId(state.next_flush);
        state.next_flush += 1;
        state.unflushed_bytes = 0;
        let image = state.image.clone();
        state.flushes.push_back((id, image));
        if state.at_once {
            state.complete_flush();
        }
        id
    }

    fn flushed(&self) -> Result<Option<FlushId>, StateError> {
        let state = self.state();
        if state.failing {
            return Err(StateError::Flush("the disk fails, as the simulation wants".into()));
        }
        Ok(state.flushed)
    }

    fn unflushed_bytes(&self) -> u64 {
        self.state().unflushed_bytes
    }
}

impl Export for Exporting {
    fn next(&mut self) -> Result<Exported, StateError> {
        let (mut page, mut rows) = (BytesMut::new(), 0);
        while let Some((row, value)) = self.rows.next_if(|(row, value)| {
            rows == 0 || page.len() + row.len() + value.len() <= self.page_bytes
        }) {
            bulk::put_row(&mut page, &row[self.cut..], &value);
            rows += 1;
        }
        let page = Page { rows, bytes: page.freeze() };
        Ok(if rows > 0 { Exported::Page(page) } else { Exported::End })
    }
}

impl Ingest for Ingesting {
    fn push(&mut self, mut page: Bytes) {
        while !page.is_empty() && !self.malformed {
            let Some((row, value)) = bulk::take_row(&mut page) else {
                self.malformed = true;
                return;
            };
            let mut whole = BytesMut::with_capacity(self.prefix.len() + row.len());
            whole.put_slice(&self.prefix);
            whole.put_slice(&row);
            self.malformed |=
                self.rows.last().is_some_and(|(last, _)| last.as_ref() >= whole.as_ref());
            self.rows.push((whole.freeze(), value));
        }
    }

    fn finish(&mut self) {
        self.finished = true;
        if !self.malformed {
            let mut state = self.store.state();
            state.batches += 1;
            let number = state.batches;
            let rows = self.rows.iter().cloned();
            let rows = rows.map(|(row, value)| (row, (number, value)));
            Arc::make_mut(&mut state.image.rows).extend(rows);
        }
    }

    fn waiting_bytes(&self) -> usize {
        0
    }

    fn finished(&self) -> Result<Option<u64>, IngestError> {
        if self.malformed {
            return Err(IngestError::Malformed);
        }
        Ok(self.finished.then_some(self.rows.len() as u64))
    }
}

impl State {
    fn check_readable(&self, from: &[u8], to: &[u8]) -> Result<(), StateError> {
        let bad = |row: &&Bytes| from <= row.as_ref() && row.as_ref() < to;
        match self.unreadable.iter().find(bad) {
            Some(_) => Err(StateError::Read("a bad block, as the simulation wants".into())),
            None => Ok(()),
        }
    }

    fn complete_flush(&mut self) -> Option<FlushId> {
        if self.failing {
            return None;
        }
        let (id, image) = self.flushes.pop_front()?;
        self.durable = image;
        self.flushed = Some(id);
        Some(id)
    }
}

impl Image {
    fn flip_bit(&mut self, row: &[u8], byte: usize, bit: u8) -> bool {
        let Some((_, value)) = Arc::make_mut(&mut self.rows).get_mut(row) else { return false };
        if byte >= value.len() {
            return false;
        }
        let mut bytes = value.to_vec();
        bytes[byte] ^= 1 << bit;
        *value = Bytes::from(bytes);
        true
    }

    fn carry_out_deletions(&mut self) {
        for (number, from, to) in std::mem::take(&mut self.deletions) {
            let to = Bytes::copy_from_slice(below_reserved(&to));
            if from >= to {
                continue;
            }
            let rows = Arc::make_mut(&mut self.rows);
            let gone: Vec<Bytes> = rows
                .range(from..to)
                .filter(|(_, (put, _))| *put < number)
                .map(|(row, _)| row.clone())
                .collect();
            for row in gone {
                rows.remove(&row);
            }
        }
    }
}

fn range(rows: &Map, from: &[u8], to: &[u8], count_max: usize) -> Vec<(Bytes, Bytes)> {
    use std::ops::Bound::{Excluded, Included};
    let to = below_reserved(to);
    if from >= to {
        return Vec::new();
    }
    rows.range::<[u8], _>((Included(from), Excluded(to)))
        .take(count_max)
        .map(|(row, (_, value))| (row.clone(), value.clone()))
        .collect()
}
