//! Removing keys whose time has come, and field rows that no key leads to any more: the leader looks now and then, and proposes their removal like any write.
//!
//! Reads do not depend on it: they hide or remove what they meet. A leader that finds nothing looks less often, up to
//! a bound, so that idle shards cost little.

use quorate_model::{GroupId, LogIndex};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::Turn;
use super::group::Proposal;
use super::timers::Timer;
use crate::Write;
use crate::keyspace::{self, View};

/// How much longer than the interval a leader waits at most after it found nothing.
const BACKOFF_MAX: u32 = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Watch {
    /// How many intervals pass before the next look.
    intervals: u32,
    /// Where the newest removal stands.
    removal: LogIndex,
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    pub(super) fn watch_expiry(&mut self) {
        if self.group.id != GroupId::Meta {
            self.group.expiry = Watch { intervals: 1, ..Watch::default() };
            self.look_later();
        }
    }

    pub(super) fn expiry_due(&mut self) {
        if !self.group.leadership.leading || self.group.is_quarantined() {
            return;
        }
        let due = self.anything_due();
        let intervals = if due { 1 } else { self.group.expiry.intervals.saturating_mul(2) };
        self.group.expiry.intervals = intervals.clamp(1, BACKOFF_MAX);
        // One removal at a time: the next look is for the state after it.
        let removed = self.group.expiry.removal <= self.group.standing.applied.index;
        if due && removed && !self.group.replica.is_transferring() {
            self.remove_expired();
        }
        self.look_later();
    }

    fn anything_due(&mut self) -> bool {
        let prefix = self.group.prefix();
        let view = View::applied(&self.shared.state, prefix.as_slice(), self.group.standing.keys);
        match keyspace::due(&view, self.group_time()) {
            Ok(due) => due,
            Err(error) => {
                self.refuse_state(error.into());
                false
            }
        }
    }

    fn remove_expired(&mut self) {
        let count_max = self.shared.settings.expired_keys_per_entry;
        let removal = Write::RemoveExpired { count_max };
        let Some((evaluated, seed)) = self.evaluate(&removal) else { return };
        if !evaluated.effects.is_empty()
            && let Ok(command) = self.command(&removal, &evaluated, seed)
        {
            let effects = Some(evaluated.effects);
            self.propose(command, Proposal { request: None, effects });
            // Where it was dropped, this is older.
            self.group.expiry.removal = self.group.writes.newest.index;
        }
    }

    fn look_later(&mut self) {
        let interval = self.shared.settings.expiry_interval;
        let wait = interval.saturating_mul(self.group.expiry.intervals);
        let at = self.shared.now.after(wait);
        self.timer(Timer::Expiry(self.group.id), at);
    }
}
