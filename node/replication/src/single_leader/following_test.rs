//! Following, driven by hand.

use quorate_model::{LogIndex, Position, Term};

use super::driving_test::{
    Driven, FIRST, append, applied, configuration, entry, node, position, restored, sent,
};
use super::{
    AppendResult, Entry, Input, Message, Output, Payload, PersistId, Restored, Settings, When,
};

fn reply(term: u64, round: u64, result: AppendResult) -> Message {
    Message::AppendReply { term: Term(term), round, result }
}

fn matched(term: u64, index: u64) -> Message {
    reply(term, 1, AppendResult::Matched(LogIndex(index)))
}

fn mismatch(term: u64, hint: Position) -> Message {
    reply(term, 1, AppendResult::Mismatch { hint })
}

/// Replica 1 of three, with entries of these terms.
fn with_terms(terms: &[u64]) -> Driven {
    Driven::new(1, restored(configuration([1, 2, 3], []), terms))
}

#[test]
fn an_append_is_acknowledged_when_it_is_durable() {
    let mut driven = with_terms(&[1]);
    driven.receive(2, append(1, position(1, 1), [], 0));
    let outputs = driven.receive(2, append(1, position(1, 1), [entry(1, 2)], 0));
    let persist = Output::Persist {
        id: PersistId(1),
        hard_state: None,
        truncate_from: None,
        entries: vec![entry(1, 2)],
    };
    let send = |when| Output::Send { to: node(2), message: matched(1, 2), when };
    assert_eq!(outputs, [persist, send(FIRST)]);
    // The same again persists nothing, and waits for the same.
    let again = append(1, position(1, 1), [entry(1, 2)], 0);
    assert_eq!(driven.receive(2, again.clone()), [send(FIRST)]);
    driven.persist();
    assert_eq!(driven.receive(2, again), [send(When::Now)]);
}

#[test]
fn the_term_of_a_new_leader_is_durable_before_it_is_answered() {
    let mut driven = with_terms(&[1]);
    let outputs = driven.receive(2, append(5, position(1, 1), [], 0));
    let told = Output::Send { to: node(2), message: matched(5, 1), when: FIRST };
    assert!(outputs.contains(&told), "{outputs:?}");
}

#[test]
fn stale_term_append_is_rejected() {
    let mut driven = with_terms(&[4]);
    let outputs = driven.receive(2, append(3, position(4, 1), [entry(4, 2)], 0));
    let result = AppendResult::Mismatch { hint: Position::ZERO };
    // The round is not confirmed: by now the asker may lead the term that it is told of.
    assert_eq!(sent(&outputs), [(node(2), reply(4, 0, result))]);
    assert_eq!(driven.replica.last(), position(4, 1));
    assert_eq!(driven.replica.leader(), None);
}

#[test]
fn a_suffix_that_differs_is_cut() {
    let mut driven = with_terms(&[1, 1, 2, 2]);
    let outputs = driven.receive(2, append(3, position(1, 1), [entry(1, 2), entry(3, 3)], 0));
    let persist = outputs.iter().find_map(|output| {
        let Output::Persist { truncate_from, entries, .. } = output else { return None };
        Some((*truncate_from, entries.clone()))
    });
    assert_eq!(persist, Some((Some(LogIndex(3)), vec![entry(3, 3)])));
    assert_eq!(driven.replica.last(), position(3, 3));
    assert_eq!(driven.replica.durable(), LogIndex(2));
}

#[test]
fn an_older_append_does_not_cut_what_a_newer_one_brought() {
    let mut driven = with_terms(&[1]);
    driven.receive(2, append(1, position(1, 1), [entry(1, 2), entry(1, 3)], 0));
    driven.persist();
    let outputs = driven.receive(2, append(1, position(1, 1), [entry(1, 2)], 0));
    assert_eq!(sent(&outputs), [(node(2), matched(1, 2))]);
    assert_eq!(driven.replica.last(), position(1, 3));
}

#[test]
fn a_mismatch_hints_at_the_last_position_that_can_agree() {
    for (previous, hint) in [
        // The log is shorter.
        (position(4, 9), position(4, 5)),
        // The entry differs, and all of its term may.
        (position(5, 5), position(4, 4)),
        (position(3, 4), position(2, 3)),
        (position(1, 3), position(1, 2)),
    ] {
        let mut driven = with_terms(&[1, 1, 2, 4, 4]);
        let outputs = driven.receive(2, append(9, previous, [], 0));
        assert_eq!(sent(&outputs), [(node(2), mismatch(9, hint))], "{previous:?}");
    }
}

#[test]
fn a_heartbeat_is_answered_at_once_for_what_is_durable() {
    let mut driven = with_terms(&[1]);
    driven.receive(2, append(1, position(1, 1), [entry(1, 2)], 0));
    let outputs = driven.receive(2, append(1, position(1, 2), [], 0));
    let send = |index, when| Output::Send { to: node(2), message: matched(1, index), when };
    assert_eq!(outputs, [send(1, When::Now)]);
    driven.persist();
    assert_eq!(driven.receive(2, append(1, position(1, 2), [], 0)), [send(2, When::Now)]);
}

#[test]
fn what_is_committed_is_applied_when_it_is_durable_here() {
    let mut driven = with_terms(&[1]);
    let outputs = driven.receive(2, append(1, position(1, 1), [entry(1, 2)], 7));
    // What is matched is committed as far as the leader says, and not beyond.
    assert_eq!(driven.replica.committed(), LogIndex(2));
    assert_eq!(applied(&outputs), [1]);
    assert_eq!(applied(&driven.persist()), [2]);
}

#[test]
fn a_commit_index_beyond_what_matches_is_not_believed() {
    let mut driven = with_terms(&[1, 2, 2, 2]);
    driven.receive(2, append(3, position(1, 1), [], 4));
    assert_eq!(driven.replica.committed(), LogIndex(1));
}

#[test]
fn a_configuration_counts_from_its_append_until_it_is_cut() {
    let mut driven = with_terms(&[1]);
    let payload = Payload::Configuration(configuration([1, 2], [3]));
    let change = Entry { position: position(1, 2), payload };
    driven.receive(2, append(1, position(1, 1), [change], 0));
    assert_eq!(driven.replica.configuration(), &configuration([1, 2], [3]));
    driven.receive(3, append(2, position(1, 1), [entry(2, 2)], 0));
    assert_eq!(driven.replica.configuration(), &configuration([1, 2, 3], []));
}

#[test]
fn a_malformed_append_changes_nothing() {
    for entries in [
        vec![entry(1, 3)],
        vec![entry(1, 2), entry(1, 4)],
        vec![entry(1, 2), entry(2, 3)],
        vec![entry(0, 2)],
    ] {
        let mut driven = with_terms(&[1]);
        assert_eq!(driven.receive(2, append(1, position(1, 1), entries, 0)), []);
        assert_eq!(driven.replica.last(), position(1, 1));
    }
}

#[test]
fn a_snapshot_offer_keeps_a_follower_from_electing() {
    let mut driven = with_terms(&[1]);
    for _ in 0..10 {
        driven.pass(Settings::default().election_timeout * 9 / 10);
        let offer = Message::SnapshotOffer {
            term: Term(1),
            position: position(1, 100),
            configuration: configuration([1, 2, 3], []),
            round: 5,
            repairs: None,
        };
        let outputs = driven.receive(2, offer);
        let told = reply(1, 5, AppendResult::Matched(LogIndex(0)));
        assert_eq!(sent(&outputs), [(node(2), told)]);
        assert_eq!(sent(&driven.step(Input::Tick)), []);
    }
}

#[test]
fn a_damaged_replica_takes_the_snapshot_that_repairs_it_and_nothing_else() {
    let whole = restored(configuration([1, 2, 3], []), &[1, 1]);
    let mut driven = Driven::new(1, Restored { damaged: true, ..whole });
    let outputs = driven.receive(2, append(1, position(0, 0), [entry(1, 1)], 1));
    let [(_, Message::AppendReply { result: AppendResult::Damaged { token }, .. })] =
        sent(&outputs)[..]
    else {
        panic!("{outputs:?}")
    };
    // A stream that began before the damage, and its offer, repair nothing.
    let offer = |repairs| Message::SnapshotOffer {
        term: Term(1),
        position: position(1, 9),
        configuration: configuration([1, 2, 3], []),
        round: 2,
        repairs,
    };
    for other in [None, Some(token.wrapping_add(1))] {
        driven.receive(2, offer(other));
        assert!(!driven.replica.accepts_snapshot(position(1, 9)));
    }
    driven.receive(2, offer(Some(token)));
    assert!(!driven.replica.accepts_snapshot(position(1, 8)));
    assert!(driven.replica.accepts_snapshot(position(1, 9)));
    let configuration = configuration([1, 2, 3], []);
    let outputs = driven.step(Input::SnapshotInstalled { position: position(1, 9), configuration });
    assert!(!driven.replica.is_damaged());
    // What its disk may hold beyond is cut; for the term of its repair it has no vote left.
    let Some(Output::Persist { truncate_from, hard_state: Some(state), .. }) = outputs.first()
    else {
        panic!("{outputs:?}")
    };
    assert_eq!((*truncate_from, state.vote), (Some(LogIndex(10)), Some(node(1))));
    driven.persist();
    let outputs = driven.receive(2, append(1, position(1, 9), [], 9));
    assert_eq!(sent(&outputs), [(node(2), matched(1, 9))]);
}

#[test]
fn an_installed_snapshot_replaces_a_log_that_does_not_hold_it() {
    let mut driven = with_terms(&[1, 1, 1]);
    driven.receive(2, append(3, position(1, 1), [], 1));
    let voters = configuration([1, 2, 3, 4], []);
    let install = |at| Input::SnapshotInstalled { position: at, configuration: voters.clone() };
    driven.step(install(position(3, 2)));
    assert_eq!(driven.replica.last(), position(3, 2));
    assert_eq!(driven.replica.committed(), LogIndex(2));
    assert_eq!(driven.replica.configuration(), &voters);
    assert!(!driven.replica.accepts_snapshot(position(3, 2)));
}

#[test]
fn an_installed_snapshot_keeps_the_log_that_goes_on_from_it() {
    let mut driven = with_terms(&[1, 1, 1]);
    let configuration = configuration([1, 2, 3], []);
    driven.step(Input::SnapshotInstalled { position: position(1, 2), configuration });
    assert_eq!(driven.replica.base(), position(1, 2));
    assert_eq!(driven.replica.last(), position(1, 3));
    assert_eq!(driven.replica.applied(), LogIndex(2));
}

#[test]
fn a_snapshot_of_a_later_term_waits_for_the_term() {
    let mut driven = with_terms(&[1]);
    assert!(!driven.replica.accepts_snapshot(position(2, 9)));
    let offer = Message::SnapshotOffer {
        term: Term(2),
        position: position(2, 9),
        configuration: configuration([1, 2, 3], []),
        round: 1,
        repairs: None,
    };
    driven.receive(2, offer);
    assert!(driven.replica.accepts_snapshot(position(2, 9)));
}

#[test]
fn a_restored_snapshot_brings_its_term() {
    let base_configuration = configuration([1, 2, 3], []);
    let base = position(3, 9);
    let applied = base.index;
    let restored = Restored { base, base_configuration, applied, ..Restored::default() };
    let mut driven = Driven::new(1, restored);
    assert_eq!(driven.replica.term(), Term(3));
    let outputs = driven.receive(2, append(3, base, [], 0));
    assert_eq!(sent(&outputs), [(node(2), matched(3, 9))]);
    assert!(outputs.iter().any(|output| matches!(output, Output::Persist { .. })));
}

#[test]
fn an_append_that_begins_before_the_log_is_taken_from_the_log_on() {
    let mut driven = with_terms(&[1, 1, 1]);
    let voters = configuration([1, 2, 3], []);
    driven.step(Input::SnapshotInstalled { position: position(1, 3), configuration: voters });
    let entries = [entry(1, 2), entry(1, 3), entry(1, 4)];
    driven.receive(2, append(1, position(1, 1), entries, 0));
    assert_eq!(driven.replica.last(), position(1, 4));
    let outputs = driven.receive(2, append(1, position(1, 1), [], 0));
    assert_eq!(sent(&outputs), [(node(2), matched(1, 3))]);
}
