//! What was taken goes to the group's log a little at a time, so that whoever writes here waits behind that and not behind all that
//! came at once: after a cut a window of thousands of changes. What is under way goes in parts: while followers write one the leader
//! makes the next, and applies the one before.
//!
//! What was written long ago is waited for no more by those who wrote it, but those who write here wait beside it: where it was written
//! slowly it goes to the log not much faster, unless something new waits behind it.

use std::collections::VecDeque;
use std::time::Duration;

use quorate_model::{Dot, Time, VersionVector, WallTime};

use super::Change;

/// Of what is under way.
const PARTS: usize = 4;
/// What was written so long ago is history,
const HISTORY_AGE: Duration = Duration::from_secs(5);
/// which goes to the log so many times as fast as it was written,
const HISTORY_FASTER: u32 = 16;
/// but with no longer between two changes,
const HISTORY_GAP_MAX: Duration = Duration::from_micros(500);
/// and all that has its turn within this time at once: an entry has its price.
const HISTORY_STEP: Duration = Duration::from_millis(4);

#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    /// Each with whether it was new when it came, and how many are.
    waiting: VecDeque<(Change, bool)>,
    new: usize,
    /// Given to the log and not applied: through which write, and its bytes.
    under_way: VecDeque<(Dot, usize)>,
    bytes: usize,
    /// Since when nothing of that was applied.
    since: Time,
    history: History,
}

/// How far what was written long ago has gone to the log.
#[derive(Clone, Debug, Default)]
struct History {
    /// What was written by then,
    through: WallTime,
    /// and when the next is due.
    due: Time,
    waits: bool,
}

impl Pace {
    pub(super) fn queue(&mut self, wall: WallTime, changes: Vec<Change>) {
        for change in changes {
            let age = Duration::from_millis(wall.0.saturating_sub(change.at.wall().0));
            let is_new = age < HISTORY_AGE;
            self.new += usize::from(is_new);
            self.waiting.push_back((change, is_new));
        }
    }

    pub(super) fn applied(&mut self, now: Time, known: &VersionVector) {
        while let Some((_, bytes)) = self.under_way.pop_front_if(|(dot, _)| known.covers(*dot)) {
            self.bytes -= bytes;
            self.since = now;
        }
    }

    /// Whether the group writes nothing of it for so long.
    pub(super) fn stalls(&self, now: Time, patience: Duration) -> bool {
        !self.under_way.is_empty() && self.since.after(patience) <= now
    }

    /// There will be more to give to the log as soon as it has the last part.
    pub(super) fn goes_on(&self, bytes_max: usize) -> bool {
        self.bytes < bytes_max && !self.waiting.is_empty() && !self.history.waits
    }

    /// When there is more to give to it, if that is history.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.history.waits.then_some(self.history.due)
    }

    /// The part that goes to the log now, in the order in which it was taken: one more when fewer bytes than these are under way.
    pub(super) fn next(&mut self, now: Time, bytes_max: usize) -> Vec<Change> {
        if self.under_way.is_empty() {
            self.since = now;
        }
        let mut next = Vec::new();
        let part_ends = self.bytes + bytes_max.div_ceil(PARTS);
        self.history.waits = false;
        let until = if self.history.due <= now { now.after(HISTORY_STEP) } else { now };
        while self.bytes < bytes_max.min(part_ends)
            && let Some((change, _)) = self.waiting.front()
            && (self.new > 0 || self.history.goes_by(until, now, change.at.wall()))
            && let Some((change, is_new)) = self.waiting.pop_front()
        {
            self.new -= usize::from(is_new);
            let bytes = change.bytes();
            self.under_way.push_back((change.through(), bytes));
            self.bytes += bytes;
            next.push(change);
        }
        next
    }
}

impl History {
    /// Whether what was written then goes to the log by `until`: then it counts.
    fn goes_by(&mut self, until: Time, now: Time, written: WallTime) -> bool {
        self.waits = self.due > until;
        if !self.waits {
            let gap = Duration::from_millis(written.0.saturating_sub(self.through.0));
            self.through = self.through.max(written);
            self.due = self.due.max(now).after((gap / HISTORY_FASTER).min(HISTORY_GAP_MAX));
        }
        !self.waits
    }
}

#[cfg(test)]
mod tests {
    use quorate_model::{ActorId, Hlc};

    use super::*;
    use crate::multi_leader::site_test::{key, value};
    use crate::multi_leader::{Over, Write};

    #[test]
    fn so_much_goes_at_a_time_and_the_rest_when_that_is_applied() {
        let origin = ActorId(1);
        let change = |first| {
            let write = Write::Put { content: value("x".repeat(100)), over: Over::default() };
            let writes = vec![(key("k"), write)];
            Change { origin, first, after: VersionVector::default(), at: Hlc(first), writes }
        };
        let bytes_max = change(1).bytes() + 1;
        assert!(bytes_max.div_ceil(PARTS) < change(1).bytes(), "a part is one change here");
        let mut pace = Pace::default();
        pace.queue(WallTime(0), (1..=5).map(change).collect());
        let mut next = |applied| {
            let mut known = VersionVector::default();
            known.include(Dot { actor: origin, counter: applied });
            pace.applied(Time::ZERO, &known);
            pace.next(Time::ZERO, bytes_max).iter().map(|change| change.first).collect::<Vec<_>>()
        };
        let parts = [vec![1], vec![2], vec![], vec![3], vec![4], vec![]];
        assert_eq!([0, 0, 0, 1, 2, 2].map(&mut next), parts);
        // With what came by another way.
        assert_eq!([5, 5].map(&mut next), [vec![5], vec![]]);
    }

    #[test]
    fn history_goes_not_much_faster_than_it_was_written_and_what_is_new_at_once() {
        let change = |first, written| Change {
            origin: ActorId(1),
            first,
            after: VersionVector::default(),
            at: Hlc::at(WallTime(written)),
            writes: vec![(key("k"), Write::Put { content: value("x"), over: Over::default() })],
        };
        let wall = WallTime(1_000_000);
        let mut pace = Pace::default();
        // A thousand in as many steps of ten milliseconds, long ago.
        pace.queue(wall, (1..=1000).map(|number| change(number, 10 * number)).collect());
        let (mut now, mut through, mut parts) = (Time::ZERO, 0, 0);
        while through < 900 {
            let next = pace.next(now, usize::MAX / 2);
            assert!(next.len() <= 9, "{} at once", next.len());
            parts += 1;
            through += next.len();
            now = pace.deadline().unwrap_or(now);
        }
        let took = now.since(Time::ZERO);
        assert!(took >= 890 * HISTORY_GAP_MAX && took <= 910 * HISTORY_GAP_MAX, "{took:?}");
        assert!(parts <= 130, "{parts} entries");
        pace.queue(wall, vec![change(1001, wall.0)]);
        assert_eq!(pace.next(now, usize::MAX / 2).len(), 1001 - through, "all before it, too");
        assert_eq!(pace.deadline(), None);
    }
}
