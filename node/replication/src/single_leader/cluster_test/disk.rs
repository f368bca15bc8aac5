//! One replica's disk: what survives a crash.

use std::collections::VecDeque;

use quorate_model::{LogIndex, NodeId, Position, Term};

use crate::single_leader::{Configuration, Entry, HardState, PersistId, Restored};

/// What the entries applied so far come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct State {
    pub(super) applied: LogIndex,
    pub(super) hash: u64,
}

#[derive(Debug)]
pub(super) struct Persist {
    pub(super) id: PersistId,
    pub(super) hard_state: Option<HardState>,
    pub(super) truncate_from: Option<LogIndex>,
    pub(super) entries: Vec<Entry>,
}

#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) hard_state: HardState,
    pub(super) base: Position,
    pub(super) base_configuration: Configuration,
    entries: VecDeque<Entry>,
    /// The state as it was flushed last.
    pub(super) flushed: State,
    pub(super) damaged: bool,
    /// Submitted and not known to be durable.
    pub(super) pending: VecDeque<Persist>,
}

impl State {
    pub(super) fn apply(&mut self, entry: &Entry) {
        self.applied = entry.index();
        let mut hash = self.hash ^ (entry.position.term.0 << 32) ^ entry.index().0;
        for byte in format!("{:?}", entry.payload).bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        self.hash = hash;
    }
}

impl Disk {
    pub(super) fn restored(&self) -> Restored {
        Restored {
            hard_state: self.hard_state,
            base: self.base,
            base_configuration: self.base_configuration.clone(),
            entries: self.entries.iter().cloned().collect(),
            applied: self.flushed.applied,
            damaged: self.damaged,
        }
    }

    pub(super) fn last(&self) -> LogIndex {
        self.entries.back().map_or(self.base.index, Entry::index)
    }

    /// Holds this entry, or a snapshot that stands for it.
    pub(super) fn holds(&self, position: Position) -> bool {
        position.index <= self.base.index || self.entry(position.index) == Some(position)
    }

    /// Holds the entry itself.
    pub(super) fn has(&self, position: Position) -> bool {
        self.entry(position.index) == Some(position)
    }

    pub(super) fn load(&self, from: LogIndex, bytes_max: usize) -> Vec<Entry> {
        if from <= self.base.index {
            return Vec::new();
        }
        let mut bytes = 0;
        let wanted = self.entries.iter().skip_while(|entry| entry.index() < from);
        let bounded = wanted.take_while(|entry| {
            let first = bytes == 0;
            bytes += entry.bytes();
            first || bytes <= bytes_max
        });
        bounded.cloned().collect()
    }

    /// Carries out everything submitted through `id`.
    pub(super) fn complete(&mut self, id: PersistId) {
        while self.pending.front().is_some_and(|persist| persist.id <= id) {
            self.complete_oldest();
        }
    }

    /// Only the oldest `kept` of what is under way got through.
    pub(super) fn crash(&mut self, kept: usize) {
        for _ in 0..kept.min(self.pending.len()) {
            self.complete_oldest();
        }
        self.pending.clear();
    }

    /// The log starts after `position` from here on: goes on where it holds that very entry.
    pub(super) fn start(&mut self, position: Position, configuration: Configuration) {
        if self.entry(position.index) == Some(position) {
            while self.entries.front().is_some_and(|entry| entry.index() <= position.index) {
                self.entries.pop_front();
            }
        } else if position.index > self.base.index {
            self.entries.clear();
        }
        self.base = position;
        self.base_configuration = configuration;
        self.damaged = false;
    }

    /// A record in the middle cannot be read any more, nor what was voted since the state was flushed.
    pub(super) fn damage(&mut self, place: usize, node: NodeId) {
        self.damaged = true;
        let flushed = self.entries.iter().find(|entry| entry.index() == self.flushed.applied);
        let term = flushed.map_or(self.base.term, Entry::term);
        self.hard_state = HardState { term, vote: (term > Term::ZERO).then_some(node) };
        let kept = place % (self.entries.len() + 1);
        self.entries.truncate(kept);
    }

    fn entry(&self, index: LogIndex) -> Option<Position> {
        let first = self.entries.front()?.index();
        let offset = usize::try_from(index.0.checked_sub(first.0)?).ok()?;
        self.entries.get(offset).map(|entry| entry.position)
    }

    fn complete_oldest(&mut self) {
        let Some(persist) = self.pending.pop_front() else { return };
        if let Some(from) = persist.truncate_from {
            while self.entries.back().is_some_and(|entry| entry.index() >= from) {
                self.entries.pop_back();
            }
        }
        for entry in persist.entries {
            assert_eq!(entry.index(), self.last().next(), "an entry does not follow the log");
            self.entries.push_back(entry);
        }
        if let Some(hard_state) = persist.hard_state {
            assert!(hard_state.term >= self.hard_state.term);
            self.hard_state = hard_state;
        }
    }
}
