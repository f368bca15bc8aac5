//! What a replica wants done.

use quorate_model::NodeId;
use serde::{Deserialize, Serialize};

use super::{CellKey, Collected, Mark, Message, RequestId};
use crate::causal::Cell;

/// One [`Output::Persist`]; a later one is greater.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
pub struct PersistId(pub u64);

impl PersistId {
    /// Later than all.
    pub(super) const NEVER: Self = Self(u64::MAX);
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// To be made durable, whole or not at all.
    Persist {
        id: PersistId,
        cells: Vec<(CellKey, Cell)>,
    },
    /// The cells of every persist through this one are durable: they take the place of the applied ones.
    Apply {
        through: PersistId,
    },
    Send {
        to: NodeId,
        mark: Mark,
        message: Message,
    },
    /// To be durable, and to be told then ([`Input::Closed`](super::Input::Closed)); given back at the next start.
    Close {
        collected: Collected,
    },
    /// These applied cells are over. They may come back with a crash; `collected` with them.
    Drop {
        cells: Vec<CellKey>,
        collected: Collected,
    },
    /// The replica counts from now on. To be remembered; forgetting it costs another filling.
    Filled,
    /// Its cells are not what they were; it cannot go on with them.
    Damaged {
        why: String,
    },
    /// Of a write, what stands in the cell of each change, in their order. Of a read, every cell that anything is known of, once,
    /// in the order of the keys.
    Answer {
        id: RequestId,
        result: Result<Vec<(CellKey, Cell)>, Refused>,
        /// Of these no replica knows any more what the session had seen (INV-106).
        gone: Vec<CellKey>,
    },
}

/// Why a request was not carried out as asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Refused {
    /// A write stays where it was taken, and may reach the others later.
    #[error("{answered} of {needed} replicas answered in time")]
    NoQuorum { answered: usize, needed: usize },
    /// Nothing was done.
    #[error("the level asks for more replicas than there are")]
    TooFewReplicas,
    /// Nothing was done.
    #[error("this node has no replica of the key")]
    NotAReplica,
    /// Nothing was done.
    #[error("this node's replica of the key is being filled")]
    Filling,
    /// Nothing was done.
    #[error("too much is under way on this node")]
    Overloaded,
    /// Nothing was done.
    #[error("a replica knows more than {cells_max} cells of what was asked for, or too long ones")]
    TooMuch { cells_max: usize },
    /// Nothing was done.
    #[error("the context is none that this store gave out")]
    UnknownContext,
    /// Nothing was done.
    #[error(
        "the key would have more than {max} concurrent values: write with a context that covers them"
    )]
    TooManySiblings { max: usize },
    /// Nothing was done.
    #[error("{answered} of {needed} replicas answered in time what the write was to come after")]
    NotBegun { answered: usize, needed: usize },
    /// Nothing was done.
    #[error("SLOPPY_QUORUM and ANY are levels of writes: what stands in for a replica is not read")]
    WritesOnly,
    /// Nothing was done. INV-106
    #[error("no replica that answered in time knows what the session has written or seen")]
    Behind,
    /// Nothing was done.
    #[error(
        "SLOPPY_QUORUM and ANY need nodes that stand in for replicas, and this store has no hints"
    )]
    NoHints,
}

/// What happened since the start, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Counts {
    /// Values that the last writer's took the place of, of those that were concurrent.
    pub discarded: u64,
    /// Cells that a read found to be behind on a replica.
    pub read_repairs: u64,
    /// Comparisons with other replicas that came to an end, and the cells that they brought or sent.
    pub exchanges: u64,
    pub exchanged_cells: u64,
    /// What comparisons sent from here, as asked and as answered, cells included; and the cells alone.
    pub exchanged_bytes: u64,
    pub exchanged_cell_bytes: u64,
    /// Cells refused for a time too far ahead.
    pub ahead_of_time: u64,
    /// Removed cells of which nothing is left.
    pub collected: u64,
    /// Cells that were taken in place of a replica, refused for want of room, given to a replica, and dropped when their window was
    /// over.
    pub hints_taken: u64,
    pub hints_refused: u64,
    pub hints_delivered: u64,
    pub hints_dropped: u64,
    /// Two writes under one dot were seen.
    pub reused_dots: u64,
}
