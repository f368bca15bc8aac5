//! What the leaders of a shard in different datacenters tell each other.

use quorate_model::{ActorId, LogIndex, NodeId, VersionVector};
use serde::{Deserialize, Serialize};

use super::Change;

/// Of whom a datacenter is to give its changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Wanted {
    /// Of itself.
    Own,
    /// Of everybody of whom it has any.
    All,
}

/// A place in the log of the group that gives: everything through it was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cursor {
    /// Whose log: an origin that is another one after its volumes were lost.
    pub log: ActorId,
    pub through: LogIndex,
}

/// Numbers are of the one who takes, another one for each time it asks anew.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// Give changes from now on, as they are applied: those that are neither known nor of this origin, which is the taker's.
    Subscribe {
        number: u64,
        wanted: Wanted,
        origin: ActorId,
        known: VersionVector,
        from: Option<Cursor>,
    },
    /// What comes behind `from`, through `through`, in the order in which it was applied; perhaps nothing. The first message after
    /// `Subscribe` is from `start`. `known` is what the giver has applied by now.
    Changes {
        number: u64,
        log: ActorId,
        start: LogIndex,
        from: LogIndex,
        through: LogIndex,
        changes: Vec<Change>,
        known: VersionVector,
    },
    /// What was given through this is applied, or held until what it comes after is there; `known` is what is applied.
    Taken { number: u64, through: LogIndex, known: VersionVector },
    /// The log no longer holds everything that is not known: some of this is not there as changes.
    Behind { number: u64, floor: VersionVector },
    /// This node does not lead the shard.
    Elsewhere { number: u64, leader: Option<NodeId> },
    /// This node leads the shard from now on: ask it.
    Leads,
    /// What is applied here, for whoever lacks it for long.
    Has { known: VersionVector },
}

impl Message {
    /// Roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let vector = |vector: &VersionVector| 16 * vector.len();
        match self {
            Self::Subscribe { known, .. } => 48 + vector(known),
            Self::Changes { changes, known, .. } => {
                40 + vector(known) + changes.iter().map(Change::bytes).sum::<usize>()
            }
            Self::Taken { known, .. } => 24 + vector(known),
            Self::Behind { floor, .. } => 8 + vector(floor),
            Self::Elsewhere { .. } | Self::Leads => 32,
            Self::Has { known } => vector(known),
        }
    }
}
