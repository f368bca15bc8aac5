//! Following: taking the leader's entries, answering for what is durable, taking snapshots.
//!
//! Keeps INV-12, INV-13, INV-18, INV-33 and INV-34's follower side. It may not vote and not count.

use quorate_model::planted::{self, Bug};
use quorate_model::{LogIndex, NodeId, Position};

use super::leading::NO_ROUND;
use super::replica::{Replica, Role};
use super::{AppendResult, Configuration, Entry, Message, When};

impl Replica {
    pub(super) fn append_received(
        &mut self,
        from: NodeId,
        previous: Position,
        entries: Vec<Entry>,
        committed: LogIndex,
        round: u64,
    ) {
        if !is_well_formed(previous, &entries, self.kernel.term().0) {
            return;
        }
        self.hear(from);
        if let Some(damage) = &self.kernel.damage {
            let token = damage.token;
            return self.answer(from, round, AppendResult::Damaged { token });
        }
        let heartbeat = entries.is_empty();
        if self.kernel.is_full() && !heartbeat {
            // As if they were lost on the way: an answer would bring them again at once.
            return;
        }
        let (previous, entries) = self.beyond_base(previous, entries);
        let overlooked = planted::is(Bug::IgnoreHole) && previous.index <= self.last().index;
        if !self.kernel.log.contains(previous) && !overlooked {
            let hint = self.last_agreeable(previous);
            return self.answer(from, round, AppendResult::Mismatch { hint });
        }
        let matched = LogIndex(previous.index.0 + entries.len() as u64);
        self.take_entries(entries);
        // INV-15: the sender's log holds all that is committed, so this log agrees with it through `matched`.
        self.kernel.commit(committed.min(matched).max(self.kernel.committed()));
        let matched = if heartbeat {
            // A heartbeat is answered at once, for as much as is durable: a slow disk is not a dead replica.
            matched.min(self.kernel.durability.durable())
        } else {
            matched
        };
        self.acknowledge(from, round, matched);
    }

    /// The leader is about to send a snapshot: there is nothing to do but to keep waiting for it.
    pub(super) fn snapshot_offered(
        &mut self,
        from: NodeId,
        round: u64,
        position: Position,
        repairs: Option<u64>,
    ) {
        self.hear(from);
        match &mut self.kernel.damage {
            Some(damage) => {
                if repairs == Some(damage.token) {
                    // It has counted for nothing since, so what was enough before is enough still.
                    let least =
                        damage.whole_from.map_or(position.index, |least| least.min(position.index));
                    damage.whole_from = Some(least);
                }
                let token = damage.token;
                self.answer(from, round, AppendResult::Damaged { token });
            }
            None => {
                // INV-15: what is committed here is in the leader's log too.
                let durable = self.kernel.durability.durable();
                self.acknowledge(from, round, self.kernel.committed().min(durable));
            }
        }
    }

    pub(super) fn snapshot_installed(&mut self, position: Position, configuration: Configuration) {
        if position.term > self.kernel.term() {
            self.enter_term(position.term);
        }
        // INV-15: a leader holds everything that is committed, and a snapshot is of committed entries.
        let leads = matches!(self.role, Role::Leader(_));
        assert!(!leads || self.kernel.log.contains(position), "{position:?} is missing");
        self.kernel.install(position, configuration);
        if !leads {
            // Whoever stood for election did so with another log.
            self.restart_election_timer(self.kernel.leader);
        }
    }

    /// A leader of an earlier term is told of the present one, and of nothing else: by now it may lead the present term,
    /// of which the round that it asks in says nothing (INV-24).
    pub(super) fn refuse_stale_leader(&mut self, from: NodeId) {
        let result = match &self.kernel.damage {
            Some(damage) => AppendResult::Damaged { token: damage.token },
            None => AppendResult::Mismatch { hint: Position::ZERO },
        };
        self.answer(from, NO_ROUND, result);
    }

    /// The sender leads the present term.
    fn hear(&mut self, from: NodeId) {
        let known = self.kernel.leader;
        // INV-1: there is one leader in a term.
        assert!(known.is_none_or(|known| known == from), "{from:?} and {known:?} lead one term");
        assert!(!matches!(self.role, Role::Leader(_)), "two leaders in {:?}", self.kernel.term());
        self.kernel.follow(from);
        self.kernel.heard = Some(self.kernel.now);
        self.restart_election_timer(known);
    }

    /// What of an append lies beyond this log's base. Through the base both logs agree: it is committed.
    fn beyond_base(&self, previous: Position, mut entries: Vec<Entry>) -> (Position, Vec<Entry>) {
        let base = self.kernel.log.base();
        if previous.index >= base.index {
            return (previous, entries);
        }
        entries.retain(|entry| entry.index() > base.index);
        (base, entries)
    }

    fn take_entries(&mut self, mut entries: Vec<Entry>) {
        let log = &self.kernel.log;
        let known = entries.iter().take_while(|entry| log.contains(entry.position)).count();
        let behind = entries.last().map(|last| last.index().next());
        entries.drain(..known);
        if let Some(behind) = behind.filter(|_| entries.is_empty())
            && planted::is(Bug::CutBehindAppend)
            && behind > self.kernel.committed()
            && behind <= self.kernel.log.last().index
        {
            self.kernel.cut(behind);
        }
        let Some(first) = entries.first() else { return };
        if first.index() <= self.kernel.log.last().index {
            // INV-13: from the first entry that differs on, this log is not the leader's.
            self.kernel.cut(first.index());
        }
        self.kernel.append(entries);
    }

    /// The last position of this log that may agree with a log that holds `previous`, which this one does not.
    fn last_agreeable(&self, previous: Position) -> Position {
        let before = Position { term: previous.term, index: previous.index.previous() };
        let hint = self.kernel.log.last_compatible(before);
        assert!(hint.index < previous.index || hint == self.kernel.log.base());
        hint
    }

    /// INV-36: what its log holds counts, whatever its state is; the leader hears of that too.
    fn acknowledge(&mut self, to: NodeId, round: u64, matched: LogIndex) {
        let result = if self.kernel.needs_state {
            AppendResult::NeedsState { matched }
        } else {
            AppendResult::Matched(matched)
        };
        self.answer(to, round, result);
    }

    fn answer(&mut self, to: NodeId, round: u64, result: AppendResult) {
        let when = match result {
            // INV-12: acknowledged when durable, under a durable term.
            AppendResult::Matched(_) if planted::is(Bug::AcknowledgeBeforeDisk) => When::Now,
            AppendResult::Matched(matched) | AppendResult::NeedsState { matched } => {
                self.kernel.when_durable(matched)
            }
            AppendResult::Mismatch { .. } | AppendResult::Damaged { .. } => {
                self.kernel.when_hard_state()
            }
        };
        let message = Message::AppendReply { term: self.kernel.term(), round, result };
        self.kernel.send(to, message, when);
    }
}

/// The entries go on from `previous`, and none is of a later term than the message's.
fn is_well_formed(previous: Position, entries: &[Entry], term: u64) -> bool {
    let mut before = previous;
    entries.iter().all(|entry| {
        let follows = entry.index() == before.index.next() && entry.term() >= before.term;
        before = entry.position;
        follows
    }) && before.term.0 <= term
}
