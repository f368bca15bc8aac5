//! Datacenters and the network between them, a function of the seed. Asserts of every change that is applied that it is the next one
//! (INV-107, INV-108).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use quorate_model::{
    ActorId, Datacenter, Hlc, Links, LogIndex, NodeId, Time, VersionVector, WallTime,
};

use crate::multi_leader::site_test::{Act, Site, value};
use crate::multi_leader::{
    Change, Entry, Exchange, Input, Log, Message, Output, Routes, Settings, Start, Turn,
};
use crate::random::Random;

/// Of each datacenter.
const NODES: usize = 2;
const KEYS: u64 = 5;

#[derive(Clone, Default)]
pub(super) struct Faults {
    /// One message of so many is lost, one is given twice, one is late.
    pub(super) messages: Option<u64>,
    /// Leaders go, datacenters are cut off from each other.
    pub(super) places: bool,
    /// The links are declared anew.
    pub(super) moves: bool,
    /// How many changes a log keeps.
    pub(super) log_kept: Option<usize>,
}

impl Faults {
    pub(super) const fn all() -> Self {
        Self { messages: Some(30), places: true, moves: false, log_kept: None }
    }
}

pub(super) struct World {
    now: Time,
    random: Random,
    faults: Faults,
    pub(super) settings: Settings,
    links: Links,
    reroute: bool,
    pub(super) wall: WallTime,
    writes: bool,
    groups: Vec<Group>,
    network: BTreeMap<(Time, u64), (NodeId, NodeId, Message)>,
    sent: u64,
    cuts: BTreeSet<(usize, usize)>,
    dead: BTreeSet<usize>,
    next_write: Time,
    next_fault: Time,
    /// Changes that were in messages, and snapshots that were taken.
    pub(super) given: u64,
    pub(super) snapshots: u64,
}

/// The shard in one datacenter.
#[derive(Clone)]
pub(super) struct Group {
    place: Datacenter,
    origin: ActorId,
    own: BTreeSet<ActorId>,
    site: Site,
    log: Vec<(LogIndex, Entry)>,
    applied: LogIndex,
    floor: (LogIndex, VersionVector),
    /// Written by the leader, and not committed.
    written: VecDeque<(Time, Change)>,
    leader: Option<(NodeId, Exchange)>,
    elected_at: Time,
    others: u64,
}

struct Kept<'a>(&'a Group);

impl Log for Kept<'_> {
    fn floor(&self) -> (LogIndex, &VersionVector) {
        (self.0.floor.0, &self.0.floor.1)
    }

    fn applied(&self) -> LogIndex {
        self.0.applied
    }

    fn behind(&self, index: LogIndex, bytes_max: usize) -> Vec<(LogIndex, Entry)> {
        let from = self.0.log.partition_point(|(at, _)| *at <= index);
        let mut bytes = 0;
        let fits = |(_, entry): &&(LogIndex, Entry)| {
            let before = bytes;
            bytes += match entry {
                Entry::Change(change) => change.bytes(),
                Entry::Snapshot(_) | Entry::Nothing => 0,
            };
            before == 0 || bytes <= bytes_max
        };
        self.0.log[from..].iter().take_while(fits).cloned().collect()
    }
}

impl Group {
    /// As every replica of the group does it.
    fn apply(&mut self, change: &Change, kept: Option<usize>) {
        assert_eq!(change.turn(&self.site.known), Turn::Next, "{}: {change:?}", self.place);
        self.site.apply(change);
        self.applied = self.applied.next();
        self.log.push((self.applied, Entry::Change(change.clone())));
        while kept.is_some_and(|kept| self.log.len() > kept) {
            let (index, gone) = self.log.remove(0);
            self.floor.0 = index;
            match gone {
                Entry::Change(change) => self.floor.1.include(change.through()),
                Entry::Snapshot(known) => self.floor.1.join(&known),
                Entry::Nothing => {}
            }
        }
    }
}

fn node(place: usize, at: usize) -> NodeId {
    NodeId(1 + (place * NODES + at) as u128)
}

fn place_of(node: NodeId) -> usize {
    (usize::try_from(node.0).unwrap() - 1) / NODES
}

impl World {
    pub(super) fn new(seed: u64, places: Vec<Datacenter>, links: Links, faults: Faults) -> Self {
        let group = |(origin, place): (u64, Datacenter)| Group {
            place,
            origin: ActorId(origin),
            own: [ActorId(origin)].into(),
            site: Site::default(),
            log: Vec::new(),
            applied: LogIndex::ZERO,
            floor: (LogIndex::ZERO, VersionVector::default()),
            written: VecDeque::new(),
            leader: None,
            elected_at: Time::ZERO,
            others: 0,
        };
        Self {
            now: Time::ZERO,
            random: Random::new(seed),
            faults,
            settings: Settings::default(),
            links,
            reroute: true,
            wall: WallTime(1_000_000),
            writes: true,
            groups: (1..).zip(places).map(group).collect(),
            network: BTreeMap::new(),
            sent: 0,
            cuts: BTreeSet::new(),
            dead: BTreeSet::new(),
            // By then all have been asked for what there is.
            next_write: Time::ZERO.after(Duration::from_millis(500)),
            next_fault: Time::ZERO,
            given: 0,
            snapshots: 0,
        }
    }

    pub(super) fn run_for(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while self.now < end {
            let at = self.next().min(end);
            self.now = self.now.max(at);
            self.turn();
        }
    }

    pub(super) fn reroute(&mut self, reroute: bool) {
        self.reroute = reroute;
        self.declare();
    }

    pub(super) fn cut(&mut self, one: usize, other: usize) {
        self.cuts.extend([(one, other), (other, one)]);
    }

    pub(super) fn mend(&mut self) {
        self.cuts.clear();
    }

    pub(super) fn kill(&mut self, place: usize) {
        self.dead.insert(place);
        self.groups[place].leader = None;
    }

    pub(super) fn save(&self, place: usize) -> Group {
        self.groups[place].clone()
    }

    pub(super) fn restore(&mut self, place: usize, old: Group) {
        let origin = ActorId(old.origin.0 + 100);
        let group = &mut self.groups[place];
        *group = Group { origin, leader: None, elected_at: self.now, ..old };
        group.written.clear();
        group.own.insert(origin);
    }

    pub(super) fn revive(&mut self) {
        self.dead.clear();
    }

    pub(super) const fn stop_writing(&mut self) {
        self.writes = false;
    }

    pub(super) fn heal(&mut self) {
        self.faults = Faults { log_kept: self.faults.log_kept, ..Faults::default() };
        self.cuts.clear();
        self.dead.clear();
        self.writes = false;
    }

    pub(super) fn expect_convergence(&mut self, within: Duration) {
        let end = self.now.after(within);
        while self.now < end && !self.living_agree() {
            self.run_for(Duration::from_millis(100));
        }
        let known: Vec<_> = self.groups.iter().map(|group| &group.site.known).collect();
        assert!(self.living_agree(), "{known:?}");
        for group in &self.groups {
            assert_eq!(group.site, self.groups[0].site, "{}", group.place);
        }
    }

    pub(super) fn living_agree(&self) -> bool {
        let living = (0..self.groups.len()).filter(|place| !self.dead.contains(place));
        let known: BTreeSet<_> = living.map(|place| &self.groups[place].site.known).collect();
        known.len() == 1
    }

    /// Whether it has applied what that one wrote.
    pub(super) fn knows(&self, place: usize, writer: usize) -> bool {
        self.groups[place].site.known.counter(self.groups[writer].origin) > 0
    }

    pub(super) fn is_rerouted(&self) -> bool {
        let leaders = self.groups.iter().filter_map(|group| group.leader.as_ref());
        leaders.flat_map(|(_, exchange)| exchange.links()).any(|link| link.rerouted)
    }

    /// How often changes were applied in other datacenters than their own.
    pub(super) fn applied_elsewhere(&self) -> u64 {
        self.groups.iter().map(|group| group.others).sum()
    }

    fn next(&self) -> Time {
        let message = self.network.keys().next().map(|(at, _)| *at);
        let of = |(place, group): (usize, &Group)| {
            let leader = group.leader.as_ref().map(|(_, exchange)| exchange.deadline());
            let elected = group.leader.is_none() && !self.dead.contains(&place);
            let elected = elected.then_some(group.elected_at);
            let written = group.written.front().map(|(at, _)| *at);
            leader.into_iter().chain(elected).chain(written).min()
        };
        let groups = self.groups.iter().enumerate().filter_map(of);
        let own = [self.next_write, self.next_fault];
        groups.chain(message).chain(own).min().expect("there is always a next write")
    }

    /// Everything that is due.
    fn turn(&mut self) {
        if self.next_write <= self.now {
            self.next_write = self.now.after(self.up_to(20));
            if self.writes {
                self.write();
            }
        }
        if self.next_fault <= self.now {
            self.next_fault = self.now.after(self.up_to(1_000));
            self.fault();
        }
        for place in 0..self.groups.len() {
            self.elect(place);
            while let Some((_, change)) =
                self.groups[place].written.pop_front_if(|(at, _)| *at <= self.now)
            {
                self.groups[place].others += 1;
                self.apply(place, &change);
            }
            let exchange = self.groups[place].leader.as_ref();
            if exchange.is_some_and(|(_, exchange)| exchange.deadline() <= self.now) {
                self.give(place, Input::Tick);
            }
        }
        while let Some(entry) = self.network.first_entry().filter(|one| one.key().0 <= self.now) {
            let (from, to, message) = entry.remove();
            self.arrives(from, to, message);
        }
    }

    fn arrives(&mut self, from: NodeId, to: NodeId, message: Message) {
        let place = place_of(to);
        if self.cuts.contains(&(place_of(from), place)) || self.dead.contains(&place) {
            return;
        }
        match &self.groups[place].leader {
            Some((leader, _)) if *leader == to => {
                self.give(place, Input::Message { from, message })
            }
            leader => {
                if let Message::Subscribe { number, .. } = message {
                    let leader = leader.as_ref().map(|(leader, _)| *leader);
                    self.send(to, from, Message::Elsewhere { number, leader });
                }
            }
        }
    }

    fn give(&mut self, place: usize, input: Input) {
        let now = self.now;
        let Some((leader, mut exchange)) = self.groups[place].leader.take() else { return };
        exchange.step(now, self.wall, input, &Kept(&self.groups[place]));
        let outputs: Vec<Output> = std::iter::from_fn(|| exchange.pop_output()).collect();
        self.groups[place].leader = Some((leader, exchange));
        for output in outputs {
            match output {
                Output::Send { to, message } => self.send(leader, to, message),
                Output::Apply { changes } => {
                    let at = now.after(self.up_to(10));
                    let written = &mut self.groups[place].written;
                    // In order.
                    let at = written.back().map_or(at, |(last, _)| at.max(*last));
                    written.extend(changes.into_iter().map(|change| (at, change)));
                }
                Output::Lacks { from, .. } => self.snapshot(place, &from),
            }
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        if let Message::Changes { changes, .. } = &message {
            self.given += changes.len() as u64;
        }
        let dice = self.faults.messages.map_or(u64::MAX, |of| self.random.next() % of);
        let copies = match dice {
            0 => 0,
            1 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let late = if dice == 2 { 500 } else { 30 };
            self.sent += 1;
            // Without faults in order.
            let delay = match self.faults.messages {
                Some(_) => self.up_to(late),
                None => Duration::from_millis(20),
            };
            let at = self.now.after(delay);
            self.network.insert((at, self.sent), (from, to, message.clone()));
        }
    }

    fn apply(&mut self, place: usize, change: &Change) {
        let group = &mut self.groups[place];
        group.apply(change, self.faults.log_kept);
        let known = group.site.known.clone();
        self.give(place, Input::Applied { known });
    }

    /// A client of a random datacenter.
    fn write(&mut self) {
        let place = self.below(self.groups.len());
        let ms = self.now.0 / 1_000_000;
        if self.groups[place].leader.is_some() {
            self.write_at(place, WallTime(ms));
        }
    }

    pub(super) fn write_at(&mut self, place: usize, wall: WallTime) {
        let writes = 1 + self.random.next() % 2;
        let first_key = self.random.next() % KEYS;
        let group = &self.groups[place];
        let next = group.site.known.counter(group.origin) + 1;
        let writes = (0..writes).map(|number| {
            let text = format!("{}-{}", group.place, next + number);
            (format!("{}", (first_key + number) % KEYS), Act::Put(value(text)))
        });
        let change = group.site.write(group.origin, Hlc::at(wall), writes.collect());
        self.apply(place, &change);
    }

    fn elect(&mut self, place: usize) {
        let group = &self.groups[place];
        if group.leader.is_some() || group.elected_at > self.now || self.dead.contains(&place) {
            return;
        }
        let start = Start {
            origin: group.origin,
            own: group.own.clone(),
            known: group.site.known.clone(),
            seed: self.random.next(),
            now: self.now,
        };
        let leader = node(place, self.below(NODES));
        let exchange = Exchange::new(start, self.settings.clone());
        self.groups[place].leader = Some((leader, exchange));
        self.tell_routes(place);
    }

    fn declare(&mut self) {
        for place in 0..self.groups.len() {
            self.tell_routes(place);
        }
    }

    fn tell_routes(&mut self, place: usize) {
        let all = self.groups.iter().map(|group| group.place.clone()).collect();
        let (links, reroute) = (self.links.clone(), self.reroute);
        let routes = Routes { here: self.groups[place].place.clone(), all, links, reroute };
        let others = self.groups.iter().enumerate().filter(|(other, _)| *other != place);
        let nodes = others.map(|(other, group)| {
            let nodes = (0..NODES).map(|at| node(other, at)).collect();
            (group.place.clone(), nodes)
        });
        let nodes = nodes.collect();
        self.give(place, Input::Routes { routes, nodes });
    }

    /// Everything that the other one has applied, as one entry of this one's log.
    fn snapshot(&mut self, place: usize, from: &Datacenter) {
        let Some(from) = self.groups.iter().position(|group| group.place == *from) else { return };
        if self.dead.contains(&from) || self.cuts.contains(&(from, place)) {
            return;
        }
        self.snapshots += 1;
        let theirs = self.groups[from].site.clone();
        let group = &mut self.groups[place];
        group.site.merge(&theirs);
        // What the leader wrote before comes after it, and some of it is known by then.
        let known = group.site.known.clone();
        group.written.retain(|(_, change)| change.turn(&known) != Turn::Known);
        group.applied = group.applied.next();
        group.log.push((group.applied, Entry::Snapshot(known.clone())));
        self.give(place, Input::Applied { known });
    }

    fn fault(&mut self) {
        let place = self.below(self.groups.len());
        let other = self.below(self.groups.len());
        if self.faults.moves {
            let all: Vec<Datacenter> =
                self.groups.iter().map(|group| group.place.clone()).collect();
            self.links = match self.random.next() % 3 {
                0 => Links::AllToAll,
                1 => Links::Circular(all),
                _ => Links::Star { hub: all[place].clone() },
            };
            self.declare();
        }
        if !self.faults.places {
            return;
        }
        match self.random.next() % 4 {
            // What it wrote and was not committed is gone, or is not.
            0 => {
                let until = self.now.after(self.up_to(2_000));
                let group = &mut self.groups[place];
                (group.leader, group.elected_at) = (None, until);
                group.written.clear();
            }
            1 if place != other => self.cut(place, other),
            2 => {
                self.cuts.insert((place, other));
            }
            _ => self.cuts.clear(),
        }
    }

    fn up_to(&mut self, ms: u64) -> Duration {
        self.random.up_to(Duration::from_millis(ms))
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.next() % bound as u64).unwrap()
    }
}
