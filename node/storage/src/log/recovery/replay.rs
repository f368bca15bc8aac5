//! Records in the order of the log become the groups' state.
//!
//! The oldest segments may be gone, so a group's records may begin in the middle: its first entry seen may have any
//! index. What counts at the end is complete, or it is damage.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::{GroupId, LogIndex, Position};

use super::super::codec::{Continuation, Stored};
use super::super::places::{Place, Places};
use super::super::{Body, Damage, DamageKind, HardState, SegmentNumber, Start};
use super::RecoveredGroup;

#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) groups: BTreeMap<GroupId, RecoveredGroup>,
    pub(super) places: Places,
}

impl Replay {
    /// Why the record cannot stand here, if it cannot.
    pub(super) fn record(&mut self, stored: &Stored, place: Place) -> Result<(), DamageKind> {
        let id = stored.record.group;
        let out_of_order = || DamageKind::Record(format!("an entry of {id} is out of order"));
        self.places.record(stored, place).map_err(|_| out_of_order())?;
        let group = self.groups.entry(id).or_default();
        match &stored.record.body {
            Body::Entry { position, kind, .. } => {
                if group.entries.last().is_some_and(|(last, _)| last.term > position.term) {
                    return Err(out_of_order());
                }
                group.entries.push((*position, *kind));
            }
            Body::Cut { from } => {
                let kept = group.entries.partition_point(|(position, _)| position.index < *from);
                group.entries.truncate(kept);
            }
            Body::HardState { term, vote } => {
                group.hard_state = Some(HardState { term: *term, vote: *vote });
            }
            Body::Start { position, payload } => {
                match stored.continuation {
                    Continuation::Keeps => {
                        let gone = count_through(&group.entries, position.index);
                        group.entries.drain(..gone);
                    }
                    Continuation::Drops => group.entries.clear(),
                }
                // A copy: a slice would keep the whole batch in memory.
                let payload = Bytes::copy_from_slice(payload);
                group.start = Some(Start { position: *position, payload });
            }
            Body::Forget => {
                self.groups.remove(&id);
            }
        }
        Ok(())
    }

    /// Every group's entries follow its start.
    pub(super) fn check(&self, oldest: SegmentNumber) -> Result<(), Damage> {
        for (id, group) in &self.groups {
            if !group.is_complete() {
                let kind = DamageKind::MissingEntries(id.to_string());
                return Err(Damage::new(oldest, 0, kind));
            }
        }
        Ok(())
    }

    /// Of a damaged log only complete groups can be shown.
    pub(super) fn drop_incomplete(&mut self) {
        let incomplete: Vec<GroupId> = self
            .groups
            .iter()
            .filter(|(_, group)| !group.is_complete())
            .map(|(id, _)| *id)
            .collect();
        for id in incomplete {
            self.groups.remove(&id);
            self.places.forget(id);
        }
    }
}

impl RecoveredGroup {
    fn is_complete(&self) -> bool {
        let start = self.start.as_ref().map_or(Position::ZERO, |start| start.position);
        self.entries
            .first()
            .is_none_or(|(first, _)| first.index == start.index.next() && first.term >= start.term)
    }
}

fn count_through<T>(entries: &[(Position, T)], through: LogIndex) -> usize {
    entries.partition_point(|(position, _)| position.index <= through)
}
