//! A replica whose log is whole and whose state is wrong (INV-36), driven by hand.

use std::time::Duration;

use quorate_model::{LogIndex, Term};

use super::driving_test::{
    Driven, append, applied, configuration, entry, matched, node, nodes, position, restored, sent,
};
use super::{
    AppendResult, Configuration, Dropped, Input, Message, Output, ProposalId, Rule, Settings,
};

const fn needs_state(term: u64, round: u64, index: u64) -> Message {
    let result = AppendResult::NeedsState { matched: LogIndex(index) };
    Message::AppendReply { term: Term(term), round, result }
}

/// Replica 1 of three, which follows 2, has applied its first entry and found that its state is wrong.
fn follower(settings: Settings) -> Driven {
    let mut driven = Driven::with(1, restored(configuration([1, 2, 3], []), &[1]), settings);
    driven.receive(2, append(1, position(1, 1), [], 1));
    driven.step(Input::Applied { index: LogIndex(1) });
    driven.step(Input::StateDamaged);
    driven
}

#[test]
fn its_log_goes_on_and_is_applied_when_it_has_a_state() {
    let mut driven = follower(Settings::default());
    let outputs = driven.receive(2, append(1, position(1, 1), [entry(1, 2), entry(1, 3)], 3));
    assert!(sent(&outputs).contains(&(node(2), needs_state(1, 1, 3))), "{outputs:?}");
    let outputs = driven.persist();
    assert_eq!((applied(&outputs), driven.replica.applied()), (vec![], LogIndex(1)));
    assert!(driven.replica.accepts_snapshot(position(1, 1)), "it takes nothing back");
    let configuration = driven.replica.configuration().clone();
    let installed = Input::SnapshotInstalled { position: position(1, 2), configuration };
    assert_eq!(applied(&driven.step(installed)), [3]);
    let outputs = driven.receive(2, append(1, position(1, 3), [], 3));
    assert!(sent(&outputs).contains(&(node(2), matched(1, 1, 3))), "{outputs:?}");
}

#[test]
fn what_was_handed_out_and_not_applied_is_handed_out_again() {
    let mut driven = follower(Settings::default());
    driven.step(Input::SnapshotInstalled {
        position: position(1, 1),
        configuration: configuration([1, 2, 3], []),
    });
    driven.receive(2, append(1, position(1, 1), [entry(1, 2), entry(1, 3)], 3));
    assert_eq!(applied(&driven.persist()), [2, 3]);
    driven.step(Input::Applied { index: LogIndex(2) });
    driven.step(Input::StateDamaged);
    let configuration = driven.replica.configuration().clone();
    let installed = Input::SnapshotInstalled { position: position(1, 2), configuration };
    assert_eq!(applied(&driven.step(installed)), [3]);
}

#[test]
fn it_votes_and_stands_after_others() {
    let mut driven = follower(Settings::default());
    driven.pass(Duration::from_secs(5));
    let asked = Message::PreVote { term: Term(2), last: position(1, 1) };
    let outputs = driven.receive(3, asked);
    let agreed = Message::PreVoteReply { term: Term(2), granted: true };
    assert_eq!(sent(&outputs), [(node(3), agreed)]);
    let outputs = driven.expire();
    assert!(sent(&outputs).iter().any(|(_, one)| matches!(one, Message::PreVote { .. })));
}

#[test]
fn it_is_not_handed_leadership() {
    let mut driven = follower(Settings::default());
    driven.receive(2, Message::TimeoutNow { term: Term(1) });
    assert_eq!(driven.replica.term(), Term(1));
}

#[test]
fn it_takes_no_more_than_the_bound() {
    let mut driven = follower(Settings {
        uncommitted_bytes_max: 3 * entry(1, 1).bytes(),
        ..Settings::default()
    });
    let entries = [entry(1, 2), entry(1, 3), entry(1, 4), entry(1, 5), entry(1, 6), entry(1, 7)];
    let mut answered = 1;
    for (one, before) in entries.into_iter().zip(1..) {
        let outputs = driven.receive(2, append(1, position(1, before), [one], 1));
        answered += u64::from(!sent(&outputs).is_empty());
        driven.persist();
    }
    let last = driven.replica.last().index;
    assert!(last < LogIndex(7) && answered == last.0, "{last}, {answered} answered");
    // It is there, and says how far it is.
    let outputs = driven.receive(2, append(1, position(1, last.0), [], 1));
    assert_eq!(sent(&outputs), [(node(2), needs_state(1, 1, last.0))]);
}

#[test]
fn a_leader_serves_nothing_and_hands_over_to_one_with_a_state() {
    let mut driven = Driven::established();
    driven.step(Input::StateDamaged);
    assert!(!driven.replica.is_leading());
    let dropped =
        driven.step(Input::Propose { id: ProposalId(1), command: [0; 9].to_vec().into() });
    let why = Dropped::Transferring;
    assert!(dropped.contains(&Output::ProposalDropped { id: ProposalId(1), why }), "{dropped:?}");
    let mut driven = Driven::established();
    let round = driven.begin_round();
    driven.receive(2, needs_state(1, round, 1));
    let outputs = driven.step(Input::StateDamaged);
    let told: Vec<_> = sent(&outputs)
        .into_iter()
        .filter(|(_, message)| matches!(message, Message::TimeoutNow { .. }))
        .collect();
    assert_eq!(told, [(node(3), Message::TimeoutNow { term: Term(1) })]);
}

#[test]
fn a_follower_counts_and_gets_one_stream_at_a_time() {
    let mut driven = Driven::established();
    let streams = |outputs: &[Output]| outputs.contains(&Output::SendSnapshot { to: node(2) });
    driven.propose(1);
    driven.persist();
    assert!(streams(&driven.receive(2, needs_state(1, 1, 2))));
    assert_eq!(driven.replica.committed(), LogIndex(2), "its log counts");
    let round = driven.begin_round();
    assert!(!streams(&driven.receive(2, needs_state(1, round, 2))), "one is under way");
    driven.step(Input::SnapshotSent { to: node(2), position: None });
    assert!(!streams(&driven.receive(2, needs_state(1, round, 2))), "not at once");
    driven.pass(Settings::default().election_timeout);
    assert!(streams(&driven.receive(2, needs_state(1, round, 2))));
    driven.step(Input::SnapshotSent { to: node(2), position: Some(position(1, 2)) });
    driven.receive(2, matched(1, round, 2));
    driven.pass(Settings::default().election_timeout);
    assert!(!streams(&driven.receive(2, matched(1, round, 2))));
}

#[test]
fn the_only_member_of_the_set_is_elected_without_a_state_and_hands_over() {
    let alone = Configuration { rule: Rule::InSync(nodes([1])), ..configuration([1, 2, 3], []) };
    let mut driven = Driven::new(1, restored(alone, &[1]));
    driven.step(Input::StateDamaged);
    driven.expire();
    for from in [2, 3] {
        driven.receive(from, Message::PreVoteReply { term: Term(2), granted: true });
    }
    driven.persist();
    driven.receive(2, Message::VoteReply { term: Term(2), granted: true });
    driven.persist();
    assert_eq!((driven.replica.leader(), driven.replica.is_leading()), (Some(node(1)), false));
    let last = driven.replica.last().index.0;
    let outputs = driven.receive(2, matched(2, 1, last));
    let told = (node(2), Message::TimeoutNow { term: Term(2) });
    assert!(sent(&outputs).contains(&told), "{outputs:?}");
}
