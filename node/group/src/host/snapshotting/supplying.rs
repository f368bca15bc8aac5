//! The leader's part: who streams to a follower that the log does not reach, and how far that is.
//!
//! The leader is spared where a replica that has caught up can stream, one of the receiver's datacenter first. Whoever
//! streams holds everything that the leader had applied when it ordered it, so that any of them may repair a damaged
//! replica (INV-34). A source that fails is not asked again for this follower before the leader itself has tried.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_model::admin::CatchUpPhase;
use quorate_model::{LogIndex, NodeId, Position, Time};
use quorate_replication::single_leader::{FollowerPhase, Input};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::super::group::{Group, Task};
use super::super::timers::Timer;
use super::super::{PeerMessage, Turn};
use super::{Held, Order, OrderId, StreamState, Streamed};

/// How often a follower that does not answer is asked.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How often a source is told to go on, which it answers with how far it is.
const ORDER_AGAIN: Duration = Duration::from_millis(500);
/// After how long without a word the source is given up; one that never said a word may be dead since before it was chosen.
const SOURCE_PATIENCE: Duration = Duration::from_secs(3);
const FIRST_WORD_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(in crate::host) struct Supplies {
    under_way: BTreeMap<NodeId, Supply>,
    /// Who failed to stream to whom.
    unfit: BTreeMap<NodeId, BTreeSet<NodeId>>,
}

#[derive(Debug)]
struct Supply {
    id: OrderId,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// What does the follower hold?
    Asking,
    Ordered {
        source: NodeId,
        order: Order,
        heard: Time,
        told: Option<Streamed>,
    },
}

/// What a source or a receiver told, with the order that it is about.
pub(in crate::host) enum Told {
    Held { id: OrderId, held: Option<Held> },
    Streamed { id: OrderId, to: NodeId, streamed: Streamed },
}

impl Supplies {
    /// The log from here on is of use to some follower that gets a snapshot.
    pub(in crate::host) fn pinned(&self) -> Option<LogIndex> {
        self.under_way.values().filter_map(Supply::position).min()
    }

    /// Who gets a snapshot from this node.
    pub(in crate::host) fn supplied_by(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let supplied = move |(to, supply): (&NodeId, &Supply)| match &supply.stage {
            Stage::Ordered { source, .. } if *source == node => Some(*to),
            Stage::Ordered { .. } | Stage::Asking => None,
        };
        self.under_way.iter().filter_map(supplied)
    }

    /// The log no longer goes on from the snapshot that this follower gets: it will need another.
    pub(in crate::host) fn is_outrun(&self, to: NodeId, base: LogIndex) -> bool {
        let position = self.under_way.get(&to).and_then(Supply::position);
        position.is_some_and(|position| position < base)
    }
}

impl Supply {
    /// What the snapshot holds at least.
    const fn position(&self) -> Option<LogIndex> {
        let Stage::Ordered { order, told, .. } = &self.stage else { return None };
        Some(match told {
            Some(Streamed {
                state: StreamState::Streaming(position) | StreamState::Installed(position),
                ..
            }) => position.index,
            Some(_) | None => order.at_least,
        })
    }
}

impl<E> Group<E> {
    /// How far the snapshot to this follower is.
    pub(in crate::host) fn snapshot_phase(
        &self,
        to: NodeId,
        node: NodeId,
        now: Time,
    ) -> CatchUpPhase {
        let told = match self.supplies.under_way.get(&to).map(|supply| &supply.stage) {
            Some(Stage::Ordered { source, .. }) if *source == node => {
                self.outgoing.get(&to).map(|outgoing| (None, outgoing.streamed(now)))
            }
            Some(Stage::Ordered { source, told, .. }) => told.map(|told| (Some(*source), told)),
            Some(Stage::Asking) | None => None,
        };
        let (source, told) = match told {
            Some((source, told)) => (source, Some(told)),
            None => (None, None),
        };
        CatchUpPhase::Snapshot {
            bytes_sent: told.map_or(0, |told| told.bytes_sent),
            bytes_total: told.map_or(0, |told| told.bytes_total),
            bytes_per_second: told.map_or(0, |told| told.bytes_per_second),
            source,
        }
    }
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// The protocol wants a snapshot sent.
    pub(in crate::host) fn snapshot_wanted(&mut self, to: NodeId) {
        self.group.paces.snapshot_began(to);
        self.watch_paces();
        self.ask_what_is_held(to);
    }

    fn ask_what_is_held(&mut self, to: NodeId) {
        let id = OrderId { term: self.group.replica.term(), number: self.shared.order_number() };
        self.group.supplies.under_way.insert(to, Supply { id, stage: Stage::Asking });
        // After the offer, which the protocol makes in the same step and the receiver must have heard.
        let at = self.shared.now;
        self.timer(Timer::Supply(self.group.id, to), at);
    }

    pub(in crate::host) fn supply_due(&mut self, to: NodeId) {
        let (now, node) = (self.shared.now, self.shared.node());
        if !self.group.replica.followers().contains_key(&to) {
            // It is leaving the group, but may be called back: the protocol waits for an answer.
            return self.end_supply(to, None);
        }
        let Some(supply) = self.group.supplies.under_way.get(&to) else { return };
        let timer = Timer::Supply(self.group.id, to);
        match &supply.stage {
            Stage::Asking => {
                // Who is dead takes no stream from the living.
                let id = supply.id;
                if self.is_heard(to) {
                    self.shared.send(to, self.group.id, PeerMessage::SnapshotQuery { id });
                }
                self.timer(timer, now.after(ASK_AGAIN));
            }
            Stage::Ordered { source, .. } if *source == node => {}
            Stage::Ordered { source, order, heard, told } => {
                let patience = told.map_or(FIRST_WORD_PATIENCE, |_| SOURCE_PATIENCE);
                if now.since(*heard) >= patience {
                    let source = *source;
                    return self.source_failed(to, source);
                }
                let (source, order) = (*source, *order);
                self.shared.send(source, self.group.id, PeerMessage::SnapshotOrder(order));
                self.timer(timer, now.after(ORDER_AGAIN));
            }
        }
    }

    /// Somebody answered to an order or to the question before it.
    pub(in crate::host) fn supply_told(&mut self, from: NodeId, told: Told) {
        match told {
            Told::Held { id, held } => {
                let asked =
                    self.group.supplies.under_way.get(&from).is_some_and(|supply| {
                        supply.id == id && matches!(supply.stage, Stage::Asking)
                    });
                if asked {
                    self.choose_source(from, id, held);
                }
            }
            Told::Streamed { id, to, streamed } => self.streamed(from, to, id, streamed),
        }
    }

    /// How far a source is.
    pub(super) fn streamed(&mut self, from: NodeId, to: NodeId, id: OrderId, now_at: Streamed) {
        let now = self.shared.now;
        let Some(supply) = self.group.supplies.under_way.get_mut(&to) else { return };
        let Stage::Ordered { source, heard, told, .. } = &mut supply.stage else { return };
        if *source != from || supply.id != id {
            return;
        }
        *heard = now;
        *told = Some(now_at);
        match now_at.state {
            StreamState::Waiting | StreamState::Streaming(_) => {}
            StreamState::Installed(position) => self.end_supply(to, Some(position)),
            StreamState::Failed => self.source_failed(to, from),
        }
    }

    /// This replica leads no longer: its orders are the next leader's to renew.
    pub(in crate::host) fn drop_supplies(&mut self) {
        let supplies = std::mem::take(&mut self.group.supplies);
        for to in supplies.under_way.into_keys() {
            self.shared.timers.set(Timer::Supply(self.group.id, to), None);
        }
        self.group.paces = Default::default();
        self.drop_loads();
    }

    fn choose_source(&mut self, to: NodeId, id: OrderId, held: Option<Held>) {
        let node = self.shared.node();
        let base = self.group.replica.base().index;
        let held = held.filter(|held| {
            // Nothing would lead on from a position that the log does not reach.
            held.position.index >= base && (held.source == node || self.is_fit(held.source, to))
        });
        let source = match held {
            Some(held) => held.source,
            None => self.caught_up_source(to).unwrap_or(node),
        };
        let order = Order {
            id,
            to,
            at_least: self.group.standing.applied.index,
            resume: held.map(|held| held.stream),
            hurried: self.group.paces.is_outrun(to),
        };
        let stage = Stage::Ordered { source, order, heard: self.shared.now, told: None };
        self.group.supplies.under_way.insert(to, Supply { id, stage });
        self.shared.status_changed = true;
        if source == node {
            self.ordered(node, order);
        } else {
            let at = self.shared.now;
            self.timer(Timer::Supply(self.group.id, to), at);
        }
    }

    /// A replica that spares the leader the work.
    fn caught_up_source(&self, to: NodeId) -> Option<NodeId> {
        let topology = self.shared.following.topology();
        let datacenter = |node: NodeId| {
            topology.and_then(|topology| Some(&topology.members.get(&node)?.datacenter))
        };
        let wanted = datacenter(to);
        let followers = self.group.replica.followers();
        let fit = followers.into_iter().filter(|(node, view)| {
            *node != to && view.phase == FollowerPhase::CaughtUp && self.is_fit(*node, to)
        });
        fit.map(|(node, _)| node).min_by_key(|node| (datacenter(*node) != wanted, *node))
    }

    fn is_fit(&self, source: NodeId, to: NodeId) -> bool {
        let failed = self.group.supplies.unfit.get(&to);
        self.is_heard(source) && !failed.is_some_and(|failed| failed.contains(&source))
    }

    fn is_heard(&self, node: NodeId) -> bool {
        let patience = self.shared.settings.replication.election_timeout;
        let heard = self.shared.heard.get(&node);
        heard.is_some_and(|heard| self.shared.now.since(*heard) <= patience)
    }

    /// The process of a source is dead.
    pub(in crate::host) fn source_died(&mut self, source: NodeId) {
        let supplied: Vec<NodeId> = self.group.supplies.supplied_by(source).collect();
        for to in supplied {
            self.source_failed(to, source);
        }
    }

    fn source_failed(&mut self, to: NodeId, source: NodeId) {
        if source == self.shared.node() {
            self.group.supplies.unfit.remove(&to);
            return self.end_supply(to, None);
        }
        self.group.supplies.unfit.entry(to).or_default().insert(source);
        self.ask_what_is_held(to);
    }

    fn end_supply(&mut self, to: NodeId, position: Option<Position>) {
        self.group.supplies.under_way.remove(&to);
        self.shared.timers.set(Timer::Supply(self.group.id, to), None);
        if let Some(position) = position {
            self.group.paces.snapshot_ended(to, position.index);
            self.group.supplies.unfit.remove(&to);
        }
        self.shared.status_changed = true;
        self.group.tasks.push_back(Task::Step(Input::SnapshotSent { to, position }));
    }
}
