//! When entries were appended, roughly: enough to say since when a follower keeps an entry waiting.

use std::collections::VecDeque;
use std::time::Duration;

use quorate_model::{LogIndex, Time};

/// Entries appended within this time of each other count as appended together.
const RESOLUTION: Duration = Duration::from_millis(5);
/// At this many marks every second one is forgotten, which makes the old ones coarser.
const MARKS_MAX: usize = 1024;

#[derive(Clone, Debug)]
pub(super) struct Timeline {
    /// From this index on entries were appended at this time, or after it. Never empty.
    marks: VecDeque<(LogIndex, Time)>,
}

impl Timeline {
    /// Whatever is in the log already counts as appended now.
    pub(super) fn new(now: Time) -> Self {
        Self { marks: VecDeque::from([(LogIndex::ZERO, now)]) }
    }

    pub(super) fn note(&mut self, index: LogIndex, now: Time) {
        let newest = self.newest();
        assert!(index > newest.0);
        if now.since(newest.1) < RESOLUTION {
            return;
        }
        self.marks.push_back((index, now));
        if self.marks.len() > MARKS_MAX {
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }

    /// Everybody has acknowledged what is before `index`.
    pub(super) fn forget(&mut self, index: LogIndex) {
        while self.marks.get(1).is_some_and(|(next, _)| *next <= index) {
            self.marks.pop_front();
        }
    }

    /// Not later than the entry was appended, and hardly earlier.
    pub(super) fn appended_at(&self, index: LogIndex) -> Time {
        let after = self.marks.partition_point(|(from, _)| *from <= index);
        self.marks.get(after.saturating_sub(1)).map_or(Time::default(), |(_, at)| *at)
    }

    fn newest(&self) -> (LogIndex, Time) {
        *self.marks.back().expect("there is always a mark")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    #[test]
    fn an_entry_has_the_time_of_the_mark_before_it() {
        let mut timeline = Timeline::new(at(0));
        timeline.note(LogIndex(5), at(100));
        timeline.note(LogIndex(6), at(101));
        timeline.note(LogIndex(9), at(200));
        assert_eq!(timeline.appended_at(LogIndex(4)), at(0));
        assert_eq!(timeline.appended_at(LogIndex(7)), at(100));
        assert_eq!(timeline.appended_at(LogIndex(20)), at(200));
        timeline.forget(LogIndex(8));
        assert_eq!(timeline.appended_at(LogIndex(8)), at(100));
    }

    #[test]
    fn marks_are_bounded() {
        let mut timeline = Timeline::new(at(0));
        (1..100_000).for_each(|index| timeline.note(LogIndex(index), at(index * 10)));
        assert!(timeline.marks.len() <= MARKS_MAX);
        assert_eq!(timeline.appended_at(LogIndex(0)), at(0));
    }
}
