//! Resting, driven by hand: when a leader has nothing to do, and what another's word renews.

use std::time::Duration;

use quorate_model::admin::Role;
use quorate_model::{LogIndex, Term};

use super::driving_test::{
    Driven, append, configuration, entry, matched, node, position, restored,
};
use super::{Input, Message, ReadId, Settings};

/// The leader of three, who all know that everything is committed.
fn idle() -> Driven {
    let mut driven = Driven::established();
    while driven.replica.may_rest().is_none() {
        let round = driven.begin_round();
        driven.receive(2, matched(1, round, 1));
        driven.receive(3, matched(1, round, 1));
    }
    driven
}

fn follower() -> Driven {
    let mut driven = Driven::new(1, restored(configuration([1, 2, 3], []), &[1]));
    driven.receive(2, append(1, position(1, 1), [], 1));
    driven.step(Input::Applied { index: LogIndex(1) });
    driven
}

#[test]
fn a_leader_rests_behind_its_last_entry_when_nothing_is_under_way() {
    let mut driven = idle();
    assert_eq!(driven.replica.may_rest(), Some(position(1, 1)));
    driven.step(Input::Read { id: ReadId(1) });
    assert_eq!(driven.replica.may_rest(), None);
    driven.begin_round_answered(2);
    assert_eq!(driven.replica.may_rest(), Some(position(1, 1)));
    driven.propose(1);
    assert_eq!(driven.replica.may_rest(), None);
}

#[test]
fn a_leader_does_not_rest_without_one_of_its_followers() {
    let mut driven = idle();
    driven.pass(Settings::default().election_timeout);
    driven.replica.vouched(node(2), driven.now);
    driven.step(Input::Tick);
    assert_eq!((driven.replica.role(), driven.replica.may_rest()), (Role::Leader, None));
}

#[test]
fn another_leader_that_is_wanted_ends_the_rest() {
    let mut driven = idle();
    let (voters, learners) = (super::driving_test::nodes([1, 2, 3]), Default::default());
    let policy = quorate_model::Policy::default();
    let (durability, in_sync) = (policy.durability, policy.in_sync);
    let preferred_leader = Some(node(2));
    driven.step(Input::Target { voters, learners, preferred_leader, durability, in_sync });
    assert_eq!(driven.replica.may_rest(), None);
}

#[test]
fn a_leader_that_is_vouched_for_needs_no_heartbeats_and_without_it_stops_leading() {
    let mut driven = idle();
    for _ in 0..20 {
        driven.pass(Settings::default().election_timeout);
        driven.replica.vouched(node(2), driven.now);
        driven.replica.vouched(node(3), driven.now);
        assert_eq!(driven.replica.may_rest(), Some(position(1, 1)));
    }
    driven.pass(Settings::default().election_timeout);
    driven.step(Input::Tick);
    assert_eq!(driven.replica.role(), Role::Follower);
}

#[test]
fn a_vouched_leader_is_kept_for_the_wait_that_was_drawn() {
    let mut driven = follower();
    assert!(driven.replica.rests_behind(node(2), position(1, 1)));
    let drawn = driven.replica.deadline().at.since(driven.now);
    driven.pass(Duration::from_secs(7));
    driven.replica.vouched(node(2), driven.now);
    assert_eq!(driven.replica.deadline().at.since(driven.now), drawn);
    // INV-6: it is as good as a heartbeat.
    let asked = Message::PreVote { term: Term(2), last: position(1, 1) };
    assert_eq!(driven.receive(3, asked.clone()), []);
    driven.expire();
    assert_ne!(driven.receive(3, asked), []);
    driven.replica.vouched(node(2), driven.now);
    assert_eq!(driven.replica.leader(), None, "who was given up must be heard by its messages");
}

#[test]
fn a_follower_rests_only_behind_what_it_has_applied() {
    let mut driven = follower();
    driven.receive(2, append(1, position(1, 1), [entry(1, 2)], 1));
    assert!(!driven.replica.rests_behind(node(2), position(1, 1)));
    assert!(!driven.replica.rests_behind(node(2), position(1, 2)));
    driven.persist();
    driven.receive(2, append(1, position(1, 2), [], 2));
    driven.step(Input::Applied { index: LogIndex(2) });
    assert!(driven.replica.rests_behind(node(2), position(1, 2)));
    assert!(!driven.replica.rests_behind(node(3), position(1, 2)));
}
