//! What only the tree does: threads, files, back-pressure.

use std::sync::atomic::{AtomicBool, Ordering};

use super::super::conformance_test::{Harness, LsmHarness, all, apply, delete_range, put, until};
use super::*;

/// Two threads that look again and again.
struct Readers {
    ending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Readers {
    fn start(store: &Store, look: impl Fn(&Store) + Clone + Send + 'static) -> Self {
        let ending = Arc::new(AtomicBool::new(false));
        let threads = (0..2).map(|_| {
            let (store, ending, look) = (store.clone(), Arc::clone(&ending), look.clone());
            std::thread::spawn(move || {
                let mut looks = 0;
                while !ending.load(Ordering::Relaxed) {
                    look(&store);
                    looks += 1;
                }
                looks
            })
        });
        let threads = threads.collect();
        Self { ending, threads }
    }

    fn end(self) {
        self.ending.store(true, Ordering::Relaxed);
        for thread in self.threads {
            assert!(thread.join().unwrap() > 0);
        }
    }
}

#[test]
fn a_reader_never_sees_half_a_batch_while_flushes_and_compactions_run() {
    let harness = LsmHarness::new();
    let store = harness.store().clone();
    let readers = Readers::start(&store, |store| {
        let view = store.view();
        let rows = all(&view);
        let first = rows.first().map(|(_, value)| value.clone());
        assert!(rows.iter().all(|(_, value)| Some(value) == first.as_ref()), "{rows:?}");
        assert!(rows.is_empty() || rows.len() == 20);
        assert_eq!(view.row(b"row-7").unwrap().is_some(), !rows.is_empty());
    });
    for round in 0..1500 {
        let value = round.to_string();
        let changes: Vec<Change> = (0..20).map(|row| put(&format!("row-{row}"), &value)).collect();
        apply(&store, changes);
        if round % 50 == 0 {
            store.start_flush();
        }
    }
    readers.end();
}

/// A version whose ranges were older than its number kept the tables of a flush from being seen.
#[test]
fn a_version_that_is_taken_while_a_flush_ends_is_of_one_moment() {
    let mut harness = LsmHarness::new();
    let readers = Readers::start(harness.store(), |store| {
        let tables = Version::newest(&store.0.shared.tree);
        let rows = tables.range(b"row-", b"row.", SeqNo::MAX).count();
        let row = |number: usize| format!("row-{number:04}").into_bytes();
        assert!(tables.find(&row(rows), SeqNo::MAX).unwrap().is_none(), "{rows} by range");
        assert!(rows == 0 || tables.find(&row(rows - 1), SeqNo::MAX).unwrap().is_some());
    });
    for number in 0..300 {
        apply(harness.store(), [put(&format!("row-{number:04}"), "1")]);
        harness.flush();
    }
    readers.end();
}

#[test]
fn a_range_of_flushed_tables_is_dropped_without_a_tombstone_for_each_row() {
    let mut harness = LsmHarness::new();
    let rows: Vec<Change> = (0..5000).map(|row| put(&format!("dead-{row:05}"), "x")).collect();
    apply(harness.store(), rows);
    harness.flush();
    apply(harness.store(), [delete_range("dead-", "dead.")]);
    harness.delete_ranges();
    assert_eq!(all(harness.store()), []);
    assert!(harness.store().unflushed_bytes() < 1000, "{}", harness.store().unflushed_bytes());
    until(|| harness.store().disk_bytes() < 4000);
}

#[test]
fn tables_are_where_they_are_synced_while_they_are_written() {
    let mut harness = LsmHarness::new();
    apply(harness.store(), [put("row", "value")]);
    harness.flush();
    let shared = &harness.store().0.shared;
    let mut numbers = 0..shared.tree.get_next_table_id();
    assert!(numbers.any(|number| writeback::table_file(&shared.directory, number).exists()));
}

#[test]
fn a_copy_of_a_directory_taken_while_it_is_open_opens_at_the_last_flush() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Settings::default()).unwrap();
    apply(&store, [put("a", "flushed")]);
    let id = store.start_flush();
    until(|| store.flushed().unwrap() == Some(id));
    apply(&store, [put("a", "lost"), put("b", "lost")]);
    let copy = tempfile::tempdir().unwrap();
    // A snapshot is of one moment: until it is taken no compaction makes a new version and removes the files of the old one.
    let version = store.0.shared.tree.get_version_history_lock();
    copy_all(directory.path(), copy.path());
    drop(version);
    let copied = Store::open(copy.path(), Settings::default()).unwrap();
    assert_eq!(all(&copied), [("a".to_owned(), "flushed".to_owned())]);
}

#[test]
fn a_large_store_opens_again_after_many_flushes() {
    let mut harness = LsmHarness::new();
    for round in 0..30 {
        let changes: Vec<Change> = (0..200)
            .map(|row| put(&format!("{:04}", (row * 7 + round) % 1000), &round.to_string()))
            .collect();
        apply(harness.store(), changes);
        harness.flush();
    }
    let before = all(harness.store());
    harness.crash();
    assert_eq!(all(harness.store()), before);
    apply(harness.store(), [put("0000", "new")]);
    assert_eq!(harness.store().row(b"0000").unwrap().unwrap(), "new");
}

#[test]
fn a_flush_that_fails_is_reported_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Settings::default()).unwrap();
    apply(&store, [put("a", "1")]);
    std::fs::remove_dir_all(directory.path().join("tables")).unwrap();
    store.start_flush();
    until(|| store.flushed().is_err());
    apply(&store, [put("a", "2")]);
    assert!(matches!(store.flushed(), Err(StateError::Flush(_))));
}

fn copy_all(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_row_that_others_read_at_the_same_time_is_never_kept_beyond_its_time() {
    let harness = LsmHarness::new();
    let store = harness.store().clone();
    let readers = Readers::start(&store, |store| {
        for row in 0..8 {
            store.row(format!("row-{row}").as_bytes()).unwrap();
        }
        // What is kept is forgotten, so that the next look fills it anew.
        let shared = &store.0.shared;
        drop(shared.publish_rows(&lock(&shared.writer), Version::newest(&shared.tree)));
    });
    let mut expected: [Option<Bytes>; 8] = Default::default();
    for round in 0..20_000 {
        let (row, value) = (format!("row-{}", round % 8), round.to_string());
        let now = if round % 3 == 0 {
            apply(&store, [Change::Delete { row: Bytes::from(row.clone()) }]);
            None
        } else {
            apply(&store, [put(&row, &value)]);
            Some(Bytes::from(value))
        };
        expected[round % 8] = now;
        for (row, expected) in expected.iter().enumerate() {
            assert_eq!(&store.row(format!("row-{row}").as_bytes()).unwrap(), expected);
        }
    }
    readers.end();
}

#[test]
fn a_new_version_on_its_way_to_the_disk_keeps_nobody_waiting() {
    let harness = LsmHarness::new();
    let store = harness.store().clone();
    let changes: Vec<Change> = (0..9).map(|row| put(&format!("row-{row}"), "flushed")).collect();
    apply(&store, changes);
    let flush = store.start_flush();
    until(|| store.flushed().unwrap() >= Some(flush));
    let shared = Arc::clone(&store.0.shared);
    // As the engine does while it syncs.
    let version = shared.tree.get_version_history_lock();
    let (done, ended) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let row = store.row(b"row-7").unwrap();
        let (view, rows) = (store.view().row(b"row-6").unwrap(), all(&store).len());
        apply(&store, [put("row-9", "new")]);
        store.start_flush();
        done.send((row, view, rows)).unwrap();
    });
    let seen = ended.recv_timeout(std::time::Duration::from_secs(60));
    drop(version);
    thread.join().unwrap();
    let flushed = Some(Bytes::from("flushed"));
    assert_eq!(seen, Ok((flushed.clone(), flushed, 9)));
}
