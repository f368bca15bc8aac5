//! Once all is healed: every group has a leader, its configuration is the placement, every replica has applied the same log
//! and holds the same rows. INV-9, INV-57, INV-64.

use std::collections::BTreeSet;

use quorate_group::host::ReplicaStatus;
use quorate_model::admin::Role;
use quorate_model::{GroupId, NodeId, ShardId, Topology};

use crate::cluster::Cluster;
use crate::machine::Machine;

/// # Errors
/// What is not whole yet.
pub(crate) fn check(cluster: &Cluster) -> Result<(), String> {
    let topology = cluster.newest_topology().ok_or("no topology")?;
    for machine in &cluster.machines {
        let status = machine.status().ok_or_else(|| format!("{:?} does not run", machine.id))?;
        if let Some(damage) = status.damaged {
            return Err(format!("{:?} is damaged: {damage}", machine.id));
        }
        match machine.topology() {
            Some(held) if held.epoch == topology.epoch => {}
            Some(_) | None => return Err(format!("{:?} has an old topology", machine.id)),
        }
    }
    let members: BTreeSet<NodeId> = topology.members.keys().copied().collect();
    check_group(cluster, GroupId::Meta, &topology.meta_voters, &members)?;
    let led = topology.mode.leaderless().is_none();
    for (shard, _) in topology.placements().filter(|_| led) {
        for node in &members {
            let group = topology.group_at(shard, *node).map(|placement| placement.voters);
            let voters = group.unwrap_or_default();
            check_group(cluster, GroupId::Shard(shard), &voters, &voters)?;
        }
    }
    check_members(cluster, &topology)
}

fn check_members(cluster: &Cluster, topology: &Topology) -> Result<(), String> {
    for machine in &cluster.machines {
        if !topology.members.contains_key(&machine.node) {
            return Err(format!("{:?} is not a member", machine.id));
        }
    }
    Ok(())
}

/// Whether the machine is where these are: the group elsewhere is another one.
fn is_of(cluster: &Cluster, machine: &Machine, voters: &BTreeSet<NodeId>) -> bool {
    let mut there = cluster.machines.iter().filter(|one| voters.contains(&one.node));
    let group = GroupId::Shard(ShardId(0));
    there.all(|one| one.seen_as(group) == machine.seen_as(group))
}

fn check_group(
    cluster: &Cluster,
    group: GroupId,
    voters: &BTreeSet<NodeId>,
    members: &BTreeSet<NodeId>,
) -> Result<(), String> {
    let replicas: Vec<(NodeId, ReplicaStatus)> = cluster
        .machines
        .iter()
        .filter(|machine| group == GroupId::Meta || is_of(cluster, machine, voters))
        .filter_map(|machine| {
            let status = machine.status()?;
            let replica = status.replicas.into_iter().find(|replica| replica.group == group)?;
            Some((machine.node, replica))
        })
        .collect();
    let hosts: BTreeSet<NodeId> = replicas.iter().map(|(node, _)| *node).collect();
    if hosts != *members {
        return Err(format!("{group} is on {hosts:?}, should be on {members:?}"));
    }
    let leaders = replicas.iter().filter(|(_, replica)| replica.role == Role::Leader).count();
    if leaders != 1 {
        return Err(format!("{group} has {leaders} leaders"));
    }
    let (_, first) = &replicas[0];
    for (node, replica) in &replicas {
        if replica.configuration.voters != *voters {
            return Err(format!("{group} on {node}: voters {:?}", replica.configuration.voters));
        }
        // Clients go on, so positions are compared loosely and rows only at equal ones.
        if replica.last.0 > replica.applied.0 + 64 {
            return Err(format!(
                "{group} on {node}: applied {}, last {}",
                replica.applied, replica.last
            ));
        }
        if replica.applied == first.applied && replica.keys != first.keys {
            return Err(format!("{group}: {} and {} keys", replica.keys, first.keys));
        }
    }
    Ok(())
}

/// How the groups stand, for the report of one that is not whole.
pub(crate) fn describe(cluster: &Cluster) -> String {
    let mut text = String::new();
    for machine in &cluster.machines {
        let Some(status) = machine.status() else { continue };
        for replica in status.replicas {
            let Some(known) = machine.replica(replica.group) else { continue };
            text += &format!(
                "\n  {:?} {} {}: {:?}{} term {} of {:?}, base {}, applied {}, committed {}, last {:?}, {:?}, {:?}",
                machine.id,
                machine.node,
                replica.group,
                replica.role,
                match (known.is_damaged(), known.needs_state()) {
                    (true, _) => ", damaged,",
                    (false, true) => ", without state,",
                    (false, false) => "",
                },
                replica.term,
                replica.leader,
                known.base().index,
                replica.applied,
                replica.committed,
                known.last(),
                replica.acknowledgement.waiting_for,
                replica.configuration,
            );
        }
    }
    text
}
