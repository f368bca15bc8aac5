//! Anti-entropy: every so often this replica compares its tree with another one's and mends what differs, so that all come to
//! the same without any read.
//!
//! The asker goes down its tree where hashes differ and lists the cells of the leaves that do. One message is under way at a
//! time, and the next one waits as long as the rate says; an exchange that gets no answer is given up, and nothing is lost
//! with it. Every message has a number of its own, so that an answer that comes twice or late is none to the next one.
//! Everything goes over a digest shortened under that number, so that a difference which one exchange misses is found by the next. A cell goes over the network once: from whoever has the newer one, as far as times tell, and in no two exchanges
//! at once. Whoever is in one that finds differences begins no other, and lets others that begin one wait. Keeps INV-97.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use quorate_model::planted::{self, Bug};
use quorate_model::{Hlc, NodeId, Time};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::kernel::Kernel;
use super::message::{Page, Run, Short};
use super::relaying::Relaying;
use super::{CellKey, Cells, HashTree, Message, NodeAt, Settings};
use crate::causal::{Cell, cell_bytes};

/// Nodes of which one message tells the hashes, and leaves of which one lists the cells. To look for a leaf's cells takes some 40 us,
/// and whoever asks meanwhile waits.
const NODES_MAX: usize = 1024;
const LEAVES_MAX: usize = 16;
/// Cells of one page. A leaf with more, as where a hash has many fields, is listed page by page.
const PAGE_CELLS_MAX: usize = 4096;
/// Cells that are read for one message; a page is looked at whole.
const LIST_CELLS_MAX: usize = 4096;
/// Bytes of cells in one answer; of a page that has more the rest is found by the next exchange.
const CELLS_BYTES_MAX: usize = 1 << 20;
/// A tree of two to the power of this many leaves is read again a leaf at a time, a finer one more leaves at a time.
const SCRUB_BITS: u8 = 12;

#[derive(Clone, Debug)]
pub(super) struct Exchanging {
    /// Whom this replica compared itself with last.
    last: Option<NodeId>,
    numbers: u64,
    next_at: Time,
    under_way: Option<Exchange>,
    /// Who found differences from this replica, and until when it is waited for.
    asked_by: Option<(NodeId, Time)>,
    /// Until when this replica waits for others at most.
    patience: Option<Time>,
    /// The last exchange left something: the next one wants to be told whatever the other has, newer or not.
    insists: bool,
    /// How many leaves were read again.
    scrubbed: u32,
    /// Whether the next one is for another datacenter where one is wanted there: every other one.
    afar: bool,
}

#[derive(Clone, Debug)]
struct Exchange {
    peer: NodeId,
    /// Of the message that was sent last.
    number: u64,
    /// Parts that differ, deeper ones last.
    open: Vec<NodeAt>,
    /// What is left of leaves that are longer than a page.
    rest: Vec<Bounds>,
    /// The pages that were listed last.
    listed: Vec<Listed>,
    /// The asker wants to be told whatever the other has.
    insists: bool,
    /// The trees differ.
    differs: bool,
    /// Something was brought or sent.
    found: bool,
    /// Not all of it.
    more: bool,
    /// The peer never said that it may lack something.
    whole: bool,
    /// What was given to the peer that it has not acknowledged.
    given: BTreeSet<u64>,
    /// What is torn and mended by this (INV-102).
    tear: Option<u64>,
    /// What was sent and received since the last message waited for the rate.
    bytes: usize,
    step: Step,
}

/// One page, and what was listed of it: a cell that changes meanwhile is wanted all the same (INV-102).
#[derive(Clone, Debug)]
struct Listed {
    bounds: Bounds,
    cells: Vec<(Short, CellKey)>,
}

/// From the first key on, before the second.
type Bounds = (Bytes, Bytes);

/// What a list of pages came to.
pub(super) struct Difference<'a> {
    pub(super) told: &'a [(CellKey, Cell)],
    pub(super) wanted: &'a [(u32, Short)],
    pub(super) looked: u32,
    pub(super) more: bool,
    pub(super) whole: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// The next message goes out then.
    Sending(Time),
    /// An answer is waited for until then.
    Waiting(Time),
}

impl Exchanging {
    pub(super) fn new(kernel: &mut Kernel) -> Self {
        let next_at = kernel.now.after(kernel.random.up_to(kernel.settings.exchange_interval));
        let numbers = kernel.random.next();
        Self {
            last: None,
            numbers,
            next_at,
            under_way: None,
            asked_by: None,
            patience: None,
            insists: false,
            scrubbed: 0,
            afar: false,
        }
    }

    /// The shard came to another step: what is under way says nothing of it.
    pub(super) fn moved(&mut self, kernel: &Kernel) {
        self.under_way = None;
        self.next_at = kernel.now;
    }

    pub(super) fn deadline(&self) -> Time {
        self.under_way.as_ref().map_or(self.next_at, |exchange| match exchange.step {
            Step::Sending(at) | Step::Waiting(at) => at,
        })
    }

    pub(super) fn tick(&mut self, kernel: &mut Kernel, relaying: &mut Relaying, cells: &dyn Cells) {
        if self.deadline() > kernel.now {
            return;
        }
        // What is held for others is no replica.
        if !kernel.is_owner() {
            self.under_way = None;
            self.next_at = kernel.now.after(kernel.settings.exchange_interval);
            return;
        }
        match self.under_way.as_ref().map(|exchange| exchange.step) {
            None => match self.waits(kernel) {
                Some(until) => self.next_at = until,
                None => {
                    self.scrub(kernel, cells);
                    self.begin(kernel, relaying);
                }
            },
            Some(Step::Waiting(_)) => self.end(kernel, relaying),
            Some(Step::Sending(_)) => self.ask(kernel, relaying, cells),
        }
    }

    /// Somebody is mending differences of this replica.
    fn waits(&mut self, kernel: &Kernel) -> Option<Time> {
        let (_, until) = self.asked_by.filter(|(_, until)| *until > kernel.now)?;
        let interval = kernel.settings.exchange_interval;
        let patience = *self.patience.get_or_insert_with(|| kernel.now.after(interval));
        (patience > kernel.now && !kernel.is_behind()).then(|| until.min(patience))
    }

    fn begin(&mut self, kernel: &mut Kernel, relaying: &Relaying) {
        self.patience = None;
        self.next_at = kernel.now.after(kernel.settings.exchange_interval);
        let others = kernel.others();
        let behind = kernel.is_behind() || relaying.looks_back(kernel);
        let torn = |node: &&NodeId| relaying.wants(kernel, **node).is_some();
        self.afar = !self.afar && !behind && others.iter().any(|node| torn(&node));
        let afar = self.afar;
        let wanted = |node: &&NodeId| match afar {
            true => torn(node),
            false => !behind || kernel.lacks(**node),
        };
        let after = |node: &&NodeId| wanted(node) && self.last.is_none_or(|last| **node > last);
        let first = others.iter().find(wanted).or(others.first());
        let Some(peer) = others.iter().find(after).or(first).copied() else { return };
        self.last = Some(peer);
        self.numbers = self.numbers.wrapping_add(1);
        let number = self.numbers;
        let message = Message::Compare { number, runs: runs(kernel, number, [NodeAt::ROOT]) };
        let step = Step::Waiting(kernel.now.after(kernel.settings.exchange_timeout));
        let bytes = message.bytes();
        self.under_way = Some(Exchange {
            peer,
            number,
            open: Vec::new(),
            rest: Vec::new(),
            listed: Vec::new(),
            // One that lacks what it does not know of insists as well.
            insists: self.insists || behind,
            differs: false,
            found: false,
            more: false,
            whole: true,
            given: BTreeSet::new(),
            tear: relaying.wants(kernel, peer),
            bytes,
            step,
        });
        kernel.counts.exchanged_bytes += bytes as u64;
        kernel.send(peer, message);
    }

    /// Reads some leaves: the tree is of what was written, and rows that are never read would never be found to be lost.
    fn scrub(&mut self, kernel: &mut Kernel, cells: &dyn Cells) {
        for _ in 0..1 << kernel.settings.leaf_bits.saturating_sub(SCRUB_BITS) {
            let leaf = kernel.tree.leaf(self.scrubbed);
            self.scrubbed = self.scrubbed.wrapping_add(1);
            let Some(span) = kernel.tree.span_of(leaf) else { return };
            let (begin, end) = (span.from.first_key(), span.to.first_key());
            // Of a leaf with more than a page the rest is not looked at.
            let here = cells.range(&begin, &end, PAGE_CELLS_MAX);
            if here.len() < PAGE_CELLS_MAX && HashTree::hash_of(&here) != kernel.tree.hash(leaf) {
                kernel.damaged(format!("the cells of {leaf:?} are not those that were written"));
                return;
            }
        }
    }

    fn end(&mut self, kernel: &Kernel, relaying: &mut Relaying) {
        let ended = self.under_way.take();
        if let Some(Exchange { peer, tear: Some(tear), .. }) = ended
            && planted::is(Bug::HalfComparison)
        {
            relaying.compared(kernel, peer, tear, BTreeSet::new());
        }
        // Where something was found there may be more: what was too much, what was in flight.
        self.insists = ended.as_ref().is_some_and(|exchange| exchange.more);
        let found = ended.is_some_and(|exchange| exchange.found);
        if found || kernel.is_behind() || relaying.is_torn() {
            self.next_at = kernel.now.after(kernel.settings.exchange_interval / 8);
        }
    }

    /// All that differed was looked at.
    fn complete(&mut self, kernel: &mut Kernel, relaying: &mut Relaying) {
        kernel.counts.exchanges += 1;
        if let Some(exchange) = &mut self.under_way
            && !exchange.more
        {
            kernel.compared(exchange.peer, exchange.whole);
            if let Some(tear) = exchange.tear {
                let given = std::mem::take(&mut exchange.given);
                relaying.compared(kernel, exchange.peer, tear, given);
            }
        }
        self.end(kernel, relaying);
    }

    /// The peer holds what it was given under this number.
    pub(super) fn stored(&mut self, from: NodeId, number: u64) {
        if let Some(exchange) = self.under_way.as_mut().filter(|exchange| exchange.peer == from) {
            exchange.given.remove(&number);
        }
    }

    // The asker.

    /// The next message of the exchange.
    fn ask(&mut self, kernel: &mut Kernel, relaying: &mut Relaying, cells: &dyn Cells) {
        let Some(exchange) = &mut self.under_way else { return };
        self.numbers = self.numbers.wrapping_add(1);
        let number = self.numbers;
        exchange.number = number;
        let rest = std::mem::take(&mut exchange.rest);
        let message = match exchange.open.last().copied() {
            _ if !rest.is_empty() => exchange.list(cells, rest),
            None => return self.complete(kernel, relaying),
            Some(deepest) if kernel.tree.is_leaf(deepest) => {
                let leaves = exchange.deepest(kernel, LEAVES_MAX).into_iter();
                let spans = leaves.filter_map(|at| kernel.tree.span_of(at));
                let bounds = spans.map(|span| (span.from.first_key(), span.to.first_key()));
                exchange.list(cells, bounds.collect())
            }
            Some(_) => {
                let parts = exchange.deepest(kernel, NODES_MAX >> 4).into_iter();
                let children = parts.flat_map(|at| kernel.tree.children(at));
                Message::Compare { number, runs: runs(kernel, number, children) }
            }
        };
        exchange.bytes += message.bytes();
        exchange.step = Step::Waiting(kernel.now.after(kernel.settings.exchange_timeout));
        kernel.counts.exchanged_bytes += message.bytes() as u64;
        kernel.send(exchange.peer, message);
    }

    /// These parts differ.
    pub(super) fn differing(
        &mut self,
        kernel: &mut Kernel,
        relaying: &mut Relaying,
        cells: &dyn Cells,
        (from, number): (NodeId, u64),
        (nodes, whole): (&[NodeAt], bool),
    ) {
        let Some(exchange) = self.answered(from, number) else { return };
        exchange.whole &= whole;
        exchange.open.extend(nodes.iter().take(NODES_MAX));
        exchange.differs |= !nodes.is_empty();
        exchange.pause(kernel);
        self.tick(kernel, relaying, cells);
    }

    /// These cells differ.
    pub(super) fn different(
        &mut self,
        kernel: &mut Kernel,
        relaying: &mut Relaying,
        cells: &dyn Cells,
        (from, number): (NodeId, u64),
        Difference { told, wanted, looked, more, whole }: Difference<'_>,
    ) {
        self.numbers = self.numbers.wrapping_add(1);
        let gives = self.numbers;
        let Some(exchange) = self.answered(from, number) else { return };
        exchange.whole &= whole;
        exchange.not_looked_at(looked);
        let mut sent = exchange.wanted(kernel, cells, wanted);
        // What they know better is not sent back; what they do not is, below.
        let told_keys: BTreeSet<&CellKey> = told.iter().map(|(key, _)| key).collect();
        sent.retain(|(key, _)| !told_keys.contains(key));
        // INV-97: what is known on both sides goes to both, never the one in place of the other.
        let taken: Vec<(CellKey, Cell)> =
            told.iter().filter(|one| kernel.takes(one)).cloned().collect();
        let merged = kernel.merge(cells, &taken).is_some();
        exchange.more |= more || !merged || taken.len() < told.len();
        if merged {
            let news = taken.iter().filter_map(|(key, theirs)| {
                let cell = kernel.cell(cells, key)?;
                (!theirs.knows(&cell)).then(|| (key.clone(), cell))
            });
            sent.extend(news);
        }
        exchange.found |= more || !told.is_empty() || !sent.is_empty();
        kernel.counts.exchanged_cells += sent.len() as u64;
        if !sent.is_empty() {
            let until = kernel.durable_through(sent.iter().map(|(key, _)| key));
            kernel.counts.exchanged_cell_bytes += bytes_of(&sent);
            exchange.given.insert(gives);
            let message = Message::Store { number: gives, cells: sent };
            exchange.bytes += message.bytes();
            kernel.counts.exchanged_bytes += message.bytes() as u64;
            kernel.send_when(until, from, message);
        }
        exchange.pause(kernel);
        self.tick(kernel, relaying, cells);
    }

    fn answered(&mut self, from: NodeId, number: u64) -> Option<&mut Exchange> {
        self.under_way.as_mut().filter(|exchange| {
            let waits = matches!(exchange.step, Step::Waiting(_));
            exchange.peer == from && exchange.number == number && waits
        })
    }

    // The one who is asked.

    pub(super) fn compare(&mut self, kernel: &mut Kernel, from: NodeId, number: u64, runs: &[Run]) {
        let begins = runs.iter().any(|run| run.first == NodeAt::ROOT);
        if begins && self.is_busy(kernel, from) {
            return;
        }
        if !begins {
            self.asked_by = Some((from, kernel.now.after(kernel.settings.exchange_timeout)));
        }
        let nodes = runs.iter().flat_map(Run::nodes).take(NODES_MAX);
        let differ =
            |(at, theirs): &(NodeAt, Short)| short(kernel.tree.hash(*at), number) != *theirs;
        let nodes = nodes.filter(differ).map(|(at, _)| at).collect();
        let message = Message::Differing { number, nodes, whole: kernel.is_whole() };
        kernel.counts.exchanged_bytes += message.bytes() as u64;
        kernel.send(from, message);
    }

    pub(super) fn list(
        &mut self,
        kernel: &mut Kernel,
        cells: &dyn Cells,
        from: NodeId,
        number: u64,
        pages: &[Page],
    ) {
        self.asked_by = Some((from, kernel.now.after(kernel.settings.exchange_timeout)));
        let mut answer = Answer::default();
        let mut looked = 0;
        for page in pages.iter().take(LEAVES_MAX) {
            if looked > 0 && (answer.read >= LIST_CELLS_MAX || answer.bytes >= CELLS_BYTES_MAX) {
                break;
            }
            answer.look(cells, number, looked, page);
            looked += 1;
        }
        let Answer { told, wanted, more, .. } = answer;
        kernel.counts.exchanged_cells += told.len() as u64;
        kernel.counts.exchanged_cell_bytes += bytes_of(&told);
        let whole = kernel.is_whole();
        let message = Message::Different { number, cells: told, wanted, looked, more, whole };
        kernel.counts.exchanged_bytes += message.bytes() as u64;
        kernel.send(from, message);
    }

    /// Whether another exchange mends differences of this replica.
    fn is_busy(&self, kernel: &Kernel, from: NodeId) -> bool {
        let asks = self.under_way.as_ref().is_some_and(|exchange| exchange.differs);
        let asked = self.asked_by.is_some_and(|(by, until)| by != from && until > kernel.now);
        asks || asked
    }
}

impl Exchange {
    /// The last of the open parts, as far as all are leaves or all are none.
    fn deepest(&mut self, kernel: &Kernel, count_max: usize) -> Vec<NodeAt> {
        let leaf = self.open.last().is_some_and(|at| kernel.tree.is_leaf(*at));
        let begin = self.open.len().saturating_sub(count_max);
        let others = self.open[begin..].iter().rposition(|at| kernel.tree.is_leaf(*at) != leaf);
        self.open.split_off(begin + others.map_or(0, |at| at + 1))
    }

    /// Lists a page of each, as far as they are not too many cells.
    fn list(&mut self, cells: &dyn Cells, parts: Vec<Bounds>) -> Message {
        let number = self.number;
        let mut pages = Vec::with_capacity(parts.len());
        let mut read = 0;
        self.listed.clear();
        for (from, mut to) in parts {
            if read >= LIST_CELLS_MAX {
                self.rest.push((from, to));
                continue;
            }
            let here = cells.range(&from, &to, PAGE_CELLS_MAX);
            read += here.len();
            if let Some((last, _)) = here.last().filter(|_| here.len() == PAGE_CELLS_MAX) {
                let next = last.next();
                self.rest.push((next.clone(), to));
                to = next;
            }
            let newest = if self.insists { Hlc::default() } else { newest_of(&here) };
            let cells: Vec<(Short, CellKey)> = here
                .into_iter()
                .map(|(key, cell)| (short_cell(&key, &cell, number), key))
                .collect();
            let listed = cells.iter().map(|(short, _)| *short).collect();
            pages.push(Page { from: from.clone(), to: to.clone(), cells: listed, newest });
            self.listed.push(Listed { bounds: (from, to), cells });
        }
        Message::List { number, pages }
    }

    /// Pages behind those that were looked at are listed again.
    fn not_looked_at(&mut self, looked: u32) {
        let looked =
            usize::try_from(looked).unwrap_or(usize::MAX).clamp(1, self.listed.len().max(1));
        if looked < self.listed.len() {
            self.rest.extend(self.listed.drain(looked..).map(|page| page.bounds));
        }
    }

    /// The cells of the pages that are wanted, as they are known by now.
    fn wanted(
        &mut self,
        kernel: &Kernel,
        cells: &dyn Cells,
        wanted: &[(u32, Short)],
    ) -> Vec<(CellKey, Cell)> {
        let wanted: BTreeSet<(u32, Short)> =
            wanted.iter().take(LEAVES_MAX * PAGE_CELLS_MAX).copied().collect();
        let mut found: Vec<(CellKey, Cell)> = Vec::new();
        let mut bytes = 0;
        for (page, Listed { cells: listed, .. }) in (0..).zip(&self.listed) {
            for (_, key) in listed.iter().filter(|(short, _)| wanted.contains(&(page, *short))) {
                if bytes >= CELLS_BYTES_MAX {
                    self.more = true;
                    return found;
                }
                // What is no more all have agreed on (INV-100).
                let Some(cell) = kernel.cell(cells, key) else { continue };
                bytes += cell_bytes(key, &cell);
                found.push((key.clone(), cell));
            }
        }
        found
    }

    /// What was sent keeps the next message waiting.
    fn pause(&mut self, kernel: &Kernel) {
        let Settings { exchange_bytes_per_second, .. } = kernel.settings;
        let bytes = std::mem::take(&mut self.bytes) as u64;
        let nanos = bytes.saturating_mul(1_000_000_000) / exchange_bytes_per_second.max(1);
        self.step = Step::Sending(kernel.now.after(Duration::from_nanos(nanos)));
    }
}

/// What is answered to a list.
#[derive(Default)]
struct Answer {
    told: Vec<(CellKey, Cell)>,
    bytes: usize,
    wanted: Vec<(u32, Short)>,
    read: usize,
    more: bool,
}

impl Answer {
    fn look(&mut self, cells: &dyn Cells, number: u64, place: u32, page: &Page) {
        let mut lacking: BTreeSet<Short> = page.cells.iter().copied().collect();
        let mut here = if page.from < page.to {
            cells.range(&page.from, &page.to, PAGE_CELLS_MAX + 1)
        } else {
            Vec::new()
        };
        self.read += here.len();
        // The asker lists these, too, once it has them.
        self.more |= here.len() > PAGE_CELLS_MAX;
        here.truncate(PAGE_CELLS_MAX);
        let newest = newest_of(&here);
        here.retain(|(key, cell)| !lacking.remove(&short_cell(key, cell, number)));
        let theirs_are_newer = !lacking.is_empty() && page.newest > newest;
        self.wanted.extend(lacking.into_iter().map(|listed| (place, listed)));
        if theirs_are_newer {
            // Once they have come, what is left here is what the asker lacks.
            self.more |= !here.is_empty();
            return;
        }
        for (key, cell) in here {
            if self.bytes >= CELLS_BYTES_MAX {
                self.more = true;
                return;
            }
            self.bytes += cell_bytes(&key, &cell);
            self.told.push((key, cell));
        }
    }
}

impl Run {
    fn nodes(&self) -> impl Iterator<Item = (NodeAt, Short)> + '_ {
        let NodeAt { bits, index } = self.first;
        let at = move |next: u32| NodeAt { bits, index: index.saturating_add(next) };
        (0..).map(at).zip(self.hashes.iter().copied())
    }
}

/// The hashes of these nodes.
fn runs(kernel: &Kernel, number: u64, nodes: impl IntoIterator<Item = NodeAt>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut next = None;
    for at in nodes {
        let hash = short(kernel.tree.hash(at), number);
        match runs.last_mut().filter(|_| next == Some(at)) {
            Some(run) => run.hashes.push(hash),
            None => runs.push(Run { first: at, hashes: vec![hash] }),
        }
        next = Some(NodeAt { index: at.index + 1, ..at });
    }
    runs
}

fn newest_of(cells: &[(CellKey, Cell)]) -> Hlc {
    cells.iter().filter_map(|(_, cell)| cell.newest()).max().unwrap_or_default()
}

fn bytes_of(cells: &[(CellKey, Cell)]) -> u64 {
    cells.iter().map(|(key, cell)| cell_bytes(key, cell) as u64).sum()
}

fn short_cell(key: &CellKey, cell: &Cell, number: u64) -> Short {
    if planted::is(Bug::HashKeysOnly) {
        return high(xxh3_64_with_seed(key.bytes(), number));
    }
    high(xxh3_64_with_seed(key.bytes(), number ^ cell.digest().0))
}

fn short(hash: u64, number: u64) -> Short {
    high(xxh3_64_with_seed(&hash.to_be_bytes(), number))
}

fn high(hash: u64) -> Short {
    let [a, b, c, d, ..] = hash.to_be_bytes();
    [a, b, c, d]
}
