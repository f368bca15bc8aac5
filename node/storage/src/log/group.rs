//! One group's log as it was appended: what reads and the host see, whether durable or not.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use quorate_model::{LogIndex, NodeId, Position, Term};

use super::batch::BatchId;
use super::codec::Continuation;
use super::{Body, EntryKind};

/// A term and the vote in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HardState {
    pub term: Term,
    pub vote: Option<NodeId>,
}

/// Where a group's log starts: after `position`. The payload went with the record.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Start {
    pub position: Position,
    pub payload: Bytes,
}

#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) hard_state: Option<HardState>,
    pub(super) start: Start,
    /// Whether `start` was ever appended.
    pub(super) started: bool,
    pub(super) last: Position,
    /// The first index of every run of entries of one term.
    terms: BTreeMap<LogIndex, Term>,
    /// The newest entries: those not yet known to be on the disk. Ends at `last` unless it is empty.
    volatile: VecDeque<Volatile>,
}

#[derive(Debug)]
pub(super) struct Volatile {
    pub(super) position: Position,
    pub(super) kind: EntryKind,
    pub(super) payload: Bytes,
    pub(super) batch: BatchId,
}

impl Group {
    /// What recovery found; `entries` follow `start` without a gap.
    pub(super) fn recovered(
        hard_state: Option<HardState>,
        start: Option<Start>,
        entries: impl Iterator<Item = Position>,
    ) -> Self {
        let started = start.is_some();
        let start = start.unwrap_or_default();
        let mut group =
            Self { hard_state, last: start.position, start, started, ..Self::default() };
        for position in entries {
            group.push_position(position);
        }
        group
    }

    /// Answers whether the entries above a `Start` go on.
    pub(super) fn append(&mut self, body: &Body, batch: BatchId) -> Continuation {
        match body {
            Body::Entry { position, kind, payload } => {
                self.push_position(*position);
                self.volatile.push_back(Volatile {
                    position: *position,
                    kind: *kind,
                    payload: payload.clone(),
                    batch,
                });
                Continuation::Drops
            }
            Body::Cut { from } => {
                self.cut(*from);
                Continuation::Drops
            }
            Body::HardState { term, vote } => {
                let before = self.hard_state.map_or(Term::ZERO, |hard_state| hard_state.term);
                assert!(*term >= before, "a term never goes back");
                self.hard_state = Some(HardState { term: *term, vote: *vote });
                Continuation::Drops
            }
            Body::Start { position, payload } => {
                self.start(Start { position: *position, payload: payload.clone() })
            }
            Body::Forget => {
                *self = Self::default();
                Continuation::Drops
            }
        }
    }

    /// Everything up to this batch is on the disk.
    pub(super) fn settle(&mut self, durable: BatchId) {
        while self.volatile.front().is_some_and(|entry| entry.batch <= durable) {
            self.volatile.pop_front();
        }
    }

    pub(super) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.start.position.index {
            return Some(self.start.position.term);
        }
        if !self.holds(index) {
            return None;
        }
        self.terms.range(..=index).next_back().map(|(_, term)| *term)
    }

    /// Whether there is an entry at this index.
    pub(super) fn holds(&self, index: LogIndex) -> bool {
        index > self.start.position.index && index <= self.last.index
    }

    pub(super) fn volatile(&self, index: LogIndex) -> Option<&Volatile> {
        let first = self.volatile.front()?.position.index;
        let at = usize::try_from(index.0.checked_sub(first.0)?).ok()?;
        let entry = self.volatile.get(at)?;
        assert_eq!(entry.position.index, index, "volatile entries have no gaps");
        Some(entry)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.volatile.is_empty()
    }

    fn push_position(&mut self, position: Position) {
        assert_eq!(position.index, self.last.index.next(), "an entry follows the last one");
        assert!(position.term >= self.last.term, "terms never go back along the log");
        if self.terms.last_key_value().is_none_or(|(_, term)| *term != position.term) {
            self.terms.insert(position.index, position.term);
        }
        self.last = position;
    }

    fn cut(&mut self, from: LogIndex) {
        assert!(from > self.start.position.index, "what was released is never cut");
        assert!(
            from <= self.last.index.next(),
            "a cut begins at an entry, or right after the last"
        );
        let index = from.previous();
        let term = self.term_at(index).expect("the entry before the cut is there, or the start");
        self.last = Position { term, index };
        drop(self.terms.split_off(&from));
        while self.volatile.back().is_some_and(|entry| entry.position.index >= from) {
            self.volatile.pop_back();
        }
    }

    fn start(&mut self, start: Start) -> Continuation {
        let position = start.position;
        assert!(position.index >= self.start.position.index, "a start never goes back");
        let keeps = self.term_at(position.index) == Some(position.term);
        if keeps {
            let next = position.index.next();
            let term = self.holds(next).then(|| self.term_at(next)).flatten();
            self.terms = self.terms.split_off(&next);
            if let Some(term) = term {
                self.terms.insert(next, term);
            }
            while self.volatile.front().is_some_and(|entry| entry.position.index < next) {
                self.volatile.pop_front();
            }
        } else {
            self.terms.clear();
            self.volatile.clear();
            self.last = position;
        }
        self.start = start;
        self.started = true;
        assert!(self.last.index >= position.index, "the log never ends before its start");
        if keeps { Continuation::Keeps } else { Continuation::Drops }
    }
}
