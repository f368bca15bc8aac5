//! The threads behind the store: one flushes, one deletes ranges and compacts; see `writeback` for the third.
//!
//! A failure of either ends all for good; the next [`flushed`](super::StateStore::flushed) says so.

use std::io;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};

use lsm_tree::{AbstractTree, compaction::Leveled};

use super::super::FlushId;
use super::version::Version;
use super::writeback::{self, Writing};
use super::{Shared, Work, deletion, lock};

/// Of threads that work in bulk, as `nice` counts.
const NICENESS: i32 = 10;

/// What a thread does until the store is closed.
type Run = fn(&Shared);

pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Vec<JoinHandle<()>>> {
    let work: [(&str, Run); 3] = [
        ("state-flush", flush_until_ending),
        ("state-compact", tidy_until_ending),
        ("state-writeback", writeback::sync_until_ending),
    ];
    work.into_iter()
        .map(|(name, run)| {
            let shared = Arc::clone(shared);
            thread::Builder::new().name(name.to_owned()).spawn(move || {
                stand_back();
                run(&shared);
            })
        })
        .collect()
}

/// This thread gets what processor time the others leave: clients do not wait for a core on which tables are made.
pub(super) fn stand_back() {
    // Where the system refuses, all are equal as before.
    rustix::process::nice(NICENESS).ok();
}

fn flush_until_ending(shared: &Shared) {
    while let Some(id) = shared.next_work(|work| work.flushes.front().copied()) {
        let flushed = flush(shared, id);
        shared.measure_pressure();
        let mut work = lock(&shared.work);
        match flushed {
            Ok(()) => {
                work.flushes.pop_front();
                assert!(work.flushed < Some(id), "flushes complete in order");
                work.flushed = Some(id);
                work.compaction_due = true;
            }
            Err(error) => work.fail(error),
        }
        drop(work);
        shared.changed.notify_all();
    }
}

/// Brings what was sealed for this flush to the tables, and what was sealed before it.
pub(super) fn flush(shared: &Shared, through: FlushId) -> lsm_tree::Result<()> {
    let flushing = lock(&shared.flushing);
    let flushed = to_tables(shared, through)?;
    let tables = Version::newest(&shared.tree);
    let writer = lock(&shared.writer);
    let forgotten = shared.flushed(&writer, tables, flushed);
    drop((writer, flushing));
    drop(forgotten);
    Ok(())
}

/// The caller holds `flushing`. Answers how many of the oldest memtables are in the tables now: it lets them go.
pub(super) fn to_tables(shared: &Shared, through: FlushId) -> lsm_tree::Result<usize> {
    let _writing = Writing::begin(shared);
    let sealed = Arc::clone(shared.now().memtables.sealed());
    let oldest = shared.oldest_in_use();
    let mut count = 0;
    for sealed in sealed.iter().rev().take_while(|sealed| sealed.flush <= through) {
        count += 1;
        let mut values = sealed.values().map(Ok).peekable();
        if values.peek().is_none() {
            continue;
        }
        if let Some((tables, _)) = shared.tree.flush_to_tables(values)? {
            shared.tree.register_tables(&tables, None, None, &[], oldest)?;
        }
    }
    Ok(count)
}

fn tidy_until_ending(shared: &Shared) {
    while let Some(job) = shared.next_work(Work::next_tidying) {
        let done = match job {
            Tidying::Delete(deletion) => deletion::carry_out(shared, &deletion),
            Tidying::Compact => compact(shared),
        };
        shared.measure_pressure();
        if let Err(error) = done {
            lock(&shared.work).fail(error);
        }
        shared.changed.notify_all();
    }
}

enum Tidying {
    Delete(deletion::Deletion),
    Compact,
}

/// Until nothing is left to compact, or a range is to be deleted first.
fn compact(shared: &Shared) -> lsm_tree::Result<()> {
    let _writing = Writing::begin(shared);
    let strategy = Arc::new(Leveled::default());
    loop {
        let before = shared.tree.current_version().id();
        shared.tree.compact(strategy.clone(), shared.oldest_in_use())?;
        shared.publish();
        shared.measure_pressure();
        shared.changed.notify_all();
        // A flush in between also makes a new version: then one more round finds nothing to do.
        if shared.tree.current_version().id() == before {
            return Ok(());
        }
        let mut work = lock(&shared.work);
        if work.ending || work.next_deletion().is_some() {
            work.compaction_due = true;
            return Ok(());
        }
    }
}

impl Shared {
    /// Waits for work. `None`: the store is closed or has failed.
    pub(super) fn next_work<T>(&self, find: impl Fn(&mut Work) -> Option<T>) -> Option<T> {
        let mut work = lock(&self.work);
        loop {
            if work.ending || work.failed.is_some() {
                return None;
            }
            if let Some(found) = find(&mut work) {
                return Some(found);
            }
            work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Work {
    fn next_deletion(&self) -> Option<&deletion::Deletion> {
        self.deletions.front().filter(|deletion| deletion.is_durable(self.flushed))
    }

    fn next_tidying(&mut self) -> Option<Tidying> {
        if let Some(deletion) = self.next_deletion() {
            return Some(Tidying::Delete(deletion.clone()));
        }
        std::mem::take(&mut self.compaction_due).then_some(Tidying::Compact)
    }

    fn fail(&mut self, error: lsm_tree::Error) {
        self.failed.get_or_insert_with(|| Arc::new(error));
    }
}
