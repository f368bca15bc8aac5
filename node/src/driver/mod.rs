//! The only caller of the host: one thread of its own that owns it, between an inbox and a few outlets.
//!
//! It takes everything that waits, steps it all, then carries the outputs out: what arrives together is made durable
//! together. It never waits for a socket or a disk. An output that says "fatal" ends the process before anything
//! else is written.

mod gate;
mod inbox;
mod replies;
#[cfg(test)]
mod starting_test;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use quorate_group::host::{Host, Input, Output, PeerMessage, Request, Rollback, Status};
use quorate_model::{GroupId, NodeId, Time, Topology};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

pub use gate::{SOURCE_HERE, Stream};
pub use inbox::{AnswerTo, Asked, Event, Inbox};

use crate::clock::{self, Clock};
use replies::Replies;
pub use replies::may_be_sent_again;

/// The host wants the wall clock at least this often.
const WALL_INTERVAL: Duration = Duration::from_millis(100);
/// After this many events of one turn, what they want sent and made durable goes out.
const GATHERED_MAX: usize = 128;
/// How often a changed status is shown at most: building it costs as much as there are groups.
const STATUS_INTERVAL: Duration = Duration::from_millis(5);
/// How often an unchanged one is: ages and counters in it move by themselves.
const STATUS_INTERVAL_IDLE: Duration = Duration::from_millis(500);

/// Where outputs go. Nothing here may block.
pub trait Outlets {
    fn send(&mut self, to: NodeId, group: GroupId, message: PeerMessage);
    fn topology(&mut self, topology: Topology);
    fn status(&mut self, status: Arc<Status>);
    /// Saves it durably, then reports `Input::RollbackSaved`.
    fn save_rollback(&mut self, number: u64, rollback: Rollback);
    /// The process must end, without another write.
    fn fatal(&mut self, reason: &str);
    /// One turn of the loop: how many events it took and how long it was.
    fn turned(&mut self, events: usize, took: Duration);
}

/// Shows that the driver makes progress.
#[derive(Debug, Default)]
pub struct Pulse {
    /// When it last took events, as the driver's clock counts.
    at: AtomicU64,
    /// How many requests it has yet to answer.
    waiting: AtomicUsize,
}

pub struct Driver<D: Disk, S: StateStore, O> {
    host: Host<D, S>,
    inbox: Arc<Inbox>,
    outlets: O,
    clock: Clock,
    pulse: Arc<Pulse>,
    replies: Replies,
    shown_at: Time,
    status_changed: bool,
}

impl<D: Disk, S: StateStore, O: Outlets> Driver<D, S, O> {
    /// Shows what the host has recovered: whoever starts a driver finds it shown.
    pub fn new(
        host: Host<D, S>,
        inbox: Arc<Inbox>,
        outlets: O,
        clock: Clock,
        pulse: Arc<Pulse>,
    ) -> Self {
        let mut driver = Self {
            host,
            inbox,
            outlets,
            clock,
            pulse,
            replies: Replies::default(),
            shown_at: Time::ZERO,
            status_changed: true,
        };
        if let Some(topology) = driver.host.topology().cloned() {
            driver.outlets.topology(topology);
        }
        driver.carry_out();
        driver.show_status(driver.clock.now());
        driver
    }

    /// Drives the host until it is told to stop. Drops the host then, which waits for its disk.
    pub fn run(mut self) {
        let mut events = Vec::new();
        loop {
            let deadline = self.deadline();
            self.inbox.take(self.clock.instant(deadline), &mut events);
            let began = self.clock.now();
            self.pulse.at.store(began.0, Ordering::Relaxed);
            self.host.gather(began, Input::Wall(clock::wall()));
            let count = events.len();
            for (taken, event) in (1..).zip(events.drain(..)) {
                if matches!(event, Event::Stop) {
                    self.stop();
                    return;
                }
                self.take(event);
                if taken % GATHERED_MAX == 0 {
                    // Followers and the disk have something to do while the rest is looked at.
                    self.host.step(self.clock.now(), Input::Tick);
                    self.carry_out();
                }
            }
            self.host.step(self.clock.now(), Input::Tick);
            self.carry_out();
            self.pulse.waiting.store(self.replies.waiting(), Ordering::Relaxed);
            let ended = self.clock.now();
            self.maybe_show_status(ended);
            self.outlets.turned(count, ended.since(began));
        }
    }

    fn deadline(&self) -> Time {
        let now = self.clock.now();
        let mut deadline = now.after(WALL_INTERVAL);
        if self.status_changed {
            deadline = deadline.min(self.shown_at.after(STATUS_INTERVAL));
        }
        self.host.deadline().map_or(deadline, |at| deadline.min(at))
    }

    fn take(&mut self, event: Event) {
        let now = self.clock.now();
        match event {
            Event::Input(input) => self.host.gather(now, input),
            Event::Message { from, group, message, bytes: _ } => {
                self.host.gather(now, Input::Peer { from, group, message });
            }
            Event::Request(asked) => {
                let Asked { id, request, stream, answer } = *asked;
                let group = group_of(&request);
                if self.replies.expect(id, group, stream, answer) {
                    self.host.gather(now, Input::Request { id, request });
                }
            }
            Event::Cancel(id) => {
                if self.replies.cancel(id) {
                    self.host.gather(now, Input::Cancel { id });
                }
            }
            Event::SourceGone(source) => self.replies.forget(source),
            Event::Stop => {}
        }
        // Answers that are there already go out, and close their streams, before the next request is looked at.
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.host.pop_output() {
            match output {
                Output::Send { to, group, message } => self.outlets.send(to, group, message),
                Output::Reply { id, reply } => self.replies.answer(id, reply),
                Output::Topology(topology) => self.outlets.topology(*topology),
                Output::SaveRollback { number, rollback } => {
                    self.outlets.save_rollback(number, *rollback);
                }
                Output::StatusChanged => self.status_changed = true,
                Output::Fatal { reason } => self.outlets.fatal(&reason),
            }
        }
    }

    fn maybe_show_status(&mut self, now: Time) {
        let since = now.since(self.shown_at);
        if (self.status_changed && since >= STATUS_INTERVAL) || since >= STATUS_INTERVAL_IDLE {
            self.show_status(now);
        }
    }

    fn show_status(&mut self, now: Time) {
        self.status_changed = false;
        self.shown_at = now;
        self.outlets.status(Arc::new(self.host.status()));
    }

    /// Whoever still waits is told that nothing is known.
    fn stop(self) {
        let left = self.inbox.stop();
        for event in left {
            if let Event::Request(asked) = event {
                replies::refuse_unseen(asked.answer);
            }
        }
        self.replies.give_up();
    }
}

impl Pulse {
    /// How long ago the driver last took events; `None` while it has yet to start, which a long replay may delay.
    #[must_use]
    pub fn age(&self, clock: &Clock) -> Option<Duration> {
        match self.at.load(Ordering::Relaxed) {
            0 => None,
            at => Some(clock.now().since(Time(at))),
        }
    }

    /// How many requests had no answer after the last turn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

fn group_of(request: &Request) -> GroupId {
    match request {
        Request::Execute { shard, .. }
        | Request::Wait { shard, .. }
        | Request::ReadIndex { shard }
        | Request::ReadAt { shard, .. }
        | Request::AwaitApplied { shard, .. }
        | Request::Coordinate { shard, .. }
        | Request::ReadKnown { shard }
        | Request::AwaitKnown { shard, .. } => GroupId::Shard(*shard),
        Request::Bootstrap { .. }
        | Request::ProposeTopology { .. }
        | Request::Handover
        | Request::ReadTopology => GroupId::Meta,
    }
}
