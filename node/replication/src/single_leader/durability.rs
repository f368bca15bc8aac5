//! What of the log is on the disk: the persists under way and the prefix that is durable.
//!
//! Keeps INV-12 (an acknowledgement waits for its persist), INV-17 and INV-19 (persists complete in order). It knows
//! nothing of terms: only how far the *present* log is durable. A cut takes back what earlier persists would prove.

use std::collections::VecDeque;

use quorate_model::LogIndex;

use super::{PersistId, When};

#[derive(Clone, Debug)]
pub(super) struct Durability {
    /// Entries of the present log through here are on the disk.
    durable: LogIndex,
    pending: VecDeque<Pending>,
    issued: PersistId,
    completed: PersistId,
}

#[derive(Clone, Debug)]
struct Pending {
    id: PersistId,
    /// Through where the present log is durable once this completes.
    through: LogIndex,
}

impl Durability {
    pub(super) const fn new(durable: LogIndex) -> Self {
        Self { durable, pending: VecDeque::new(), issued: PersistId(0), completed: PersistId(0) }
    }

    /// The log is cut from `from` on: nothing issued so far says anything about the entries that will stand there.
    pub(super) fn cut(&mut self, from: LogIndex) {
        let kept = from.previous();
        self.durable = self.durable.min(kept);
        for pending in &mut self.pending {
            pending.through = pending.through.min(kept);
        }
    }

    /// A snapshot at `base` has replaced the log, durably.
    pub(super) fn reset(&mut self, base: LogIndex) {
        self.durable = base;
        for pending in &mut self.pending {
            pending.through = base;
        }
    }

    /// A snapshot at `base` stands for the log's begin, durably; what follows is unchanged.
    pub(super) fn raise(&mut self, base: LogIndex) {
        self.durable = self.durable.max(base);
        for pending in &mut self.pending {
            pending.through = pending.through.max(base);
        }
    }

    /// The id that the next persist will have.
    pub(super) const fn upcoming(&self) -> PersistId {
        PersistId(self.issued.0 + 1)
    }

    /// Numbers a persist after which the log is durable through `last`.
    pub(super) fn issue(&mut self, last: LogIndex) -> PersistId {
        self.issued = self.upcoming();
        // INV-19: what a later persist proves includes what an earlier one does.
        assert!(self.pending.back().is_none_or(|newest| newest.through <= last));
        self.pending.push_back(Pending { id: self.issued, through: last });
        self.issued
    }

    pub(super) fn complete(&mut self, id: PersistId) {
        // INV-19: a persist that was never issued cannot be durable.
        assert!(id <= self.issued, "{id:?} was not issued");
        while let Some(oldest) = self.pending.front()
            && oldest.id <= id
        {
            self.durable = self.durable.max(oldest.through);
            self.completed = oldest.id;
            self.pending.pop_front();
        }
    }

    pub(super) const fn durable(&self) -> LogIndex {
        self.durable
    }

    pub(super) fn is_complete(&self, id: PersistId) -> bool {
        id <= self.completed
    }

    /// When the log is durable through `index`, of which the part after the last issued persist goes with the next.
    pub(super) fn when_durable(&self, index: LogIndex) -> When {
        if index <= self.durable {
            return When::Now;
        }
        let covering = self.pending.iter().find(|pending| pending.through >= index);
        When::Persisted(covering.map_or(self.upcoming(), |pending| pending.id))
    }
}

/// The later of two conditions.
pub(super) fn later(one: When, other: When) -> When {
    match (one, other) {
        (When::Now, when) | (when, When::Now) => when,
        (When::Persisted(one), When::Persisted(other)) => When::Persisted(one.max(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(index: u64) -> LogIndex {
        LogIndex(index)
    }

    #[test]
    fn an_index_is_durable_with_the_first_persist_that_covers_it() {
        let mut durability = Durability::new(at(2));
        let first = durability.issue(at(4));
        let second = durability.issue(at(6));
        assert_eq!(durability.when_durable(at(2)), When::Now);
        assert_eq!(durability.when_durable(at(3)), When::Persisted(first));
        assert_eq!(durability.when_durable(at(5)), When::Persisted(second));
        assert_eq!(durability.when_durable(at(7)), When::Persisted(PersistId(3)));
        durability.complete(first);
        assert_eq!(durability.durable(), at(4));
    }

    #[test]
    fn a_cut_takes_back_what_an_earlier_persist_would_prove() {
        let mut durability = Durability::new(at(0));
        let first = durability.issue(at(7));
        durability.cut(at(5));
        let second = durability.issue(at(6));
        durability.complete(first);
        assert_eq!(durability.durable(), at(4));
        durability.complete(second);
        assert_eq!(durability.durable(), at(6));
    }

    #[test]
    fn a_later_completion_includes_the_earlier_ones() {
        let mut durability = Durability::new(at(0));
        let first = durability.issue(at(1));
        let second = durability.issue(at(2));
        durability.complete(second);
        assert!(durability.is_complete(first));
        assert_eq!(durability.durable(), at(2));
    }
}
