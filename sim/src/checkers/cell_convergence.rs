//! With nothing under way any more, all replicas of a shard without a leader hold the same cells, whether anybody reads them or not.
//! INV-97. Nobody holds anything for others then. INV-104.

use bytes::Bytes;
use quorate_model::{GroupId, Leaderless, NodeId, Topology};
use quorate_replication::leaderless::Standing;

use crate::cluster::Cluster;

/// # Errors
/// What moves still, or is not whole yet.
pub(crate) fn whole(cluster: &Cluster) -> Result<(), String> {
    let Some(topology) = without_leaders(cluster) else { return Ok(()) };
    let mut moving = topology.mode.leaderless().into_iter().flat_map(Leaderless::moving);
    if let Some((shard, leaving)) = moving.next() {
        return Err(format!("{shard} is {:?}", leaving.step));
    }
    for (shard, placement) in topology.placements() {
        for machine in &cluster.machines {
            let expected = placement.voters.contains(&machine.node).then_some(Standing::Whole);
            let standing = machine.standing(GroupId::Shard(shard));
            if standing != expected {
                return Err(format!("{shard} on {} is {standing:?}", machine.node));
            }
        }
    }
    Ok(())
}

/// # Errors
/// Which replicas differ.
pub(crate) fn check(cluster: &Cluster) -> Result<(), String> {
    let Some(topology) = without_leaders(cluster) else { return Ok(()) };
    if let Some(machine) = cluster.machines.iter().find(|machine| machine.holds_hints()) {
        return Err(format!("{} holds hints: {:?}", machine.node, machine.status()));
    }
    for (shard, placement) in topology.placements() {
        let mut first: Option<(NodeId, Vec<(Bytes, Bytes)>)> = None;
        for machine in cluster.machines.iter().filter(|one| placement.voters.contains(&one.node)) {
            let rows = machine.rows(GroupId::Shard(shard))?;
            let (node, expected) = first.get_or_insert_with(|| (machine.node, rows.clone()));
            if rows != *expected {
                let differs = rows.iter().zip(&*expected).find(|(here, there)| here != there);
                return Err(format!(
                    "{shard}: {} holds {} cells and {node} {}, the first to differ {differs:?}",
                    machine.node,
                    rows.len(),
                    expected.len(),
                ));
            }
        }
    }
    Ok(())
}

fn without_leaders(cluster: &Cluster) -> Option<Topology> {
    cluster.newest_topology().filter(|topology| topology.mode.leaderless().is_some())
}
