//! Of several leaders: taking over all that another datacenter has applied, where its log no longer goes back as far as is needed.
//!
//! The one that lacks something asks for part after part and writes each to its group's log; the other one keeps nothing for it
//! but its log from the first part on. Changes of others wait meanwhile, local writes do not: see `keyspace::causal::filling`.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
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
const HELD: Duration = Duration::from_secs(10);

/// Between the leaders of a shard in two datacenters.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum FillMessage {
    /// The cells from this key on; from the first on, it begins.
    Ask {
        number: u64,
        from: Bytes,
    },
    Portion {
        number: u64,
        part: Portion,
    },
}

/// What a leader takes over, and who takes over from it.
#[derive(Debug, Default)]
pub(super) struct Filling {
    taking: Option<Taking>,
    /// From behind which entry on each needs the log, and when it asked last.
    giving: BTreeMap<NodeId, (LogIndex, Time)>,
}

#[derive(Debug)]
struct Taking {
    place: Datacenter,
    /// Which of its nodes is asked next.
    to: usize,
    unanswered: u32,
    number: u64,
    from: Bytes,
    /// What was applied there at the beginning.
    first: Option<VersionVector>,
    /// Where the last part is in the log, until it is applied.
    applied_at: LogIndex,
    ask_at: Time,
}

impl FillMessage {
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Ask { from, .. } => 16 + from.len(),
            Self::Portion { part, .. } => 16 + part.bytes(),
        }
    }
}

impl Filling {
    pub(super) const fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    pub(super) fn oldest_given(&self, now: Time) -> Option<LogIndex> {
        let given = self.giving.values().filter(|(_, at)| now < at.after(HELD));
        given.map(|(index, _)| *index).min()
    }
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// Some of what that datacenter has is lacking here, and in no log any more.
    pub(super) fn fill_from(&mut self, place: Datacenter) {
        if self.group.filling.taking.is_none() {
            let number = self.shared.nonce();
            let (from, ask_at) = (Bytes::new(), self.shared.now);
            let taking = Taking {
                place,
                to: 0,
                unanswered: 0,
                number,
                from,
                first: None,
                applied_at: LogIndex::ZERO,
                ask_at,
            };
            self.group.filling.taking = Some(taking);
            self.fill_due();
        }
    }

    pub(super) fn end_filling(&mut self) {
        self.group.filling = Filling::default();
        self.shared.timers.set(Timer::Fill(self.group.id), None);
    }

    /// It is complete, or something of it is lost.
    pub(super) fn stop_filling(&mut self) {
        self.group.filling.taking = None;
        self.shared.timers.set(Timer::Fill(self.group.id), None);
    }

    /// Asks for the next part, or again for the one that did not come.
    pub(super) fn fill_due(&mut self) {
        let now = self.shared.now;
        let nodes = self.group.filling.taking.as_ref().filter(|taking| taking.ask_at <= now);
        let Some(nodes) = nodes.map(|taking| self.nodes_at(&taking.place)) else { return };
        let Some(taking) = &mut self.group.filling.taking else { return };
        if taking.unanswered >= UNANSWERED_MAX || nodes.is_empty() {
            return self.give_up_filling();
        }
        taking.ask_at = now.after(PATIENCE);
        let to = nodes.get(taking.to % nodes.len()).copied();
        (taking.to, taking.unanswered) = (taking.to.wrapping_add(1), taking.unanswered + 1);
        let message = FillMessage::Ask { number: taking.number, from: taking.from.clone() };
        let ask_at = taking.ask_at;
        if let Some(to) = to {
            self.shared.send(to, self.group.id, PeerMessage::Fill(Box::new(message)));
        }
        self.timer(Timer::Fill(self.group.id), ask_at);
    }

    pub(super) fn fill_message(&mut self, from: NodeId, message: FillMessage) {
        match message {
            FillMessage::Ask { number, from: key } => self.fill_asked(from, number, &key),
            FillMessage::Portion { number, part } => self.fill_told(number, part),
        }
    }

    fn fill_asked(&mut self, from: NodeId, number: u64, key: &[u8]) {
        if !self.exchanges() || self.group.is_quarantined() {
            return;
        }
        let prefix = self.group.prefix();
        let view = View::applied(&self.shared.state, prefix.as_slice(), self.group.standing.keys);
        let cells_max = self.shared.settings.fill_cells_max;
        let part = match Portion::read(&view, key, cells_max) {
            Ok(part) => part,
            Err(error) => return self.refuse_state(error.into()),
        };
        let (applied, now) = (self.group.standing.applied.index, self.shared.now);
        let giving = &mut self.group.filling.giving;
        giving.retain(|_, (_, at)| now < at.after(HELD));
        match giving.get_mut(&from).filter(|_| !key.is_empty()) {
            Some((_, at)) => *at = now,
            None => drop(giving.insert(from, (applied, now))),
        }
        let message = FillMessage::Portion { number, part };
        self.shared.send(from, self.group.id, PeerMessage::Fill(Box::new(message)));
    }

    fn fill_told(&mut self, number: u64, part: Portion) {
        let (wall, now) = (self.shared.wall, self.shared.now);
        let drift_max = self.shared.settings.multi_leader.drift_max;
        let awaited = self.group.filling.taking.as_mut().filter(|taking| taking.number == number);
        let Some(taking) = awaited.filter(|_| part.is_well_formed()) else { return };
        // INV-111
        if part.newest.is_ahead(wall, drift_max) {
            return;
        }
        // A leader who knows less than the one before him.
        if taking.first.as_ref().is_some_and(|first| !part.known.covers_all(first)) {
            return self.give_up_filling();
        }
        let first = taking.first.get_or_insert_with(|| part.known.clone()).clone();
        let key = taking.from.clone();
        // Whoever answers is asked next.
        (taking.to, taking.unanswered) = (taking.to.wrapping_sub(1), 0);
        let context = Context { now: self.group_time(), seed: self.shared.nonce() };
        let prefix = self.group.prefix();
        let Some(leaders) = self.group.exchanging.leaders() else { return };
        let (keys, overlay) = (self.group.standing.keys, &self.group.writes.overlay);
        let view = View::proposed(&self.shared.state, prefix.as_slice(), keys, overlay);
        let view = view.among(Some(leaders));
        let upto = (&first, self.shared.settings.fill_cells_max);
        let (effects, next) = match part.fill(&key, upto, context, leaders, &view) {
            Ok(filled) => filled,
            Err(error) => return self.refuse_state(error.into()),
        };
        let told = Told { own: false, changes: Vec::new(), filled: None };
        let command = Changes::encoded(&told, &effects);
        self.propose(command, Proposal { request: None, effects: Some(effects), taken: true });
        let (number, newest) = (self.shared.nonce(), self.group.writes.newest.index);
        let Some(taking) = &mut self.group.filling.taking else { return };
        match next {
            // When this part is applied.
            Some(next) => {
                (taking.from, taking.number, taking.applied_at) = (next, number, newest);
                taking.ask_at = now.after(PATIENCE);
            }
            None => self.filled(&first),
        }
    }

    /// Entries were applied: the next part may come.
    pub(super) fn fill_applied(&mut self) {
        let (now, applied) = (self.shared.now, self.group.standing.applied.index);
        let Some(taking) = &mut self.group.filling.taking else { return };
        if taking.applied_at > LogIndex::ZERO && taking.applied_at <= applied {
            (taking.applied_at, taking.ask_at) = (LogIndex::ZERO, now);
            self.timer(Timer::Fill(self.group.id), now);
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
