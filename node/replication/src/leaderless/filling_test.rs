//! Of whom a replica that lacks something has it, by what the others answer.

use quorate_model::{Datacenter, LeaderlessPolicy, NodeId, Time, WallTime};

use super::range_test::{Applied, cell, key, start};
use super::{
    Asked, Collected, Input, Mark, Message, Output, Owners, PersistId, Replica, Settings, Standing,
};
use crate::causal::CellDigest;

/// One of four replicas, which lacks something: of the other three it needs two.
fn filling() -> Replica {
    let start = start(Standing::Filling, Collected::default());
    let mut replica = Replica::new(start, Settings::default(), Time::ZERO, &Applied::default());
    let dc = Datacenter::new("dc").unwrap();
    let nodes = (1..=4).map(|node| (NodeId(node), dc.clone())).collect();
    let owners = Owners { nodes, ..Owners::default() };
    let input = Input::Owners { owners, policy: LeaderlessPolicy::default() };
    replica.step(Time::ZERO, WallTime(0), input, &Applied::default());
    replica
}

/// Compares itself for long with replicas that have what it has. Each says whether it is whole; those that are not here do not answer.
fn compare(replica: &mut Replica, whole: &[(NodeId, bool)]) -> Standing {
    let mut now = Time::ZERO;
    for _ in 0..100 {
        now = replica.deadline().max(now);
        let mut inputs = vec![Input::Tick];
        while let Some(input) = inputs.pop() {
            replica.step(now, WallTime(0), input, &Applied::default());
            while let Some(output) = replica.pop_output() {
                let Output::Send { to, message: Message::Compare { number, .. }, .. } = output
                else {
                    continue;
                };
                let answers = whole.iter().find(|(node, _)| *node == to);
                inputs.extend(answers.map(|(_, whole)| Input::Message {
                    from: to,
                    mark: Mark::default(),
                    message: Message::Differing { number, nodes: Vec::new(), whole: *whole },
                }));
            }
        }
    }
    replica.standing()
}

/// INV-98: a write may be held by the silent one and by what the third has lost.
#[test]
fn what_lacks_something_itself_does_not_stand_for_what_it_acknowledged() {
    let [one, other, third] = [2, 3, 4].map(NodeId);
    assert_eq!(compare(&mut filling(), &[(one, true), (other, true)]), Standing::Whole);
    let mut replica = filling();
    assert_eq!(compare(&mut replica, &[(one, true), (other, false)]), Standing::Filling);
    assert_eq!(compare(&mut replica, &[(one, true), (other, true)]), Standing::Whole);
    // Nobody else is there to ask.
    let all = [(one, true), (other, false), (third, false)];
    assert_eq!(compare(&mut filling(), &all), Standing::Whole);
}

/// INV-99
#[test]
fn what_may_lack_something_answers_no_read_until_it_is_filled_again() {
    let [one, other] = [2, 3].map(NodeId);
    let mut replica = filling();
    let both = [(one, true), (other, true)];
    assert_eq!(compare(&mut replica, &both), Standing::Whole);
    let now = replica.deadline();
    let mut said = |input| {
        replica.step(now, WallTime(0), input, &Applied::default());
        std::iter::from_fn(|| replica.pop_output())
            .any(|output| matches!(output, Output::Send { message: Message::Fetched { .. }, .. }))
    };
    let from_one = |message| Input::Message { from: one, mark: Mark::default(), message };
    let told = vec![(key(1), cell(5))];
    assert!(!said(from_one(Message::Store { number: 1, cells: told })));
    let asked = vec![(Asked::Cell(key(1)), CellDigest(0))];
    assert!(!said(from_one(Message::Fetch { number: 2, asked })), "that is not durable yet");
    assert!(!said(Input::Lacks));
    assert!(!said(Input::Persisted { id: PersistId(1) }));
    assert_eq!(replica.standing(), Standing::Filling);
    assert_eq!(compare(&mut replica, &both), Standing::Whole);
}
