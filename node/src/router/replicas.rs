//! A session's read: at one replica, the same one each time; and elsewhere when that one cannot answer as promised.
//!
//! The order: the chosen replica, which waits for what the read needs up to the session's bound; the leader, linearizable;
//! the other replicas, without waiting. Whoever answers satisfies everything that the session asked for, or nobody does
//! and the client is told so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_group::host::{Failure, Floor, ReadLevel, Reply};
use quorate_group::{Operation, Read, Value};
use quorate_model::{GroupId, NodeId, Position, ShardId};

use super::confirmations::{Asked, Confirmations};
use super::requester::Requester;
use super::store::unexpected;
use crate::metrics::{At, SessionMetrics, Why};
use crate::peer::{Lost, Remote};
use crate::session::{By, Routing, SessionAnswer, SessionRead};

/// How much longer than it may wait a replica is given to answer.
const GRACE: Duration = Duration::from_millis(250);

/// Cloning is cheap.
#[derive(Clone)]
pub(super) struct Replicas {
    requester: Requester,
    confirmations: Arc<Confirmations>,
    metrics: SessionMetrics,
}

impl Replicas {
    pub(super) fn new(requester: Requester, metrics: SessionMetrics) -> Self {
        Self { requester, confirmations: Arc::default(), metrics }
    }

    pub(super) async fn read(self, read: SessionRead) -> Result<SessionAnswer, Failure> {
        let SessionRead { shard, read, mut floor, after, wait, affinity } = read;
        let routing = self.requester.table().routing();
        let order = order(&routing, shard, affinity);
        let deadline = self.requester.deadline();
        let until = Instant::now() + wait;
        if let Some(after) = after {
            match self.confirm(shard, after, until + GRACE).await {
                Some(index) => floor.confirmed = index,
                // Whatever a replica holds, nobody can say that it is enough.
                None => {
                    self.metrics.rerouted(Why::unconfirmed);
                    return self.at_leader(shard, read, deadline).await;
                }
            }
        }
        let (first, others) = match order.split_first() {
            Some((first, others)) => (*first, others),
            None => return Err(Failure::NotHosted { group: GroupId::Shard(shard) }),
        };
        let left = until.saturating_duration_since(Instant::now());
        match self.at(first, shard, &read, floor, left).await {
            Ok(answer) => return Ok(answer),
            Err(lost @ Failure::PositionLost { .. }) => {
                self.metrics.lost();
                return Err(lost);
            }
            Err(failure) => self.metrics.rerouted(why(&failure)),
        }
        let led = routing.shard(shard).is_some_and(|route| route.leader.is_some());
        if led && let Ok(answer) = self.at_leader(shard, read.clone(), deadline).await {
            return Ok(answer);
        }
        for other in others {
            if let Ok(answer) = self.at(*other, shard, &read, floor, Duration::ZERO).await {
                return Ok(answer);
            }
        }
        self.metrics.rerouted(Why::nowhere);
        self.at_leader(shard, read, deadline).await
    }

    /// `None` when no leader answered in time.
    async fn confirm(
        &self,
        shard: ShardId,
        after: Instant,
        until: Instant,
    ) -> Option<quorate_model::LogIndex> {
        let confirmed = self.confirmations.confirm(&self.requester, shard, after, until);
        let until = tokio::time::Instant::from_std(until);
        let (index, asked) = tokio::time::timeout_at(until, confirmed).await.ok()?.ok()?;
        self.metrics.confirmed(asked == Asked::Yes);
        Some(index)
    }

    async fn at(
        &self,
        node: NodeId,
        shard: ShardId,
        read: &Read,
        floor: Floor,
        wait: Duration,
    ) -> Result<SessionAnswer, Failure> {
        let group = GroupId::Shard(shard);
        let wires = self.requester.wires();
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let request = Remote::ReadAt { shard, read: read.clone(), floor, wait_ms };
        let began = Instant::now();
        let sent = wires.send(node, request, None).map_err(|lost| refusal(&lost, group))?;
        let outcome = tokio::time::timeout(wait + GRACE, sent.outcome()).await;
        let reply = match outcome {
            Ok(Ok(reply)) => reply?,
            Ok(Err(lost)) => return Err(refusal(&lost, group)),
            Err(_) => return Err(Failure::TimedOut { group }),
        };
        let (value, position) = at_replica(reply, &floor)?;
        let at = if node == wires.me { At::here } else { At::elsewhere };
        self.metrics.answered(at, began.elapsed());
        Ok(SessionAnswer { value, by: By::Replica { floor, position } })
    }

    async fn at_leader(
        &self,
        shard: ShardId,
        read: Read,
        deadline: Instant,
    ) -> Result<SessionAnswer, Failure> {
        let began = Instant::now();
        let (operation, level) = (Operation::Read(read), ReadLevel::Linearizable);
        let request = Remote::Execute { shard, operation, level };
        let reply = self.requester.ask(request, deadline).await?;
        let Reply::Value { value, .. } = reply else { return Err(unexpected(&reply)) };
        self.metrics.answered(At::leader, began.elapsed());
        Ok(SessionAnswer { value, by: By::Leader })
    }
}

/// INV-70, INV-71: an answer from below the floor is none.
fn at_replica(reply: Reply, floor: &Floor) -> Result<(Value, Position), Failure> {
    let Reply::Read { value, position } = reply else { return Err(unexpected(&reply)) };
    if position.index < floor.index() {
        let what = format!("a replica answers from {position:?}, below {floor:?}");
        return Err(Failure::Invalid(what));
    }
    Ok((value, position))
}

fn refusal(lost: &Lost, group: GroupId) -> Failure {
    match lost {
        Lost::Overloaded => Failure::Overloaded,
        Lost::NotSent | Lost::Broken => Failure::NoLeader { group },
    }
}

const fn why(failure: &Failure) -> Why {
    match failure {
        Failure::Behind { .. } => Why::behind,
        Failure::NoLeader { .. } | Failure::TimedOut { .. } | Failure::Unknown => Why::unreachable,
        Failure::NotLeader { .. }
        | Failure::NotHosted { .. }
        | Failure::Overloaded
        | Failure::EpochMoved { .. }
        | Failure::AlreadyBootstrapped
        | Failure::Invalid(_)
        | Failure::PositionLost { .. }
        | Failure::NoQuorum { .. }
        | Failure::Filling { .. }
        | Failure::Home { .. }
        | Failure::HomeSilent { .. }
        | Failure::Lacking { .. }
        | Failure::Damaged(_) => Why::refused,
    }
}

/// The shard's replicas, the first choice first. With an affinity all nodes come to the same order ("rendezvous hashing",
/// Thaler and Ravishankar 1996); without one the node's own replica is the nearest.
fn order(routing: &Routing, shard: ShardId, affinity: Option<u64>) -> Vec<NodeId> {
    let Some(route) = routing.shard(shard) else { return Vec::new() };
    let mut nodes = route.voters.clone();
    if route.hosted && !nodes.contains(&routing.node) {
        nodes.push(routing.node);
    }
    match affinity {
        Some(affinity) => {
            nodes.retain(|node| route.voters.contains(node));
            nodes.sort_by_key(|node| std::cmp::Reverse(weight(affinity, *node)));
        }
        None => nodes.sort_by_key(|node| (*node != routing.node || !route.hosted, *node)),
    }
    nodes
}

/// The finishing steps of SplitMix64 over both.
const fn weight(affinity: u64, node: NodeId) -> u64 {
    let folded = (node.0 as u64) ^ ((node.0 >> 64) as u64);
    let mut mixed = affinity.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ folded;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use quorate_model::{Datacenter, StoreId};

    use super::super::table::{Identity, Table, test_topology};
    use super::*;

    const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    fn routing(node: NodeId) -> Arc<Routing> {
        let table = Table::new(Identity {
            node,
            name: "a".to_owned(),
            datacenter: Datacenter::new("dc-a").unwrap(),
            store: StoreId(1),
        });
        table.follow(test_topology(&NODES));
        table.routing()
    }

    #[test]
    fn a_user_reads_at_the_same_replica_through_every_node() {
        let mut firsts = BTreeSet::new();
        for user in 0..32 {
            let orders: BTreeSet<Vec<NodeId>> =
                NODES.iter().map(|node| order(&routing(*node), ShardId(0), Some(user))).collect();
            assert_eq!(orders.len(), 1);
            firsts.extend(orders.iter().filter_map(|order| order.first().copied()));
        }
        assert_eq!(firsts.len(), 3, "users are spread over all replicas");
    }

    #[test]
    fn without_a_user_the_own_replica_is_first() {
        let mut own = Routing::clone(&routing(NodeId(2)));
        own.shards[0].hosted = true;
        assert_eq!(order(&own, ShardId(0), None)[0], NodeId(2));
        assert_eq!(order(&own, ShardId(9), None), Vec::new());
    }
}
