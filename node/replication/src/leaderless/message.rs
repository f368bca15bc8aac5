//! What replicas of a shard tell each other.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_model::{Epoch, Hlc, NodeId};
use serde::{Deserialize, Serialize};

use super::{Asked, CellKey, NodeAt};
use crate::causal::{Cell, CellDigest, cell_bytes};

/// Where its sender stood when it made a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// The step that the shard was at (INV-99).
    pub since: Epoch,
    /// The round of collecting that it took part in last, and the last that it has closed (INV-100).
    pub round: u64,
    pub closed: u64,
}

/// Numbers are the asker's, never used for anything else by it; answers repeat them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// Take over what these cells know.
    Store { number: u64, cells: Vec<(CellKey, Cell)> },
    /// Everything of that `Store` is durable here.
    Stored { number: u64 },
    /// Tell what is known of these, unless that is as the digests say.
    Fetch { number: u64, asked: Vec<(Asked, CellDigest)> },
    /// What was asked for, in its order, all of it durable here.
    Fetched { number: u64, found: Vec<Found> },
    /// The ranges of that `Fetch` hold more here than one read may be of.
    TooMuch { number: u64 },
    /// The asker's hashes of parts of the tree.
    Compare { number: u64, runs: Vec<Run> },
    /// Those of the parts that differ. `whole` unless the answerer may lack what it acknowledged (INV-98).
    Differing { number: u64, nodes: Vec<NodeAt>, whole: bool },
    /// What the asker has of leaves that differ.
    List { number: u64, pages: Vec<Page> },
    /// What differs in the first `looked` of the pages, at least in one: cells of the answerer that the asker has not or has
    /// otherwise, and what of the asker's the answerer has not, by the places of the pages in the list. `more` when that is not all.
    Different {
        number: u64,
        cells: Vec<(CellKey, Cell)>,
        wanted: Vec<(u32, Short)>,
        looked: u32,
        more: bool,
        whole: bool,
    },
    /// A round of collecting of all these: these cells are over, exactly so.
    Prepare { round: u64, cells: Vec<(CellKey, CellDigest)>, all: BTreeSet<NodeId> },
    /// Those of them that are so at the answerer.
    Prepared { round: u64, agreed: Vec<CellKey> },
    /// Take no cells of earlier rounds from now on.
    Close { round: u64 },
    /// Nor after a restart.
    Closed { round: u64 },
    /// All agree, and none takes what is older.
    Drop { round: u64, cells: Vec<CellKey> },
    /// Take over what these cells know, have the others of the datacenter do so, and answer `Stored` when as many hold it there as
    /// a write of the store asks for.
    Relay { number: u64, cells: Vec<(CellKey, Cell)> },
    /// Take over what these cells know, and give it to the target: it does not answer.
    Hint { number: u64, target: NodeId, cells: Vec<(CellKey, Cell)> },
    /// Everything of that `Hint` is durable here.
    Hinted { number: u64, target: NodeId },
    /// What this replica was not told by the coordinators; answered with `Stored`.
    Handoff { number: u64, cells: Vec<(CellKey, Cell)> },
    /// That `Handoff` was not taken: perhaps its sender has heard of no round for long, and this message says which is closed.
    HandoffRefused { number: u64 },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Found {
    Same,
    /// Everything that is known of it.
    Other(Vec<(CellKey, Cell)>),
}

/// A hash of which only as much is told, always under another number. As bytes it takes no more than four of them.
pub(super) type Short = [u8; 4];

/// Hashes of nodes that follow each other on a level, shortened under the message's number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Run {
    pub first: NodeAt,
    pub hashes: Vec<Short>,
}

/// All that the asker has from `from` on and before `to`: a leaf, or a part of one that has many cells.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Page {
    pub from: Bytes,
    pub to: Bytes,
    /// Each cell's key and digest as one hash, shortened under the message's number.
    pub cells: Vec<Short>,
    /// The time of the newest value; zero when the asker wants to be told in any case. Whoever has the newer one most probably has what
    /// the other lacks.
    pub newest: Hlc,
}

impl Message {
    /// Whether nobody waits for it: it belongs to a comparison, or goes to another datacenter in its own time.
    #[must_use]
    pub const fn is_background(&self) -> bool {
        match self {
            Self::Store { .. }
            | Self::Stored { .. }
            | Self::Fetch { .. }
            | Self::Fetched { .. }
            | Self::TooMuch { .. }
            | Self::Hint { .. }
            | Self::Hinted { .. } => false,
            Self::Compare { .. }
            | Self::Differing { .. }
            | Self::List { .. }
            | Self::Different { .. }
            | Self::Prepare { .. }
            | Self::Prepared { .. }
            | Self::Close { .. }
            | Self::Closed { .. }
            | Self::Drop { .. }
            | Self::Relay { .. }
            | Self::Handoff { .. }
            | Self::HandoffRefused { .. } => true,
        }
    }

    /// Roughly what it takes on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let cells_bytes = |cells: &[(CellKey, Cell)]| -> usize {
            cells.iter().map(|(key, cell)| cell_bytes(key, cell)).sum()
        };
        const HEAD: usize = 16;
        HEAD + match self {
            Self::Stored { .. }
            | Self::TooMuch { .. }
            | Self::HandoffRefused { .. }
            | Self::Close { .. }
            | Self::Closed { .. } => 0,
            Self::Hinted { .. } => 16,
            Self::Store { cells, .. } | Self::Relay { cells, .. } | Self::Handoff { cells, .. } => {
                cells_bytes(cells)
            }
            Self::Hint { cells, .. } => 16 + cells_bytes(cells),
            Self::Fetch { asked, .. } => asked.iter().map(|(asked, _)| 16 + asked.bytes()).sum(),
            Self::Fetched { found, .. } => found
                .iter()
                .map(|found| match found {
                    Found::Same => 1,
                    Found::Other(cells) => 1 + cells_bytes(cells),
                })
                .sum(),
            Self::Compare { runs, .. } => runs.iter().map(|run| 8 + 4 * run.hashes.len()).sum(),
            Self::Differing { nodes, .. } => 4 * nodes.len(),
            Self::List { pages, .. } => pages.iter().map(Page::bytes).sum(),
            Self::Different { cells, wanted, .. } => 8 + cells_bytes(cells) + 6 * wanted.len(),
            Self::Prepare { cells, all, .. } => {
                let cells: usize = cells.iter().map(|(key, _)| 12 + key.bytes().len()).sum();
                cells + 16 * all.len()
            }
            Self::Prepared { agreed: keys, .. } | Self::Drop { cells: keys, .. } => {
                keys.iter().map(|key| 4 + key.bytes().len()).sum()
            }
        }
    }
}

impl Page {
    const fn bytes(&self) -> usize {
        12 + self.from.len() + self.to.len() + 4 * self.cells.len()
    }
}
