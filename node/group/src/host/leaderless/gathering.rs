//! What a shard's replica wants of one turn of the host: one entry of the log, and one frame for each peer.
//!
//! What arrives together is made durable, told and acknowledged together: else every write would be an entry with a standing of
//! its own, two frames and two answers.

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

    /// What was to be said is not.
    pub(super) fn fall_silent(&mut self) {
        self.frames.clear();
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

#[cfg(test)]
mod tests {
    use quorate_model::{ActorId, Dot, Hlc};
    use quorate_replication::causal::{Change, Content};

    use super::*;

    fn cell(counter: u64, value: Bytes) -> (CellKey, Cell) {
        let mut cell = Cell::default();
        let dot = Dot { actor: ActorId(1), counter };
        let content = Content::Value { value, expiry: None };
        cell.change(dot, Hlc(counter), Change::Put { content, context: None });
        (CellKey::new(Bytes::from_static(b"slotab")).unwrap(), cell)
    }

    #[test]
    fn a_cell_that_changes_twice_in_a_turn_is_one_cell_of_one_entry() {
        let mut gathered = Gathered::default();
        let (key, last) = cell(2, Bytes::from_static(b"b"));
        gathered.persist(PersistId(1), vec![cell(1, Bytes::from_static(b"a"))]);
        gathered.persist(PersistId(2), vec![(key.clone(), last.clone())]);
        let [persist] = &gathered.persists[..] else { panic!("one entry") };
        assert_eq!(persist.through, PersistId(2));
        assert_eq!(persist.cells, BTreeMap::from([(key, encode_cell(&last))]));
        gathered.persist(PersistId(3), vec![cell(3, Bytes::from(vec![0; BYTES_MAX]))]);
        assert_eq!(gathered.persists.len(), 2, "entries are bounded");
    }

    #[test]
    fn a_frame_is_for_one_peer_of_one_mark_and_of_one_importance() {
        let mut gathered = Gathered::default();
        let later = Mark { round: 1, ..Mark::default() };
        let [one, other] = [NodeId(1), NodeId(2)];
        for (to, mark, message) in [
            (one, Mark::default(), Message::Stored { number: 1 }),
            (other, Mark::default(), Message::Stored { number: 2 }),
            (one, Mark::default(), Message::Close { round: 1 }),
            (one, Mark::default(), Message::Stored { number: 3 }),
            (one, later, Message::Stored { number: 4 }),
            (one, later, Message::Stored { number: 5 }),
        ] {
            gathered.send(to, mark, message);
        }
        let frames = gathered.frames.into_iter();
        let frames: Vec<_> =
            frames.map(|frame| (frame.to, frame.mark, frame.messages.len())).collect();
        let first = Mark::default();
        assert_eq!(frames, [(one, first, 2), (other, first, 1), (one, first, 1), (one, later, 2)]);
    }
}
