//! The lines of CLUSTER NODES. A node that leads any shard is a master of the slots that it leads; one that leads
//! none is a replica of the leader of a shard that it follows, since a line has room for one master only. Without leaders
//! [`Routing::shown_master`] says who stands for them.

use quorate_model::{Member, NodeId, SlotRange};

use crate::session::{Routing, host_and_port};

pub(super) fn all(routing: &Routing) -> String {
    if routing.members.is_empty() {
        // Alone, and not reachable by anything that is known.
        return format!("{} :0@0 myself,master - 0 0 0 connected\n", routing.node.cluster_name());
    }
    routing
        .members
        .values()
        .filter_map(|member| line(routing, member))
        .map(|line| line + "\n")
        .collect()
}

/// The lines of the nodes that are shown as replicas of this one.
pub(super) fn replicas(routing: &Routing, master: NodeId) -> impl Iterator<Item = String> {
    routing
        .members
        .values()
        .filter(move |member| master_of(routing, member.id) == Some(master))
        .filter_map(|member| line(routing, member))
}

fn line(routing: &Routing, member: &Member) -> Option<String> {
    let (host, port) = host_and_port(&member.addresses.cluster)?;
    let bus = host_and_port(&member.addresses.peer).map_or(0, |(_, port)| port);
    let id = member.id.cluster_name();
    let myself = if member.id == routing.node { "myself," } else { "" };
    let ranges = led(routing, member.id);
    let (role, master) = match master_of(routing, member.id) {
        Some(master) => ("slave", master.cluster_name()),
        None => ("master", "-".to_owned()),
    };
    let epoch = routing
        .shards
        .iter()
        .filter(|route| routing.shown_master(route) == Some(member.id))
        .map(|route| route.term.0)
        .max()
        .unwrap_or(0);
    let mut line =
        format!("{id} {host}:{port}@{bus} {myself}{role} {master} 0 0 {epoch} connected");
    for SlotRange { first, last } in ranges {
        if first == last {
            line += &format!(" {first}");
        } else {
            line += &format!(" {first}-{last}");
        }
    }
    Some(line)
}

/// The slots that a node is shown as the master of, neighbours joined.
fn led(routing: &Routing, node: NodeId) -> Vec<SlotRange> {
    let mut ranges: Vec<SlotRange> = Vec::new();
    for (_, slots, route) in routing.shards() {
        if routing.shown_master(route) != Some(node) {
            continue;
        }
        match ranges.last_mut() {
            Some(last) if last.last.number() + 1 == slots.first.number() => last.last = slots.last,
            Some(_) | None => ranges.push(slots),
        }
    }
    ranges
}

/// `None` for a master.
fn master_of(routing: &Routing, node: NodeId) -> Option<NodeId> {
    if routing.shards.iter().any(|route| routing.shown_master(route) == Some(node)) {
        return None;
    }
    let followed = routing.shards.iter().find(|route| route.voters.contains(&node))?;
    routing.shown_master(followed)
}
