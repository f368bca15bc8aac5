//! Several leaders of a shard: what this one writes goes to the others, and what they write comes into this group's log.
//!
//! The protocol is `multi_leader::Exchange`; this room gives it the group's log and carries out what it says. What others wrote
//! becomes entries of row images like anybody's writes, so followers, snapshots and a new leader know of nothing special.

mod homes;
mod kept;

use std::time::Duration;

use bytes::Bytes;
use quorate_model::{
    ActorId, Datacenter, GroupId, LogIndex, NodeId, Position, Term, Time, VersionVector,
};
use quorate_replication::multi_leader::{self, Change, Exchange, Input, Message, Output, Routes};
use quorate_storage::disk::Disk;
use quorate_storage::state::{StateError, StateStore};

use kept::{Kept, Recent, known_at};

use super::group::{Proposal, Task};
use super::persisting::COMMAND_BYTES_MAX;
use super::timers::Timer;
use super::{PeerMessage, Turn};
use crate::Write;
use crate::entry::{Changes, Told, Undeterminable};
use crate::keyspace::{self, Context, Evaluated, Known, Leaders, Taken, View};

/// How soon others are asked again when something of theirs could not be written.
const AGAIN: Duration = Duration::from_millis(50);
/// Changes of others in one entry.
const ENTRY_CHANGES_MAX: usize = 128;
const ENTRY_BYTES_MAX: usize = 256 << 10;
/// What an entry may take that others have acknowledged: all that the log takes.
const TAKEN_BYTES_MAX: usize = 2 * COMMAND_BYTES_MAX - (64 << 10);

/// Of several leaders what one group does.
#[derive(Debug, Default)]
pub(super) struct Exchanging {
    leaders: Option<Leaders>,
    /// On the leader.
    exchange: Option<Box<Exchange>>,
    /// It begins anew at the next moment.
    again: bool,
    /// The term with which this process began, and whose writes it has seen or made since: what is lost with volumes that were put
    /// back nobody who remembers those has.
    began: Option<Term>,
    alive: Option<ActorId>,
    /// What is applied, and whether the exchange has been told.
    known: Known,
    told: bool,
    recent: Recent,
    floor: (LogIndex, VersionVector),
    counts: Counts,
    /// Where the look at homes of keys goes on.
    homes_from: Option<Bytes>,
}

/// What came of others' writes here, since this process began.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    pub taken: u64,
    pub conflicts: u64,
    /// Values that are no longer read.
    pub discarded: u64,
    /// Conflicts of which a script made nothing because it failed.
    pub failed: u64,
}

/// What several leaders of a shard are to each other, as one of them sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExchangeStatus {
    pub origin: ActorId,
    pub known: VersionVector,
    pub links: Vec<multi_leader::LinkStatus>,
    /// What has waited for the longest for something else, and for how long.
    pub blocked: Option<(multi_leader::Blocked, Duration)>,
    pub held_bytes: usize,
    pub refused: multi_leader::Refused,
    pub counts: Counts,
}

impl Exchanging {
    pub(super) const fn leaders(&self) -> Option<&Leaders> {
        self.leaders.as_ref()
    }

    /// Of the leader.
    pub(super) fn origin(&self) -> Option<ActorId> {
        let leaders = self.leaders.as_ref().filter(|_| self.exchange.is_some());
        leaders.map(|leaders| leaders.origin)
    }

    fn goes_on(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.goes_on())
    }

    fn has_homes(&self) -> bool {
        self.leaders.as_ref().is_some_and(Leaders::has_homes)
    }

    fn is_silent(&self, place: &Datacenter) -> bool {
        let links = self.exchange.iter().flat_map(|exchange| exchange.links());
        links.filter(|link| link.from == *place).any(|link| link.silent)
    }

    /// What is applied, on the leader.
    pub(super) fn known(&self) -> Option<&Known> {
        self.exchange.as_ref().map(|_| &self.known)
    }

    pub(super) fn status(&self, now: Time) -> Option<ExchangeStatus> {
        let (leaders, exchange) = (self.leaders.as_ref()?, self.exchange.as_ref()?);
        let (blocked, held_bytes) = exchange.blocked();
        Some(ExchangeStatus {
            origin: leaders.origin,
            known: self.known.vector.clone(),
            links: exchange.links(),
            blocked: blocked.map(|blocked| {
                let waits = now.since(blocked.since);
                (blocked, waits)
            }),
            held_bytes,
            refused: exchange.refused(),
            counts: self.counts,
        })
    }
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// The entry's command for a write that was evaluated. Of several leaders it says as well what the others are told.
    ///
    /// # Errors
    /// [`Undeterminable`]: it is not replicated.
    pub(super) fn command_of(
        &mut self,
        write: &Write,
        evaluated: &mut Evaluated,
        seed: u64,
    ) -> Result<Bytes, Undeterminable> {
        let Some(leaders) = self.group.exchanging.leaders() else {
            return self.command(write, evaluated, seed);
        };
        let prefix = self.group.prefix();
        let (keys, overlay) = (self.group.standing.keys, &self.group.writes.overlay);
        let view = View::proposed(&self.shared.state, prefix.as_slice(), keys, overlay);
        let change = keyspace::change_of(&mut evaluated.effects, leaders, &view)
            .expect("it was read a moment ago");
        Ok(match change {
            Some(change) => {
                let told = Told { own: true, changes: vec![change], filled: None };
                Changes::encoded(&told, &evaluated.effects)
            }
            None => evaluated.effects.encode(),
        })
    }

    /// This replica leads, and has applied whatever earlier leaders wrote.
    pub(super) fn begin_exchange(&mut self) {
        self.follow_leaders();
        if self.group.exchanging.leaders.is_none() {
            return;
        }
        if let Err(error) = self.restart_exchange() {
            return self.refuse_state(error.into());
        }
        self.tell_routes();
        self.release_knowing();
    }

    pub(super) fn end_exchange(&mut self) {
        let exchanging = &mut self.group.exchanging;
        (exchanging.exchange, exchanging.recent) = (None, Recent::default());
        // What was lost is lost with the leadership: the next one asks anew.
        exchanging.again = false;
        self.end_filling();
        self.shared.timers.set(Timer::Exchange(self.group.id), None);
        self.shared.timers.set(Timer::Homes(self.group.id), None);
    }

    /// Something that others told is lost: they are asked for it again.
    pub(super) fn exchange_again(&mut self) {
        if self.group.exchanging.exchange.is_some() {
            self.group.exchanging.again = true;
            let at = self.shared.now.after(AGAIN);
            self.timer(Timer::Exchange(self.group.id), at);
        }
    }

    pub(super) fn exchange_due(&mut self) {
        if std::mem::take(&mut self.group.exchanging.again) {
            match self.restart_exchange() {
                Ok(()) => self.tell_routes(),
                Err(error) => self.refuse_state(error.into()),
            }
            return;
        }
        self.exchange(Input::Tick);
    }

    pub(super) fn exchange_message(&mut self, from: NodeId, message: Message) {
        if self.group.exchanging.exchange.is_some() {
            let sound =
                |change: &Change| change.writes.iter().all(|(key, _)| keyspace::is_a_cell(key));
            if let Message::Changes { changes, .. } = &message
                && !changes.iter().all(sound)
            {
                // Of a version that has other cells: it comes again.
                return;
            }
            return self.exchange(Input::Message { from, message });
        }
        if let Message::Subscribe { number, .. } = message {
            let leader = self.group.leader_elsewhere(self.shared.node());
            let message = Message::Elsewhere { number, leader };
            self.shared.send(from, self.group.id, PeerMessage::Exchange(Box::new(message)));
        }
    }

    /// How long an entry of this leader may be. What is acknowledged here every datacenter must be able to write, beside the values that
    /// others give the same key at the same time.
    pub(super) const fn own_bytes_max(&self) -> usize {
        match self.group.exchanging.leaders {
            Some(_) => COMMAND_BYTES_MAX / 4,
            None => COMMAND_BYTES_MAX,
        }
    }

    /// Whether this replica leads, and others hear of it.
    pub(super) const fn exchanges(&self) -> bool {
        self.group.exchanging.exchange.is_some()
    }

    /// Who may lead the shard in that datacenter.
    pub(super) fn nodes_at(&self, place: &Datacenter) -> Vec<NodeId> {
        let GroupId::Shard(shard) = self.group.id else { return Vec::new() };
        let topology = self.shared.following.topology();
        let here = topology.and_then(|topology| topology.datacenter_of(self.shared.node()));
        let (Some(topology), Some(here)) = (topology, here) else { return Vec::new() };
        topology.groups_beside(shard, here).remove(place).unwrap_or_default()
    }

    /// The replica begins, with what it remembers of terms.
    pub(super) fn begin_among_leaders(&mut self) {
        let term = self.group.replica.term();
        self.group.exchanging.began.get_or_insert(term);
        self.follow_leaders();
    }

    /// What the topology says of the shard, on every replica; and to the exchange, on its leader.
    pub(super) fn tell_routes(&mut self) {
        self.follow_leaders();
        let GroupId::Shard(shard) = self.group.id else { return };
        let Some(topology) = self.shared.following.topology() else { return };
        let Some(multi_leader) = topology.mode.multi_leader() else { return };
        let Some(here) = topology.datacenter_of(self.shared.node()) else { return };
        let nodes = topology.groups_beside(shard, here);
        let routes = Routes {
            here: here.clone(),
            all: nodes.keys().cloned().chain([here.clone()]).collect(),
            links: multi_leader.policy.links.clone(),
            reroute: multi_leader.policy.reroute,
        };
        self.exchange(Input::Routes { routes, nodes });
        self.look_at_homes();
    }

    /// The entry says what is known with it.
    pub(super) fn note_known(&mut self, position: Position, changes: &Changes) {
        let (index, term) = (position.index, position.term);
        let exchanging = &mut self.group.exchanging;
        // Of a leader who began later than this process.
        if changes.is_own() && exchanging.began.is_some_and(|began| began < term) {
            let known = keyspace::known_by(&changes.effects);
            exchanging.alive = known.and_then(|known| known.own.last().copied());
        }
        if exchanging.exchange.is_none() {
            return;
        }
        if let Some(known) = keyspace::known_by(&changes.effects) {
            exchanging.known = known;
            exchanging.told = false;
        }
        match changes.told() {
            Ok(told) => {
                let filled = told.filled.is_some();
                exchanging.recent.add(index, told);
                if filled {
                    self.stop_filling();
                    self.exchange_again();
                }
            }
            Err(error) => self.shared.fatal(format!("entry {index}: {error}")),
        }
    }

    /// Entries were applied.
    pub(super) fn exchange_applied(&mut self) {
        let exchanging = &mut self.group.exchanging;
        if exchanging.exchange.is_some() && !exchanging.told {
            self.group.tasks.push_back(Task::Exchange);
        }
    }

    /// What the log was given is durable here.
    pub(super) fn exchange_persisted(&mut self) {
        if self.group.exchanging.goes_on() {
            self.group.tasks.push_back(Task::Exchange);
        }
    }

    /// The exchange hears of it when the protocol has said all that it has to say.
    pub(super) fn tell_exchange(&mut self) {
        self.fill_applied();
        let exchanging = &mut self.group.exchanging;
        if exchanging.exchange.is_some() && !std::mem::replace(&mut exchanging.told, true) {
            let known = exchanging.known.vector.clone();
            self.exchange(Input::Applied { known });
            self.release_knowing();
        } else if exchanging.goes_on() {
            self.exchange(Input::Tick);
        }
    }

    /// The log from here on is of use to another datacenter that takes at the moment.
    pub(super) fn oldest_given(&self) -> Option<LogIndex> {
        let filling = self.group.filling.oldest_given(self.shared.now);
        let exchange = self.group.exchanging.exchange.as_ref();
        let given = exchange.and_then(|exchange| exchange.oldest_given());
        filling.into_iter().chain(given).min()
    }

    /// Who leads what with whom, and what is declared of conflicts.
    fn follow_leaders(&mut self) {
        let topology = self.shared.following.topology();
        let multi_leader = topology.and_then(|topology| topology.mode.multi_leader());
        let (GroupId::Shard(shard), Some(topology), Some(multi_leader)) =
            (self.group.id, topology, multi_leader)
        else {
            return;
        };
        let Some(here) = topology.datacenter_of(self.shared.node()) else { return };
        let others = topology.groups_beside(shard, here).into_keys();
        let places = others.chain([here.clone()]).collect();
        let (policy, here) = (&multi_leader.policy, here.clone());
        let leaders = &mut self.group.exchanging.leaders;
        *leaders = Some(match leaders.take() {
            Some(leaders) => leaders.declared(policy, here, places),
            None => Leaders::new(ActorId(0), policy, here, places),
        });
    }

    fn restart_exchange(&mut self) -> Result<(), StateError> {
        let number = u32::try_from(self.shared.nonce() >> 32).expect("32 bits");
        let prefix = self.group.prefix();
        let view = View::applied(&self.shared.state, prefix.as_slice(), self.group.standing.keys);
        let known = Known::of(&view)?;
        let Some(topology) = self.shared.following.topology() else { return Ok(()) };
        let Some(here) = topology.datacenter_of(self.shared.node()) else { return Ok(()) };
        let exchanging = &mut self.group.exchanging;
        let running = exchanging.exchange.is_some();
        let Some(leaders) = &mut exchanging.leaders else { return Ok(()) };
        if !running {
            // Where nobody else remembers, more may have been written than these volumes say: they may be older.
            let goes_on = known.own.last().filter(|own| exchanging.alive == Some(**own));
            leaders.origin = goes_on.copied().unwrap_or_else(|| Leaders::origin(here, number));
            exchanging.alive = Some(leaders.origin);
        }
        let start = multi_leader::Start {
            origin: leaders.origin,
            own: known.own.iter().copied().chain([leaders.origin]).collect(),
            known: known.vector.clone(),
            seed: self.shared.nonce(),
            now: self.shared.now,
        };
        let settings = self.shared.settings.multi_leader.clone();
        exchanging.exchange = Some(Box::new(Exchange::new(start, settings)));
        (exchanging.known, exchanging.told) = (known, true);
        exchanging.recent = Recent::new(self.group.standing.applied.index);
        exchanging.floor = (LogIndex(u64::MAX), VersionVector::default());
        Ok(())
    }

    /// Gives the exchange one input and carries out all that it says.
    fn exchange(&mut self, input: Input) {
        self.find_floor();
        let Some(mut exchange) = self.group.exchanging.exchange.take() else { return };
        let exchanging = &self.group.exchanging;
        let log = Kept {
            persisting: &self.shared.persisting,
            group: self.group.id,
            applied: self.group.standing.applied.index,
            floor: &exchanging.floor,
            recent: &exchanging.recent,
            failure: std::cell::RefCell::default(),
        };
        exchange.step(self.shared.now, self.shared.wall, input, &log);
        if let Some(why) = log.failure.into_inner() {
            return self.shared.fatal(why);
        }
        let mut outputs = Vec::new();
        while let Some(output) = exchange.pop_output() {
            outputs.push(output);
        }
        let deadline = exchange.deadline();
        self.group.exchanging.exchange = Some(exchange);
        if !self.group.exchanging.again {
            self.timer(Timer::Exchange(self.group.id), deadline);
        }
        for output in outputs {
            match output {
                Output::Send { to, message } => {
                    let message = PeerMessage::Exchange(Box::new(message));
                    self.shared.send(to, self.group.id, message);
                }
                Output::Apply { changes } => self.take_changes(changes),
                Output::Lacks { from, .. } => self.fill_from(from),
            }
        }
    }

    /// What others wrote goes to the log, as many as fit into an entry.
    fn take_changes(&mut self, changes: Vec<Change>) {
        // What it fills itself with has some of them.
        if self.group.filling.is_taking() {
            return;
        }
        let mut changes = changes.into_iter().peekable();
        while changes.peek().is_some() && !self.group.exchanging.again && !self.shared.stopped {
            let (mut chunk, mut bytes) = (Vec::new(), 0);
            while let Some(change) = changes.next_if(|change| {
                let fits = bytes + change.bytes() <= ENTRY_BYTES_MAX;
                chunk.is_empty() || (fits && chunk.len() < ENTRY_CHANGES_MAX)
            }) {
                bytes += change.bytes();
                chunk.push(change);
            }
            self.take_chunk(chunk);
        }
    }

    fn take_chunk(&mut self, changes: Vec<Change>) {
        let context = Context { now: self.group_time(), seed: self.shared.nonce() };
        let prefix = self.group.prefix();
        let Some(leaders) = self.group.exchanging.leaders() else { return };
        let (keys, overlay) = (self.group.standing.keys, &self.group.writes.overlay);
        let view = View::proposed(&self.shared.state, prefix.as_slice(), keys, overlay);
        let view = view.among(Some(leaders));
        let Taken { effects, changes, conflicts } =
            match keyspace::take(changes, context, leaders, &view) {
                Ok(taken) => taken,
                Err(error) => return self.refuse_state(error.into()),
            };
        if changes.is_empty() {
            return;
        }
        let homes = leaders.has_homes() && changes.iter().any(keyspace::hands_over);
        let counts = &mut self.group.exchanging.counts;
        counts.taken += changes.len() as u64;
        counts.conflicts += conflicts.len() as u64;
        counts.discarded += conflicts.iter().map(|one| one.discarded() as u64).sum::<u64>();
        counts.failed += conflicts.iter().filter(|one| one.failed.is_some()).count() as u64;
        let command = Changes::encoded(&Told { own: false, changes, filled: None }, &effects);
        // INV-107: it was acknowledged elsewhere, so there must be room: see `own_bytes_max`.
        if command.len() > TAKEN_BYTES_MAX {
            return self.shared.fatal("another datacenter's change fits into no entry".to_owned());
        }
        self.propose(command, Proposal { request: None, effects: Some(effects), taken: true });
        if homes {
            self.look_at_homes();
        }
    }

    /// What was applied through where the log begins.
    fn find_floor(&mut self) {
        let base = self.group.replica.base().index;
        let exchanging = &self.group.exchanging;
        if exchanging.exchange.is_none() || exchanging.floor.0 == base {
            return;
        }
        let (group, applied) = (self.group.id, self.group.standing.applied.index);
        match known_at(&self.shared.persisting, group, base, applied, &exchanging.known.vector) {
            Ok(known) => self.group.exchanging.floor = (base, known),
            Err(why) => self.shared.fatal(why),
        }
    }
}
