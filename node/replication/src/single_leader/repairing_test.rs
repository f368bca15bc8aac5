//! A vote that is lost with a damaged log, in a group of five real replicas: it must not elect a second leader, nor one that lacks
//! what was committed since.
//!
//! 1 leads term 1. 2 stands in term 2 and has the vote of 3, so it lacks one more; nobody else has heard of term 2. Then the log of 3
//! is damaged, and 1 repairs it, which leads on with 4 and 5. From here on 3 may not know that it ever voted.

use std::collections::BTreeMap;

use quorate_model::admin::Role;
use quorate_model::{LogIndex, Position, Term};

use super::driving_test::{Driven, configuration, node, position, restored};
use super::{HardState, Input, Message, Output, Restored, Settings};

/// What is on its way: from, to, what.
type Link = (u128, u128, Message);

struct Five {
    nodes: BTreeMap<u128, Driven>,
    sent: Vec<Link>,
    /// Snapshots that are to be sent: from, to.
    streams: Vec<(u128, u128)>,
}

impl Five {
    /// 1 leads term 1, and everybody holds and has applied its first entry.
    fn led_by_1() -> Self {
        let blank = || restored(configuration(1..=5, []), &[]);
        let mut nodes: BTreeMap<u128, Driven> =
            (2..=5).map(|id| (id, Driven::new(id, blank()))).collect();
        nodes.insert(1, Driven::elected(blank(), Settings::default()));
        let mut five = Self { nodes, sent: Vec::new(), streams: Vec::new() };
        for _ in 0..2 {
            five.heartbeat(|_| true);
        }
        assert!(five.nodes.values().all(|driven| driven.replica.applied() == LogIndex(1)));
        five
    }

    fn take(&mut self, id: u128, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send { to, message, .. } => self.sent.push((id, to.0, message)),
                Output::Apply { entries } => {
                    let index = entries.last().expect("never empty").index();
                    self.step(id, Input::Applied { index });
                }
                Output::SendSnapshot { to } => self.streams.push((id, to.0)),
                Output::Persist { .. }
                | Output::Acknowledged { .. }
                | Output::RolledBack { .. }
                | Output::RuleChanged { .. }
                | Output::Proposed { .. }
                | Output::ProposalDropped { .. }
                | Output::ReadReady { .. }
                | Output::ReadDropped { .. }
                | Output::LoadEntries { .. }
                | Output::Leadership { .. } => {}
            }
        }
    }

    /// Its disk completes at once.
    fn step(&mut self, id: u128, input: Input) {
        let driven = self.nodes.get_mut(&id).unwrap();
        let mut outputs = driven.step(input);
        outputs.extend(driven.persist());
        self.take(id, outputs);
    }

    /// Delivers what `passes` lets through, and what that brings. The rest stays on its way.
    fn deliver(&mut self, passes: impl Fn(&Link) -> bool) {
        while let Some(at) = self.sent.iter().position(&passes) {
            let (from, to, message) = self.sent.remove(at);
            self.step(to, Input::Message { from: node(from), message });
        }
    }

    /// 1 sends its next heartbeat; the time of all goes on.
    fn heartbeat(&mut self, passes: impl Fn(&Link) -> bool) {
        let leader = self.nodes.get_mut(&1).unwrap();
        let mut outputs = leader.heartbeat();
        outputs.extend(leader.persist());
        let now = leader.now;
        for driven in self.nodes.values_mut() {
            driven.now = driven.now.max(now);
        }
        self.take(1, outputs);
        self.deliver(passes);
    }

    /// It has not heard its leader lately.
    fn forget_leader(&mut self, id: u128) {
        let driven = self.nodes.get_mut(&id).unwrap();
        driven.pass(Settings::default().election_timeout);
    }

    fn stand(&mut self, id: u128) {
        let driven = self.nodes.get_mut(&id).unwrap();
        let outputs = driven.expire();
        self.take(id, outputs);
    }

    fn write(&mut self) {
        let driven = self.nodes.get_mut(&1).unwrap();
        let mut outputs = driven.propose(1);
        outputs.extend(driven.persist());
        self.take(1, outputs);
    }

    /// Heartbeats enough for a repair, and what they ask for.
    fn repair(&mut self, passes: impl Fn(&Link) -> bool) {
        for _ in 0..3 {
            self.heartbeat(&passes);
            self.install_streams();
        }
    }

    /// An entry that is committed although 4 does not get it.
    fn commit_without_4(&mut self) -> Position {
        self.write();
        self.deliver(without_entries_for_4);
        let leader = &self.nodes[&1].replica;
        let written = leader.last();
        assert_eq!(leader.committed(), written.index);
        written
    }

    fn leads(&self, id: u128) -> Option<Term> {
        let replica = &self.nodes[&id].replica;
        (replica.role() == Role::Leader).then(|| replica.term())
    }

    /// 3 has voted for 2 in term 2, and what it voted is lost with its log. The questions to the others are on their way.
    fn vote_is_lost() -> Self {
        let mut five = Self::led_by_1();
        (2..=4).for_each(|id| five.forget_leader(id));
        five.stand(2);
        five.deliver(|link| match link {
            (2, 3 | 4, Message::PreVote { .. }) | (3 | 4, 2, Message::PreVoteReply { .. }) => true,
            (2, 3, Message::Vote { .. }) | (3, 2, Message::VoteReply { .. }) => true,
            (_, _, _) => false,
        });
        assert_eq!(five.nodes[&2].replica.role(), Role::Candidate);
        assert_eq!(five.nodes[&2].replica.term(), Term(2));
        assert_eq!(five.nodes[&3].replica.term(), Term(2));
        five.damage_3();
        five
    }

    fn damage_3(&mut self) {
        // As its host restores it: what it applied, and no vote of the present term or an earlier one.
        let hard_state = HardState { term: Term(1), vote: Some(node(3)) };
        let damaged = Restored {
            hard_state,
            base: position(1, 1),
            base_configuration: configuration(1..=5, []),
            applied: LogIndex(1),
            damaged: true,
            ..Restored::default()
        };
        let now = self.nodes[&3].now;
        let mut driven = Driven::new(3, damaged);
        driven.now = now.max(driven.now);
        self.nodes.insert(3, driven);
        self.sent.retain(|(from, to, _)| *from != 3 && *to != 3);
    }

    /// Streams arrive and are installed, where the receiver takes them.
    fn install_streams(&mut self) {
        for (from, to) in std::mem::take(&mut self.streams) {
            let source = &self.nodes[&from].replica;
            let base = source.position_at(source.applied()).unwrap();
            let configuration = source.configuration_at(base.index).clone();
            assert!(self.nodes[&to].replica.accepts_snapshot(base));
            self.step(to, Input::SnapshotInstalled { position: base, configuration });
            self.step(from, Input::SnapshotSent { to: node(to), position: Some(base) });
        }
    }
}

/// Between those that 1 leads; 4 is given no entries.
fn without_entries_for_4(link: &Link) -> bool {
    match link {
        (2, _, _) | (_, 2, _) => false,
        (1, 4, Message::Append { entries, .. }) => entries.is_empty(),
        (_, _, _) => true,
    }
}

fn without_2(link: &Link) -> bool {
    let (from, to, _) = link;
    *from != 2 && *to != 2
}

/// 1 leads no more, and 5 asks it and 3 for their votes.
fn stand_5(five: &mut Five) {
    five.forget_leader(1);
    five.stand(1);
    assert_eq!(five.leads(1), None);
    for id in [1, 3, 5] {
        five.forget_leader(id);
    }
    five.stand(5);
    five.deliver(|(from, to, _)| matches!((from, to), (5, 1 | 3) | (1 | 3, 5)));
}

/// 4, which did not hear of it before, is asked for its vote by 2 at last.
fn ask_4(five: &mut Five) {
    five.forget_leader(4);
    five.deliver(|link| match link {
        (2, 4, Message::Vote { .. }) | (4, 2, Message::VoteReply { .. }) => true,
        (_, _, _) => false,
    });
}

#[test]
fn a_vote_that_a_repaired_replica_forgot_elects_nobody() {
    let mut five = Five::vote_is_lost();
    // That 4 answers heartbeats is not enough: it would still vote for 2.
    five.repair(without_entries_for_4);
    assert!(five.nodes[&3].replica.is_damaged());
    five.repair(without_2);
    assert!(!five.nodes[&3].replica.is_damaged());
    let written = five.commit_without_4();
    stand_5(&mut five);
    assert_eq!(five.leads(5), Some(Term(2)));
    ask_4(&mut five);
    assert_eq!(five.leads(2), None);
    assert_eq!(five.nodes[&5].replica.position_at(written.index), Some(written));
}

/// What a majority's answers to heartbeats alone would let happen: two leaders of one term, one without what was committed.
#[cfg(feature = "planted")]
#[test]
fn a_repair_without_proof_makes_two_leaders() {
    use quorate_model::planted::{Bug, plant};

    plant(Some(Bug::RepairUnproved));
    let mut five = Five::vote_is_lost();
    five.repair(without_entries_for_4);
    assert!(!five.nodes[&3].replica.is_damaged());
    let written = five.commit_without_4();
    stand_5(&mut five);
    ask_4(&mut five);
    plant(None);
    assert_eq!((five.leads(2), five.leads(5)), (Some(Term(2)), Some(Term(2))));
    assert_ne!(five.nodes[&2].replica.position_at(written.index), Some(written));
}
