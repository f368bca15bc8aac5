//! ROLE, and what INFO says of replication.

use quorate_group::host::Status;
use quorate_model::admin::Role;
use quorate_model::{GroupId, NodeId};

use super::{followed, is_master};
use crate::resp::Reply;
use crate::session::{Port, Routing, host_and_port};

/// A node that follows this one, with the sum of its positions over the shards that are led here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Replica {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) offset: u64,
    pub(super) lag_seconds: u64,
}

pub(crate) fn role(routing: &Routing, status: &Status, port: Port) -> Reply {
    if is_master(routing, port) {
        let replicas = replicas(routing, status).into_iter().map(|replica| {
            Reply::List(vec![
                Reply::text(replica.host),
                Reply::text(replica.port.to_string()),
                Reply::text(replica.offset.to_string()),
            ])
        });
        return Reply::List(vec![
            Reply::text("master"),
            Reply::count(offset(status)),
            Reply::List(replicas.collect()),
        ]);
    }
    let (host, port, state) = match master(routing) {
        Some((host, port)) => (host, port, "connected"),
        None => (String::new(), 0, "connect"),
    };
    Reply::List(vec![
        Reply::text("slave"),
        Reply::text(host),
        Reply::Integer(i64::from(port)),
        Reply::text(state),
        Reply::count(offset(status)),
    ])
}

/// How far this node is: the sum of what its replicas of shards have applied.
pub(super) fn offset(status: &Status) -> u64 {
    status
        .replicas
        .iter()
        .filter(|replica| replica.group != GroupId::Meta)
        .map(|replica| replica.applied.0)
        .sum()
}

/// Where the node that this one is shown to follow can be reached.
pub(super) fn master(routing: &Routing) -> Option<(String, u16)> {
    address(routing, followed(routing)?)
}

pub(super) fn replicas(routing: &Routing, status: &Status) -> Vec<Replica> {
    let mut followers = std::collections::BTreeMap::<NodeId, (u64, u64)>::new();
    let led = status
        .replicas
        .iter()
        .filter(|replica| replica.role == Role::Leader && replica.group != GroupId::Meta);
    for (node, progress) in led.flat_map(|replica| &replica.followers) {
        let (offset, lag_ms) = followers.entry(*node).or_default();
        *offset += progress.matched.0;
        *lag_ms = (*lag_ms).max(progress.last_answer_ms.unwrap_or(0));
    }
    followers
        .into_iter()
        .filter_map(|(node, (offset, lag_ms))| {
            let (host, port) = address(routing, node)?;
            Some(Replica { host, port, offset, lag_seconds: lag_ms / 1000 })
        })
        .collect()
}

fn address(routing: &Routing, node: NodeId) -> Option<(String, u16)> {
    let member = routing.members.get(&node)?;
    let (host, port) = host_and_port(&member.addresses.cluster)?;
    Some((host.to_owned(), port))
}
