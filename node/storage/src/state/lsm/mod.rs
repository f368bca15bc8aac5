//! The state store of a node: an LSM tree without a log of its own.
//!
//! The tree has the tables, their compaction and their cache; what is not flushed stands in memtables of our own, see
//! `memtable`. One writer at a time; readers beside it never wait for the disk of a flush. A batch has one sequence number
//! and a memtable is sealed between batches only, so what a flush leaves behind is always whole batches. Three threads: one
//! flushes, one compacts and carries out range deletions, one brings tables to the disk while they are written.
//!
//! What a reader sees is not the engine's own "visible" number: the engine raises that for its own bookkeeping in the
//! middle of our batches. `Now::visible` moves between batches only.
//!
//! Locks are taken in this order: `flushing`, `writer`, `readers`, `now`, then `recent` or `work`.

mod background;
mod deletion;
mod memtable;
mod recent;
mod row_map;
mod transfer;
mod version;
mod writeback;

#[cfg(test)]
mod lsm_test;

use std::cmp::Ordering::{Equal, Greater, Less};
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::thread::JoinHandle;

use bytes::Bytes;
use lsm_tree::{AbstractTree, AnyTree, Cache, Config, SeqNo, SequenceNumberCounter, Slice};

use super::{Batch, Change, FlushId, Rows, StateError, StateStore, below_reserved};
use deletion::{Deletion, Origin};
use memtable::{Memtables, Newest, Row, Sealed};
use recent::Recent;
use transfer::Extent;
pub use transfer::{Exporting, Ingesting};
use version::Version;

/// A value of this size and more is kept as the slice that it came in; smaller ones are copied, so that no row keeps a whole
/// network buffer in memory.
const LARGE_VALUE_BYTES: usize = 4 << 10;
/// Applying waits while this many memtables wait for their flush.
const SEALED_MEMTABLES_MAX: usize = 4;
/// Applying waits while the newest level has this many runs: compaction must catch up.
const NEWEST_LEVEL_RUNS_MAX: usize = 24;

type Source = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How much of the tables' blocks is kept in memory.
    pub block_cache_bytes: u64,
    /// How much of the rows that were read lately is kept in memory.
    pub row_cache_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { block_cache_bytes: 64 << 20, row_cache_bytes: 64 << 20 }
    }
}

/// A handle to the store. The threads end with the last handle; what is not flushed then is gone, as after a crash.
#[derive(Clone)]
pub struct Store(Arc<Owner>);

/// All rows as they were at one moment. Holds the files and memtables of that moment.
pub struct View {
    reader: Reader<Arc<Shared>>,
    now: Now,
}

/// What it sees, and what came later, is not compacted away.
struct Reader<S: Deref<Target = Shared>> {
    shared: S,
    at: SeqNo,
}

struct Owner {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    directory: PathBuf,
    tree: AnyTree,
    seqno: SequenceNumberCounter,
    now: RwLock<Now>,
    recent: Recent,
    writer: Mutex<Writer>,
    /// Held by whoever brings memtables to the tables or needs that nobody does.
    flushing: Mutex<()>,
    /// How many readers there are at each number.
    readers: Mutex<BTreeMap<SeqNo, usize>>,
    work: Mutex<Work>,
    /// Something in `work` has changed.
    changed: Condvar,
    /// Applying must wait.
    pressed: AtomicBool,
}

/// All rows at one moment.
#[derive(Clone)]
struct Now {
    memtables: Memtables,
    tables: Version,
    /// Of the tables, what has a lower sequence number.
    visible: SeqNo,
}

#[derive(Default)]
struct Writer {
    unflushed_bytes: u64,
    next_flush: u64,
}

#[derive(Default)]
struct Work {
    flushes: VecDeque<FlushId>,
    flushed: Option<FlushId>,
    deletions: VecDeque<Deletion>,
    compaction_due: bool,
    /// How many write tables at present.
    writing: usize,
    /// What stopped the background for good.
    failed: Option<Arc<lsm_tree::Error>>,
    ending: bool,
}

impl Store {
    /// Opens the store as of its last flush, or creates it.
    ///
    /// # Errors
    /// [`StateError::Open`].
    pub fn open(directory: &Path, settings: Settings) -> Result<Self, StateError> {
        let failed = |source: Source| StateError::Open {
            directory: directory.display().to_string(),
            source,
        };
        let seqno = SequenceNumberCounter::default();
        let tree = Config::new(directory, seqno.clone(), SequenceNumberCounter::default())
            .use_cache(Arc::new(Cache::with_capacity_bytes(settings.block_cache_bytes)))
            .open()
            .map_err(|error| failed(error.into()))?;
        // Number 0 would be seen by nobody: readers see what is below theirs.
        let next = tree.get_highest_persisted_seqno().map_or(1, |highest| highest + 1);
        seqno.set(next);
        let deletions = deletion::pending(&tree, next).map_err(|error| failed(error.into()))?;
        let tables = Version::newest(&tree);
        let shared = Arc::new(Shared {
            directory: directory.to_owned(),
            tree,
            seqno,
            now: RwLock::new(Now { memtables: Memtables::default(), tables, visible: next }),
            recent: Recent::new(settings.row_cache_bytes),
            writer: Mutex::default(),
            flushing: Mutex::default(),
            readers: Mutex::default(),
            work: Mutex::new(Work { deletions, compaction_due: true, ..Work::default() }),
            changed: Condvar::new(),
            pressed: AtomicBool::new(false),
        });
        let threads = background::start(&shared).map_err(|error| failed(error.into()))?;
        Ok(Self(Arc::new(Owner { shared, threads })))
    }

    /// Bytes of the tables on the disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.0.shared.tree.disk_space()
    }

    /// Range deletions that are not yet carried out.
    #[must_use]
    pub fn pending_deletions(&self) -> usize {
        lock(&self.0.shared.work).deletions.len()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        lock(&self.shared.work).ending = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            drop(thread.join());
        }
    }
}

impl StateStore for Store {
    type View = View;
    type Export = Exporting;
    type Ingest = Ingesting;

    fn apply(&self, batch: Batch) {
        batch.check();
        let shared = &self.0.shared;
        shared.wait_for_background();
        let mut writer = lock(&shared.writer);
        writer.unflushed_bytes += batch.bytes();
        let number = shared.seqno.next();
        let mut deletions = Vec::new();
        let mut changes = Vec::with_capacity(batch.changes.len());
        for change in batch.changes {
            match change {
                Change::Put { row, value } => changes.push((copied(&row), Some(kept(value)))),
                Change::Delete { row } => changes.push((copied(&row), None)),
                Change::DeleteRange { from, to } => {
                    let flush = FlushId(writer.next_flush);
                    let origin = Origin { batch: number, number: deletions.len(), flush };
                    let deletion = Deletion::new(&origin, &from, &to);
                    changes.push(deletion.note());
                    deletions.push(deletion);
                }
            }
        }
        shared.change(&writer, number, changes);
        // Under the writer's lock, so that they are queued in the order of their batches. They wait for a flush.
        lock(&shared.work).deletions.extend(deletions);
        drop(writer);
    }

    fn view(&self) -> View {
        let reader = Reader::new(Arc::clone(&self.0.shared));
        let now = reader.shared.now().clone();
        View { reader, now }
    }

    fn export(
        &self,
        view: View,
        from: Bytes,
        to: Bytes,
        cut: usize,
        page_bytes: usize,
    ) -> Exporting {
        Exporting::start(view, Extent { from, to, cut, page_bytes })
    }

    fn ingest(&self, prefix: Bytes, end: Bytes) -> Ingesting {
        Ingesting::start(self.clone(), prefix, end)
    }

    fn start_flush(&self) -> FlushId {
        let shared = &self.0.shared;
        let mut writer = lock(&shared.writer);
        let id = shared.seal(&writer);
        writer.next_flush += 1;
        writer.unflushed_bytes = 0;
        // Under the writer's lock, so that flushes are queued in the order of their ids.
        lock(&shared.work).flushes.push_back(id);
        drop(writer);
        shared.measure_pressure();
        shared.changed.notify_all();
        id
    }

    fn flushed(&self) -> Result<Option<FlushId>, StateError> {
        let work = lock(&self.0.shared.work);
        match &work.failed {
            Some(error) => Err(StateError::Flush(Box::new(Arc::clone(error)))),
            None => Ok(work.flushed),
        }
    }

    fn unflushed_bytes(&self) -> u64 {
        lock(&self.0.shared.writer).unflushed_bytes
    }
}

impl Rows for Store {
    fn row(&self, row: &[u8]) -> Result<Option<Bytes>, StateError> {
        let shared = &self.0.shared;
        if let Some(value) = shared.recent.look(row) {
            return Ok(value.map(Bytes::from));
        }
        let moment = shared.recent.moment();
        let _reader = Reader::new(&**shared);
        let value = shared.row(shared.now(), row)?;
        shared.recent.keep(row, value.as_ref(), moment);
        Ok(value.map(Bytes::from))
    }

    fn range(
        &self,
        from: &[u8],
        to: &[u8],
        count_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        let shared = &self.0.shared;
        let _reader = Reader::new(&**shared);
        let now = shared.now().clone();
        now.range(from, to, count_max)
    }
}

impl Rows for View {
    fn row(&self, row: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.reader.shared.row(&self.now, row)?.map(Bytes::from))
    }

    fn range(
        &self,
        from: &[u8],
        to: &[u8],
        count_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        self.now.range(from, to, count_max)
    }
}

impl<S: Deref<Target = Shared>> Reader<S> {
    /// Of what is visible from here on.
    fn new(shared: S) -> Self {
        let mut readers = lock(&shared.readers);
        let at = shared.now().visible;
        *readers.entry(at).or_default() += 1;
        drop(readers);
        Self { shared, at }
    }
}

impl<S: Deref<Target = Shared>> Drop for Reader<S> {
    fn drop(&mut self) {
        let mut readers = lock(&self.shared.readers);
        let count = readers.get_mut(&self.at).expect("a reader is counted while it lives");
        *count -= 1;
        if *count == 0 {
            readers.remove(&self.at);
        }
    }
}

impl Now {
    fn range(
        &self,
        from: &[u8],
        to: &[u8],
        count_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        let to = below_reserved(to);
        let mut rows = Vec::new();
        for item in self.rows(from, to).take(count_max) {
            let (row, value) = item.map_err(read_error)?;
            rows.push((row.into(), value.into()));
        }
        Ok(rows)
    }

    /// Tables that two threads looked up may come in the wrong order. Answers those that are not read: to let them go may remove
    /// files, which is for the caller to do where nobody waits.
    #[must_use]
    fn replace(&mut self, mut tables: Version, number: SeqNo) -> Version {
        if tables.is_after(&self.tables) {
            mem::swap(&mut self.tables, &mut tables);
        }
        self.visible = self.visible.max(number);
        tables
    }

    /// The rows from `from` on and below `to`, in order.
    fn rows<'a>(
        &'a self,
        from: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = lsm_tree::Result<(Slice, Slice)>> + use<'a> {
        let to = to.max(from);
        let bounds = [from, to].map(|row| Row::new(Slice::from(row)));
        let mut fresh = self.memtables.range(&bounds[0], &bounds[1]).peekable();
        let mut flushed = self.tables.range(from, to, self.visible).peekable();
        std::iter::from_fn(move || {
            loop {
                let order = match (fresh.peek(), flushed.peek()) {
                    (None, None) => return None,
                    (Some(_), None) => Less,
                    (None, Some(_)) | (Some(_), Some(Err(_))) => Greater,
                    (Some((row, _)), Some(Ok((flushed, _)))) => row.row.cmp(flushed),
                };
                if order == Greater {
                    return flushed.next();
                }
                if order == Equal {
                    // What the tables have is older, or the same.
                    drop(flushed.next());
                }
                let (row, newest) = fresh.next()?;
                if let Some(value) = &newest.value {
                    return Some(Ok((row.row.clone(), value.clone())));
                }
            }
        })
    }
}

impl Shared {
    /// `now` is let go before the tables are read: it may be a lock.
    fn row(&self, now: impl Deref<Target = Now>, row: &[u8]) -> Result<Option<Slice>, StateError> {
        if row.is_empty() {
            return Ok(None);
        }
        let row = Row::new(Slice::from(row));
        if let Some(newest) = now.memtables.newest(&row) {
            return Ok(newest.value.clone());
        }
        let (tables, visible) = (now.tables.clone(), now.visible);
        drop(now);
        let found = tables.find(&row.row, visible).map_err(read_error)?;
        Ok(found.map(|found| found.value))
    }

    /// Changes of one batch become visible together.
    fn change(
        &self,
        _writer: &MutexGuard<'_, Writer>,
        at: SeqNo,
        changes: Vec<(Slice, Option<Slice>)>,
    ) {
        let mut now = self.now_mut();
        let mut recent = self.recent.change();
        assert!(at >= now.visible, "a batch is newer than what is seen");
        for (row, value) in changes {
            recent.replace(&row, value.as_ref());
            now.memtables.put(Row::new(row), Newest { at, value });
        }
        now.visible = at + 1;
    }

    fn now(&self) -> RwLockReadGuard<'_, Now> {
        self.now.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_mut(&self) -> RwLockWriteGuard<'_, Now> {
        self.now.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// No reader, present or future, has a lower number. Versions below it may be dropped.
    fn oldest_in_use(&self) -> SeqNo {
        let readers = lock(&self.readers);
        let visible = self.now().visible;
        // The numbers of readers are never above what is visible.
        readers.keys().next().copied().unwrap_or(visible)
    }

    /// Lets readers see the tables of a compaction instead of what they replace: the numbers that it took are used up, and no
    /// batch is half applied.
    fn publish(&self) {
        let tables = Version::newest(&self.tree);
        let writer = lock(&self.writer);
        let replaced = self.now_mut().replace(tables, self.seqno.get());
        drop(writer);
        drop(replaced);
    }

    /// Batches from here on go with a later flush than what there is. Answers the flush that this goes with at the latest.
    fn seal(&self, writer: &MutexGuard<'_, Writer>) -> FlushId {
        let flush = FlushId(writer.next_flush);
        self.now_mut().memtables.seal(flush);
        flush
    }

    /// The tables have what so many of the oldest memtables hold: readers see the ones instead of the others. Let what this answers
    /// go when no lock is held.
    fn flushed(
        &self,
        _writer: &MutexGuard<'_, Writer>,
        tables: Version,
        oldest: usize,
    ) -> (Version, Arc<Vec<Sealed>>) {
        let mut now = self.now_mut();
        let replaced = now.replace(tables, self.seqno.get());
        (replaced, now.memtables.forget_oldest(oldest))
    }

    /// As `publish`, when rows came or went with it.
    #[must_use]
    fn publish_rows(&self, _writer: &MutexGuard<'_, Writer>, tables: Version) -> Version {
        let mut now = self.now_mut();
        self.recent.change().forget_all();
        now.replace(tables, self.seqno.get())
    }

    fn measure_pressure(&self) {
        let now = self.now();
        let pressed = now.memtables.sealed().len() >= SEALED_MEMTABLES_MAX
            || now.tables.newest_level_runs() >= NEWEST_LEVEL_RUNS_MAX;
        drop(now);
        // Under the lock, so that who waits sees it or is woken.
        let work = lock(&self.work);
        self.pressed.store(pressed, Ordering::Release);
        drop(work);
    }

    /// The engine's back-pressure.
    fn wait_for_background(&self) {
        if !self.pressed.load(Ordering::Acquire) {
            return;
        }
        let mut work = lock(&self.work);
        while self.pressed.load(Ordering::Acquire) && work.failed.is_none() && !work.ending {
            work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn copied(row: &Bytes) -> Slice {
    Slice::from(row.as_ref())
}

fn kept(value: Bytes) -> Slice {
    if value.len() < LARGE_VALUE_BYTES { copied(&value) } else { Slice::from(value) }
}

fn read_error(error: lsm_tree::Error) -> StateError {
    StateError::Read(error.into())
}
