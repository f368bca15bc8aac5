//! Removing what is left of removed cells, once nothing older of them can come back.
//!
//! One replica, the least of all that have or are to have one, leads a *round*. It names cells of which nothing lives. Every
//! replica that holds one of them exactly so marks all that it sends from now on with the round; when all have answered, each refuses
//! cells that are marked with an earlier one, and says so when that is durable; when all have, the cells are dropped. What is
//! on its way from before, whoever repeats it, is refused; what was sent since knew of the removal. A replica that does not
//! answer keeps every removed cell where it is. Keeps INV-100.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_model::planted::{self, Bug};
use quorate_model::{Hlc, NodeId, Time, WallTime};

use super::kernel::Kernel;
use super::{CellKey, Cells, Mark, Message};
use crate::causal::{Cell, CellDigest, Content};

/// How many rounds a process makes sure of at once: what it makes durable is once for so many.
pub(super) const ROUNDS: u64 = 1024;
/// Cells that one round names, and looks at.
const NAMED_MAX: usize = 512;
const LOOKED_AT_MAX: usize = 4096;

#[derive(Clone, Debug)]
pub(super) struct Collecting {
    next_at: Time,
    /// Where the next round goes on looking.
    from: Bytes,
    /// The round that this replica leads.
    leading: Option<Leading>,
    /// What this replica agreed to, of the newest round that it takes part in.
    agreed: BTreeMap<CellKey, CellDigest>,
    /// Who wants to know when it is closed; `None` when that is this replica.
    asked_by: Option<NodeId>,
    /// A round that is not taken part in before a restart would know of it.
    waiting: Option<Asked>,
    /// The newest round that anybody has named.
    heard: u64,
}

/// What is to be prepared.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) by: NodeId,
    pub(super) round: u64,
    pub(super) cells: Vec<(CellKey, CellDigest)>,
    /// Who takes part.
    pub(super) all: BTreeSet<NodeId>,
}

#[derive(Clone, Debug)]
struct Leading {
    round: u64,
    /// What all agree to so far, of those who have answered.
    cells: BTreeSet<CellKey>,
    lacking: BTreeSet<NodeId>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Preparing,
    Closing,
}

/// How far a replica is with the rounds, for a restart.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Default,
    Debug,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Collected {
    /// Cells of earlier rounds are refused.
    pub barrier: u64,
    /// Later than every write that was dropped: a new one may not come before it (INV-93).
    pub newest: Hlc,
    /// No process so far has taken part in a later round: what it sent is not marked with one.
    pub reached: u64,
}

impl Collecting {
    pub(super) fn new(kernel: &mut Kernel) -> Self {
        let pause = kernel.random.up_to(kernel.settings.collect_interval);
        let (next_at, from) = (kernel.now.after(pause), kernel.span.from.first_key());
        let (agreed, heard) = (BTreeMap::new(), 0);
        Self { next_at, from, leading: None, agreed, asked_by: None, waiting: None, heard }
    }

    pub(super) const fn deadline(&self) -> Time {
        self.next_at
    }

    /// The shard came to another step: who must agree is another question now.
    pub(super) fn moved(&mut self) {
        self.leading = None;
        self.agreed.clear();
        self.waiting = None;
    }

    /// What is closed anywhere all have agreed to, this replica, too, if by an earlier process.
    pub(super) fn heard(&mut self, kernel: &mut Kernel, mark: Mark) {
        if kernel.reaches(mark.closed) {
            kernel.mark(mark.closed);
        }
        self.heard = self.heard.max(mark.round);
    }

    pub(super) fn tick(&mut self, kernel: &mut Kernel, cells: &dyn Cells) {
        if self.next_at > kernel.now {
            return;
        }
        self.next_at = kernel.now.after(kernel.settings.collect_interval);
        // An earlier one has not got all answers.
        self.leading = None;
        if kernel.owners.all().first() != Some(&kernel.id) || !kernel.is_whole() {
            return;
        }
        let all = kernel.owners.holders();
        let from = self.from.clone();
        let named = self.look(kernel, cells);
        if named.is_empty() {
            return;
        }
        let round = kernel.round_after(self.heard);
        if !kernel.reaches(round) {
            self.from = from;
            return;
        }
        let cells: Vec<(CellKey, CellDigest)> = named.into_iter().collect();
        for to in others(kernel) {
            let (cells, all) = (cells.clone(), all.clone());
            kernel.send(to, Message::Prepare { round, cells, all });
        }
        kernel.mark(round);
        self.agreed = cells.into_iter().collect();
        self.leading = Some(Leading {
            round,
            cells: self.agreed.keys().cloned().collect(),
            lacking: others(kernel),
            phase: Phase::Preparing,
        });
        self.go_on(kernel);
    }

    /// Cells of which nothing lives, in the next part of the shard.
    fn look(&mut self, kernel: &Kernel, cells: &dyn Cells) -> BTreeMap<CellKey, CellDigest> {
        let end = kernel.span.to.first_key();
        let page = cells.range(&self.from, &end, LOOKED_AT_MAX);
        let mut named = BTreeMap::new();
        for (key, cell) in &page {
            if named.len() == NAMED_MAX {
                self.from = key.bytes().clone();
                return named;
            }
            if kernel.is_over(key, cell) {
                named.insert(key.clone(), cell.digest());
            }
        }
        self.from = match page.last() {
            Some((key, _)) if page.len() == LOOKED_AT_MAX => key.next(),
            Some(_) | None => kernel.span.from.first_key(),
        };
        named
    }

    // Whoever is asked.

    pub(super) fn prepare(&mut self, kernel: &mut Kernel, cells: &dyn Cells, asked: Asked) {
        // What was marked with this round or a later one before, by an earlier process perhaps, may have known less. And nobody is left
        // out to whom this replica may have given something to hold.
        let round = asked.round;
        if round < kernel.round_after(0) {
            // Whoever leads goes on after the rounds that were reached for before.
            let round = kernel.round_after(0) - 1;
            return kernel.send(asked.by, Message::Prepared { round, agreed: Vec::new() });
        }
        if !kernel.owners.holders().is_subset(&asked.all) {
            return;
        }
        if !kernel.reaches(round) {
            self.waiting = Some(asked);
            return;
        }
        kernel.mark(round);
        self.agreed = asked
            .cells
            .into_iter()
            .take(NAMED_MAX)
            .filter(|(key, digest)| {
                let cell = kernel.cell(cells, key);
                // Who stands in for replicas need not know of it: until the round is closed it takes nothing that is older.
                cell.map_or(!kernel.is_owner(), |cell| {
                    cell.digest() == *digest && kernel.is_over(key, &cell)
                })
            })
            .collect();
        let agreed = self.agreed.keys().cloned().collect();
        kernel.send(asked.by, Message::Prepared { round, agreed });
    }

    /// This node takes a hint that may be older than what it has agreed to: it has not agreed.
    pub(super) fn withdraw(&mut self) {
        self.agreed.clear();
    }

    pub(super) fn close(&mut self, kernel: &mut Kernel, from: NodeId, round: u64) {
        // Else this process has not agreed, or to another round since.
        if round == kernel.round() && !self.agreed.is_empty() {
            self.asked_by = Some(from);
            kernel.close();
        }
    }

    /// No restart takes the barrier down again, nor forgets which rounds this process may take part in.
    pub(super) fn closed_here(
        &mut self,
        kernel: &mut Kernel,
        cells: &dyn Cells,
        Collected { barrier, reached, .. }: Collected,
    ) {
        if kernel.has_reached(reached) {
            // A round that it is to lead, or one that it was asked to take part in.
            if self.leading.is_none() {
                self.next_at = self.next_at.min(kernel.now);
            }
            if let Some(asked) = self.waiting.take() {
                self.prepare(kernel, cells, asked);
            }
        }
        if barrier != kernel.round() {
            return;
        }
        match self.asked_by {
            Some(from) => kernel.send(from, Message::Closed { round: barrier }),
            None => self.closed(kernel, cells, kernel.id, barrier),
        }
    }

    pub(super) fn drop_cells(
        &mut self,
        kernel: &mut Kernel,
        cells: &dyn Cells,
        round: u64,
        keys: &[CellKey],
    ) {
        if round != kernel.barrier() {
            return;
        }
        let agreed = std::mem::take(&mut self.agreed);
        let mut dropped = Vec::new();
        for (key, digest) in keys.iter().filter_map(|key| agreed.get_key_value(key)) {
            let exactly = cells.cell(key).filter(|cell| cell.digest() == *digest);
            // What is on its way to the disk would bring it back.
            if let Some(cell) = exactly.filter(|_| !kernel.is_on_its_way(key)) {
                dropped.push((key.clone(), cell));
            }
        }
        kernel.dropped(dropped);
    }

    // The one that leads.

    pub(super) fn prepared(
        &mut self,
        kernel: &mut Kernel,
        from: NodeId,
        round: u64,
        agreed: &[CellKey],
    ) {
        self.heard = self.heard.max(round);
        let Some(leading) = self.leads(round, Phase::Preparing) else { return };
        if leading.lacking.remove(&from) {
            let agreed: BTreeSet<&CellKey> = agreed.iter().collect();
            leading.cells.retain(|key| agreed.contains(key));
            self.go_on(kernel);
        }
    }

    /// Another replica, or this one, refuses from now on what is marked with an earlier round.
    pub(super) fn closed(
        &mut self,
        kernel: &mut Kernel,
        cells: &dyn Cells,
        from: NodeId,
        round: u64,
    ) {
        let Some(leading) = self.leads(round, Phase::Closing) else { return };
        leading.lacking.remove(&from);
        if !leading.lacking.is_empty() && !planted::is(Bug::DropEarly) {
            return;
        }
        let keys: Vec<CellKey> = leading.cells.iter().cloned().collect();
        self.leading = None;
        for to in others(kernel) {
            kernel.send(to, Message::Drop { round, cells: keys.clone() });
        }
        self.drop_cells(kernel, cells, round, &keys);
        // There may be more.
        self.next_at = kernel.now.after(kernel.settings.collect_interval / 8);
    }

    fn go_on(&mut self, kernel: &mut Kernel) {
        let Some(leading) = &mut self.leading else { return };
        if !leading.lacking.is_empty() && !planted::is(Bug::DropEarly) {
            return;
        }
        if leading.cells.is_empty() {
            self.leading = None;
            return;
        }
        leading.phase = Phase::Closing;
        leading.lacking = kernel.owners.holders();
        let round = leading.round;
        for to in others(kernel) {
            kernel.send(to, Message::Close { round });
        }
        self.asked_by = None;
        kernel.close();
    }

    fn leads(&mut self, round: u64, phase: Phase) -> Option<&mut Leading> {
        self.leading.as_mut().filter(|leading| leading.round == round && leading.phase == phase)
    }
}

/// Everybody else who takes part in a round.
fn others(kernel: &Kernel) -> BTreeSet<NodeId> {
    let mut all = kernel.owners.holders();
    all.remove(&kernel.id);
    all
}

impl Kernel {
    /// Whether nothing of it lives, all of it is durable here, and it has been so for longer than clocks may be apart.
    fn is_over(&self, key: &CellKey, cell: &Cell) -> bool {
        let after = u64::try_from(self.settings.collect_after.as_millis()).unwrap_or(u64::MAX);
        let past = |time: WallTime| time.0.saturating_add(after) < self.wall.0;
        let over = |content: &Content| match content {
            Content::Value { expiry, .. } => expiry.is_some_and(past),
            Content::Removed => true,
            Content::Amount(_) | Content::Member => false,
        };
        let mut siblings = cell.siblings().iter();
        let durable = self.durable_through([key]) <= self.persisted;
        durable && siblings.all(|one| over(&one.content) && past(one.at.wall()))
    }
}
