//! What one key went through: one writer counts upwards, readers check what they may see.
//!
//! With one writer per key a register's linearizability is simple to check exactly: a read may answer nothing older
//! than what was acknowledged before the read began, and nothing newer than what was sent before it ended. A write
//! whose answer never came may still be on its way, in a socket of a frozen process say, and may surface at any time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How many violations are kept word for word.
const VIOLATIONS_MAX: usize = 10;

#[derive(Debug)]
pub(crate) struct History {
    key: String,
    sent: u64,
    acknowledged: u64,
    /// Sent, and never answered for sure.
    unknown: BTreeSet<u64>,
    last_acknowledged: Instant,
    pub(crate) longest_gap: Duration,
    /// When the longest gap began, since the start of the run.
    pub(crate) longest_gap_began: Duration,
    started: Instant,
    pub(crate) writes: u64,
    pub(crate) reads: u64,
    pub(crate) failed_reads: u64,
    pub(crate) failed_writes: u64,
    pub(crate) violations: Vec<String>,
}

/// What a read must not be older than.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floor(u64);

impl History {
    pub(crate) fn new(key: String) -> Self {
        let now = Instant::now();
        Self {
            key,
            sent: 0,
            acknowledged: 0,
            unknown: BTreeSet::new(),
            last_acknowledged: now,
            longest_gap: Duration::ZERO,
            longest_gap_began: Duration::ZERO,
            started: now,
            writes: 0,
            reads: 0,
            failed_reads: 0,
            failed_writes: 0,
            violations: Vec::new(),
        }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The next value to write.
    pub(crate) const fn send(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    /// `doubtful` when the client library may have sent it twice.
    pub(crate) fn acknowledge(&mut self, value: u64, doubtful: bool) {
        let now = Instant::now();
        let gap = now - self.last_acknowledged;
        if gap > self.longest_gap {
            self.longest_gap = gap;
            self.longest_gap_began = self.last_acknowledged - self.started;
        }
        self.last_acknowledged = now;
        self.acknowledged = value;
        self.writes += 1;
        if doubtful {
            self.unknown.insert(value);
        }
    }

    pub(crate) fn unanswered(&mut self, value: u64) {
        self.unknown.insert(value);
        self.failed_writes += 1;
    }

    pub(crate) const fn read_begins(&self) -> Floor {
        Floor(self.acknowledged)
    }

    pub(crate) fn read_ends(&mut self, floor: Floor, found: Option<u64>) {
        self.reads += 1;
        let found_value = found.unwrap_or(0);
        let too_old = found_value < floor.0 && !self.unknown.contains(&found_value);
        let too_new = found_value > self.sent;
        if (too_old || too_new) && self.violations.len() < VIOLATIONS_MAX {
            let key = &self.key;
            let (floor, sent) = (floor.0, self.sent);
            self.violations.push(format!(
                "{key}: read {found:?}, acknowledged before it {floor}, sent {sent}"
            ));
        }
    }

    pub(crate) fn unknown_writes(&self) -> u64 {
        self.unknown.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_write_is_a_violation() {
        let mut history = History::new("k".into());
        let first = history.send();
        history.acknowledge(first, false);
        let second = history.send();
        history.acknowledge(second, false);
        let floor = history.read_begins();
        history.read_ends(floor, Some(first));
        assert_eq!(history.violations.len(), 1);
    }

    #[test]
    fn an_unanswered_write_may_surface_late() {
        let mut history = History::new("k".into());
        let first = history.send();
        history.unanswered(first);
        let second = history.send();
        history.acknowledge(second, false);
        let floor = history.read_begins();
        history.read_ends(floor, Some(first));
        history.read_ends(floor, Some(second));
        assert_eq!(history.violations, Vec::<String>::new());
        history.read_ends(floor, Some(9));
        assert_eq!(history.violations.len(), 1);
    }
}
