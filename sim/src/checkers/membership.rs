//! Configurations change by one voter at a time, and only members stand for election. INV-26, INV-27, INV-29, INV-30, INV-53.
//!
//! That superfluous replicas go and wanted ones come is seen after the heal (`liveness`).

use std::collections::BTreeMap;

use quorate_model::{GroupId, NodeId, Position};
use quorate_replication::single_leader::{Configuration, Message, Payload};

use super::{Checker, Ledger, Sight};

#[derive(Default)]
pub(crate) struct Membership {
    /// Every configuration that a leader sent, by its position.
    sent: BTreeMap<GroupId, BTreeMap<Position, Configuration>>,
}

impl Checker for Membership {
    fn sent(
        &mut self,
        at: Sight<'_>,
        _to: NodeId,
        message: &Message,
        ledger: &Ledger,
    ) -> Result<(), String> {
        match message {
            Message::Append { entries, .. } => {
                for entry in entries {
                    if let Payload::Configuration(configuration) = &entry.payload {
                        let known = self.sent.entry(at.group).or_default();
                        known.insert(entry.position, configuration.clone());
                        check_steps(at.group, known, ledger)?;
                    }
                }
                Ok(())
            }
            Message::PreVote { .. } | Message::Vote { .. } if !at.replica.is_member() => {
                Err(format!("{}: {} stands for election and is no member", at.group, at.node))
            }
            Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::Vote { .. }
            | Message::VoteReply { .. }
            | Message::AppendReply { .. }
            | Message::SnapshotOffer { .. }
            | Message::TimeoutNow { .. } => Ok(()),
        }
    }
}

/// Between committed configurations that follow each other, at most one voter comes or goes.
fn check_steps(
    group: GroupId,
    sent: &BTreeMap<Position, Configuration>,
    ledger: &Ledger,
) -> Result<(), String> {
    let mut committed: BTreeMap<_, _> = BTreeMap::new();
    for (position, configuration) in sent {
        if ledger.get(&(group, position.index)) == Some(&position.term) {
            committed.insert(position.index, configuration);
        }
    }
    let steps = committed.values().zip(committed.values().skip(1));
    for (before, after) in steps {
        let changed = before.voters.symmetric_difference(&after.voters).count();
        if changed > 1 {
            return Err(format!(
                "{group}: {changed} voters change at once: {before:?} to {after:?}"
            ));
        }
    }
    Ok(())
}
