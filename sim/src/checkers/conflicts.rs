//! Where every datacenter has a leader: of concurrent values that stand in the end somebody has kept a note, and keys with a home have
//! none. INV-107, INV-112.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_group::keyspace::{CONFLICTS_MAX, Conflict, name_of};
use quorate_model::{GroupId, Homes};

use super::standing::has_one_writer;
use crate::cluster::Cluster;

/// # Errors
/// Which key has concurrent values that it should not have, or that nobody tells of.
pub(crate) fn check(cluster: &Cluster) -> Result<(), String> {
    let Some(topology) = cluster.newest_topology() else { return Ok(()) };
    let Some(multi_leader) = topology.mode.multi_leader() else { return Ok(()) };
    for (shard, _) in topology.placements() {
        check_group(cluster, GroupId::Shard(shard), &multi_leader.policy.homes)?;
    }
    Ok(())
}

fn check_group(cluster: &Cluster, group: GroupId, homes: &Homes) -> Result<(), String> {
    let hosts = || cluster.machines.iter().filter(|one| one.groups().contains(&group));
    let mut told: BTreeSet<(Bytes, Bytes)> = BTreeSet::new();
    let mut forgotten = false;
    for machine in hosts() {
        let kept = machine.conflicts(group)?;
        forgotten |= kept.len() as u64 >= CONFLICTS_MAX;
        for Conflict { key, field, values, .. } in kept {
            if has_one_writer(homes, &key) {
                return Err(format!("{key:?} has a home, and {values:?} conflicted"));
            }
            told.insert((key, field));
        }
    }
    let Some(machine) = hosts().next().filter(|_| !forgotten) else { return Ok(()) };
    for (cell, siblings, _) in machine.cells(group)? {
        let Some(name) = name_of(&cell).filter(|_| siblings.len() > 1) else { continue };
        if !told.contains(&name) {
            return Err(format!("{name:?} has {siblings:?}, and nobody tells of a conflict"));
        }
    }
    Ok(())
}
