//! The terms of all retained entries, as runs: a log of millions of entries has few terms.
//!
//! Keeps INV-13's ground: terms never fall along a log. Knows no payloads.

use std::collections::VecDeque;

use quorate_model::{LogIndex, Position, Term};

#[derive(Clone, Debug)]
pub(super) struct Terms {
    base: Position,
    last: LogIndex,
    /// Each run's first index and its term; both rise strictly.
    runs: VecDeque<Position>,
}

impl Terms {
    pub(super) const fn new(base: Position) -> Self {
        Self { base, last: base.index, runs: VecDeque::new() }
    }

    pub(super) fn append(&mut self, position: Position) {
        let last = self.last();
        // INV-13: an entry follows the one before it, and terms never fall.
        assert_eq!(position.index, last.index.next(), "{position:?} does not follow {last:?}");
        assert!(position.term >= last.term, "{position:?} follows {last:?}");
        if self.runs.back().is_none_or(|run| run.term < position.term) {
            self.runs.push_back(position);
        }
        self.last = position.index;
    }

    pub(super) fn cut(&mut self, from: LogIndex) {
        assert!(from > self.base.index && from <= self.last, "cannot cut from {from}");
        while self.runs.back().is_some_and(|run| run.index >= from) {
            self.runs.pop_back();
        }
        self.last = from.previous();
    }

    pub(super) fn compact(&mut self, base: Position) {
        assert_eq!(self.term_at(base.index), Some(base.term), "{base:?} is not in the log");
        while self.runs.get(1).is_some_and(|next| next.index <= base.index.next()) {
            self.runs.pop_front();
        }
        self.base = base;
        if self.last == base.index {
            self.runs.clear();
        } else if let Some(first) = self.runs.front_mut() {
            first.index = first.index.max(base.index.next());
        }
    }

    pub(super) const fn base(&self) -> Position {
        self.base
    }

    pub(super) fn last(&self) -> Position {
        let term = self.runs.back().map_or(self.base.term, |run| run.term);
        Position { term, index: self.last }
    }

    /// Of the base and of every entry after it.
    pub(super) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index < self.base.index || index > self.last {
            return None;
        }
        let after = self.runs.partition_point(|run| run.index <= index);
        Some(if after == 0 { self.base.term } else { self.runs[after - 1].term })
    }

    /// The last position at or before `limit.index` whose term is at most `limit.term`: what can still agree with a
    /// log that has `limit`. The base stands for everything before it.
    pub(super) fn last_compatible(&self, limit: Position) -> Position {
        let mut end = self.last;
        for run in self.runs.iter().rev() {
            if run.term <= limit.term && run.index <= limit.index {
                return Position { term: run.term, index: end.min(limit.index) };
            }
            end = run.index.previous();
        }
        self.base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn position(term: u64, index: u64) -> Position {
        Position { term: Term(term), index: LogIndex(index) }
    }

    /// Base 2@3, then terms 3 3 5 5 5 8 at indexes 4 to 9.
    fn terms() -> Terms {
        let mut terms = Terms::new(position(2, 3));
        for (offset, term) in [3, 3, 5, 5, 5, 8].into_iter().enumerate() {
            terms.append(position(term, 4 + offset as u64));
        }
        terms
    }

    #[test]
    fn the_term_of_every_retained_index_is_known() {
        let terms = terms();
        let known: Vec<_> =
            (2..=10).map(|index| terms.term_at(LogIndex(index)).map(|t| t.0)).collect();
        let expected = [None, Some(2), Some(3), Some(3), Some(5), Some(5), Some(5), Some(8), None];
        assert_eq!(known, expected);
        assert_eq!(terms.last(), position(8, 9));
    }

    #[test]
    fn a_cut_forgets_the_suffix_only() {
        let mut terms = terms();
        terms.cut(LogIndex(7));
        assert_eq!(terms.last(), position(5, 6));
        terms.cut(LogIndex(4));
        assert_eq!(terms.last(), position(2, 3));
    }

    #[test]
    fn a_compaction_forgets_the_prefix_only() {
        for index in 3..=9 {
            let mut terms = terms();
            let base =
                Position { term: terms.term_at(LogIndex(index)).unwrap(), index: LogIndex(index) };
            terms.compact(base);
            assert_eq!(terms.base(), base);
            assert_eq!(terms.last(), position(8, 9));
            for later in index..=9 {
                assert_eq!(terms.term_at(LogIndex(later)), self::terms().term_at(LogIndex(later)));
            }
        }
    }

    #[test]
    fn the_last_compatible_position_has_neither_a_later_index_nor_a_later_term() {
        let terms = terms();
        assert_eq!(terms.last_compatible(position(8, 20)), position(8, 9));
        assert_eq!(terms.last_compatible(position(6, 20)), position(5, 8));
        assert_eq!(terms.last_compatible(position(5, 7)), position(5, 7));
        assert_eq!(terms.last_compatible(position(4, 9)), position(3, 5));
        assert_eq!(terms.last_compatible(position(1, 9)), position(2, 3));
    }
}
