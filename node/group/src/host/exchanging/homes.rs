//! Writes of keys whose home is elsewhere, and homes that are to be elsewhere.

use std::time::Duration;

use quorate_model::Unreachable;
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use crate::host::group::Proposal;
use crate::host::timers::Timer;
use crate::host::{Failure, Reply, RequestId, Turn};
use crate::keyspace::{self, Away};
use crate::{Value, Write};

/// How soon the next ones are handed over.
const NEXT_IN: Duration = Duration::from_millis(20);

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// Whether the write is not for this leader; then it is answered.
    pub(in super::super) fn answers_from_home(&mut self, id: RequestId, write: &Write) -> bool {
        if !self.group.exchanging.has_homes() {
            return false;
        }
        let away = self.with_proposed(|view| match view.leaders() {
            Some(leaders) => keyspace::away(write, leaders, view),
            None => Ok(None),
        });
        let home = match away {
            Ok(None) => return false,
            Ok(Some(Away::Home(home))) => home,
            Ok(Some(Away::Refused(error))) => {
                let value = Value::Error(error);
                self.shared.answer(id, Ok(Reply::Value { value, position: None }));
                return true;
            }
            Err(error) => {
                self.refuse_state(error.into());
                self.answer_unevaluated(id);
                return true;
            }
        };
        let group = self.group.id;
        if !self.group.exchanging.is_silent(&home) {
            self.shared.answer(id, Err(Failure::Home { group, home }));
            return true;
        }
        let leaders = self.group.exchanging.leaders();
        let unreachable = leaders.map(|leaders| leaders.homes.unreachable).unwrap_or_default();
        // What says who has a home nobody else writes.
        let moves = matches!(write, Write::SetHome { .. });
        if unreachable == Unreachable::Accept && !moves {
            return false;
        }
        self.shared.answer(id, Err(Failure::HomeSilent { home }));
        true
    }

    /// Homes are perhaps to be elsewhere.
    pub(super) fn look_at_homes(&mut self) {
        if self.group.exchanging.has_homes() && self.exchanges() {
            self.group.exchanging.homes_from = None;
            self.timer(Timer::Homes(self.group.id), self.shared.now);
        }
    }

    pub(in super::super) fn hand_homes_over(&mut self) {
        if !self.exchanges() || self.group.is_quarantined() {
            return;
        }
        let again = self.shared.now.after(NEXT_IN);
        let settled = match self.with_proposed(|view| keyspace::are_settled(view)) {
            Ok(settled) => settled,
            Err(error) => return self.refuse_state(error.into()),
        };
        if !settled || self.group.replica.is_transferring() {
            return self.timer(Timer::Homes(self.group.id), again);
        }
        let from = self.group.exchanging.homes_from.clone();
        let found = self.with_proposed(|view| match view.leaders() {
            Some(leaders) => keyspace::hand_over(view, leaders, from.as_ref()),
            None => Ok(keyspace::HandOver::default()),
        });
        let found = match found {
            Ok(found) => found,
            Err(error) => return self.refuse_state(error.into()),
        };
        let more = found.next.is_some() || !found.writes.is_empty();
        for write in &found.writes {
            let Some((mut evaluated, seed)) = self.evaluate(write) else { return };
            if !evaluated.effects.is_empty()
                && let Ok(command) = self.command_of(write, &mut evaluated, seed)
            {
                let effects = Some(evaluated.effects);
                self.propose(command, Proposal { request: None, effects, taken: false });
            }
        }
        self.group.exchanging.homes_from = found.next;
        if more {
            self.timer(Timer::Homes(self.group.id), again);
        }
    }
}
