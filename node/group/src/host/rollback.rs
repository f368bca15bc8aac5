//! What an asynchronous leader acknowledged and the log loses: saved by the shell before the log is cut.
//!
//! While a save is under way, what the group wants durable waits behind it, in order; to the protocol that is a slow disk.
//! Keeps INV-66.

use std::collections::{BTreeSet, VecDeque};

use quorate_model::planted::{self, Bug};
use quorate_model::{GroupId, LogIndex, Position, Term, WallTime};
use quorate_replication::single_leader::{Entry, HardState, Payload, PersistId};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::{Host, Output, Turn};
use crate::entry::is_write;

/// Commands of one term that were cut from a group's log although they may have been acknowledged.
#[derive(Clone, PartialEq, Debug)]
pub struct Rollback {
    pub group: GroupId,
    pub term: Term,
    /// This node led that term, so these are all that were lost.
    pub led: bool,
    pub at: WallTime,
    /// In the order of the log, not empty.
    pub entries: Vec<Entry>,
}

/// A persist as the protocol asked for it.
#[derive(Debug)]
pub(super) struct Persist {
    pub(super) id: PersistId,
    pub(super) hard_state: Option<HardState>,
    pub(super) truncate_from: Option<LogIndex>,
    pub(super) entries: Vec<Entry>,
}

#[derive(Debug, Default)]
pub(super) struct Saving {
    under_way: BTreeSet<u64>,
    /// What waits for them.
    held: VecDeque<Persist>,
    /// The last entry that is saved: what a snapshot takes away may be asked for twice.
    newest: Position,
}

impl Rollback {
    #[must_use]
    pub fn first(&self) -> LogIndex {
        self.entries.first().map_or(LogIndex::ZERO, Entry::index)
    }

    #[must_use]
    pub fn last(&self) -> LogIndex {
        self.entries.last().map_or(LogIndex::ZERO, Entry::index)
    }
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    pub(super) fn persist(&mut self, persist: Persist) {
        let saving = &mut self.group.saving;
        if saving.under_way.is_empty() {
            let Persist { id, hard_state, truncate_from, entries } = persist;
            let group = self.group.id;
            self.shared.persisting.persist(group, id, hard_state, truncate_from, entries);
        } else {
            saving.held.push_back(persist);
        }
    }

    /// Asks the shell to save entries that the log is about to lose: a file for each term.
    pub(super) fn save_rollback(&mut self, mut entries: Vec<Entry>, led: bool) {
        let (group, at) = (self.group.id, self.shared.wall);
        self.group.history.rolled_back(entries.len() as u64);
        self.group.saving.newest = entries.last().map_or(Position::ZERO, |last| last.position);
        // What the leader told the log was acknowledged to nobody.
        entries.retain(|entry| match &entry.payload {
            Payload::Command(command) => is_write(command),
            Payload::Empty | Payload::Configuration(_) => false,
        });
        while let Some(first) = entries.first() {
            let term = first.term();
            let later = entries.iter().position(|entry| entry.term() != term);
            let rest = entries.split_off(later.unwrap_or(entries.len()));
            let led = led && rest.is_empty();
            let number = self.shared.nonce();
            self.group.saving.under_way.insert(number);
            let rollback = Box::new(Rollback { group, term, led, at, entries });
            self.shared.outputs.push_back(Output::SaveRollback { number, rollback });
            entries = rest;
        }
    }

    /// Whether all that a snapshot at `position` would take away is saved; begins to save it if not.
    pub(super) fn is_saved_before(&mut self, position: Position) -> bool {
        let (entries, led) = self.group.replica.rolled_back_by(position);
        self.is_saved(entries, led)
    }

    /// Whether all that would go with the replica is saved; begins to save it if not.
    pub(super) fn is_saved_before_going(&mut self) -> bool {
        let (entries, led) = self.group.replica.at_risk();
        self.is_saved(entries, led)
    }

    fn is_saved(&mut self, entries: Vec<Entry>, led: bool) -> bool {
        let saved = entries.last().is_none_or(|last| last.position == self.group.saving.newest);
        if !saved && planted::is(Bug::ForgetRollback) {
            return true;
        }
        if !saved {
            self.save_rollback(entries, led);
        }
        self.group.saving.under_way.is_empty()
    }

    fn rollback_saved(&mut self, number: u64) {
        let known = self.group.saving.under_way.remove(&number);
        if !known || !self.group.saving.under_way.is_empty() {
            return;
        }
        for persist in std::mem::take(&mut self.group.saving.held) {
            self.persist(persist);
        }
        self.resume_switch();
    }
}

impl<D: Disk, S: StateStore> Host<D, S> {
    pub(super) fn rollback_saved(&mut self, group: GroupId, number: u64) {
        self.with_group(group, |turn| turn.rollback_saved(number));
    }
}
