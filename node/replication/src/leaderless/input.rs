//! What a replica is told.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_model::{LeaderlessPolicy, Level, NodeId, VersionVector};
use serde::{Deserialize, Serialize};

use super::{Asked, CellKey, Collected, Mark, Message, Owners, PersistId};
use crate::causal::{Cell, Change};

/// The caller's number of a request: unique while it is open.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RequestId(pub u64);

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    Tick,
    Message {
        from: NodeId,
        mark: Mark,
        message: Message,
    },
    Persisted {
        id: PersistId,
    },
    /// [`Output::Close`](super::Output::Close) is durable.
    Closed {
        collected: Collected,
    },
    /// Who has a replica of the shard, and what the store declares.
    Owners {
        owners: Owners,
        policy: LeaderlessPolicy,
    },
    /// This replica may lack what was acknowledged while it was none, which it did not hear of.
    Lacks,
    /// Changes this replica's cells, all or none, and has the others take them over. The answer is what then stands here.
    Write {
        id: RequestId,
        changes: Vec<(CellKey, Change)>,
        level: Level,
        after: After,
    },
    /// What is known of this by as many replicas as the level says.
    Read {
        id: RequestId,
        asked: Vec<Asked>,
        level: Level,
        repair: ReadRepair,
        seen: Seen,
    },
}

/// What a session has seen of cells. Whoever answers it must know as much (INV-106).
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Seen {
    pub cells: Vec<(CellKey, VersionVector)>,
    /// It has seen more, and does not remember what: only all replicas together surely know no less.
    pub more: bool,
}

impl Seen {
    /// Only what is of this.
    pub(super) fn keep_within(&mut self, asked: &[Asked]) {
        let cells: BTreeSet<&CellKey> = asked.iter().filter_map(Asked::cell).collect();
        let mut ranges = asked.iter().filter(|asked| asked.cell().is_none());
        self.cells.retain(|(key, _)| {
            cells.contains(key) || ranges.clone().any(|range| range.covers(key))
        });
        self.more &= ranges.next().is_some() || !self.remembers(cells.into_iter());
    }

    /// Whether what it has seen of all of these cells is remembered.
    #[must_use]
    pub fn remembers<'k>(&self, mut keys: impl Iterator<Item = &'k CellKey>) -> bool {
        if !self.more {
            return true;
        }
        let remembered: BTreeSet<&CellKey> = self.cells.iter().map(|(key, _)| key).collect();
        keys.all(|key| remembered.contains(key))
    }
}

/// What a write comes after, beside what this replica knows.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum After {
    #[default]
    Nothing,
    /// Everything that was acknowledged or shown at this level: it is read first (INV-105).
    Level(Level),
}

/// What happens to replicas that a read finds to be behind. They are told in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ReadRepair {
    /// The answer waits until as many as the level says know it, so that no later read at that level goes back behind it.
    Blocking,
    Background,
}

/// Whether a replica holds what it may have acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Standing {
    Whole,
    /// It is new, or may have lost something: it counts for nothing until it has compared itself with enough others (INV-98).
    Filling,
}

/// The cells that are applied on this replica.
pub trait Cells {
    fn cell(&self, key: &CellKey) -> Option<Cell>;

    /// Those from `from` on and before `to`, in order, at most `count_max`.
    fn range(&self, from: &Bytes, to: &Bytes, count_max: usize) -> Vec<(CellKey, Cell)>;
}
