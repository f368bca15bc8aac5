//! The tables as they were at one version, read without the engine's lock.
//!
//! The engine holds the lock of its versions while it brings a new one to the disk: several syncs, tens of milliseconds when the
//! device is busy, in which every reader would wait, and a leader with it. A version itself never changes, so readers
//! keep one, with the memtables that go with it.

use std::sync::Arc;

use lsm_tree::table::filter::standard_bloom;
use lsm_tree::{AbstractTree, AnyTree, InternalValue, SeqNo, Slice, Tree};

type Item = lsm_tree::Result<(Slice, Slice)>;
type Find = dyn Fn(&[u8], SeqNo) -> lsm_tree::Result<Option<InternalValue>> + Send + Sync;
type Range = dyn Fn([&[u8]; 2], SeqNo) -> Box<dyn Iterator<Item = Item>> + Send + Sync;

/// Holds the files of its version.
#[derive(Clone)]
pub(super) struct Version {
    /// Of two versions the later one has the greater number.
    number: u64,
    /// How many runs the newest level has.
    newest_level_runs: usize,
    // The engine's type of a version has no public name.
    find: Arc<Find>,
    range: Arc<Range>,
}

impl Version {
    /// Waits while the engine makes a new version: not to be called where a reader or a writer waits.
    pub(super) fn newest(tree: &AnyTree) -> Self {
        // Two locks, and a flush or a compaction may end in between: both must be of one version, or the rows of that flush were in
        // neither the tables nor the memtables of who reads ranges.
        let (whole, version) = loop {
            let before = tree.current_version();
            let whole = tree.get_version_history_lock().latest_version();
            let version = tree.current_version();
            if before.id() == version.id() {
                break (whole, version);
            }
        };
        let (number, newest_level_runs) = (version.id(), version.l0().run_count());
        let find = move |row: &[u8], visible: SeqNo| {
            let hash = standard_bloom::Builder::get_hash(row);
            let runs = version.iter_levels().flat_map(|level| level.iter());
            for table in runs.filter_map(|run| run.get_for_key(row)) {
                if let Some(found) = table.get(row, visible, hash)? {
                    return Ok(Some(found).filter(|found| !found.is_tombstone()));
                }
            }
            Ok(None)
        };
        let range =
            move |[from, to]: [&[u8]; 2], visible: SeqNo| -> Box<dyn Iterator<Item = Item>> {
                let bounds = from.to_vec()..to.to_vec();
                let rows = Tree::create_internal_range(whole.clone(), &bounds, visible, None);
                Box::new(rows.map(|item| item.map(|row| (row.key.user_key, row.value))))
            };
        Self { number, newest_level_runs, find: Arc::new(find), range: Arc::new(range) }
    }

    /// What a reader of this moment sees of the row; nothing where it is deleted.
    pub(super) fn find(
        &self,
        row: &[u8],
        visible: SeqNo,
    ) -> lsm_tree::Result<Option<InternalValue>> {
        (self.find)(row, visible)
    }

    /// The rows from `from` on and below `to`, in order.
    pub(super) fn range(
        &self,
        from: &[u8],
        to: &[u8],
        visible: SeqNo,
    ) -> impl Iterator<Item = Item> + use<> {
        (self.range)([from, to], visible)
    }

    pub(super) const fn newest_level_runs(&self) -> usize {
        self.newest_level_runs
    }

    pub(super) const fn is_after(&self, other: &Self) -> bool {
        self.number > other.number
    }
}
