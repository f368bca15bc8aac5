//! What was taken goes to the group's log a little at a time, so that whoever writes here waits behind that and not behind all that
//! came at once: after a cut a window of thousands of changes. What is under way goes in parts: while followers write one the leader
//! makes the next, and applies the one before.

use std::collections::VecDeque;

use quorate_model::{Dot, VersionVector};

use super::Change;

/// Of what is under way.
const PARTS: usize = 4;

#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    waiting: VecDeque<Change>,
    /// Given to the log and not applied: through which write, and its bytes.
    under_way: VecDeque<(Dot, usize)>,
    bytes: usize,
}

impl Pace {
    pub(super) fn queue(&mut self, changes: Vec<Change>) {
        self.waiting.extend(changes);
    }

    pub(super) fn applied(&mut self, known: &VersionVector) {
        while let Some((_, bytes)) = self.under_way.pop_front_if(|(dot, _)| known.covers(*dot)) {
            self.bytes -= bytes;
        }
    }

    /// There will be more to give to the log as soon as it has the last part.
    pub(super) fn goes_on(&self, bytes_max: usize) -> bool {
        self.bytes < bytes_max && !self.waiting.is_empty()
    }

    /// The part that goes to the log now, in the order in which it was taken: one more when fewer bytes than these are under way.
    pub(super) fn next(&mut self, bytes_max: usize) -> Vec<Change> {
        let mut next = Vec::new();
        let part_ends = self.bytes + bytes_max.div_ceil(PARTS);
        while self.bytes < bytes_max.min(part_ends)
            && let Some(change) = self.waiting.pop_front()
        {
            let bytes = change.bytes();
            self.under_way.push_back((change.through(), bytes));
            self.bytes += bytes;
            next.push(change);
        }
        next
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
        pace.queue((1..=5).map(change).collect());
        let mut next = |applied| {
            let mut known = VersionVector::default();
            known.include(Dot { actor: origin, counter: applied });
            pace.applied(&known);
            pace.next(bytes_max).iter().map(|change| change.first).collect::<Vec<_>>()
        };
        let parts = [vec![1], vec![2], vec![], vec![3], vec![4], vec![]];
        assert_eq!([0, 0, 0, 1, 2, 2].map(&mut next), parts);
        // With what came by another way.
        assert_eq!([5, 5].map(&mut next), [vec![5], vec![]]);
    }
}
