//! Coordinating a write: this replica's cells change, and all others that its level is about take them over; answered when as
//! many as asked for hold it durably. What another datacenter relays is told within this one in the same way.
//!
//! Keeps INV-95 (whom an acknowledgement counts) and INV-103 (when those that stand in for replicas do).

use std::borrow::Cow;
use std::collections::BTreeSet;

use quorate_model::planted::{self, Bug};
use quorate_model::{Hlc, Level, Need, NodeId, Time};

use super::kernel::Kernel;
use super::replica::Progress;
use super::stand_ins::StandingIn;
use super::{CellKey, Cells, Message, PersistId, Refused, RequestId};
use crate::causal::{Cell, Change};

/// A write that is to be.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) request: RequestId,
    pub(super) changes: Vec<(CellKey, Change)>,
    pub(super) level: Level,
}

impl Planned {
    /// Roughly what it takes where it is held.
    pub(super) fn bytes(&self) -> u64 {
        let of = |(key, change): &(CellKey, Change)| key.bytes().len() + change.bytes();
        self.changes.iter().map(of).sum::<usize>() as u64
    }
}

#[derive(Clone, Debug)]
pub(super) struct Writing {
    /// `None` once it is answered.
    request: Option<Requester>,
    keys: Vec<CellKey>,
    /// What stood here right after the write, for each change.
    stands: Vec<(CellKey, Cell)>,
    level: Level,
    need: Need,
    own: PersistId,
    stored: BTreeSet<NodeId>,
    others: BTreeSet<NodeId>,
    standing_in: Option<StandingIn>,
    /// The shard came to another step.
    again: bool,
    resend_at: Time,
    deadline: Time,
}

/// Who waits for the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Requester {
    Client(RequestId),
    /// A replica of another datacenter, and its number.
    Replica(NodeId, u64),
}

impl Writing {
    pub(super) fn begin(
        kernel: &mut Kernel,
        cells: &dyn Cells,
        number: u64,
        Planned { request, changes, level }: Planned,
        deadline: Time,
    ) -> Result<Self, Refused> {
        let need = kernel.write_need(level)?;
        if level.is_sloppy() && !kernel.policy.stands_in() {
            return Err(Refused::NoHints);
        }
        if kernel.is_full() {
            return Err(Refused::Overloaded);
        }
        let read = changes.iter().filter_map(|(_, change)| change.context());
        if let Some(newest) = read.map(|context| context.newest).max() {
            // INV-94
            if newest.is_ahead(kernel.wall, kernel.settings.drift_max) {
                return Err(Refused::UnknownContext);
            }
            kernel.pass_time(newest);
        }
        let keys: Vec<CellKey> = changes.iter().map(|(key, _)| key.clone()).collect();
        let at = kernel.time_after(cells, &keys);
        let stands = change(kernel, cells, changes, at)?;
        let own = kernel.durable_through(&keys);
        let standing_in = StandingIn::new(kernel, level);
        let request = Requester::Client(request);
        let writing = Self::new(kernel, request, keys, level, need, own);
        let mut writing = Self { stands, standing_in, deadline, ..writing };
        writing.send(kernel, cells, number);
        writing.have_stood_in(kernel, cells, number);
        Ok(writing)
    }

    /// What a replica of another datacenter coordinated. `None` when it is not taken, or this replica's word does not count: it
    /// comes again, here or elsewhere.
    pub(super) fn relayed(
        kernel: &mut Kernel,
        cells: &dyn Cells,
        number: u64,
        (from, theirs): (NodeId, u64),
        told: &[(CellKey, Cell)],
    ) -> Option<Self> {
        let own = kernel.merge(cells, told)?;
        let need = relayed_need(kernel)?;
        let keys = told.iter().map(|(key, _)| key.clone()).collect();
        let request = Requester::Replica(from, theirs);
        let writing = Self::new(kernel, request, keys, Level::LocalQuorum, need, own);
        writing.send(kernel, cells, number);
        Some(writing)
    }

    fn new(
        kernel: &Kernel,
        request: Requester,
        keys: Vec<CellKey>,
        level: Level,
        need: Need,
        own: PersistId,
    ) -> Self {
        let (now, settings) = (kernel.now, &kernel.settings);
        Self {
            request: Some(request),
            keys,
            stands: Vec::new(),
            level,
            need,
            own,
            stored: BTreeSet::new(),
            others: kernel.peers(level).clone(),
            standing_in: None,
            again: false,
            resend_at: now.after(settings.resend),
            deadline: now.after(settings.request_timeout),
        }
    }

    pub(super) fn keys(&self) -> &[CellKey] {
        &self.keys
    }

    pub(super) const fn own(&self) -> PersistId {
        self.own
    }

    pub(super) fn stored(&mut self, from: NodeId) {
        self.stored.insert(from);
    }

    pub(super) fn hinted(&mut self, from: NodeId, target: NodeId) {
        if let Some(standing_in) = &mut self.standing_in {
            standing_in.hinted(from, target);
        }
    }

    /// The shard came to another step: whom it takes is another question now, and whoever held it may have left since and joined
    /// again, empty. All that still hold it say so again (INV-95).
    pub(super) fn moved(&mut self, kernel: &mut Kernel) {
        let need = match self.request {
            Some(Requester::Replica(..)) => relayed_need(kernel),
            Some(Requester::Client(_)) | None => kernel.write_need(self.level).ok(),
        };
        match need {
            Some(need) => {
                self.need = need;
                self.others.clone_from(kernel.peers(self.level));
                self.again = true;
            }
            None => self.give_up(kernel),
        }
    }

    /// Under a number of its own: what acknowledges the one before does not acknowledge this.
    pub(super) fn begin_again(&mut self, kernel: &mut Kernel, cells: &dyn Cells, number: u64) {
        self.stored.clear();
        if self.standing_in.is_some() {
            self.standing_in = StandingIn::new(kernel, self.level);
        }
        self.send(kernel, cells, number);
        self.have_stood_in(kernel, cells, number);
    }

    pub(super) fn due(&mut self, kernel: &mut Kernel, cells: &dyn Cells, number: u64) {
        if self.request.is_some() && self.deadline <= kernel.now {
            self.give_up(kernel);
        } else if self.request.is_some() && self.resend_at <= kernel.now {
            self.resend_at = kernel.now.after(kernel.settings.resend);
            self.send(kernel, cells, number);
        }
        if self.request.is_some() {
            self.have_stood_in(kernel, cells, number);
        }
    }

    pub(super) fn go_on(&mut self, kernel: &mut Kernel) -> Progress {
        if std::mem::take(&mut self.again) && self.request.is_some() {
            return Progress::Again;
        }
        if self.own <= kernel.persisted || planted::is(Bug::CountOwnCellEarly) {
            self.stored.insert(kernel.id);
        }
        // INV-91
        let tells = match self.request {
            Some(Requester::Replica(..)) => self.stored.contains(&kernel.id),
            Some(Requester::Client(_)) | None => true,
        };
        // INV-95
        if self.need.is_met(&self.counted()) && tells && self.request.is_some() {
            let stands = std::mem::take(&mut self.stands);
            self.answer(kernel, Ok(stands));
        }
        match self.request {
            Some(_) => {
                let next = self.standing_in.as_ref().map(StandingIn::next_at);
                let until = self.resend_at.min(self.deadline);
                Progress::Until(next.map_or(until, |next| until.min(next)))
            }
            None => Progress::Done,
        }
    }

    fn give_up(&mut self, kernel: &mut Kernel) {
        let (answered, needed) = (self.counted().len(), self.need.count());
        self.answer(kernel, Err(Refused::NoQuorum { answered, needed }));
    }

    fn answer(&mut self, kernel: &mut Kernel, result: Result<Vec<(CellKey, Cell)>, Refused>) {
        match self.request.take() {
            Some(Requester::Client(request)) => kernel.answer(request, result),
            // INV-101
            Some(Requester::Replica(from, number)) if result.is_ok() => {
                kernel.send(from, Message::Stored { number });
            }
            Some(Requester::Replica(..)) | None => {}
        }
    }

    /// The replicas that hold it durably, and at levels that say so those for which somebody else does. INV-103
    fn counted(&self) -> Cow<'_, BTreeSet<NodeId>> {
        match &self.standing_in {
            Some(standing_in) => Cow::Owned(&self.stored | standing_in.stood_in()),
            None => Cow::Borrowed(&self.stored),
        }
    }

    fn have_stood_in(&mut self, kernel: &mut Kernel, cells: &dyn Cells, number: u64) {
        let Some(standing_in) = &mut self.standing_in else { return };
        let missing: Vec<NodeId> = self.others.difference(&self.stored).copied().collect();
        standing_in.due(kernel, &missing);
        if missing.iter().any(|node| kernel.is_silent(*node)) {
            standing_in.ask(kernel, number, &missing, &known(kernel, cells, &self.keys));
        }
    }

    /// Tells whoever has not got it what this replica knows: the write, and what came since.
    fn send(&self, kernel: &mut Kernel, cells: &dyn Cells, number: u64) {
        let told = known(kernel, cells, &self.keys);
        // Before this replica's own disk holds it: a write of a process that dies is not its next one's, which is another actor.
        for to in self.others.difference(&self.stored) {
            kernel.send(*to, Message::Store { number, cells: told.clone() });
        }
    }
}

/// Of replicas of this datacenter, for what another one's coordinated; `None` when this replica's word does not count.
fn relayed_need(kernel: &Kernel) -> Option<Need> {
    let place = kernel.owners.place(kernel.id)?;
    kernel.relay_need(place).ok().filter(|_| kernel.counts_for_writes())
}

fn known(kernel: &Kernel, cells: &dyn Cells, keys: &[CellKey]) -> Vec<(CellKey, Cell)> {
    keys.iter().map(|key| (key.clone(), kernel.cell(cells, key).unwrap_or_default())).collect()
}

/// Changes this replica's cells, all or none.
fn change(
    kernel: &mut Kernel,
    cells: &dyn Cells,
    changes: Vec<(CellKey, Change)>,
    at: Hlc,
) -> Result<Vec<(CellKey, Cell)>, Refused> {
    let siblings_max = kernel.settings.siblings_max;
    let mut refused = None;
    let mut stands = Vec::with_capacity(changes.len());
    let mut used = 0;
    let mut draft = kernel.draft(cells);
    for (key, change) in changes {
        // One after the other, also where they are of one cell.
        let at = Hlc(at.0 + used);
        used += 1;
        let dot = kernel.dot_after(used);
        draft.change(&key, |cell| {
            if !cell.takes(dot, change.context()) {
                refused = Some(Refused::UnknownContext);
                return false;
            }
            let before = cell.values();
            cell.change(dot, at, change);
            let siblings = cell.values();
            if siblings > before && siblings > siblings_max {
                refused = Some(Refused::TooManySiblings { max: siblings_max });
            }
            stands.push((key.clone(), cell.clone()));
            true
        });
    }
    if let Some(refused) = refused {
        return Err(refused);
    }
    let changed = draft.changes();
    kernel.use_dots(used);
    kernel.pass_time(Hlc(at.0 + used));
    kernel.put(changed);
    Ok(stands)
}
