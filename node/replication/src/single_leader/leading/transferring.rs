//! Handing leadership over: proposals stop, the successor catches up to the last entry, and is told to stand
//! (Raft dissertation, section 3.10).
//!
//! Keeps INV-31. It may not choose when to hand over of its own accord: that is `membership`'s.

use quorate_model::planted::{self, Bug};
use quorate_model::{NodeId, Time};

use super::Leading;
use super::progress::{Progress, Rebuild};
use crate::single_leader::Message;

#[derive(Clone, Debug)]
pub(in crate::single_leader) struct Transfer {
    pub(super) to: NodeId,
    pub(super) deadline: Time,
    told: bool,
    give_up: GiveUp,
}

/// What a leader does when its successor did not take over in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum GiveUp {
    LeadOn,
    StepDown,
}

impl Leading<'_> {
    pub(in crate::single_leader) fn transfer_asked(&mut self, to: Option<NodeId>) {
        let successor = match to {
            Some(node) => Some(node).filter(|node| self.may_succeed(*node)),
            None => self.successor(|_| true),
        };
        if let Some(successor) = successor
            && self.leader.transfer.as_ref().is_none_or(|transfer| transfer.to != successor)
        {
            self.begin_transfer(successor, GiveUp::LeadOn);
        }
    }

    /// No durable write completes on this replica's disk.
    pub(in crate::single_leader) fn disk_stalled(&mut self) {
        self.leave_office();
    }

    /// This leader's state is wrong (INV-36): it hands over to whoever has one, and leads on until somebody does.
    pub(super) fn hand_over_for_state(&mut self) {
        if self.leader.transfer.is_none()
            && let Some(successor) = self.successor(|_| true)
        {
            self.begin_transfer(successor, GiveUp::LeadOn);
        }
    }

    /// Hands over to whoever is most advanced, or else stops leading.
    pub(super) fn leave_office(&mut self) {
        let successor = self.successor(|_| true);
        match (&mut self.leader.transfer, successor) {
            (Some(transfer), Some(_)) => {
                transfer.give_up = GiveUp::StepDown;
                let soon = self.kernel.now.after(self.kernel.settings.election_timeout / 4);
                transfer.deadline = transfer.deadline.min(soon);
            }
            (None, Some(successor)) => self.begin_transfer(successor, GiveUp::StepDown),
            (_, None) => self.leader.ending = true,
        }
    }

    pub(super) fn begin_transfer(&mut self, to: NodeId, give_up: GiveUp) {
        assert!(to != self.kernel.id);
        let settings = &self.kernel.settings;
        let patience = match give_up {
            GiveUp::LeadOn => settings.transfer_timeout,
            // Whoever must go does not keep the group waiting for a successor.
            GiveUp::StepDown => settings.transfer_timeout.min(settings.election_timeout / 4),
        };
        let deadline = self.kernel.now.after(patience);
        self.leader.transfer = Some(Transfer { to, deadline, told: false, give_up });
        self.leader.preferred_fit_since = None;
        self.hurry_transfer();
    }

    /// Tells the successor as soon as it holds everything.
    pub(super) fn hurry_transfer(&mut self) {
        if self.leader.transfer.as_ref().is_some_and(|transfer| !transfer.told) {
            self.push_transfer();
        }
    }

    /// Tells the successor, again if need be.
    pub(super) fn push_transfer(&mut self) {
        let (last, term) = (self.kernel.log.last().index, self.kernel.term());
        let Some(transfer) = &mut self.leader.transfer else { return };
        let to = transfer.to;
        let complete =
            self.leader.followers.get(&to).is_some_and(|progress| progress.matched == last);
        // INV-31: the successor lacks nothing, so its log wins and nothing proposed is lost.
        if complete || planted::is(Bug::TransferEarly) {
            transfer.told = true;
            self.send(to, Message::TimeoutNow { term });
        }
    }

    /// Ends a transfer whose time is over. Answers whether the leadership ends with it.
    pub(super) fn transfer_is_over(&mut self) -> bool {
        let now = self.kernel.now;
        let Some(over) = self.leader.transfer.take_if(|transfer| now >= transfer.deadline) else {
            return false;
        };
        self.leader.ending = over.give_up == GiveUp::StepDown;
        self.leader.ending
    }

    /// The most advanced voter that could take over, of those that `allowed` says.
    pub(super) fn successor(&self, allowed: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let fit = self.leader.followers.iter().filter(|(node, progress)| {
            allowed(**node) && self.may_succeed(**node) && self.is_fit(progress)
        });
        fit.max_by_key(|(_, progress)| progress.matched).map(|(node, _)| *node)
    }

    /// Answers, follows the log, and has the state that it leads to.
    pub(super) fn is_fit(&self, progress: &Progress) -> bool {
        progress.answered_at.is_some()
            && self.answers(progress)
            && progress.is_replicating()
            && progress.repair.is_none()
            && progress.rebuild == Rebuild::No
    }

    fn may_succeed(&self, node: NodeId) -> bool {
        node != self.kernel.id && self.kernel.configuration().voters.contains(&node)
    }
}
