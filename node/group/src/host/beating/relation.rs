//! Two nodes and what they have agreed on; which of the peer's processes is listened to.
//!
//! Keeps INV-81. A process is known by a number drawn at its start, which says nothing of which of two came later. That is proved: a
//! beat of a process that was not known yet counts only if it has seen a beat that this process sent after it had come to
//! know the one before. That one is dead by then, so it cannot have seen it.

use std::collections::BTreeSet;

use quorate_model::planted::{self, Bug};
use quorate_model::{GroupId, Time};

use super::pacts::{Digest, Pacts};
use super::{Beat, BeatId, Vouched};

#[derive(Debug, Default)]
pub(super) struct Relation {
    /// Led here.
    pub(super) offered: Pacts,
    /// Of these, what the peer has agreed to.
    pub(super) agreed: BTreeSet<GroupId>,
    /// Led by the peer, and agreed to here.
    pub(super) followed: Pacts,
    /// When a beat last counted as the peer's heartbeats, and as its answers.
    pub(super) heard: Time,
    pub(super) answered: Time,
    pub(super) heard_by: Option<BeatId>,
    pub(super) answered_by: Option<BeatId>,
    /// What the peer's newest beat said of itself.
    pub(super) told_leads: Digest,
    pub(super) told_follows: Digest,
    /// The peer's newest beat, whatever process sent it.
    pub(super) seen: Option<BeatId>,
    /// The peer waits for a beat.
    pub(super) owes: bool,
    known: Option<Known>,
}

/// The process of the peer that is listened to.
#[derive(Clone, Copy, Debug)]
struct Known {
    newest: BeatId,
    /// This node's newest beat when it came to know that process.
    since: u64,
}

/// Whose beat it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Identity {
    Known,
    /// A process of which it is proved that it is the peer's newest one.
    Another,
    Unproven,
    /// Not newer than another beat of the same process.
    Old,
}

impl Relation {
    /// There is nothing to say to the peer.
    pub(super) fn is_idle(&self) -> bool {
        self.offered.is_empty() && self.followed.is_empty() && !self.owes
    }

    /// `mine`: this node's newest beat.
    pub(super) fn identify(&mut self, beat: &Beat, mine: BeatId) -> Identity {
        match &mut self.known {
            Some(known) if known.newest.boot == beat.id.boot => {
                if known.newest.number >= beat.id.number {
                    return Identity::Old;
                }
                known.newest = beat.id;
                Identity::Known
            }
            Some(_) | None => {
                let since = self.known.map_or(0, |known| known.since);
                let proven =
                    beat.seen.is_some_and(|seen| seen.boot == mine.boot && seen.number > since);
                if !proven && !planted::is(Bug::BelieveOldProcess) {
                    return Identity::Unproven;
                }
                self.known = Some(Known { newest: beat.id, since: mine.number });
                self.heard_by = None;
                self.answered_by = None;
                Identity::Another
            }
        }
    }

    /// What this node has to say, as its beat `id`.
    pub(super) fn beat(&mut self, id: BeatId) -> Beat {
        self.owes = false;
        let (leads, follows) = (self.offered.digest(), self.followed.digest());
        Beat {
            id,
            seen: self.seen,
            leads,
            follows,
            led: (!self.offered.agrees_with(self.told_follows)).then(|| self.offered.list()),
            followed: (!self.followed.agrees_with(self.told_leads)).then(|| self.followed.list()),
        }
    }

    pub(super) fn vouched(&self) -> Vouched {
        let agreed = self.agreed.iter();
        Vouched {
            heard: self.heard_by,
            followed: self.followed.list(),
            answered: self.answered_by,
            agreed: agreed.filter_map(|group| Some((*group, self.offered.at(*group)?))).collect(),
            offered: self.offered.list(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(boot: u64, number: u64, seen: Option<(u64, u64)>) -> Beat {
        Relation { seen: seen.map(|(boot, number)| BeatId { boot, number }), ..Relation::default() }
            .beat(BeatId { boot, number })
    }

    #[test]
    fn a_process_is_believed_when_it_has_seen_what_its_predecessor_cannot_have() {
        let mut relation = Relation::default();
        let mine = |number| BeatId { boot: 7, number };
        let mut is = |beat: &Beat, number| relation.identify(beat, mine(number));
        assert_eq!(is(&beat(1, 4, None), 3), Identity::Unproven);
        assert_eq!(is(&beat(1, 5, Some((6, 3))), 3), Identity::Unproven, "of my predecessor");
        assert_eq!(is(&beat(1, 6, Some((7, 3))), 3), Identity::Another);
        assert_eq!(is(&beat(1, 7, Some((7, 3))), 4), Identity::Known);
        assert_eq!(is(&beat(1, 7, Some((7, 3))), 4), Identity::Old, "twice");
        assert_eq!(is(&beat(2, 1, None), 5), Identity::Unproven);
        assert_eq!(is(&beat(2, 2, Some((7, 6))), 6), Identity::Another);
        assert_eq!(is(&beat(1, 9, Some((7, 5))), 7), Identity::Unproven, "late, of the first one");
        assert_eq!(is(&beat(2, 3, Some((7, 7))), 7), Identity::Known);
    }
}
