//! Rows out of and into the tree, in bulk, each on a thread of its own that ends with its handle.
//!
//! What comes in becomes tables at once, without the memtable; they join the tree as its newest run at the end. That
//! flushes the memtable, which is never ahead of the log (see [`StateStore::start_flush`]).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::{io, thread};

use bytes::{BufMut, Bytes, BytesMut};
use lsm_tree::Slice;

use super::super::bulk::{self, Export, Exported, Ingest, IngestError, Page};
use super::super::{Batch, Change, ROW_BYTES_MAX, StateError, StateStore, below_reserved};
use super::background::{self, stand_back};
use super::version::Version;
use super::writeback::Writing;
use super::{Store, View, lock, read_error};

/// How many pages are made ahead of their use.
const PAGES_AHEAD: usize = 4;
/// About how large a row is with its value: room is made for so many.
const PART_BYTES: usize = 128;

/// A range of a view's rows, without the prefix that they share.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    pub(super) from: Bytes,
    pub(super) to: Bytes,
    pub(super) cut: usize,
    pub(super) page_bytes: usize,
}

/// See [`Export`].
pub struct Exporting {
    pages: Receiver<Result<Page, StateError>>,
}

impl Exporting {
    pub(super) fn start(view: View, extent: Extent) -> Self {
        let (sender, pages) = sync_channel(PAGES_AHEAD);
        let failed = sender.clone();
        let thread = thread::Builder::new().name("state-export".to_owned());
        let run = move || {
            stand_back();
            export(&view, &extent, &sender);
        };
        if let Err(error) = thread.spawn(run) {
            // There is room: nothing was sent yet, and the only receiver is here.
            drop(failed.send(Err(StateError::Read(error.into()))));
        }
        Self { pages }
    }
}

impl Export for Exporting {
    fn next(&mut self) -> Result<Exported, StateError> {
        match self.pages.try_recv() {
            Ok(page) => page.map(Exported::Page),
            Err(TryRecvError::Empty) => Ok(Exported::Later),
            Err(TryRecvError::Disconnected) => Ok(Exported::End),
        }
    }
}

/// Ends early when nobody wants the pages any more.
fn export(view: &View, extent: &Extent, pages: &SyncSender<Result<Page, StateError>>) {
    let to = below_reserved(&extent.to);
    if extent.from.as_ref() >= to {
        return;
    }
    let mut page = BytesMut::with_capacity(extent.page_bytes + 1024);
    let mut rows = 0;
    for item in view.now.rows(&extent.from, to) {
        let (row, value) = match item {
            Ok(item) => item,
            Err(error) => return drop(pages.send(Err(read_error(error)))),
        };
        if rows > 0 && page.len() + row.len() + value.len() > extent.page_bytes {
            let bytes = page.split().freeze();
            if pages.send(Ok(Page { rows, bytes })).is_err() {
                return;
            }
            page = BytesMut::with_capacity(extent.page_bytes + 1024);
            rows = 0;
        }
        bulk::put_row(&mut page, &row[extent.cut..], &value);
        rows += 1;
    }
    if rows > 0 {
        drop(pages.send(Ok(Page { rows, bytes: page.freeze() })));
    }
}

enum Order {
    Page(Bytes),
    Finish,
}

/// See [`Ingest`].
pub struct Ingesting {
    orders: Sender<Order>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Progress {
    waiting_bytes: AtomicUsize,
    ended: Mutex<Option<Result<u64, Failed>>>,
}

#[derive(Clone)]
enum Failed {
    Malformed,
    State(Arc<Source>),
}

type Source = Box<dyn std::error::Error + Send + Sync>;

impl Ingesting {
    pub(super) fn start(store: Store, prefix: Bytes, end: Bytes) -> Self {
        let (orders, received) = channel();
        let progress = Arc::new(Progress::default());
        let told = Arc::clone(&progress);
        let thread = thread::Builder::new().name("state-ingest".to_owned());
        let spawned = thread.spawn(move || {
            stand_back();
            let ended = ingest(&store, &prefix, &received, &told);
            if !matches!(ended, Some(Ok(_))) {
                let changes = vec![Change::DeleteRange { from: prefix, to: end }];
                store.apply(Batch { changes });
            }
            *lock(&told.ended) = ended;
        });
        if let Err(error) = spawned {
            *lock(&progress.ended) = Some(Err(Failed::State(Arc::new(error.into()))));
        }
        Self { orders, progress }
    }
}

impl Ingest for Ingesting {
    fn push(&mut self, page: Bytes) {
        self.progress.waiting_bytes.fetch_add(page.len(), Ordering::Relaxed);
        // A thread that has ended has said why.
        drop(self.orders.send(Order::Page(page)));
    }

    fn finish(&mut self) {
        drop(self.orders.send(Order::Finish));
    }

    fn waiting_bytes(&self) -> usize {
        self.progress.waiting_bytes.load(Ordering::Relaxed)
    }

    fn finished(&self) -> Result<Option<u64>, IngestError> {
        match &*lock(&self.progress.ended) {
            None => Ok(None),
            Some(Ok(rows)) => Ok(Some(*rows)),
            Some(Err(Failed::Malformed)) => Err(IngestError::Malformed),
            Some(Err(Failed::State(source))) => {
                Err(StateError::Flush(io::Error::other(source.to_string()).into()).into())
            }
        }
    }
}

/// The number of rows; `None` when the end was never asked for.
fn ingest(
    store: &Store,
    prefix: &[u8],
    orders: &Receiver<Order>,
    progress: &Progress,
) -> Option<Result<u64, Failed>> {
    let shared = &store.0.shared;
    let _writing = Writing::begin(shared);
    let mut ingestion = match shared.tree.ingestion() {
        Ok(ingestion) => ingestion,
        Err(error) => return Some(Err(error.into())),
    };
    let (mut rows, mut last, mut failed, mut wanted) = (0, Bytes::new(), None, false);
    while let Ok(order) = orders.recv() {
        let page = match order {
            Order::Page(page) => page,
            Order::Finish => {
                wanted = true;
                break;
            }
        };
        let bytes = page.len();
        let written = write(&mut ingestion, prefix, page, &mut last);
        progress.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        match written {
            Ok(more) => rows += more,
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    // Also what is not wanted joins the tree, or its files would stay: its rows are deleted then.
    let joined = join(store, ingestion).map_err(Failed::from);
    match (failed, joined) {
        (Some(failed), _) | (None, Err(failed)) => Some(Err(failed)),
        (None, Ok(())) => wanted.then_some(Ok(rows)),
    }
}

/// Writes a page's rows, which come after `last`; one buffer holds all their keys, and values stay where they are.
fn write(
    ingestion: &mut lsm_tree::AnyIngestion<'_>,
    prefix: &[u8],
    page: Bytes,
    last: &mut Bytes,
) -> Result<u64, Failed> {
    let mut keys = BytesMut::with_capacity(page.len() / 2);
    let (mut parts, mut at) = (Vec::with_capacity(page.len() / PART_BYTES), 0);
    while at < page.len() {
        let (row, value) = bulk::next_row(&page, at).ok_or(Failed::Malformed)?;
        at = value.end;
        keys.put_slice(prefix);
        keys.put_slice(&page[row]);
        parts.push((keys.len(), value));
    }
    let (keys, mut from) = (keys.freeze(), 0);
    for (to, value) in &parts {
        let key = keys.slice(from..*to);
        if !(1..=ROW_BYTES_MAX).contains(&key.len()) || key <= *last {
            return Err(Failed::Malformed);
        }
        ingestion.write(Slice::from(key.clone()), Slice::from(page.slice(value.clone())))?;
        (from, *last) = (*to, key);
    }
    Ok(parts.len() as u64)
}

/// What is in memory comes before the tables, so nothing there may be older than what joins them. Most of it is flushed before
/// the writer has to wait for the rest.
fn join(store: &Store, ingestion: lsm_tree::AnyIngestion<'_>) -> lsm_tree::Result<()> {
    let shared = &store.0.shared;
    let through = shared.seal(&lock(&shared.writer));
    background::flush(shared, through)?;
    let flushing = lock(&shared.flushing);
    // A memtable is sealed between batches only.
    let writer = lock(&shared.writer);
    let flushed = background::to_tables(shared, shared.seal(&writer))?;
    let forgotten = shared.flushed(&writer, Version::newest(&shared.tree), flushed);
    ingestion.finish()?;
    let replaced = shared.publish_rows(&writer, Version::newest(&shared.tree));
    drop((writer, flushing));
    drop((forgotten, replaced));
    lock(&shared.work).compaction_due = true;
    shared.measure_pressure();
    shared.changed.notify_all();
    Ok(())
}

impl From<lsm_tree::Error> for Failed {
    fn from(error: lsm_tree::Error) -> Self {
        Self::State(Arc::new(error.into()))
    }
}
