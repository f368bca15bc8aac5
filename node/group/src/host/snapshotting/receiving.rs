//! The receiver: rows staged under a generation that nobody reads, switched to at once, flushed, then told to the protocol.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use quorate_model::planted::{self, Bug};
use quorate_model::{GroupId, NodeId, Position, Time};
use quorate_replication::single_leader::Input;
use quorate_storage::disk::Disk;
use quorate_storage::state::bulk::Ingest;
use quorate_storage::state::{Batch, StateStore};

use super::super::group::Task;
use super::super::persisting::describe;
use super::super::retention::{Points, Purpose};
use super::super::rows::{self, Health, Prefix, Standing};
use super::super::timers::Timer;
use super::super::{PeerMessage, Turn};
use super::{End, Head, Held, Malformed, OrderId, chained};

/// How many chunks may come before one that is missing.
const AHEAD_MAX: u64 = 64;
/// After how long without a chunk the staged rows are dropped: longer than a source keeps its stream.
const PATIENCE: Duration = Duration::from_secs(90);
/// The answer waits while this much is not staged: the source goes on no faster than this node writes.
const UNSTAGED_BYTES_MAX: usize = 8 << 20;
/// How soon the staging is looked at again.
const STAGING_POLL: Duration = Duration::from_millis(2);

/// A snapshot being received.
pub(in crate::host) struct Incoming {
    from: NodeId,
    stream: u64,
    /// The newest order that its chunks tell.
    order: OrderId,
    position: Position,
    next: u64,
    /// Chunks that came before the one that is next.
    ahead: BTreeMap<u64, Part>,
    generation: u32,
    head: Option<Head>,
    end: Option<End>,
    checksum: u32,
    staging: Box<dyn Ingest>,
    heard: Time,
    /// The source has yet to be told what came.
    owed: bool,
    phase: Phase,
}

#[derive(Debug)]
struct Part {
    last: bool,
    checksum: u32,
    payload: Bytes,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Streaming,
    /// All came, not all is staged.
    Staging,
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
    pub(in crate::host) order: OrderId,
    pub(in crate::host) checksum: u32,
    pub(in crate::host) payload: Bytes,
}

impl Incoming {
    /// From the switch until the protocol knows of it, the replica takes no message (see
    /// `Replica::accepts_snapshot`).
    pub(in crate::host) fn is_switched(&self) -> bool {
        self.phase == Phase::Flushing
    }

    /// Takes the next chunk in order.
    fn take(&mut self, number: u64, part: Part) -> Result<(), Malformed> {
        let Part { last, checksum, payload } = part;
        if last {
            let end: End = rows::decode(&payload).map_err(|_| Malformed)?;
            // What comes after rows without a head, or is not what was sent, is of no use.
            if self.head.is_none() || end.checksum != self.checksum {
                return Err(Malformed);
            }
            self.end = Some(end);
            self.staging.finish();
            self.phase = Phase::Staging;
        } else if number == 0 {
            self.head = Some(rows::decode(&payload).map_err(|_| Malformed)?);
        } else {
            self.staging.push(payload);
        }
        self.checksum = chained(self.checksum, checksum);
        Ok(())
    }

    /// Answers whether the chunk is news and there is room for it.
    fn keep(&mut self, chunk: Chunk) -> bool {
        let near = (self.next..self.next + AHEAD_MAX).contains(&chunk.number);
        if self.phase != Phase::Streaming || !near {
            return false;
        }
        let Chunk { last, checksum, payload, .. } = chunk;
        let part = Part { last, checksum, payload };
        self.ahead.insert(chunk.number, part).is_none()
    }
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    pub(in crate::host) fn chunk_received(&mut self, from: NodeId, chunk: Chunk) {
        let Chunk { stream, number, .. } = chunk;
        if let Some((_, next)) = self.group.installed.filter(|(installed, _)| *installed == stream)
        {
            let ack = PeerMessage::SnapshotAck { stream, next, installed: true };
            return self.shared.send(from, self.group.id, ack);
        }
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
        incoming.order = incoming.order.max(chunk.order);
        incoming.heard = self.shared.now;
        incoming.owed = true;
        // A chunk that the network damaged is as good as lost.
        if crc32c::crc32c(&chunk.payload) == chunk.checksum
            && incoming.keep(chunk)
            && self.take_chunks().is_err()
        {
            return self.give_up_incoming(from, stream);
        }
        self.incoming_due();
    }

    /// Stages what goes on without a gap.
    fn take_chunks(&mut self) -> Result<(), Malformed> {
        let Some(incoming) = &mut self.group.incoming else { return Ok(()) };
        while incoming.phase == Phase::Streaming
            && let Some(part) = incoming.ahead.remove(&incoming.next)
        {
            let number = incoming.next;
            incoming.next += 1;
            incoming.take(number, part)?;
        }
        Ok(())
    }

    /// The source may hear how far this is; what is staged may be complete.
    pub(in crate::host) fn incoming_due(&mut self) {
        let now = self.shared.now;
        let Some(incoming) = &mut self.group.incoming else { return };
        let (from, stream, next) = (incoming.from, incoming.stream, incoming.next);
        let staged = match incoming.phase {
            Phase::Streaming | Phase::Staging => incoming.staging.finished(),
            Phase::Saving | Phase::Flushing => Ok(None),
        };
        let room = incoming.staging.waiting_bytes() < UNSTAGED_BYTES_MAX;
        if incoming.owed && (room || incoming.phase != Phase::Streaming) {
            incoming.owed = false;
            let ack = PeerMessage::SnapshotAck { stream, next, installed: false };
            self.shared.send(from, self.group.id, ack);
        }
        let poll = incoming.owed || incoming.phase == Phase::Staging;
        let (quiet, phase) = (now.since(incoming.heard) >= PATIENCE, incoming.phase);
        let patience = incoming.heard.after(PATIENCE);
        let over = match staged {
            Ok(Some(rows)) if phase == Phase::Staging => {
                let whole = incoming.end.is_some_and(|end| end.rows == rows);
                self.shared.note_unflushed(self.group.id);
                !whole || self.switch().is_err()
            }
            Ok(_) => quiet && phase == Phase::Streaming,
            Err(_) => true,
        };
        if over {
            self.give_up_incoming(from, stream);
        } else if self.group.incoming.as_ref().is_some_and(|one| one.phase == phase)
            && matches!(phase, Phase::Streaming | Phase::Staging)
        {
            let at = if poll { now.after(STAGING_POLL) } else { patience };
            self.timer(Timer::Incoming(self.group.id), at);
        }
    }

    /// A leader asks what there is of an earlier stream.
    pub(in crate::host) fn held_asked(&mut self, from: NodeId, id: OrderId) {
        let held = self.group.incoming.as_ref().filter(|incoming| {
            incoming.phase != Phase::Flushing && self.is_useful(incoming.position)
        });
        let held = held.map(|incoming| Held {
            source: incoming.from,
            stream: incoming.stream,
            position: incoming.position,
        });
        self.shared.send(from, self.group.id, PeerMessage::SnapshotHeld { id, held });
    }

    /// The source gave up.
    pub(in crate::host) fn snapshot_aborted(&mut self, from: NodeId, stream: u64) {
        let known = self.group.incoming.as_ref().is_some_and(|incoming| {
            incoming.from == from && incoming.stream == stream && !incoming.is_switched()
        });
        if known {
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
        self.group.installed = Some((stream, incoming.next));
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
        if self.group.is_quarantined() {
            // These very rows were found wrong before they were durable.
            self.group.tasks.push_back(Task::Step(Input::StateDamaged));
        }
        self.shared.status_changed = true;
    }

    /// Makes room for a new stream, if the present leader or one after the last ordered it and it helps.
    fn begin_incoming(&mut self, from: NodeId, chunk: &Chunk) -> bool {
        let busy = self.group.incoming.as_ref().is_some_and(|incoming| {
            !matches!(incoming.phase, Phase::Streaming | Phase::Staging)
                || incoming.order >= chunk.order
        });
        let replica = &self.group.replica;
        let in_force = replica.leader().is_some() && replica.term() == chunk.order.term;
        // A repaired group waits for the others of this node; another snapshot would make them wait for it. Only what happens to the
        // topology the node must hear: another group may have left it meanwhile, and nobody repairs a replica that is not wanted.
        // INV-42: but not when all of them are repaired, for what the new log starts after is being flushed by then.
        let news = self.group.id == GroupId::Meta
            && chunk.position.index > self.group.standing.applied.index
            && !self.shared.starting_over;
        let repaired =
            self.shared.damaged.is_some() && self.group.standing.health == Health::Sound && !news;
        if busy || repaired || !in_force || !self.is_useful(chunk.position) {
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
        let prefix = Prefix::new(self.group.id, generation);
        self.group.incoming = Some(Incoming {
            from,
            stream: chunk.stream,
            order: chunk.order,
            position: chunk.position,
            next: 0,
            ahead: BTreeMap::new(),
            generation,
            head: None,
            end: None,
            checksum: 0,
            staging: Box::new(self.shared.state.ingest(prefix.row(&[]), prefix.end())),
            heard: self.shared.now,
            owed: false,
            phase: Phase::Streaming,
        });
        true
    }

    /// INV-33, INV-34: a snapshot takes the state forward, or was chosen to repair this replica.
    fn is_useful(&self, position: Position) -> bool {
        let applied = self.group.standing.applied.index;
        let replica = &self.group.replica;
        let rebuilds = replica.is_damaged() || replica.needs_state();
        let enough = position.index > applied || rebuilds && position.index == applied;
        enough && replica.accepts_snapshot(position)
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
        let head = incoming.head.clone().ok_or(Malformed)?;
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

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, stream, position, next, phase, .. } = self;
        f.debug_struct("Incoming")
            .field("from", from)
            .field("stream", stream)
            .field("position", position)
            .field("next", next)
            .field("phase", phase)
            .finish_non_exhaustive()
    }
}
