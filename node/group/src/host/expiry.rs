//! Removing keys whose time has come, and field rows that no key leads to any more: the leader looks now and then, and proposes their removal like any write.
//!
//! Reads do not depend on it: they hide or remove what they meet. A leader that finds nothing looks less often, up to
//! a bound; when nothing is due before that, it looks at the time of what is due first, or not at all, until something else is
//! applied.

use std::time::Duration;

use quorate_model::{GroupId, LogIndex, WallTime};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::Turn;
use super::group::Proposal;
use super::timers::Timer;
use crate::Write;
use crate::keyspace::{self, View};

/// How much longer than the interval a leader waits at most after it found nothing.
const BACKOFF_MAX: u32 = 16;
/// A wall clock may be set: what is due much later is looked at now and then.
const LOOK_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Watch {
    /// How many intervals pass before the next look.
    intervals: u32,
    /// What is applied next may be due before the next look.
    asleep: bool,
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
        let (next, now) = (self.next_due(), self.group_time());
        let interval = self.shared.settings.expiry_interval;
        let longest = interval.saturating_mul(BACKOFF_MAX);
        let wait = next.map(|at| Duration::from_millis(at.0.saturating_sub(now.0)));
        if wait.is_none_or(|wait| wait > longest) {
            let at = wait.map(|wait| self.shared.now.after(wait.min(LOOK_MAX)));
            self.group.expiry.asleep = true;
            self.shared.timers.set(Timer::Expiry(self.group.id), at);
            return;
        }
        self.group.expiry.asleep = false;
        let due = wait == Some(Duration::ZERO);
        let intervals = if due { 1 } else { self.group.expiry.intervals.saturating_mul(2) };
        self.group.expiry.intervals = intervals.clamp(1, BACKOFF_MAX);
        // One removal at a time: the next look is for the state after it.
        let removed = self.group.expiry.removal <= self.group.standing.applied.index;
        if due && removed && !self.group.replica.is_transferring() {
            self.remove_expired();
        }
        self.look_later();
    }

    /// Rows changed.
    pub(super) fn wake_expiry(&mut self) {
        if self.group.expiry.asleep && self.group.leadership.leading {
            self.group.expiry =
                Watch { asleep: false, intervals: BACKOFF_MAX, ..self.group.expiry };
            self.look_later();
        }
    }

    fn next_due(&mut self) -> Option<WallTime> {
        let prefix = self.group.prefix();
        let view = View::applied(&self.shared.state, prefix.as_slice(), self.group.standing.keys);
        match keyspace::next_due(&view) {
            Ok(next) => next,
            Err(error) => {
                self.refuse_state(error.into());
                None
            }
        }
    }

    fn remove_expired(&mut self) {
        let count_max = self.shared.settings.expired_keys_per_entry;
        let removal = Write::RemoveExpired { count_max };
        let Some((mut evaluated, seed)) = self.evaluate(&removal) else { return };
        if !evaluated.effects.is_empty()
            && let Ok(command) = self.command_of(&removal, &mut evaluated, seed)
        {
            let effects = Some(evaluated.effects);
            self.propose(command, Proposal { request: None, effects, taken: false });
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
