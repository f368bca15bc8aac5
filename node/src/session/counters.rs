//! What connections did since the node started, or since CONFIG RESETSTAT.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub struct Counters {
    pub connections: AtomicU64,
    pub rejected: AtomicU64,
    pub commands: AtomicU64,
    pub failed: AtomicU64,
    pub moved: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub hits: AtomicU64,
    pub misses: AtomicU64,
}

impl Counters {
    pub(super) fn reset(&self) {
        for counter in self.all() {
            counter.store(0, Ordering::Relaxed);
        }
    }

    fn all(&self) -> [&AtomicU64; 9] {
        let Self {
            connections,
            rejected,
            commands,
            failed,
            moved,
            bytes_in,
            bytes_out,
            hits,
            misses,
        } = self;
        [connections, rejected, commands, failed, moved, bytes_in, bytes_out, hits, misses]
    }
}

/// Counts without ordering anything else.
pub(super) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

pub(super) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
