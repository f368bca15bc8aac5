//! Answers that describe the node and the store: HELLO, INFO, ROLE, CONFIG, CLUSTER, TIME.
//!
//! Each is a pure function of snapshots, but for the clock of TIME and the process's own use of memory and processor.

mod cluster;
mod config;
mod info;
mod nodes;
mod process;
mod role;

use std::time::{Duration, SystemTime};

use quorate_model::NodeId;

use super::{Port, Routing};
use crate::resp::{Protocol, Reply};

pub(super) use cluster::cluster;
pub(super) use config::{config_get, config_set};
pub(super) use info::info;
pub(super) use role::role;

/// The Redis whose commands and answers we follow: clients choose features by it.
const REDIS_VERSION: &str = "7.2.0";

pub(super) fn hello(id: u64, port: Port, protocol: Protocol, routing: &Routing) -> Reply {
    let proto = match protocol {
        Protocol::Resp2 => 2,
        Protocol::Resp3 => 3,
    };
    let role = if is_master(routing, port) { "master" } else { "replica" };
    Reply::Map(vec![
        (Reply::text("server"), Reply::text("redis")),
        (Reply::text("version"), Reply::text(REDIS_VERSION)),
        (Reply::text("proto"), Reply::Integer(proto)),
        (Reply::text("id"), Reply::count(id)),
        (Reply::text("mode"), Reply::text(mode(port))),
        (Reply::text("role"), Reply::text(role)),
        (Reply::text("modules"), Reply::List(Vec::new())),
    ])
}

/// TIME: seconds and microseconds.
pub(super) fn time() -> Reply {
    let now = since_epoch();
    Reply::List(vec![
        Reply::text(now.as_secs().to_string()),
        Reply::text(now.subsec_micros().to_string()),
    ])
}

/// LASTSAVE: every acknowledged write is durable, so the last save is just over.
pub(super) fn last_save() -> Reply {
    Reply::count(since_epoch().as_secs())
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn mode(port: Port) -> &'static str {
    match port {
        Port::Plain => "standalone",
        Port::Cluster => "cluster",
    }
}

/// Whether clients are to see a master, which to them is who takes writes: the plain port does for any shard, the cluster port for
/// those led here. A node that belongs to no store yet is nobody's replica, nor is one of a store without leaders.
fn is_master(routing: &Routing, port: Port) -> bool {
    match port {
        Port::Plain => true,
        Port::Cluster => {
            routing.shards.is_empty() || routing.is_leaderless() || routing.leads_any()
        }
    }
}

/// The node that a replica is shown to follow: the leader of the first shard that it hosts.
fn followed(routing: &Routing) -> Option<NodeId> {
    routing
        .shards
        .iter()
        .find(|shard| shard.voters.contains(&routing.node) || shard.hosted)
        .and_then(|shard| routing.shown_master(shard))
        .filter(|leader| *leader != routing.node)
}
