//! The source's part: a view of the rows at what is applied, streamed with a window of unanswered chunks.
//!
//! A stream ends when the receiver has installed it or says no. When the receiver is silent for too long the leader is
//! told, and the stream is kept for a while: the next order may go on with it. A receiver that died in the midst may begin
//! the stream once more, with a head that was sent twice, and lack what is no longer here: such a stream ends.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use quorate_model::planted::{self, Bug};
use quorate_model::{LogIndex, NodeId, Position, Time};
use quorate_storage::disk::Disk;
use quorate_storage::state::bulk::{self, Export, Exported, Page};
use quorate_storage::state::{StateError, StateStore};

use super::super::rows::{self, Health};
use super::super::timers::Timer;
use super::super::{PeerMessage, Turn};
use super::{End, Head, Order, StreamState, Streamed, chained};

/// How many snapshots a node sends at once; others wait their turn.
const STREAMS_MAX: usize = 4;
/// How often an order that cannot begin yet looks again, and for how long.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const BEGIN_PATIENCE: Duration = Duration::from_secs(2);
/// How soon a stream looks for a page that was not ready.
const PAGE_POLL: Duration = Duration::from_millis(1);
/// After how long without an answer chunks are sent again.
const RESEND: Duration = Duration::from_millis(500);
/// After how long without an answer the leader is told, and how long the stream is kept then.
const PATIENCE: Duration = Duration::from_secs(10);
/// For how long the receiver may ask for what it said it has, as late answers do, before it is known to have lost it.
const LOST_AFTER: Duration = Duration::from_secs(2);
const KEPT: Duration = Duration::from_secs(60);

pub(in crate::host) enum Outgoing<E> {
    /// Until a stream is free and this replica has applied enough.
    Waiting {
        by: NodeId,
        order: Order,
        since: Time,
    },
    Streaming(Box<Stream<E>>),
}

pub(in crate::host) struct Stream<E> {
    by: NodeId,
    order: Order,
    number: u64,
    position: Position,
    keys: u64,
    pages: E,
    rows: u64,
    checksum: u32,
    /// Nothing is read any more.
    ended: bool,
    unanswered: VecDeque<Chunk>,
    next: u64,
    bytes_sent: u64,
    since: Time,
    last_answer: Time,
    last_sent: Time,
    /// Since when every answer asked for a chunk that the receiver had.
    behind_since: Option<Time>,
    /// Given up, and kept for the next order.
    kept: bool,
}

#[derive(Clone)]
struct Chunk {
    number: u64,
    last: bool,
    checksum: u32,
    payload: Bytes,
}

/// What a stream can do at present.
enum Next {
    Chunk(Chunk),
    /// Not before this time.
    At(Time),
    /// The window is full, or the stream has ended.
    Nothing,
}

impl<E: Export> Stream<E> {
    fn next(&mut self) -> Result<Option<Chunk>, StateError> {
        let (payload, last) = match self.pages.next()? {
            Exported::Later => return Ok(None),
            Exported::Page(page) => {
                let page = planted_gap(page);
                self.rows += page.rows;
                (page.bytes, false)
            }
            Exported::End => {
                self.ended = true;
                (rows::encode(&End { rows: self.rows, checksum: self.checksum }), true)
            }
        };
        Ok(Some(self.chunk(payload, last)))
    }

    fn chunk(&mut self, payload: Bytes, last: bool) -> Chunk {
        let checksum = crc32c::crc32c(&payload);
        let chunk = Chunk { number: self.next, last, checksum, payload };
        self.next += 1;
        self.checksum = chained(self.checksum, checksum);
        self.bytes_sent += chunk.payload.len() as u64;
        self.unanswered.push_back(chunk.clone());
        chunk
    }
}

impl<E> Stream<E> {
    /// The receiver holds every chunk below `next`. Answers whether it can still get the others.
    fn answered(&mut self, next: u64, now: Time) -> bool {
        self.last_answer = now;
        while self.unanswered.front().is_some_and(|chunk| chunk.number < next) {
            self.unanswered.pop_front();
        }
        let oldest = self.unanswered.front().map_or(self.next, |chunk| chunk.number);
        self.behind_since = (next < oldest).then(|| self.behind_since.unwrap_or(now));
        self.behind_since.is_none_or(|since| now.since(since) < LOST_AFTER)
    }

    /// A guess from the number of keys until everything is read.
    fn bytes_total(&self) -> u64 {
        if self.ended {
            return self.bytes_sent;
        }
        let rows = self.rows.max(1);
        (self.bytes_sent / rows).saturating_mul(self.keys.max(rows)).max(self.bytes_sent)
    }

    fn streamed(&self, state: StreamState, now: Time) -> Streamed {
        let nanos = now.since(self.since).as_nanos().max(1);
        let rate = u128::from(self.bytes_sent) * 1_000_000_000 / nanos;
        Streamed {
            state,
            bytes_sent: self.bytes_sent,
            bytes_total: self.bytes_total(),
            bytes_per_second: u64::try_from(rate).unwrap_or(u64::MAX),
        }
    }

    fn message(&self, chunk: Chunk) -> PeerMessage {
        PeerMessage::SnapshotChunk {
            position: self.position,
            stream: self.number,
            number: chunk.number,
            last: chunk.last,
            order: self.order.id,
            checksum: chunk.checksum,
            payload: chunk.payload,
        }
    }
}

impl<E> Outgoing<E> {
    pub(super) fn streamed(&self, now: Time) -> Streamed {
        match self {
            Self::Waiting { .. } => idle(StreamState::Waiting),
            Self::Streaming(stream) => {
                stream.streamed(StreamState::Streaming(stream.position), now)
            }
        }
    }

    /// The log from here on is of use to the receiver.
    pub(in crate::host) fn pinned(&self) -> LogIndex {
        match self {
            Self::Waiting { order, .. } => order.at_least,
            Self::Streaming(stream) => stream.position.index,
        }
    }

    fn stream(&mut self, number: u64) -> Option<&mut Stream<E>> {
        match self {
            Self::Streaming(stream) if stream.number == number => Some(stream),
            Self::Streaming(_) | Self::Waiting { .. } => None,
        }
    }

    const fn order(&self) -> &Order {
        match self {
            Self::Waiting { order, .. } => order,
            Self::Streaming(stream) => &stream.order,
        }
    }
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// A leader wants this replica to stream, or to go on.
    pub(in crate::host) fn ordered(&mut self, by: NodeId, order: Order) {
        let (now, to) = (self.shared.now, order.to);
        if to == self.shared.node() || !self.may_stream() {
            return self.tell(by, &order, idle(StreamState::Failed));
        }
        match self.group.outgoing.get_mut(&to) {
            Some(known) if known.order().id > order.id => return,
            Some(known) if known.order().id == order.id => {
                let streamed = match known {
                    Outgoing::Streaming(stream) if stream.kept => idle(StreamState::Failed),
                    Outgoing::Streaming(_) | Outgoing::Waiting { .. } => known.streamed(now),
                };
                return self.tell(by, &order, streamed);
            }
            Some(Outgoing::Streaming(stream)) if order.resume == Some(stream.number) => {
                (stream.by, stream.order, stream.last_answer) = (by, order, now);
                if std::mem::take(&mut stream.kept) {
                    self.shared.streams += 1;
                }
                return self.send_unanswered(to);
            }
            Some(_) | None => {}
        }
        self.drop_outgoing(to);
        self.group.outgoing.insert(to, Outgoing::Waiting { by, order, since: now });
        self.timer(Timer::Outgoing(self.group.id, to), now);
    }

    /// Its rows are right, and are those that the protocol knows of: not a snapshot's that was just switched to.
    fn may_stream(&self) -> bool {
        self.group.standing.health == Health::Sound
            && !self.group.replica.is_damaged()
            && !self.group.is_quarantined()
            && self.group.incoming.is_none()
    }

    /// A timer of the snapshot to this node is due.
    pub(in crate::host) fn outgoing_due(&mut self, to: NodeId) {
        let now = self.shared.now;
        match self.group.outgoing.get(&to) {
            None => {}
            Some(Outgoing::Waiting { by, order, since }) => {
                let (by, order) = (*by, *order);
                // INV-34: it holds everything that the leader had applied.
                let enough = self.group.standing.applied.index >= order.at_least;
                let (fit, over) = (self.may_stream(), now.since(*since) >= BEGIN_PATIENCE);
                if fit && enough && self.shared.streams < STREAMS_MAX {
                    self.start_stream(to, by, order);
                } else if !fit || !enough && over {
                    self.drop_outgoing(to);
                    self.tell(by, &order, idle(StreamState::Failed));
                } else {
                    self.timer(Timer::Outgoing(self.group.id, to), now.after(LOOK_AGAIN));
                }
            }
            Some(Outgoing::Streaming(stream)) if stream.kept => self.drop_outgoing(to),
            Some(Outgoing::Streaming(stream)) => {
                if now.since(stream.last_answer) >= PATIENCE {
                    self.keep_for_later(to);
                } else if now.since(stream.last_sent.max(stream.last_answer)) >= RESEND {
                    self.send_unanswered(to);
                } else {
                    self.fill_window(to);
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
        let goes_on = stream.answered(next, now);
        if installed {
            let streamed = stream.streamed(StreamState::Installed(stream.position), now);
            let (by, order) = (stream.by, stream.order);
            self.drop_outgoing(from);
            self.tell(by, &order, streamed);
        } else if !goes_on {
            self.shared.send(from, self.group.id, PeerMessage::SnapshotAbort { stream: number });
            self.snapshot_refused(from, number);
        } else if !stream.kept {
            self.fill_window(from);
        }
    }

    /// The receiver cannot use it.
    pub(in crate::host) fn snapshot_refused(&mut self, from: NodeId, number: u64) {
        let Some(outgoing) = self.group.outgoing.get_mut(&from) else { return };
        let Some(stream) = outgoing.stream(number) else { return };
        let (by, order) = (stream.by, stream.order);
        self.drop_outgoing(from);
        self.tell(by, &order, idle(StreamState::Failed));
    }

    /// The replica goes away.
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

    fn start_stream(&mut self, to: NodeId, by: NodeId, order: Order) {
        let standing = &self.group.standing;
        // A leader has applied something before a follower can be behind its log.
        assert!(standing.applied.index > LogIndex::ZERO);
        // INV-32: the protocol knows the position and the configuration there.
        assert_eq!(standing.applied.index, self.group.replica.applied());
        let head = Head {
            configuration: standing.configuration.clone(),
            keys: standing.keys,
            time: standing.time,
            format: standing.format,
        };
        let prefix = self.group.prefix();
        let cut = prefix.as_slice().len();
        let page_bytes = self.shared.settings.snapshot_chunk_bytes;
        let (view, from) = (self.shared.state.view(), prefix.row(&[]));
        let now = self.shared.now;
        let ahead = u64::from(planted::is(Bug::SnapshotAhead));
        let index = LogIndex(standing.applied.index.0 + ahead);
        let mut stream = Stream {
            by,
            order,
            number: self.shared.nonce(),
            position: Position { index, ..self.group.standing.applied },
            keys: head.keys,
            pages: self.shared.state.export(view, from, prefix.end(), cut, page_bytes),
            rows: 0,
            checksum: 0,
            ended: false,
            unanswered: VecDeque::new(),
            next: 0,
            bytes_sent: 0,
            since: now,
            last_answer: now,
            last_sent: now,
            behind_since: None,
            kept: false,
        };
        let first = stream.chunk(rows::encode(&head), false);
        let message = stream.message(first);
        let streamed = stream.streamed(StreamState::Streaming(stream.position), now);
        self.shared.streams += 1;
        self.group.outgoing.insert(to, Outgoing::Streaming(Box::new(stream)));
        self.shared.status_changed = true;
        self.shared.send(to, self.group.id, message);
        self.timer(Timer::Outgoing(self.group.id, to), now.after(RESEND));
        self.tell(by, &order, streamed);
    }

    fn fill_window(&mut self, to: NodeId) {
        loop {
            match self.next_chunk(to) {
                Ok(Next::Chunk(chunk)) => {
                    let Some(Outgoing::Streaming(stream)) = self.group.outgoing.get_mut(&to) else {
                        return;
                    };
                    stream.last_sent = self.shared.now;
                    let message = stream.message(chunk);
                    self.shared.send(to, self.group.id, message);
                }
                Ok(Next::At(at)) => return self.timer(Timer::Outgoing(self.group.id, to), at),
                Ok(Next::Nothing) => {
                    let Some(Outgoing::Streaming(stream)) = self.group.outgoing.get(&to) else {
                        return;
                    };
                    let at = stream.last_sent.max(stream.last_answer).after(RESEND);
                    return self.timer(Timer::Outgoing(self.group.id, to), at);
                }
                Err(error) => {
                    return self.refuse_state(error.into());
                }
            }
        }
    }

    fn next_chunk(&mut self, to: NodeId) -> Result<Next, StateError> {
        let now = self.shared.now;
        let window = self.shared.settings.snapshot_chunks_inflight;
        let Some(Outgoing::Streaming(stream)) = self.group.outgoing.get_mut(&to) else {
            return Ok(Next::Nothing);
        };
        // A page that overtook the head would be refused.
        let begins = stream.unanswered.front().is_some_and(|chunk| chunk.number == 0);
        if begins || stream.ended || stream.unanswered.len() >= window {
            return Ok(Next::Nothing);
        }
        if let Some(at) = self.shared.rate.wait(now).filter(|_| !stream.order.hurried) {
            return Ok(Next::At(at));
        }
        let Some(chunk) = stream.next()? else { return Ok(Next::At(now.after(PAGE_POLL))) };
        self.shared.rate.pay(now, chunk.payload.len());
        Ok(Next::Chunk(chunk))
    }

    /// Sends again what may be lost; with nothing unanswered, asks how far the receiver is by its last chunk's number.
    fn send_unanswered(&mut self, to: NodeId) {
        let Some(Outgoing::Streaming(stream)) = self.group.outgoing.get_mut(&to) else { return };
        stream.last_sent = self.shared.now;
        let mut chunks: Vec<Chunk> = stream.unanswered.iter().cloned().collect();
        if chunks.is_empty() {
            // A chunk that the receiver has makes it answer.
            let payload = Bytes::new();
            let (number, checksum) = (stream.next - 1, crc32c::crc32c(&payload));
            chunks.push(Chunk { number, last: stream.ended, checksum, payload });
        }
        let messages: Vec<PeerMessage> =
            chunks.into_iter().map(|chunk| stream.message(chunk)).collect();
        for message in messages {
            self.shared.send(to, self.group.id, message);
        }
        self.fill_window(to);
    }

    /// The receiver does not answer: another may reach it, and if not, this stream can go on.
    fn keep_for_later(&mut self, to: NodeId) {
        let Some(Outgoing::Streaming(stream)) = self.group.outgoing.get_mut(&to) else { return };
        stream.kept = true;
        let (by, order) = (stream.by, stream.order);
        self.shared.streams -= 1;
        let at = self.shared.now.after(KEPT);
        self.timer(Timer::Outgoing(self.group.id, to), at);
        self.tell(by, &order, idle(StreamState::Failed));
    }

    fn drop_outgoing(&mut self, to: NodeId) {
        if let Some(Outgoing::Streaming(stream)) = self.group.outgoing.remove(&to) {
            if !stream.kept {
                assert!(self.shared.streams > 0, "every stream is counted");
                self.shared.streams -= 1;
            }
            self.shared.status_changed = true;
        }
        self.shared.timers.set(Timer::Outgoing(self.group.id, to), None);
    }

    /// The leader that ordered it hears how far it is.
    fn tell(&mut self, by: NodeId, order: &Order, streamed: Streamed) {
        if by == self.shared.node() {
            return self.streamed(by, order.to, order.id, streamed);
        }
        let (id, to) = (order.id, order.to);
        self.shared.send(by, self.group.id, PeerMessage::SnapshotStreamed { id, to, streamed });
    }
}

const fn idle(state: StreamState) -> Streamed {
    Streamed { state, bytes_sent: 0, bytes_total: 0, bytes_per_second: 0 }
}

fn planted_gap(page: Page) -> Page {
    if !planted::is(Bug::SnapshotSkipsRow) {
        return page;
    }
    let mut bytes = page.bytes;
    drop(bulk::take_row(&mut bytes));
    Page { rows: page.rows - 1, bytes }
}
