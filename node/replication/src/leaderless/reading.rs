//! Coordinating a read: all replicas that its level is about are asked, and answered is what as many as asked for know together.
//!
//! Whoever is found to be behind is told. Where the read promises not to be gone back behind, its answer waits until as
//! many as it asked for know it (INV-96). A write may begin with a read: then what was read is what it comes after (INV-105).
//! What a session has seen is waited for, until nobody can know it (INV-106).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_model::planted::{self, Bug};
use quorate_model::{Level, Need, NodeId, Time, VersionVector};

use super::asked::{TooMuch, digest};
use super::kernel::Kernel;
use super::replica::Progress;
use super::writing::Planned;
use super::{
    Asked, CellKey, Cells, Found, Message, PersistId, ReadRepair, Refused, RequestId, Seen,
};
use crate::causal::{Cell, CellDigest};

/// What somebody knows, of cells that anything is known of.
type Digests = BTreeMap<CellKey, CellDigest>;

/// Whom a read takes.
#[derive(Clone, Debug)]
struct Needs {
    answers: Need,
    /// Until so many hold what it tells, it tells nothing.
    holding: Need,
}

/// What a client wants of a read.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) asked: Vec<Asked>,
    pub(super) level: Level,
    pub(super) repair: ReadRepair,
    pub(super) seen: Seen,
}

#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// `None` once it is answered.
    request: Option<RequestId>,
    /// What follows instead of an answer.
    write: Option<Planned>,
    /// Each part with the digest of what this replica knew of it when it asked.
    asked: Vec<(Asked, CellDigest)>,
    /// What that was: what those who answer `Same` know, too.
    here: BTreeMap<CellKey, Cell>,
    /// What those who answered know together.
    merged: BTreeMap<CellKey, Cell>,
    answers: BTreeMap<NodeId, Digests>,
    /// Enough have answered: what they know together is what this read tells, whatever others say later. Else the
    /// acknowledgement of a repair could be one of less.
    settled: Option<Digests>,
    /// Told what they lacked, and those of them who have it since.
    told: BTreeSet<NodeId>,
    repaired: BTreeSet<NodeId>,
    /// The earliest round that anything of it is of.
    round: u64,
    level: Level,
    needs: Needs,
    repair: ReadRepair,
    seen: Seen,
    /// What its session has seen may be where its level does not look.
    everywhere: bool,
    /// Those who answered are asked again: they may know more by now (then after growing pauses), or are others.
    again: bool,
    pause: Duration,
    /// Through which persist this replica knows its part durably.
    own: PersistId,
    resend_at: Time,
    deadline: Time,
}

impl Needs {
    fn of(kernel: &Kernel, level: Level) -> Result<Self, Refused> {
        let answers = kernel.read_need(level)?;
        Ok(Self { answers, holding: kernel.hold_need(level)? })
    }
}

impl Reading {
    pub(super) fn begin(
        kernel: &mut Kernel,
        cells: &dyn Cells,
        number: u64,
        request: RequestId,
        Wanted { asked, level, repair, mut seen }: Wanted,
    ) -> Result<Self, Refused> {
        if level.is_sloppy() {
            return Err(Refused::WritesOnly);
        }
        let needs = Needs::of(kernel, level)?;
        let known = kernel.known(cells, &asked).map_err(|TooMuch| too_much(kernel))?;
        seen.keep_within(&asked);
        let digests = known.iter().map(|part| digest(part.iter().map(|(key, cell)| (key, cell))));
        let asked = asked.into_iter().zip(digests).collect();
        let here: BTreeMap<CellKey, Cell> = known.into_iter().flatten().collect();
        let (now, settings) = (kernel.now, &kernel.settings);
        let reading = Self {
            request: Some(request),
            write: None,
            asked,
            merged: here.clone(),
            answers: BTreeMap::new(),
            settled: None,
            told: BTreeSet::new(),
            repaired: BTreeSet::new(),
            round: kernel.round(),
            level,
            needs,
            repair,
            everywhere: seen.more,
            seen,
            again: false,
            pause: settings.resend,
            own: kernel.durable_through(here.keys()),
            here,
            resend_at: now.after(settings.resend),
            deadline: now.after(settings.request_timeout),
        };
        reading.ask(kernel, number);
        Ok(reading)
    }

    /// A read of what `write` changes, which follows it.
    pub(super) fn begin_for(
        kernel: &mut Kernel,
        cells: &dyn Cells,
        number: u64,
        level: Level,
        write: Planned,
    ) -> Result<Self, Refused> {
        // Before anything is asked: a write that can never have its quorum is none.
        kernel.hold_need(write.level)?;
        let keys: BTreeSet<&CellKey> = write.changes.iter().map(|(key, _)| key).collect();
        let asked = keys.into_iter().cloned().map(Asked::Cell).collect();
        // Nobody is shown it: those behind need not hold it before the write goes on.
        let (id, repair) = (write.request, ReadRepair::Background);
        let wanted = Wanted { asked, level, repair, seen: Seen::default() };
        let reading = Self::begin(kernel, cells, number, id, wanted)?;
        Ok(Self { write: Some(write), ..reading })
    }

    pub(super) const fn own(&self) -> PersistId {
        self.own
    }

    /// The write that this read was for, once, with the time that it has.
    pub(super) fn follows(&mut self) -> Option<(Planned, Time)> {
        if self.request.is_some() {
            return None;
        }
        Some((self.write.take()?, self.deadline))
    }

    /// The shard came to another step: whom it takes is another question now, and whoever answered may have left since and joined again,
    /// empty.
    pub(super) fn moved(&mut self, kernel: &mut Kernel) {
        let Some(request) = self.request else { return };
        match Needs::of(kernel, self.level) {
            Ok(needs) => {
                self.needs = needs;
                self.again = true;
            }
            Err(_) => {
                self.request = None;
                self.give_up(kernel, request);
            }
        }
    }

    pub(super) fn due(&mut self, kernel: &mut Kernel, cells: &dyn Cells, number: u64) {
        let Some(request) = self.request else { return };
        if self.deadline <= kernel.now {
            self.request = None;
            self.give_up(kernel, request);
        } else if self.resend_at <= kernel.now {
            self.resend_at = kernel.now.after(kernel.settings.resend);
            if self.settled.is_none() && self.has_answers() {
                self.everywhere = true;
                self.again = true;
                self.pause *= 2;
                self.resend_at = kernel.now.after(self.pause);
                return;
            }
            self.ask(kernel, number);
            // A repair that was lost is told again; and this replica may take by now what it did not.
            self.told.clear();
            // INV-100: what is of a closed round is gathered anew.
            if self.own == PersistId::NEVER && self.round >= kernel.barrier() {
                self.take_over(kernel, cells);
            }
        }
    }

    fn give_up(&mut self, kernel: &mut Kernel, request: RequestId) {
        let (answered, needed) = (self.answers.len(), self.needs.answers.count());
        let behind = self.settled.is_none() && self.has_answers();
        let refused = match self.write.take() {
            _ if behind => Refused::Behind,
            None => Refused::NoQuorum { answered, needed },
            Some(_) => {
                // It answered, and then did not take what it was to write after.
                let answered = answered.saturating_sub(usize::from(self.own == PersistId::NEVER));
                Refused::NotBegun { answered, needed }
            }
        };
        kernel.answer(request, Err(refused));
    }

    pub(super) fn stored(&mut self, from: NodeId) {
        self.repaired.insert(from);
    }

    pub(super) fn fetched(&mut self, from: NodeId, round: u64, found: &[Found]) {
        if found.len() != self.asked.len() || self.answers.contains_key(&from) {
            return;
        }
        let mut told: BTreeMap<&CellKey, &Cell> = BTreeMap::new();
        for (found, (asked, _)) in found.iter().zip(&self.asked) {
            match found {
                Found::Same => told.extend(asked.of(&self.here)),
                Found::Other(cells) => {
                    let right =
                        |(key, cell): &(CellKey, Cell)| asked.covers(key) && cell.is_well_formed();
                    if !cells.iter().all(right) {
                        return;
                    }
                    told.extend(cells.iter().map(|(key, cell)| (key, cell)));
                }
            }
        }
        self.answers.insert(from, digests(told.iter().map(|(key, cell)| (*key, *cell))));
        if self.settled.is_none() {
            self.round = self.round.min(round);
            for (key, cell) in told {
                self.merged.entry(key.clone()).or_default().merge(cell);
            }
        }
    }

    /// Somebody knows more than one read may be of: without it the answer could be cut.
    pub(super) fn too_much(&mut self, kernel: &mut Kernel) {
        if self.settled.is_none()
            && let Some(request) = self.request.take()
        {
            self.write = None;
            let refused = too_much(kernel);
            kernel.answer(request, Err(refused));
        }
    }

    pub(super) fn go_on(
        &mut self,
        kernel: &mut Kernel,
        cells: &dyn Cells,
        number: u64,
    ) -> Progress {
        let again = std::mem::take(&mut self.again);
        if (again || self.round < kernel.barrier()) && self.request.is_some() {
            return Progress::Again;
        }
        if self.settled.is_none() {
            self.settle(kernel, cells);
        } else if self.own <= kernel.persisted {
            self.repaired.insert(kernel.id);
        }
        if let Some(merged) = self.settled.take() {
            self.tell_those_behind(kernel, &merged, number);
            if let Some(request) = self.request
                && self.is_done(&merged)
            {
                self.request = None;
                if self.write.is_none() {
                    let merged = self.merged.iter().map(|(key, cell)| (key.clone(), cell.clone()));
                    let gone = self.unknown().cloned().collect();
                    kernel.answer_without(request, merged.collect(), gone);
                }
            }
            self.settled = Some(merged);
        }
        // Whoever answers late may be behind, too: it is told when it does.
        let all = self.answers.len() > self.peers(kernel).len();
        match self.request {
            Some(_) => Progress::Until(self.resend_at.min(self.deadline)),
            None if all || self.resend_at <= kernel.now => Progress::Done,
            None => Progress::Until(self.resend_at),
        }
    }

    /// What was gathered may be older than what is dropped by now (INV-100), or of another step. Under a number of its own: an
    /// answer to what was asked before says `Same` of other cells, and acknowledges other repairs.
    pub(super) fn begin_again(&mut self, kernel: &mut Kernel, cells: &dyn Cells, number: u64) {
        let parts = self.asked.iter().map(|(asked, _)| asked);
        // Of a range there are not more cells than there were, but for what was written meanwhile.
        let Ok(known) = kernel.known(cells, parts) else { return self.too_much(kernel) };
        for ((_, told), part) in self.asked.iter_mut().zip(&known) {
            *told = digest(part.iter().map(|(key, cell)| (key, cell)));
        }
        self.here = known.into_iter().flatten().collect();
        self.merged = self.here.clone();
        self.own = kernel.durable_through(self.here.keys());
        self.round = kernel.round();
        self.settled = None;
        self.answers.clear();
        self.told.clear();
        self.repaired.clear();
        self.ask(kernel, number);
    }

    /// Once enough have answered: this replica takes over what they know, as the others will.
    fn settle(&mut self, kernel: &mut Kernel, cells: &dyn Cells) {
        if self.own <= kernel.persisted {
            self.answers.entry(kernel.id).or_insert_with(|| digests(&self.here));
        }
        if self.request.is_none() || !self.has_answers() || !self.knows_enough(kernel) {
            return;
        }
        for cell in self.merged.values_mut() {
            kernel.resolve(cell);
        }
        self.take_over(kernel, cells);
        if self.own <= kernel.persisted {
            self.repaired.insert(kernel.id);
        }
        self.settled = Some(digests(&self.merged));
    }

    fn take_over(&mut self, kernel: &mut Kernel, cells: &dyn Cells) {
        let news: Vec<(CellKey, Cell)> = self
            .merged
            .iter()
            .filter(|(key, merged)| self.here.get(*key) != Some(*merged))
            .map(|(key, merged)| (key.clone(), merged.clone()))
            .collect();
        if !news.is_empty() {
            // Not taken: this replica counts for nothing until it is. What was settled stays: others have acknowledged that.
            self.own = kernel.merge(cells, &news).unwrap_or(PersistId::NEVER);
        }
    }

    fn has_answers(&self) -> bool {
        let answered: BTreeSet<NodeId> = self.answers.keys().copied().collect();
        self.needs.answers.is_met(&answered)
    }

    /// INV-106: what nobody knows was lost, or removed and then dropped.
    fn knows_enough(&self, kernel: &Kernel) -> bool {
        let everybody =
            || kernel.owners.knowing().iter().all(|node| self.answers.contains_key(node));
        let covers = !self.seen.more && self.unknown().next().is_none();
        covers || everybody() || planted::is(Bug::ReadBehindSession)
    }

    /// Those of which the session has seen more than was gathered.
    fn unknown(&self) -> impl Iterator<Item = &CellKey> {
        let known = |(key, seen): &&(CellKey, VersionVector)| {
            self.merged.get(key).is_some_and(|cell| cell.known().covers_all(seen))
        };
        self.seen.cells.iter().filter(move |one| !known(one)).map(|(key, _)| key)
    }

    /// Whom it asks and tells.
    fn peers<'k>(&self, kernel: &'k Kernel) -> &'k BTreeSet<NodeId> {
        if self.everywhere { kernel.others() } else { kernel.peers(self.level) }
    }

    /// INV-96
    fn is_done(&self, merged: &Digests) -> bool {
        let knowing =
            self.answers.iter().filter(|(_, known)| lacking(known, merged).next().is_none());
        let mut know: BTreeSet<NodeId> = knowing.map(|(node, _)| *node).collect();
        know.extend(&self.repaired);
        match self.repair {
            ReadRepair::Blocking => {
                self.needs.holding.is_met(&know) || planted::is(Bug::RepairLater)
            }
            // What follows builds on what this replica knows.
            ReadRepair::Background => {
                self.own != PersistId::NEVER || self.write.is_none() && self.seen == Seen::default()
            }
        }
    }

    fn ask(&self, kernel: &mut Kernel, number: u64) {
        for to in self.peers(kernel).clone() {
            if !self.answers.contains_key(&to) {
                kernel.send(to, Message::Fetch { number, asked: self.asked.clone() });
            }
        }
    }

    fn tell_those_behind(&mut self, kernel: &mut Kernel, merged: &Digests, number: u64) {
        let nothing = Digests::new();
        // Those that do not answer because nobody reads from them yet must hold what is shown, too.
        let peers = self.peers(kernel);
        let told = |node: &NodeId| peers.contains(node) && !self.answers.contains_key(node);
        let joining: Vec<NodeId> = kernel.owners.joining().filter(told).collect();
        let joining = joining.iter().map(|node| (node, &nothing));
        for (node, known) in self.answers.iter().chain(joining) {
            if *node == kernel.id || self.repaired.contains(node) || self.told.contains(node) {
                continue;
            }
            let cells: Vec<(CellKey, Cell)> = lacking(known, merged)
                .filter_map(|key| self.merged.get(key).map(|cell| (key.clone(), cell.clone())))
                .collect();
            if !cells.is_empty() {
                self.told.insert(*node);
                kernel.counts.read_repairs += cells.len() as u64;
                kernel.send_as(self.round, *node, Message::Store { number, cells });
            }
        }
    }
}

const fn too_much(kernel: &Kernel) -> Refused {
    Refused::TooMuch { cells_max: kernel.settings.range_cells_max }
}

fn digests<'c>(cells: impl IntoIterator<Item = (&'c CellKey, &'c Cell)>) -> Digests {
    cells.into_iter().map(|(key, cell)| (key.clone(), cell.digest())).collect()
}

/// The cells of `merged` that whoever knows `known` knows otherwise or not at all.
fn lacking<'d>(known: &'d Digests, merged: &'d Digests) -> impl Iterator<Item = &'d CellKey> {
    merged.iter().filter(|(key, digest)| known.get(*key) != Some(*digest)).map(|(key, _)| key)
}
