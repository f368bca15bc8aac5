//! Whether a leader has nothing to do: see [`crate::single_leader::Replica::may_rest`]. Keeps INV-83.

use quorate_model::{NodeId, Position, Time};

use super::progress::{Progress, Rebuild};
use super::{Leader, Leading};
use crate::single_leader::Configuration;

impl Leader {
    pub(in crate::single_leader) fn vouched(&mut self, peer: NodeId, at: Time) {
        if let Some(progress) = self.followers.get_mut(&peer)
            && progress.repair.is_none()
        {
            progress.answered_at = progress.answered_at.max(Some(at));
        }
    }
}

impl Leading<'_> {
    pub(in crate::single_leader) fn may_rest(&self) -> Option<Position> {
        let last = self.kernel.log.last();
        let (kernel, leader) = (&self.kernel, &self.leader);
        let done = kernel.committed() == last.index
            && kernel.applied() == last.index
            && kernel.durability.durable() == last.index
            && leader.reads.is_empty()
            && !kernel.needs_state
            && leader.transfer.is_none()
            && !leader.ending
            && leader.commit_notice_due.is_none()
            && self.is_settled();
        let rests = done
            && leader.followers.values().all(|progress| self.has_everything(progress))
            && self.is_as_declared();
        rests.then(|| {
            // INV-83: the last entry is of the leader's term, so its position names the whole log and the leader.
            assert_eq!(last.term, kernel.term());
            last
        })
    }

    /// Holds the whole log and was told that all of it is committed.
    fn has_everything(&self, progress: &Progress) -> bool {
        let last = self.kernel.log.last().index;
        progress.matched == last
            && progress.told_committed == last
            && progress.is_idle(last)
            && progress.leaving.is_none()
            && progress.rebuild == Rebuild::No
            && progress.answered_at.is_some()
            && self.answers(progress)
    }

    /// No configuration, rule or leader but the present one is wanted.
    fn is_as_declared(&self) -> bool {
        let Some(target) = &self.kernel.target else { return true };
        let Configuration { voters, rule, .. } = self.kernel.configuration();
        let me = self.kernel.id;
        let wanted_here = target.voters.is_empty() || target.voters.contains(&me);
        let other_preferred =
            target.preferred_leader.is_some_and(|node| node != me && voters.contains(&node));
        voters.contains(&me)
            && wanted_here
            && !other_preferred
            && self.next_configuration().is_none()
            && (target.voters.is_empty() || target.voters == *voters)
            && self.wanted_rule(voters).is_none_or(|wanted| wanted == *rule)
    }
}
