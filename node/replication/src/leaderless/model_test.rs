//! Every order of events in a small group of real replicas: writes, reads, messages, disks, a crash. Exhaustive within its
//! bounds, where the cluster test is random without bounds.
//!
//! Abstracted: time stands still, so nothing is asked again, compared or collected; each of that sends again what is sent here, and
//! is the cluster test's and the simulation's. The network is a set: what is in it arrives in any order, perhaps twice, perhaps
//! never. A crash loses what was on its way to the disk; the process after it is another actor.
//! `cargo xtask model-check` runs the deep configurations, and with the feature `planted` shows that a broken rule is found.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Debug, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use quorate_model::planted::{self, Bug};
use quorate_model::{
    ActorId, ConflictPolicy, Datacenter, Dot, Hlc, LeaderlessPolicy, Level, NodeId, Time, WallTime,
};
use stateright::{Checker, Model, Property};

use super::range_test::Applied;
use super::{
    After, Asked, CellKey, Collected, Input, Mark, Message, Output, Owners, PersistId, Place,
    ReadRepair, Replica, RequestId, Seen, Settings, Span, Standing, Start,
};
use crate::causal::{Cell, Change, Content, Context};

/// What a run explores.
#[derive(Clone, Debug)]
struct Bounds {
    nodes: usize,
    conflicts: ConflictPolicy,
    /// The clients' writes in this order, each through any node.
    writes: &'static [Kind],
    reads_max: usize,
    repeats_max: usize,
    crashes_max: usize,
    bug: Option<Bug>,
}

/// A client's write of the one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// In place of what the coordinator knows.
    Plain,
    /// Beside everything.
    Blind,
    /// In place of what the client has seen.
    Seen,
    /// Removes what the client has seen.
    RemoveSeen,
    /// A set's member is there.
    Member,
}

#[derive(Clone, Debug)]
struct World {
    nodes: Vec<Node>,
    network: Vec<Sent>,
    /// With the node that each was asked of.
    requests: BTreeMap<RequestId, (usize, Open)>,
    asked: u64,
    written: usize,
    reads: usize,
    repeats: usize,
    crashes: usize,
    /// Every write that was made.
    writes: BTreeMap<Dot, Made>,
    acknowledged: BTreeSet<Dot>,
    /// What clients were told: no later read may know less.
    floor: Cell,
    violation: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct Node {
    replica: Replica,
    starts: u64,
    applied: Applied,
    /// What the disk holds, applied or not.
    durable: Cell,
    pending: VecDeque<(PersistId, Cell)>,
    print: u64,
}

#[derive(Clone, Debug)]
struct Sent {
    from: NodeId,
    to: NodeId,
    mark: Mark,
    message: Message,
    print: u64,
}

#[derive(Clone, Debug)]
enum Open {
    Write(Dot),
    /// What its answer must know.
    Read {
        floor: Cell,
    },
}

/// What a write was, and what it was to take the place of.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Made {
    content: Option<Content>,
    at: Hlc,
    replaced: BTreeSet<Dot>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Action {
    Write(usize),
    Read(usize),
    Deliver(usize),
    Repeat(usize),
    Sync(usize),
    Crash(usize),
}

const WALL: WallTime = WallTime(1_000_000);

fn node_id(at: usize) -> NodeId {
    NodeId(at as u128 + 1)
}

fn key() -> CellKey {
    CellKey::new(Bytes::from_static(b"\0\0\0\0\0\0key")).unwrap()
}

/// A state is what it prints.
fn print_of(value: &impl Debug) -> u64 {
    struct Printed(DefaultHasher);
    impl fmt::Write for Printed {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    let mut printed = Printed(DefaultHasher::new());
    write!(printed, "{value:?}").expect("a hash takes everything");
    printed.0.finish()
}

impl Bounds {
    fn start(&self, at: usize, starts: u64, durable: &Cell) -> (Replica, Applied) {
        let mut applied = Applied::default();
        if *durable != Cell::default() {
            applied.0.insert(key(), durable.clone());
        }
        let start = Start {
            id: node_id(at),
            span: Span { from: Place(0), to: Place(1 << 40) },
            seed: at as u64 * 100 + starts,
            standing: Standing::Whole,
            collected: Collected::default(),
        };
        let settings = Settings { leaf_bits: 0, ..Settings::default() };
        let mut replica = Replica::new(start, settings, Time::ZERO, &applied);
        let dc = Datacenter::new("dc").unwrap();
        let nodes = (0..self.nodes).map(|at| (node_id(at), dc.clone())).collect();
        let owners = Owners { nodes, ..Owners::default() };
        let policy = LeaderlessPolicy { conflicts: self.conflicts, ..LeaderlessPolicy::default() };
        replica.step(Time::ZERO, WALL, Input::Owners { owners, policy }, &applied);
        assert_eq!(replica.pop_output(), None, "it has nothing to say yet");
        (replica, applied)
    }

    fn last_writer_wins(&self) -> bool {
        self.conflicts == ConflictPolicy::LastWriterWins
    }

    fn quorum(&self) -> usize {
        self.nodes / 2 + 1
    }
}

impl Node {
    /// What it knows, durable or not.
    fn known(&self) -> &Cell {
        self.pending.back().map_or(&self.durable, |(_, cell)| cell)
    }
}

impl World {
    fn begin(bounds: &Bounds) -> Self {
        let node = |at| {
            let durable = Cell::default();
            let (replica, applied) = bounds.start(at, 0, &durable);
            let print = print_of(&replica);
            Node { replica, starts: 0, applied, durable, pending: VecDeque::new(), print }
        };
        Self {
            nodes: (0..bounds.nodes).map(node).collect(),
            network: Vec::new(),
            requests: BTreeMap::new(),
            asked: 0,
            written: 0,
            reads: 0,
            repeats: 0,
            crashes: 0,
            writes: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            floor: Cell::default(),
            violation: None,
        }
    }

    fn write(&mut self, bounds: &Bounds, at: usize) {
        let kind = bounds.writes[self.written];
        self.written += 1;
        let number = u8::try_from(self.written).unwrap();
        let value = Content::Value { value: Bytes::copy_from_slice(&[number]), expiry: None };
        let seen = self.floor.context();
        let context = match kind {
            Kind::Plain | Kind::Member => None,
            Kind::Blind => Some(Context::default()),
            Kind::Seen | Kind::RemoveSeen => Some(seen),
        };
        let change = match kind {
            Kind::Plain | Kind::Blind | Kind::Seen => Change::Put { content: value, context },
            Kind::Member => Change::Put { content: Content::Member, context },
            Kind::RemoveSeen if bounds.last_writer_wins() => {
                Change::Put { content: Content::Removed, context }
            }
            Kind::RemoveSeen => Change::Remove { context },
        };
        let before = self.nodes[at].known().clone();
        let id = self.request();
        // Before it is made: what is refused is answered at once.
        let none = Dot { actor: ActorId(0), counter: 0 };
        self.requests.insert(id, (at, Open::Write(none)));
        let context = change.context().cloned();
        let input = Input::Write {
            id,
            changes: vec![(key(), change)],
            level: Level::Quorum,
            after: After::Nothing,
        };
        self.give(bounds, at, input);
        let after = self.nodes[at].known();
        if *after == before {
            return;
        }
        let seen = context.clone().unwrap_or_default();
        let mut news = after
            .known()
            .dots()
            .filter(|dot| !before.known().covers(*dot) && !seen.known.covers(*dot));
        let Some(dot) = news.next() else {
            self.violation = Some("INV-90: a write has no dot of its own");
            return;
        };
        let own = after.siblings().iter().find(|sibling| sibling.dot == dot);
        let observed = |dot: &Dot| match &context {
            Some(context) => context.known.covers(*dot),
            None => before.known().covers(*dot),
        };
        let made = Made {
            content: own.map(|sibling| sibling.content.clone()),
            at: own.map_or(Hlc::default(), |sibling| sibling.at),
            replaced: self.writes.keys().filter(|dot| observed(dot)).copied().collect(),
        };
        if let Some((_, open)) = self.requests.get_mut(&id) {
            *open = Open::Write(dot);
        }
        if self.writes.insert(dot, made).is_some() {
            self.violation = Some("INV-90: a dot stands for two writes");
        }
    }

    fn read(&mut self, bounds: &Bounds, at: usize) {
        self.reads += 1;
        let id = self.request();
        self.requests.insert(id, (at, Open::Read { floor: self.floor.clone() }));
        let (level, repair) = (Level::Quorum, ReadRepair::Blocking);
        self.give(
            bounds,
            at,
            Input::Read {
                id,
                asked: vec![Asked::Cell(key())],
                level,
                repair,
                seen: Seen::default(),
            },
        );
    }

    fn request(&mut self) -> RequestId {
        self.asked += 1;
        RequestId(self.asked)
    }

    fn deliver(&mut self, bounds: &Bounds, sent: Sent) {
        let at = usize::try_from(sent.to.0 - 1).unwrap();
        let Sent { from, mark, message, .. } = sent;
        self.give(bounds, at, Input::Message { from, mark, message });
    }

    /// The oldest write of a node reaches its disk.
    fn sync(&mut self, bounds: &Bounds, at: usize) {
        let node = &mut self.nodes[at];
        let (id, cell) = node.pending.pop_front().expect("only what is under way");
        node.durable = cell;
        self.give(bounds, at, Input::Persisted { id });
    }

    /// What was on its way to the disk is lost, and nobody hears of what was asked there.
    fn crash(&mut self, bounds: &Bounds, at: usize) {
        self.crashes += 1;
        self.requests.retain(|_, (asked, _)| *asked != at);
        let node = &mut self.nodes[at];
        node.starts += 1;
        node.pending.clear();
        (node.replica, node.applied) = bounds.start(at, node.starts, &node.durable);
        node.take_print();
    }

    fn give(&mut self, bounds: &Bounds, at: usize, input: Input) {
        let node = &mut self.nodes[at];
        node.replica.step(Time::ZERO, WALL, input, &node.applied);
        let mut answers = Vec::new();
        while let Some(output) = node.replica.pop_output() {
            match output {
                Output::Persist { id, mut cells } => {
                    let (_, cell) = cells.pop().expect("there is one key");
                    node.pending.push_back((id, cell));
                }
                // One persist at a time becomes durable.
                Output::Apply { .. } => {
                    node.applied.0.insert(key(), node.durable.clone());
                }
                Output::Send { to, mark, message } => {
                    let from = node_id(at);
                    let print = print_of(&(from, to, mark, &message));
                    let place = self.network.partition_point(|sent| sent.print <= print);
                    self.network.insert(place, Sent { from, to, mark, message, print });
                }
                Output::Answer { id, result, .. } => answers.push((id, result)),
                Output::Close { .. }
                | Output::Drop { .. }
                | Output::Filled
                | Output::Damaged { .. } => unreachable!("nothing is collected or filled"),
            }
        }
        node.take_print();
        for (id, result) in answers {
            let (_, open) = self.requests.remove(&id).expect("answered once");
            if let Ok(cells) = result {
                let cell = cells.into_iter().next().map(|(_, cell)| cell);
                self.answered(bounds, open, &cell.unwrap_or_default());
            }
        }
    }

    fn answered(&mut self, bounds: &Bounds, open: Open, cell: &Cell) {
        match open {
            Open::Write(dot) => {
                self.acknowledged.insert(dot);
            }
            Open::Read { floor } => {
                if !cell.knows(&floor) {
                    self.violation = Some("INV-96: a read went back behind what was told");
                }
            }
        }
        if self.nodes.iter().filter(|node| node.durable.knows(cell)).count() < bounds.quorum() {
            self.violation = Some("INV-95, INV-96: what a client is told is not on a quorum");
        }
        self.floor.merge(cell);
    }

    /// What must be true of every state.
    fn look(&mut self, bounds: &Bounds) {
        let held = |dot: &Dot| {
            let holds = |node: &&Node| node.durable.known().covers(*dot);
            self.nodes.iter().filter(holds).count() >= bounds.quorum()
        };
        let mut merged = Cell::default();
        for node in &self.nodes {
            merge(bounds, &mut merged, &node.durable);
        }
        let cells: Vec<&Cell> = self.nodes.iter().map(Node::known).collect();
        let broken = cells
            .iter()
            .copied()
            .chain(self.nodes.iter().map(|node| &node.durable))
            .chain([&merged])
            .find_map(|cell| self.broken(bounds, cell));
        let quiet =
            self.network.is_empty() && self.nodes.iter().all(|node| node.pending.is_empty());
        let resolved = |node: &Node| {
            let mut cell = Cell::default();
            merge(bounds, &mut cell, &node.durable);
            cell
        };
        let equal = self.nodes.iter().all(|node| resolved(node) == resolved(&self.nodes[0]));
        let found = match broken {
            Some(broken) => Some(broken),
            None if !self.acknowledged.iter().all(held) => {
                Some("INV-95: an acknowledged write is lost")
            }
            None if !merges_alike(bounds, &cells) => Some("the order of merges shows"),
            None if quiet && self.crashes == 0 && !equal => {
                Some("INV-97: all was delivered and replicas differ")
            }
            None => None,
        };
        self.violation = self.violation.or(found);
    }

    /// INV-90, INV-92: of every write that a cell knows it has the value, or a write that was to replace it.
    fn broken(&self, bounds: &Bounds, cell: &Cell) -> Option<&'static str> {
        let known = || self.writes.iter().filter(|(dot, _)| cell.known().covers(**dot));
        for (dot, made) in known() {
            let Some(content) = &made.content else { continue };
            let replaced = known().any(|(_, later)| later.replaced.contains(dot));
            let outdone = bounds.last_writer_wins()
                && content.competes()
                && known().any(|(by, other)| {
                    let competes = other.content.as_ref().is_some_and(Content::competes);
                    competes && (other.at, by) > (made.at, dot)
                });
            match cell.siblings().iter().find(|sibling| sibling.dot == *dot) {
                Some(stands) if (&stands.content, stands.at) != (content, made.at) => {
                    return Some("INV-90: a dot stands for another write");
                }
                // A coordinator leaves it to the next merge to discard what its own write outdoes.
                Some(_) if replaced => {
                    return Some("INV-92: a replaced value stands");
                }
                None if !replaced && !outdone => {
                    return Some("INV-92: a value is gone that nobody replaced");
                }
                Some(_) | None => {}
            }
        }
        None
    }
}

impl Node {
    fn take_print(&mut self) {
        self.print = print_of(&(&self.replica, &self.durable, &self.pending));
    }
}

/// As a replica does it under the store's policy.
fn merge(bounds: &Bounds, cell: &mut Cell, other: &Cell) {
    cell.merge(other);
    if bounds.last_writer_wins() {
        cell.keep_last_writer();
    }
}

/// Whichever of these comes first, and whichever comes twice.
fn merges_alike(bounds: &Bounds, cells: &[&Cell]) -> bool {
    let merged = |order: &[&Cell]| {
        let mut all = Cell::default();
        order.iter().for_each(|cell| merge(bounds, &mut all, cell));
        all
    };
    let all = merged(cells);
    let reversed: Vec<&Cell> = cells.iter().rev().copied().collect();
    let mut turned = cells.to_vec();
    turned.rotate_left(1);
    let twice = [cells, cells].concat();
    // The last two first: only then with the others.
    let mut grouped = merged(&cells[..1]);
    merge(bounds, &mut grouped, &merged(&cells[1..]));
    [merged(&reversed), merged(&turned), merged(&twice), grouped].iter().all(|one| *one == all)
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nodes.iter().for_each(|node| node.print.hash(state));
        self.network.iter().for_each(|sent| sent.print.hash(state));
        (self.asked, self.written, self.reads, self.repeats, self.crashes).hash(state);
        print_of(&(&self.requests, &self.writes, &self.acknowledged, &self.floor)).hash(state);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        let hash = |world: &Self| {
            let mut hasher = DefaultHasher::new();
            world.hash(&mut hasher);
            hasher.finish()
        };
        hash(self) == hash(other)
    }
}

impl Model for Bounds {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        plant(self.bug);
        vec![World::begin(self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        // Before anything happened all nodes are alike.
        let nodes = if world.written == 0 { 0..1 } else { 0..self.nodes };
        if world.written < self.writes.len() {
            actions.extend(nodes.map(Action::Write));
        }
        for (at, node) in world.nodes.iter().enumerate() {
            if world.written > 0 && world.reads < self.reads_max {
                actions.push(Action::Read(at));
            }
            if !node.pending.is_empty() {
                actions.push(Action::Sync(at));
                if world.crashes < self.crashes_max {
                    actions.push(Action::Crash(at));
                }
            }
        }
        for (at, sent) in world.network.iter().enumerate() {
            // Of messages that are the same one is enough.
            if at > 0 && world.network[at - 1].print == sent.print {
                continue;
            }
            actions.push(Action::Deliver(at));
            if world.repeats < self.repeats_max {
                actions.push(Action::Repeat(at));
            }
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        plant(self.bug);
        let mut world = last.clone();
        match action {
            Action::Write(at) => world.write(self, at),
            Action::Read(at) => world.read(self, at),
            Action::Deliver(at) => {
                let sent = world.network.remove(at);
                world.deliver(self, sent);
            }
            Action::Repeat(at) => {
                world.repeats += 1;
                let sent = world.network[at].clone();
                world.deliver(self, sent);
            }
            Action::Sync(at) => world.sync(self, at),
            Action::Crash(at) => world.crash(self, at),
        }
        world.look(self);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is violated", |_, world: &World| world.violation.is_none()),
            Property::sometimes("everything is acknowledged", |bounds: &Self, world: &World| {
                world.acknowledged.len() == bounds.writes.len() && world.network.is_empty()
            }),
        ]
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

/// Two clients that know nothing of each other.
fn two_writes() -> Bounds {
    Bounds {
        nodes: 3,
        conflicts: ConflictPolicy::Siblings,
        writes: &[Kind::Plain, Kind::Blind],
        reads_max: 0,
        repeats_max: 0,
        crashes_max: 0,
        bug: None,
    }
}

/// One that reads what was written.
fn a_read() -> Bounds {
    Bounds { writes: &[Kind::Plain], reads_max: 1, ..two_writes() }
}

/// Two replicas, and one of them forgets what its disk did not hold.
fn a_crash() -> Bounds {
    Bounds { nodes: 2, crashes_max: 1, repeats_max: 1, ..two_writes() }
}

fn explore(name: &str, bounds: Bounds) -> Option<&'static str> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = bounds.checker().threads(threads).spawn_dfs().join();
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
        violated.is_some() || checker.discovery("everything is acknowledged").is_some(),
        "the bounds of {name} are too small to say anything"
    );
    violated
}

#[test]
fn concurrent_writes_stand_beside_each_other_in_every_order() {
    assert_eq!(explore("two writes", Bounds { nodes: 2, ..two_writes() }), None);
}

#[test]
fn a_read_shows_what_was_acknowledged_in_every_order() {
    assert_eq!(explore("a read", a_read()), None);
}

#[test]
fn a_crash_loses_nothing_that_was_acknowledged_in_any_order() {
    assert_eq!(explore("a crash", a_crash()), None);
}

/// Minutes: `cargo xtask model-check`.
#[test]
fn deep() {
    if std::env::var_os("QUORATE_MODEL_CHECK").is_none() {
        return;
    }
    let last_writer = Bounds { conflicts: ConflictPolicy::LastWriterWins, ..two_writes() };
    let three = Bounds { nodes: 2, ..two_writes() };
    let runs = [
        ("two writes, three replicas", two_writes()),
        ("two writes, the last one wins", last_writer.clone()),
        (
            "a removal of what was seen",
            Bounds { writes: &[Kind::Plain, Kind::RemoveSeen], ..two_writes() },
        ),
        (
            "a removal, the last one wins",
            Bounds { writes: &[Kind::Plain, Kind::RemoveSeen], ..last_writer },
        ),
        (
            "a member, removed and added",
            Bounds { writes: &[Kind::Member, Kind::RemoveSeen, Kind::Member], ..three.clone() },
        ),
        (
            "three writes, a crash",
            Bounds { writes: &[Kind::Plain, Kind::Seen, Kind::Blind], crashes_max: 1, ..three },
        ),
        ("a write, a read, a crash, three replicas", Bounds { crashes_max: 1, ..a_read() }),
        ("a write, two reads, three replicas", Bounds { reads_max: 2, ..a_read() }),
        (
            "two writes, a read, two replicas",
            Bounds { nodes: 2, writes: &[Kind::Plain, Kind::Seen], repeats_max: 1, ..a_read() },
        ),
    ];
    for (name, bounds) in runs {
        assert_eq!(explore(name, bounds), None);
    }
}

#[cfg(feature = "planted")]
#[test]
fn a_broken_rule_is_found() {
    let runs = [
        (Bug::KeepActor, a_crash()),
        (Bug::CountOwnCellEarly, Bounds { writes: &[Kind::Plain], ..two_writes() }),
        (Bug::TellBeforeDisk, Bounds { writes: &[Kind::Plain], ..two_writes() }),
        (Bug::RepairLater, a_read()),
    ];
    for (bug, bounds) in runs {
        let found = explore(&format!("{bug:?}"), Bounds { bug: Some(bug), ..bounds });
        assert!(found.is_some(), "{bug:?} is not found");
    }
}
