//! What a connection's reads get unless it asks for something else with `SESSION`.

#![expect(unreachable_pub, reason = "the schema derive repeats each struct inside a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where reads go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum ReadFrom {
    /// To the leader: linearizable.
    #[default]
    Leader,
    /// To a replica near by, under the guarantees of the session.
    Replica,
}

/// How a session finds its own writes on replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum ReadYourWritesMethod {
    /// It may not.
    Off,
    /// Keys that only their owner edits are read at the leader.
    Owner,
    /// For a while after a write the session reads at the leader.
    Window,
    /// The replica waits until it has the session's newest write, or the read goes to the leader.
    #[default]
    Position,
}

/// How a session finds its own writes on replicas, with what the method needs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.method == 'Owner') == has(self.ownerKeys)")
    .message("sessions.readYourWrites.ownerKeys goes with method Owner and with no other: give both or neither")
    .field_path(".ownerKeys"))]
#[x_kube(validation = Rule::new("!has(self.window) || self.method == 'Window'")
    .message("sessions.readYourWrites.window belongs to method Window: remove it or set the method")
    .field_path(".window"))]
pub struct ReadYourWritesSpec {
    #[serde(default)]
    pub method: ReadYourWritesMethod,
    /// For Owner: patterns as in KEYS, such as `profile:*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 256)))]
    pub owner_keys: Option<Vec<String>>,
    /// For Window: how long after a write the session reads at the leader (default 60s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^([0-9]+(ms|s|m|h))+$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1ms') && duration(self) <= duration('24h')")
        .message("sessions.readYourWrites.window must be between 1ms and 24h"))]
    pub window: Option<String>,
}

/// The defaults of the store's sessions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionsSpec {
    /// Where reads go.
    #[serde(default)]
    pub read_from: ReadFrom,
    /// How a session finds its own writes on replicas.
    #[serde(default)]
    pub read_your_writes: ReadYourWritesSpec,
    /// Reads never go back to an older state than an earlier read of the session saw.
    #[serde(default = "yes")]
    pub monotonic_reads: bool,
    /// Over shards too: nobody sees a write without those that were acknowledged before it began.
    #[serde(default = "yes")]
    pub consistent_prefix: bool,
    /// No read is staler than this. Without it: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^([0-9]+(ms|s|m|h))+$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1ms') && duration(self) <= duration('24h')")
        .message("sessions.maxStaleness must be between 1ms and 24h"))]
    pub max_staleness: Option<String>,
    /// How long a replica waits for what a read needs before the read goes to the leader (default 200ms).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^([0-9]+(ms|s|m|h))+$"))]
    #[x_kube(validation = Rule::new("duration(self) <= duration('10s')")
        .message("sessions.replicaWait must be at most 10s"))]
    pub replica_wait: Option<String>,
}

impl Default for SessionsSpec {
    fn default() -> Self {
        Self {
            read_from: ReadFrom::default(),
            read_your_writes: ReadYourWritesSpec::default(),
            monotonic_reads: yes(),
            consistent_prefix: yes(),
            max_staleness: None,
            replica_wait: None,
        }
    }
}

const fn yes() -> bool {
    true
}
