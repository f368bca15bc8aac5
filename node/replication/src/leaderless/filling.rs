//! A replica that may lack what it once acknowledged, or what its node is to hold from now on.
//!
//! It takes what it is told, answers no read and coordinates nothing. It compares itself with one replica after the other,
//! without a pause. So do all replicas that a shard moves to. Keeps INV-98.

use std::collections::BTreeMap;

use quorate_model::planted::{self, Bug};
use quorate_model::{Datacenter, Datacenters, Level, NodeId};

use super::kernel::Kernel;
use super::owners::Report;
use super::{PersistId, Standing};

/// How many comparisons that came to their end count for a replica: each goes over hashes of 32 bits under a number of its
/// own, so that two miss the same difference once in 2^64.
const COMPARISONS: u32 = 2;

#[derive(Clone, Debug)]
pub(super) struct Filling {
    pub(super) standing: Standing,
    /// Since the process began and the shard came to its present step.
    compared: BTreeMap<NodeId, Compared>,
}

#[derive(Clone, Copy, Default, Debug)]
struct Compared {
    /// Comparisons that came to their end, with all that was found taken over.
    times: u32,
    /// The peer lacked nothing of what it acknowledged, in each of them.
    whole: bool,
    /// What they brought is durable with this.
    through: PersistId,
}

impl Filling {
    pub(super) const fn new(standing: Standing) -> Self {
        Self { standing, compared: BTreeMap::new() }
    }

    fn has(&self, node: NodeId, persisted: PersistId) -> bool {
        self.of(node, persisted).is_some()
    }

    /// What it acknowledged, too.
    fn has_all(&self, node: NodeId, persisted: PersistId) -> bool {
        self.of(node, persisted).is_some_and(|one| one.whole)
    }

    fn of(&self, node: NodeId, persisted: PersistId) -> Option<&Compared> {
        let compared = self.compared.get(&node)?;
        (compared.times >= COMPARISONS && compared.through <= persisted).then_some(compared)
    }
}

impl Kernel {
    pub(super) fn is_whole(&self) -> bool {
        self.filling.standing == Standing::Whole
    }

    /// It is filled again with what it may lack.
    pub(super) fn lack(&mut self) {
        self.filling = Filling::new(Standing::Filling);
        self.fall_silent();
    }

    /// Whether its word counts for what others read.
    pub(super) fn counts_for_reads(&self) -> bool {
        self.is_whole() || planted::is(Bug::CountFilling)
    }

    /// Whether its word counts for what others store. That of one that nobody reads from yet does, whatever it lacks: it holds what
    /// it is told from now on, and is filled with the rest.
    pub(super) fn counts_for_writes(&self) -> bool {
        self.counts_for_reads() || self.owners.joining().any(|node| node == self.id)
    }

    /// The shard came to another step: comparisons before it say nothing of what was acknowledged until then.
    pub(super) fn compare_again(&mut self) {
        self.filling.compared.clear();
    }

    /// A comparison with this replica came to its end. It was whole, or may have lacked what it acknowledged.
    pub(super) fn compared(&mut self, peer: NodeId, whole: bool) {
        let issued = self.issued();
        let compared = self.filling.compared.entry(peer).or_default();
        if whole && !compared.whole {
            *compared = Compared { whole, ..Compared::default() };
        }
        if compared.whole == whole {
            compared.times += 1;
            if compared.times <= COMPARISONS {
                compared.through = issued;
            }
        }
        self.fill();
    }

    /// Looks whether it is whole by now.
    pub(super) fn fill(&mut self) {
        // Who stands in for replicas is none that is whole: what it held before it did would be taken for a replica's at a restart.
        if self.is_owner() && !self.is_whole() && self.has_enough() {
            self.filling.standing = Standing::Whole;
            self.filled();
        }
    }

    pub(super) fn report(&self) -> Report {
        let drained = self.owners.leaving().filter(|node| self.filling.has(*node, self.persisted));
        Report {
            since: self.owners.since,
            ready: self.is_whole() && self.has_enough(),
            drained: drained.collect(),
        }
    }

    /// Whether this replica is to compare itself without a pause.
    pub(super) fn is_behind(&self) -> bool {
        let report = self.report();
        let here = self.owners.nodes.contains_key(&self.id);
        let drains = here && self.owners.leaving().any(|node| !report.drained.contains(&node));
        !self.is_whole() || drains || here && self.owners.is_filling() && !report.ready
    }

    /// With whom to go on while it is behind.
    pub(super) fn lacks(&self, node: NodeId) -> bool {
        let from = self.sources().contains_key(&node);
        let wanted = from || self.owners.leaving().any(|leaving| leaving == node);
        wanted && !self.owners.lost.contains(&node) && !self.filling.has_all(node, self.persisted)
    }

    /// Whether it holds what the others may have acknowledged.
    pub(super) fn has_enough(&self) -> bool {
        let sources = self.sources();
        let from = || sources.keys().filter(|node| **node != self.id);
        let has_all = from().filter(|node| self.filling.has_all(**node, self.persisted)).count();
        // Where too few are whole there is nobody else.
        let compared = |node: &NodeId| self.filling.has(*node, self.persisted);
        has_all >= self.comparisons_needed(&sources)
            || from().filter(|node| self.is_source(**node)).all(compared)
    }

    fn is_source(&self, node: NodeId) -> bool {
        node != self.id && !self.owners.lost.contains(&node)
    }

    /// Those that reads of this replica's datacenter go to, and where none is left there, of the others.
    fn sources(&self) -> BTreeMap<NodeId, Datacenter> {
        let all = self.owners.read_from();
        let Some(local) = self.owners.place(self.id) else { return all.clone() };
        let scope = self.policy.scope(all, local);
        let any = scope.keys().any(|node| self.is_source(*node));
        if any { scope } else { all.clone() }
    }

    /// INV-98: of any write that was acknowledged by as many as the store declares, or by a majority, this replica perhaps among
    /// them, at least one of so many others holds it; and of what a read has shown that none may go back behind.
    fn comparisons_needed(&self, from: &BTreeMap<NodeId, Datacenter>) -> usize {
        let others = from.keys().filter(|node| self.is_source(**node)).count();
        let Some(local) = self.owners.place(self.id) else { return others };
        let within = self.policy.datacenters == Datacenters::Local;
        if within && from.values().any(|place| place != local) {
            let alone = self.is_whole() && from.contains_key(&self.id);
            return if alone { 0 } else { others };
        }
        let count = |level: Level| match level {
            Level::Quorum | Level::Count(_) | Level::All => level.need(from, local).count(),
            // All of these are of one datacenter.
            Level::LocalOne | Level::LocalQuorum | Level::EachQuorum if within => {
                level.need(from, local).count()
            }
            Level::LocalOne
            | Level::LocalQuorum
            | Level::EachQuorum
            | Level::SloppyQuorum
            | Level::Any => 1,
        };
        let (write, read) = (count(self.policy.write), count(self.policy.read));
        let held = if 2 * read > from.len() { read.min(write) } else { write };
        // Whatever the store declares, a connection may ask for majorities.
        let held = held.min(Level::LINEARIZABLE.need(from, local).count());
        let mut needed = (from.len() + 1).saturating_sub(held);
        // What it holds itself counts if it has lost nothing.
        if self.is_whole() && from.contains_key(&self.id) {
            needed = needed.saturating_sub(1);
        }
        needed.min(others)
    }
}
