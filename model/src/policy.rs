//! How a store of mode single leader replicates and what its sessions get: what the resource declares, as the topology
//! carries it to every node.

use serde::{Deserialize, Serialize};

/// The store's declared guarantees. Part of the topology, so a change has an epoch and every node acts on the newest.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Policy {
    pub durability: Durability,
    pub in_sync: InSyncPolicy,
    pub log_format: LogFormat,
    pub sessions: SessionPolicy,
}

/// When a write is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Durability {
    /// Durable on the leader. A failover can lose acknowledged writes; they are then named and kept.
    Async,
    /// Durable on every member of the in-sync set: the leader and `InSyncPolicy::count` followers.
    SemiSync,
    /// Durable on all voters.
    Sync,
    /// Durable on a majority of the voters.
    #[default]
    Quorum,
}

/// How the in-sync set of `SemiSync` and `Sync` is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct InSyncPolicy {
    /// Followers beside the leader, for `SemiSync`; at least 1. `Sync` takes all.
    pub count: u16,
    pub on_loss: OnLoss,
    /// A member that leaves an entry unacknowledged for this long is slow.
    pub slow_after_ms: u64,
}

/// What happens when a member of the in-sync set is slow or gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum OnLoss {
    /// Another follower that has caught up takes its place; while there is none, writes wait.
    #[default]
    Replace,
    /// As `Replace`, but while there is none the set shrinks, down to the leader alone, and grows again later.
    Shrink,
    /// Writes wait until it is back.
    Block,
}

/// How a log entry describes a write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub enum LogFormat {
    /// The command as sent, with the leader's time and random seed; every replica evaluates it.
    Statement,
    /// Row images.
    #[default]
    Logical,
    /// The storage engine's own batches, tagged with the version of its format.
    Wal,
}

/// What a connection's reads get unless it asks for something else.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SessionPolicy {
    pub reads: ReadPreference,
    pub read_your_writes: ReadYourWrites,
    /// Reads never go back to an older state than an earlier read of the session saw.
    pub monotonic: bool,
    /// Over shards too: nobody sees a write without those that were acknowledged before it began.
    pub consistent_prefix: bool,
    /// No read is staler than this.
    pub staleness_ms_max: Option<u64>,
    /// How long a replica waits for the position that a read needs before the read goes to the leader.
    pub wait_ms: u64,
}

/// Where reads go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum ReadPreference {
    /// To the leader, linearizable.
    #[default]
    Leader,
    /// To a replica, under the session's guarantees.
    Replica,
}

/// How a session reads its own writes on replicas: the three known methods.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ReadYourWrites {
    Off,
    /// Keys that match one of these patterns, the ones that their owner alone edits, are read at the leader.
    Owner {
        patterns: Vec<String>,
    },
    /// For this long after a write the session reads at the leader.
    Window {
        ms: u64,
    },
    /// A replica answers when it has applied the session's newest write, or the read is rerouted.
    Position,
}

impl Default for InSyncPolicy {
    fn default() -> Self {
        Self { count: 1, on_loss: OnLoss::default(), slow_after_ms: 1_000 }
    }
}

impl Default for SessionPolicy {
    fn default() -> Self {
        Self {
            reads: ReadPreference::default(),
            read_your_writes: ReadYourWrites::Position,
            monotonic: true,
            consistent_prefix: true,
            staleness_ms_max: None,
            wait_ms: 200,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_its_default() {
        let policy: Policy =
            serde_json::from_str(r#"{"durability":"SemiSync","inSync":{"count":2}}"#).unwrap();
        assert_eq!(policy.durability, Durability::SemiSync);
        assert_eq!(policy.in_sync, InSyncPolicy { count: 2, ..InSyncPolicy::default() });
        assert_eq!(policy.sessions, SessionPolicy::default());
        assert!(serde_json::from_str::<Policy>(r#"{"durabilty":"Sync"}"#).is_err());
    }
}
