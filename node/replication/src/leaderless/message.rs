//! What replicas of a shard tell each other.

use serde::{Deserialize, Serialize};

use super::{CellKey, NodeAt};
use crate::causal::{Cell, CellDigest};

/// Numbers are the asker's, never used for anything else by it; answers repeat them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// Take over what these cells know.
    Store { number: u64, cells: Vec<(CellKey, Cell)> },
    /// Everything of that `Store` is durable here.
    Stored { number: u64 },
    /// Tell these cells, unless they are as these digests say.
    Fetch { number: u64, cells: Vec<(CellKey, CellDigest)> },
    /// What was asked for, in its order, all of it durable here.
    Fetched { number: u64, cells: Vec<Found> },
    /// The asker's hashes of parts of the tree, shortened under the exchange's number.
    Compare { number: u64, nodes: Vec<(NodeAt, u32)> },
    /// Those of the parts that differ.
    Differing { number: u64, nodes: Vec<NodeAt> },
    /// What the asker has in these leaves: each cell's key and digest, shortened.
    List { number: u64, leaves: Vec<(NodeAt, Vec<Listed>)> },
    /// What differs in them: cells of the answerer that the asker has not or has otherwise, and what the answerer wants.
    /// `more` when that is not all.
    Different { number: u64, cells: Vec<(CellKey, Cell)>, wanted: Vec<(NodeAt, u32)>, more: bool },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Found {
    Same,
    /// Nothing is known of a cell that is empty.
    Other(Cell),
}

/// A cell of a leaf, shortened under the exchange's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Listed {
    pub key: u32,
    pub digest: u32,
}

impl Message {
    /// Whether nobody waits for it: it belongs to a comparison.
    #[must_use]
    pub const fn is_background(&self) -> bool {
        match self {
            Self::Store { .. } | Self::Stored { .. } | Self::Fetch { .. } | Self::Fetched { .. } => {
                false
            }
            Self::Compare { .. }
            | Self::Differing { .. }
            | Self::List { .. }
            | Self::Different { .. } => true,
        }
    }

    /// Roughly what it takes on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let cells_bytes = |cells: &[(CellKey, Cell)]| -> usize {
            cells.iter().map(|(key, cell)| 4 + key.bytes().len() + cell.bytes()).sum()
        };
        const HEAD: usize = 16;
        HEAD + match self {
            Self::Stored { .. } => 0,
            Self::Store { cells, .. } => cells_bytes(cells),
            Self::Fetch { cells, .. } => cells.iter().map(|(key, _)| 12 + key.bytes().len()).sum(),
            Self::Fetched { cells, .. } => cells
                .iter()
                .map(|found| match found {
                    Found::Same => 1,
                    Found::Other(cell) => 1 + cell.bytes(),
                })
                .sum(),
            Self::Compare { nodes, .. } => 8 * nodes.len(),
            Self::Differing { nodes, .. } => 4 * nodes.len(),
            Self::List { leaves, .. } => leaves.iter().map(|(_, cells)| 4 + 8 * cells.len()).sum(),
            Self::Different { cells, wanted, .. } => cells_bytes(cells) + 8 * wanted.len(),
        }
    }
}
