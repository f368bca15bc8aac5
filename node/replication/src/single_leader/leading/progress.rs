//! How far one follower is, as its leader knows it, and what may be sent to it next.
//!
//! Keeps INV-13's leader side: `matched` is only ever what the follower acknowledged in this term.

use std::collections::VecDeque;

use quorate_model::{LogIndex, Position, Time};

#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// The follower's log is durable and equal to the leader's through here.
    pub(super) matched: LogIndex,
    /// What is sent next.
    pub(super) next: LogIndex,
    pub(super) phase: Phase,
    /// The newest round that was answered; counts for reads and the quorum check.
    pub(super) answered_round: u64,
    pub(super) answered_at: Option<Time>,
    /// Entries from here on are being read from the disk.
    pub(super) loading: Option<LogIndex>,
    /// The newest commit index that was sent.
    pub(super) told_committed: LogIndex,
    pub(super) repair: Option<Repair>,
    pub(super) rebuild: Rebuild,
    /// Removed from the configuration; still told of it, for a while.
    pub(super) leaving: Option<Leaving>,
}

#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Looking for where the logs agree: one append at a time.
    Probe {
        awaiting: bool,
    },
    /// Entries are sent without waiting for answers, within the bound of `inflight`.
    Replicate {
        /// The last index of every unanswered append.
        inflight: VecDeque<LogIndex>,
        /// When the oldest of them was sent, or anything was acknowledged since.
        moved_at: Time,
    },
    Snapshot(Snapshot),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Snapshot {
    /// Not before this time: the last stream failed, or the leader must first know more (INV-34).
    Waiting {
        until: Time,
    },
    Streaming,
}

/// A follower whose log is damaged counts for nothing until a snapshot is installed there (INV-34).
#[derive(Clone, Copy, Debug)]
pub(super) struct Repair {
    /// Only answers to rounds from this one on say anything about the repaired log.
    pub(super) round: u64,
    /// What the snapshot must contain.
    pub(super) floor: LogIndex,
    /// An entry that was appended after this leader learnt of the damage: a majority must hold it first (INV-35).
    pub(super) proof: LogIndex,
    /// The follower's name for its damage.
    pub(super) token: u64,
    /// What was applied when the stream was asked for, which it holds.
    pub(super) streams_from: Option<Position>,
}

/// The snapshot for a follower whose state is wrong, and whose log goes on meanwhile (INV-36).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rebuild {
    No,
    /// The last one failed, or arrived, and the follower has not said yet that its state is right: none before this time.
    Waiting {
        until: Time,
    },
    Streaming,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    /// The entry that removed it.
    pub(super) removal: LogIndex,
    /// Told until here at the latest.
    pub(super) until: Time,
    /// Answers to this round or a later one show that it knows that its removal is committed.
    pub(super) told_round: Option<u64>,
}

/// How far a follower is, for those who look at the leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FollowerView {
    /// Durable there, and equal to the leader's log, through here.
    pub matched: LogIndex,
    pub phase: FollowerPhase,
    pub last_answer: Option<Time>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FollowerPhase {
    /// Looking for the position from which to continue.
    Probing,
    /// It needs a snapshot.
    Snapshot,
    /// Following the log, more than a few entries behind.
    Log { entries_behind: u64 },
    /// Following the log closely: may become a voter.
    CaughtUp,
}

impl Progress {
    pub(super) const fn new(next: LogIndex) -> Self {
        Self {
            matched: LogIndex::ZERO,
            next,
            phase: Phase::Probe { awaiting: false },
            answered_round: 0,
            answered_at: None,
            loading: None,
            told_committed: LogIndex::ZERO,
            repair: None,
            rebuild: Rebuild::No,
            leaving: None,
        }
    }

    /// Goes on looking from `next`.
    pub(super) fn probe(&mut self, next: LogIndex) {
        self.phase = Phase::Probe { awaiting: false };
        self.next = next.max(self.matched.next());
        self.loading = None;
    }

    pub(super) fn snapshot(&mut self, snapshot: Snapshot) {
        self.phase = Phase::Snapshot(snapshot);
        self.loading = None;
    }

    /// The follower acknowledged everything through `matched`. Answers whether that was news.
    pub(super) fn acknowledge(&mut self, matched: LogIndex, now: Time) -> bool {
        let news = matched > self.matched;
        self.matched = self.matched.max(matched);
        match &mut self.phase {
            Phase::Probe { .. } => {
                // What was sent beyond may have been lost: it goes again from what is certain.
                self.next = self.matched.next();
                self.loading = None;
                self.phase = Phase::Replicate { inflight: VecDeque::new(), moved_at: now };
            }
            Phase::Replicate { inflight, moved_at } => {
                while inflight.front().is_some_and(|last| *last <= matched) {
                    inflight.pop_front();
                }
                if news {
                    *moved_at = now;
                }
                self.next = self.next.max(self.matched.next());
            }
            Phase::Snapshot(_) => {}
        }
        assert!(self.next > self.matched || matches!(self.phase, Phase::Snapshot(_)));
        news
    }

    /// Takes note of an append that ends with `last`.
    pub(super) fn sent(&mut self, last: LogIndex, now: Time) {
        match &mut self.phase {
            Phase::Probe { awaiting } => *awaiting = true,
            Phase::Replicate { inflight, moved_at } => {
                if inflight.is_empty() {
                    *moved_at = now;
                }
                inflight.push_back(last);
                self.next = last.next();
            }
            Phase::Snapshot(_) => {}
        }
    }

    /// May take another append.
    pub(super) fn has_room(&self, inflight_max: usize) -> bool {
        match &self.phase {
            Phase::Probe { awaiting } => !awaiting,
            Phase::Replicate { inflight, .. } => inflight.len() < inflight_max,
            Phase::Snapshot(_) => false,
        }
    }

    pub(super) const fn is_replicating(&self) -> bool {
        matches!(self.phase, Phase::Replicate { .. })
    }

    /// Everything that was sent is acknowledged, and nothing is waiting to be sent.
    pub(super) fn is_idle(&self, last: LogIndex) -> bool {
        match &self.phase {
            Phase::Replicate { inflight, .. } => inflight.is_empty() && self.next > last,
            Phase::Probe { .. } | Phase::Snapshot(_) => false,
        }
    }
}
