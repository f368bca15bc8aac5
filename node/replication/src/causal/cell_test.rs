//! Cells against a specification that writes everything down: which writes are known, and which of them stand.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_model::{ActorId, Dot, Hlc, VersionVector};

use super::{Cell, Change, Content, Context};
use crate::random::Random;

const REPLICAS: usize = 3;

/// What a cell is by definition: sets of writes, and the exclusive knowledge of each.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct History {
    known: BTreeSet<Dot>,
    standing: BTreeMap<Dot, Content>,
}

impl History {
    fn merge(&mut self, other: &Self) {
        self.standing
            .retain(|dot, _| !other.known.contains(dot) || other.standing.contains_key(dot));
        for (dot, content) in &other.standing {
            if !self.known.contains(dot) {
                self.standing.insert(*dot, content.clone());
            }
        }
        self.known.extend(&other.known);
    }

    fn write(
        &mut self,
        dot: Dot,
        content: Option<Content>,
        replaces: impl Fn(&Dot, &Content) -> bool,
    ) {
        self.standing.retain(|dot, content| !replaces(dot, content));
        self.known.insert(dot);
        self.standing.extend(content.map(|content| (dot, content)));
    }
}

/// Three replicas of one cell, each as a cell and as a history, and a client that remembers what it read.
#[derive(Clone, Default)]
struct World {
    cells: [Cell; REPLICAS],
    histories: [History; REPLICAS],
    /// Dots in use: each actor writes other cells, too.
    used: [u64; REPLICAS],
    /// Hybrid clocks, of which some are ahead.
    clocks: [u64; REPLICAS],
    seen: (Context, BTreeSet<Dot>),
    last_writer_wins: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// In place of what the replica knows.
    Put(usize),
    /// Concurrent with everything.
    PutBlindly(usize),
    /// In place of what the client read.
    PutAsRead(usize),
    Add(usize),
    Remove(usize),
    RemoveAsRead(usize),
    Read(usize),
    /// The first takes over what the second knows.
    Merge(usize, usize),
    Elsewhere(usize),
}

fn steps() -> Vec<Step> {
    use Step::*;
    let of = |replica| {
        [
            Put(replica),
            PutBlindly(replica),
            PutAsRead(replica),
            Add(replica),
            Remove(replica),
            RemoveAsRead(replica),
            Read(replica),
            Elsewhere(replica),
            Merge(replica, (replica + 1) % REPLICAS),
            Merge(replica, (replica + 2) % REPLICAS),
        ]
    };
    (0..REPLICAS).flat_map(of).collect()
}

fn value(dot: Dot) -> Content {
    let value = Bytes::from(format!("{}:{}", dot.actor.0, dot.counter));
    Content::Value { value, expiry: None }
}

impl World {
    fn take(&mut self, step: Step) {
        match step {
            Step::Put(at) => self.put(at, None),
            Step::PutBlindly(at) => self.put(at, Some(Default::default())),
            Step::PutAsRead(at) => self.put(at, Some(self.seen.clone())),
            Step::Remove(at) => self.remove(at, None),
            Step::RemoveAsRead(at) => self.remove(at, Some(self.seen.clone())),
            Step::Add(at) => self.add(at),
            Step::Read(at) => {
                self.seen = (self.cells[at].context(), self.histories[at].known.clone());
            }
            Step::Merge(at, from) => {
                let (cell, history) = (self.cells[from].clone(), self.histories[from].clone());
                let news = !self.cells[at].knows(&cell);
                let merged = self.cells[at].merge(&cell);
                assert_eq!((merged.changed, merged.reused_dots), (news, 0));
                assert!(self.cells[at].knows(&cell));
                self.histories[at].merge(&history);
                self.clocks[at] = self.clocks[at].max(self.clocks[from]);
            }
            Step::Elsewhere(at) => {
                self.used[at] += 1;
                self.clocks[at] += 5;
            }
        }
        self.check();
    }

    fn dot(&mut self, at: usize) -> Dot {
        self.used[at] += 1;
        Dot { actor: ActorId(at as u64 + 1), counter: self.used[at] }
    }

    fn time(&mut self, at: usize, read: u64) -> Hlc {
        self.clocks[at] = self.clocks[at].max(read) + 1;
        Hlc(self.clocks[at])
    }

    fn put(&mut self, at: usize, read: Option<(Context, BTreeSet<Dot>)>) {
        let dot = self.dot(at);
        self.replace(at, dot, Some(value(dot)), read);
    }

    fn remove(&mut self, at: usize, read: Option<(Context, BTreeSet<Dot>)>) {
        let dot = self.dot(at);
        let content = self.last_writer_wins.then_some(Content::Removed);
        self.replace(at, dot, content, read);
    }

    fn replace(
        &mut self,
        at: usize,
        dot: Dot,
        content: Option<Content>,
        read: Option<(Context, BTreeSet<Dot>)>,
    ) {
        let (context, seen) = read.unzip();
        let change = match content.clone() {
            Some(content) => Change::Put { content, context },
            None => Change::Remove { context },
        };
        let newest = change.context().map_or(0, |context| context.newest.0);
        let time = self.time(at, newest);
        self.cells[at].change(dot, time, change);
        let history = &mut self.histories[at];
        history
            .write(dot, content, |known, _| seen.as_ref().is_none_or(|seen| seen.contains(known)));
        history.known.extend(seen.unwrap_or_default());
    }

    fn add(&mut self, at: usize) {
        let dot = self.dot(at);
        let time = self.time(at, 0);
        self.cells[at].change(dot, time, Change::Add(1));
        let own = |known: &Dot, content: &Content| {
            known.actor == dot.actor && matches!(content, Content::Amount(_))
        };
        let history = &mut self.histories[at];
        let before = history.standing.iter().filter(|(known, content)| own(known, content));
        let before: i128 = before.map(|(_, content)| amount(content)).sum();
        history.write(dot, Some(Content::Amount(before + 1)), own);
    }

    /// INV-92: the vector says of every write whether it is known, and what stands is what the history says.
    fn check(&self) {
        let all = (1..=REPLICAS as u64).flat_map(|actor| {
            let used = self.histories.iter().flat_map(|history| &history.known);
            used.filter(move |dot| dot.actor == ActorId(actor)).copied()
        });
        let all: BTreeSet<Dot> = all.collect();
        for (cell, history) in self.cells.iter().zip(&self.histories) {
            assert!(cell.is_well_formed());
            let standing: BTreeMap<Dot, Content> =
                cell.siblings().iter().map(|one| (one.dot, one.content.clone())).collect();
            assert_eq!(standing, history.standing);
            for dot in &all {
                assert_eq!(cell.known().covers(*dot), history.known.contains(dot), "{dot:?}");
            }
        }
        for (one, its) in self.cells.iter().zip(&self.histories) {
            for (other, others) in self.cells.iter().zip(&self.histories) {
                assert_eq!(one.digest() == other.digest(), its == others);
            }
        }
    }
}

fn amount(content: &Content) -> i128 {
    match content {
        Content::Amount(amount) => *amount,
        Content::Value { .. } | Content::Removed | Content::Member => 0,
    }
}

#[test]
fn every_short_run_is_as_specified() {
    fn go_on(world: &World, left: u32, count: &mut u64) {
        *count += 1;
        if left == 0 {
            return;
        }
        for step in steps() {
            let mut next = world.clone();
            next.take(step);
            go_on(&next, left - 1, count);
        }
    }
    let mut count = 0;
    go_on(&World::default(), 3, &mut count);
    println!("{count} runs");
}

#[test]
fn long_runs_are_as_specified() {
    let steps = steps();
    for seed in 0..2_000 {
        let mut random = Random::new(seed);
        let mut world = World::default();
        for _ in 0..40 {
            let at = usize::try_from(random.next() % steps.len() as u64).unwrap();
            world.take(steps[at]);
        }
    }
}

/// Cells as several replicas have them after a random run.
fn cells(seed: u64, last_writer_wins: bool) -> Vec<Cell> {
    let steps = steps();
    let mut random = Random::new(seed);
    let mut world = World { last_writer_wins, ..World::default() };
    let mut cells = Vec::new();
    for count in 0..24 {
        let at = usize::try_from(random.next() % steps.len() as u64).unwrap();
        world.take(steps[at]);
        if count % 6 == 5 {
            cells.push(world.cells[usize::try_from(random.next()).unwrap_or(0) % REPLICAS].clone());
        }
    }
    cells
}

fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(count - 1);
    let insert = |order: &Vec<usize>, at: usize| {
        let mut order = order.clone();
        order.insert(at, count - 1);
        order
    };
    shorter.iter().flat_map(|order| (0..count).map(|at| insert(order, at))).collect()
}

#[test]
fn every_order_of_arrival_comes_to_one_cell() {
    for seed in 0..500 {
        for last_writer_wins in [false, true] {
            let cells = cells(seed, last_writer_wins);
            let arrive = |order: &Vec<usize>| {
                let mut cell = Cell::default();
                // Everything arrives twice.
                for at in order.iter().chain(order) {
                    cell.merge(&cells[*at]);
                    if last_writer_wins {
                        cell.keep_last_writer();
                    }
                }
                cell
            };
            let orders = orders(cells.len());
            let first = arrive(&orders[0]);
            for order in &orders {
                assert_eq!(arrive(order), first, "seed {seed}, {order:?}");
            }
        }
    }
}

#[test]
fn what_every_last_writer_discarded_comes_to_one_cell() {
    // Each replica resolves what it has before it tells others: what was discarded anywhere is gone in the end.
    for seed in 0..500 {
        let mut resolved = cells(seed, true);
        resolved.iter_mut().for_each(|cell| {
            cell.keep_last_writer();
        });
        let arrive = |order: &Vec<usize>| {
            let mut cell = Cell::default();
            order.iter().for_each(|at| {
                cell.merge(&resolved[*at]);
                cell.keep_last_writer();
            });
            cell
        };
        let orders = orders(resolved.len());
        for order in &orders {
            assert_eq!(arrive(order), arrive(&orders[0]), "seed {seed}, {order:?}");
        }
    }
}

#[test]
fn a_removal_competes_by_its_time_when_the_last_writer_wins() {
    let dot = |actor, counter| Dot { actor: ActorId(actor), counter };
    let mut set = Cell::default();
    set.change(dot(1, 1), Hlc(10), Change::Put { content: value(dot(1, 1)), context: None });
    for (at, stays) in [(9, true), (11, false)] {
        let mut removed = Cell::default();
        let change = Change::Put { content: Content::Removed, context: None };
        removed.change(dot(2, 1), Hlc(at), change);
        removed.merge(&set);
        assert_eq!(removed.siblings().len(), 2);
        assert_eq!(removed.keep_last_writer(), 1);
        assert_eq!(removed.is_tombstone(), !stays);
    }
}

#[test]
fn a_set_replaces_the_increments_that_it_observed_and_no_others() {
    let dot = |actor, counter| Dot { actor: ActorId(actor), counter };
    let sum = |cell: &Cell| cell.siblings().iter().map(|one| amount(&one.content)).sum::<i128>();
    let mut one = Cell::default();
    one.change(dot(1, 1), Hlc(1), Change::Add(5));
    let mut other = one.clone();
    other.change(dot(2, 1), Hlc(2), Change::Add(7));
    one.change(dot(1, 2), Hlc(3), Change::Put { content: value(dot(1, 2)), context: None });
    one.change(dot(1, 3), Hlc(4), Change::Add(1));
    assert_eq!(sum(&one), 1);
    one.merge(&other);
    assert_eq!(sum(&one), 8, "seven were added elsewhere meanwhile");
    assert_eq!(one.siblings().len(), 3, "the value is still there");
}

#[test]
fn a_dot_that_stands_for_two_writes_is_noticed_and_comes_to_one_of_them() {
    let dot = Dot { actor: ActorId(1), counter: 1 };
    let of = |text: &'static str| {
        let content = Content::Value { value: Bytes::from(text), expiry: None };
        let mut cell = Cell::default();
        cell.change(dot, Hlc(1), Change::Put { content, context: None });
        cell
    };
    let (mut one, mut other) = (of("a"), of("b"));
    assert_eq!(one.merge(&of("b")).reused_dots, 1);
    assert_eq!(other.merge(&of("a")).reused_dots, 1);
    assert_eq!(one, other);
}

#[test]
fn a_context_that_its_own_actor_never_gave_out_is_refused() {
    let cell = Cell::default();
    let dot = Dot { actor: ActorId(1), counter: 5 };
    let known: VersionVector = [dot].into_iter().collect();
    let context = Context { known, newest: Hlc(0) };
    assert!(!cell.takes(dot, Some(&context)));
    assert!(cell.takes(Dot { counter: 6, ..dot }, Some(&context)));
}
