//! Several leaders, one in each datacenter.

use serde::{Deserialize, Serialize};

use crate::Datacenter;

/// Along which links changes go from datacenter to datacenter.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Links {
    /// Each takes from each what was written there.
    #[default]
    AllToAll,
    /// Each takes from the one before it what that has, the first from the last.
    Circular(Vec<Datacenter>),
    /// The hub takes from each what was written there, and all others take from the hub what it has.
    Star { hub: Datacenter },
}
