//! Leading, driven by hand: replication, commitment, reads.

use std::time::Duration;

use quorate_model::{LogIndex, NodeId, Position, Term};

use super::driving_test::{
    Driven, append, applied, configuration, entry, matched, node, position, restored, sent,
};
use super::{
    AppendResult, Dropped, Entry, FollowerPhase, Input, Message, Output, Payload, ProposalId,
    ReadId, Settings,
};

/// The indexes of the entries that are sent to this follower, one list for each append.
fn appends_to(outputs: &[Output], to: u128) -> Vec<Vec<u64>> {
    let appends = sent(outputs).into_iter().filter_map(|(node, message)| {
        let Message::Append { entries, .. } = message else { return None };
        let indexes = entries.iter().map(|entry| entry.index().0).collect();
        (node == NodeId(to)).then_some(indexes)
    });
    appends.collect()
}

fn mismatch(term: u64, round: u64, hint: Position) -> Message {
    let result = AppendResult::Mismatch { hint };
    Message::AppendReply { term: Term(term), round, result }
}

fn ready(outputs: &[Output]) -> Vec<(u64, u64)> {
    let reads = outputs.iter().filter_map(|output| {
        let Output::ReadReady { id, index } = output else { return None };
        Some((id.0, index.0))
    });
    reads.collect()
}

fn settings() -> Settings {
    Settings { append_bytes_max: 300, inflight_appends_max: 2, ..Settings::default() }
}

#[test]
fn a_new_leader_begins_with_an_empty_entry() {
    let three = restored(configuration([1, 2, 3], []), &[1, 1]);
    let mut driven = Driven::new(1, three);
    driven.expire();
    driven.receive(2, Message::PreVoteReply { term: Term(2), granted: true });
    driven.persist();
    let outputs = driven.receive(2, Message::VoteReply { term: Term(2), granted: true });
    let first = Entry { position: position(2, 3), payload: Payload::Empty };
    let append = |to| (node(to), append(2, position(1, 2), [first.clone()], 0));
    assert_eq!(sent(&outputs), [append(2), append(3)]);
}

#[test]
fn a_leader_counts_itself_when_its_own_disk_has_it() {
    let mut driven = Driven::established();
    driven.propose(1);
    driven.receive(2, matched(1, 1, 1));
    assert_eq!(driven.replica.committed(), LogIndex(1));
    let before = driven.receive(2, matched(1, 1, 2));
    assert_eq!((driven.replica.committed(), applied(&before)), (LogIndex(1), vec![]));
    assert_eq!(applied(&driven.persist()), [2]);
}

#[test]
fn the_others_commit_before_the_leaders_disk_but_it_applies_after() {
    let mut driven = Driven::established();
    driven.propose(1);
    driven.receive(2, matched(1, 1, 2));
    let outputs = driven.receive(3, matched(1, 1, 2));
    assert_eq!((driven.replica.committed(), applied(&outputs)), (LogIndex(2), vec![]));
    assert_eq!(applied(&driven.persist()), [2]);
}

#[test]
fn a_snapshot_that_is_installed_while_it_leads_settles_nothing_of_its_term() {
    let voters = configuration([1, 2, 3], []);
    let mut driven = Driven::elected(restored(voters.clone(), &[1, 2]), Settings::default());
    driven.persist();
    let last = driven.replica.last();
    assert_eq!((last, driven.replica.committed()), (position(3, 3), LogIndex(0)));
    let snapshot = position(2, 2);
    assert!(driven.replica.accepts_snapshot(snapshot));
    driven.step(Input::SnapshotInstalled { position: snapshot, configuration: voters });
    assert_eq!((driven.replica.base(), driven.replica.last()), (snapshot, last));
    assert_eq!(driven.replica.committed(), snapshot.index);
    let outputs = driven.step(Input::Read { id: ReadId(1) });
    assert_eq!(ready(&outputs), [], "an entry of its term is awaited");
    driven.receive(2, matched(3, 1, 2));
    assert_eq!(driven.replica.committed(), snapshot.index);
    driven.receive(2, matched(3, 1, 3));
    assert_eq!(driven.replica.committed(), last.index);
}

#[test]
fn an_earlier_terms_entry_is_not_committed_by_counting() {
    let three = restored(configuration([1, 2, 3], []), &[1, 2]);
    let mut driven = Driven::elected(three, Settings::default());
    driven.receive(2, matched(3, 1, 2));
    driven.receive(3, matched(3, 1, 2));
    assert_eq!(driven.replica.committed(), LogIndex(0));
    driven.receive(2, matched(3, 1, 3));
    assert_eq!(driven.replica.committed(), LogIndex(3));
}

#[test]
fn a_learners_acknowledgement_does_not_count() {
    let three = restored(configuration([1, 2, 3], [4]), &[]);
    let mut driven = Driven::elected(three, Settings::default());
    driven.receive(4, matched(1, 1, 1));
    assert_eq!(driven.replica.committed(), LogIndex(0));
    driven.receive(2, matched(1, 1, 1));
    assert_eq!(driven.replica.committed(), LogIndex(1));
}

#[test]
fn an_answer_of_an_earlier_term_does_not_count() {
    let three = restored(configuration([1, 2, 3], []), &[1]);
    let mut driven = Driven::elected(three, Settings::default());
    driven.receive(2, matched(1, 1, 2));
    assert_eq!(driven.replica.committed(), LogIndex(0));
}

#[test]
fn a_later_term_in_an_answer_ends_the_leadership() {
    let mut driven = Driven::established();
    let outputs = driven.receive(2, mismatch(9, 0, Position::ZERO));
    assert_eq!(driven.replica.term(), Term(9));
    let told = Output::Leadership { term: Term(9), leader: None, leading: false };
    assert!(outputs.contains(&told));
}

#[test]
fn a_leader_that_no_majority_answers_stops_leading() {
    let mut driven = Driven::established();
    driven.step(Input::Read { id: ReadId(1) });
    let mut outputs = Vec::new();
    for _ in 0..9 {
        outputs = driven.expire();
    }
    assert_eq!(driven.replica.leader(), None);
    let dropped = Output::ReadDropped { id: ReadId(1), why: Dropped::NotLeader { leader: None } };
    assert!(outputs.contains(&dropped), "{outputs:?}");
    assert_eq!(driven.replica.term(), Term(1));
}

#[test]
fn appends_are_pipelined_within_their_bounds() {
    let three = restored(configuration([1, 2, 3], []), &[]);
    let mut driven = Driven::elected(three, settings());
    driven.receive(2, matched(1, 1, 1));
    let sent: Vec<_> = (1..=6).map(|id| appends_to(&driven.propose(id), 2)).collect();
    assert_eq!(sent, [vec![vec![2]], vec![vec![3]], vec![], vec![], vec![], vec![]]);
    // The answer makes room for one append, which takes what its size allows.
    assert_eq!(appends_to(&driven.receive(2, matched(1, 1, 2)), 2), [vec![4, 5]]);
}

#[test]
fn a_proposal_beyond_the_bound_is_dropped() {
    let three = restored(configuration([1, 2, 3], []), &[]);
    let bounded = Settings { uncommitted_bytes_max: 300, ..Settings::default() };
    let mut driven = Driven::elected(three, bounded);
    driven.receive(2, matched(1, 1, 1));
    let proposed =
        |outputs: &[Output]| outputs.iter().any(|output| matches!(output, Output::Proposed { .. }));
    assert!(proposed(&driven.propose(1)) && proposed(&driven.propose(2)));
    let dropped = Output::ProposalDropped { id: ProposalId(3), why: Dropped::Overloaded };
    assert_eq!(driven.propose(3), [dropped]);
    driven.receive(2, matched(1, 1, 3));
    driven.persist();
    assert!(proposed(&driven.propose(4)));
}

#[test]
fn a_follower_that_differs_is_found_and_followed() {
    let three = restored(configuration([1, 2, 3], []), &[1, 1, 4, 4]);
    let mut driven = Driven::elected(three, Settings::default());
    // It has 1 1 2 2 2: what can agree is at most index 2.
    let outputs = driven.receive(2, mismatch(5, 1, position(2, 4)));
    assert_eq!(appends_to(&outputs, 2), [vec![3, 4, 5]]);
    // A second answer that says the same sends nothing again.
    assert_eq!(appends_to(&driven.receive(2, mismatch(5, 1, position(2, 4))), 2), [[0; 0]; 0]);
    driven.receive(2, matched(5, 1, 5));
    assert_eq!(driven.replica.followers()[&node(2)].phase, FollowerPhase::CaughtUp);
}

#[test]
fn a_lost_append_is_sent_again() {
    let mut driven = Driven::established();
    driven.propose(1);
    let mut again = Vec::new();
    for _ in 0..6 {
        let round = driven.begin_round();
        let heartbeat = driven.receive(2, matched(1, round, 1));
        again.extend(appends_to(&heartbeat, 2));
    }
    assert!(again.contains(&vec![2]), "{again:?}");
}

#[test]
fn what_has_left_the_cache_is_loaded_from_the_disk() {
    let three = restored(configuration([1, 2, 3], []), &[1; 20]);
    let small = Settings { cache_bytes_max: 0, ..Settings::default() };
    let mut driven = Driven::elected(three, small.clone());
    driven.receive(2, matched(2, 1, 21));
    driven.step(Input::Applied { index: LogIndex(21) });
    let outputs = driven.receive(3, mismatch(2, 1, position(1, 4)));
    let bytes_max = small.append_bytes_max;
    let load = Output::LoadEntries { to: node(3), from: LogIndex(5), bytes_max };
    assert_eq!(outputs, [load]);
    let entries = (5..=9).map(|index| entry(1, index)).collect();
    let outputs = driven.step(Input::Loaded { to: node(3), from: LogIndex(5), entries });
    assert_eq!(appends_to(&outputs, 3), [vec![5, 6, 7, 8, 9]]);
    let outputs = driven.receive(3, matched(2, 1, 9));
    let load = Output::LoadEntries { to: node(3), from: LogIndex(10), bytes_max };
    assert_eq!(outputs, [load]);
    // They are gone.
    let outputs = driven.step(Input::Loaded { to: node(3), from: LogIndex(10), entries: vec![] });
    assert!(outputs.contains(&Output::SendSnapshot { to: node(3) }));
}

#[test]
fn a_follower_behind_the_log_gets_a_snapshot_and_then_the_log() {
    let three = restored(configuration([1, 2, 3], []), &[1; 20]);
    let mut driven = Driven::elected(three, Settings::default());
    driven.receive(2, matched(2, 1, 21));
    driven.step(Input::Applied { index: LogIndex(21) });
    let voters = configuration([1, 2, 3], []);
    driven.step(Input::Compacted { position: position(1, 15), configuration: voters.clone() });
    let outputs = driven.receive(3, mismatch(2, 1, position(1, 4)));
    let offer = Message::SnapshotOffer {
        term: Term(2),
        position: position(2, 21),
        configuration: voters,
        round: 1,
        repairs: None,
    };
    assert!(outputs.contains(&Output::SendSnapshot { to: node(3) }));
    assert_eq!(sent(&outputs), [(node(3), offer)]);
    // Offers keep it waiting; the log is not touched meanwhile.
    assert!(sent(&driven.heartbeat()).iter().any(|(to, message)| *to == node(3)
        && matches!(message, Message::SnapshotOffer { .. })));
    let position = Some(position(2, 21));
    let outputs = driven.step(Input::SnapshotSent { to: node(3), position });
    assert_eq!(appends_to(&outputs, 3), [Vec::<u64>::new()]);
    // What it holds counts when it says so itself.
    assert_eq!(driven.replica.followers()[&node(3)].matched, LogIndex(0));
    driven.receive(3, matched(2, 2, 21));
    assert_eq!(driven.replica.followers()[&node(3)].matched, LogIndex(21));
}

#[test]
fn a_failed_snapshot_is_sent_again_after_a_while() {
    let three = restored(configuration([1, 2, 3], []), &[1; 20]);
    let mut driven = Driven::elected(three, Settings::default());
    driven.receive(2, matched(2, 1, 21));
    driven.step(Input::Applied { index: LogIndex(21) });
    let configuration = configuration([1, 2, 3], []);
    driven.step(Input::Compacted { position: position(1, 15), configuration });
    driven.receive(3, mismatch(2, 1, position(1, 4)));
    driven.step(Input::SnapshotSent { to: node(3), position: None });
    let mut asked = 0;
    for _ in 0..20 {
        let round = driven.begin_round();
        driven.receive(2, matched(2, round, 21));
        let outputs = driven.receive(3, mismatch(2, round, position(1, 4)));
        asked += outputs.iter().filter(|one| matches!(one, Output::SendSnapshot { .. })).count();
    }
    assert_eq!(asked, 1);
}

#[test]
fn a_damaged_follower_counts_for_nothing_until_it_is_repaired() {
    let mut driven = Driven::established();
    driven.propose(1);
    driven.persist();
    let damaged = |round| Message::AppendReply {
        term: Term(1),
        round,
        result: AppendResult::Damaged { token: 5 },
    };
    // INV-35: from now on there is an entry that shows who led since.
    let outputs = driven.receive(2, damaged(1));
    assert_eq!(driven.replica.last(), position(1, 3));
    assert!(sent(&outputs).iter().any(|(to, _)| *to == node(3)), "{outputs:?}");
    // What it said before comes late, and does not count.
    driven.receive(2, matched(1, 1, 2));
    assert_eq!(driven.replica.committed(), LogIndex(1));
    // A snapshot goes out when a majority without it holds that entry: one that confirms the leader is not enough.
    let round = driven.begin_round();
    assert_eq!(driven.receive(2, damaged(round)), []);
    let streams = |outputs: &[Output]| outputs.contains(&Output::SendSnapshot { to: node(2) });
    let outputs = driven.receive(3, matched(1, round, 2));
    assert!(!streams(&outputs), "{outputs:?}");
    driven.receive(3, matched(1, round, 3));
    let outputs = driven.persist();
    assert!(streams(&outputs), "{outputs:?}");
    let offered = sent(&outputs).into_iter().find_map(|(to, message)| {
        let Message::SnapshotOffer { position, repairs, .. } = message else { return None };
        (to == node(2)).then_some((position, repairs))
    });
    assert_eq!(offered, Some((position(1, 1), Some(5))));
    driven.step(Input::SnapshotSent { to: node(2), position: Some(position(1, 3)) });
    driven.receive(2, matched(1, round + 1, 3));
    assert_eq!(driven.replica.followers()[&node(2)].matched, LogIndex(3));
}

#[test]
fn a_follower_that_is_damaged_again_is_repaired_again() {
    let mut driven = Driven::established();
    let damaged = |round| Message::AppendReply {
        term: Term(1),
        round,
        result: AppendResult::Damaged { token: 5 },
    };
    let mut streams = 0;
    for _ in 0..6 {
        let round = driven.begin_round();
        let told = driven.receive(2, damaged(round));
        let last = driven.replica.last().index.0;
        let held = driven.receive(3, matched(1, round, last));
        let durable = driven.persist();
        let index = driven.replica.committed();
        let outputs = [told, held, durable, driven.step(Input::Applied { index })];
        let asked = outputs.concat().contains(&Output::SendSnapshot { to: node(2) });
        if asked {
            streams += 1;
            driven.step(Input::SnapshotSent { to: node(2), position: Some(position(1, 1)) });
            // An answer from before the repair comes late, and starts nothing.
            assert_eq!(driven.receive(2, damaged(round)), []);
        }
    }
    assert!(streams > 1, "{streams}");
    // It is the same damage all the while, so one entry proves all that is to be proved.
    assert_eq!(driven.replica.last().index, LogIndex(2));
}

#[test]
fn a_log_begins_with_the_genesis_configuration() {
    let driven = Driven::established();
    assert_eq!(driven.replica.last(), position(1, 1));
    let mut joiner = Driven::new(4, super::Restored::default());
    let payload = Payload::Configuration(driven.replica.configuration().clone());
    let first = Entry { position: position(1, 1), payload };
    joiner.receive(1, append(1, position(0, 0), [first, entry(1, 2)], 2));
    assert_eq!(joiner.replica.configuration_at(LogIndex(1)), driven.replica.configuration());
}

#[test]
fn a_read_waits_for_a_round_that_began_after_it() {
    let mut driven = Driven::established();
    let round = driven.begin_round();
    let outputs = driven.step(Input::Read { id: ReadId(1) });
    assert_eq!(appends_to(&outputs, 2), [[0; 0]]);
    // The answers to the round before come late.
    assert_eq!(ready(&driven.receive(2, matched(1, round, 1))), []);
    assert_eq!(ready(&driven.receive(3, matched(1, round, 1))), []);
    assert_eq!(ready(&driven.receive(2, matched(1, round + 1, 1))), [(1, 1)]);
}

#[test]
fn the_reads_that_wait_share_a_round() {
    let mut driven = Driven::established();
    driven.step(Input::Read { id: ReadId(1) });
    for id in 2..=5 {
        assert_eq!(driven.step(Input::Read { id: ReadId(id) }), []);
    }
    let outputs = driven.receive(2, matched(1, 2, 1));
    assert_eq!(ready(&outputs), [(1, 1)]);
    assert_eq!(appends_to(&outputs, 3).len(), 1);
    assert_eq!(ready(&driven.receive(3, matched(1, 3, 1))), [(2, 1), (3, 1), (4, 1), (5, 1)]);
}

#[test]
fn a_read_waits_for_an_entry_of_the_own_term() {
    let three = restored(configuration([1, 2, 3], []), &[1, 1]);
    let mut driven = Driven::elected(three, Settings::default());
    assert_eq!(driven.step(Input::Read { id: ReadId(1) }), []);
    driven.receive(2, matched(2, 1, 2));
    driven.receive(2, matched(2, 1, 3));
    assert_eq!(ready(&driven.receive(2, matched(2, 2, 3))), [(1, 3)]);
}

#[test]
fn a_read_beyond_the_bound_is_dropped() {
    let three = restored(configuration([1, 2, 3], []), &[]);
    let bounded = Settings { waiting_reads_max: 1, ..Settings::default() };
    let mut driven = Driven::elected(three, bounded);
    driven.step(Input::Read { id: ReadId(1) });
    let dropped = Output::ReadDropped { id: ReadId(2), why: Dropped::Overloaded };
    assert_eq!(driven.step(Input::Read { id: ReadId(2) }), [dropped]);
}

#[test]
fn a_learners_answer_confirms_no_read() {
    let three = restored(configuration([1, 2, 3], [4]), &[]);
    let mut driven = Driven::elected(three, Settings::default());
    driven.receive(2, matched(1, 1, 1));
    driven.step(Input::Read { id: ReadId(1) });
    assert_eq!(ready(&driven.receive(4, matched(1, 2, 1))), []);
    assert_eq!(ready(&driven.receive(3, matched(1, 2, 1))), [(1, 1)]);
}

#[test]
fn who_does_not_lead_drops_what_it_is_asked() {
    let mut driven = Driven::first_of_three();
    driven.receive(2, append(1, position(0, 0), [], 0));
    let why = Dropped::NotLeader { leader: Some(node(2)) };
    assert_eq!(driven.propose(1), [Output::ProposalDropped { id: ProposalId(1), why }]);
    let read = driven.step(Input::Read { id: ReadId(1) });
    assert_eq!(read, [Output::ReadDropped { id: ReadId(1), why }]);
}

#[test]
fn idle_followers_learn_of_a_commit_before_the_next_heartbeat() {
    let mut driven = Driven::established();
    let round = driven.begin_round();
    driven.propose(1);
    driven.persist();
    driven.receive(2, matched(1, round, 2));
    let wait = driven.replica.deadline().at.since(driven.now);
    assert!(wait <= Duration::from_millis(10), "{wait:?}");
    let outputs = driven.expire();
    let told = sent(&outputs).into_iter().find_map(|(to, message)| {
        let Message::Append { committed, .. } = message else { return None };
        (to == node(2)).then_some(committed)
    });
    assert_eq!(told, Some(LogIndex(2)));
}
