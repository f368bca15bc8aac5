//! Writes that begin with a read, by one coordinator and another's messages.

use bytes::Bytes;
use quorate_model::{
    ActorId, Datacenter, Dot, Hlc, LeaderlessPolicy, Level, NodeId, Time, WallTime,
};

use super::range_test::{Applied, PEER, cell, from_peer, key, replica, step};
use super::{
    After, Asked, CellKey, Collected, Found, Input, Mark, Message, Output, Owners, PersistId,
    ReadRepair, Refused, Replica, RequestId, Seen,
};
use crate::causal::{Cell, Change, Content};

fn put() -> Change {
    let content = Content::Value { value: Bytes::from_static(b"new"), expiry: None };
    Change::Put { content, context: None }
}

fn write(after: After) -> Input {
    let changes = vec![(key(1), put())];
    Input::Write { id: RequestId(1), changes, level: Level::Quorum, after }
}

/// What the coordinator does not know, at a time that is later than its clock.
fn ahead() -> Cell {
    written_at(1_000_500)
}

fn written_at(ms: u64) -> Cell {
    let mut ahead = Cell::default();
    let content = Content::Value { value: Bytes::from_static(b"old"), expiry: None };
    let at = Hlc::at(WallTime(ms));
    let dot = Dot { actor: ActorId(9), counter: 1 };
    ahead.change(dot, at, Change::Put { content, context: None });
    ahead
}

fn to_peer(output: &Output) -> Option<&Message> {
    if let Output::Send { to: PEER, message, .. } = output { Some(message) } else { None }
}

fn fetches(outputs: &[Output]) -> Vec<u64> {
    let number = |message: &Message| {
        if let Message::Fetch { number, .. } = message { Some(*number) } else { None }
    };
    outputs.iter().filter_map(to_peer).filter_map(number).collect()
}

fn stores(outputs: &[Output]) -> Vec<(u64, Cell)> {
    let store = |message: &Message| {
        let Message::Store { number, cells } = message else { return None };
        Some((*number, cells[0].1.clone()))
    };
    outputs.iter().filter_map(to_peer).filter_map(store).collect()
}

fn answers(outputs: &[Output]) -> Vec<&Result<Vec<(CellKey, Cell)>, Refused>> {
    let mut answers = Vec::new();
    for output in outputs {
        if let Output::Answer { result, .. } = output {
            answers.push(result);
        }
    }
    answers
}

fn found(number: u64, cell: Option<Cell>) -> Input {
    let cells = cell.into_iter().map(|cell| (key(1), cell)).collect();
    from_peer(Message::Fetched { number, found: vec![Found::Other(cells)] })
}

fn persisted(replica: &mut Replica, applied: &Applied, ids: std::ops::RangeInclusive<u64>) {
    for id in ids {
        step(replica, applied, Input::Persisted { id: PersistId(id) });
    }
}

#[test]
fn a_write_that_comes_after_a_quorum_is_later_than_what_that_knows_and_replaces_it() {
    let applied = Applied::default();
    let mut replica = replica(&applied);
    let begun = step(&mut replica, &applied, write(After::Level(Level::Quorum)));
    assert_eq!((fetches(&begun).len(), stores(&begun)), (1, Vec::new()), "nothing changes yet");
    let written = step(&mut replica, &applied, found(fetches(&begun)[0], Some(ahead())));
    let [(number, told)] = &stores(&written)[..] else { panic!("{written:?}") };
    assert_ne!(*number, fetches(&begun)[0], "a repair's acknowledgement is not the write's");
    assert!(answers(&written).is_empty());
    let newest = ahead().context().newest;
    assert!(told.knows(&ahead()) && told.siblings().len() == 1);
    assert!(told.siblings()[0].at > newest);
    persisted(&mut replica, &applied, 1..=2);
    let answered = step(&mut replica, &applied, from_peer(Message::Stored { number: *number }));
    assert_eq!(answers(&answered), [&Ok(vec![(key(1), told.clone())])]);
}

#[test]
fn a_write_without_it_may_come_before_what_others_know() {
    let applied = Applied::default();
    let mut replica = replica(&applied);
    let written = step(&mut replica, &applied, write(After::Nothing));
    assert!(fetches(&written).is_empty());
    assert!(stores(&written)[0].1.siblings()[0].at < ahead().context().newest);
}

#[test]
fn a_write_waits_until_its_coordinator_has_taken_what_was_read() {
    let applied = Applied::default();
    let mut replica = replica(&applied);
    let begun = step(&mut replica, &applied, write(After::Level(Level::Quorum)));
    // INV-94
    let ahead = written_at(1_011_000);
    let read = step(&mut replica, &applied, found(fetches(&begun)[0], Some(ahead.clone())));
    assert!(stores(&read).is_empty() && answers(&read).is_empty());
    replica.step(replica.deadline(), WallTime(1_002_000), Input::Tick, &applied);
    let outputs: Vec<Output> = std::iter::from_fn(|| replica.pop_output()).collect();
    assert!(stores(&outputs)[0].1.siblings()[0].at > ahead.context().newest);
}

#[test]
fn nothing_is_written_where_too_few_answer_what_it_was_to_come_after() {
    let applied = Applied([(key(1), cell(5))].into());
    let mut replica = replica(&applied);
    step(&mut replica, &applied, write(After::Level(Level::All)));
    let timeout = Time::ZERO.after(super::Settings::default().request_timeout);
    replica.step(timeout, WallTime(1_000_000), Input::Tick, &applied);
    let outputs: Vec<Output> = std::iter::from_fn(|| replica.pop_output()).collect();
    let refused = Refused::NotBegun { answered: 1, needed: 3 };
    assert_eq!(answers(&outputs), [&Err(refused)]);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Persist { .. })));
}

/// INV-96: who has acknowledged a repair holds what it was told then, and no more.
#[test]
fn what_a_read_is_of_stays_while_its_coordinator_cannot_take_it() {
    let applied = Applied::default();
    let mut replica = replica(&applied);
    let dc = Datacenter::new("dc").unwrap();
    let nodes = (1..=5).map(|node| (NodeId(node), dc.clone())).collect();
    let owners = Owners { nodes, ..Owners::default() };
    let policy = LeaderlessPolicy::default();
    step(&mut replica, &applied, Input::Owners { owners, policy });
    let from = |from, message| {
        let mark = Mark::default();
        Input::Message { from: NodeId(from), mark, message }
    };
    let (id, asked) = (RequestId(1), vec![Asked::Cell(key(1))]);
    let (level, repair, seen) = (Level::Quorum, ReadRepair::Blocking, Seen::default());
    let read = Input::Read { id, asked, level, repair, seen };
    let number = fetches(&step(&mut replica, &applied, read))[0];
    let found = |cells| Message::Fetched { number, found: vec![Found::Other(cells)] };
    // INV-94
    let ahead = vec![(key(1), written_at(1_011_000))];
    let resend = Time::ZERO.after(super::Settings::default().resend);
    let mut answered = Vec::new();
    for (at, input) in [
        (Time::ZERO, from(2, found(ahead.clone()))),
        (Time::ZERO, from(3, found(Vec::new()))),
        (Time::ZERO, from(3, Message::Stored { number })),
        (resend, Input::Tick),
        (resend, from(4, found(vec![(key(1), cell(5))]))),
        (resend, from(4, Message::Stored { number })),
    ] {
        assert_eq!(answered, [], "three of five do not hold it yet");
        replica.step(at, WallTime(1_000_000), input, &applied);
        let outputs: Vec<Output> = std::iter::from_fn(|| replica.pop_output()).collect();
        answered.extend(answers(&outputs).into_iter().cloned());
    }
    assert_eq!(answered, [Ok(ahead)]);
}

/// INV-100
#[test]
fn what_a_read_gathered_before_a_round_was_closed_is_not_taken_over_after_it() {
    let mut over = cell(1);
    let dot = Dot { actor: ActorId(1), counter: 2 };
    over.change(dot, Hlc(2), Change::Remove { context: None });
    let cells = vec![(key(2), over.digest())];
    let applied = Applied([(key(2), over)].into());
    let mut replica = replica(&applied);
    let begun = step(&mut replica, &applied, write(After::Level(Level::Quorum)));
    // INV-94
    step(&mut replica, &applied, found(fetches(&begun)[0], Some(written_at(1_011_000))));
    let all = (1..=3).map(NodeId).collect();
    step(&mut replica, &applied, from_peer(Message::Prepare { round: 1, cells, all }));
    let collected = Collected { reached: 10, ..Collected::default() };
    step(&mut replica, &applied, Input::Closed { collected });
    let closed = step(&mut replica, &applied, from_peer(Message::Close { round: 1 }));
    assert!(closed.iter().any(|output| matches!(output, Output::Close { .. })));
    let resend = Time::ZERO.after(super::Settings::default().resend);
    replica.step(resend, WallTime(1_002_000), Input::Tick, &applied);
    let outputs: Vec<Output> = std::iter::from_fn(|| replica.pop_output()).collect();
    assert!(!outputs.iter().any(|output| matches!(output, Output::Persist { .. })));
    assert!(!fetches(&outputs).is_empty(), "it is read again");
}
