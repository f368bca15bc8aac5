//! The configurations along the log: the one at its base and every later one, committed or not.
//!
//! Keeps INV-27: the newest one in the log is in force, and a cut brings the one before it back.

use std::collections::VecDeque;

use quorate_model::LogIndex;

use super::{Configuration, Entry, Payload, Rule};

#[derive(Clone, Debug)]
pub(super) struct Configurations {
    /// Never empty. The first is the one in force at the log's base.
    history: VecDeque<Placed>,
}

#[derive(Clone, Debug)]
struct Placed {
    index: LogIndex,
    configuration: Configuration,
}

impl Configurations {
    pub(super) fn new(index: LogIndex, configuration: Configuration) -> Self {
        assert!(configuration.voters.is_disjoint(&configuration.learners));
        Self { history: VecDeque::from([Placed { index, configuration }]) }
    }

    /// Takes note of an entry that was appended.
    pub(super) fn append(&mut self, entry: &Entry) {
        match &entry.payload {
            Payload::Empty | Payload::Command(_) => {}
            Payload::Configuration(configuration) => {
                // INV-27: configurations lie along the log in its order.
                assert!(entry.index() > self.newest().index);
                assert!(configuration.voters.is_disjoint(&configuration.learners));
                // INV-63: only voters are in the in-sync set.
                let in_sync = configuration.rule.in_sync();
                assert!(in_sync.is_none_or(|set| set.is_subset(&configuration.voters)));
                let configuration = configuration.clone();
                self.history.push_back(Placed { index: entry.index(), configuration });
            }
        }
    }

    pub(super) fn cut(&mut self, from: LogIndex) {
        while self.history.len() > 1 && self.newest().index >= from {
            self.history.pop_back();
        }
    }

    /// The log starts after `base`.
    pub(super) fn compact(&mut self, base: LogIndex) {
        while self.history.get(1).is_some_and(|next| next.index <= base) {
            self.history.pop_front();
        }
    }

    pub(super) fn current(&self) -> &Configuration {
        &self.newest().configuration
    }

    pub(super) fn current_index(&self) -> LogIndex {
        self.newest().index
    }

    /// The one in force at `index` and every later one, in the order of the log.
    pub(super) fn since(&self, index: LogIndex) -> impl Iterator<Item = &Configuration> {
        self.history.range(self.place(index)..).map(|placed| &placed.configuration)
    }

    /// Where the one in force at `index` was appended; the log's base at least.
    pub(super) fn index_at(&self, index: LogIndex) -> LogIndex {
        self.history[self.place(index)].index
    }

    /// The one in force at `index`, which is not before the log's base.
    pub(super) fn at(&self, index: LogIndex) -> &Configuration {
        &self.history[self.place(index)].configuration
    }

    /// Whether an entry at `index`, which is after `committed`, may have been acknowledged without a majority and outside of a
    /// set that elections respect: a rule in force at its time was `Async`, and the one at its place asks for no majority.
    /// A set that no majority knows of protects nothing, so entries behind an uncommitted change to one count as well.
    pub(super) fn passes_alone(&self, index: LogIndex, committed: LogIndex) -> bool {
        let (at_committed, at_index) = (self.place(committed), self.place(index));
        let mut counted = self.history.range(at_committed..=at_index);
        counted.any(|placed| placed.configuration.rule == Rule::Async)
            && self.at(index).rule != Rule::Quorum
    }

    /// Where the one in force at `index` stands in the history.
    fn place(&self, index: LogIndex) -> usize {
        self.history.partition_point(|placed| placed.index <= index).saturating_sub(1)
    }

    fn newest(&self) -> &Placed {
        self.history.back().expect("the history is never empty")
    }
}

#[cfg(test)]
mod tests {
    use quorate_model::{NodeId, Position, Term};

    use super::*;

    fn voters(count: u128) -> Configuration {
        Configuration { voters: (1..=count).map(NodeId).collect(), ..Configuration::default() }
    }

    fn entry(index: u64, configuration: Configuration) -> Entry {
        let position = Position { term: Term(1), index: LogIndex(index) };
        Entry { position, payload: Payload::Configuration(configuration) }
    }

    #[test]
    fn the_newest_counts_until_it_is_cut() {
        let mut configurations = Configurations::new(LogIndex(0), voters(1));
        configurations.append(&entry(3, voters(2)));
        configurations.append(&entry(7, voters(3)));
        assert_eq!(configurations.current(), &voters(3));
        let since: Vec<_> = configurations.since(LogIndex(6)).collect();
        assert_eq!(since, [&voters(2), &voters(3)]);
        assert_eq!(configurations.at(LogIndex(6)), &voters(2));
        configurations.cut(LogIndex(7));
        assert_eq!(configurations.current(), &voters(2));
        configurations.cut(LogIndex(1));
        assert_eq!(configurations.current(), &voters(1));
    }

    #[test]
    fn a_compaction_keeps_the_one_in_force_at_the_base() {
        let mut configurations = Configurations::new(LogIndex(0), voters(1));
        configurations.append(&entry(3, voters(2)));
        configurations.append(&entry(7, voters(3)));
        configurations.compact(LogIndex(5));
        assert_eq!(configurations.at(LogIndex(5)), &voters(2));
        assert_eq!(configurations.current_index(), LogIndex(7));
    }
}
