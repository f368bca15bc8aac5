//! What this replica coordinated, on its way to the other datacenters of a store whose datacenters are `Local`.
//!
//! For each of them there is a *way*: the keys of cells that are not known to be held there, oldest first. Cells are read when they
//! are sent, so that a cell that is written ten times meanwhile goes once. One batch at a time is under way, to one replica there,
//! which has the others of its datacenter take it over. A way on which more waits than it may, and any way when a process
//! begins, is *torn*: what was to be told is found by comparison instead. Keeps INV-101 and INV-102.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_model::planted::{self, Bug};
use quorate_model::{Datacenter, Datacenters, NodeId, Time};

use super::kernel::Kernel;
use super::{CellKey, Cells, Message, PersistId};

/// What a waiting key takes beside its bytes.
const KEY_BYTES: usize = 64;

#[derive(Debug)]
pub(super) struct Relaying {
    numbers: u64,
    ways: BTreeMap<Datacenter, Way>,
}

/// How far a datacenter is behind what this replica coordinated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relayed {
    pub datacenter: Datacenter,
    /// What was coordinated longer ago than this is known to be held there.
    pub behind: Duration,
    /// `false` as long as that is only so since the process began.
    pub known: bool,
    /// A comparison must find what is to be told.
    pub torn: bool,
    /// Keys that wait or are under way.
    pub waiting: usize,
}

#[derive(Default, Debug)]
struct Way {
    /// Since when each key waits.
    waiting: BTreeMap<CellKey, Time>,
    order: BTreeSet<(Time, CellKey)>,
    bytes: usize,
    flight: Option<Flight>,
    /// Whom the last batch went to, and who answered it.
    last: Option<NodeId>,
    answers: Option<NodeId>,
    torn: Option<Torn>,
}

#[derive(Debug)]
struct Flight {
    number: u64,
    to: NodeId,
    keys: Vec<(CellKey, Time)>,
    oldest: Time,
    until: Time,
}

#[derive(Debug)]
struct Torn {
    number: u64,
    since: Time,
    /// Everything from before `since` is held there: the process has told it itself.
    known: bool,
    /// What is not known to be told is durable here with this.
    through: PersistId,
    /// What comparisons with each replica gave it that it has not acknowledged.
    given: BTreeMap<NodeId, BTreeSet<u64>>,
    /// Replicas that hold all of it.
    held_by: BTreeSet<NodeId>,
}

impl Relaying {
    pub(super) fn new(kernel: &mut Kernel) -> Self {
        Self { numbers: kernel.random.next(), ways: BTreeMap::new() }
    }

    /// Who has a replica, or what the store declares, has changed. A datacenter that is new has been told nothing.
    pub(super) fn follow(&mut self, kernel: &Kernel) {
        let own = kernel.owners.place(kernel.id);
        let relays = kernel.policy.datacenters == Datacenters::Local && own.is_some();
        let places =
            kernel.owners.places().into_iter().filter(|place| relays && Some(*place) != own);
        let places: BTreeSet<&Datacenter> = places.collect();
        self.ways.retain(|place, _| places.contains(place));
        for place in places {
            if !self.ways.contains_key(place) {
                let mut way = Way::default();
                way.tear(kernel, self.number(), false);
                self.ways.insert(place.clone(), way);
            }
        }
        let all = kernel.others();
        for way in self.ways.values_mut() {
            if way.flight.as_ref().is_some_and(|flight| !all.contains(&flight.to)) {
                way.take_back();
            }
            if let Some(torn) = &mut way.torn {
                torn.given.retain(|node, _| all.contains(node));
                torn.held_by.retain(|node| all.contains(node));
            }
        }
        self.mend(kernel);
    }

    /// This replica has changed these cells for a client.
    pub(super) fn put(&mut self, kernel: &Kernel, keys: &[CellKey]) {
        if self.ways.is_empty() {
            return;
        }
        let tear = self.number();
        for way in self.ways.values_mut() {
            keys.iter().for_each(|key| way.put(key.clone(), kernel.now));
            if way.bytes > kernel.settings.relay_waiting_bytes_max {
                way.tear(kernel, tear, true);
            }
        }
    }

    /// Sends what waits.
    pub(super) fn go_on(&mut self, kernel: &mut Kernel, cells: &dyn Cells) {
        for (place, way) in &mut self.ways {
            while way.flight.is_none() && !way.waiting.is_empty() {
                self.numbers = self.numbers.wrapping_add(1);
                if !way.send(kernel, cells, place, self.numbers) {
                    break;
                }
            }
        }
    }

    /// What was sent under this number is held there, or by that replica.
    pub(super) fn stored(&mut self, kernel: &Kernel, from: NodeId, number: u64) {
        for way in self.ways.values_mut() {
            // INV-101
            let ours = |flight: &mut Flight| flight.to == from && flight.number == number;
            if way.flight.take_if(ours).is_some() {
                way.answers = Some(from);
            }
            if let Some(given) = way.torn.as_mut().and_then(|torn| torn.given.get_mut(&from)) {
                given.remove(&number);
            }
        }
        self.mend(kernel);
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.ways.values().filter_map(|way| way.flight.as_ref()).map(|flight| flight.until).min()
    }

    /// Whoever has not answered in time may be down: another one is asked.
    pub(super) fn tick(&mut self, kernel: &mut Kernel, cells: &dyn Cells) {
        for way in self.ways.values_mut() {
            if way.flight.as_ref().is_some_and(|flight| flight.until <= kernel.now) {
                way.answers = None;
                way.take_back();
            }
        }
        self.go_on(kernel, cells);
    }

    pub(super) fn relayed(&self, now: Time) -> impl Iterator<Item = Relayed> + '_ {
        self.ways.iter().map(move |(datacenter, way)| Relayed {
            datacenter: datacenter.clone(),
            behind: way.oldest().map_or(Duration::ZERO, |oldest| now.since(oldest)),
            known: way.torn.as_ref().is_none_or(|torn| torn.known),
            torn: way.torn.is_some(),
            waiting: way.waiting.len() + way.flight.as_ref().map_or(0, |flight| flight.keys.len()),
        })
    }

    // Comparisons.

    pub(super) fn is_torn(&self) -> bool {
        self.ways.values().any(|way| way.torn.is_some())
    }

    /// Whether a way is torn by the beginning of this process, and this replica does not know yet what it coordinated before.
    pub(super) fn looks_back(&self, kernel: &Kernel) -> bool {
        let looks = |way: &Way| way.torn.as_ref().is_some_and(|torn| !torn.known);
        self.ways.values().any(looks) && !kernel.has_enough()
    }

    /// Which tear a comparison with this replica would mend that begins now.
    pub(super) fn wants(&self, kernel: &Kernel, peer: NodeId) -> Option<u64> {
        let torn = self.ways.get(kernel.owners.place(peer)?)?.torn.as_ref()?;
        // INV-102
        let begins = torn.through <= kernel.persisted && (torn.known || kernel.has_enough());
        (begins && !torn.held_by.contains(&peer)).then_some(torn.number)
    }

    /// A comparison that began for this tear has come to its end: all that was here when it began is with the peer once it has
    /// acknowledged what it was given.
    pub(super) fn compared(
        &mut self,
        kernel: &Kernel,
        peer: NodeId,
        tear: u64,
        given: BTreeSet<u64>,
    ) {
        let mut torn = self.ways.values_mut().filter_map(|way| way.torn.as_mut());
        if let Some(torn) = torn.find(|torn| torn.number == tear) {
            torn.given.insert(peer, given);
        }
        self.mend(kernel);
    }

    /// INV-102
    fn mend(&mut self, kernel: &Kernel) {
        for (place, way) in &mut self.ways {
            let Some(torn) = &mut way.torn else { continue };
            let done = torn.given.extract_if(.., |_, given| given.is_empty());
            torn.held_by.extend(done.map(|(node, _)| node));
            let enough = kernel.relay_need(place).is_ok_and(|need| need.is_met(&torn.held_by));
            if enough {
                way.torn = None;
            }
        }
    }

    const fn number(&mut self) -> u64 {
        self.numbers = self.numbers.wrapping_add(1);
        self.numbers
    }
}

impl Way {
    fn put(&mut self, key: CellKey, at: Time) {
        if let Some(known) = self.waiting.get(&key).copied() {
            if known <= at {
                return;
            }
            self.take(known, &key);
        }
        self.bytes += KEY_BYTES + key.bytes().len();
        self.order.insert((at, key.clone()));
        self.waiting.insert(key, at);
    }

    fn take(&mut self, at: Time, key: &CellKey) {
        self.bytes -= KEY_BYTES + key.bytes().len();
        self.waiting.remove(key);
        self.order.remove(&(at, key.clone()));
    }

    /// Since when something is not known to be held there.
    fn oldest(&self) -> Option<Time> {
        let torn = self.torn.as_ref().map(|torn| torn.since);
        let flight = self.flight.as_ref().map(|flight| flight.oldest);
        let waiting = self.order.first().map(|(at, _)| *at);
        [torn, flight, waiting].into_iter().flatten().min()
    }

    /// Too much waits, or nobody knows what does.
    fn tear(&mut self, kernel: &Kernel, number: u64, known: bool) {
        let since = self.oldest().unwrap_or(kernel.now);
        let known = known && self.torn.as_ref().is_none_or(|torn| torn.known);
        let (through, given, held_by) = (kernel.issued(), BTreeMap::new(), BTreeSet::new());
        let torn = Some(Torn { number, since, known, through, given, held_by });
        *self = Self { last: self.last, answers: self.answers, torn, ..Self::default() };
    }

    /// What is under way waits again.
    fn take_back(&mut self) {
        if let Some(flight) = self.flight.take() {
            flight.keys.into_iter().for_each(|(key, at)| self.put(key, at));
        }
    }

    /// Sends as much of the oldest as one message takes, to the next replica there. Answers whether there is one.
    fn send(
        &mut self,
        kernel: &mut Kernel,
        cells: &dyn Cells,
        place: &Datacenter,
        number: u64,
    ) -> bool {
        let there: BTreeSet<NodeId> = kernel.owners.within(place).collect();
        // Else each begins with another one.
        let last = self.last.unwrap_or(kernel.id);
        let next = there.iter().find(|node| **node > last).or_else(|| there.first());
        let stays = self.answers.filter(|node| there.contains(node));
        let Some(to) = stays.or_else(|| next.copied()) else { return false };
        let Some((oldest, _)) = self.order.first().cloned() else { return false };
        let (mut keys, mut told, mut bytes) = (Vec::new(), Vec::new(), 0);
        while bytes < kernel.settings.relay_batch_bytes
            && let Some((at, key)) = self.order.first().cloned()
        {
            self.take(at, &key);
            // What was dropped meanwhile all held removed.
            let Some(cell) = kernel.cell(cells, &key) else { continue };
            bytes += key.bytes().len() + cell.bytes();
            told.push((key.clone(), cell));
            keys.push((key, at));
        }
        if !told.is_empty() {
            self.last = Some(to);
            let until = kernel.now.after(kernel.settings.relay_timeout);
            kernel.send(to, Message::Relay { number, cells: told });
            let flight = Flight { number, to, keys, oldest, until };
            self.flight = Some(flight).filter(|_| !planted::is(Bug::CheckpointAtSending));
        }
        true
    }
}
