//! With nothing under way any more, all replicas of a group have applied the same entries and hold the same rows.
//! INV-20, INV-32, INV-57.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::{GroupId, LogIndex, NodeId};

use crate::cluster::Cluster;

struct Found {
    node: NodeId,
    applied: LogIndex,
    rows: Vec<(Bytes, Bytes)>,
}

/// # Errors
/// Which replicas differ.
pub(crate) fn check(cluster: &Cluster) -> Result<(), String> {
    let mut groups: BTreeMap<GroupId, Vec<Found>> = BTreeMap::new();
    for machine in &cluster.machines {
        for group in machine.groups() {
            let Some(replica) = machine.replica(group) else { continue };
            let (last, applied) = (replica.last().index, replica.applied());
            if last != applied {
                return Err(format!("{group}: {} applied {applied} of {last}", machine.node));
            }
            let rows = machine.rows(group)?;
            let group = machine.seen_as(group);
            groups.entry(group).or_default().push(Found { node: machine.node, applied, rows });
        }
    }
    for (group, replicas) in &groups {
        for pair in replicas.windows(2) {
            compare(*group, &pair[0], &pair[1])?;
        }
    }
    Ok(())
}

fn compare(group: GroupId, one: &Found, other: &Found) -> Result<(), String> {
    if one.applied != other.applied {
        return Err(format!(
            "{group}: {} applied {}, {} applied {}",
            one.node, one.applied, other.node, other.applied
        ));
    }
    if one.rows != other.rows {
        let differs = one.rows.iter().zip(&other.rows).find(|(here, there)| here != there);
        return Err(format!(
            "{group}: at {} {} holds {} rows and {} {}, the first to differ {differs:?}",
            one.applied,
            one.node,
            one.rows.len(),
            other.node,
            other.rows.len()
        ));
    }
    Ok(())
}
