//! Rows that were read lately, as they are now: a look here costs a fraction of a search in memtables and tables.
//!
//! Every write reads the row that it replaces, so on a leader these are also the rows that are written. It holds exactly
//! what a reader of the moment sees: batches change it in the same critical section in which they become visible, and what
//! a reader found elsewhere is kept only if nothing changed since it began to look.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use lsm_tree::Slice;
use quick_cache::Weighter;
use quick_cache::unsync::Cache;

use super::lock;

/// What a row here costs beside its bytes.
const OVERHEAD_BYTES: u64 = 96;
/// Larger values are not kept: one would push out thousands of rows.
const VALUE_BYTES_MAX: usize = 16 << 10;
/// For how many rows the table is made at first, by the bytes that it may hold.
const ROW_BYTES_GUESS: u64 = 1 << 10;

/// The rows, and how often rows changed.
pub(super) struct Recent {
    rows: Mutex<Cache<Slice, Option<Slice>, Bytes>>,
    changes: AtomicU64,
}

/// Between two changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(u64);

#[derive(Clone)]
struct Bytes;

/// While it is held the rows here and those in the memtables change.
pub(super) struct Change<'a> {
    rows: MutexGuard<'a, Cache<Slice, Option<Slice>, Bytes>>,
}

impl Recent {
    pub(super) fn new(bytes_max: u64) -> Self {
        let rows = usize::try_from(bytes_max / ROW_BYTES_GUESS).unwrap_or(usize::MAX);
        let rows = Cache::with_weighter(rows, bytes_max, Bytes);
        Self { rows: Mutex::new(rows), changes: AtomicU64::new(0) }
    }

    /// The row as it is now, if it is kept here.
    #[expect(clippy::option_option, reason = "that there is no such row is also known")]
    pub(super) fn look(&self, row: &[u8]) -> Option<Option<Slice>> {
        lock(&self.rows).get(row).cloned()
    }

    /// To be asked for before a look elsewhere.
    pub(super) fn moment(&self) -> Moment {
        Moment(self.changes.load(Ordering::Acquire))
    }

    /// What was found elsewhere, unless rows changed since `moment`.
    pub(super) fn keep(&self, row: &[u8], value: Option<&Slice>, moment: Moment) {
        if value.is_some_and(|value| value.len() > VALUE_BYTES_MAX) {
            return;
        }
        let mut rows = lock(&self.rows);
        if self.moment() == moment {
            rows.insert(Slice::from(row), value.cloned());
        }
    }

    /// The caller lets nobody see the change before it drops this.
    pub(super) fn change(&self) -> Change<'_> {
        let rows = lock(&self.rows);
        self.changes.fetch_add(1, Ordering::AcqRel);
        Change { rows }
    }
}

impl Change<'_> {
    /// What is not kept stays so: on a follower, which reads little, a batch passes by.
    pub(super) fn replace(&mut self, row: &[u8], value: Option<&Slice>) {
        if value.is_some_and(|value| value.len() > VALUE_BYTES_MAX) {
            self.rows.remove(row);
        } else if let Some(mut kept) = self.rows.get_mut(row) {
            *kept = value.cloned();
        }
    }

    /// Rows change that nobody names one by one.
    pub(super) fn forget_all(&mut self) {
        self.rows.clear();
    }
}

impl Weighter<Slice, Option<Slice>> for Bytes {
    fn weight(&self, row: &Slice, value: &Option<Slice>) -> u64 {
        let value = value.as_ref().map_or(0, |value| value.len());
        (row.len() + value) as u64 + OVERHEAD_BYTES
    }
}
