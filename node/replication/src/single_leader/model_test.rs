//! Every order of events in a small group of real replicas: elections, writes, changes of the in-sync set and of the voters,
//! restarts. Exhaustive within its bounds, where the cluster test is random without bounds.
//!
//! Abstracted: time stands still, so elections are begun by the search and not by timers, and nobody is sticky; a disk completes
//! within the step; a link delivers in order, as late as it likes, and what an earlier term sent to a later one is lost. (Repetition,
//! reordering and slow disks are the cluster test's and the simulation's.) The search begins with a leader in term 1.
//! `cargo xtask model-check` runs the deep configurations, and with the feature `planted` shows that a broken rule is found.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use quorate_model::admin::Role;
use quorate_model::planted::{self, Bug};
use quorate_model::{LogIndex, NodeId, Position, Term, Time, majority};
use stateright::{Checker, Model, Property};

use super::{
    Configuration, Entry, HardState, Input, Message, Output, Payload, PersistId, ProposalId,
    Replica, Restored, Rule, Settings,
};

/// What a run explores.
#[derive(Clone, Debug)]
struct Bounds {
    voters: u128,
    /// Nodes that may become voters.
    spare: u128,
    first_set: Option<BTreeSet<NodeId>>,
    terms_max: u64,
    writes_max: u64,
    changes_max: u64,
    restarts_max: u64,
    log_max: u64,
    changes_voters: bool,
    bug: Option<Bug>,
}

#[derive(Clone, Debug)]
struct World {
    nodes: Vec<Node>,
    /// What is under way from one to another, in order.
    network: BTreeMap<(NodeId, NodeId), VecDeque<Message>>,
    leaders: BTreeMap<Term, NodeId>,
    /// What any leader has committed, with the term in which it did: the newest term wins.
    committed: BTreeMap<LogIndex, (Term, Payload)>,
    writes: u64,
    changes: u64,
    restarts: u64,
    violation: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct Node {
    replica: Replica,
    hard_state: HardState,
    entries: Vec<Entry>,
    /// What it acknowledged, or knows to be, through here.
    acknowledged: LogIndex,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Action {
    Campaign(usize),
    Deliver(NodeId, NodeId),
    Write(usize),
    ChangeSet(usize, BTreeSet<NodeId>),
    ChangeVoters(usize, BTreeSet<NodeId>),
    Restart(usize),
}

const NOW: Time = Time(1_000_000_000);

fn node_id(at: usize) -> NodeId {
    NodeId(at as u128 + 1)
}

fn index_of(id: NodeId) -> usize {
    usize::try_from(id.0 - 1).unwrap()
}

fn nodes(ids: impl IntoIterator<Item = u128>) -> BTreeSet<NodeId> {
    ids.into_iter().map(NodeId).collect()
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Bounds {
    fn genesis(&self) -> Configuration {
        let rule = self.first_set.clone().map_or(Rule::Quorum, Rule::InSync);
        Configuration { rule, ..Configuration::of(nodes(1..=self.voters)) }
    }

    fn restored(&self, node: usize, hard_state: HardState, entries: Vec<Entry>) -> Restored {
        let member = (node as u128) < self.voters;
        let base_configuration = if member { self.genesis() } else { Configuration::default() };
        Restored { hard_state, base_configuration, entries, ..Restored::default() }
    }

    fn start(&self, node: usize, hard_state: HardState, entries: Vec<Entry>) -> Replica {
        let restored = self.restored(node, hard_state, entries);
        Replica::new(node_id(node), Settings::default(), 7, restored, NOW)
    }
}

impl World {
    fn begin(bounds: &Bounds) -> Self {
        let count = usize::try_from(bounds.voters + bounds.spare).unwrap();
        let node = |at| Node {
            replica: bounds.start(at, HardState::default(), Vec::new()),
            hard_state: HardState::default(),
            entries: Vec::new(),
            acknowledged: LogIndex::ZERO,
        };
        let mut world = Self {
            nodes: (0..count).map(node).collect(),
            network: BTreeMap::new(),
            leaders: BTreeMap::new(),
            committed: BTreeMap::new(),
            writes: 0,
            changes: 0,
            restarts: 0,
            violation: None,
        };
        // The first leader, with everybody behind it.
        world.nodes[0].replica.stand();
        world.settle(0);
        while let Some((from, to)) = world.network.keys().next().copied() {
            world.deliver(from, to);
            world.settle(index_of(to));
        }
        world
    }

    fn deliver(&mut self, from: NodeId, to: NodeId) {
        let link = self.network.get_mut(&(from, to)).expect("only what is there is delivered");
        let message = link.pop_front().expect("empty links are forgotten");
        if link.is_empty() {
            self.network.remove(&(from, to));
        }
        self.nodes[index_of(to)].replica.step(NOW, Input::Message { from, message });
    }

    /// Carries out what a replica wants until it wants nothing more.
    fn settle(&mut self, at: usize) {
        let before = self.nodes[at].acknowledged;
        let mut acknowledged = before;
        loop {
            let mut done: Option<PersistId> = None;
            let mut applied = None;
            while let Some(output) = self.nodes[at].replica.pop_output() {
                match output {
                    Output::Persist { id, hard_state, truncate_from, entries } => {
                        let node = &mut self.nodes[at];
                        node.hard_state = hard_state.unwrap_or(node.hard_state);
                        if let Some(from) = truncate_from {
                            node.entries.retain(|entry| entry.index() < from);
                        }
                        node.entries.extend(entries);
                        done = Some(id);
                    }
                    Output::Send { to, message, .. } => {
                        let link = self.network.entry((node_id(at), to)).or_default();
                        link.push_back(message);
                    }
                    Output::Apply { entries } => applied = entries.last().map(Entry::index),
                    Output::Acknowledged { through } => acknowledged = acknowledged.max(through),
                    Output::RolledBack { .. }
                    | Output::RuleChanged { .. }
                    | Output::Proposed { .. }
                    | Output::ProposalDropped { .. }
                    | Output::ReadReady { .. }
                    | Output::ReadDropped { .. }
                    | Output::LoadEntries { .. }
                    | Output::SendSnapshot { .. }
                    | Output::Leadership { .. } => {}
                }
            }
            let replica = &mut self.nodes[at].replica;
            match (done, applied) {
                (Some(id), _) => replica.step(NOW, Input::Persisted { id }),
                (None, Some(index)) => replica.step(NOW, Input::Applied { index }),
                (None, None) => break,
            }
        }
        self.look(at);
        acknowledged = acknowledged.max(self.nodes[at].replica.committed());
        self.nodes[at].acknowledged = acknowledged;
        if acknowledged > before && !self.is_on_the_set(at, acknowledged) {
            self.violation = Some("INV-60: a member of the in-sync set lacks what is acknowledged");
        }
        let nodes = &self.nodes;
        self.network.retain(|(_, to), link| {
            let term = nodes.get(index_of(*to)).map(|node| node.replica.term());
            link.retain(|message| term.is_some_and(|term| message.term() >= term));
            !link.is_empty()
        });
    }

    /// Notes what a replica has become, and whether that may be.
    fn look(&mut self, at: usize) {
        let replica = &self.nodes[at].replica;
        let term = replica.term();
        if replica.role() != Role::Leader {
            return;
        }
        let first = self.leaders.insert(term, replica.id());
        if first.is_some_and(|first| first != replica.id()) {
            self.violation = Some("INV-1: two leaders in one term");
        }
        let log = |index: LogIndex| {
            let offset = usize::try_from(index.0).unwrap().checked_sub(1)?;
            self.nodes[at].entries.get(offset).map(|entry| entry.payload.clone())
        };
        if first.is_none() {
            // INV-15, INV-62: whoever is elected holds what was committed in earlier terms.
            let lost = self
                .committed
                .iter()
                .any(|(index, (by, payload))| *by < term && log(*index).as_ref() != Some(payload));
            if lost {
                self.violation = Some("INV-15, INV-62: an acknowledged entry is lost");
            }
        }
        for index in (1..=replica.committed().0).map(LogIndex) {
            let Some(payload) = log(index) else { continue };
            let known = self.committed.entry(index).or_insert((term, payload.clone()));
            if known.1 != payload {
                self.violation = Some("INV-18: two entries are committed at one index");
            }
        }
    }

    /// Whether all members of the sets by whose leave this leader acknowledges hold its log through `through`: of the set in
    /// force and of every later one. Elections alone do not show it when one lacks something: a majority has it then.
    fn is_on_the_set(&self, at: usize, through: LogIndex) -> bool {
        let replica = &self.nodes[at].replica;
        if replica.role() != Role::Leader {
            return true;
        }
        let holds = |node: &NodeId, index: LogIndex| {
            let log = &self.nodes[index_of(*node)].entries;
            let position = replica.position_at(index);
            index == LogIndex::ZERO || log.iter().any(|entry| Some(entry.position) == position)
        };
        let configurations = &replica.kernel.configurations;
        // It was counted among the voters of any of the configurations since.
        let counted = |index: &LogIndex| {
            configurations.since(*index).any(|Configuration { voters, .. }| {
                voters.iter().filter(|node| holds(node, *index)).count() >= majority(voters.len())
            })
        };
        let in_force = (0..=replica.last().index.0).rev().map(LogIndex).find(counted);
        configurations.since(in_force.unwrap_or_default()).all(|one| match &one.rule {
            Rule::Quorum | Rule::Async => true,
            Rule::InSync(set) => set.iter().all(|member| holds(member, through)),
        })
    }

    fn logs_match(&self) -> bool {
        let mut known: BTreeMap<Position, (&Payload, u64)> = BTreeMap::new();
        self.nodes.iter().all(|node| {
            let mut before = 0;
            node.entries.iter().all(|entry| {
                let this = (&entry.payload, before);
                before = hash_of(&(before, entry.position));
                *known.entry(entry.position).or_insert(this) == this
            })
        })
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for node in &self.nodes {
            node.replica.hash_protocol(state);
            node.entries.hash(state);
        }
        self.network.hash(state);
        (self.writes, self.changes, self.restarts).hash(state);
        self.committed.hash(state);
        self.leaders.hash(state);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        hash_of(self) == hash_of(other)
    }
}

impl Model for Bounds {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::begin(self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let highest = world.nodes.iter().map(|node| node.replica.term().0).max().unwrap_or(0);
        for (node, at) in world.nodes.iter().zip(0..) {
            let replica = &node.replica;
            let leads = replica.role() == Role::Leader;
            let room = replica.last().index.0 < self.log_max;
            // INV-30: a candidate with less may ask for its agreement first.
            let asked = world.nodes.iter().any(|other| {
                other.replica.last() < replica.last()
                    && other.replica.configuration().voters.contains(&replica.id())
            });
            let may_stand = replica.kernel.may_campaign() || asked;
            if !leads && highest < self.terms_max && may_stand {
                actions.push(Action::Campaign(at));
            }
            if leads && room && world.writes < self.writes_max {
                actions.push(Action::Write(at));
            }
            if leads && room && world.changes < self.changes_max {
                changes(self, replica, at, actions);
            }
            if world.restarts < self.restarts_max && replica.term() > Term::ZERO {
                actions.push(Action::Restart(at));
            }
        }
        let links = world.network.keys();
        actions.extend(links.map(|(from, to)| Action::Deliver(*from, *to)));
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        plant(self.bug);
        let mut world = last.clone();
        let node = match action {
            Action::Campaign(node) => {
                world.nodes[node].replica.stand();
                node
            }
            Action::Deliver(from, to) => {
                world.deliver(from, to);
                index_of(to)
            }
            Action::Write(node) => {
                world.writes += 1;
                let command = Bytes::copy_from_slice(&[u8::try_from(world.writes).unwrap()]);
                let input = Input::Propose { id: ProposalId(world.writes), command };
                world.nodes[node].replica.step(NOW, input);
                world.settle(node);
                world.nodes[node].replica.step(NOW, Input::Dispatch);
                node
            }
            Action::ChangeSet(node, set) => {
                world.changes += 1;
                let rule = Rule::InSync(set);
                world.nodes[node].replica.change(|leading| leading.change_rule(rule));
                node
            }
            Action::ChangeVoters(node, voters) => {
                world.changes += 1;
                let replica = &mut world.nodes[node].replica;
                let Configuration { rule, .. } = replica.configuration().clone();
                // Whoever leaves the voters leaves the set as well.
                let rule = match rule {
                    Rule::InSync(set) => Rule::InSync(&set & &voters),
                    Rule::Quorum | Rule::Async => rule,
                };
                let next = Configuration { voters, learners: BTreeSet::new(), rule };
                replica.change(|leading| leading.change_configuration(next));
                node
            }
            Action::Restart(node) => {
                world.restarts += 1;
                let Node { hard_state, entries, .. } = world.nodes[node].clone();
                world.nodes[node].replica = self.start(node, hard_state, entries);
                world.nodes[node].acknowledged = LogIndex::ZERO;
                node
            }
        };
        world.settle(node);
        if world.violation.is_none() && !world.logs_match() {
            world.violation = Some("INV-13: two logs differ before a common entry");
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is violated", |_, world: &World| world.violation.is_none()),
            Property::sometimes(
                "a write is committed after a second election",
                |_, world: &World| {
                    world.leaders.len() > 1
                        && world
                            .committed
                            .values()
                            .any(|(_, one)| matches!(one, Payload::Command(_)))
                },
            ),
        ]
    }
}

/// Every set with the leader in it, and every voter more or less, where a change is safe.
fn changes(bounds: &Bounds, replica: &Replica, at: usize, actions: &mut Vec<Action>) {
    if !replica.may_change() {
        return;
    }
    let Configuration { voters, rule, .. } = replica.configuration();
    let me = replica.id();
    if let Rule::InSync(set) = rule {
        let others: Vec<NodeId> = voters.iter().copied().filter(|node| *node != me).collect();
        for chosen in 0..1_u32 << others.len() {
            let picked = others.iter().zip(0..).filter(|(_, bit)| chosen >> bit & 1 == 1);
            let mut next: BTreeSet<NodeId> = picked.map(|(node, _)| *node).collect();
            next.insert(me);
            if next != *set {
                actions.push(Action::ChangeSet(at, next));
            }
        }
    }
    if bounds.changes_voters {
        for node in nodes(1..=bounds.voters + bounds.spare) {
            let mut next = voters.clone();
            if !next.remove(&node) {
                next.insert(node);
            }
            if next.contains(&me) {
                actions.push(Action::ChangeVoters(at, next));
            }
        }
    }
}

#[cfg(feature = "planted")]
fn plant(bug: Option<Bug>) {
    planted::plant(bug);
}

#[cfg(not(feature = "planted"))]
fn plant(bug: Option<Bug>) {
    assert!(bug.is_none_or(planted::is), "bugs are planted with the feature only");
}

/// A write, and a second leader.
fn elections() -> Bounds {
    Bounds {
        voters: 3,
        spare: 0,
        first_set: Some(nodes([1, 2])),
        terms_max: 2,
        writes_max: 1,
        changes_max: 0,
        restarts_max: 0,
        log_max: 4,
        changes_voters: false,
        bug: None,
    }
}

/// The set changes around a write, to every set there is.
fn changes_of_the_set() -> Bounds {
    Bounds { changes_max: 1, ..elections() }
}

/// A voter joins or leaves around a write.
fn changes_of_the_voters() -> Bounds {
    Bounds { changes_max: 1, changes_voters: true, spare: 1, ..elections() }
}

fn explore(name: &str, bounds: Bounds) -> Option<&'static str> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = bounds.checker().threads(threads).spawn_bfs().join();
    let violated = checker.discovery("nothing is violated").map(|path| {
        let states: Vec<_> = path.into_states();
        states.last().and_then(|world| world.violation).unwrap_or("unknown")
    });
    println!(
        "{name}: {} states, {} distinct, depth {}: {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        violated.unwrap_or("no violation"),
    );
    assert!(
        violated.is_some()
            || checker.discovery("a write is committed after a second election").is_some(),
        "the bounds of {name} are too small to say anything"
    );
    violated
}

#[test]
fn elections_keep_what_the_set_acknowledged() {
    assert_eq!(explore("elections", elections()), None);
}

#[test]
fn changes_of_the_set_keep_what_was_acknowledged() {
    assert_eq!(explore("changes of the set", changes_of_the_set()), None);
}

/// Minutes: `cargo xtask model-check`.
#[test]
fn deep() {
    if std::env::var_os("QUORATE_MODEL_CHECK").is_none() {
        return;
    }
    let quorum = Bounds { first_set: None, writes_max: 2, restarts_max: 1, ..elections() };
    let runs = [
        ("quorum, a restart", quorum),
        (
            "elections, two writes, a restart",
            Bounds { writes_max: 2, restarts_max: 1, ..elections() },
        ),
        ("two changes of the set", Bounds { changes_max: 2, ..changes_of_the_set() }),
        ("changes of the voters", changes_of_the_voters()),
        ("four voters", Bounds { voters: 4, ..changes_of_the_set() }),
    ];
    for (name, bounds) in runs {
        assert_eq!(explore(name, bounds), None);
    }
}

#[cfg(feature = "planted")]
#[test]
fn a_broken_rule_is_found() {
    let alone = Bounds { first_set: Some(nodes([1])), ..elections() };
    let runs = [
        (Bug::DropInSyncRule, alone),
        (
            Bug::AcknowledgeBeforeSet,
            Bounds { first_set: Some(nodes([1, 2, 3])), ..changes_of_the_set() },
        ),
        (Bug::SetCountsAtOnce, changes_of_the_set()),
        (Bug::VoteForShorterLog, elections()),
    ];
    for (bug, bounds) in runs {
        let found = explore(&format!("{bug:?}"), Bounds { bug: Some(bug), ..bounds });
        assert!(found.is_some(), "{bug:?} is not found");
    }
}
