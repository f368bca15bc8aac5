//! The one way to the driver: a bounded queue that the driver empties in one go.
//!
//! Requests are refused when too many wait; peers' messages wait for room, which slows their connection down; what
//! the process itself reports (disk completions, deaths of peers) is always taken, since it is bounded by its source.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use quorate_group::host::{Failure, Input, PeerMessage, Reply, Request, RequestId};
use quorate_model::{GroupId, NodeId};
use tokio::sync::{Notify, oneshot};

use super::gate::Stream;
use crate::peer::Answers;

/// How many requests may wait for the driver to see them.
pub(super) const REQUESTS_MAX: usize = 65_536;
/// How many bytes of peers' messages may wait.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What the driver is told.
#[derive(Debug)]
pub enum Event {
    /// Anything of the process's own.
    Input(Input),
    Message {
        from: NodeId,
        group: GroupId,
        message: PeerMessage,
        bytes: usize,
    },
    Request(Box<Asked>),
    /// Nobody waits for the answer any more.
    Cancel(RequestId),
    /// Streams of this source are over.
    SourceGone(u64),
    /// Stop stepping and end the thread.
    Stop,
}

/// A request on its way to the host.
#[derive(Debug)]
pub struct Asked {
    pub id: RequestId,
    pub request: Request,
    /// Set for writes that must not overtake one another: see [`super::gate`].
    pub stream: Option<Stream>,
    pub answer: AnswerTo,
}

/// Where an answer goes.
#[derive(Debug)]
pub enum AnswerTo {
    Here(oneshot::Sender<Result<Reply, Failure>>),
    /// Over the connection on which the request came.
    Peer {
        answers: Answers,
        number: u64,
    },
}

#[derive(Debug, Default)]
pub struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
    room: Notify,
    ids: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Event>,
    requests: usize,
    message_bytes: usize,
    stopped: bool,
}

impl Inbox {
    /// An id that no other request of this process has.
    pub fn next_id(&self) -> RequestId {
        RequestId(self.ids.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes something that the process itself reports.
    pub fn report(&self, event: Event) {
        let mut state = self.state.lock();
        if !state.stopped {
            state.events.push(event);
            self.wake.notify_one();
        }
    }

    /// # Errors
    /// Gives the request back when too many wait, or the driver has stopped.
    pub fn ask(&self, asked: Box<Asked>) -> Result<(), Box<Asked>> {
        let mut state = self.state.lock();
        if state.stopped || state.requests >= REQUESTS_MAX {
            return Err(asked);
        }
        state.requests += 1;
        state.events.push(Event::Request(asked));
        self.wake.notify_one();
        Ok(())
    }

    /// Waits for room, then takes the messages in their order; drains `messages`.
    pub async fn deliver(&self, messages: &mut Vec<Event>) {
        loop {
            let room = self.room.notified();
            {
                let mut state = self.state.lock();
                if state.stopped || state.message_bytes < MESSAGE_BYTES_MAX {
                    let bytes: usize = messages.iter().map(Event::message_bytes).sum();
                    if state.stopped {
                        messages.clear();
                        return;
                    }
                    state.message_bytes += bytes;
                    state.events.append(messages);
                    self.wake.notify_one();
                    return;
                }
            }
            room.await;
        }
    }

    /// Waits until there is something or `until` has come; moves everything there is to the empty `into`.
    pub fn take(&self, until: Instant, into: &mut Vec<Event>) {
        debug_assert!(into.is_empty());
        let mut state = self.state.lock();
        while state.events.is_empty() {
            if self.wake.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        std::mem::swap(&mut state.events, into);
        state.requests = 0;
        state.message_bytes = 0;
        drop(state);
        self.room.notify_waiters();
    }

    /// Refuses everything from here on and gives back what nobody will look at.
    pub fn stop(&self) -> Vec<Event> {
        let mut state = self.state.lock();
        state.stopped = true;
        let left = std::mem::take(&mut state.events);
        drop(state);
        self.room.notify_waiters();
        left
    }

    /// How many events wait.
    pub fn depth(&self) -> usize {
        self.state.lock().events.len()
    }
}

impl Event {
    fn message_bytes(&self) -> usize {
        match self {
            Self::Message { bytes, .. } => *bytes,
            Self::Input(_)
            | Self::Request(_)
            | Self::Cancel(_)
            | Self::SourceGone(_)
            | Self::Stop => 0,
        }
    }
}

impl AnswerTo {
    /// Whoever asked may be gone; then the answer is for nobody.
    pub fn send(self, result: Result<Reply, Failure>) {
        match self {
            Self::Here(sender) => drop(sender.send(result)),
            Self::Peer { answers, number } => answers.send(number, result),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    fn message(bytes: usize) -> Event {
        Event::Message {
            from: NodeId(1),
            group: GroupId::Meta,
            message: PeerMessage::SnapshotAbort { stream: 1 },
            bytes,
        }
    }

    #[test]
    fn taking_ends_at_the_deadline() {
        let mut events = Vec::new();
        Inbox::default().take(Instant::now() + Duration::from_millis(5), &mut events);
        assert!(events.is_empty());
    }

    #[tokio::test]
    async fn messages_wait_for_room() {
        let inbox = Arc::new(Inbox::default());
        inbox.deliver(&mut vec![message(MESSAGE_BYTES_MAX)]).await;
        let waiting = tokio::spawn({
            let inbox = Arc::clone(&inbox);
            async move { inbox.deliver(&mut vec![message(1)]).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(inbox.depth(), 1);
        let mut events = Vec::new();
        inbox.take(Instant::now(), &mut events);
        waiting.await.unwrap();
        assert_eq!(inbox.depth(), 1);
    }

    #[test]
    fn a_stopped_inbox_refuses_requests() {
        let inbox = Inbox::default();
        assert!(inbox.stop().is_empty());
        let (answer, _kept) = oneshot::channel();
        let asked = Asked {
            id: RequestId(1),
            request: Request::ReadTopology,
            stream: None,
            answer: AnswerTo::Here(answer),
        };
        assert!(inbox.ask(Box::new(asked)).is_err());
    }
}
