//! What the host does at a later time: one ordered set, so that idle groups cost nothing.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{GroupId, NodeId, Time};

use super::RequestId;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Timer {
    /// The protocol's own deadline.
    Replica(GroupId),
    /// Requests wait although this replica leads: try them again.
    Queue(GroupId),
    /// Move the log's format on.
    Format(GroupId),
    /// Look for keys whose time has come.
    Expiry(GroupId),
    /// Ask whether a replica that the topology does not name may go.
    Retire(GroupId),
    /// Send unanswered chunks again, or give a stream up.
    Outgoing(GroupId, NodeId),
    /// Ask a follower what it holds, or its source how far it is.
    Supply(GroupId, NodeId),
    /// Read entries for a follower that the rate of catching up held back.
    Load(GroupId, NodeId),
    /// See how fast followers that are behind come closer.
    Pace(GroupId),
    /// Look how far a snapshot is staged, or give it up when nothing more comes.
    Incoming(GroupId),
    /// Tell the other datacenters, and see who tells nothing.
    Exchange(GroupId),
    /// Ask again for what another datacenter has.
    Fill(GroupId),
    /// Hand over homes that are to be elsewhere.
    Homes(GroupId),
    /// Flush what has waited long enough.
    FlushAge,
    /// See whether a flush is complete.
    FlushPoll,
    /// Tell other nodes which groups rest.
    Beat,
    /// Compare the replicas of the next shard that is led here.
    Check,
    /// The batch in flight has been there for too long.
    DiskStall,
    /// The log has rested.
    Rest,
    /// Try again to put a member's new addresses into the topology.
    Addresses,
    /// Say how far the replicas of shards that move came.
    Moves,
    /// Say how far the data of replicas without a leader is.
    Ages,
    /// Try again to hand leaderships over. The last of the variants: see [`Timers::hasten_handovers`].
    Handover(RequestId),
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    order: BTreeSet<(Time, Timer)>,
    times: BTreeMap<Timer, Time>,
}

impl Timers {
    /// Sets the timer's only time, or none.
    pub(super) fn set(&mut self, timer: Timer, time: Option<Time>) {
        let before = match time {
            Some(time) => self.times.insert(timer, time),
            None => self.times.remove(&timer),
        };
        if before == time {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, timer));
        }
        if let Some(time) = time {
            self.order.insert((time, timer));
        }
        assert_eq!(self.order.len(), self.times.len());
    }

    /// Sets the timer unless it already has an earlier time.
    pub(super) fn set_at_latest(&mut self, timer: Timer, time: Time) {
        if self.times.get(&timer).is_none_or(|before| time < *before) {
            self.set(timer, Some(time));
        }
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.times.contains_key(&timer)
    }

    /// A timer whose time has come; it is no longer set.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<Timer> {
        let (time, timer) = *self.order.first()?;
        if time > now {
            return None;
        }
        self.set(timer, None);
        Some(timer)
    }

    /// Every handover looks again at once.
    pub(super) fn hasten_handovers(&mut self, now: Time) {
        let from = Timer::Handover(RequestId(0));
        let handovers: Vec<Timer> = self.times.range(from..).map(|(timer, _)| *timer).collect();
        for timer in handovers {
            self.set_at_latest(timer, now);
        }
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.order.first().map(|(time, _)| *time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_has_one_time() {
        let mut timers = Timers::default();
        timers.set(Timer::FlushAge, Some(Time(5)));
        timers.set(Timer::FlushAge, Some(Time(9)));
        timers.set_at_latest(Timer::FlushAge, Time(12));
        timers.set(Timer::Addresses, Some(Time(7)));
        assert_eq!(timers.next(), Some(Time(7)));
        assert_eq!(timers.pop_due(Time(6)), None);
        assert_eq!(timers.pop_due(Time(9)), Some(Timer::Addresses));
        assert_eq!(timers.pop_due(Time(9)), Some(Timer::FlushAge));
        assert_eq!(timers.next(), None);
        assert!(!timers.is_set(Timer::FlushAge));
    }
}
