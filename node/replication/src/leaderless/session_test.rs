//! INV-106: reads of a session that has seen something, by one coordinator and the others' messages.

use quorate_model::{Level, NodeId, Time, VersionVector, WallTime};

use super::range_test::{Applied, PEER, cell, key, replica, step};
use super::{
    Asked, CellKey, Found, Input, Mark, Message, Output, ReadRepair, Refused, Replica, RequestId,
    Seen, Settings,
};
use crate::causal::Cell;

const OTHER: NodeId = NodeId(3);

fn read(seen: Seen) -> Input {
    let (asked, level) = (vec![Asked::Cell(key(1))], Level::Count(1));
    Input::Read { id: RequestId(1), asked, level, repair: ReadRepair::Blocking, seen }
}

fn seen(cell: &Cell) -> Seen {
    let other = (key(2), VersionVector::from_iter([]));
    Seen { cells: vec![(key(1), cell.known().clone()), other], more: false }
}

fn number(outputs: &[Output]) -> u64 {
    let fetch = outputs.iter().find_map(|output| {
        let Output::Send { to: PEER, message: Message::Fetch { number, .. }, .. } = output else {
            return None;
        };
        Some(*number)
    });
    fetch.expect("the peer is asked")
}

fn answers(outputs: Vec<Output>) -> Vec<Result<Vec<(CellKey, Cell)>, Refused>> {
    let answer = |output| {
        if let Output::Answer { result, .. } = output { Some(result) } else { None }
    };
    outputs.into_iter().filter_map(answer).collect()
}

fn tells(from: NodeId, number: u64, cell: Option<&Cell>) -> Input {
    let cells = cell.map(|cell| (key(1), cell.clone())).into_iter().collect();
    let message = Message::Fetched { number, found: vec![Found::Other(cells)] };
    Input::Message { from, mark: Mark::default(), message }
}

fn tick(replica: &mut Replica, applied: &Applied, at: Time) -> Vec<Output> {
    replica.step(at, WallTime(1_000_000), Input::Tick, applied);
    std::iter::from_fn(|| replica.pop_output()).collect()
}

#[test]
fn a_read_waits_for_somebody_who_knows_what_the_session_has_seen() {
    let applied = Applied::default();
    let mut replica = replica(&applied);
    let begun = step(&mut replica, &applied, read(seen(&cell(9))));
    let number = number(&begun);
    assert!(answers(begun).is_empty(), "it knows nothing itself");
    assert!(answers(step(&mut replica, &applied, tells(OTHER, number, None))).is_empty());
    let told = step(&mut replica, &applied, tells(PEER, number, Some(&cell(9))));
    assert_eq!(answers(told), [Ok(vec![(key(1), cell(9))])]);
}

#[test]
fn a_read_of_what_is_known_here_waits_for_nobody() {
    let applied = Applied([(key(1), cell(5))].into());
    let mut replica = replica(&applied);
    let begun = step(&mut replica, &applied, read(seen(&cell(5))));
    assert_eq!(answers(begun), [Ok(vec![(key(1), cell(5))])]);
}

#[test]
fn what_nobody_knows_any_more_is_waited_for_no_longer() {
    let applied = Applied([(key(1), cell(5))].into());
    let more = Seen { cells: Vec::new(), more: true };
    for seen in [seen(&cell(9)), more] {
        let mut replica = replica(&applied);
        let begun = step(&mut replica, &applied, read(seen));
        let number = number(&begun);
        assert!(answers(begun).is_empty());
        assert!(answers(step(&mut replica, &applied, tells(OTHER, number, None))).is_empty());
        let told = step(&mut replica, &applied, tells(PEER, number, None));
        assert_eq!(answers(told), [Ok(vec![(key(1), cell(5))])]);
    }
}

#[test]
fn those_who_answered_are_asked_again_and_in_the_end_the_session_is_told() {
    let applied = Applied::default();
    let mut replica = replica(&applied);
    let begun = step(&mut replica, &applied, read(seen(&cell(9))));
    let first = number(&begun);
    step(&mut replica, &applied, tells(PEER, first, None));
    let settings = Settings::default();
    let again = tick(&mut replica, &applied, Time::ZERO.after(settings.resend));
    assert_ne!(number(&again), first, "an answer to the first question is none to this one");
    let end = tick(&mut replica, &applied, Time::ZERO.after(settings.request_timeout));
    assert_eq!(answers(end), [Err(Refused::Behind)]);
}
