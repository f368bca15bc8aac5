//! The wire types of a node's admin HTTP API, which the operator, `kubectl-quorate` and the tests speak.
//!
//! JSON over HTTP/1.1. Paths:
//! - `GET /livez`: 200 while the process makes progress.
//! - `GET /readyz`: 200 when the node serves (it belongs to a store and reaches a leader for its shards);
//!   `GET /readyz/caught-up`: 200 when every replica it hosts is a caught-up voter. Both answer [`Readiness`].
//! - `GET /metrics`: OpenMetrics text.
//! - `GET /v1/report`: [`NodeReport`].
//! - `POST /v1/bootstrap` with [`Bootstrap`]: starts a new store on a blank node.
//! - `POST /v1/topology` with [`ProposeTopology`]: compare-and-set on the epoch; answered by any member (forwarded
//!   to the meta leader) with [`Proposed`] or an [`ErrorBody`].
//! - `POST /v1/handover`: moves every leadership away from the node and answers [`Handover`] when done.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    Addresses, Datacenter, Epoch, GroupId, LogIndex, NodeId, ShardId, StoreId, Term, Topology, Zone,
};

/// What a node says of itself. The reader adds the age of the report: no clock is compared between machines.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeReport {
    pub node: NodeId,
    pub name: String,
    pub store: StoreId,
    pub datacenter: Datacenter,
    /// As configured; on Kubernetes the operator knows it from the Kubernetes node and the topology carries it.
    pub zone: Option<Zone>,
    pub version: String,
    pub addresses: Addresses,
    /// Milliseconds since the process started.
    pub uptime_ms: u64,
    /// The newest topology that the node holds; `None` on a blank node.
    pub topology: Option<Topology>,
    /// Every replica that the node hosts, the meta group's first.
    pub replicas: Vec<ReplicaReport>,
    /// Why the node does not serve, one sentence each; empty when it does.
    pub not_serving: Vec<String>,
    /// Set when the node's log has a hole or a bad record: it neither votes nor leads until repaired.
    pub corrupt: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    Leader,
    Follower,
    /// Follows the log, has no vote.
    Learner,
    Candidate,
}

/// One replica of one group on a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplicaReport {
    #[serde(with = "group_text")]
    pub group: GroupId,
    pub role: Role,
    pub term: Term,
    pub leader: Option<NodeId>,
    pub last: LogIndex,
    pub committed: LogIndex,
    pub applied: LogIndex,
    /// The group's configuration as this replica holds it.
    pub voters: BTreeSet<NodeId>,
    pub learners: BTreeSet<NodeId>,
    /// On the leader: how far each other replica is.
    pub followers: BTreeMap<NodeId, FollowerReport>,
    pub keys: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FollowerReport {
    pub matched: LogIndex,
    pub phase: CatchUpPhase,
    /// Milliseconds since the follower last answered; `None` when it never did.
    pub last_answer_ms: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "phase")]
pub enum CatchUpPhase {
    /// Looking for the position from which to continue.
    Probing,
    /// A snapshot is being streamed.
    Snapshot { bytes_sent: u64, bytes_total: u64 },
    /// Following the log, more than a few entries behind.
    Log { entries_behind: u64 },
    /// Following the log closely: may become a voter.
    CaughtUp,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Readiness {
    pub ready: bool,
    pub reasons: Vec<String>,
}

/// Starts a new store: the receiver becomes the first and only voter of the meta group, which holds `topology`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Must be the node's own id: a wiped volume answers with another id and refuses.
    pub node: NodeId,
    /// Epoch 1; its `meta_voters` contain `node`.
    pub topology: Topology,
}

/// A new topology, to count only if the current epoch is `expected`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProposeTopology {
    pub expected: Epoch,
    /// `topology.epoch` must be `expected` + 1.
    pub topology: Topology,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proposed {
    pub epoch: Epoch,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Handover {
    /// The shards whose leadership moved away.
    pub moved: Vec<ShardId>,
    /// The groups that this node still leads (nobody else could take over).
    pub kept: Vec<String>,
}

/// The body of every answer that is not 2xx.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct ErrorBody {
    pub code: ErrorCode,
    pub message: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ErrorCode {
    /// 400: the request cannot be understood or is not valid.
    Invalid,
    /// 409: the epoch has moved on; read the report again.
    EpochMoved,
    /// 409: the node already belongs to a store.
    AlreadyBootstrapped,
    /// 409: the request names another node's id.
    WrongNode,
    /// 503: the meta group has no leader that can be reached.
    NoLeader,
    /// 504: sent on, no answer in time; the change may still happen.
    Unknown,
}

mod group_text {
    //! `meta` or `shard-3` in JSON.
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::{GroupId, ShardId};

    pub(super) fn serialize<S: Serializer>(group: &GroupId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(group)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<GroupId, D::Error> {
        let text = String::deserialize(from)?;
        if text == "meta" {
            return Ok(GroupId::Meta);
        }
        text.strip_prefix("shard-")
            .and_then(|shard| shard.parse().ok())
            .map(|shard| GroupId::Shard(ShardId(shard)))
            .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a group")))
    }
}
