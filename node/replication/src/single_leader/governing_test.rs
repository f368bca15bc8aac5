//! Handing over and changing the membership, driven by hand.

use quorate_model::{Durability, InSyncPolicy, LogIndex, NodeId, Term};

use super::driving_test::{Driven, configuration, matched, node, nodes, position, restored, sent};
use super::{Configuration, Dropped, Input, Message, Output, ProposalId, Settings};

const LATE: LogIndex = LogIndex(2);

fn target(voters: impl IntoIterator<Item = u128>) -> Input {
    Input::Target {
        voters: nodes(voters),
        learners: nodes([]),
        preferred_leader: None,
        durability: Durability::Quorum,
        in_sync: InSyncPolicy::default(),
    }
}

fn told_to_stand(outputs: &[Output]) -> Vec<NodeId> {
    let told = sent(outputs)
        .into_iter()
        .filter_map(|(to, message)| matches!(message, Message::TimeoutNow { .. }).then_some(to));
    told.collect()
}

/// A leader of 1, 2, 3 to whom both others have answered lately.
fn leader() -> Driven {
    let mut driven = Driven::established();
    driven.receive(2, matched(1, 1, 1));
    driven.receive(3, matched(1, 1, 1));
    driven
}

/// Everything in the log is on its disk and acknowledged by these.
fn settle(driven: &mut Driven, by: impl IntoIterator<Item = u128>) -> Vec<Output> {
    let mut outputs = driven.persist();
    for follower in by {
        let (term, last) = (driven.replica.term().0, driven.replica.last().index.0);
        outputs.extend(driven.receive(follower, matched(term, 1, last)));
    }
    outputs
}

#[test]
fn a_transfer_waits_for_the_successor_and_takes_no_proposal() {
    let mut driven = leader();
    driven.propose(1);
    driven.persist();
    let outputs = driven.step(Input::Transfer { to: Some(node(3)) });
    assert_eq!(told_to_stand(&outputs), []);
    let dropped = Output::ProposalDropped { id: ProposalId(2), why: Dropped::Transferring };
    assert_eq!(driven.propose(2), [dropped]);
    assert_eq!(told_to_stand(&driven.receive(2, matched(1, 1, 2))), []);
    assert_eq!(told_to_stand(&driven.receive(3, matched(1, 1, 2))), [node(3)]);
    let asked = Message::Vote { term: Term(2), last: position(1, 2), transfer: true };
    let outputs = driven.receive(3, asked);
    let vote = Message::VoteReply { term: Term(2), granted: true };
    assert!(sent(&outputs).contains(&(node(3), vote)));
}

#[test]
fn a_transfer_chooses_the_most_advanced() {
    let mut driven = leader();
    driven.propose(1);
    driven.persist();
    driven.receive(3, matched(1, 1, 2));
    assert_eq!(told_to_stand(&driven.step(Input::Transfer { to: None })), [node(3)]);
}

#[test]
fn a_transfer_to_no_voter_is_ignored() {
    let mut driven = leader();
    for to in [1, 9] {
        assert_eq!(driven.step(Input::Transfer { to: Some(node(to)) }), []);
        assert!(!driven.replica.is_transferring());
    }
}

#[test]
fn a_transfer_that_fails_ends_and_the_leader_leads_on() {
    let mut driven = leader();
    driven.step(Input::Transfer { to: Some(node(3)) });
    for _ in 0..12 {
        let round = driven.begin_round();
        driven.receive(2, matched(1, round, 1));
    }
    assert!(!driven.replica.is_transferring() && driven.replica.is_leading());
    let outputs = driven.propose(9);
    assert!(outputs.iter().any(|output| matches!(output, Output::Proposed { .. })));
}

#[test]
fn a_leader_with_a_stalled_disk_hands_over_or_stops() {
    let mut driven = leader();
    assert_eq!(told_to_stand(&driven.step(Input::DiskStalled)).len(), 1);
    for _ in 0..12 {
        driven.expire();
    }
    assert_eq!(driven.replica.leader(), None);
    let mut alone = Driven::elected(restored(configuration([1], []), &[]), Settings::default());
    alone.step(Input::DiskStalled);
    assert_eq!(alone.replica.leader(), None);
}

#[test]
fn a_voter_joins_as_a_learner_and_is_promoted_when_it_has_caught_up() {
    let mut driven = leader();
    driven.step(target([1, 2, 3, 4]));
    assert_eq!(driven.replica.configuration(), &configuration([1, 2, 3], [4]));
    settle(&mut driven, [2, 3]);
    assert_eq!(driven.replica.configuration(), &configuration([1, 2, 3], [4]));
    settle(&mut driven, [4]);
    assert_eq!(driven.replica.configuration(), &configuration([1, 2, 3, 4], []));
}

#[test]
fn a_superfluous_voter_is_removed_when_every_wanted_one_is_there() {
    let mut driven = leader();
    driven.step(target([1, 2, 4]));
    settle(&mut driven, [2, 3, 4]);
    assert_eq!(driven.replica.configuration(), &configuration([1, 2, 3, 4], []));
    settle(&mut driven, [2, 3, 4]);
    assert_eq!(driven.replica.configuration(), &configuration([1, 2, 4], []));
}

#[test]
fn one_change_waits_for_the_one_before() {
    let mut driven = leader();
    driven.step(target([1, 2, 3, 4]));
    driven.receive(4, matched(1, 1, 2));
    driven.step(target([1, 2, 3, 5]));
    assert_eq!(driven.replica.last().index, LATE);
    assert_eq!(driven.replica.configuration(), &configuration([1, 2, 3], [4]));
}

#[test]
fn no_configuration_is_appended_before_an_entry_of_the_own_term_is_committed() {
    let three = restored(configuration([1, 2, 3], []), &[1]);
    let mut driven = Driven::elected(three, Settings::default());
    driven.step(target([1, 2, 3, 4]));
    assert_eq!(driven.replica.last(), position(2, 2));
    driven.receive(2, matched(2, 1, 2));
    assert_eq!(driven.replica.configuration(), &configuration([1, 2, 3], [4]));
}

#[test]
fn a_superfluous_leader_hands_over_and_does_not_remove_itself() {
    let mut driven = leader();
    let mut outputs = driven.step(target([2, 3]));
    assert_eq!(driven.replica.configuration(), &configuration([1, 2, 3], []));
    outputs.extend(driven.begin_round_answered(2));
    assert!(!told_to_stand(&outputs).is_empty());
    assert_eq!(driven.replica.configuration(), &configuration([1, 2, 3], []));
}

#[test]
fn a_change_that_would_leave_no_answering_majority_waits() {
    let mut driven = leader();
    // Two of four answer after the promotion: three are needed.
    driven.step(target([1, 2, 3, 4]));
    settle(&mut driven, [2, 3]);
    for _ in 0..10 {
        driven.begin_round_answered(2);
    }
    // 3 is silent by now; 2 alone must not be removed with it.
    driven.step(target([1, 3]));
    settle(&mut driven, [2]);
    assert_eq!(driven.replica.configuration(), &configuration([1, 2, 3], []));
}

#[test]
fn a_demoted_voter_stays_as_a_learner() {
    let mut driven = leader();
    let (voters, learners) = (nodes([1, 2]), nodes([3]));
    driven.step(Input::Target {
        voters,
        learners,
        preferred_leader: None,
        durability: Durability::Quorum,
        in_sync: InSyncPolicy::default(),
    });
    assert_eq!(driven.replica.configuration(), &configuration([1, 2], [3]));
}

#[test]
fn the_removed_one_is_told_before_it_is_forgotten() {
    let mut driven = leader();
    let outputs = driven.step(target([1, 2]));
    let told = |outputs: &[Output]| sent(outputs).iter().any(|(to, _)| *to == node(3));
    assert!(told(&outputs));
    settle(&mut driven, [2, 3]);
    let round = driven.begin_round();
    driven.receive(2, matched(1, round, 2));
    driven.receive(3, matched(1, round, 2));
    assert!(!told(&driven.heartbeat()));
}

#[test]
fn a_leader_whose_removal_is_committed_goes() {
    // An earlier leader appended its removal here: it may stand to commit it, and does not count itself.
    let mut log = restored(configuration([1, 2, 3], []), &[1]);
    let payload = super::Payload::Configuration(Configuration {
        voters: nodes([2, 3]),
        ..Configuration::default()
    });
    log.entries.push(super::Entry { position: position(1, 2), payload });
    let mut driven = Driven::elected(log, Settings::default());
    driven.receive(2, matched(2, 1, 3));
    assert_eq!(driven.replica.committed(), LogIndex(0));
    let outputs = driven.receive(3, matched(2, 1, 3));
    assert_eq!(driven.replica.committed(), LogIndex(3));
    assert_eq!(told_to_stand(&outputs).len(), 1);
    assert!(!driven.replica.is_member());
}

#[test]
fn the_preferred_leader_is_handed_over_to_after_a_while() {
    let mut driven = leader();
    let voters = nodes([1, 2, 3]);
    let preferred_leader = Some(node(2));
    driven.step(Input::Target {
        voters,
        learners: nodes([]),
        preferred_leader,
        durability: Durability::Quorum,
        in_sync: InSyncPolicy::default(),
    });
    assert!(!driven.replica.is_transferring());
    let mut outputs = Vec::new();
    for _ in 0..40 {
        outputs.extend(driven.begin_round_answered(2));
    }
    assert!(told_to_stand(&outputs).contains(&node(2)));
}
