//! The group's log as the exchange reads it: what is recent from memory, the rest from the disk.

use std::cell::RefCell;
use std::collections::VecDeque;

use quorate_model::{ActorId, Dot, GroupId, LogIndex, VersionVector};
use quorate_replication::multi_leader::{Change, Entry, Log};
use quorate_replication::single_leader::Payload;
use quorate_storage::disk::Disk;

use super::super::persisting::Persisting;
use crate::entry::{Command, Told, is_of_changes};
use crate::keyspace::{self, Effects};

/// Of what was applied so much is at hand; the rest is read from the log.
const RECENT_BYTES_MAX: usize = 4 << 20;

/// What an entry of the log has of changes.
type Logged = (LogIndex, Told);

/// The last of what was applied, in the order of the log and without a gap.
#[derive(Debug, Default)]
pub(super) struct Recent {
    entries: VecDeque<Logged>,
    bytes: usize,
    /// Everything behind this that is a change is there.
    behind: LogIndex,
}

impl Recent {
    /// Nothing yet behind this entry.
    pub(super) fn new(behind: LogIndex) -> Self {
        Self { behind, ..Self::default() }
    }

    pub(super) fn add(&mut self, index: LogIndex, told: Told) {
        self.bytes += bytes(&told);
        self.entries.push_back((index, told));
        while self.bytes > RECENT_BYTES_MAX
            && let Some((index, told)) = self.entries.pop_front()
        {
            self.bytes -= bytes(&told);
            self.behind = index;
        }
    }
}

/// The group's log, as the exchange reads it.
pub(super) struct Kept<'a, D> {
    pub(super) persisting: &'a Persisting<D>,
    pub(super) group: GroupId,
    pub(super) applied: LogIndex,
    pub(super) floor: &'a (LogIndex, VersionVector),
    pub(super) recent: &'a Recent,
    pub(super) failure: RefCell<Option<String>>,
}

impl<D: Disk> Log for Kept<'_, D> {
    fn floor(&self) -> (LogIndex, &VersionVector) {
        (self.floor.0, &self.floor.1)
    }

    fn applied(&self) -> LogIndex {
        self.applied
    }

    fn behind(&self, index: LogIndex, bytes_max: usize) -> Vec<(LogIndex, Entry)> {
        if index >= self.recent.behind {
            let from = self.recent.entries.partition_point(|(at, _)| *at <= index);
            let entries = self.recent.entries.range(from..).cloned();
            return fitting(index, entries, bytes_max, self.applied);
        }
        match changes_behind(self.persisting, self.group, index, self.applied, bytes_max) {
            Ok((changes, last)) => fitting(index, changes.into_iter(), bytes_max, last),
            Err(why) => {
                *self.failure.borrow_mut() = Some(why);
                Vec::new()
            }
        }
    }
}

/// As many as fit, and then through where there are no others.
fn fitting(
    behind: LogIndex,
    entries: impl Iterator<Item = Logged>,
    bytes_max: usize,
    last: LogIndex,
) -> Vec<(LogIndex, Entry)> {
    let (mut fitting, mut all, mut through) = (Vec::new(), 0, behind);
    for (index, told) in entries {
        all += bytes(&told);
        // Of what fits nothing may be told.
        if through > behind && all > bytes_max {
            return passed(fitting, behind, through);
        }
        through = index;
        let changes = told.changes.into_iter().map(Entry::Change);
        let filled = told.filled.map(|(_, known)| Entry::Snapshot(known));
        fitting.extend(changes.chain(filled).map(|entry| (index, entry)));
    }
    passed(fitting, behind, last)
}

/// With it how far that is.
fn passed(
    mut told: Vec<(LogIndex, Entry)>,
    behind: LogIndex,
    through: LogIndex,
) -> Vec<(LogIndex, Entry)> {
    if told.last().map_or(behind, |(at, _)| *at) < through {
        told.push((through, Entry::Nothing));
    }
    told
}

/// The changes of a part of the log, and through where that is.
///
/// # Errors
/// Why it cannot be read.
fn changes_behind<D: Disk>(
    persisting: &Persisting<D>,
    group: GroupId,
    mut index: LogIndex,
    applied: LogIndex,
    bytes_max: usize,
) -> Result<(Vec<Logged>, LogIndex), String> {
    let mut found = Vec::new();
    while found.is_empty() && index < applied {
        let entries = persisting.load(group, index.next(), bytes_max)?;
        if entries.is_empty() {
            break;
        }
        for entry in entries.into_iter().take_while(|entry| entry.index() <= applied) {
            index = entry.index();
            if let Some(told) = told(entry.payload)? {
                found.push((index, told));
            }
        }
    }
    Ok((found, index))
}

fn bytes(told: &Told) -> usize {
    32 + told.changes.iter().map(Change::bytes).sum::<usize>()
}

fn told(payload: Payload) -> Result<Option<Told>, String> {
    let Payload::Command(command) = payload else { return Ok(None) };
    if !is_of_changes(&command) {
        return Ok(None);
    }
    match Command::decode_here(command) {
        Ok(Command::Changes(changes)) => {
            changes.told().map(Some).map_err(|error| error.to_string())
        }
        Ok(_) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// What was applied through an entry, by what comes behind it; all of `known` where nothing does.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn known_at<D: Disk>(
    persisting: &Persisting<D>,
    group: GroupId,
    mut index: LogIndex,
    applied: LogIndex,
    known: &VersionVector,
) -> Result<VersionVector, String> {
    const BYTES_MAX: usize = 64 << 10;
    while index < applied {
        let entries = persisting.load(group, index.next(), BYTES_MAX)?;
        let Some(last) = entries.last() else { break };
        index = last.index();
        for entry in entries {
            let Payload::Command(command) = entry.payload else { continue };
            if !is_of_changes(&command) {
                continue;
            }
            let command = Command::decode_here(command).map_err(|error| error.to_string())?;
            let Command::Changes(changes) = command else { continue };
            let told = changes.told().map_err(|error| error.to_string())?;
            return Ok(before(&changes.effects, &told));
        }
    }
    Ok(known.clone())
}

/// What was known before an entry.
fn before(effects: &Effects, told: &Told) -> VersionVector {
    if let Some((before, _)) = &told.filled {
        return before.clone();
    }
    let known = keyspace::known_by(effects).unwrap_or_default().vector;
    let first = |origin: ActorId| told.changes.iter().find(|change| change.origin == origin);
    let before = known.dots().map(|dot| match first(dot.actor) {
        Some(change) => Dot { counter: change.first - 1, ..dot },
        None => dot,
    });
    before.filter(|dot| dot.counter > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_entries_tell_nothing_the_log_is_read_on_behind_them() {
        let nothing =
            |index| (LogIndex(index), Told { own: false, changes: Vec::new(), filled: None });
        let behind = |index: u64, bytes_max| {
            fitting(LogIndex(index), (index + 1..=5).map(nothing), bytes_max, LogIndex(9))
        };
        assert_eq!(behind(1, 70), [(LogIndex(3), Entry::Nothing)]);
        assert_eq!(behind(3, 1), [(LogIndex(4), Entry::Nothing)]);
        assert_eq!(behind(3, 70), [(LogIndex(9), Entry::Nothing)]);
        assert_eq!(behind(9, 70), []);
    }
}
