//! What the operator reports of datacenters that give each other what they took, each with leaders of its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one datacenter takes from another one, by the worst of its shards. What comes within a second is not told, so that the status
/// does not change all the time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkStatus {
    /// Who takes.
    #[schemars(length(max = 63))]
    pub datacenter: String,
    #[schemars(length(max = 63))]
    pub from: String,
    /// For how long there have been writes there that are not known here.
    pub lag_seconds: i64,
    /// How many of them, rounded.
    #[serde(default)]
    pub lacking: i64,
    /// Nothing has been heard for long.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
    /// Not by the declared links: something does not come by those.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rerouted: bool,
    /// Its log no longer goes back as far as is needed: all that it has is taken over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub behind: bool,
    /// What has to come first, of a change that waits for a second or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub blocked_on: Option<String>,
}

/// Concurrent writes that a datacenter has seen since its leaders took office, rounded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConflictsStatus {
    #[schemars(length(max = 63))]
    pub datacenter: String,
    /// Changes of others that were concurrent to what was there.
    pub conflicts: i64,
    /// Values that are no longer read because another one is.
    pub discarded: i64,
    /// Conflicts of which the script of the policy Custom made nothing because it failed: the last writer's is read.
    #[serde(default)]
    pub failed: i64,
    /// Changes of others that are not taken: their time is too far ahead, there is no room, or no datacenter makes such a one.
    #[serde(default)]
    pub refused: i64,
}
