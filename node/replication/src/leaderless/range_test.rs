//! Reads of ranges, by one coordinator and the others' messages.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::{
    ActorId, Datacenter, Dot, Hlc, LeaderlessPolicy, Level, NodeId, Time, WallTime,
};

use super::{
    Asked, CellKey, Cells, Collected, Found, Input, Mark, Message, Output, Owners, PersistId,
    Place, ReadRepair, Refused, Replica, RequestId, Seen, Settings, Span, Standing, Start,
};
use crate::causal::{Cell, CellDigest, Change, Content};

pub(super) const HERE: NodeId = NodeId(1);
pub(super) const PEER: NodeId = NodeId(2);

#[derive(Clone, Debug, Default)]
pub(super) struct Applied(pub(super) BTreeMap<CellKey, Cell>);

impl Cells for Applied {
    fn cell(&self, key: &CellKey) -> Option<Cell> {
        self.0.get(key).cloned()
    }

    fn range(&self, from: &Bytes, to: &Bytes, count_max: usize) -> Vec<(CellKey, Cell)> {
        let within = super::asked::within(&self.0, from, to).take(count_max);
        within.map(|(key, cell)| (key.clone(), cell.clone())).collect()
    }
}

pub(super) fn key(number: u16) -> CellKey {
    CellKey::new(Bytes::from(format!("\0\0hash{number:05}"))).unwrap()
}

pub(super) fn cell(actor: u64) -> Cell {
    let mut cell = Cell::default();
    let content = Content::Value { value: Bytes::from_static(b"value"), expiry: None };
    cell.change(
        Dot { actor: ActorId(actor), counter: 1 },
        Hlc(1),
        Change::Put { content, context: None },
    );
    cell
}

pub(super) fn start(standing: Standing, collected: Collected) -> Start {
    let span = Span { from: Place(0), to: Place(1 << 40) };
    Start { id: HERE, span, seed: 7, standing, collected }
}

/// One of three replicas, which holds these cells, and may read three at once.
pub(super) fn replica(applied: &Applied) -> Replica {
    replica_after(applied, Collected::default())
}

/// The same, of which an earlier process came so far with the rounds.
pub(super) fn replica_after(applied: &Applied, collected: Collected) -> Replica {
    let settings = Settings { range_cells_max: 3, ..Settings::default() };
    let mut replica =
        Replica::new(start(Standing::Whole, collected), settings, Time::ZERO, applied);
    let dc = Datacenter::new("dc").unwrap();
    let nodes = (1..=3).map(|node| (NodeId(node), dc.clone())).collect();
    let owners = Owners { nodes, ..Owners::default() };
    let policy = LeaderlessPolicy::default();
    step(&mut replica, applied, Input::Owners { owners, policy });
    replica
}

pub(super) fn step(replica: &mut Replica, applied: &Applied, input: Input) -> Vec<Output> {
    replica.step(Time::ZERO, WallTime(1_000_000), input, applied);
    std::iter::from_fn(|| replica.pop_output()).collect()
}

pub(super) fn from_peer(message: Message) -> Input {
    Input::Message { from: PEER, mark: Mark::default(), message }
}

fn all() -> Asked {
    Asked::Range { from: key(0).bytes().clone(), to: key(9).bytes().clone() }
}

fn read() -> Input {
    let (level, repair) = (Level::Quorum, ReadRepair::Blocking);
    Input::Read { id: RequestId(1), asked: vec![all()], level, repair, seen: Seen::default() }
}

fn asked_of_peer(outputs: &[Output]) -> (u64, Vec<(Asked, CellDigest)>) {
    let fetch = outputs.iter().find_map(|output| {
        let Output::Send { to: PEER, message, .. } = output else { return None };
        let Message::Fetch { number, asked } = message else { return None };
        Some((*number, asked.clone()))
    });
    fetch.expect("the peer is asked")
}

fn told_to_peer(outputs: &[Output]) -> Vec<CellKey> {
    let store = outputs.iter().find_map(|output| {
        let Output::Send { to: PEER, message, .. } = output else { return None };
        let Message::Store { cells, .. } = message else { return None };
        Some(cells.iter().map(|(key, _)| key.clone()).collect())
    });
    store.expect("the peer is told")
}

fn persisted(outputs: &[Output]) -> PersistId {
    let persist = outputs.iter().find_map(|output| {
        let Output::Persist { id, .. } = output else { return None };
        Some(*id)
    });
    persist.expect("it takes something over")
}

pub(super) fn answers(outputs: &[Output]) -> Vec<Result<Vec<(CellKey, Cell)>, Refused>> {
    let answers = outputs.iter().filter_map(|output| {
        let Output::Answer { result, .. } = output else { return None };
        Some(result.clone())
    });
    answers.collect()
}

#[test]
fn a_range_is_what_those_who_answer_know_together() {
    let here = Applied([(key(1), cell(1)), (key(2), cell(1))].into());
    let mut replica = replica(&here);
    let (number, asked) = asked_of_peer(&step(&mut replica, &here, read()));
    let there = Applied([(key(2), cell(2)), (key(3), cell(2))].into());
    let known = there.0.clone().into_iter().collect();
    assert_eq!(asked.len(), 1);
    let message = Message::Fetched { number, found: vec![Found::Other(known)] };
    let outputs = step(&mut replica, &here, from_peer(message));
    assert_eq!(told_to_peer(&outputs), [key(1), key(2)], "it lacks one and half of the other");
    assert_eq!(answers(&outputs), [], "two must know it first");
    let id = persisted(&outputs);
    step(&mut replica, &here, Input::Persisted { id });
    let message = Message::Stored { number };
    let outputs = step(&mut replica, &here, from_peer(message));
    let answer = answers(&outputs).pop().expect("two know it").unwrap();
    assert_eq!(
        answer.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(),
        [key(1), key(2), key(3)]
    );
}

#[test]
fn a_read_that_begins_again_counts_no_answer_to_what_was_asked_before() {
    let mut over = cell(1);
    let dot = Dot { actor: ActorId(1), counter: 2 };
    over.change(dot, Hlc(2), Change::Remove { context: None });
    let named = vec![(key(2), over.digest())];
    let here = Applied([(key(1), cell(1)), (key(2), over)].into());
    let mut replica = replica(&here);
    let (before, _) = asked_of_peer(&step(&mut replica, &here, read()));
    let all = (1..=3).map(NodeId).collect();
    step(&mut replica, &here, from_peer(Message::Prepare { round: 1, cells: named, all }));
    let collected = Collected { reached: 10, ..Collected::default() };
    step(&mut replica, &here, Input::Closed { collected });
    step(&mut replica, &here, from_peer(Message::Close { round: 1 }));
    let collected = Collected { barrier: 1, ..collected };
    let again = step(&mut replica, &here, Input::Closed { collected });
    let (number, _) = asked_of_peer(&again);
    assert_ne!(number, before);
    let same = |number| {
        let message = Message::Fetched { number, found: vec![Found::Same] };
        Input::Message {
            from: PEER,
            mark: Mark { round: 1, closed: 1, ..Mark::default() },
            message,
        }
    };
    assert_eq!(answers(&step(&mut replica, &here, same(before))), []);
    assert_eq!(answers(&step(&mut replica, &here, same(number))).len(), 1);
}

#[test]
fn equal_replicas_send_no_cells() {
    let here = Applied((0..3).map(|number| (key(number), cell(1))).collect());
    let (mut one, mut other) = (replica(&here), replica(&here));
    let (number, asked) = asked_of_peer(&step(&mut one, &here, read()));
    let message = Message::Fetch { number, asked };
    let outputs = step(&mut other, &here, from_peer(message));
    let message = Message::Fetched { number, found: vec![Found::Same] };
    assert_eq!(
        outputs,
        [Output::Send { to: PEER, mark: Mark::default(), message: message.clone() }]
    );
    let outputs = step(&mut one, &here, from_peer(message));
    assert_eq!(answers(&outputs), [Ok(here.0.into_iter().collect())]);
}

#[test]
fn a_range_that_is_too_large_is_refused_and_never_cut() {
    let large = Applied((0..4).map(|number| (key(number), cell(1))).collect());
    let refused = [Err(Refused::TooMuch { cells_max: 3 })];
    assert_eq!(answers(&step(&mut replica(&large), &large, read())), refused);

    let empty = Applied::default();
    let mut replica_here = replica(&empty);
    let (number, asked) = asked_of_peer(&step(&mut replica_here, &empty, read()));
    let message = Message::Fetch { number, asked };
    let outputs = step(&mut replica(&large), &large, from_peer(message));
    let message = Message::TooMuch { number };
    assert_eq!(
        outputs,
        [Output::Send { to: PEER, mark: Mark::default(), message: message.clone() }]
    );
    let outputs = step(&mut replica_here, &empty, from_peer(message));
    assert_eq!(answers(&outputs), refused);
}

#[test]
fn cells_that_were_not_asked_for_do_not_count() {
    let empty = Applied::default();
    let mut replica = replica(&empty);
    let (number, _) = asked_of_peer(&step(&mut replica, &empty, read()));
    let found = vec![Found::Other(vec![(key(9), cell(1))])];
    let message = Message::Fetched { number, found };
    assert_eq!(step(&mut replica, &empty, from_peer(message)), []);
}
