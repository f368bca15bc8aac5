//! Who stands in for replicas that do not answer, and how a coordinator asks them.
//!
//! Only for writes whose level says so (INV-103). Each node without a replica is asked to stand in for one replica of a write, and
//! however many stand in for a replica, they count as that one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_model::planted::{self, Bug};
use quorate_model::{Datacenter, Level, Need, NodeId, Time, Zone};

use super::kernel::Kernel;
use super::{CellKey, Message, Refused};
use crate::causal::Cell;

/// A node that did not answer in time is not waited for during this time, unless it says something.
const SILENT_FOR: Duration = Duration::from_secs(5);

/// As the topology says; nobody where there are no hints.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct StandIns {
    /// Every member without a replica of the shard, in the order in which they are asked.
    pub nodes: Vec<NodeId>,
    /// Where all members are.
    pub zones: BTreeMap<NodeId, (Datacenter, Zone)>,
    /// How long hints are kept for their targets.
    pub window: Duration,
    /// What each may hold of this shard.
    pub bytes_max: u64,
}

/// Of one write, for the replicas that do not answer.
#[derive(Clone, Debug)]
pub(super) struct StandingIn {
    /// Whom each node that was asked is to stand in for.
    asked: BTreeMap<NodeId, NodeId>,
    /// The replicas for which somebody holds the write durably.
    stood_in: BTreeSet<NodeId>,
    next_at: Time,
}

impl StandIns {
    /// The next for that replica: one of another zone if there is one, and one that answers.
    fn next(
        &self,
        target: NodeId,
        asked: &BTreeMap<NodeId, NodeId>,
        is_silent: impl Fn(NodeId) -> bool,
    ) -> Option<NodeId> {
        let zone = self.zones.get(&target);
        let open = self.nodes.iter().copied().filter(|node| !asked.contains_key(node));
        open.min_by_key(|node| (is_silent(*node), self.zones.get(node) == zone))
    }
}

impl StandingIn {
    /// `None` for a level at which nobody does. INV-103
    pub(super) fn new(kernel: &Kernel, level: Level) -> Option<Self> {
        let (asked, stood_in) = (BTreeMap::new(), BTreeSet::new());
        let next_at = kernel.now.after(kernel.settings.hint_after);
        let counts = level.is_sloppy() || planted::is(Bug::CountHints);
        // A coordinator that stands in for all needs nobody else.
        let counts = counts && kernel.stands_in().is_none();
        counts.then_some(Self { asked, stood_in, next_at })
    }

    pub(super) const fn next_at(&self) -> Time {
        self.next_at
    }

    pub(super) const fn stood_in(&self) -> &BTreeSet<NodeId> {
        &self.stood_in
    }

    /// Somebody holds the write durably in place of the target.
    pub(super) fn hinted(&mut self, from: NodeId, target: NodeId) {
        if self.asked.get(&from) == Some(&target) {
            self.stood_in.insert(target);
        }
    }

    /// Those of the replicas that have not answered are silent from now on, and so are those that were asked to stand in for them.
    pub(super) fn due(&mut self, kernel: &mut Kernel, missing: &[NodeId]) {
        if self.next_at > kernel.now {
            return;
        }
        self.next_at = kernel.now.after(kernel.settings.hint_after);
        let open = |target: &NodeId| missing.contains(target) && !self.stood_in.contains(target);
        let asked = self.asked.iter().filter(|(_, target)| open(target)).map(|(node, _)| *node);
        for node in missing.iter().copied().chain(asked) {
            kernel.silent.insert(node, kernel.now.after(SILENT_FOR));
        }
    }

    /// Has somebody stand in for each of these that is silent, and somebody else if that one is silent, too.
    pub(super) fn ask(
        &mut self,
        kernel: &mut Kernel,
        number: u64,
        missing: &[NodeId],
        told: &[(CellKey, Cell)],
    ) {
        for target in missing.iter().copied() {
            if self.stood_in.contains(&target) || !kernel.is_silent(target) {
                continue;
            }
            let mut asked = self.asked.iter().filter(|(_, of)| **of == target);
            if asked.clone().any(|(node, _)| !kernel.is_silent(*node)) {
                continue;
            }
            let again = asked.next().map(|(node, _)| *node);
            let stand_ins = &kernel.owners.stand_ins;
            let next = stand_ins.next(target, &self.asked, |node| kernel.is_silent(node));
            let Some(to) = next.or(again) else { continue };
            self.asked.insert(to, target);
            kernel.send(to, Message::Hint { number, target, cells: told.to_vec() });
        }
    }
}

impl Kernel {
    /// Where this node is, if it stands in for replicas.
    pub(super) fn stands_in(&self) -> Option<&Datacenter> {
        // First what decides it for a replica, which asks for every write.
        if self.is_owner() {
            return None;
        }
        let StandIns { nodes, zones, .. } = &self.owners.stand_ins;
        let (place, _) = zones.get(&self.id).filter(|_| nodes.contains(&self.id))?;
        Some(place)
    }

    /// INV-103: at `ANY` its own word is enough for a node that stands in for replicas.
    ///
    /// # Errors
    /// As [`Kernel::hold_need`].
    pub(super) fn write_need(&self, level: Level) -> Result<Need, Refused> {
        match self.stands_in().filter(|_| level == Level::Any) {
            Some(place) => Ok(level.need(&[(self.id, place.clone())].into(), place)),
            None => self.hold_need(level),
        }
    }

    pub(super) fn is_silent(&self, node: NodeId) -> bool {
        self.silent.get(&node).is_some_and(|until| *until > self.now)
    }

    /// It says something.
    pub(super) fn heard(&mut self, from: NodeId) {
        self.silent.remove(&from);
    }
}
