//! What holds for every engine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::bulk::{Export, Exported, Ingest};
use super::*;
use crate::disk::simulated::Dice;

/// An engine that can be crashed and whose background can be awaited.
pub(super) trait Harness {
    type Store: StateStore;

    fn store(&self) -> &Self::Store;
    /// Completes a flush.
    fn flush(&mut self);
    /// Loses what is not flushed.
    fn crash(&mut self);
    /// Flushes, and carries out every deletion of ranges.
    fn delete_ranges(&mut self);
}

struct ModelHarness(model::Store);

impl Harness for ModelHarness {
    type Store = model::Store;

    fn store(&self) -> &model::Store {
        &self.0
    }

    fn flush(&mut self) {
        let id = self.0.start_flush();
        assert_ne!(self.0.flushed().unwrap(), Some(id));
        while self.0.complete_flush() != Some(id) {}
        assert_eq!(self.0.flushed().unwrap(), Some(id));
    }

    fn crash(&mut self) {
        self.0.crash();
    }

    fn delete_ranges(&mut self) {
        self.flush();
        self.0.carry_out_deletions();
    }
}

pub(super) struct LsmHarness {
    directory: tempfile::TempDir,
    store: Option<lsm::Store>,
}

impl LsmHarness {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = lsm::Store::open(directory.path(), lsm::Settings::default()).unwrap();
        Self { directory, store: Some(store) }
    }
}

impl Harness for LsmHarness {
    type Store = lsm::Store;

    fn store(&self) -> &lsm::Store {
        self.store.as_ref().unwrap()
    }

    fn flush(&mut self) {
        let id = self.store().start_flush();
        until(|| self.store().flushed().unwrap() >= Some(id));
    }

    fn crash(&mut self) {
        self.store = None;
        let settings = lsm::Settings::default();
        self.store = Some(lsm::Store::open(self.directory.path(), settings).unwrap());
    }

    fn delete_ranges(&mut self) {
        self.flush();
        until(|| self.store().pending_deletions() == 0);
    }
}

pub(super) fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "not done in time");
        std::thread::yield_now();
    }
}

pub(super) fn put(row: &str, value: &str) -> Change {
    let (row, value) =
        (Bytes::copy_from_slice(row.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
    Change::Put { row, value }
}

pub(super) fn delete(row: &str) -> Change {
    Change::Delete { row: Bytes::copy_from_slice(row.as_bytes()) }
}

pub(super) fn delete_range(from: &str, to: &str) -> Change {
    let (from, to) =
        (Bytes::copy_from_slice(from.as_bytes()), Bytes::copy_from_slice(to.as_bytes()));
    Change::DeleteRange { from, to }
}

pub(super) fn apply(store: &impl StateStore, changes: impl Into<Vec<Change>>) {
    store.apply(Batch { changes: changes.into() });
}

pub(super) fn all(rows: &impl Rows) -> Vec<(String, String)> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let found = rows.range(b"", &[0xff, 0xff], usize::MAX).unwrap();
    found.iter().map(|(row, value)| (text(row), text(value))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(row, value)| ((*row).to_owned(), (*value).to_owned())).collect()
}

fn a_batch_is_seen_at_once_and_its_last_change_of_a_row_counts(mut harness: impl Harness) {
    apply(
        harness.store(),
        [put("a", "1"), put("b", "1"), delete("a"), put("b", "2"), put("c", "3")],
    );
    apply(harness.store(), [delete("c"), put("c", "4"), put("d", "")]);
    for _ in 0..2 {
        assert_eq!(all(harness.store()), pairs(&[("b", "2"), ("c", "4"), ("d", "")]));
        assert_eq!(harness.store().row(b"b").unwrap().unwrap(), "2");
        assert_eq!(harness.store().row(b"a").unwrap(), None);
        assert_eq!(harness.store().row(b"").unwrap(), None);
        harness.flush();
    }
}

fn a_range_has_bounds_order_and_a_limit(mut harness: impl Harness) {
    apply(harness.store(), [put("b", "2"), put("a", "1"), put("c", "3")]);
    harness.flush();
    apply(harness.store(), [put("bb", "4")]);
    let rows = |from: &str, to: &str, max| {
        let found = harness.store().range(from.as_bytes(), to.as_bytes(), max).unwrap();
        found
            .into_iter()
            .map(|(row, _)| String::from_utf8_lossy(&row).into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(rows("a", "c", 9), ["a", "b", "bb"]);
    assert_eq!(rows("a", "c", 2), ["a", "b"]);
    assert_eq!(rows("aa", "zz", 9), ["b", "bb", "c"]);
    assert_eq!(rows("c", "a", 9), [""; 0]);
    assert_eq!(rows("b", "b", 9), [""; 0]);
}

fn a_view_stays_as_it_was(mut harness: impl Harness) {
    apply(harness.store(), [put("a", "1"), put("b", "1")]);
    let first = harness.store().view();
    harness.flush();
    let flushed = harness.store().view();
    for round in 0..8 {
        apply(harness.store(), [put("a", &round.to_string()), delete("b"), put("c", "x")]);
        harness.flush();
    }
    apply(harness.store(), [delete_range("a", "z")]);
    harness.delete_ranges();
    for view in [first, flushed] {
        assert_eq!(all(&view), pairs(&[("a", "1"), ("b", "1")]));
        assert_eq!(view.row(b"c").unwrap(), None);
    }
    assert_eq!(all(harness.store()), []);
}

fn a_crash_goes_back_to_the_last_complete_flush(mut harness: impl Harness) {
    assert_eq!(harness.store().flushed().unwrap(), None);
    apply(harness.store(), [put("a", "1")]);
    assert!(harness.store().unflushed_bytes() > 0);
    harness.flush();
    assert_eq!(harness.store().unflushed_bytes(), 0);
    apply(harness.store(), [put("a", "2"), put("b", "2")]);
    harness.crash();
    assert_eq!(harness.store().flushed().unwrap(), None);
    assert_eq!(all(harness.store()), pairs(&[("a", "1")]));
    apply(harness.store(), [put("a", "3")]);
    assert_eq!(harness.store().row(b"a").unwrap().unwrap(), "3");
    harness.flush();
    harness.crash();
    assert_eq!(all(harness.store()), pairs(&[("a", "3")]));
}

fn a_deleted_range_spares_what_is_put_later(mut harness: impl Harness) {
    for flushed in [false, true] {
        apply(harness.store(), [put("a", "1"), put("b", "1"), put("b1", "1"), put("c", "1")]);
        if flushed {
            harness.flush();
        }
        apply(harness.store(), [put("b2", "same"), delete_range("b", "c"), put("b3", "same")]);
        apply(harness.store(), [put("b1", "later")]);
        harness.delete_ranges();
        let expected =
            pairs(&[("a", "1"), ("b1", "later"), ("b2", "same"), ("b3", "same"), ("c", "1")]);
        assert_eq!(all(harness.store()), expected);
        // Again, without harm.
        apply(harness.store(), [delete_range("b", "c")]);
        apply(harness.store(), [delete_range("x", "d")]);
        harness.delete_ranges();
        assert_eq!(all(harness.store()), pairs(&[("a", "1"), ("c", "1")]));
    }
}

fn a_range_deletion_survives_a_crash(mut harness: impl Harness) {
    apply(harness.store(), [put("a", "1"), put("b", "1"), put("c", "1")]);
    harness.flush();
    apply(harness.store(), [delete_range("a", "c")]);
    harness.flush();
    apply(harness.store(), [put("b", "lost")]);
    harness.crash();
    apply(harness.store(), [put("a", "new")]);
    harness.delete_ranges();
    assert_eq!(all(harness.store()), pairs(&[("a", "new"), ("c", "1")]));
}

fn a_range_deletion_that_was_not_flushed_never_was(mut harness: impl Harness) {
    apply(harness.store(), [put("a", "1"), put("b", "1")]);
    harness.flush();
    apply(harness.store(), [delete_range("a", "c")]);
    harness.crash();
    harness.delete_ranges();
    assert_eq!(all(harness.store()), pairs(&[("a", "1"), ("b", "1")]));
}

fn exported_rows_can_be_ingested_elsewhere(mut harness: impl Harness) {
    let rows: Vec<Change> = (100..400).map(|n| put(&format!("a{n}"), &format!("v{n}"))).collect();
    apply(harness.store(), rows);
    apply(harness.store(), [put("c", "1")]);
    let (from, to) = (Bytes::from_static(b"a"), Bytes::from_static(b"b"));
    let mut export = harness.store().export(harness.store().view(), from, to, 1, 500);
    apply(harness.store(), [delete("a100"), put("a500", "later")]);
    let prefix = Bytes::from_static(b"b");
    let mut ingest = harness.store().ingest(prefix.clone(), Bytes::from_static(b"c"));
    let mut pages = 0;
    until(|| match export.next().unwrap() {
        Exported::Page(page) => {
            pages += 1;
            assert!(page.bytes.len() <= 500 && page.rows > 0);
            ingest.push(page.bytes);
            false
        }
        Exported::Later => false,
        Exported::End => true,
    });
    assert!(pages > 3);
    assert!(harness.store().range(b"b", b"c", 1).unwrap().is_empty(), "nobody sees a part");
    ingest.finish();
    until(|| ingest.finished().unwrap().is_some());
    assert_eq!(ingest.finished().unwrap(), Some(300));
    harness.flush();
    harness.crash();
    let rows = harness.store().range(b"b", b"c", usize::MAX).unwrap();
    assert_eq!(rows.len(), 300);
    assert_eq!((rows[0].0.as_ref(), rows[0].1.as_ref()), (&b"b100"[..], &b"v100"[..]));
    apply(harness.store(), [put("b100", "newer"), delete_range("b2", "b3")]);
    harness.flush();
    harness.delete_ranges();
    assert_eq!(harness.store().row(b"b100").unwrap().as_deref(), Some(&b"newer"[..]));
    assert_eq!(harness.store().range(b"b", b"c", usize::MAX).unwrap().len(), 200);
}

fn an_ingest_that_fails_or_is_dropped_leaves_nothing(mut harness: impl Harness) {
    let (prefix, end) = (Bytes::from_static(b"b"), Bytes::from_static(b"c"));
    let mut page = bytes::BytesMut::new();
    bulk::put_row(&mut page, b"2", b"");
    bulk::put_row(&mut page, b"1", b"");
    let mut ingest = harness.store().ingest(prefix.clone(), end.clone());
    ingest.push(page.freeze());
    ingest.finish();
    until(|| ingest.finished().is_err());
    let mut page = bytes::BytesMut::new();
    bulk::put_row(&mut page, b"1", b"");
    let mut ingest = harness.store().ingest(prefix, end);
    ingest.push(page.freeze());
    drop(ingest);
    until(|| {
        harness.flush();
        harness.store().range(b"b", b"c", 1).unwrap().is_empty()
    });
}

fn random_histories_match_a_map<H: Harness>(make: impl Fn() -> H, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut dice = Dice(seed);
        let mut harness = make();
        let mut rows = BTreeMap::new();
        let mut flushed = rows.clone();
        let mut views = Vec::new();
        for step in 0..150 {
            match dice.below(16) {
                0 => {
                    harness.flush();
                    flushed = rows.clone();
                }
                1 => {
                    harness.delete_ranges();
                    flushed = rows.clone();
                    views.push((harness.store().view(), rows.clone()));
                }
                2 if dice.below(4) == 0 => {
                    views.clear();
                    harness.crash();
                    rows = flushed.clone();
                }
                3 => {
                    let (from, to) = (dice.below(60), dice.below(60));
                    let (from, to) = (format!("r{from:02}"), format!("r{to:02}"));
                    rows.retain(|row: &String, _| *row < from || *row >= to);
                    apply(harness.store(), [delete_range(&from, &to)]);
                }
                _ => {
                    let changes: Vec<Change> = (0..dice.below(6))
                        .map(|_| {
                            let row = format!("r{:02}", dice.below(60));
                            if dice.below(4) == 0 {
                                rows.remove(&row);
                                return delete(&row);
                            }
                            let value = format!("{step} {}", "v".repeat(dice.below(50) as usize));
                            rows.insert(row.clone(), value.clone());
                            put(&row, &value)
                        })
                        .collect();
                    apply(harness.store(), changes);
                }
            }
        }
        harness.delete_ranges();
        let expected: Vec<_> = rows.into_iter().collect();
        assert_eq!(all(harness.store()), expected, "seed {seed}");
        for (view, rows) in views {
            assert_eq!(all(&view), rows.into_iter().collect::<Vec<_>>(), "a view of seed {seed}");
        }
    }
}

macro_rules! conformance {
    ($engine:ident, $make:expr, $seeds:expr, [$($fact:ident),* $(,)?]) => {
        mod $engine {
            use super::*;

            $(
                #[test]
                fn $fact() {
                    super::$fact($make());
                }
            )*

            #[test]
            fn random_histories_match_a_map() {
                super::random_histories_match_a_map($make, $seeds);
            }
        }
    };
}

conformance!(
    of_the_model,
    || ModelHarness(model::Store::new()),
    0..300,
    [
        a_batch_is_seen_at_once_and_its_last_change_of_a_row_counts,
        a_range_has_bounds_order_and_a_limit,
        a_view_stays_as_it_was,
        a_crash_goes_back_to_the_last_complete_flush,
        a_deleted_range_spares_what_is_put_later,
        a_range_deletion_survives_a_crash,
        a_range_deletion_that_was_not_flushed_never_was,
        exported_rows_can_be_ingested_elsewhere,
        an_ingest_that_fails_or_is_dropped_leaves_nothing,
    ]
);

conformance!(
    of_the_tree,
    LsmHarness::new,
    0..12,
    [
        a_batch_is_seen_at_once_and_its_last_change_of_a_row_counts,
        a_range_has_bounds_order_and_a_limit,
        a_view_stays_as_it_was,
        a_crash_goes_back_to_the_last_complete_flush,
        a_deleted_range_spares_what_is_put_later,
        a_range_deletion_survives_a_crash,
        a_range_deletion_that_was_not_flushed_never_was,
        exported_rows_can_be_ingested_elsewhere,
        an_ingest_that_fails_or_is_dropped_leaves_nothing,
    ]
);
