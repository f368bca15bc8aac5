//! Brings tables to the disk while they are written, a little at a time.
//!
//! The engine syncs a table when it is complete: 64 MiB at once, and as long as the device is busy with them the log's own
//! syncs wait, of this node and of every other one on the device. A client then waits a tenth of a second for a write.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use lsm_tree::AbstractTree;

use super::{Shared, lock};

/// How much a table may be ahead of the disk: about as much as a device writes in a few milliseconds.
const STEP_BYTES: u64 = 1 << 20;
const LOOK: Duration = Duration::from_millis(4);
/// A table that has not grown for so many looks is complete.
const STILL_LOOKS_MAX: u32 = 250;

/// Somebody writes tables for as long as it lives.
pub(super) struct Writing<'a>(&'a Shared);

impl<'a> Writing<'a> {
    pub(super) fn begin(shared: &'a Shared) -> Self {
        lock(&shared.work).writing += 1;
        shared.changed.notify_all();
        Self(shared)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        lock(&self.0.work).writing -= 1;
    }
}

/// A table on its way.
#[derive(Default)]
struct Growing {
    bytes: u64,
    synced: u64,
    still: u32,
}

/// Tables that may be growing, by their numbers.
struct Tables {
    directory: PathBuf,
    next: u64,
    growing: BTreeMap<u64, Growing>,
}

pub(super) fn sync_until_ending(shared: &Shared) {
    let mut tables = Tables::new(&shared.directory, shared.tree.get_next_table_id());
    while shared.next_work(|work| (work.writing > 0).then_some(())).is_some() {
        tables.look(shared.tree.get_next_table_id());
        thread::sleep(LOOK);
    }
}

/// Where the engine keeps a table.
pub(super) fn table_file(directory: &Path, number: u64) -> PathBuf {
    directory.join("tables").join(number.to_string())
}

impl Tables {
    fn new(directory: &Path, next: u64) -> Self {
        Self { directory: directory.to_owned(), next, growing: BTreeMap::new() }
    }

    /// Syncs what has grown enough. Answers how many syncs that took.
    fn look(&mut self, next: u64) -> usize {
        self.growing.extend((self.next..next).map(|number| (number, Growing::default())));
        self.next = next;
        let (directory, mut syncs) = (&self.directory, 0);
        self.growing.retain(|number, table| {
            let path = table_file(directory, *number);
            // Gone, or not there yet: then the engine's own sync has to do.
            let Ok(bytes) = fs::metadata(&path).map(|metadata| metadata.len()) else {
                table.still += 1;
                return table.still < STILL_LOOKS_MAX;
            };
            table.still = if bytes == table.bytes { table.still + 1 } else { 0 };
            table.bytes = bytes;
            if bytes.saturating_sub(table.synced) >= STEP_BYTES {
                // A failure is the engine's to find: it syncs the table once more.
                if let Ok(file) = File::open(&path) {
                    drop(file.sync_data());
                }
                table.synced = bytes;
                syncs += 1;
            }
            table.still < STILL_LOOKS_MAX
        });
        syncs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_synced_while_it_grows_and_forgotten_when_it_does_not() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("tables")).unwrap();
        let write = |number: u64, bytes: u64| {
            let file = File::create(table_file(directory.path(), number));
            file.unwrap().set_len(bytes).unwrap();
        };
        let mut tables = Tables::new(directory.path(), 7);
        write(6, 10 * STEP_BYTES);
        write(7, STEP_BYTES);
        assert_eq!([tables.look(9), tables.look(9)], [1, 0]);
        write(7, 2 * STEP_BYTES - 1);
        write(8, 3 * STEP_BYTES);
        assert_eq!([tables.look(9), tables.look(9)], [1, 0]);
        write(7, 2 * STEP_BYTES);
        assert_eq!(tables.look(9), 1);
        for _ in 0..STILL_LOOKS_MAX {
            assert_eq!(tables.look(9), 0);
        }
        assert!(tables.growing.is_empty());
    }
}
