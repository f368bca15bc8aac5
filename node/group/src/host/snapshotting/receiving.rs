//! The receiver: rows staged under a generation that nobody reads, switched to at once, flushed, then told to the protocol.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use quorate_model::planted::{self, Bug};
use quorate_model::{NodeId, Position};
use quorate_replication::single_leader::Input;
use quorate_storage::disk::Disk;
use quorate_storage::state::{Batch, Change, StateStore};

use super::super::group::Task;
use super::super::persisting::describe;
use super::super::retention::{Points, Purpose};
use super::super::rows::{Health, Prefix, Standing};
use super::super::timers::Timer;
use super::super::{PeerMessage, Turn};
use super::{Malformed, Parser};

/// How many chunks may come before one that is missing.
const AHEAD_MAX: u64 = 64;
/// After how long without a chunk the staged rows are dropped.
const PATIENCE: Duration = Duration::from_secs(30);

/// A snapshot being received.
#[derive(Debug)]
pub(in crate::host) struct Incoming {
    from: NodeId,
    stream: u64,
    position: Position,
    next: u64,
    /// Chunks that came before the one that is next.
    ahead: BTreeMap<u64, Part>,
    generation: u32,
    parser: Parser,
    phase: Phase,
}

#[derive(Debug)]
struct Part {
    last: bool,
    payload: Bytes,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Streaming,
    /// All is there; what the log loses with it is being saved.
    Saving,
    /// Switched to, not yet durable.
    Flushing,
}

/// One chunk as it came.
pub(in crate::host) struct Chunk {
    pub(in crate::host) position: Position,
    pub(in crate::host) stream: u64,
    pub(in crate::host) number: u64,
    pub(in crate::host) last: bool,
    pub(in crate::host) checksum: u32,
    pub(in crate::host) payload: Bytes,
}

impl Incoming {
    /// From the switch until the protocol knows of it, the replica takes no message (see
    /// `Replica::accepts_snapshot`).
    pub(in crate::host) fn is_switched(&self) -> bool {
        self.phase == Phase::Flushing
    }

    /// Answers whether the chunk is news and there is room for it.
    fn keep(&mut self, chunk: Chunk) -> bool {
        let near = (self.next..self.next + AHEAD_MAX).contains(&chunk.number);
        if self.phase != Phase::Streaming || !near {
            return false;
        }
        let part = Part { last: chunk.last, payload: chunk.payload };
        self.ahead.insert(chunk.number, part).is_none()
    }
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    pub(in crate::host) fn chunk_received(&mut self, from: NodeId, chunk: Chunk) {
        let Chunk { stream, number, .. } = chunk;
        let known = self
            .group
            .incoming
            .as_ref()
            .filter(|incoming| incoming.stream == stream || planted::is(Bug::StaleStream));
        if known.is_none() && !(number == 0 && self.begin_incoming(from, &chunk)) {
            return self.refuse_snapshot(from, stream);
        }
        let Some(incoming) = &mut self.group.incoming else { return };
        if incoming.from != from {
            return;
        }
        // A chunk that the network damaged is as good as lost.
        if crc32c::crc32c(&chunk.payload) == chunk.checksum && incoming.keep(chunk) {
            let patience = self.shared.now.after(PATIENCE);
            self.timer(Timer::Incoming(self.group.id), patience);
            if self.take_chunks().is_err() {
                return self.give_up_incoming(from, stream);
            }
        }
        if let Some(incoming) = &self.group.incoming {
            let next = incoming.next;
            let ack = PeerMessage::SnapshotAck { stream, next, installed: false };
            self.shared.send(from, self.group.id, ack);
        }
    }

    /// Stages what goes on without a gap.
    fn take_chunks(&mut self) -> Result<(), Malformed> {
        while let Some(incoming) = &mut self.group.incoming
            && incoming.phase == Phase::Streaming
            && let Some(part) = incoming.ahead.remove(&incoming.next)
        {
            incoming.next += 1;
            let generation = incoming.generation;
            let rows = incoming.parser.push(&part.payload)?;
            self.stage(generation, rows);
            if part.last {
                self.switch()?;
            }
        }
        Ok(())
    }

    /// The sender leads no longer, or gave up.
    pub(in crate::host) fn snapshot_aborted(&mut self, from: NodeId, stream: u64) {
        let known = self.group.incoming.as_ref().is_some_and(|incoming| {
            incoming.from == from && incoming.stream == stream && !incoming.is_switched()
        });
        if known {
            self.abandon_incoming();
        }
    }

    /// Nothing came for too long.
    pub(in crate::host) fn incoming_due(&mut self) {
        if self.group.incoming.as_ref().is_some_and(|incoming| !incoming.is_switched()) {
            self.abandon_incoming();
        }
    }

    /// The staged rows are of no use.
    pub(in crate::host) fn abandon_incoming(&mut self) {
        let Some(incoming) = self.group.incoming.take() else { return };
        self.shared.timers.set(Timer::Incoming(self.group.id), None);
        if incoming.generation != self.group.standing.generation {
            let prefix = Prefix::new(self.group.id, incoming.generation);
            self.shared.state.apply(Batch { changes: vec![prefix.clear()] });
        }
    }

    /// The switch is durable: the log starts anew, then the protocol goes on from there.
    pub(in crate::host) fn snapshot_durable(&mut self) {
        let Some(incoming) = self.group.incoming.take() else { return };
        assert!(incoming.is_switched(), "only a switch waits for its flush");
        self.shared.timers.set(Timer::Incoming(self.group.id), None);
        let (from, stream) = (incoming.from, incoming.stream);
        if self.shared.damaged.is_some() {
            // The log cannot be written to before every group is repaired; the sender need not wait for that.
            self.consider_retiring();
            self.shared.status_changed = true;
            return self.refuse_snapshot(from, stream);
        }
        self.install();
        let ack = PeerMessage::SnapshotAck { stream, next: incoming.next, installed: true };
        self.shared.send(from, self.group.id, ack);
    }

    /// The durable rows of this group take its log's place.
    pub(in crate::host) fn install(&mut self) {
        let Standing { applied, configuration, .. } = self.group.standing.clone();
        // INV-34: the rows are durable before the log that led to them goes.
        self.shared.persisting.start_log(self.group.id, applied, &configuration);
        self.group.points = self.shared.retention.points(applied, configuration.clone());
        let installed = Input::SnapshotInstalled { position: applied, configuration };
        self.group.tasks.push_back(Task::Step(installed));
        self.shared.status_changed = true;
    }

    /// Makes room for a new stream, if it comes from the leader and helps.
    fn begin_incoming(&mut self, from: NodeId, chunk: &Chunk) -> bool {
        let switched = self.group.incoming.as_ref().is_some_and(Incoming::is_switched);
        let leads = self.group.replica.leader() == Some(from);
        // A repaired group waits for the others of this node; another snapshot would make them wait for it.
        let repaired = self.shared.damaged.is_some() && self.group.standing.health == Health::Sound;
        if switched || repaired || !leads || !self.is_useful(chunk.position) {
            return false;
        }
        self.abandon_incoming();
        let generation = match self.take_generation() {
            Ok(generation) => generation,
            Err(error) => {
                self.shared.fatal(describe(&error));
                return false;
            }
        };
        self.group.incoming = Some(Incoming {
            from,
            stream: chunk.stream,
            position: chunk.position,
            next: 0,
            ahead: BTreeMap::new(),
            generation,
            parser: Parser::default(),
            phase: Phase::Streaming,
        });
        true
    }

    /// INV-33, INV-34: a snapshot takes the state forward, or was chosen to repair this replica.
    fn is_useful(&self, position: Position) -> bool {
        let applied = self.group.standing.applied.index;
        let replica = &self.group.replica;
        let enough = position.index > applied || replica.is_damaged() && position.index == applied;
        enough && replica.accepts_snapshot(position)
    }

    fn stage(&mut self, generation: u32, rows: Vec<(Bytes, Bytes)>) {
        let prefix = Prefix::new(self.group.id, generation);
        let changes: Vec<Change> = rows
            .into_iter()
            .map(|(row, value)| Change::Put { row: prefix.row(&row), value })
            .collect();
        if !changes.is_empty() {
            self.shared.state.apply(Batch { changes });
            self.shared.note_unflushed(self.group.id);
        }
    }

    /// Everything is staged: makes it the group's state, and asks for a flush.
    fn switch(&mut self) -> Result<(), Malformed> {
        let Some(incoming) = &self.group.incoming else { return Err(Malformed) };
        let position = incoming.position;
        // INV-66: what the log loses with this is saved first.
        let saved = self.is_saved_before(position);
        let Some(incoming) = &mut self.group.incoming else { return Err(Malformed) };
        if !saved {
            incoming.phase = Phase::Saving;
            return Ok(());
        }
        let head = incoming.parser.finish()?;
        let generation = incoming.generation;
        incoming.phase = Phase::Flushing;
        if !self.is_useful(position) {
            return Err(Malformed);
        }
        let old = self.group.prefix();
        self.replace_standing(Standing {
            generation,
            applied: position,
            configuration: head.configuration,
            keys: head.keys,
            time: head.time,
            format: head.format,
            health: Health::Sound,
            installed: true,
            term_floor: self.group.standing.term_floor,
        });
        self.apply_batch(Batch { changes: vec![old.clear()] });
        self.reload_topology();
        self.group.points = Points::default();
        self.shared.flush_for(Purpose::Install(self.group.id));
        Ok(())
    }

    /// What the log loses is saved.
    pub(in crate::host) fn resume_switch(&mut self) {
        let Some(incoming) = self.group.incoming.as_ref() else { return };
        if incoming.phase != Phase::Saving {
            return;
        }
        let (from, stream) = (incoming.from, incoming.stream);
        if self.switch().is_err() {
            self.give_up_incoming(from, stream);
        }
    }

    fn give_up_incoming(&mut self, from: NodeId, stream: u64) {
        self.abandon_incoming();
        self.refuse_snapshot(from, stream);
    }

    fn refuse_snapshot(&mut self, to: NodeId, stream: u64) {
        self.shared.send(to, self.group.id, PeerMessage::SnapshotAbort { stream });
    }
}
