//! Nobody serves a coordinator that is a step behind, is compared with one that is a step ahead, or takes cells of a round that it has
//! closed; and a shard leaves its old replicas only when too few of them believe that reads go to them alone. INV-99, INV-100.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{
    Datacenter, Dot, Epoch, GroupId, Leaving, NodeId, ShardId, Step, Topology, majority,
};
use quorate_replication::leaderless::{CellKey, Mark, Message};

use super::Word;
use super::dots::{holds, named_cells};
use crate::machine::Machine;

#[derive(Default)]
pub(crate) struct Steps {
    /// Requests, and whether each came from a step before its receiver's whenever it came.
    behind: BTreeMap<(NodeId, GroupId, NodeId, u64), bool>,
    /// Comparisons, and whether all that came of each was from a step after its receiver's: what was acknowledged by the receiver's
    /// step may still be on its way there, and who is filled by such a comparison lacks it. That clients miss it takes much more.
    ahead: BTreeMap<(NodeId, GroupId, NodeId, u64), bool>,
    /// Writes in the message that is arriving that are of a closed round, and new to its receiver.
    closed: BTreeSet<(CellKey, Dot)>,
    /// The newest topology that each node has come to know for good.
    known: BTreeMap<NodeId, Epoch>,
    /// The replicas that shards are about to leave, and since when.
    draining: BTreeMap<ShardId, (Epoch, BTreeMap<NodeId, Datacenter>)>,
}

impl Steps {
    pub(crate) fn sent(
        &mut self,
        machine: &Machine,
        to: NodeId,
        group: GroupId,
        message: &Message,
    ) -> Word {
        if let Message::Stored { number } | Message::Fetched { number, .. } = message
            && self.behind.get(&(machine.node, group, to, *number)) == Some(&true)
        {
            let node = machine.node;
            return Err(format!(
                "{group}: {node} serves {to}, which is a step behind: {message:?}"
            ));
        }
        if let Message::Differing { number, .. } | Message::Different { number, .. } = message
            && self.ahead.get(&(machine.node, group, to, *number)) == Some(&true)
        {
            let node = machine.node;
            return Err(format!("{group}: {node} is compared with {to}, which is a step ahead"));
        }
        Ok(())
    }

    /// Before the receiver takes it.
    pub(crate) fn arrives(
        &mut self,
        machine: &Machine,
        from: NodeId,
        group: GroupId,
        mark: Mark,
        message: &Message,
    ) {
        let Some(here) = machine.mark(group) else { return };
        if let Message::Store { number, .. }
        | Message::Relay { number, .. }
        | Message::Fetch { number, .. } = message
        {
            let request = (machine.node, group, from, *number);
            let behind = self.behind.entry(request).or_insert(true);
            *behind &= mark.since < here.since;
        }
        if let Message::Compare { number, .. } | Message::List { number, .. } = message {
            let comparison = (machine.node, group, from, *number);
            let ahead = self.ahead.entry(comparison).or_insert(true);
            *ahead &= mark.since > here.since;
        }
        if mark.round < here.closed {
            for (key, cell) in named_cells(message) {
                let new = cell.siblings().iter().filter(|one| !holds(machine, group, key, one.dot));
                self.closed.extend(new.map(|sibling| (key.clone(), sibling.dot)));
            }
        }
    }

    /// After the receiver took it.
    pub(crate) fn delivered(&mut self, machine: &Machine, group: GroupId) -> Word {
        for (key, dot) in std::mem::take(&mut self.closed) {
            if holds(machine, group, &key, dot) {
                let node = machine.node;
                return Err(format!("{group}: {node} takes {dot:?}, of a round that it closed"));
            }
        }
        Ok(())
    }

    /// The node goes by this topology from now on, also after a restart.
    pub(crate) fn adopted(&mut self, node: NodeId, topology: &Topology) -> Word {
        self.known.insert(node, topology.epoch);
        let Some(leaderless) = topology.mode.leaderless() else { return Ok(()) };
        for (shard, moved) in &leaderless.moved {
            match &moved.leaves {
                Some(Leaving { owners, step: Step::Draining }) => {
                    self.draining.insert(*shard, (moved.since, owners.clone()));
                }
                Some(Leaving { step: Step::Filling, .. }) => {}
                None => {
                    // By whoever is the first to know.
                    let Some((since, owners)) = self.draining.remove(shard) else { continue };
                    if moved.since <= since {
                        self.draining.insert(*shard, (since, owners));
                        continue;
                    }
                    let reads = |owner: &&NodeId| {
                        topology.members.contains_key(owner)
                            && self.known.get(owner).is_none_or(|known| *known < since)
                    };
                    // Of levels that two reads or writes overlap by, the least is a majority.
                    for local in owners.values() {
                        let owners = leaderless.policy.scope(&owners, local);
                        let left = owners.keys().filter(reads).count();
                        if left >= majority(owners.len()) {
                            return Err(format!(
                                "{shard} is left while {left} read from it: {owners:?}"
                            ));
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
