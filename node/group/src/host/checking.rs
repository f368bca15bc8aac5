//! Whether all replicas of a shard have the same state: compared part by part, at the same place in the log, for ever.
//!
//! A node looks at one of the shards that it leads every `check_interval`, so that a thousand idle shards cost what one does. The
//! leader appends a mark that names a part of the rows. Every replica hashes that part when it applies the mark, when all of
//! them have applied exactly the same, and tells the leader. The hash that a majority of the voters has is the verdict, which
//! goes into the log: whoever applies it and had another hash is wrong, takes itself out and is rebuilt (`quarantine`). A
//! majority is never wrong against itself, so this cannot take a group's quorum, and a leader is judged like everybody.
//!
//! Rows are read from the store, not remembered, so rows that nobody touched and that went bad on a disk are found as well; a pass
//! over a shard takes as many marks as it has parts. Where no majority agrees nobody is taken out and the status says so.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use quorate_model::planted::{self, Bug};
use quorate_model::{GroupId, LogFormat, LogIndex, NodeId, Time, majority};
use quorate_storage::disk::Disk;
use quorate_storage::state::{StateError, StateStore};
use xxhash_rust::xxh3::Xxh3;

use super::group::{Proposal, Task};
use super::quarantine::Refusal;
use super::timers::Timer;
use super::{Host, PeerMessage, Turn};
use crate::entry::{Mark, Part, Verdict};

/// How many rows the first page of a part has; later ones by the size of rows.
const FIRST_PAGE_ROWS: usize = 4;
const PAGE_ROWS_MAX: usize = 256;
/// After how many intervals without a majority a comparison is given up: a replica may be away.
const PATIENCE_INTERVALS: u32 = 10;

/// A group's comparisons.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// What this replica had at the newest mark that it applied.
    own: Option<Checked>,
    /// On the leader: the comparison under way.
    round: Option<Round>,
    /// Where the next part begins.
    cursor: Bytes,
    /// On the leader: passes over all rows, and why the last comparison came to nothing.
    pub(super) passes: u64,
    pub(super) undecided: Option<String>,
}

/// One replica's part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Checked {
    pub(super) index: LogIndex,
    pub(super) hash: u64,
    /// Where the rows behind the part begin; empty at the end.
    pub(super) next: Bytes,
}

#[derive(Debug)]
struct Round {
    index: LogIndex,
    begun: Time,
    answers: BTreeMap<NodeId, Checked>,
}

impl Checks {
    /// Another state, or another leadership.
    pub(super) fn forget(&mut self) {
        *self = Self { passes: self.passes, ..Self::default() };
    }
}

impl<D: Disk, S: StateStore> Host<D, S> {
    /// The next shard's turn.
    pub(super) fn check_due(&mut self) {
        let led = |group: &&super::group::Group<S::Export>| {
            group.leadership.leading && group.id != GroupId::Meta
        };
        let after = self.shared.checked_last;
        let next = self
            .groups
            .range((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded))
            .map(|(_, group)| group)
            .find(led)
            .or_else(|| self.groups.values().find(led))
            .map(|group| group.id);
        let Some(next) = next else { return };
        self.shared.checked_last = next;
        self.with_group(next, |turn| turn.start_check());
        self.shared.set_check_timer();
    }
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    fn start_check(&mut self) {
        let members = self.group.replica.configuration().members().count();
        // Alone there is nothing to compare with.
        if members < 2 || self.group.is_quarantined() || self.group.replica.is_transferring() {
            return;
        }
        let now = self.shared.now;
        let checks = &mut self.group.checks;
        if let Some(round) = &checks.round {
            let patience = self.shared.settings.check_interval * PATIENCE_INTERVALS;
            if now.since(round.begun) < patience {
                return;
            }
            checks.round = None;
        }
        let settings = &self.shared.settings;
        let part = Part {
            from: self.group.checks.cursor.clone(),
            rows_max: settings.check_rows_max,
            bytes_max: settings.check_bytes_max,
        };
        let before = self.group.writes.newest;
        self.propose_mark(Mark { verdict: None, part: Some(part) });
        let newest = self.group.writes.newest;
        if newest != before {
            let round = Round { index: newest.index, begun: now, answers: BTreeMap::new() };
            self.group.checks.round = Some(round);
        }
    }

    pub(super) fn propose_mark(&mut self, mark: Mark) {
        if self.group.leadership.leading {
            self.propose(mark.encode(), Proposal { request: None, effects: None, taken: false });
        }
    }

    /// Applies a mark: everything before it is in the rows, and nothing behind it.
    pub(super) fn apply_mark(&mut self, index: LogIndex, mark: &Mark) -> Result<(), Refusal> {
        if let Some(verdict) = mark.verdict {
            self.judge(verdict)?;
        }
        let Some(part) = &mark.part else { return Ok(()) };
        let checked = self.hash_part(index, part)?;
        self.group.checks.own = Some(checked.clone());
        let node = self.shared.node();
        match self.group.leadership.leader {
            Some(leader) if leader == node => self.check_answered(node, checked),
            Some(leader) => {
                let Checked { index, hash, next } = checked;
                self.shared.send(
                    leader,
                    self.group.id,
                    PeerMessage::StateHash { index, hash, next },
                );
            }
            None => {}
        }
        Ok(())
    }

    fn judge(&self, verdict: Verdict) -> Result<(), Refusal> {
        let Some(own) = &self.group.checks.own else { return Ok(()) };
        let differs = own.index == verdict.index && own.hash != verdict.hash;
        if differs && !planted::is(Bug::SkipStateHash) {
            return Err(Refusal::State(format!(
                "its state at entry {} differs from the majority's",
                verdict.index
            )));
        }
        Ok(())
    }

    /// On the leader: what a replica has of the part.
    pub(super) fn check_answered(&mut self, from: NodeId, checked: Checked) {
        let voters = &self.group.replica.configuration().voters;
        let Some(round) = &mut self.group.checks.round else { return };
        if round.index != checked.index || !voters.contains(&from) {
            return;
        }
        round.answers.insert(from, checked.clone());
        let equal = round.answers.values().filter(|answer| answer.hash == checked.hash).count();
        if equal >= majority(voters.len()) {
            self.group.checks.round = None;
            let checks = &mut self.group.checks;
            checks.undecided = None;
            checks.passes += u64::from(checked.next.is_empty());
            checks.cursor = checked.next;
            let verdict = Verdict { index: checked.index, hash: checked.hash };
            // Not here: this may be in the midst of what the protocol said.
            self.group.tasks.push_back(Task::Judge(verdict));
        } else if round.answers.len() == voters.len() {
            self.group.checks.forget();
            let why = format!("no majority has the same state at entry {}", checked.index);
            self.group.checks.undecided = Some(why);
            self.shared.status_changed = true;
        }
    }

    fn hash_part(&self, index: LogIndex, part: &Part) -> Result<Checked, StateError> {
        let prefix = self.group.prefix();
        let mut from = prefix.row(&part.from);
        let end = prefix.end();
        let mut hash = Xxh3::new();
        let standing = &self.group.standing;
        hash.update(&standing.keys.to_le_bytes());
        hash.update(&standing.time.0.to_le_bytes());
        hash.update(&[match standing.format {
            LogFormat::Statement => 1,
            LogFormat::Logical => 2,
            LogFormat::Wal => 3,
        }]);
        let (mut rows, mut bytes) = (0u32, 0usize);
        let bytes_max = usize::try_from(part.bytes_max).unwrap_or(usize::MAX);
        let mut page_rows = FIRST_PAGE_ROWS;
        loop {
            let page = self.shared.state.range(&from, &end, page_rows)?;
            for (row, value) in &page {
                let bare = &row[prefix.as_slice().len()..];
                for piece in [bare, value] {
                    hash.update(&(piece.len() as u64).to_le_bytes());
                    hash.update(piece);
                }
                rows += 1;
                bytes += row.len() + value.len();
                // The same row is the last on every replica that has the same rows, however it pages.
                if rows >= part.rows_max || bytes >= bytes_max {
                    let next = [bare, &[0]].concat().into();
                    return Ok(Checked { index, hash: hash.digest(), next });
                }
            }
            let Some((last, _)) = page.last() else { break };
            if page.len() < page_rows {
                break;
            }
            let mut after = BytesMut::from(last.as_ref());
            after.extend_from_slice(&[0]);
            from = after.freeze();
            let row_bytes = (bytes / rows as usize).max(1);
            page_rows = ((bytes_max - bytes) / row_bytes).clamp(1, PAGE_ROWS_MAX);
        }
        Ok(Checked { index, hash: hash.digest(), next: Bytes::new() })
    }
}

impl<D: Disk, S: StateStore> super::shared::Shared<D, S> {
    /// This node leads something: it looks at it now and then.
    pub(super) fn set_check_timer(&mut self) {
        let at = self.now.after(self.settings.check_interval);
        self.timers.set_at_latest(Timer::Check, at);
    }
}
