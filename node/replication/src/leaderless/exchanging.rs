//! Anti-entropy: every so often this replica compares its tree with another one's and mends what differs, so that all come to
//! the same without any read.
//!
//! The asker goes down its tree where hashes differ and lists the cells of the leaves that do. One message is under way at a
//! time, and the next one waits as long as the rate says; an exchange that gets no answer is given up, and nothing is lost
//! with it: whoever answers keeps no state. Everything goes over a digest shortened under the exchange's number, so that
//! a difference which one exchange misses is found by the next. Keeps INV-97.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use quorate_model::planted::{self, Bug};
use quorate_model::{NodeId, Time};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::kernel::Kernel;
use super::message::{Listed, Page};
use super::relaying::Relaying;
use super::{CellKey, Cells, HashTree, Message, NodeAt, Settings};
use crate::causal::{Cell, CellDigest};

/// Nodes of which one message tells the hashes, and leaves of which one lists the cells.
const NODES_MAX: usize = 1024;
const LEAVES_MAX: usize = 64;
/// Cells of one page. A leaf with more, as where a hash has many fields, is listed page by page.
const PAGE_CELLS_MAX: usize = 4096;
/// Bytes of cells in one answer; the rest is found by the next exchange.
const CELLS_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Exchanging {
    /// Whom this replica compared itself with last.
    last: Option<NodeId>,
    numbers: u64,
    next_at: Time,
    under_way: Option<Exchange>,
    /// How many leaves were read again.
    scrubbed: u32,
    /// Whether the next one is for another datacenter where one is wanted there: every other one.
    afar: bool,
}

#[derive(Debug)]
struct Exchange {
    peer: NodeId,
    number: u64,
    /// Parts that differ, deeper ones last.
    open: Vec<NodeAt>,
    /// What is left of leaves that are longer than a page.
    rest: Vec<Bounds>,
    /// The pages that were listed last.
    listed: Vec<Bounds>,
    /// Something was brought or sent.
    found: bool,
    /// Not all of it.
    more: bool,
    /// What was given to the peer that it has not acknowledged.
    given: BTreeSet<u64>,
    /// What is torn and mended by this (INV-102).
    tear: Option<u64>,
    /// What was sent and received since the last message waited for the rate.
    bytes: usize,
    step: Step,
}

/// From the first key on, before the second.
type Bounds = (Bytes, Bytes);

/// What a list of pages came to.
pub(super) struct Difference<'a> {
    pub(super) told: &'a [(CellKey, Cell)],
    pub(super) wanted: &'a [(u32, u32)],
    pub(super) more: bool,
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
        Self { last: None, numbers, next_at, under_way: None, scrubbed: 0, afar: false }
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
            None => {
                self.scrub(kernel, cells);
                self.begin(kernel, relaying);
            }
            Some(Step::Waiting(_)) => self.end(kernel, relaying),
            Some(Step::Sending(_)) => self.ask(kernel, relaying, cells),
        }
    }

    fn begin(&mut self, kernel: &mut Kernel, relaying: &Relaying) {
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
        let root = (NodeAt::ROOT, short(kernel.tree.hash(NodeAt::ROOT), number));
        let message = Message::Compare { number, nodes: vec![root] };
        let step = Step::Waiting(kernel.now.after(kernel.settings.exchange_timeout));
        let bytes = message.bytes();
        self.under_way = Some(Exchange {
            peer,
            number,
            open: Vec::new(),
            rest: Vec::new(),
            listed: Vec::new(),
            found: false,
            more: false,
            given: BTreeSet::new(),
            tear: relaying.wants(kernel, peer),
            bytes,
            step,
        });
        kernel.send(peer, message);
    }

    /// Reads one leaf: the tree is of what was written, and rows that are never read would never be found to be lost.
    fn scrub(&mut self, kernel: &mut Kernel, cells: &dyn Cells) {
        let leaf = kernel.tree.leaf(self.scrubbed);
        self.scrubbed = self.scrubbed.wrapping_add(1);
        let Some(span) = kernel.tree.span_of(leaf) else { return };
        let (begin, end) = (span.from.first_key(), span.to.first_key());
        // Of a leaf with more than a page the rest is not looked at.
        let here = cells.range(&begin, &end, PAGE_CELLS_MAX);
        if here.len() < PAGE_CELLS_MAX && HashTree::hash_of(&here) != kernel.tree.hash(leaf) {
            kernel.damaged(format!("the cells of {leaf:?} are not those that were written"));
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
            kernel.compared(exchange.peer);
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
        let number = exchange.number;
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
                let nodes = children.map(|at| (at, short(kernel.tree.hash(at), number)));
                Message::Compare { number, nodes: nodes.collect() }
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
        nodes: &[NodeAt],
    ) {
        let Some(exchange) = self.answered(from, number) else { return };
        exchange.open.extend(nodes.iter().take(NODES_MAX));
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
        Difference { told, wanted, more }: Difference<'_>,
    ) {
        self.numbers = self.numbers.wrapping_add(1);
        let gives = self.numbers;
        let Some(exchange) = self.answered(from, number) else { return };
        let mut wanting: BTreeSet<(u32, u32)> = BTreeSet::new();
        wanting.extend(wanted.iter().take(LEAVES_MAX * PAGE_CELLS_MAX));
        let mut sent: Vec<(CellKey, Cell)> = Vec::new();
        let mut sent_bytes = 0;
        for (page, (begin, end)) in (0..).zip(&exchange.listed) {
            if wanting.range((page, 0)..=(page, u32::MAX)).next().is_none() {
                continue;
            }
            let is_wanted = |key: &CellKey| wanting.contains(&(page, short_key(key, number)));
            let here = cells.range(begin, end, PAGE_CELLS_MAX).into_iter();
            for (key, cell) in here.filter(|(key, _)| is_wanted(key)) {
                if sent_bytes >= CELLS_BYTES_MAX {
                    exchange.more = true;
                    break;
                }
                sent_bytes += key.bytes().len() + cell.bytes();
                sent.push((key, cell));
            }
        }
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
        exchange.found |= !told.is_empty() || !sent.is_empty();
        kernel.counts.exchanged_cells += (told.len() + sent.len()) as u64;
        if !sent.is_empty() {
            let until = kernel.durable_through(sent.iter().map(|(key, _)| key));
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
}

impl Exchange {
    /// The last of the open parts, as far as all are leaves or all are none.
    fn deepest(&mut self, kernel: &Kernel, count_max: usize) -> Vec<NodeAt> {
        let leaf = self.open.last().is_some_and(|at| kernel.tree.is_leaf(*at));
        let begin = self.open.len().saturating_sub(count_max);
        let others = self.open[begin..].iter().rposition(|at| kernel.tree.is_leaf(*at) != leaf);
        self.open.split_off(begin + others.map_or(0, |at| at + 1))
    }

    /// Lists a page of each.
    fn list(&mut self, cells: &dyn Cells, parts: Vec<Bounds>) -> Message {
        let number = self.number;
        let mut pages = Vec::with_capacity(parts.len());
        self.listed.clear();
        for (from, mut to) in parts {
            let here = cells.range(&from, &to, PAGE_CELLS_MAX);
            if let Some((last, _)) = here.last().filter(|_| here.len() == PAGE_CELLS_MAX) {
                let next = last.next();
                self.rest.push((next.clone(), to));
                to = next;
            }
            let listed = here.iter().map(|(key, cell)| Listed::of(key, cell, number)).collect();
            pages.push(Page { from: from.clone(), to: to.clone(), cells: listed });
            self.listed.push((from, to));
        }
        Message::List { number, pages }
    }

    /// What was sent keeps the next message waiting.
    fn pause(&mut self, kernel: &Kernel) {
        let Settings { exchange_bytes_per_second, .. } = kernel.settings;
        let bytes = std::mem::take(&mut self.bytes) as u64;
        let nanos = bytes.saturating_mul(1_000_000_000) / exchange_bytes_per_second.max(1);
        self.step = Step::Sending(kernel.now.after(Duration::from_nanos(nanos)));
    }
}

// The one who is asked.

pub(super) fn compare(kernel: &mut Kernel, from: NodeId, number: u64, nodes: &[(NodeAt, u32)]) {
    let differ = |(at, theirs): &&(NodeAt, u32)| short(kernel.tree.hash(*at), number) != *theirs;
    let nodes = nodes.iter().take(NODES_MAX).filter(differ).map(|(at, _)| *at).collect();
    let message = Message::Differing { number, nodes };
    kernel.counts.exchanged_bytes += message.bytes() as u64;
    kernel.send(from, message);
}

pub(super) fn list(
    kernel: &mut Kernel,
    cells: &dyn Cells,
    from: NodeId,
    number: u64,
    pages: &[Page],
) {
    let mut told = Vec::new();
    let mut bytes = 0;
    let mut wanted = Vec::new();
    let mut more = false;
    for (place, page) in (0..).zip(pages.iter().take(LEAVES_MAX)) {
        let theirs: BTreeSet<Listed> = page.cells.iter().copied().collect();
        let mut keys = BTreeSet::new();
        let mut here = if page.from < page.to {
            cells.range(&page.from, &page.to, PAGE_CELLS_MAX + 1)
        } else {
            Vec::new()
        };
        // The asker lists these, too, once it has them.
        more |= here.len() > PAGE_CELLS_MAX;
        here.truncate(PAGE_CELLS_MAX);
        for (key, cell) in here {
            let listed = Listed::of(&key, &cell, number);
            keys.insert(listed.key);
            if theirs.contains(&listed) {
                continue;
            }
            if bytes >= CELLS_BYTES_MAX {
                more = true;
                continue;
            }
            bytes += key.bytes().len() + cell.bytes();
            told.push((key, cell));
        }
        let lacking = theirs.iter().filter(|listed| !keys.contains(&listed.key));
        wanted.extend(lacking.map(|listed| (place, listed.key)));
    }
    let message = Message::Different { number, cells: told, wanted, more };
    kernel.counts.exchanged_bytes += message.bytes() as u64;
    kernel.send(from, message);
}

impl Listed {
    fn of(key: &CellKey, cell: &Cell, number: u64) -> Self {
        Self { key: short_key(key, number), digest: short_digest(cell.digest(), number) }
    }
}

fn short(hash: u64, number: u64) -> u32 {
    high(xxh3_64_with_seed(&hash.to_be_bytes(), number))
}

fn short_key(key: &CellKey, number: u64) -> u32 {
    high(xxh3_64_with_seed(key.bytes(), number))
}

fn short_digest(digest: CellDigest, number: u64) -> u32 {
    if planted::is(Bug::HashKeysOnly) {
        return 0;
    }
    short(digest.0, number)
}

const fn high(hash: u64) -> u32 {
    (hash >> 32) as u32
}
