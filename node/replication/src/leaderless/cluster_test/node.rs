//! One replica with its disk: what survives a crash, and what is known of it in between.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::causal::Cell;
use crate::leaderless::{CellKey, Cells, PersistId, Replica, Standing};

#[derive(Debug)]
pub(super) struct Persist {
    pub(super) id: PersistId,
    pub(super) cells: Vec<(CellKey, Cell)>,
}

#[derive(Debug, Default)]
pub(super) struct Applied(pub(super) BTreeMap<CellKey, Cell>);

#[derive(Debug)]
pub(super) struct Node {
    pub(super) replica: Option<Replica>,
    pub(super) incarnation: u64,
    pub(super) standing: Standing,
    pub(super) applied: Applied,
    /// What the disk holds, applied or not.
    pub(super) durable: BTreeMap<CellKey, Cell>,
    /// On its way to the disk.
    pub(super) pending: VecDeque<Persist>,
    /// Durable, and not applied.
    unapplied: VecDeque<Persist>,
    pub(super) wake_at: Option<quorate_model::Time>,
    /// How far this node's clock is from the right time, in milliseconds, plus a second.
    pub(super) skew_ms: u64,
}

impl Cells for Applied {
    fn cell(&self, key: &CellKey) -> Option<Cell> {
        self.0.get(key).cloned()
    }

    fn range(&self, from: &Bytes, to: &Bytes, count_max: usize) -> Vec<(CellKey, Cell)> {
        let within = self.0.iter().skip_while(|(key, _)| key.bytes() < from);
        let within = within.take_while(|(key, _)| key.bytes() < to).take(count_max);
        within.map(|(key, cell)| (key.clone(), cell.clone())).collect()
    }
}

impl Node {
    pub(super) fn new() -> Self {
        Self {
            replica: None,
            incarnation: 0,
            standing: Standing::Whole,
            applied: Applied::default(),
            durable: BTreeMap::new(),
            pending: VecDeque::new(),
            unapplied: VecDeque::new(),
            wake_at: None,
            skew_ms: 1_000,
        }
    }

    /// The oldest write reaches the disk.
    pub(super) fn sync_one(&mut self) -> Option<PersistId> {
        let persist = self.pending.pop_front()?;
        let id = persist.id;
        self.durable.extend(persist.cells.iter().cloned());
        self.unapplied.push_back(persist);
        Some(id)
    }

    pub(super) fn apply(&mut self, through: PersistId) {
        assert!(self.pending.front().is_none_or(|one| one.id > through), "only durable cells");
        while let Some(persist) = self.unapplied.pop_front_if(|one| one.id <= through) {
            self.applied.0.extend(persist.cells);
        }
    }

    /// Some of what was under way is lost, and the process with it.
    pub(super) fn crash(&mut self, survive: usize) {
        for _ in 0..survive {
            self.sync_one();
        }
        self.pending.clear();
        self.unapplied.clear();
        self.applied = Applied(self.durable.clone());
        self.replica = None;
        self.incarnation += 1;
        self.wake_at = None;
    }

    pub(super) fn wipe(&mut self) {
        self.durable.clear();
        self.applied = Applied::default();
        self.standing = Standing::Filling;
    }

    pub(super) fn knows(&self, key: &CellKey, cell: &Cell) -> bool {
        self.durable.get(key).cloned().unwrap_or_default().knows(cell)
    }
}
