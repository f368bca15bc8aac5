//! What must be true, kept beside the cluster: written down from what clients were told, not from what replicas say of it.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{ConflictPolicy, Dot, Hlc};

use super::node::Node;
use crate::causal::{Cell, Content};
use crate::leaderless::{CellKey, Standing};

/// How many replicas a majority of the test's three is.
const QUORUM: usize = 2;

#[derive(Debug, Default)]
pub(super) struct Checks {
    /// Every write that any replica ever took, by its dot: where, what, when, and what its coordinator or its client had seen.
    writes: BTreeMap<Dot, Write>,
    acknowledged: BTreeSet<Dot>,
    /// By key: what every later read must know.
    floors: BTreeMap<CellKey, Cell>,
    /// By counter: what was acknowledged, and what may have been added.
    pub(super) sums: BTreeMap<CellKey, (i128, i128)>,
    pub(super) writes_answered: u64,
    pub(super) reads_answered: u64,
    pub(super) refused: u64,
}

#[derive(Debug)]
struct Write {
    key: CellKey,
    content: Option<Content>,
    at: Hlc,
    replaced: BTreeSet<Dot>,
}

impl Checks {
    /// A coordinator makes a write of its own: `before` is what it knew, `read` what its client had read.
    pub(super) fn written(
        &mut self,
        key: &CellKey,
        dot: Dot,
        before: &Cell,
        after: &Cell,
        read: Option<&Cell>,
    ) {
        let own = after.siblings().iter().find(|sibling| sibling.dot == dot);
        let replaced = before.siblings().iter().filter(|one| !after.siblings().contains(one));
        let replaced = replaced.chain(read.into_iter().flat_map(Cell::siblings));
        let replaced: BTreeSet<Dot> = replaced.map(|sibling| sibling.dot).collect();
        if let Some(read) = read {
            // What the client had not read stays, whatever its coordinator knew.
            for sibling in before.siblings().iter().filter(|one| !read.siblings().contains(one)) {
                let stays = after.siblings().contains(sibling) || read.known().covers(sibling.dot);
                assert!(stays, "INV-92: {sibling:?} was not observed");
            }
        }
        let write = Write {
            key: key.clone(),
            content: own.map(|sibling| sibling.content.clone()),
            at: own.map_or(Hlc(0), |sibling| sibling.at),
            replaced,
        };
        // INV-90
        let first = self.writes.insert(dot, write);
        assert!(first.is_none(), "INV-90: {dot:?} is used for two writes");
    }

    /// INV-91, INV-95: what is acknowledged is on the disks of a quorum.
    pub(super) fn acknowledged(&mut self, key: &CellKey, dot: Dot, cell: &Cell, nodes: &[Node]) {
        self.on_a_quorum(key, cell, nodes, "INV-95");
        self.acknowledged.insert(dot);
        self.raise(key, cell);
    }

    /// INV-96: a read that promises it is gone back behind by no later one.
    pub(super) fn read(&mut self, key: &CellKey, cell: &Cell, floor: &Cell, nodes: &[Node]) {
        assert!(cell.knows(floor), "INV-96: {cell:?} is behind {floor:?}");
        self.on_a_quorum(key, cell, nodes, "INV-96");
        self.raise(key, cell);
    }

    pub(super) fn floor(&self, key: &CellKey) -> Cell {
        self.floors.get(key).cloned().unwrap_or_default()
    }

    fn raise(&mut self, key: &CellKey, cell: &Cell) {
        self.floors.entry(key.clone()).or_default().merge(cell);
    }

    #[expect(clippy::unused_self, reason = "a check like the others")]
    fn on_a_quorum(&self, key: &CellKey, cell: &Cell, nodes: &[Node], what: &str) {
        // One that lost its disk may have held it when it said so, and gets it back before it counts again.
        let holds = |node: &&Node| node.knows(key, cell) || node.standing == Standing::Filling;
        let count = nodes.iter().filter(holds).count();
        assert!(count >= QUORUM, "{what}: {count} replicas hold {cell:?}");
    }

    /// INV-97, and what follows from all: the replicas are equal, nothing acknowledged is lost, nothing replaced is back.
    pub(super) fn converged(&self, nodes: &[Node], conflicts: ConflictPolicy) {
        let cells = &nodes[0].durable;
        for node in nodes {
            assert_eq!(node.durable, *cells, "INV-97");
        }
        for (key, floor) in &self.floors {
            let cell = cells.get(key).cloned().unwrap_or_default();
            assert!(cell.knows(floor), "INV-97: {cell:?} is behind {floor:?}");
        }
        for dot in &self.acknowledged {
            self.stands_or_was_replaced(*dot, cells, conflicts);
        }
        for (key, (acknowledged, attempted)) in &self.sums {
            let cell = cells.get(key).cloned().unwrap_or_default();
            let sum: i128 = cell.siblings().iter().map(amount).sum();
            assert!((*acknowledged..=*attempted).contains(&sum), "INV-92: {sum} of {attempted}");
        }
    }

    fn stands_or_was_replaced(
        &self,
        dot: Dot,
        cells: &BTreeMap<CellKey, Cell>,
        conflicts: ConflictPolicy,
    ) {
        let write = &self.writes[&dot];
        let cell = cells.get(&write.key).cloned().unwrap_or_default();
        let stands = cell.siblings().iter().find(|sibling| sibling.dot == dot);
        if let Some(stands) = stands {
            assert_eq!(Some(&stands.content), write.content.as_ref());
            return;
        }
        let of_key = || self.writes.iter().filter(|(_, other)| other.key == write.key);
        let replaced =
            of_key().any(|(by, other)| other.replaced.contains(&dot) && cell.known().covers(*by));
        let lost = conflicts == ConflictPolicy::LastWriterWins
            && of_key().any(|(by, other)| (other.at, *by) > (write.at, dot));
        let removal = write.content.is_none();
        assert!(replaced || lost || removal, "{dot:?} was acknowledged and is lost: {cell:?}");
    }
}

pub(super) fn amount(sibling: &crate::causal::Sibling) -> i128 {
    match sibling.content {
        Content::Amount(amount) => amount,
        Content::Value { .. } | Content::Removed | Content::Member => 0,
    }
}
