//! Requests over steps of the shard, by one coordinator and the others' messages.

use quorate_model::{
    Datacenter, Datacenters, Epoch, LeaderlessPolicy, Leaving, Level, NodeId, Step, Time,
};

use super::range_test::{Applied, HERE, PEER, answers, cell, key, replica, start, step};
use super::{
    After, Asked, Collected, Found, Input, Mark, Message, Output, Owners, PersistId, ReadRepair,
    Replica, RequestId, Seen, Settings, Standing,
};
use crate::causal::{Change, Content};

const OTHER: NodeId = NodeId(3);
const JOINS: NodeId = NodeId(4);

/// The shard goes from three replicas to this one and another, or has gone back.
fn owners(since: u64, moves: bool) -> Input {
    let place = |nodes: &[NodeId]| {
        nodes.iter().map(|node| (*node, Datacenter::new("dc").unwrap())).collect()
    };
    let before = [HERE, PEER, OTHER];
    let leaves = Leaving { owners: place(&before), step: Step::Filling };
    let owners = Owners {
        since: Epoch(since),
        nodes: if moves { place(&[HERE, JOINS]) } else { place(&before) },
        leaves: moves.then_some(leaves),
        ..Owners::default()
    };
    Input::Owners { owners, policy: LeaderlessPolicy::default() }
}

fn says(from: NodeId, since: u64, message: Message) -> Input {
    Input::Message { from, mark: Mark { since: Epoch(since), ..Mark::default() }, message }
}

fn sent(outputs: &[Output], whom: NodeId) -> u64 {
    asked(outputs, whom).expect("it is asked")
}

fn asked(outputs: &[Output], whom: NodeId) -> Option<u64> {
    outputs.iter().find_map(|output| {
        let Output::Send { to, message, .. } = output else { return None };
        let (Message::Store { number, .. } | Message::Fetch { number, .. }) = message else {
            return None;
        };
        (*to == whom).then_some(*number)
    })
}

fn answered(outputs: &[Output]) -> bool {
    let answers = answers(outputs);
    assert!(answers.iter().all(Result::is_ok), "there is a quorum");
    !answers.is_empty()
}

fn moved(replica: &mut Replica, applied: &Applied) -> Vec<Output> {
    step(replica, applied, owners(2, false));
    step(replica, applied, owners(3, true))
}

#[test]
fn what_a_replica_held_before_it_left_and_joined_again_counts_no_more() {
    let applied = Applied::default();
    let mut replica = replica(&applied);
    step(&mut replica, &applied, owners(1, true));
    let content = Content::Value { value: "value".into(), expiry: None };
    let changes = vec![(key(1), Change::Put { content, context: None })];
    let (id, level, after) = (RequestId(1), Level::Quorum, After::Nothing);
    let begun = step(&mut replica, &applied, Input::Write { id, changes, level, after });
    let first = sent(&begun, JOINS);
    step(&mut replica, &applied, Input::Persisted { id: PersistId(1) });
    let stored = |number| Message::Stored { number };
    assert!(!answered(&step(&mut replica, &applied, says(JOINS, 1, stored(first)))));
    let again = sent(&moved(&mut replica, &applied), JOINS);
    assert!(!answered(&step(&mut replica, &applied, says(OTHER, 3, stored(again)))));
    let late = step(&mut replica, &applied, says(JOINS, 1, stored(first)));
    assert!(!answered(&late), "that copy is gone");
    assert!(answered(&step(&mut replica, &applied, says(JOINS, 3, stored(again)))));
}

#[test]
fn a_read_over_a_step_asks_everybody_again() {
    let applied = Applied([(key(1), cell(5))].into());
    let mut replica = replica(&applied);
    let (asked, level) = (vec![Asked::Cell(key(1))], Level::All);
    let (id, repair, seen) = (RequestId(1), ReadRepair::Blocking, Seen::default());
    let begun = step(&mut replica, &applied, Input::Read { id, asked, level, repair, seen });
    let first = sent(&begun, PEER);
    let same = |number| Message::Fetched { number, found: vec![Found::Same] };
    assert!(!answered(&step(&mut replica, &applied, says(PEER, 0, same(first)))));
    step(&mut replica, &applied, owners(1, true));
    let again = sent(&step(&mut replica, &applied, owners(2, false)), PEER);
    assert!(!answered(&step(&mut replica, &applied, says(OTHER, 0, same(first)))), "late");
    assert!(!answered(&step(&mut replica, &applied, says(OTHER, 2, same(again)))));
    assert!(answered(&step(&mut replica, &applied, says(PEER, 2, same(again)))));
}

/// INV-90
#[test]
fn a_replica_that_joins_again_is_another_actor() {
    let applied = Applied::default();
    let mut replica = replica(&applied);
    let first = replica.actor();
    step(&mut replica, &applied, owners(1, true));
    assert_eq!(replica.actor(), first, "it has had a replica all the time");
    let Input::Owners { owners: mut without, policy } = owners(2, false) else { panic!("owners") };
    without.nodes.remove(&HERE);
    step(&mut replica, &applied, Input::Owners { owners: without, policy });
    step(&mut replica, &applied, owners(3, true));
    assert_ne!(replica.actor(), first, "of its own amounts it may know nothing any more");
}

/// INV-98: it took it while nobody read from it; now they do, and it is not filled.
#[test]
fn a_replica_that_lacks_something_does_not_acknowledge_what_it_took_while_it_joined() {
    let place = |node: NodeId| Datacenter::new(if node == PEER { "dc-a" } else { "dc-b" }).unwrap();
    let places = |nodes: &[NodeId]| nodes.iter().map(|node| (*node, place(*node))).collect();
    let owners = |since, step| {
        let leaves = Some(Leaving { owners: places(&[OTHER, PEER]), step });
        let nodes = places(&[HERE, PEER]);
        let owners = Owners { since: Epoch(since), nodes, leaves, ..Owners::default() };
        let datacenters = Datacenters::Local;
        Input::Owners { owners, policy: LeaderlessPolicy { datacenters, ..Default::default() } }
    };
    for moves in [false, true] {
        let applied = Applied::default();
        let start = start(Standing::Filling, Collected::default());
        let mut replica = Replica::new(start, Settings::default(), Time::ZERO, &applied);
        step(&mut replica, &applied, owners(1, Step::Filling));
        let relay = Message::Relay { number: 9, cells: vec![(key(1), cell(5))] };
        let begun = step(&mut replica, &applied, says(PEER, 1, relay));
        // The one that it is in place of holds it, too.
        let stored = Message::Stored { number: sent(&begun, OTHER) };
        step(&mut replica, &applied, says(OTHER, 1, stored));
        if moves {
            let again = step(&mut replica, &applied, owners(2, Step::Draining));
            let number = asked(&again, OTHER).unwrap_or_default();
            step(&mut replica, &applied, says(OTHER, 2, Message::Stored { number }));
        }
        let outputs = step(&mut replica, &applied, Input::Persisted { id: PersistId(1) });
        let stored = Message::Stored { number: 9 };
        let said = |output: &Output| {
            let Output::Send { message, .. } = output else { return false };
            *message == stored
        };
        assert_eq!(outputs.iter().any(said), !moves);
    }
}
