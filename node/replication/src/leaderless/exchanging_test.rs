//! Two replicas that compare themselves, with disks that are done at once.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use quorate_model::{ActorId, Datacenter, Dot, Hlc, LeaderlessPolicy, NodeId, Time, WallTime};

use super::range_test::{Applied, PEER, cell, from_peer, key, replica};
use super::{
    CellKey, Collected, Input, Mark, Message, NodeAt, Output, Owners, PersistId, Place, Replica,
    Settings, Span, Standing, Start,
};
use crate::causal::{Cell, Change, Content};

struct Pair {
    now: Time,
    replicas: [Replica; 2],
    cells: [Applied; 2],
    unapplied: [BTreeMap<PersistId, Vec<(CellKey, Cell)>>; 2],
    /// The first answer to a list in a comparison, where it comes again before every later one.
    repeats: Option<Vec<Message>>,
}

const fn id(at: usize) -> NodeId {
    NodeId(at as u128 + 1)
}

impl Pair {
    fn new(cells: [BTreeMap<CellKey, Cell>; 2], standings: [Standing; 2]) -> Self {
        let cells = cells.map(Applied);
        let replica = |at: usize| {
            let start = Start {
                id: id(at),
                span: Span { from: Place(0), to: Place(1 << 40) },
                seed: at as u64,
                standing: standings[at],
                collected: Collected::default(),
            };
            Replica::new(start, Settings::default(), Time::ZERO, &cells[at])
        };
        let replicas = [replica(0), replica(1)];
        let unapplied = Default::default();
        let mut pair = Self { now: Time::ZERO, replicas, cells, unapplied, repeats: None };
        let dc = Datacenter::new("dc").unwrap();
        for at in 0..2 {
            let nodes = (0..2).map(|node| (id(node), dc.clone())).collect();
            let owners = Owners { nodes, ..Owners::default() };
            pair.give(at, Input::Owners { owners, policy: LeaderlessPolicy::default() });
        }
        pair
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while let Some(at) = (0..2).min_by_key(|at| self.replicas[*at].deadline())
            && self.replicas[at].deadline() <= end
        {
            self.now = self.now.max(self.replicas[at].deadline());
            self.give(at, Input::Tick);
        }
    }

    /// And everything that follows from it.
    fn give(&mut self, at: usize, input: Input) {
        let mut inputs = vec![(at, input)];
        while let Some((at, input)) = inputs.pop() {
            let wall = WallTime(1_000_000);
            self.replicas[at].step(self.now, wall, input, &self.cells[at]);
            let mut next = Vec::new();
            while let Some(output) = self.replicas[at].pop_output() {
                match output {
                    Output::Persist { id, cells } => {
                        self.unapplied[at].insert(id, cells);
                        next.push((at, Input::Persisted { id }));
                    }
                    Output::Apply { through } => {
                        let later = self.unapplied[at].split_off(&PersistId(through.0 + 1));
                        let cells = std::mem::replace(&mut self.unapplied[at], later);
                        self.cells[at].0.extend(cells.into_values().flatten());
                    }
                    Output::Send { message, .. } => {
                        match (&mut self.repeats, &message) {
                            (Some(first), Message::Compare { .. }) => first.clear(),
                            (Some(first), Message::Different { .. }) => {
                                let again = first.iter().cloned();
                                next.extend(again.map(|again| (1 - at, received(at, again))));
                                if first.is_empty() {
                                    first.push(message.clone());
                                }
                            }
                            _ => {}
                        }
                        next.push((1 - at, received(at, message)));
                    }
                    Output::Filled
                    | Output::Answer { .. }
                    | Output::Close { .. }
                    | Output::Drop { .. } => {}
                    Output::Damaged { why } => panic!("{why}"),
                }
            }
            // What was first is taken first.
            inputs.extend(next.into_iter().rev());
        }
    }
}

fn received(from: usize, message: Message) -> Input {
    Input::Message { from: id(from), mark: Mark::default(), message }
}

/// The fields of one hash, or others of one place.
fn cells(numbers: impl Iterator<Item = u32>) -> BTreeMap<CellKey, Cell> {
    let content = Content::Value { value: Bytes::from_static(b"value"), expiry: None };
    let one = |number: u32| {
        let mut cell = Cell::default();
        let dot = Dot { actor: ActorId(1), counter: u64::from(number) + 1 };
        cell.change(dot, Hlc(1), Change::Put { content: content.clone(), context: None });
        (CellKey::new(Bytes::from(format!("\0\0hash{number:05}"))).unwrap(), cell)
    };
    numbers.map(one).collect()
}

#[test]
fn places_of_many_cells_are_compared_to_their_end() {
    let (even, odd) = (cells((0..10_000).step_by(2)), cells((1..10_000).step_by(2)));
    let mut pair = Pair::new([even, odd], [Standing::Whole; 2]);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.cells[0].0.len(), 10_000);
    assert_eq!(pair.cells[0].0, pair.cells[1].0);
}

#[test]
fn a_replica_is_filled_with_places_of_many_cells() {
    let standings = [Standing::Whole, Standing::Filling];
    let mut pair = Pair::new([cells(0..20_000), BTreeMap::new()], standings);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.cells[1].0.len(), 20_000);
    assert_eq!(pair.replicas[1].standing(), Standing::Whole);
}

/// INV-98
#[test]
fn what_answers_a_list_answers_no_later_one_of_the_comparison() {
    let standings = [Standing::Whole, Standing::Filling];
    let mut pair = Pair::new([cells(0..20_000), BTreeMap::new()], standings);
    pair.repeats = Some(Vec::new());
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.replicas[1].standing(), Standing::Whole);
    assert_eq!(pair.cells[1].0.len(), 20_000);
}

/// The next message to the peer, which what it answers leads to.
fn asked(replica: &mut Replica, applied: &Applied, now: &mut Time, input: Input) -> Message {
    let mut input = Some(input);
    loop {
        let next = input.take().unwrap_or(Input::Tick);
        replica.step(*now, WallTime(1_000_000), next, applied);
        while let Some(output) = replica.pop_output() {
            if let Output::Send { to: PEER, message, .. } = output {
                return message;
            }
        }
        *now = replica.deadline().max(*now);
    }
}

#[test]
fn what_changes_after_it_was_listed_is_given_as_it_is_by_then() {
    let mut applied = Applied([(key(1), cell(5))].into());
    let (mut replica, mut now) = (replica(&applied), Time::ZERO);
    let mut message = asked(&mut replica, &applied, &mut now, Input::Tick);
    // Of its tree that place differs.
    let place = key(1).place();
    while let Message::Compare { number, runs } = message {
        let nodes = runs.iter().flat_map(|run| {
            let at = |next| NodeAt { index: run.first.index + next, ..run.first };
            (0..).zip(&run.hashes).map(move |(next, _)| at(next))
        });
        let differs =
            |at: &NodeAt| replica.tree().span_of(*at).is_none_or(|span| span.contains(place));
        let nodes = nodes.filter(differs).collect();
        let differing = Message::Differing { number, nodes, whole: true };
        message = asked(&mut replica, &applied, &mut now, from_peer(differing));
    }
    let Message::List { number, pages } = message else { panic!("{message:?}") };
    let places = (0..).zip(&pages);
    let wanted: Vec<_> =
        places.flat_map(|(at, page)| page.cells.iter().map(move |listed| (at, *listed))).collect();
    assert_eq!(wanted.len(), 1);
    // Meanwhile another replica tells of a write that this one did not know of.
    let told = vec![(key(1), cell(9))];
    let store = Input::Message {
        from: NodeId(3),
        mark: Mark::default(),
        message: Message::Store { number: 1, cells: told },
    };
    replica.step(now, WallTime(1_000_000), store, &applied);
    let persisted = std::iter::from_fn(|| replica.pop_output()).find_map(|output| {
        if let Output::Persist { id, cells } = output { Some((id, cells)) } else { None }
    });
    let (id, cells) = persisted.unwrap();
    replica.step(now, WallTime(1_000_000), Input::Persisted { id }, &applied);
    while replica.pop_output().is_some() {}
    applied.0.extend(cells);
    let looked = u32::try_from(pages.len()).unwrap();
    let different =
        Message::Different { number, cells: Vec::new(), wanted, looked, more: false, whole: true };
    let given = asked(&mut replica, &applied, &mut now, from_peer(different));
    let Message::Store { cells, .. } = &given else { panic!("{given:?}") };
    assert!(cells[0].1.knows(&cell(5)) && cells[0].1.knows(&cell(9)));
}
