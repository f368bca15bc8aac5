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
//! - `GET /v1/rollbacks`: [`RollbackFile`]s; `GET /v1/rollbacks/{name}`: the writes in one, a JSON object a line;
//!   `POST /v1/rollbacks/{name}/replay`: does them again, answered with [`Replayed`]; `DELETE /v1/rollbacks/{name}`.
//! - `POST /v1/handover`: moves every leadership away from the node and answers [`Handover`] when done.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    ActorId, Addresses, Datacenter, Dot, Durability, Epoch, GroupId, LogFormat, LogIndex, NodeId,
    ShardId, StoreId, Term, Topology, WallTime, Zone,
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
    /// Writes that a failover under `Async` took back and that this node keeps.
    #[serde(default)]
    pub rollbacks: Vec<RollbackFile>,
    /// The format of the node's storage engine. Nodes with different ones cannot share a store whose log format is `Wal`.
    #[serde(default)]
    pub engine_format: u32,
    /// Every shard without a leader of which the node hosts a replica; its `replicas` then holds the meta group's alone.
    #[serde(default)]
    pub shards: Vec<ShardReport>,
    /// What the node holds for others' replicas that did not answer.
    #[serde(default)]
    pub hints: Vec<HintsReport>,
}

/// What a node holds for the replicas of another one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HintsReport {
    pub target: NodeId,
    pub count: u64,
    pub bytes: u64,
    pub oldest_seconds: u64,
}

/// A replica of a shard without a leader, as its node sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardReport {
    pub shard: ShardId,
    pub standing: Standing,
    /// Why its rows were given up, until it is filled again.
    #[serde(default)]
    pub given_up: Option<String>,
    /// Values that the last writer's took the place of, of those that were concurrent, since the node started.
    #[serde(default)]
    pub discarded: u64,
    /// Cells that a read found to be behind on a replica, since the node started.
    #[serde(default)]
    pub read_repairs: u64,
    /// How far each other datacenter is behind what this replica coordinated, where datacenters are `Local`.
    #[serde(default)]
    pub relays: Vec<RelayReport>,
    #[serde(default)]
    pub compared: ComparedReport,
}

/// What a replica coordinated, on its way to another datacenter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayReport {
    pub datacenter: Datacenter,
    /// What was coordinated longer ago than so many milliseconds is held there by as many replicas as a write asks for.
    pub behind_ms: u64,
    /// `false` while that is only known of what was written since the process began.
    pub known: bool,
    /// Too much waits or waited: a comparison finds what is to be told.
    pub torn: bool,
    /// Keys that wait.
    pub waiting: u64,
}

/// What comparing a replica with others came to since its node started.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComparedReport {
    /// The hash of all cells that are durable here: replicas with the same one hold the same.
    pub root: u64,
    /// Comparisons that came to their end.
    pub times: u64,
    /// What this replica sent for them, as the one who asks and as the one who answers.
    pub bytes: u64,
    /// The part of it that was cells, and how many.
    pub cell_bytes: u64,
    pub cells: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// It holds everything that it must and counts in quorums.
    Whole,
    /// It is new or may have lost something, and counts for nothing until it has compared itself with enough others.
    Filling,
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
    #[serde(default)]
    pub acknowledgement: Acknowledgement,
    /// The format of the entries that this replica's leader appends.
    #[serde(default)]
    pub log_format: LogFormat,
    /// On a leader: why that is not the declared format.
    #[serde(default)]
    pub log_format_held_back: Option<String>,
    /// On a leader: how it came to lead, and its predecessors as far as this node saw them; the newest last, at most 8.
    #[serde(default)]
    pub failovers: Vec<Failover>,
    /// On a leader: changes of the in-sync set, the newest last, at most 8.
    #[serde(default)]
    pub swaps: Vec<Swap>,
    /// Why this replica takes part in nothing until it is rebuilt (its state differs from the leader's, say).
    #[serde(default)]
    pub quarantined: Option<String>,
    /// On the leader, where every datacenter has one.
    #[serde(default)]
    pub exchange: Option<ExchangeReport>,
}

/// What a shard's leader takes from other datacenters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExchangeReport {
    /// Whose its own writes are: another one since the datacenter's volumes were lost.
    pub origin: ActorId,
    pub links: Vec<LinkReport>,
    /// What has waited for the longest for something else to come first: who gave it, and whose write is lacking.
    pub blocked: Option<BlockedReport>,
    pub held_bytes: u64,
    /// Changes that were not taken each time that they came: their time is too far ahead of this node's clock, there was no room, no
    /// datacenter makes such a one.
    pub refused_ahead_of_time: u64,
    pub refused_full: u64,
    pub refused_malformed: u64,
    /// Since this node began to lead: changes of others, conflicts among them, values that are no longer read, and conflicts of which a
    /// script made nothing because it failed.
    pub taken: u64,
    pub conflicts: u64,
    pub discarded: u64,
    #[serde(default)]
    pub failed: u64,
}

impl ExchangeReport {
    /// Of a leader that has nothing to tell but its links.
    #[must_use]
    pub const fn of_links(origin: ActorId, links: Vec<LinkReport>) -> Self {
        Self {
            origin,
            links,
            blocked: None,
            held_bytes: 0,
            refused_ahead_of_time: 0,
            refused_full: 0,
            refused_malformed: 0,
            taken: 0,
            conflicts: 0,
            discarded: 0,
            failed: 0,
        }
    }
}

/// One datacenter from which this one takes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkReport {
    pub from: Datacenter,
    /// It gives what others wrote, too.
    pub forwards: bool,
    /// Nothing has been heard for long.
    pub silent: bool,
    /// Not by the declared links: something does not come by those.
    pub rerouted: bool,
    /// Its log no longer goes back as far as is needed.
    pub behind: bool,
    /// Writes there that are not known here, and for how long there have been some.
    pub lacking: u64,
    pub lag_ms: u64,
}

impl LinkReport {
    /// By which everything is here that is there.
    #[must_use]
    pub const fn caught_up(from: Datacenter) -> Self {
        Self {
            from,
            forwards: false,
            silent: false,
            rerouted: false,
            behind: false,
            lacking: 0,
            lag_ms: 0,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockedReport {
    pub by: Datacenter,
    pub on: Dot,
    pub ms: u64,
}

/// When this replica's group acknowledges writes, as its newest configuration says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledgement {
    pub durability: Durability,
    /// The in-sync set under `SemiSync` and `Sync`; empty otherwise.
    pub in_sync: BTreeSet<NodeId>,
    /// A majority holds the newest change, so it alone counts.
    pub settled: bool,
    /// On the leader: members that keep writes waiting at present, because they are slow or gone.
    pub waiting_for: BTreeSet<NodeId>,
    /// On the leader: the set has fewer followers than declared (`Shrink`).
    pub shrunk: bool,
}

/// How one leader followed another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failover {
    pub old_leader: Option<NodeId>,
    pub new_leader: NodeId,
    pub old_term: Term,
    pub new_term: Term,
    /// The old leader asked for it (a switchover), so nothing was detected.
    pub planned: bool,
    /// By the new leader's clock: when it gave the old leader up, when it was elected, when it first acknowledged a
    /// write (`None` until it has).
    pub detected_at: WallTime,
    pub elected_at: WallTime,
    pub acknowledged_at: Option<WallTime>,
    /// Acknowledged writes could be lost: the durability in force was `Async`. The count and the files are the old leader's to
    /// tell, in `NodeReport::rollbacks`.
    pub lossy: bool,
}

/// A change of the in-sync set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Swap {
    pub at: WallTime,
    pub index: LogIndex,
    pub removed: BTreeSet<NodeId>,
    pub added: BTreeSet<NodeId>,
    pub why: SwapReason,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SwapReason {
    /// The declared durability, count or membership changed.
    Declared,
    /// A new leader took office.
    Elected,
    /// A member left entries unacknowledged for longer than declared.
    Slow,
    /// A member stopped answering.
    Gone,
    /// A set that had shrunk has a follower again.
    Recovered,
}

/// Writes that were acknowledged under `Async`, or might have been, and that the log lost at a failover.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RollbackFile {
    pub name: String,
    #[serde(with = "group_text")]
    pub group: GroupId,
    /// The term of the leader that appended them.
    pub term: Term,
    pub first: LogIndex,
    pub last: LogIndex,
    pub writes: u64,
    pub bytes: u64,
    pub saved_at: WallTime,
    /// This node led that term: the file is complete. Another's may hold less.
    pub led: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Replayed {
    pub writes: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FollowerReport {
    pub matched: LogIndex,
    pub phase: CatchUpPhase,
    /// Milliseconds since the follower last answered; `None` when it never did.
    pub last_answer_ms: Option<u64>,
    #[serde(default)]
    pub catch_up: CatchUp,
}

/// How fast a follower that is behind comes closer; all zero for one that has caught up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatchUp {
    /// Entries that it confirms, and that its group writes.
    pub entries_per_second: u64,
    pub writes_per_second: u64,
    /// When it will have caught up at this rate; `None` when that is not known, or never.
    pub eta_ms: Option<u64>,
    /// Snapshots that it was sent since it last was caught up.
    pub snapshots: u32,
    /// It will not catch up unless less is written or it becomes faster: it confirms less than is written, or fell behind the
    /// log again after a snapshot.
    pub slower_than_writes: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "phase")]
pub enum CatchUpPhase {
    /// Looking for the position from which to continue.
    Probing,
    /// A snapshot is being streamed.
    Snapshot {
        bytes_sent: u64,
        bytes_total: u64,
        #[serde(default)]
        bytes_per_second: u64,
        /// Who streams it; the leader where it is `None`.
        #[serde(default)]
        source: Option<NodeId>,
    },
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Leaderless, Leaving, Mode, Moved, ShardPlacement, Step};

    #[test]
    fn topology_of_shards_that_move_goes_through_json_unchanged() {
        let place = Datacenter::new("dc-a").unwrap();
        let leaves = Some(Leaving { owners: [(NodeId(7), place)].into(), step: Step::Filling });
        let moved = BTreeMap::from([(ShardId(1), Moved { since: Epoch(3), leaves })]);
        let voters = BTreeSet::from([NodeId(7)]);
        let placement = ShardPlacement { genesis: voters.clone(), voters, preferred_leader: None };
        let topology = Topology {
            store: StoreId(9),
            epoch: Epoch(4),
            members: BTreeMap::new(),
            meta_voters: BTreeSet::new(),
            shards: vec![placement],
            policy: crate::Policy::default(),
            mode: Mode::Leaderless(Leaderless { moved, ..Leaderless::default() }),
        };
        let request = ProposeTopology { expected: Epoch(3), topology };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<ProposeTopology>(&text).unwrap(), request, "{text}");
    }
}
