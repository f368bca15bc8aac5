//! The world that the replicas live in: events in the order of their times, the network, and the faults.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_model::admin::Role;
use quorate_model::{Durability, InSyncPolicy, NodeId, OnLoss, Term, Time};

use super::checks::Checks;
use super::effects::Snapshot;
use super::node::Node;
use crate::random::Random;
use crate::single_leader::{Configuration, Input, Message, PersistId, Rule, Settings};

/// How often what goes wrong: the first three in a thousand messages, damage in a hundred
/// crashes, the others in a thousand turns of 10 ms.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) loss: u64,
    pub(super) repeat: u64,
    pub(super) slow: u64,
    pub(super) partition: u64,
    pub(super) crash: u64,
    pub(super) stall: u64,
    pub(super) retarget: u64,
    pub(super) compact: u64,
    pub(super) damage: u64,
    /// A state goes wrong, and that is found.
    pub(super) spoil: u64,
    pub(super) pause: u64,
    pub(super) handover: u64,
    /// The declared durability changes.
    pub(super) policy: u64,
}

pub(super) struct World {
    pub(super) now: Time,
    pub(super) faults: Faults,
    /// Clients write and read.
    pub(super) busy: bool,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) checks: Checks,
    pub(super) random: Random,
    pub(super) settings: Settings,
    events: BTreeMap<(Time, u64), Box<Event>>,
    scheduled: u64,
    pub(super) cuts: BTreeSet<(NodeId, NodeId)>,
    target: (BTreeSet<NodeId>, BTreeSet<NodeId>, Option<NodeId>),
    pub(super) policy: (Durability, InSyncPolicy),
    pub(super) requests: u64,
}

#[derive(Debug)]
pub(super) enum Event {
    Deliver {
        from: NodeId,
        to: NodeId,
        message: Message,
    },
    /// Given to a process, if it lives still.
    Give {
        node: NodeId,
        incarnation: u64,
        input: Input,
    },
    Persisted {
        node: NodeId,
        incarnation: u64,
        id: PersistId,
    },
    Wake {
        node: NodeId,
        incarnation: u64,
    },
    Snapshot(Snapshot),
    Installed {
        node: NodeId,
        incarnation: u64,
        snapshot: Snapshot,
    },
    Start {
        node: NodeId,
    },
    /// A process that stood still goes on, and is asked at once.
    Resume {
        node: NodeId,
        incarnation: u64,
    },
    /// The clients and the faults have their turn.
    Turn,
}

impl Event {
    /// The process that takes part in it.
    const fn process(&self) -> Option<NodeId> {
        match self {
            Self::Deliver { to: node, .. }
            | Self::Give { node, .. }
            | Self::Persisted { node, .. }
            | Self::Wake { node, .. }
            | Self::Installed { node, .. }
            | Self::Resume { node, .. } => Some(*node),
            Self::Snapshot(_) | Self::Start { .. } | Self::Turn => None,
        }
    }
}

const TURN: Duration = Duration::from_millis(10);

pub(super) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl Faults {
    pub(super) fn network() -> Self {
        Self {
            loss: 30,
            repeat: 20,
            slow: 10,
            partition: 30,
            stall: 10,
            pause: 8,
            ..Self::default()
        }
    }
}

impl World {
    pub(super) fn new(
        seed: u64,
        settings: Settings,
        genesis: BTreeSet<NodeId>,
        all: BTreeSet<NodeId>,
    ) -> Self {
        let voters = Configuration::of(genesis.clone());
        let node = |id: &NodeId| Node::new(*id, genesis.contains(id).then(|| voters.clone()));
        let mut world = Self {
            now: Time::ZERO,
            faults: Faults::default(),
            busy: true,
            nodes: all.iter().map(|id| (*id, node(id))).collect(),
            checks: Checks::default(),
            random: Random::new(seed),
            settings,
            events: BTreeMap::new(),
            scheduled: 0,
            cuts: BTreeSet::new(),
            target: (genesis, BTreeSet::new(), None),
            policy: (Durability::Quorum, InSyncPolicy::default()),
            requests: 0,
        };
        for id in all {
            world.start(id);
        }
        world.schedule(TURN, Event::Turn);
        world
    }

    pub(super) fn run_for(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while let Some(next) = self.events.first_entry()
            && next.key().0 <= end
        {
            let ((at, _), event) = next.remove_entry();
            self.now = at;
            self.happen(*event);
        }
        self.now = end;
    }

    // What tests do.

    /// Who leads the newest term, if it leads with a majority's consent as far as it knows.
    pub(super) fn leader(&self) -> Option<(NodeId, Term)> {
        let replicas = self.nodes.values().filter_map(|node| node.replica.as_ref());
        let leaders = replicas.filter(|replica| replica.is_leading());
        leaders.map(|replica| (replica.id(), replica.term())).max_by_key(|(_, term)| *term)
    }

    pub(super) fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cuts.insert((from, to));
    }

    pub(super) fn kill(&mut self, node: NodeId) {
        self.crash(node);
        for peer in self.ids() {
            let after = ms(1 + self.random.next() % 20);
            self.give_later(peer, after, Input::PeerRefused { peer: node });
        }
    }

    pub(super) fn transfer(&mut self, node: NodeId, to: Option<NodeId>) {
        self.give(node, Input::Transfer { to });
    }

    pub(super) fn set_target(
        &mut self,
        voters: BTreeSet<NodeId>,
        learners: BTreeSet<NodeId>,
        preferred: Option<NodeId>,
    ) {
        self.target = (voters, learners, preferred);
        for node in self.ids() {
            self.give_target(node);
        }
    }

    pub(super) fn set_policy(&mut self, durability: Durability, on_loss: OnLoss) {
        let in_sync = InSyncPolicy { count: 1, on_loss, slow_after_ms: 300 };
        self.policy = (durability, in_sync);
        for node in self.ids() {
            self.give_target(node);
        }
    }

    pub(super) fn configuration(&self, node: NodeId) -> Configuration {
        self.nodes[&node].replica.as_ref().unwrap().configuration().clone()
    }

    pub(super) fn is_member(&self, node: NodeId) -> bool {
        self.nodes[&node].replica.as_ref().unwrap().is_member()
    }

    /// Ends all faults: everything runs, everything is reachable.
    pub(super) fn heal(&mut self) {
        self.faults = Faults::default();
        self.cuts.clear();
        self.nodes.values_mut().for_each(|node| node.paused_until = None);
        for node in self.ids() {
            if self.nodes[&node].replica.is_none() {
                self.start(node);
            }
        }
    }

    /// INV-57: within `patience` a new write is acknowledged, a new read answered, the target reached, and every member
    /// holds the same state.
    pub(super) fn expect_agreement(&mut self, patience: Duration) {
        let (begin, acknowledged) = (self.now, self.checks.acknowledged_count);
        let reads = self.checks.reads_answered;
        loop {
            self.run_for(ms(100));
            let answered =
                self.checks.acknowledged_count > acknowledged && self.checks.reads_answered > reads;
            let progress = (self.is_settled(), answered);
            if progress == (true, true) {
                self.checks.nothing_is_missing(&self.nodes);
                return;
            }
            assert!(
                self.now.since(begin) < patience,
                "INV-57: {progress:?}, leader {:?}, target {:?}\n{:#?}",
                self.leader(),
                self.target,
                self.nodes.values().map(|node| &node.replica).collect::<Vec<_>>(),
            );
        }
    }

    fn is_settled(&self) -> bool {
        let Some((leader, _)) = self.leader() else { return false };
        let leading = &self.nodes[&leader];
        let configuration = leading.replica.as_ref().unwrap().configuration();
        let (voters, learners, _) = &self.target;
        let wanted: BTreeSet<NodeId> = learners.difference(voters).copied().collect();
        let behind = |node: &NodeId| {
            let state = self.nodes[node].state;
            let near = state.applied.0 + 20 >= leading.state.applied.0;
            !near || (state.applied == leading.state.applied && state != leading.state)
        };
        let rule = match self.policy.0 {
            Durability::Quorum => configuration.rule == Rule::Quorum,
            Durability::Async => configuration.rule == Rule::Async,
            Durability::SemiSync => {
                let size = 2.min(voters.len());
                configuration.rule.in_sync().is_some_and(|set| set.len() == size)
            }
            Durability::Sync => configuration.rule == Rule::InSync(voters.clone()),
        };
        rule && configuration.voters == *voters
            && configuration.learners == wanted
            && !configuration.members().any(|node| behind(&node))
    }

    // Events.

    pub(super) fn pause(&mut self, id: NodeId, duration: Duration) {
        let until = self.now.after(duration);
        let node = self.node(id);
        node.paused_until = Some(until);
        let incarnation = node.incarnation;
        self.schedule(duration, Event::Resume { node: id, incarnation });
    }

    pub(super) fn schedule(&mut self, after: Duration, event: Event) {
        self.scheduled += 1;
        self.events.insert((self.now.after(after), self.scheduled), Box::new(event));
    }

    fn happen(&mut self, event: Event) {
        if let Some(until) = event.process().and_then(|node| self.nodes[&node].paused_until)
            && until > self.now
        {
            // Whoever stands still finds it all when it goes on.
            return self.schedule(until.since(self.now), event);
        }
        match event {
            Event::Deliver { from, to, message } => {
                let installing = self.nodes[&to].installing;
                if !self.cuts.contains(&(from, to)) && !installing {
                    self.give(to, Input::Message { from, message });
                }
            }
            Event::Give { node, incarnation, input } if self.lives(node, incarnation) => {
                self.give(node, input);
            }
            Event::Persisted { node, incarnation, id } if self.lives(node, incarnation) => {
                self.persisted(node, id);
            }
            Event::Wake { node, incarnation } if self.lives(node, incarnation) => self.wake(node),
            Event::Installed { node, incarnation, snapshot } if self.lives(node, incarnation) => {
                self.installed(node, snapshot);
            }
            Event::Installed { snapshot, .. } => self.snapshot_over(&snapshot, None),
            Event::Give { .. } | Event::Persisted { .. } | Event::Wake { .. } => {}
            Event::Snapshot(snapshot) => self.snapshot_arrives(snapshot),
            Event::Start { node } => self.start(node),
            Event::Resume { node, incarnation } => {
                if self.lives(node, incarnation) {
                    self.read(node);
                }
            }
            Event::Turn => {
                self.schedule(TURN, Event::Turn);
                self.turn();
            }
        }
    }

    pub(super) fn start(&mut self, id: NodeId) {
        let (now, seed, settings) = (self.now, self.random.next(), self.settings.clone());
        let node = self.node(id);
        if node.replica.is_none() {
            node.start(settings, seed, now);
            if node.spoiled {
                self.give(id, Input::StateDamaged);
            }
            self.give_target(id);
            self.schedule_wake(id);
        }
    }

    pub(super) fn start_later(&mut self, node: NodeId, after: Duration) {
        self.schedule(after, Event::Start { node });
    }

    fn give_target(&mut self, node: NodeId) {
        let (voters, learners, preferred_leader) = self.target.clone();
        let (durability, in_sync) = self.policy;
        self.give(node, Input::Target { voters, learners, preferred_leader, durability, in_sync });
    }

    fn lives(&self, node: NodeId, incarnation: u64) -> bool {
        let node = &self.nodes[&node];
        node.replica.is_some() && node.incarnation == incarnation
    }

    pub(super) fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    fn wake(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.wake_at = None;
        let due = node.replica.as_ref().is_some_and(|replica| replica.deadline().at <= self.now);
        if due {
            self.give(id, Input::Tick);
        } else {
            self.schedule_wake(id);
        }
    }

    fn schedule_wake(&mut self, id: NodeId) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(replica) = &node.replica else { return };
        let at = replica.deadline().at.max(now);
        if node.wake_at.is_none_or(|planned| at < planned) {
            node.wake_at = Some(at);
            let incarnation = node.incarnation;
            self.schedule(at.since(now), Event::Wake { node: id, incarnation });
        }
    }

    /// Steps a replica and carries out what it wants.
    pub(super) fn give(&mut self, id: NodeId, input: Input) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(replica) = &mut node.replica else { return };
        if node.spoiled && matches!(input, Input::Applied { .. }) {
            return;
        }
        let (term, committed) = (replica.term(), replica.committed());
        let led = replica.role() == Role::Leader;
        let configuration =
            if led { replica.configuration().clone() } else { Configuration::default() };
        replica.step(now, input);
        let leads = replica.role() == Role::Leader;
        let mut outputs = Vec::new();
        while let Some(output) = replica.pop_output() {
            outputs.push(output);
        }
        if leads {
            let replica = self.nodes[&id].replica.as_ref().unwrap();
            self.checks.leads(replica);
            if replica.committed() > committed && replica.term() == term {
                Checks::commit_rose(replica);
            }
            self.checks.leader_commits(replica, &configuration, &self.nodes);
        }
        for output in outputs {
            self.carry_out(id, output);
        }
        self.schedule_wake(id);
    }
}
