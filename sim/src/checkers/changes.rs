//! Where every datacenter has a leader: a change is told as the same by everybody, and is applied after what it comes after; in the end
//! all datacenters have applied the same and hold the same. INV-107, INV-108, INV-109, INV-110, INV-111.

use std::collections::{BTreeMap, BTreeSet};

use quorate_group::host::PeerMessage;
use quorate_group::keyspace::Known;
use quorate_model::admin::Role;
use quorate_model::{ActorId, Datacenter, Dot, GroupId, LogIndex, NodeId, Time, VersionVector};
use quorate_replication::causal::{CellKey, Sibling};
use quorate_replication::multi_leader::{Change, Message};

use super::Word;
use crate::cluster::Cluster;
use crate::machine::Machine;

#[derive(Default)]
pub(crate) struct Changes {
    /// By shard, origin and first dot.
    told: BTreeMap<(GroupId, ActorId, u64), Change>,
    /// Where somebody has taken over all of another datacenter. A write that is made meanwhile may come after what is not known yet.
    filled: BTreeSet<GroupId>,
    /// What a replica has applied.
    known: BTreeMap<(NodeId, GroupId), Seen>,
}

type Standing = BTreeMap<CellKey, Vec<Dot>>;

struct Seen {
    process: u64,
    known: Known,
    /// What stood in each cell, where some are beyond what is known.
    standing: Standing,
    /// Where its rows were then.
    applied: LogIndex,
}

impl Seen {
    /// What its cell was beyond then.
    fn returned<'s>(&self, now: &'s Standing) -> Option<(&'s CellKey, Dot)> {
        now.iter().find_map(|(cell, dots)| {
            let (known, stood) = (self.known.at(cell.bytes()), self.standing.get(cell));
            let is_back =
                |dot: &&Dot| known.covers(**dot) && stood.is_none_or(|stood| !stood.contains(dot));
            dots.iter().find(is_back).map(|dot| (cell, *dot))
        })
    }
}

fn standing(machine: &Machine, group: GroupId) -> Result<Standing, String> {
    let dots = |siblings: Vec<Sibling>| siblings.into_iter().map(|one| one.dot).collect();
    let cells = machine.cells(group)?.into_iter();
    Ok(cells.map(|(cell, siblings, _)| (cell, dots(siblings))).collect())
}

impl Changes {
    pub(crate) fn sent(
        &mut self,
        machine: &Machine,
        group: GroupId,
        message: &PeerMessage,
    ) -> Word {
        if let PeerMessage::Fill(_) = message {
            self.filled.insert(group);
        }
        let PeerMessage::Exchange(message) = message else { return Ok(()) };
        let Message::Changes { changes, .. } = message.as_ref() else { return Ok(()) };
        for change in changes {
            let key = (group, change.origin, change.first);
            let known = self.told.entry(key).or_insert_with(|| change.clone());
            if known != change {
                return Err(format!("{} tells {change:?}, it is {known:?}", machine.node));
            }
        }
        Ok(())
    }

    pub(crate) fn stepped(&mut self, now: Time, machine: &Machine) -> Word {
        for group in machine.groups() {
            let Some(known) = machine.known(group) else { continue };
            let key = (machine.node, group);
            let process = machine.incarnation;
            let before = self.known.get(&key).filter(|before| before.process == process);
            if before.is_some_and(|before| before.known == known) {
                continue;
            }
            let was_ahead = before.is_some_and(|before| before.known.is_ahead());
            let standing = if was_ahead || known.is_ahead() {
                standing(machine, group)?
            } else {
                Standing::default()
            };
            if let Some(before) = before {
                if !known.vector.covers_all(&before.known.vector) {
                    let before = &before.known;
                    return Err(format!("{group} on {}: {known:?} after {before:?}", machine.node));
                }
                self.check_news(now, machine, group, before, &known.vector)?;
                if was_ahead && let Some((cell, dot)) = before.returned(&standing) {
                    return Err(format!(
                        "{group} on {}: {dot:?} is back in {cell:?}",
                        machine.node
                    ));
                }
            }
            let applied = machine.applied(group);
            self.known.insert(key, Seen { process, known, standing, applied });
        }
        Ok(())
    }

    /// What a replica knows all of a sudden comes after what it knows, too.
    fn check_news(
        &self,
        now: Time,
        machine: &Machine,
        group: GroupId,
        before: &Seen,
        known: &VersionVector,
    ) -> Word {
        let (before, from) = (&before.known.vector, before.applied.next());
        let news = known.dots().filter(|dot| !before.covers(*dot));
        // What came by its group's log another one's clock has let through: of a replica that follows, or of an earlier leader.
        let took = machine.replica(group).is_some_and(|replica| {
            let term = replica.position_at(from).map(|position| position.term);
            replica.role() == Role::Leader && term == Some(replica.term())
        });
        for Dot { actor, counter } in news {
            let range = (group, actor, before.counter(actor) + 1)..=(group, actor, counter);
            for (_, change) in self.told.range(range) {
                if !known.covers_all(&change.after) && !self.filled.contains(&group) {
                    return Err(format!(
                        "{group} on {}: {change:?} is applied where {known:?} is",
                        machine.node
                    ));
                }
                let others = machine.origin(group).is_some_and(|origin| origin != change.origin);
                if took && others && machine.is_ahead_by(now, change.at, 2) {
                    return Err(format!("{group} on {}: {change:?} is ahead", machine.node));
                }
            }
        }
        Ok(())
    }
}

/// # Errors
/// Which datacenters differ.
pub(crate) fn check(cluster: &Cluster) -> Result<(), String> {
    let topology = cluster.newest_topology().filter(|one| one.mode.multi_leader().is_some());
    let Some(topology) = topology else { return Ok(()) };
    for (shard, _) in topology.placements() {
        let group = GroupId::Shard(shard);
        let mut first: Option<(Datacenter, VersionVector, _)> = None;
        for machine in cluster.machines.iter().filter(|one| one.groups().contains(&group)) {
            let known = machine.known(group).unwrap_or_default().vector;
            let cells = machine.cells(group)?;
            let (place, expected, shown) = first.get_or_insert_with(|| {
                (machine.datacenter().clone(), known.clone(), cells.clone())
            });
            if known != *expected {
                let here = machine.datacenter();
                return Err(format!("{group}: {here} knows {known:?} and {place} {expected:?}"));
            }
            if cells != *shown {
                let differs = cells.iter().find(|cell| !shown.contains(cell));
                let lacks = shown.iter().find(|cell| !cells.contains(cell));
                let here = machine.datacenter();
                return Err(format!("{group}: {here} has {differs:?}, {place} {lacks:?}"));
            }
        }
    }
    Ok(())
}
