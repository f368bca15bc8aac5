//! The log as a replica sees it in memory: the terms of all retained entries, the payloads of the newest.
//!
//! Entries that are not yet applied are always here; applied ones as far as the bound of the cache allows, older ones
//! are loaded from the disk. Nothing here is durable by itself: see [`super::durability`]. Keeps INV-13 and INV-14's ground.

mod terms;

use std::collections::VecDeque;

use quorate_model::{LogIndex, Position, Term};

use super::Entry;
use terms::Terms;

#[derive(Clone, Debug)]
pub(super) struct Log {
    terms: Terms,
    /// The newest entries, without a gap, to the end of the log.
    cache: VecDeque<Entry>,
    /// Entries through here may leave the cache.
    applied: LogIndex,
    /// The size of what is in the cache and applied, and of what is in it and not applied.
    applied_bytes: usize,
    unapplied_bytes: usize,
    cache_bytes_max: usize,
}

/// Where the entries from some index on are to be had.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Lookup {
    /// At least one entry, or none when the log ends before.
    Cached(Vec<Entry>),
    OnDisk,
    /// Only a snapshot stands for them.
    Gone,
}

impl Log {
    pub(super) const fn new(base: Position, applied: LogIndex, cache_bytes_max: usize) -> Self {
        Self {
            terms: Terms::new(base),
            cache: VecDeque::new(),
            applied,
            applied_bytes: 0,
            unapplied_bytes: 0,
            cache_bytes_max,
        }
    }

    pub(super) fn append(&mut self, entry: Entry) {
        self.terms.append(entry.position);
        if entry.index() <= self.applied {
            self.applied_bytes += entry.bytes();
        } else {
            self.unapplied_bytes += entry.bytes();
        }
        self.cache.push_back(entry);
        self.evict();
    }

    /// Forgets everything from `from` on.
    pub(super) fn cut(&mut self, from: LogIndex) {
        // INV-18: what is applied is committed, and what is committed stays.
        assert!(from > self.applied, "cannot cut {from}: applied through {}", self.applied);
        self.terms.cut(from);
        while let Some(entry) = self.cache.pop_back_if(|entry| entry.index() >= from) {
            self.unapplied_bytes -= entry.bytes();
        }
    }

    /// Forgets everything through `base`, for which a snapshot stands.
    pub(super) fn compact(&mut self, base: Position) {
        self.terms.compact(base);
        while self.cache.front().is_some_and(|entry| entry.index() <= base.index) {
            self.pop_applied();
        }
    }

    /// Forgets everything: a snapshot at `base` has taken its place.
    pub(super) fn reset(&mut self, base: Position) {
        self.terms = Terms::new(base);
        self.cache.clear();
        self.applied = base.index;
        self.applied_bytes = 0;
        self.unapplied_bytes = 0;
    }

    /// Entries through `index` are applied and need not stay in memory.
    pub(super) fn applied(&mut self, index: LogIndex) {
        assert!(index <= self.last().index, "{index} is not in the log");
        let newly: usize = self.cached(self.applied.next(), index).map(Entry::bytes).sum();
        self.applied_bytes += newly;
        self.unapplied_bytes -= newly;
        self.applied = self.applied.max(index);
        self.evict();
    }

    /// The size of what is in memory for as long as it is not applied.
    pub(super) const fn unapplied_bytes(&self) -> usize {
        self.unapplied_bytes
    }

    pub(super) const fn base(&self) -> Position {
        self.terms.base()
    }

    pub(super) fn last(&self) -> Position {
        self.terms.last()
    }

    pub(super) fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.terms.term_at(index)
    }

    pub(super) fn position_at(&self, index: LogIndex) -> Option<Position> {
        self.term_at(index).map(|term| Position { term, index })
    }

    pub(super) fn contains(&self, position: Position) -> bool {
        self.term_at(position.index) == Some(position.term)
    }

    /// See [`Terms::last_compatible`].
    pub(super) fn last_compatible(&self, limit: Position) -> Position {
        self.terms.last_compatible(limit)
    }

    /// Up to `bytes_max` bytes of entries from `from` on, but at least one where there is one.
    pub(super) fn lookup(&self, from: LogIndex, bytes_max: usize) -> Lookup {
        if from <= self.base().index {
            return Lookup::Gone;
        }
        if from < self.cache_first() {
            return Lookup::OnDisk;
        }
        let mut bytes = 0;
        let entries = self.cached(from, self.last().index).take_while(|entry| {
            let first = bytes == 0;
            bytes += entry.bytes();
            first || bytes <= bytes_max
        });
        Lookup::Cached(entries.cloned().collect())
    }

    /// The entries of the cache from `from` through `to`.
    pub(super) fn cached(&self, from: LogIndex, to: LogIndex) -> impl Iterator<Item = &Entry> {
        let first = self.cache_first();
        let offset = |index: LogIndex| {
            let offset = index.0.saturating_sub(first.0);
            usize::try_from(offset).unwrap_or(usize::MAX).min(self.cache.len())
        };
        let (begin, end) = (offset(from), offset(to.next()));
        self.cache.range(begin.min(end)..end)
    }

    fn cache_first(&self) -> LogIndex {
        self.cache.front().map_or(self.last().index.next(), Entry::index)
    }

    fn evict(&mut self) {
        while self.applied_bytes > self.cache_bytes_max {
            self.pop_applied();
        }
    }

    fn pop_applied(&mut self) {
        let oldest = self.cache.pop_front().expect("the cache holds what is counted");
        // INV-21: an entry is needed here until it is applied.
        assert!(oldest.index() <= self.applied);
        self.applied_bytes -= oldest.bytes();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::single_leader::Payload;

    fn entry(term: u64, index: u64) -> Entry {
        let position = Position { term: Term(term), index: LogIndex(index) };
        Entry { position, payload: Payload::Command(Bytes::from_static(&[0; 68])) }
    }

    /// Ten entries of term 1, of a hundred bytes each.
    fn log(cache_bytes_max: usize) -> Log {
        let mut log = Log::new(Position::ZERO, LogIndex::ZERO, cache_bytes_max);
        (1..=10).for_each(|index| log.append(entry(1, index)));
        log
    }

    fn indexes(lookup: Lookup) -> Vec<u64> {
        match lookup {
            Lookup::Cached(entries) => entries.iter().map(|entry| entry.index().0).collect(),
            Lookup::OnDisk | Lookup::Gone => panic!("{lookup:?}"),
        }
    }

    #[test]
    fn unapplied_entries_stay_whatever_the_bound() {
        let mut log = log(250);
        assert_eq!(log.lookup(LogIndex(1), 0), Lookup::Cached(vec![entry(1, 1)]));
        log.applied(LogIndex(6));
        assert_eq!(log.lookup(LogIndex(4), 1_000), Lookup::OnDisk);
        assert_eq!(indexes(log.lookup(LogIndex(5), 1_000)), [5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn a_lookup_is_bounded_by_bytes_but_not_empty() {
        let log = log(1_000);
        assert_eq!(indexes(log.lookup(LogIndex(3), 250)), [3, 4]);
        assert_eq!(indexes(log.lookup(LogIndex(3), 10)), [3]);
        assert_eq!(indexes(log.lookup(LogIndex(11), 10)), Vec::<u64>::new());
    }

    #[test]
    fn a_compacted_entry_is_gone() {
        let mut log = log(1_000);
        log.applied(LogIndex(5));
        log.compact(Position { term: Term(1), index: LogIndex(4) });
        assert_eq!(log.lookup(LogIndex(4), 10), Lookup::Gone);
        assert_eq!(indexes(log.lookup(LogIndex(5), 10)), [5]);
        assert_eq!(log.applied_bytes, 100);
    }

    #[test]
    fn a_cut_and_an_append_replace_the_suffix() {
        let mut log = log(1_000);
        log.cut(LogIndex(8));
        log.append(entry(2, 8));
        assert_eq!(log.last(), entry(2, 8).position);
        assert!(!log.contains(entry(1, 8).position));
        assert_eq!(log.term_at(LogIndex(9)), None);
    }
}
