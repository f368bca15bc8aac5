//! What one datacenter holds in tests, and how it writes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_model::{ActorId, Dot, Hlc, VersionVector, WallTime};

use super::{Cell, Change, Turn, Write};
use crate::causal::{CellKey, Content};

#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Site {
    pub(super) known: VersionVector,
    pub(super) cells: BTreeMap<CellKey, Cell>,
}

/// What is done to one cell.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Put(Content),
    /// In place of what was read, as it is in this site.
    PutOver(Content, VersionVector),
    Add(i64),
    Remove,
}

pub(super) fn value(text: impl Into<String>) -> Content {
    Content::Value { value: Bytes::from(text.into()), expiry: None }
}

pub(super) fn key(name: &str) -> CellKey {
    CellKey::new(Bytes::from(format!("\0\0hash{name}"))).unwrap()
}

impl Site {
    /// One transaction, later than all that it follows; it is not applied yet.
    pub(super) fn write(&self, origin: ActorId, at: Hlc, acts: Vec<(String, Act)>) -> Change {
        let first = self.known.counter(origin) + 1;
        let after = self.known.dots().filter(|dot| dot.actor != origin).collect();
        let mut change = Change { origin, first, after, at, writes: Vec::new() };
        let newest = self.cells.values().flat_map(Cell::siblings).map(|one| one.at).max();
        change.at = at.max(Hlc(newest.unwrap_or_default().0 + 1));
        let mut cells = self.cells.clone();
        for (counter, (name, act)) in (first..).zip(acts) {
            let (key, dot) = (key(&name), Dot { actor: origin, counter });
            let cell = cells.entry(key.clone()).or_default();
            let write = match act {
                Act::Put(content) => Write::Put { content, over: cell.over(None) },
                Act::PutOver(content, known) => {
                    Write::Put { content, over: cell.over(Some(&known)) }
                }
                Act::Add(by) => cell.addition(dot, by, None).unwrap(),
                Act::Remove => Write::Remove { over: cell.over(None) },
            };
            cell.apply(dot, change.at, &write, &change.before(dot));
            change.writes.push((key, write));
        }
        assert!(change.is_well_formed(), "{change:?}");
        change
    }

    pub(super) fn apply(&mut self, change: &Change) {
        assert_eq!(change.turn(&self.known), Turn::Next);
        for (dot, key, write) in change.each() {
            let cell = self.cells.entry(key.clone()).or_default();
            cell.apply(dot, change.at, write, &change.before(dot));
        }
        self.known.include(change.through());
    }

    pub(super) fn merge(&mut self, other: &Self) {
        let all: BTreeSet<CellKey> = self.cells.keys().chain(other.cells.keys()).cloned().collect();
        for key in all {
            let theirs = other.cells.get(&key).cloned().unwrap_or_default();
            self.cells.entry(key).or_default().merge(&self.known, &theirs, &other.known);
        }
        self.known.join(&other.known);
    }

    /// What is read: every value that stands, and what was added to it.
    pub(super) fn read(&self, now: WallTime) -> BTreeMap<CellKey, (Vec<Content>, i128)> {
        let of = |(key, cell): (&CellKey, &Cell)| {
            let mut cell = cell.clone();
            cell.expire(now);
            let values: Vec<_> = cell.siblings().iter().map(|one| one.content.clone()).collect();
            let sum = cell.amounts().map(|(_, amount)| amount).sum();
            let reads = !values.is_empty() || cell.amounts().next().is_some();
            reads.then(|| (key.clone(), (values, sum)))
        };
        self.cells.iter().filter_map(of).collect()
    }
}
