//! Where on the disk every record stands that still counts, as of the last batch that was written.
//!
//! A record that counts no more stops holding its segment. Twelve bytes of memory per entry.

use std::collections::{BTreeMap, VecDeque};

use quorate_model::{GroupId, LogIndex};

use super::codec::{Continuation, Stored};
use super::{Body, SegmentNumber};

/// Where a record stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) segment: SegmentNumber,
    pub(super) offset: u32,
    pub(super) bytes: u32,
}

#[derive(Debug, Default)]
pub(super) struct Places {
    groups: BTreeMap<GroupId, GroupPlaces>,
    /// For each segment that something counts in: how much.
    live: BTreeMap<SegmentNumber, Live>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Live {
    records: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct GroupPlaces {
    pub(super) hard_state: Option<Place>,
    pub(super) start: Option<Place>,
    /// The index of the first of `entries`.
    first: LogIndex,
    entries: VecDeque<Place>,
    entries_bytes: u64,
}

/// An entry that does not follow the one before it.
#[derive(Debug)]
pub(super) struct OutOfOrder;

impl Places {
    /// The record was written at `place`.
    ///
    /// A log whose oldest segments are gone is replayed from the middle: the first entry seen of a group may have any index.
    pub(super) fn record(&mut self, stored: &Stored, place: Place) -> Result<(), OutOfOrder> {
        let group = stored.record.group;
        let places = self.groups.entry(group).or_default();
        let live = &mut self.live;
        match &stored.record.body {
            Body::Entry { position, .. } => {
                if places.entries.is_empty() {
                    places.first = position.index;
                } else if position.index != places.next() {
                    return Err(OutOfOrder);
                }
                hold(live, place);
                places.entries.push_back(place);
                places.entries_bytes += u64::from(place.bytes);
            }
            Body::Cut { from } => places.pop_back_from(*from, live),
            Body::HardState { .. } => {
                hold(live, place);
                if let Some(before) = places.hard_state.replace(place) {
                    release(live, before);
                }
            }
            Body::Start { position, .. } => {
                hold(live, place);
                if let Some(before) = places.start.replace(place) {
                    release(live, before);
                }
                match stored.continuation {
                    Continuation::Keeps => places.pop_front_through(position.index, live),
                    Continuation::Drops => places.pop_back_from(LogIndex::ZERO, live),
                }
            }
            Body::Forget => self.forget(group),
        }
        Ok(())
    }

    pub(super) fn entry(&self, group: GroupId, index: LogIndex) -> Option<Place> {
        let places = self.groups.get(&group)?;
        let at = usize::try_from(index.0.checked_sub(places.first.0)?).ok()?;
        places.entries.get(at).copied()
    }

    /// The oldest segment in which something counts.
    pub(super) fn oldest(&self) -> Option<SegmentNumber> {
        self.live.keys().next().copied()
    }

    pub(super) fn group(&self, group: GroupId) -> Option<&GroupPlaces> {
        self.groups.get(&group)
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = (GroupId, &GroupPlaces)> {
        self.groups.iter().map(|(group, places)| (*group, places))
    }

    pub(super) fn forget(&mut self, group: GroupId) {
        let Some(mut places) = self.groups.remove(&group) else { return };
        places.pop_back_from(LogIndex::ZERO, &mut self.live);
        for place in [places.hard_state, places.start].into_iter().flatten() {
            release(&mut self.live, place);
        }
    }
}

impl GroupPlaces {
    pub(super) fn entries_bytes(&self) -> u64 {
        self.entries_bytes
    }

    pub(super) fn first_entry(&self) -> Option<(LogIndex, Place)> {
        self.entries.front().map(|place| (self.first, *place))
    }

    fn next(&self) -> LogIndex {
        LogIndex(self.first.0 + self.entries.len() as u64)
    }

    fn pop_back_from(&mut self, from: LogIndex, live: &mut BTreeMap<SegmentNumber, Live>) {
        while !self.entries.is_empty() && self.next().previous() >= from {
            let place = self.entries.pop_back().expect("checked by the loop");
            self.entries_bytes -= u64::from(place.bytes);
            release(live, place);
        }
    }

    fn pop_front_through(&mut self, through: LogIndex, live: &mut BTreeMap<SegmentNumber, Live>) {
        while !self.entries.is_empty() && self.first <= through {
            let place = self.entries.pop_front().expect("checked by the loop");
            self.first = self.first.next();
            self.entries_bytes -= u64::from(place.bytes);
            release(live, place);
        }
    }
}

fn hold(live: &mut BTreeMap<SegmentNumber, Live>, place: Place) {
    let live = live.entry(place.segment).or_default();
    live.records += 1;
    live.bytes += u64::from(place.bytes);
}

fn release(live: &mut BTreeMap<SegmentNumber, Live>, place: Place) {
    let held = live.get_mut(&place.segment).expect("what is released was held");
    held.records -= 1;
    held.bytes -= u64::from(place.bytes);
    if held.records == 0 {
        assert_eq!(held.bytes, 0, "no record, no bytes");
        live.remove(&place.segment);
    }
}
