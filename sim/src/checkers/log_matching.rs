//! Logs that agree at a position agree through it, and a leader only appends. INV-13, INV-14.

use std::collections::BTreeMap;

use quorate_model::admin::Role;
use quorate_model::{GroupId, LogIndex, NodeId, Position, Term};
use quorate_replication::single_leader::Replica;

use super::{Checker, Ledger, Sight};
use crate::machine::Machine;

#[derive(Default)]
pub(crate) struct LeaderAppends {
    last: BTreeMap<(NodeId, GroupId, Term), Position>,
}

impl Checker for LeaderAppends {
    fn stepped(&mut self, at: Sight<'_>, _: &Ledger) -> Result<(), String> {
        if at.replica.role() != Role::Leader {
            return Ok(());
        }
        let last = at.replica.last();
        let before = self.last.insert((at.node, at.group, at.replica.term()), last).unwrap_or(last);
        if last < before {
            return Err(format!(
                "{}: the leader {} cut its log from {before:?} to {last:?}",
                at.group, at.node
            ));
        }
        Ok(())
    }
}

/// Compares all logs with each other.
pub(crate) fn check(machines: &[Machine]) -> Result<(), String> {
    let mut groups: BTreeMap<GroupId, Vec<(NodeId, &Replica)>> = BTreeMap::new();
    for machine in machines {
        for group in machine.groups() {
            if let Some(replica) = machine.replica(group) {
                let group = machine.seen_as(group);
                groups.entry(group).or_default().push((machine.node, replica));
            }
        }
    }
    for (group, replicas) in groups {
        for (at, (one, first)) in replicas.iter().enumerate() {
            for (other, second) in &replicas[at + 1..] {
                compare(first, second)
                    .map_err(|why| format!("{group}: {one} and {other}: {why}"))?;
            }
        }
    }
    Ok(())
}

fn compare(one: &Replica, other: &Replica) -> Result<(), String> {
    let floor = one.base().index.max(other.base().index);
    let mut index = one.last().index.min(other.last().index);
    let mut agreed: Option<Position> = None;
    while index > LogIndex::ZERO && index >= floor {
        let (here, there) = (one.position_at(index), other.position_at(index));
        match (agreed, here == there) {
            (Some(agreed), false) => {
                return Err(format!("agree at {agreed:?}, differ below: {here:?} and {there:?}"));
            }
            (None, true) => agreed = here,
            (Some(_), true) | (None, false) => {}
        }
        index = index.previous();
    }
    Ok(())
}
