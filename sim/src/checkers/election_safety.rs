//! At most one replica leads a group in a term. INV-1.

use std::collections::BTreeMap;

use quorate_model::admin::Role;
use quorate_model::{GroupId, NodeId, Term};
use quorate_replication::single_leader::Message;

use super::{Checker, Ledger, Sight};

#[derive(Default)]
pub(crate) struct ElectionSafety {
    leaders: BTreeMap<(GroupId, Term), NodeId>,
}

impl ElectionSafety {
    fn leads(&mut self, at: Sight<'_>, term: Term) -> Result<(), String> {
        let leader = *self.leaders.entry((at.group, term)).or_insert(at.node);
        if leader == at.node {
            Ok(())
        } else {
            Err(format!("{}: {leader} and {} both lead in term {term}", at.group, at.node))
        }
    }
}

impl Checker for ElectionSafety {
    fn sent(
        &mut self,
        at: Sight<'_>,
        _to: NodeId,
        message: &Message,
        _: &Ledger,
    ) -> Result<(), String> {
        match message {
            Message::Append { term, .. }
            | Message::SnapshotOffer { term, .. }
            | Message::TimeoutNow { term } => self.leads(at, *term),
            Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::Vote { .. }
            | Message::VoteReply { .. }
            | Message::AppendReply { .. } => Ok(()),
        }
    }

    fn stepped(&mut self, at: Sight<'_>, _: &Ledger) -> Result<(), String> {
        if at.replica.role() == Role::Leader { self.leads(at, at.replica.term()) } else { Ok(()) }
    }
}
