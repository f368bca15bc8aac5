//! Which nodes lead in other datacenters, where writes of keys go whose home is there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quorate_group::host::{Failure, Reply};
use quorate_model::{Datacenter, NodeId, ShardId};

use super::table::View;
use super::wires::Wires;
use crate::peer::{Lost, Remote};

/// How much longer than its deadline a write that is under way is waited for.
const GRACE: Duration = Duration::from_millis(500);

/// A shard's group in another datacenter.
pub(super) type At = (ShardId, Datacenter);

#[derive(Debug, Default)]
pub(super) struct Homes {
    leaders: Mutex<BTreeMap<At, NodeId>>,
}

impl Homes {
    /// Who led when it was asked last, else one replica after the other.
    pub(super) fn target(&self, view: &View, at: &At, attempt: usize) -> Option<NodeId> {
        let topology = view.topology.as_ref()?;
        let nodes = topology.groups_beside(at.0, &view.routing.datacenter).remove(&at.1)?;
        let known = self.leaders.lock().get(at).copied().filter(|node| nodes.contains(node));
        known.or_else(|| nodes.get(attempt % nodes.len().max(1)).copied())
    }

    /// Remembers who leads there, as far as the answer says it.
    pub(super) fn hear(&self, at: At, answer: &Result<Reply, Failure>) {
        let mut leaders = self.leaders.lock();
        match answer {
            Err(Failure::NotLeader { leader: Some(leader), .. }) => leaders.insert(at, *leader),
            Err(Failure::Home { .. }) | Ok(_) => None,
            Err(_) => leaders.remove(&at),
        };
    }
}

/// Has one node of another datacenter do a write.
pub(super) async fn ask(
    wires: &Wires,
    target: NodeId,
    request: Remote,
    deadline: Instant,
) -> Result<Result<Reply, Failure>, Lost> {
    let until = tokio::time::Instant::from_std(deadline + GRACE);
    let answered = wires.send(target, request, None)?.outcome();
    let answer = tokio::time::timeout_at(until, answered).await.unwrap_or(Err(Lost::Broken))?;
    Ok(answer.map(without_position))
}

/// A place in another group's log says nothing here.
fn without_position(mut reply: Reply) -> Reply {
    if let Reply::Value { position, .. } = &mut reply {
        *position = None;
    }
    reply
}
