//! Resting: while nothing is under way in a group, a caller that knows by other means that a peer lives, and still follows or
//! leads this group, may say so instead of heartbeats.
//!
//! Keeps INV-82: such a word renews what silence would end (stickiness, the election timer, the leader's majority) and
//! nothing else. No round is answered by it, nothing is acknowledged.

use quorate_model::{NodeId, Position, Time};

use super::leading::Leading;
use super::replica::{Replica, Role};

impl Replica {
    /// On a leader in whose group nothing is under way: where its log ends, which every member holds and knows to be
    /// committed. While this stays so, ticks and heartbeats may be left out, as long as every follower is vouched for.
    #[must_use]
    pub fn may_rest(&mut self) -> Option<Position> {
        match &mut self.role {
            Role::Leader(leader) => Leading { kernel: &mut self.kernel, leader }.may_rest(),
            Role::Follower { .. } | Role::PreVoting(_) | Role::Candidate(_) => None,
        }
    }

    /// Follows `leader`, has committed and applied everything through `last`, which ends its log and is of the present term.
    #[must_use]
    pub fn rests_behind(&self, leader: NodeId, last: Position) -> bool {
        let kernel = &self.kernel;
        matches!(self.role, Role::Follower { .. })
            && kernel.leader == Some(leader)
            && kernel.term() == last.term
            && kernel.log.last() == last
            && kernel.applied() == last.index
            && kernel.damage.is_none()
            && !kernel.needs_state
    }

    /// `peer` was alive at `at`, and led this replica or followed it then, as it does in this replica's present term. To be
    /// said right before a step, or before it is asked for its deadline.
    pub fn vouched(&mut self, peer: NodeId, at: Time) {
        match &mut self.role {
            Role::Follower { deadline } if self.kernel.leader == Some(peer) => {
                if let Some(heard) = self.kernel.heard.filter(|heard| at > *heard) {
                    // The wait that was drawn begins anew.
                    *deadline = deadline.after(at.since(heard));
                    self.kernel.heard = Some(at);
                }
            }
            Role::Leader(leader) => leader.vouched(peer, at),
            Role::Follower { .. } | Role::PreVoting(_) | Role::Candidate(_) => {}
        }
    }
}
