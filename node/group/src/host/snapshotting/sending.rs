//! The sender: a view of the rows at what is applied, streamed with a window of unanswered chunks.
//!
//! It ends when the receiver has installed it, says no, or is silent for too long, and when this replica no longer leads.
//! The protocol is told of every end but the last.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorate_model::admin::CatchUpPhase;
use quorate_model::planted::{self, Bug};
use quorate_model::{LogIndex, NodeId, Position, Time};
use quorate_replication::single_leader::Input;
use quorate_storage::disk::Disk;
use quorate_storage::state::{Rows, StateError, StateStore};

use super::super::group::Task;
use super::super::rows::Prefix;
use super::super::timers::Timer;
use super::super::{PeerMessage, Turn};
use super::{Head, put_head, put_row};

/// How many snapshots a node sends at once; others wait their turn.
const STREAMS_MAX: usize = 4;
/// How often a snapshot that waits for a stream looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// And one whose receiver is not heard.
const LISTEN_AGAIN: Duration = Duration::from_millis(250);
/// After how long without an answer chunks are sent again.
const RESEND: Duration = Duration::from_millis(500);
/// After how long without an answer the stream is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many rows one read of the view brings at most.
const PAGE_ROWS_MAX: usize = 1024;

pub(in crate::host) enum Outgoing<V> {
    /// Until a stream is free and the receiver's node is heard: who is dead takes no stream from the living.
    Waiting,
    Streaming(Box<Stream<V>>),
}

pub(in crate::host) struct Stream<V> {
    number: u64,
    position: Position,
    keys: u64,
    source: Source<V>,
    unanswered: VecDeque<Chunk>,
    next: u64,
    bytes_sent: u64,
    last_answer: Time,
    last_sent: Time,
}

/// The bytes of the stream, chunk by chunk.
struct Source<V> {
    view: V,
    prefix: Prefix,
    /// Where the next page of rows begins; `None` after the last.
    from: Option<Bytes>,
    page_rows: usize,
    buffer: BytesMut,
    rows: u64,
}

#[derive(Clone)]
struct Chunk {
    number: u64,
    last: bool,
    checksum: u32,
    payload: Bytes,
}

impl<V: Rows> Source<V> {
    fn new(view: V, prefix: Prefix, head: &Head) -> Self {
        let mut buffer = BytesMut::new();
        put_head(&mut buffer, head);
        Self { view, prefix, from: Some(prefix.row(&[])), page_rows: 16, buffer, rows: 0 }
    }

    /// The next part of the stream and whether it is the last.
    fn next(&mut self, bytes_max: usize) -> Result<(Bytes, bool), StateError> {
        while self.buffer.len() <= bytes_max
            && let Some(from) = self.from.take()
        {
            let end = self.prefix.end();
            let page = self.view.range(&from, &end, self.page_rows)?;
            let before = self.buffer.len();
            for (row, value) in page.iter().skip(usize::from(planted::is(Bug::SnapshotSkipsRow))) {
                put_row(&mut self.buffer, &row[self.prefix.as_slice().len()..], value);
            }
            self.rows += page.len() as u64;
            if page.len() == self.page_rows
                && let Some((last, _)) = page.last()
            {
                // The smallest row after the last one.
                let mut after = BytesMut::from(last.as_ref());
                after.extend_from_slice(&[0]);
                self.from = Some(after.freeze());
                let row_bytes = ((self.buffer.len() - before) / page.len()).max(1);
                self.page_rows = (bytes_max / row_bytes).clamp(1, PAGE_ROWS_MAX);
            }
        }
        let part = self.buffer.split_to(self.buffer.len().min(bytes_max)).freeze();
        Ok((part, self.from.is_none() && self.buffer.is_empty()))
    }
}

impl<V> Stream<V> {
    /// A guess from the number of keys until everything is read.
    fn bytes_total(&self) -> u64 {
        if self.source.from.is_none() {
            return self.bytes_sent + self.source.buffer.len() as u64;
        }
        let rows = self.source.rows.max(1);
        (self.bytes_sent / rows).saturating_mul(self.keys.max(rows)).max(self.bytes_sent)
    }

    fn has_ended(&self) -> bool {
        self.source.from.is_none() && self.source.buffer.is_empty() && self.next > 0
    }
}

impl<V> Outgoing<V> {
    pub(in crate::host) fn phase(&self) -> CatchUpPhase {
        let (bytes_sent, bytes_total) = match self {
            Self::Waiting => (0, 0),
            Self::Streaming(stream) => (stream.bytes_sent, stream.bytes_total()),
        };
        CatchUpPhase::Snapshot { bytes_sent, bytes_total, bytes_per_second: 0, source: None }
    }

    fn stream(&mut self, number: u64) -> Option<&mut Stream<V>> {
        match self {
            Self::Streaming(stream) if stream.number == number => Some(stream),
            Self::Streaming(_) | Self::Waiting => None,
        }
    }
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// The protocol wants a snapshot sent.
    pub(in crate::host) fn snapshot_wanted(&mut self, to: NodeId) {
        self.drop_outgoing(to);
        if self.group.is_quarantined() {
            // Nobody is given these rows.
            self.group.tasks.push_back(Task::Step(Input::SnapshotSent { to, position: None }));
            return;
        }
        self.group.outgoing.insert(to, Outgoing::Waiting);
        // After the offer, which the protocol makes in the same step and the receiver must have heard.
        let at = self.shared.now;
        self.timer(Timer::Outgoing(self.group.id, to), at);
    }

    /// A timer of the snapshot to this node is due.
    pub(in crate::host) fn outgoing_due(&mut self, to: NodeId) {
        let timer = Timer::Outgoing(self.group.id, to);
        let now = self.shared.now;
        match self.group.outgoing.get(&to) {
            None => {}
            Some(Outgoing::Waiting) => {
                // A leader has applied something before a follower can be behind its log.
                assert!(self.group.standing.applied.index > LogIndex::ZERO);
                let patience = self.shared.settings.replication.election_timeout;
                let heard = self.shared.heard.get(&to);
                if heard.is_none_or(|heard| now.since(*heard) > patience) {
                    self.timer(timer, now.after(LISTEN_AGAIN));
                } else if self.shared.streams < STREAMS_MAX {
                    self.start_stream(to);
                } else {
                    self.timer(timer, now.after(LOOK_AGAIN));
                }
            }
            Some(Outgoing::Streaming(stream)) => {
                if now.since(stream.last_answer) >= PATIENCE {
                    self.fail_outgoing(to);
                } else if now.since(stream.last_sent) >= RESEND {
                    self.send_unanswered(to);
                } else {
                    let at = stream.last_sent.after(RESEND);
                    self.timer(timer, at);
                }
            }
        }
    }

    /// The receiver holds every chunk below `next`.
    pub(in crate::host) fn snapshot_acked(
        &mut self,
        from: NodeId,
        number: u64,
        next: u64,
        installed: bool,
    ) {
        let now = self.shared.now;
        let Some(outgoing) = self.group.outgoing.get_mut(&from) else { return };
        let Some(stream) = outgoing.stream(number) else { return };
        stream.last_answer = now;
        while stream.unanswered.front().is_some_and(|chunk| chunk.number < next) {
            stream.unanswered.pop_front();
        }
        if installed {
            let position = stream.position;
            self.drop_outgoing(from);
            let input = Input::SnapshotSent { to: from, position: Some(position) };
            self.group.tasks.push_back(Task::Step(input));
        } else {
            self.fill_window(from);
        }
    }

    /// The receiver cannot use it.
    pub(in crate::host) fn snapshot_refused(&mut self, from: NodeId, number: u64) {
        if self.group.outgoing.get_mut(&from).is_some_and(|one| one.stream(number).is_some()) {
            self.fail_outgoing(from);
        }
    }

    /// This replica leads no longer: whoever leads sends its own.
    pub(in crate::host) fn abort_outgoing(&mut self) {
        let receivers: Vec<NodeId> = self.group.outgoing.keys().copied().collect();
        for to in receivers {
            if let Some(Outgoing::Streaming(stream)) = self.group.outgoing.get(&to) {
                let message = PeerMessage::SnapshotAbort { stream: stream.number };
                self.shared.send(to, self.group.id, message);
            }
            self.drop_outgoing(to);
        }
    }

    fn start_stream(&mut self, to: NodeId) {
        let standing = &self.group.standing;
        let head = Head {
            configuration: standing.configuration.clone(),
            keys: standing.keys,
            time: standing.time,
            format: standing.format,
        };
        let source = Source::new(self.shared.state.view(), self.group.prefix(), &head);
        let now = self.shared.now;
        let ahead = u64::from(planted::is(Bug::SnapshotAhead));
        let index = LogIndex(standing.applied.index.0 + ahead);
        let stream = Stream {
            number: self.shared.nonce(),
            position: Position { index, ..standing.applied },
            keys: standing.keys,
            source,
            unanswered: VecDeque::new(),
            next: 0,
            bytes_sent: 0,
            last_answer: now,
            last_sent: now,
        };
        self.shared.streams += 1;
        self.group.outgoing.insert(to, Outgoing::Streaming(Box::new(stream)));
        self.shared.status_changed = true;
        self.fill_window(to);
        self.timer(Timer::Outgoing(self.group.id, to), now.after(RESEND));
    }

    fn fill_window(&mut self, to: NodeId) {
        let bytes_max = self.shared.settings.snapshot_chunk_bytes;
        let window = self.shared.settings.snapshot_chunks_inflight;
        while let Some(Outgoing::Streaming(stream)) = self.group.outgoing.get_mut(&to)
            && stream.unanswered.len() < window
            && !stream.has_ended()
        {
            let (payload, last) = match stream.source.next(bytes_max) {
                Ok(part) => part,
                Err(error) => {
                    return self.refuse_state(error.into());
                }
            };
            let checksum = crc32c::crc32c(&payload);
            let chunk = Chunk { number: stream.next, last, checksum, payload };
            stream.next += 1;
            stream.bytes_sent += chunk.payload.len() as u64;
            stream.unanswered.push_back(chunk.clone());
            stream.last_sent = self.shared.now;
            assert_eq!(last, stream.has_ended());
            let message = message(stream, chunk);
            self.shared.send(to, self.group.id, message);
        }
    }

    /// Sends again what may be lost; with nothing unanswered, asks how far the receiver is by its last chunk's number.
    fn send_unanswered(&mut self, to: NodeId) {
        let Some(Outgoing::Streaming(stream)) = self.group.outgoing.get_mut(&to) else { return };
        stream.last_sent = self.shared.now;
        let mut chunks: Vec<Chunk> = stream.unanswered.iter().cloned().collect();
        if chunks.is_empty() && stream.has_ended() {
            // Everything is there and not yet installed: a chunk that the receiver has makes it answer.
            let number = stream.next - 1;
            let payload = Bytes::new();
            chunks.push(Chunk { number, last: true, checksum: crc32c::crc32c(&payload), payload });
        }
        let messages: Vec<PeerMessage> =
            chunks.into_iter().map(|chunk| message(stream, chunk)).collect();
        for message in messages {
            self.shared.send(to, self.group.id, message);
        }
        let at = self.shared.now.after(RESEND);
        self.timer(Timer::Outgoing(self.group.id, to), at);
    }

    fn fail_outgoing(&mut self, to: NodeId) {
        self.drop_outgoing(to);
        self.group.tasks.push_back(Task::Step(Input::SnapshotSent { to, position: None }));
    }

    fn drop_outgoing(&mut self, to: NodeId) {
        if let Some(Outgoing::Streaming(_)) = self.group.outgoing.remove(&to) {
            assert!(self.shared.streams > 0, "every stream is counted");
            self.shared.streams -= 1;
            self.shared.status_changed = true;
        }
        self.shared.timers.set(Timer::Outgoing(self.group.id, to), None);
    }
}

fn message<V>(stream: &Stream<V>, chunk: Chunk) -> PeerMessage {
    PeerMessage::SnapshotChunk {
        position: stream.position,
        stream: stream.number,
        number: chunk.number,
        last: chunk.last,
        bytes_total: stream.bytes_total(),
        checksum: chunk.checksum,
        payload: chunk.payload,
    }
}
