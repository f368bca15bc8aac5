//! Who led before: what a new leader can tell of the failover that made it one.
//!
//! Only for those who look; nothing here decides anything.

use quorate_model::{NodeId, Term, Time};

/// How a leader followed the one before it, by its own clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Succession {
    /// The newest leader that this replica knew, and its term.
    pub before: Option<(NodeId, Term)>,
    /// When this replica gave that leader up, or learnt that another did.
    pub detected_at: Time,
    pub elected_at: Time,
    /// The leader before handed over.
    pub planned: bool,
}

/// The newest leader known, and since when it is known to be gone.
#[derive(Clone, Debug, Default)]
pub(super) struct Reign {
    leader: Option<(NodeId, Term)>,
    over_at: Option<Time>,
}

impl Reign {
    pub(super) const fn begin(&mut self, leader: NodeId, term: Term) {
        self.leader = Some((leader, term));
        self.over_at = None;
    }

    pub(super) fn end(&mut self, now: Time) {
        self.over_at.get_or_insert(now);
    }

    pub(super) fn succeed(&self, now: Time, planned: bool) -> Succession {
        let detected_at = self.over_at.unwrap_or(now);
        Succession { before: self.leader, detected_at, elected_at: now, planned }
    }
}
