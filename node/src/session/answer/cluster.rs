//! CLUSTER: the store as Redis Cluster clients see it.
//!
//! Keeps: once the node belongs to a store, all 16,384 slots are covered, and no host is empty; clients refuse
//! anything else.

use quorate_model::{Member, NodeId, SLOTS, ShardId, SlotRange};

use super::nodes;
use crate::resp::Reply;
use crate::resp::commands::ClusterCommand;
use crate::session::{Routing, ShardRoute, host_and_port};

pub(crate) fn cluster(command: &ClusterCommand, routing: &Routing) -> Reply {
    match command {
        ClusterCommand::Slots => slots(routing),
        ClusterCommand::Shards => shards(routing),
        ClusterCommand::Nodes => Reply::Verbatim(nodes::all(routing)),
        ClusterCommand::Info => Reply::Verbatim(info(routing)),
        ClusterCommand::MyId => Reply::text(routing.node.cluster_name()),
        ClusterCommand::MyShardId => Reply::text(my_shard_id(routing)),
        ClusterCommand::Replicas { node } => match known(routing, node) {
            Some(node) => Reply::List(nodes::replicas(routing, node).map(Reply::text).collect()),
            None => unknown(node),
        },
        ClusterCommand::FailureReports { node } => match known(routing, node) {
            Some(_) => Reply::Integer(0),
            None => unknown(node),
        },
    }
}

/// A shard's nodes, the master first.
fn members<'a>(routing: &'a Routing, route: &ShardRoute) -> Vec<&'a Member> {
    let master = routing.shown_master(route);
    let followers = route.voters.iter().filter(|voter| Some(**voter) != master);
    master.iter().chain(followers).filter_map(|node| routing.members.get(node)).collect()
}

fn slots(routing: &Routing) -> Reply {
    let rows = routing.shards().map(|(_, slots, route)| {
        let mut row = vec![
            Reply::Integer(i64::from(slots.first.number())),
            Reply::Integer(i64::from(slots.last.number())),
        ];
        row.extend(members(routing, route).into_iter().filter_map(|member| {
            let (host, port) = host_and_port(&member.addresses.cluster)?;
            Some(Reply::List(vec![
                Reply::text(host.to_owned()),
                Reply::Integer(i64::from(port)),
                Reply::text(member.id.cluster_name()),
                Reply::List(Vec::new()),
            ]))
        }));
        Reply::List(row)
    });
    Reply::List(rows.collect())
}

fn shards(routing: &Routing) -> Reply {
    let rows = routing.shards().map(|(_, slots, route)| {
        let SlotRange { first, last } = slots;
        let range = [first, last].map(|slot| Reply::Integer(i64::from(slot.number())));
        let master = routing.shown_master(route);
        let nodes = members(routing, route).into_iter().filter_map(|member| {
            let role = if Some(member.id) == master { "master" } else { "replica" };
            let health =
                if role == "replica" || route.leader.is_some() { "online" } else { "failed" };
            shard_node(member, role, health)
        });
        Reply::Map(vec![
            (Reply::text("slots"), Reply::List(range.into())),
            (Reply::text("nodes"), Reply::List(nodes.collect())),
        ])
    });
    Reply::List(rows.collect())
}

fn shard_node(member: &Member, role: &'static str, health: &'static str) -> Option<Reply> {
    let (host, port) = host_and_port(&member.addresses.cluster)?;
    Some(Reply::Map(vec![
        (Reply::text("id"), Reply::text(member.id.cluster_name())),
        (Reply::text("port"), Reply::Integer(i64::from(port))),
        (Reply::text("ip"), Reply::text(host.to_owned())),
        (Reply::text("endpoint"), Reply::text(host.to_owned())),
        (Reply::text("role"), Reply::text(role)),
        (Reply::text("replication-offset"), Reply::Integer(0)),
        (Reply::text("health"), Reply::text(health)),
    ]))
}

/// As a Redis Cluster that serves what it can: it is down only when it serves nothing.
fn info(routing: &Routing) -> String {
    let led: u16 = routing
        .shards()
        .filter(|(_, _, route)| route.leader.is_some())
        .map(|(_, SlotRange { first, last }, _)| last.number() - first.number() + 1)
        .sum();
    let assigned = if routing.shards.is_empty() { 0 } else { SLOTS };
    let state = if led > 0 { "ok" } else { "fail" };
    let mut masters: Vec<NodeId> =
        routing.shards.iter().filter_map(|route| routing.shown_master(route)).collect();
    masters.sort_unstable();
    masters.dedup();
    let term = routing.shards.iter().map(|route| route.term.0).max().unwrap_or(0);
    [
        format!("cluster_state:{state}"),
        format!("cluster_slots_assigned:{assigned}"),
        format!("cluster_slots_ok:{led}"),
        "cluster_slots_pfail:0".to_owned(),
        format!("cluster_slots_fail:{}", assigned - led),
        format!("cluster_known_nodes:{}", routing.members.len().max(1)),
        format!("cluster_size:{}", masters.len()),
        format!("cluster_current_epoch:{}", routing.epoch),
        format!("cluster_my_epoch:{term}"),
        "cluster_stats_messages_sent:0".to_owned(),
        "cluster_stats_messages_received:0".to_owned(),
        "total_cluster_links_buffer_limit_exceeded:0".to_owned(),
        String::new(),
    ]
    .join("\r\n")
}

/// The shard that this node leads, else one that it hosts.
fn my_shard_id(routing: &Routing) -> String {
    let mine = routing.shards().find(|(shard, _, _)| routing.leads(*shard));
    let mine = mine.or_else(|| routing.shards().find(|(_, _, route)| route.hosted));
    let shard = mine.map_or(ShardId(0), |(shard, _, _)| shard);
    format!("{}{:08x}", routing.store, shard.0)
}

fn known(routing: &Routing, name: &[u8]) -> Option<NodeId> {
    let found = |node: &&NodeId| node.cluster_name().as_bytes().eq_ignore_ascii_case(name);
    routing.members.keys().find(found).copied()
}

fn unknown(node: &[u8]) -> Reply {
    Reply::Error(format!("ERR Unknown node {}", String::from_utf8_lossy(node)))
}
