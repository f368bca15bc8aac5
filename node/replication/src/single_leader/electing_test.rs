//! Elections, driven by hand.

use std::time::Duration;

use quorate_model::{Durability, InSyncPolicy, NodeId, Term, Time};

use super::driving_test::{
    Driven, FIRST, append, configuration, matched, node, nodes, position, restored, sent,
};
use super::{HardState, Input, Message, Output, PersistId, Restored, Settings, When};

const fn vote(term: u64, last: quorate_model::Position) -> Message {
    Message::Vote { term: Term(term), last, transfer: false }
}

const fn pre_vote(term: u64, last: quorate_model::Position) -> Message {
    Message::PreVote { term: Term(term), last }
}

const fn answer(term: u64, granted: bool) -> Message {
    Message::VoteReply { term: Term(term), granted }
}

const fn pre_answer(term: u64, granted: bool) -> Message {
    Message::PreVoteReply { term: Term(term), granted }
}

/// Replica 1 has heard leader 2 in term 3 just now.
fn following() -> Driven {
    let mut driven = Driven::new(1, restored(configuration([1, 2, 3], []), &[3]));
    driven.receive(2, append(3, position(3, 1), [], 0));
    driven
}

#[test]
fn a_replica_asks_before_it_raises_its_term() {
    let mut driven = Driven::first_of_three();
    let outputs = driven.expire();
    let ask = pre_vote(1, position(0, 0));
    assert_eq!(sent(&outputs), [(node(2), ask.clone()), (node(3), ask)]);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Persist { .. })));
    assert_eq!(driven.replica.term(), Term(0));
}

#[test]
fn a_vote_is_asked_for_when_the_own_one_is_durable() {
    let mut driven = Driven::first_of_three();
    driven.expire();
    let outputs = driven.receive(3, pre_answer(1, true));
    let hard_state = HardState { term: Term(1), vote: Some(node(1)) };
    let ask = |to| Output::Send { to, message: vote(1, position(0, 0)), when: FIRST };
    assert_eq!(
        outputs[..3],
        [
            Output::Persist {
                id: PersistId(1),
                hard_state: Some(hard_state),
                truncate_from: None,
                entries: vec![]
            },
            ask(node(2)),
            ask(node(3)),
        ]
    );
}

#[test]
fn a_candidate_counts_its_own_vote_when_it_is_durable() {
    let mut driven = Driven::first_of_three();
    driven.expire();
    driven.receive(2, pre_answer(1, true));
    driven.receive(2, answer(1, true));
    assert_eq!(driven.replica.leader(), None);
    driven.persist();
    assert_eq!(driven.replica.leader(), Some(node(1)));
}

#[test]
fn the_votes_of_strangers_and_learners_do_not_count() {
    let mut driven = Driven::new(1, restored(configuration([1, 2, 3], [4]), &[]));
    driven.expire();
    driven.receive(4, pre_answer(1, true));
    driven.receive(9, pre_answer(1, true));
    assert_eq!(driven.replica.term(), Term(0));
    driven.receive(2, pre_answer(1, true));
    driven.persist();
    driven.receive(4, answer(1, true));
    driven.receive(9, answer(1, true));
    assert_eq!(driven.replica.leader(), None);
}

#[test]
fn a_learner_stands_when_a_candidate_with_less_needs_its_vote() {
    let learner = || Driven::new(4, restored(configuration([1, 2, 3], [4]), &[2, 3]));
    let mut driven = learner();
    assert_eq!(sent(&driven.expire()), []);
    // As much as it has itself: it agrees.
    driven.receive(1, pre_vote(4, position(3, 2)));
    assert_eq!(sent(&driven.expire()), []);
    let outputs = driven.receive(1, pre_vote(4, position(2, 3)));
    assert_eq!(sent(&outputs), [(node(1), pre_answer(3, false))]);
    let ask = pre_vote(4, position(3, 2));
    assert_eq!(sent(&driven.expire()), [1, 2, 3].map(|id| (node(id), ask.clone())));
    driven.receive(1, pre_answer(4, true));
    assert_eq!(driven.replica.term(), Term(3));
    driven.receive(2, pre_answer(4, true));
    driven.persist();
    // It does not count itself.
    driven.receive(1, answer(4, true));
    assert_eq!(driven.replica.leader(), None);
    driven.receive(2, answer(4, true));
    assert_eq!(driven.replica.leader(), Some(node(4)));
    // When a majority has taken its first entry, it goes.
    driven.persist();
    driven.receive(1, matched(4, 1, 3));
    let outputs = driven.receive(2, matched(4, 1, 3));
    assert!(sent(&outputs).iter().any(|(_, one)| matches!(one, Message::TimeoutNow { .. })));
    // A leader is heard: nobody needs it any more.
    let mut driven = learner();
    driven.receive(1, pre_vote(4, position(2, 3)));
    driven.receive(2, append(4, position(3, 2), [], 0));
    assert_eq!(sent(&driven.expire()), []);
}

#[test]
fn a_vote_is_told_when_it_is_durable() {
    let mut driven = Driven::first_of_three();
    let outputs = driven.receive(2, vote(4, position(0, 0)));
    let told = Output::Send { to: node(2), message: answer(4, true), when: FIRST };
    assert!(outputs.contains(&told), "{outputs:?}");
    // Asked again before that, it waits for the same persist; afterwards for none.
    let again = driven.receive(2, vote(4, position(0, 0)));
    assert_eq!(again, [told]);
    driven.persist();
    let again = driven.receive(2, vote(4, position(0, 0)));
    assert_eq!(again, [Output::Send { to: node(2), message: answer(4, true), when: When::Now }]);
}

#[test]
fn a_replica_votes_once_in_a_term() {
    let mut driven = Driven::first_of_three();
    driven.receive(2, vote(4, position(0, 0)));
    driven.persist();
    assert_eq!(sent(&driven.receive(3, vote(4, position(9, 9)))), [(node(3), answer(4, false))]);
    let hard_state = HardState { term: Term(4), vote: Some(node(2)) };
    let base_configuration = configuration([1, 2, 3], []);
    let remembered = Restored { hard_state, base_configuration, ..Restored::default() };
    let mut restarted = Driven::new(1, remembered);
    assert_eq!(sent(&restarted.receive(3, vote(4, position(9, 9)))), [(node(3), answer(4, false))]);
}

#[test]
fn a_log_that_ends_earlier_gets_no_vote() {
    for (last, granted) in
        [((2, 9), false), ((3, 1), false), ((3, 2), true), ((3, 3), true), ((4, 1), true)]
    {
        let mut driven = Driven::new(1, restored(configuration([1, 2, 3], []), &[3, 3]));
        let last = position(last.0, last.1);
        assert_eq!(sent(&driven.receive(2, vote(9, last))), [(node(2), answer(9, granted))]);
        let mut driven = Driven::new(1, restored(configuration([1, 2, 3], []), &[3, 3]));
        let told = if granted { pre_answer(9, true) } else { pre_answer(3, false) };
        assert_eq!(sent(&driven.receive(2, pre_vote(9, last))), [(node(2), told)]);
        assert_eq!(driven.replica.term(), Term(3));
    }
}

#[test]
fn a_follower_that_hears_its_leader_answers_nobody_else() {
    let mut driven = following();
    assert_eq!(driven.receive(3, vote(9, position(9, 9))), []);
    assert_eq!(driven.receive(3, pre_vote(9, position(9, 9))), []);
    assert_eq!(driven.replica.term(), Term(3));
    driven.pass(Settings::default().election_timeout);
    assert_eq!(
        sent(&driven.receive(3, pre_vote(9, position(9, 9)))),
        [(node(3), pre_answer(9, true))]
    );
}

#[test]
fn a_leader_answers_no_vote() {
    let mut driven = Driven::established();
    assert_eq!(driven.receive(3, vote(9, position(9, 9))), []);
    assert_eq!(driven.receive(3, pre_vote(9, position(9, 9))), []);
    assert!(driven.replica.is_leading());
}

#[test]
fn a_vote_that_the_leader_asked_for_is_given_at_once() {
    let mut driven = following();
    let asked = Message::Vote { term: Term(4), last: position(3, 1), transfer: true };
    assert_eq!(sent(&driven.receive(3, asked)), [(node(3), answer(4, true))]);
}

#[test]
fn a_successor_stands_without_asking_first() {
    let mut driven = following();
    let outputs = driven.receive(2, Message::TimeoutNow { term: Term(3) });
    let ask = Message::Vote { term: Term(4), last: position(3, 1), transfer: true };
    assert_eq!(sent(&outputs), [(node(2), ask.clone()), (node(3), ask)]);
    // Nobody but the leader may say so.
    assert_eq!(following().receive(3, Message::TimeoutNow { term: Term(3) }), []);
}

#[test]
fn a_refused_leader_is_forgotten_at_once() {
    let mut driven = following();
    driven.step(Input::PeerRefused { peer: node(3) });
    assert_eq!(driven.replica.leader(), Some(node(2)));
    driven.step(Input::PeerRefused { peer: node(2) });
    assert_eq!(driven.replica.leader(), None);
    let patience = driven.replica.deadline().at.since(driven.now);
    assert!(patience <= Duration::from_millis(30), "{patience:?}");
    let told = sent(&driven.receive(3, pre_vote(4, position(3, 1))));
    assert_eq!(told, [(node(3), pre_answer(4, true))]);
}

#[test]
fn a_refusal_raises_what_is_asked_and_nothing_else() {
    let mut driven = Driven::first_of_three();
    driven.expire();
    let outputs = driven.receive(2, pre_answer(7, false));
    let ask = pre_vote(8, position(0, 0));
    assert_eq!(sent(&outputs), [(node(2), ask.clone()), (node(3), ask)]);
    assert_eq!(driven.replica.term(), Term(0));
    driven.receive(3, pre_answer(8, true));
    assert_eq!(driven.replica.term(), Term(8));
}

#[test]
fn the_lesser_of_two_that_ask_at_once_steps_back() {
    let mut driven = Driven::new(2, restored(configuration([1, 2, 3], []), &[]));
    driven.expire();
    let lesser = driven.receive(1, pre_vote(1, position(0, 0)));
    assert_eq!(sent(&lesser), [(node(1), pre_vote(1, position(0, 0)))]);
    let greater = driven.receive(3, pre_vote(1, position(0, 0)));
    assert_eq!(sent(&greater), [(node(3), pre_answer(1, true))]);
    // It has stepped back: an agreement to its own question comes too late.
    driven.receive(1, pre_answer(1, true));
    assert_eq!(driven.replica.term(), Term(0));
}

#[test]
fn the_greater_one_that_cannot_win_agrees_in_the_end() {
    let mut driven = Driven::new(3, restored(configuration([1, 2, 3], []), &[]));
    driven.expire();
    driven.pass(Settings::default().heartbeat);
    let told = sent(&driven.receive(1, pre_vote(1, position(0, 0))));
    assert_eq!(told, [(node(1), pre_answer(1, true))]);
}

#[test]
fn a_damaged_replica_neither_votes_nor_stands() {
    let whole = restored(configuration([1, 2, 3], []), &[3]);
    let mut driven = Driven::new(1, Restored { damaged: true, ..whole });
    assert_eq!(driven.receive(2, vote(9, position(9, 9))), []);
    assert_eq!(driven.receive(2, pre_vote(9, position(9, 9))), []);
    assert_eq!(sent(&driven.expire()), []);
    assert_eq!(driven.receive(2, Message::TimeoutNow { term: Term(3) }), []);
    assert_eq!(driven.replica.term(), Term(3));
}

#[test]
fn a_blank_replica_does_not_stand() {
    let mut driven = Driven::new(1, Restored::default());
    (0..5).for_each(|_| assert_eq!(driven.expire(), []));
}

#[test]
fn a_sole_voter_leads_at_once() {
    let mut driven = Driven::new(1, restored(configuration([1], []), &[]));
    assert_eq!(driven.replica.deadline().at, driven.now);
    driven.step(Input::Tick);
    driven.persist();
    driven.persist();
    assert_eq!(driven.replica.committed().0, 1);
}

#[test]
fn a_replica_that_is_not_preferred_waits_longer() {
    let wait = |preferred: Option<NodeId>| -> Time {
        let mut driven = Driven::first_of_three();
        let voters = nodes([1, 2, 3]);
        driven.step(Input::Target {
            voters,
            learners: nodes([]),
            preferred_leader: preferred,
            durability: Durability::Quorum,
            in_sync: InSyncPolicy::default(),
        });
        driven.receive(2, append(1, position(0, 0), [], 0));
        driven.replica.deadline().at
    };
    let delay = Settings::default().preference_delay;
    assert_eq!(wait(Some(node(1))), wait(None));
    assert_eq!(wait(Some(node(3))), wait(None).after(delay));
    // For somebody who could not lead nobody waits.
    assert_eq!(wait(Some(node(9))), wait(None));
}

#[test]
fn a_candidate_whose_disk_takes_no_vote_does_not_pile_up_more() {
    let mut driven = Driven::first_of_three();
    driven.expire();
    driven.receive(2, pre_answer(1, true));
    for _ in 0..100 {
        let outputs = driven.expire();
        assert_eq!(outputs, []);
    }
    assert_eq!(driven.replica.term(), Term(1));
}
