//! What nodes say of themselves, and what they are told.

use quorate_model::admin::{NodeReport, ProposeTopology, Proposed, Readiness, Role};
use quorate_model::{GroupId, NodeId, ShardId, Topology};
use quorate_node::dev::http::{self, HttpError};
use quorate_node::node::Announcement;

use super::eventually;

pub(crate) async fn report(node: &Announcement) -> Option<NodeReport> {
    http::get(&node.addresses.admin, "/v1/report").await.ok()
}

/// The topology that `node` holds.
pub(crate) async fn topology(node: &Announcement) -> Topology {
    eventually("a topology", || async { report(node).await?.topology }).await
}

/// Who leads a shard, as a leader among `nodes` says itself; of several the one with the newest term.
pub(crate) async fn leader_of(shard: ShardId, nodes: &[&Announcement]) -> NodeId {
    eventually("a leader", || async {
        let mut newest = None;
        for node in nodes {
            let Some(report) = report(node).await else { continue };
            let leads = report
                .replicas
                .iter()
                .find(|replica| replica.group == GroupId::Shard(shard))
                .filter(|replica| replica.role == Role::Leader);
            if let Some(replica) = leads {
                newest = newest.max(Some((replica.term, node.node)));
            }
        }
        newest.map(|(_, node)| node)
    })
    .await
}

pub(crate) async fn await_ready(node: &Announcement) {
    eventually("ready", || async {
        let readiness = http::readiness(&node.addresses.admin).await.ok()?;
        readiness.ready.then_some(())
    })
    .await;
}

/// Whether every replica of the node is a caught-up voter.
pub(crate) async fn caught_up(node: &Announcement) -> bool {
    let answer: Result<Readiness, HttpError> =
        http::get(&node.addresses.admin, "/readyz/caught-up").await;
    answer.is_ok_and(|readiness| readiness.ready)
}

/// One of a node's metrics, as far as its name tells it from others.
pub(crate) async fn metric(node: &Announcement, name: &str) -> u64 {
    eventually("metrics", || async {
        let text = http::text(&node.addresses.admin, "/metrics").await.ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit_once(' ')?.1.parse().ok()
    })
    .await
}

/// Changes the topology by compare-and-set, again when somebody else was faster.
pub(crate) async fn propose(nodes: &[&Announcement], change: impl Fn(&mut Topology)) -> Topology {
    eventually("a new topology", || async {
        for node in nodes {
            let mut wanted = report(node).await?.topology?;
            let expected = wanted.epoch;
            change(&mut wanted);
            wanted.epoch = expected.next();
            let proposal = ProposeTopology { expected, topology: wanted.clone() };
            let answer: Result<Proposed, HttpError> =
                http::post(&node.addresses.admin, "/v1/topology", &proposal).await;
            // A refusal may come of a view that lags: of a member that the change counts on, say.
            if let Ok(proposed) = answer {
                assert_eq!(proposed.epoch, wanted.epoch);
                return Some(wanted);
            }
        }
        None
    })
    .await
}
