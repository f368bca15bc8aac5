//! Standing in for replicas: what this node holds for them until they have it.
//!
//! A hint is a cell like others, durable before it is acknowledged, and what is known of it by several writes is one hint. Its
//! targets are known in memory; after a restart they are all replicas. Each target is told a batch at a time, no faster than the rate; one
//! that does not answer is asked with one cell, at growing pauses. While the shard moves nothing is given back: whoever takes it
//! must be there to stay. Keeps INV-104.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_model::planted::{self, Bug};
use quorate_model::{NodeId, Time};

use super::kernel::Kernel;
use super::{CellKey, Cells, Message};
use crate::causal::{Cell, CellDigest};

/// Cells and bytes of one batch. Whoever asks meanwhile waits: a cell takes some 10 us on either side, and where batches were of cells
/// that are far from each other, each in another block of a table, one of 16 took a millisecond.
const BATCH_CELLS_MAX: usize = 16;
const BATCH_BYTES_MAX: usize = 64 << 10;
/// How long a batch may take to become durable at its target.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Default)]
pub(super) struct Holding {
    hints: BTreeMap<CellKey, Held>,
    bytes: u64,
    targets: BTreeMap<NodeId, Target>,
    /// What is here is known to be hints, or to be none.
    known: bool,
    /// When those past the window are looked for.
    look_at: Time,
}

#[derive(Clone, Debug)]
struct Held {
    since: Time,
    /// Who has not got it.
    targets: BTreeSet<NodeId>,
    bytes: u64,
    /// Some replica holds all of it durably.
    owned: bool,
}

#[derive(Clone, Debug, Default)]
struct Target {
    /// Given in the order of their keys, which is that of the rows.
    due: BTreeSet<CellKey>,
    /// The oldest first.
    ages: BTreeSet<(Time, CellKey)>,
    bytes: u64,
    next_at: Time,
    /// Since it last did not answer.
    pause: Option<Duration>,
    sent: Option<Sent>,
}

#[derive(Clone, Debug)]
struct Sent {
    number: u64,
    cells: Vec<(CellKey, CellDigest)>,
    bytes: u64,
}

/// What a node holds for one replica of the shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HintsFor {
    pub target: NodeId,
    pub count: u64,
    pub bytes: u64,
    pub oldest: Duration,
}

impl Holding {
    pub(super) fn is_empty(&self) -> bool {
        self.hints.is_empty()
    }

    pub(super) fn of_each(&self, now: Time) -> Vec<HintsFor> {
        let of = |(node, target): (&NodeId, &Target)| HintsFor {
            target: *node,
            count: target.due.len() as u64,
            bytes: target.bytes,
            oldest: target.ages.first().map_or(Duration::ZERO, |(since, _)| now.since(*since)),
        };
        self.targets.iter().filter(|(_, target)| !target.due.is_empty()).map(of).collect()
    }

    /// `None` while there is nothing to be done.
    pub(super) fn deadline(&self, kernel: &Kernel) -> Option<Time> {
        if self.hints.is_empty() {
            return None;
        }
        let moves = kernel.owners.leaves.is_some();
        let next = self.targets.values().filter(|target| !moves && !target.due.is_empty());
        next.map(|target| target.next_at).chain([self.look_at]).min()
    }

    /// Who has a replica may be another question now. What is here and not known to be a hint may be one: it was before a restart, or
    /// this node had, or was about to have, a replica.
    pub(super) fn owners_changed(&mut self, kernel: &Kernel, cells: &dyn Cells, moved: bool) {
        if kernel.is_owner() {
            self.known = false;
        } else if !std::mem::replace(&mut self.known, true) {
            self.find(kernel, cells);
        }
        if moved {
            let all = kernel.others_placed();
            for key in self.hints.keys().cloned().collect::<Vec<_>>() {
                self.aim(kernel.now, &key, all.clone());
            }
            if all.is_empty() {
                *self = Self { known: self.known, ..Self::default() };
            }
            // What one took at an earlier step it may have left since.
            self.targets.retain(|_, target| !target.due.is_empty());
            self.targets.values_mut().for_each(|target| target.sent = None);
        }
    }

    fn find(&mut self, kernel: &Kernel, cells: &dyn Cells) {
        const PAGE: usize = 1024;
        let (mut from, to) = (kernel.span.from.first_key(), kernel.span.to.first_key());
        let all = kernel.others_placed();
        loop {
            let page = kernel.range(cells, &from, &to, PAGE);
            for (key, cell) in &page {
                self.note(kernel.now, key, cell, all.clone());
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => from = key.next(),
                Some(_) | None => return,
            }
        }
    }

    /// Holds these in place of the target.
    pub(super) fn take(
        &mut self,
        kernel: &mut Kernel,
        cells: &dyn Cells,
        from: NodeId,
        number: u64,
        target: NodeId,
        told: &[(CellKey, Cell)],
    ) {
        let bytes: u64 = told.iter().map(|(key, cell)| bytes_of(key, cell)).sum();
        if !self.has_room(kernel, bytes) {
            kernel.counts.hints_refused += told.len() as u64;
            return;
        }
        let Some(until) = kernel.merge(cells, told) else { return };
        let all = kernel.others_placed();
        let settled = kernel.owners.leaves.is_none() && all.contains(&target);
        let targets = if settled { BTreeSet::from([target]) } else { all };
        self.note_all(kernel, cells, told.iter().map(|(key, _)| key), &targets);
        kernel.send_when(until, from, Message::Hinted { number, target });
    }

    /// What this node coordinates it holds for all replicas.
    pub(super) fn hold(&mut self, kernel: &mut Kernel, cells: &dyn Cells, keys: &[CellKey]) {
        if planted::is(Bug::HoldForNobody) {
            return;
        }
        self.note_all(kernel, cells, keys.iter(), &kernel.others_placed());
    }

    fn note_all<'k>(
        &mut self,
        kernel: &mut Kernel,
        cells: &dyn Cells,
        keys: impl Iterator<Item = &'k CellKey>,
        targets: &BTreeSet<NodeId>,
    ) {
        for key in keys {
            let cell = kernel.cell(cells, key).unwrap_or_default();
            self.note(kernel.now, key, &cell, targets.clone());
            kernel.counts.hints_taken += 1;
        }
    }

    /// INV-55
    pub(super) fn has_room(&self, kernel: &Kernel, bytes: u64) -> bool {
        self.bytes + bytes <= kernel.owners.stand_ins.bytes_max
    }

    pub(super) fn tick(&mut self, kernel: &mut Kernel, cells: &dyn Cells, next: &mut u64) {
        if self.hints.is_empty() {
            return;
        }
        if self.look_at <= kernel.now {
            self.end_window(kernel, cells);
        }
        if kernel.owners.leaves.is_some() {
            return;
        }
        for node in self.targets.keys().copied().collect::<Vec<_>>() {
            let Some(target) = self.targets.get_mut(&node) else { continue };
            if target.next_at > kernel.now || target.due.is_empty() {
                continue;
            }
            if target.sent.take().is_some() {
                let pause = target.pause.map_or(PAUSE_MIN, |pause| (pause * 2).min(PAUSE_MAX));
                target.pause = Some(pause);
                target.next_at = kernel.now.after(pause);
                continue;
            }
            *next = next.wrapping_add(1);
            self.give(kernel, cells, node, *next);
        }
    }

    /// The next batch.
    fn give(&mut self, kernel: &mut Kernel, cells: &dyn Cells, node: NodeId, number: u64) {
        let Some(target) = self.targets.get(&node) else { return };
        let count_max = if target.pause.is_some() { 1 } else { BATCH_CELLS_MAX };
        let (mut told, mut bytes, mut gone) = (Vec::new(), 0, Vec::new());
        for key in &target.due {
            if told.len() == count_max || bytes >= BATCH_BYTES_MAX as u64 {
                break;
            }
            // INV-91: what is not durable yet comes later.
            if kernel.is_on_its_way(key) {
                continue;
            }
            match cells.cell(key) {
                Some(cell) => {
                    bytes += bytes_of(key, &cell);
                    told.push((key.clone(), cell));
                }
                // Removed everywhere (INV-100).
                None => gone.push(key.clone()),
            }
        }
        for key in gone {
            self.forget(kernel.now, &key);
        }
        let Some(target) = self.targets.get_mut(&node) else { return };
        if told.is_empty() {
            target.next_at = kernel.now.after(PAUSE_MIN);
            return;
        }
        let sent = told.iter().map(|(key, cell)| (key.clone(), cell.digest())).collect();
        target.sent = Some(Sent { number, cells: sent, bytes });
        target.next_at = kernel.now.after(ANSWERED_WITHIN);
        let keys: Vec<CellKey> = told.iter().map(|(key, _)| key.clone()).collect();
        kernel.send(node, Message::Handoff { number, cells: told });
        if planted::is(Bug::DropSentHints) {
            self.drop_hints(kernel, cells, keys);
        }
    }

    /// The target holds all of a batch durably, if it was one.
    pub(super) fn given(
        &mut self,
        kernel: &mut Kernel,
        cells: &dyn Cells,
        from: NodeId,
        number: u64,
    ) {
        let Some(target) = self.targets.get_mut(&from) else { return };
        let Some(sent) = target.sent.take_if(|sent| sent.number == number) else { return };
        target.pause = None;
        let rate = kernel.settings.hint_bytes_per_second.max(1);
        let nanos = sent.bytes.saturating_mul(1_000_000_000) / rate;
        target.next_at = kernel.now.after(Duration::from_nanos(nanos));
        let (now, window) = (kernel.now, kernel.owners.stand_ins.window);
        let past = |held: &Held| held.since.after(window) <= now;
        let mut over = Vec::new();
        for (key, digest) in sent.cells {
            let same = kernel.cell(cells, &key).is_none_or(|cell| cell.digest() == digest);
            let Some(held) = self.hints.get_mut(&key).filter(|_| same) else { continue };
            held.owned = true;
            let since = held.since;
            let had = held.targets.remove(&from);
            if had && let Some(target) = self.targets.get_mut(&from) {
                target.remove(&key, since, held.bytes);
                kernel.counts.hints_delivered += 1;
            }
            // INV-104
            if held.targets.is_empty() {
                over.push(key);
            } else if past(held) {
                kernel.counts.hints_dropped += 1;
                over.push(key);
            }
        }
        self.drop_hints(kernel, cells, over);
    }

    /// The target did not take a batch. It may take it when this node knows of the rounds that it knows of.
    pub(super) fn refused(&mut self, now: Time, from: NodeId, number: u64) {
        if let Some(target) = self.targets.get_mut(&from)
            && target.sent.as_ref().is_some_and(|sent| sent.number == number)
        {
            target.next_at = now;
        }
    }

    /// Whoever says something may take what it did not.
    pub(super) fn heard(&mut self, kernel: &Kernel, from: NodeId) {
        if let Some(target) = self.targets.get_mut(&from)
            && target.sent.is_none()
            && target.pause.is_some()
        {
            target.next_at = target.next_at.min(kernel.now.after(PAUSE_MIN));
        }
    }

    /// INV-104: a hint that is past the window is dropped if a replica has it; else any replica may take it.
    fn end_window(&mut self, kernel: &mut Kernel, cells: &dyn Cells) {
        let window = kernel.owners.stand_ins.window;
        let (least, most) = (Duration::from_secs(1), Duration::from_mins(1));
        self.look_at = kernel.now.after((window / 8).clamp(least, most));
        let past = |(_, held): &(&CellKey, &Held)| held.since.after(window) <= kernel.now;
        let past = self.hints.iter().filter(past).map(|(key, held)| (key.clone(), held.owned));
        let all = kernel.others_placed();
        let mut over = Vec::new();
        for (key, owned) in past.collect::<Vec<_>>() {
            if owned {
                kernel.counts.hints_dropped += 1;
                over.push(key);
            } else {
                self.aim(kernel.now, &key, all.clone());
            }
        }
        self.drop_hints(kernel, cells, over);
    }

    /// Nobody needs these here any more. A replica keeps its cells.
    fn drop_hints(&mut self, kernel: &mut Kernel, cells: &dyn Cells, keys: Vec<CellKey>) {
        keys.iter().for_each(|key| self.forget(kernel.now, key));
        if !kernel.is_owner() {
            let held = keys.into_iter().filter_map(|key| cells.cell(&key).map(|cell| (key, cell)));
            kernel.let_go(held.collect());
        }
    }

    fn forget(&mut self, now: Time, key: &CellKey) {
        self.aim(now, key, BTreeSet::new());
        if let Some(held) = self.hints.remove(key) {
            self.bytes -= held.bytes;
        }
    }

    /// What is known of the cell by now is for these, and for whom it was before.
    fn note(&mut self, now: Time, key: &CellKey, cell: &Cell, targets: BTreeSet<NodeId>) {
        let before = self.hints.get(key);
        let since = before.map_or(now, |held| held.since);
        let all = before.into_iter().flat_map(|held| &held.targets).copied().chain(targets);
        let all: BTreeSet<NodeId> = all.collect();
        self.forget(now, key);
        let bytes = bytes_of(key, cell);
        self.bytes += bytes;
        let held = Held { since, targets: BTreeSet::new(), bytes, owned: false };
        self.hints.insert(key.clone(), held);
        self.aim(now, key, all);
    }

    /// It is for exactly these.
    fn aim(&mut self, now: Time, key: &CellKey, targets: BTreeSet<NodeId>) {
        let Some(held) = self.hints.get_mut(key) else { return };
        for node in held.targets.difference(&targets) {
            if let Some(target) = self.targets.get_mut(node) {
                target.remove(key, held.since, held.bytes);
            }
        }
        for node in targets.difference(&held.targets) {
            let target = self.targets.entry(*node).or_default();
            if target.due.is_empty() {
                target.next_at = target.next_at.max(now);
            }
            target.put(key, held.since, held.bytes);
        }
        held.targets = targets;
    }
}

impl Target {
    fn put(&mut self, key: &CellKey, since: Time, bytes: u64) {
        self.due.insert(key.clone());
        self.ages.insert((since, key.clone()));
        self.bytes += bytes;
    }

    fn remove(&mut self, key: &CellKey, since: Time, bytes: u64) {
        self.due.remove(key);
        self.ages.remove(&(since, key.clone()));
        self.bytes -= bytes;
    }
}

fn bytes_of(key: &CellKey, cell: &Cell) -> u64 {
    (key.bytes().len() + cell.bytes()) as u64
}
