//! The world that the replicas live in: events in the order of their times, the network, the clients, and the faults.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_model::{
    ActorId, ConflictPolicy, Datacenter, Dot, LeaderlessPolicy, Level, NodeId, Slot, SlotRange,
    Time, WallTime,
};

use super::checks::Checks;
use super::node::{Node, Persist};
use crate::causal::{Cell, Change, Content};
use crate::leaderless::{
    self, After, CellKey, Collected, Input, Mark, Message, Output, Owners, ReadRepair, Replica,
    RequestId, Seen, Settings, Span, Standing, Start,
};
use crate::random::Random;

const NODES: usize = 3;
const KEYS: u64 = 6;
const COUNTERS: u64 = 2;
const TURN: Duration = Duration::from_millis(10);

/// How often what goes wrong: the first three in a thousand messages, the others in a thousand turns of 10 ms.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    loss: u64,
    repeat: u64,
    slow: u64,
    partition: u64,
    crash: u64,
    /// A crash in which the disk loses what it held.
    wipe: u64,
    skew: u64,
}

pub(super) struct World {
    now: Time,
    pub(super) faults: Faults,
    pub(super) checks: Checks,
    conflicts: ConflictPolicy,
    busy: bool,
    nodes: Vec<Node>,
    random: Random,
    events: BTreeMap<(Time, u64), Event>,
    scheduled: u64,
    cuts: BTreeSet<(usize, usize)>,
    requests: u64,
    asked: BTreeMap<RequestId, Asked>,
    /// What the client read last, by key.
    read: BTreeMap<CellKey, Cell>,
}

#[derive(Debug)]
enum Event {
    Deliver { from: usize, to: usize, mark: Mark, message: Message },
    Sync { node: usize, incarnation: u64 },
    Wake { node: usize, incarnation: u64 },
    Start { node: usize },
    Turn,
}

#[derive(Debug)]
enum Asked {
    Write {
        key: CellKey,
        dot: Dot,
        added: i128,
    },
    /// What the answer must know of each key that is asked for.
    Read {
        floors: BTreeMap<CellKey, Cell>,
        blocking: bool,
    },
}

impl Faults {
    pub(super) const fn all() -> Self {
        Self { loss: 50, repeat: 30, slow: 20, partition: 30, crash: 15, wipe: 3, skew: 10 }
    }
}

fn settings() -> Settings {
    Settings {
        request_timeout: Duration::from_secs(1),
        resend: Duration::from_millis(100),
        exchange_interval: Duration::from_millis(500),
        exchange_timeout: Duration::from_millis(200),
        siblings_max: 20,
        // These checks compare by what is known, also of what is removed; the simulation collects.
        collect_interval: Duration::from_secs(1 << 30),
        leaf_bits: 5,
        ..Settings::default()
    }
}

fn span() -> Span {
    let slot = |number| Slot::new(number).unwrap();
    Span::of(SlotRange { first: slot(0), last: slot(99) })
}

const fn id(node: usize) -> NodeId {
    NodeId(node as u128 + 1)
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl World {
    pub(super) fn new(seed: u64, conflicts: ConflictPolicy) -> Self {
        let mut world = Self {
            now: Time::ZERO,
            faults: Faults::default(),
            checks: Checks::default(),
            conflicts,
            busy: true,
            nodes: (0..NODES).map(|_| Node::new()).collect(),
            random: Random::new(seed),
            events: BTreeMap::new(),
            scheduled: 0,
            cuts: BTreeSet::new(),
            requests: 0,
            asked: BTreeMap::new(),
            read: BTreeMap::new(),
        };
        (0..NODES).for_each(|node| world.start(node));
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
            self.happen(event);
        }
        self.now = end;
    }

    /// Ends all faults and all requests.
    pub(super) fn heal(&mut self) {
        self.busy = false;
        self.faults = Faults::default();
        self.cuts.clear();
        for node in 0..NODES {
            self.nodes[node].skew_ms = 1_000;
            if self.nodes[node].replica.is_none() {
                self.start(node);
            }
        }
        // What is still under way on the network counts as a fault.
        self.run_for(ms(3_000));
    }

    /// Requests are answered.
    pub(super) fn expect_answers(&mut self, patience: Duration) {
        let (writes, reads) = (self.checks.writes_answered, self.checks.reads_answered);
        self.busy = true;
        self.run_for(patience);
        assert!(self.checks.writes_answered > writes && self.checks.reads_answered > reads);
    }

    /// Without any further request all replicas come to the same.
    pub(super) fn expect_convergence(&mut self, patience: Duration) {
        self.busy = false;
        self.run_for(ms(3_000));
        assert!(self.asked.is_empty(), "not answered: {:?}", self.asked);
        let end = self.now.after(patience);
        while self.now < end && self.nodes.iter().any(|one| one.durable != self.nodes[0].durable) {
            self.run_for(ms(100));
        }
        self.checks.converged(&self.nodes, self.conflicts);
        let hashes = self.nodes.iter().map(|node| node.replica.as_ref().unwrap());
        let hashes: BTreeSet<u64> =
            hashes.map(|replica| replica.tree().hash(leaderless::NodeAt::ROOT)).collect();
        assert_eq!(hashes.len(), 1, "equal replicas have equal trees");
    }

    // Events.

    fn schedule(&mut self, after: Duration, event: Event) {
        self.scheduled += 1;
        self.events.insert((self.now.after(after), self.scheduled), event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, mark, message } => {
                if !self.cuts.contains(&(from, to)) {
                    self.give(to, Input::Message { from: id(from), mark, message });
                }
            }
            Event::Sync { node, incarnation } if self.lives(node, incarnation) => self.sync(node),
            Event::Wake { node, incarnation } if self.lives(node, incarnation) => {
                self.nodes[node].wake_at = None;
                self.give(node, Input::Tick);
            }
            Event::Sync { .. } | Event::Wake { .. } => {}
            Event::Start { node } => self.start(node),
            Event::Turn => {
                self.schedule(TURN, Event::Turn);
                self.turn();
            }
        }
    }

    fn lives(&self, node: usize, incarnation: u64) -> bool {
        self.nodes[node].replica.is_some() && self.nodes[node].incarnation == incarnation
    }

    fn start(&mut self, at: usize) {
        let seed = self.random.next();
        let node = &mut self.nodes[at];
        if node.replica.is_some() {
            return;
        }
        let cells = &node.applied;
        let (span, standing, collected) = (span(), node.standing, Collected::default());
        let start = Start { id: id(at), span, seed, standing, collected };
        let replica = Replica::new(start, settings(), self.now, cells);
        node.replica = Some(replica);
        let here = Datacenter::new("dc").unwrap();
        let nodes = (0..NODES).map(|node| (id(node), here.clone())).collect();
        let owners = Owners { nodes, ..Owners::default() };
        let policy = LeaderlessPolicy { conflicts: self.conflicts, ..LeaderlessPolicy::default() };
        self.give(at, Input::Owners { owners, policy });
    }

    fn sync(&mut self, at: usize) {
        // One fsync covers what was written before it.
        let count = 1 + self.below(3);
        let mut through = None;
        for _ in 0..count {
            through = self.nodes[at].sync_one().or(through);
        }
        if let Some(id) = through {
            self.give(at, Input::Persisted { id });
        }
        if !self.nodes[at].pending.is_empty() {
            self.schedule_sync(at);
        }
    }

    fn schedule_sync(&mut self, at: usize) {
        let after = ms(if self.chance(20) { 200 } else { 1 } + self.below(4));
        let incarnation = self.nodes[at].incarnation;
        self.schedule(after, Event::Sync { node: at, incarnation });
    }

    fn give(&mut self, at: usize, input: Input) {
        let now = self.now;
        let node = &mut self.nodes[at];
        let wall = WallTime(1_000_000 + now.0 / 1_000_000 + node.skew_ms);
        let Some(replica) = &mut node.replica else { return };
        replica.step(now, wall, input, &node.applied);
        let mut outputs = Vec::new();
        while let Some(output) = replica.pop_output() {
            outputs.push(output);
        }
        let deadline = replica.deadline();
        for output in outputs {
            self.carry_out(at, output);
        }
        let node = &mut self.nodes[at];
        if node.wake_at.is_none_or(|planned| deadline < planned) {
            node.wake_at = Some(deadline);
            let incarnation = node.incarnation;
            self.schedule(deadline.since(now), Event::Wake { node: at, incarnation });
        }
    }

    fn carry_out(&mut self, at: usize, output: Output) {
        match output {
            Output::Persist { id, cells } => {
                let idle = self.nodes[at].pending.is_empty();
                self.nodes[at].pending.push_back(Persist { id, cells });
                if idle {
                    self.schedule_sync(at);
                }
            }
            Output::Apply { through } => self.nodes[at].apply(through),
            Output::Send { to, mark, message } => self.send(at, to, mark, message),
            Output::Close { .. } | Output::Drop { .. } => unreachable!("nothing is collected"),
            Output::Damaged { why } => panic!("{why}"),
            Output::Filled => self.nodes[at].standing = Standing::Whole,
            Output::Answer { id, result, .. } => self.answered(id, result),
        }
    }

    fn send(&mut self, from: usize, to: NodeId, mark: Mark, message: Message) {
        let to = usize::try_from(to.0 - 1).unwrap();
        let faults = self.faults.clone();
        if self.chance(faults.loss) {
            return;
        }
        if self.chance(faults.repeat) {
            let message = message.clone();
            let after = ms(self.below(2_000));
            self.schedule(after, Event::Deliver { from, to, mark, message });
        }
        let after =
            ms(if self.chance(faults.slow) { self.below(2_000) } else { 1 + self.below(5) });
        self.schedule(after, Event::Deliver { from, to, mark, message });
    }

    // Clients and faults.

    fn turn(&mut self) {
        if self.busy {
            self.request();
        }
        let faults = self.faults.clone();
        let node = self.node();
        if self.chance(faults.partition) {
            let other = self.node();
            self.cuts.insert((node, other));
        }
        if self.chance(faults.partition * 2) {
            self.cuts.clear();
        }
        if self.chance(faults.skew) {
            self.nodes[node].skew_ms = self.below(2_000);
        }
        if self.chance(faults.crash) && self.nodes[node].replica.is_some() {
            self.crash(node);
        }
        // What is acknowledged is on two of three: as long as the others are whole, none of it is lost.
        let wiped = self.chance(faults.wipe);
        let whole = |at: usize| at == node || self.nodes[at].standing == Standing::Whole;
        if wiped && (0..NODES).all(whole) {
            if self.nodes[node].replica.is_some() {
                self.crash(node);
            }
            self.nodes[node].wipe();
        }
    }

    fn crash(&mut self, at: usize) {
        let survive = self.below(self.nodes[at].pending.len() as u64 + 1);
        self.nodes[at].crash(usize::try_from(survive).unwrap());
        let after = ms(50 + self.below(1_500));
        self.schedule(after, Event::Start { node: at });
        // Whoever asked it learns nothing.
        let gone: Vec<RequestId> = self
            .asked
            .keys()
            .filter(|request| request.0 % NODES as u64 == at as u64)
            .copied()
            .collect();
        gone.into_iter().for_each(|request| {
            self.asked.remove(&request);
        });
    }

    fn request(&mut self) {
        let at = self.node();
        if self.nodes[at].replica.is_none() {
            return;
        }
        self.requests += 1;
        let request = RequestId(self.requests * NODES as u64 + at as u64);
        let number = self.below(KEYS);
        let key = key(number);
        if self.chance(500) {
            let blocking = self.chance(800);
            let repair = if blocking { ReadRepair::Blocking } else { ReadRepair::Background };
            let (asked, keys) = self.part(number);
            let floors =
                keys.into_iter().map(|key| (key.clone(), self.checks.floor(&key))).collect();
            self.asked.insert(request, Asked::Read { floors, blocking });
            let level = Level::Quorum;
            return self.give(
                at,
                Input::Read { id: request, asked, level, repair, seen: Seen::default() },
            );
        }
        let read = self.read.get(&key).filter(|_| number >= COUNTERS).cloned();
        let read = read.filter(|_| self.conflicts == ConflictPolicy::Siblings && self.chance(600));
        let (change, added) = self.change(number, read.as_ref());
        self.write(at, request, key, change, read.as_ref(), added);
    }

    /// One key, or all from there on to another one, and perhaps one of them by name, too.
    fn part(&mut self, number: u64) -> (Vec<leaderless::Asked>, Vec<CellKey>) {
        if self.chance(500) {
            return (vec![leaderless::Asked::Cell(key(number))], vec![key(number)]);
        }
        let last = number + self.below(KEYS - number);
        let (from, to) = (key(number).bytes().clone(), key(last).next());
        let mut asked = vec![leaderless::Asked::Range { from, to }];
        if self.chance(200) {
            asked.push(leaderless::Asked::Cell(key(last)));
        }
        (asked, (number..=last).map(key).collect())
    }

    fn change(&mut self, number: u64, read: Option<&Cell>) -> (Change, i128) {
        if number < COUNTERS {
            let amount = 1 + self.below(9);
            return (Change::Add(i64::try_from(amount).unwrap()), i128::from(amount));
        }
        let context = read.map(Cell::context);
        let last_writer_wins = self.conflicts == ConflictPolicy::LastWriterWins;
        let change = match self.below(10) {
            0..2 if last_writer_wins => Change::Put { content: Content::Removed, context },
            0..2 => Change::Remove { context },
            2 if !last_writer_wins => {
                Change::Put { content: value(self.requests), context: Some(Default::default()) }
            }
            _ => Change::Put { content: value(self.requests), context },
        };
        (change, 0)
    }

    fn write(
        &mut self,
        at: usize,
        request: RequestId,
        key: CellKey,
        change: Change,
        read: Option<&Cell>,
        added: i128,
    ) {
        let blind = Cell::default();
        let read = match &change {
            Change::Put { context: Some(context), .. } if context.known.is_empty() => Some(&blind),
            Change::Put { .. } | Change::Remove { .. } | Change::Add(_) => read,
        };
        let known = |node: &Node| {
            let newest = node.pending.iter().rev().flat_map(|persist| &persist.cells);
            let mut newest = newest.filter(|(known, _)| *known == key).map(|(_, cell)| cell);
            newest.next().or_else(|| node.durable.get(&key)).cloned().unwrap_or_default()
        };
        let before = known(&self.nodes[at]);
        let written = self.nodes[at].pending.back().map(|persist| persist.id);
        let level = Level::Quorum;
        // Entered first: what is refused is answered at once.
        let dot = Dot { actor: ActorId(0), counter: 0 };
        self.asked.insert(request, Asked::Write { key: key.clone(), dot, added });
        let (changes, after) = (vec![(key.clone(), change)], After::Nothing);
        self.give(at, Input::Write { id: request, changes, level, after });
        let newest = self.nodes[at].pending.back().map(|persist| persist.id);
        if newest == written {
            return;
        }
        let after = known(&self.nodes[at]);
        let news = after.known().dots().filter(|dot| {
            let by_client = read.is_some_and(|read| read.known().covers(*dot));
            !before.known().covers(*dot) && !by_client
        });
        let dot = news.last().expect("a write has a dot");
        self.checks.written(&key, dot, &before, &after, read);
        self.checks.sums.entry(key.clone()).or_default().1 += added;
        if let Some(Asked::Write { dot: known, .. }) = self.asked.get_mut(&request) {
            *known = dot;
        }
    }

    fn answered(
        &mut self,
        request: RequestId,
        result: Result<Vec<(CellKey, Cell)>, leaderless::Refused>,
    ) {
        let asked = self.asked.remove(&request).expect("answered once, and only what was asked");
        let Ok(mut cells) = result else {
            self.checks.refused += 1;
            return;
        };
        match asked {
            Asked::Write { key, dot, added } => {
                self.checks.writes_answered += 1;
                let (_, cell) = cells.pop().expect("one cell was changed");
                self.checks.acknowledged(&key, dot, &cell, &self.nodes);
                if added != 0 {
                    self.checks.sums.entry(key).or_default().0 += added;
                }
            }
            Asked::Read { floors, blocking } => {
                self.checks.reads_answered += 1;
                assert!(cells.is_sorted_by(|(one, _), (next, _)| one < next), "each cell once");
                let mut cells: BTreeMap<CellKey, Cell> = cells.into_iter().collect();
                assert!(
                    cells.keys().all(|key| floors.contains_key(key)),
                    "only what was asked for"
                );
                for (key, floor) in floors {
                    let cell = cells.remove(&key).unwrap_or_default();
                    if blocking {
                        self.checks.read(&key, &cell, &floor, &self.nodes);
                    }
                    self.read.insert(key, cell);
                }
            }
        }
    }

    fn node(&mut self) -> usize {
        usize::try_from(self.below(NODES as u64)).unwrap()
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.next() % bound
    }

    fn chance(&mut self, in_a_thousand: u64) -> bool {
        self.below(1_000) < in_a_thousand
    }
}

fn key(number: u64) -> CellKey {
    let mut bytes = u16::try_from(number * 13).unwrap().to_be_bytes().to_vec();
    bytes.extend([0x77, 0, 0, 0]);
    bytes.extend(number.to_string().bytes());
    CellKey::new(Bytes::from(bytes)).unwrap()
}

fn value(number: u64) -> Content {
    Content::Value { value: Bytes::from(number.to_string()), expiry: None }
}
