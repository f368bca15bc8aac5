//! One replica of three that is asked to take part in rounds. INV-100

use std::collections::BTreeMap;

use quorate_model::{ActorId, Dot, Hlc, NodeId};

use super::range_test::{Applied, cell, from_peer, key, replica_after, step};
use super::{CellKey, Collected, Input, Mark, Message, Output, Replica};
use crate::causal::{Cell, CellDigest, Change};

fn over() -> Cell {
    let mut over = cell(1);
    let dot = Dot { actor: ActorId(1), counter: 2 };
    over.change(dot, Hlc(2), Change::Remove { context: None });
    over
}

fn here() -> Applied {
    Applied(BTreeMap::from([(key(1), over())]))
}

fn prepare(round: u64) -> Input {
    let cells: Vec<(CellKey, CellDigest)> = vec![(key(1), over().digest())];
    from_peer(Message::Prepare { round, cells, all: (1..=3).map(NodeId).collect() })
}

/// The rounds that are agreed to, each with the round that the answer is marked with.
fn agreed(outputs: &[Output]) -> Vec<(u64, u64)> {
    let mut rounds = Vec::new();
    for output in outputs {
        if let Output::Send { mark, message: Message::Prepared { round, .. }, .. } = output {
            rounds.push((*round, mark.round));
        }
    }
    rounds
}

fn to_be_durable(outputs: &[Output]) -> Vec<Collected> {
    let mut all = Vec::new();
    for output in outputs {
        if let Output::Close { collected } = output {
            all.push(*collected);
        }
    }
    all
}

fn begin(collected: Collected) -> Replica {
    replica_after(&here(), collected)
}

#[test]
fn nothing_is_marked_with_a_round_that_a_restart_would_not_know_of() {
    let mut replica = begin(Collected::default());
    let asked = step(&mut replica, &here(), prepare(1));
    assert_eq!(agreed(&asked), []);
    let [collected] = to_be_durable(&asked)[..] else { panic!("{asked:?}") };
    assert!(collected.reached >= 1);
    assert_eq!(to_be_durable(&step(&mut replica, &here(), prepare(1))), [], "once is enough");
    assert_eq!(replica.mark().round, 0);
    let durable = step(&mut replica, &here(), Input::Closed { collected });
    assert_eq!(agreed(&durable), [(1, 1)]);
    let next = step(&mut replica, &here(), prepare(2));
    assert_eq!((agreed(&next), to_be_durable(&next)), (vec![(2, 2)], vec![]));
}

#[test]
fn a_round_that_others_closed_is_no_mark_before_a_restart_would_know_of_it() {
    let mut replica = begin(Collected::default());
    let hears = || {
        let mark = Mark { round: 7, closed: 7, ..Mark::default() };
        Input::Message { from: NodeId(2), mark, message: Message::Stored { number: 1 } }
    };
    let heard = step(&mut replica, &here(), hears());
    assert_eq!(replica.mark().round, 0);
    let [collected] = to_be_durable(&heard)[..] else { panic!("{heard:?}") };
    step(&mut replica, &here(), Input::Closed { collected });
    step(&mut replica, &here(), hears());
    assert_eq!(replica.mark().round, 7);
}

/// What an earlier process sent may be marked with such a round, and has perhaps not arrived.
#[test]
fn a_process_takes_part_in_no_round_that_an_earlier_one_may_have() {
    let mut replica = begin(Collected { reached: 1_000, ..Collected::default() });
    for round in [1, 16, 1_000] {
        // Whoever leads is told where to go on.
        let refused = step(&mut replica, &here(), prepare(round));
        let [Output::Send { mark, message: Message::Prepared { round: after, agreed }, .. }] =
            &refused[..]
        else {
            panic!("{refused:?}")
        };
        assert_eq!((mark.round, *after, agreed.len()), (0, 1_000, 0));
    }
    let asked = step(&mut replica, &here(), prepare(1_001));
    let [collected] = to_be_durable(&asked)[..] else { panic!("{asked:?}") };
    let durable = step(&mut replica, &here(), Input::Closed { collected });
    assert_eq!(agreed(&durable), [(1_001, 1_001)]);
}
