//! What a shard's replica wants of one turn of the host: one entry of the log, and one frame for each peer.
//!
//! Whatever arrives together is carried out together. By the profile an entry, a frame and its answer cost several times what
//! the cells in them do, so that with one of each for every write they were most of what a write cost.

use std::collections::BTreeMap;
use std::mem;

use bytes::Bytes;
use quorate_model::{GroupId, NodeId};
use quorate_replication::causal::Cell;
use quorate_replication::leaderless::{CellKey, Mark, Message, PersistId};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::super::{Host, PeerMessage};
use super::Entry;
use super::applied::encode_cell;

/// A frame with so much takes no further message, an entry no further cells.
const BYTES_MAX: usize = 1 << 20;

/// What waits for the end of the turn. It goes with the shard when that stops: what its rows no longer hold it tells nobody.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    persists: Vec<Persist>,
    frames: Vec<Frame>,
}

/// Of a cell that changed more than once the last counts.
#[derive(Debug)]
struct Persist {
    through: PersistId,
    /// Encoded.
    cells: BTreeMap<CellKey, Bytes>,
    bytes: usize,
}

#[derive(Debug)]
struct Frame {
    to: NodeId,
    mark: Mark,
    background: bool,
    messages: Vec<Message>,
    bytes: usize,
}

impl Gathered {
    /// All of these or none: an entry is never divided.
    pub(super) fn persist(&mut self, through: PersistId, cells: Vec<(CellKey, Cell)>) {
        let encoded = cells.into_iter().map(|(key, cell)| (key, encode_cell(&cell)));
        let cells: Vec<(CellKey, Bytes)> = encoded.collect();
        let bytes: usize = cells.iter().map(|(key, cell)| key.bytes().len() + cell.len()).sum();
        match self.persists.last_mut().filter(|last| last.bytes + bytes <= BYTES_MAX) {
            Some(last) => {
                last.through = through;
                last.bytes += bytes;
                last.cells.extend(cells);
            }
            None => {
                let cells = cells.into_iter().collect();
                self.persists.push(Persist { through, cells, bytes });
            }
        }
    }

    /// To one peer in order, but for what is of different importance.
    pub(super) fn send(&mut self, to: NodeId, mark: Mark, message: Message) {
        let (background, bytes) = (message.is_background(), message.bytes());
        let mut frames = self.frames.iter_mut().rev();
        let last = frames.find(|frame| frame.to == to && frame.background == background);
        match last.filter(|last| last.mark == mark && last.bytes + bytes <= BYTES_MAX) {
            Some(last) => {
                last.messages.push(message);
                last.bytes += bytes;
            }
            None => {
                let messages = vec![message];
                self.frames.push(Frame { to, mark, background, messages, bytes });
            }
        }
    }
}

impl<D: Disk, S: StateStore> Host<D, S> {
    /// The turn is over.
    pub(in super::super) fn release_shards(&mut self) {
        for id in mem::take(&mut self.shards.gathering) {
            let Some(shard) = self.shards.hosted.get_mut(&id) else { continue };
            let group = GroupId::Shard(id);
            let Gathered { persists, frames } = mem::take(&mut shard.gathered);
            for Persist { through, cells, .. } in persists {
                let cells: Vec<(CellKey, Bytes)> = cells.into_iter().collect();
                let index = self.shared.persisting.persist_cells(group, through, &cells);
                shard.unapplied.push_back(Entry { through, index, cells });
            }
            for Frame { to, mark, messages, .. } in frames {
                self.shared.send(to, group, PeerMessage::Leaderless { mark, messages });
            }
        }
    }
}
