//! Of several leaders: taking over all that another datacenter has applied, where its log no longer goes back as far as is needed.
//!
//! The one that lacks something asks for part after part and writes each to its group's log; the other one keeps nothing for it
//! but its log from the first part on. Changes of others wait meanwhile, local writes do not: see `keyspace::causal::filling`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use quorate_model::planted::{self, Bug};
use quorate_model::{Datacenter, LogIndex, NodeId, Time, VersionVector};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;
use serde::{Deserialize, Serialize};

use super::group::Proposal;
use super::timers::Timer;
use super::{PeerMessage, Turn};
use crate::entry::{Changes, Told};
use crate::keyspace::{self, Context, Portion, View};

/// How long an answer is waited for before it is asked for again.
const PATIENCE: Duration = Duration::from_secs(2);
/// So often it is asked in vain.
const UNANSWERED_MAX: u32 = 6;
/// How long the log is held for one that asks no more.
const HELD: Duration = Duration::from_secs(30);
/// Parts that are on their way through the log, and how long after one the next goes there: a little at a time, so that whoever writes
/// waits behind that.
const UNDER_WAY: usize = 8;
const WRITE_ON: Duration = Duration::from_millis(4);
/// So many bytes come for one question, in parts, and so many wait here when the next is asked.
const RUN_BYTES: usize = 512 << 10;
/// How long after one part the next is read: what else a leader has to do comes in between.
const GIVE_ON: Duration = Duration::from_millis(1);

/// Between the leaders of a shard in two datacenters.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum FillMessage {
    /// The cells from this key on; from the first on, it begins.
    Ask { number: u64, from: Bytes },
    /// The cells from this key on, and whether others follow unasked.
    Portion { number: u64, from: Bytes, part: Portion, more: bool },
}

/// What a leader takes over, and who takes over from it.
#[derive(Debug, Default)]
pub(super) struct Filling {
    taking: Option<Taking>,
    giving: BTreeMap<NodeId, Giving>,
}

#[derive(Debug)]
struct Giving {
    /// It needs the log from behind this entry on,
    behind: LogIndex,
    /// and asked last at this time.
    asked: Time,
    run: Option<Run>,
}

/// What is still to be given of what was asked for.
#[derive(Debug)]
struct Run {
    number: u64,
    from: Bytes,
    bytes: usize,
    at: Time,
}

#[derive(Debug)]
struct Taking {
    place: Datacenter,
    /// Which of its nodes is asked.
    to: usize,
    unanswered: u32,
    number: u64,
    /// What comes next from there, unless all has come,
    from: Option<Bytes>,
    /// and when that is asked for, for the first time or again; not while enough is waiting.
    ask_at: Option<Time>,
    /// What was applied there at the beginning.
    first: Option<VersionVector>,
    /// What has come and is to go to the log, from which key on each.
    waiting: VecDeque<(Bytes, Portion)>,
    bytes: usize,
    /// Where those are in the log that are not applied.
    under_way: VecDeque<LogIndex>,
    /// When the next one goes.
    write_at: Time,
}

impl FillMessage {
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Ask { from, .. } => 16 + from.len(),
            Self::Portion { from, part, .. } => 16 + from.len() + part.bytes(),
        }
    }
}

impl Filling {
    pub(super) const fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    pub(super) fn oldest_given(&self, now: Time) -> Option<LogIndex> {
        let given = self.giving.values().filter(|given| now < given.asked.after(HELD));
        given.map(|given| given.behind).min()
    }

    fn deadline(&self) -> Option<Time> {
        let runs = self.giving.values().filter_map(|given| given.run.as_ref());
        let taking = self.taking.iter().flat_map(|taking| [taking.ask_at, taking.writes_at()]);
        runs.map(|run| run.at).chain(taking.flatten()).min()
    }
}

impl Taking {
    fn writes_at(&self) -> Option<Time> {
        let room = self.under_way.len() < UNDER_WAY;
        (room && !self.waiting.is_empty()).then_some(self.write_at)
    }

    fn asks_on(&mut self, now: Time) {
        if self.ask_at.is_none() && self.from.is_some() && self.bytes < RUN_BYTES {
            self.ask_at = Some(now);
        }
    }
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// Some of what that datacenter has is lacking here, and in no log any more.
    pub(super) fn fill_from(&mut self, place: Datacenter) {
        if self.group.filling.taking.is_none() {
            let now = self.shared.now;
            let taking = Taking {
                place,
                to: 0,
                unanswered: 0,
                number: 0,
                from: Some(Bytes::new()),
                ask_at: Some(now),
                first: None,
                waiting: VecDeque::new(),
                bytes: 0,
                under_way: VecDeque::new(),
                write_at: now,
            };
            self.group.filling.taking = Some(taking);
            self.fill_due();
        }
    }

    pub(super) fn end_filling(&mut self) {
        self.group.filling = Filling::default();
        self.set_fill_timer();
    }

    /// It is complete, or something of it is lost.
    pub(super) fn stop_filling(&mut self) {
        self.group.filling.taking = None;
        self.set_fill_timer();
    }

    /// Gives, asks and writes what is due.
    pub(super) fn fill_due(&mut self) {
        self.fill_given();
        self.fill_asks();
        self.fill_writes();
        self.set_fill_timer();
    }

    fn set_fill_timer(&mut self) {
        let deadline = self.group.filling.deadline();
        self.shared.timers.set(Timer::Fill(self.group.id), deadline);
    }

    pub(super) fn fill_message(&mut self, from: NodeId, message: FillMessage) {
        match message {
            FillMessage::Ask { number, from: key } => self.fill_asked(from, number, key),
            FillMessage::Portion { number, from: key, part, more } => {
                self.fill_told(number, key, part, more);
            }
        }
        self.fill_due();
    }

    // Giving.

    fn fill_asked(&mut self, from: NodeId, number: u64, key: Bytes) {
        if !self.exchanges() {
            return;
        }
        let (applied, now) = (self.group.standing.applied.index, self.shared.now);
        let giving = &mut self.group.filling.giving;
        giving.retain(|_, given| now < given.asked.after(HELD));
        let before = giving.get(&from).filter(|_| !key.is_empty());
        let behind = before.map_or(applied, |given| given.behind);
        let run = Run { number, from: key, bytes: RUN_BYTES, at: now };
        giving.insert(from, Giving { behind, asked: now, run: Some(run) });
    }

    /// To each who asked the next part.
    fn fill_given(&mut self) {
        let now = self.shared.now;
        let due = |given: &mut Giving| given.run.take_if(|run| run.at <= now);
        let giving = self.group.filling.giving.iter_mut();
        let due: Vec<_> = giving.filter_map(|(to, given)| Some((*to, due(given)?))).collect();
        due.into_iter().for_each(|(to, run)| self.fill_gives(to, run));
    }

    fn fill_gives(&mut self, to: NodeId, Run { number, from, bytes, .. }: Run) {
        if self.group.is_quarantined() {
            return;
        }
        let prefix = self.group.prefix();
        let view = View::applied(&self.shared.state, prefix.as_slice(), self.group.standing.keys);
        let part = match Portion::read(&view, &from, self.shared.settings.fill_cells_max) {
            Ok(part) => part,
            Err(error) => return self.refuse_state(error.into()),
        };
        let next = part.next.clone().zip(bytes.checked_sub(part.bytes().max(1)));
        let more = next.is_some();
        let at = self.shared.now.after(GIVE_ON);
        let next = next.map(|(from, bytes)| Run { number, from, bytes, at });
        if let Some(given) = self.group.filling.giving.get_mut(&to) {
            given.run = next;
        }
        let message = FillMessage::Portion { number, from, part, more };
        self.shared.send(to, self.group.id, PeerMessage::Fill(Box::new(message)));
    }

    // Taking.

    /// Asks for what comes next, or again for what did not come.
    fn fill_asks(&mut self) {
        let now = self.shared.now;
        let due = |taking: &&Taking| taking.ask_at.is_some_and(|at| at <= now);
        let nodes = self.group.filling.taking.as_ref().filter(due);
        let Some(nodes) = nodes.map(|taking| self.nodes_at(&taking.place)) else { return };
        let number = self.shared.nonce();
        let Some(taking) = &mut self.group.filling.taking else { return };
        let Some(from) = taking.from.clone() else { return };
        if taking.unanswered >= UNANSWERED_MAX || nodes.is_empty() {
            return self.give_up_filling();
        }
        // Whoever answers is asked next.
        taking.to = taking.to.wrapping_add(usize::from(taking.unanswered > 0));
        taking.unanswered += 1;
        (taking.number, taking.ask_at) = (number, Some(now.after(PATIENCE)));
        let to = nodes[taking.to % nodes.len()];
        let message = FillMessage::Ask { number, from };
        self.shared.send(to, self.group.id, PeerMessage::Fill(Box::new(message)));
    }

    fn fill_told(&mut self, number: u64, from: Bytes, part: Portion, more: bool) {
        let (wall, now) = (self.shared.wall, self.shared.now);
        let drift_max = self.shared.settings.multi_leader.drift_max;
        let awaited = self.group.filling.taking.as_mut().filter(|one| one.number == number);
        let Some(taking) = awaited.filter(|_| part.is_well_formed()) else { return };
        // INV-109
        if taking.from.as_ref() != Some(&from) && !planted::is(Bug::FillBehindLost) {
            return;
        }
        // INV-111
        if part.newest.is_ahead(wall, drift_max) {
            return;
        }
        // A leader who knows less than the one before him.
        if taking.first.as_ref().is_some_and(|first| !part.known.covers_all(first)) {
            return self.give_up_filling();
        }
        taking.first.get_or_insert_with(|| part.known.clone());
        taking.unanswered = 0;
        taking.from.clone_from(&part.next);
        taking.ask_at = (more && taking.from.is_some()).then(|| now.after(PATIENCE));
        taking.bytes += part.bytes();
        taking.waiting.push_back((from, part));
        taking.asks_on(now);
    }

    /// The next part goes to the log.
    fn fill_writes(&mut self) {
        let now = self.shared.now;
        let due = |taking: &&mut Taking| taking.writes_at().is_some_and(|at| at <= now);
        let Some(taking) = self.group.filling.taking.as_mut().filter(due) else { return };
        let (Some(first), Some((key, part))) = (taking.first.clone(), taking.waiting.pop_front())
        else {
            return;
        };
        taking.bytes -= part.bytes();
        let context = Context { now: self.group_time(), seed: self.shared.nonce() };
        let prefix = self.group.prefix();
        let Some(leaders) = self.group.exchanging.leaders() else { return };
        let (keys, overlay) = (self.group.standing.keys, &self.group.writes.overlay);
        let view = View::proposed(&self.shared.state, prefix.as_slice(), keys, overlay);
        let view = view.among(Some(leaders));
        let upto = (&first, self.shared.settings.fill_cells_max);
        let (effects, rest) = match part.fill(&key, upto, context, leaders, &view) {
            Ok(filled) => filled,
            Err(error) => return self.refuse_state(error.into()),
        };
        let told = Told { own: false, changes: Vec::new(), filled: None };
        let command = Changes::encoded(&told, &effects);
        self.propose(command, Proposal { request: None, effects: Some(effects), taken: true });
        let newest = self.group.writes.newest.index;
        let Some(taking) = &mut self.group.filling.taking else { return };
        taking.under_way.push_back(newest);
        taking.write_at = now.after(WRITE_ON);
        if let Some((key, rest)) = rest {
            taking.bytes += rest.bytes();
            taking.waiting.push_front((key, rest));
        }
        taking.asks_on(now);
        if taking.waiting.is_empty() && taking.from.is_none() {
            self.filled(&first);
        }
    }

    /// Entries were applied.
    pub(super) fn fill_applied(&mut self) {
        let applied = self.group.standing.applied.index;
        let Some(taking) = &mut self.group.filling.taking else { return };
        let was_full = taking.writes_at().is_none();
        while taking.under_way.pop_front_if(|index| *index <= applied).is_some() {}
        if was_full && taking.writes_at().is_some() {
            self.set_fill_timer();
        }
    }

    /// Others may have what is lacking, or the same one later.
    fn give_up_filling(&mut self) {
        self.stop_filling();
        self.exchange_again();
    }

    /// All parts are in the log: what is known with them.
    fn filled(&mut self, first: &VersionVector) {
        let context = Context { now: self.group_time(), seed: self.shared.nonce() };
        let prefix = self.group.prefix();
        let (keys, overlay) = (self.group.standing.keys, &self.group.writes.overlay);
        let view = View::proposed(&self.shared.state, prefix.as_slice(), keys, overlay);
        let (before, known, effects) = match keyspace::filled(first, context, &view) {
            Ok(filled) => filled,
            Err(error) => return self.refuse_state(error.into()),
        };
        let told = Told { own: false, changes: Vec::new(), filled: Some((before, known)) };
        let command = Changes::encoded(&told, &effects);
        self.propose(command, Proposal { request: None, effects: Some(effects), taken: true });
    }
}
