//! One request to one node: over the inbox when that is this node, over a link otherwise.

use std::sync::Arc;

use quorate_group::host::{Failure, Reply, Request, RequestId};
use quorate_model::NodeId;
use tokio::sync::oneshot;

use crate::driver::{AnswerTo, Asked, Event, Inbox, SOURCE_HERE, Stream};
use crate::peer::{Links, Lost, Pending, Remote};

/// Cloning is cheap.
#[derive(Clone)]
pub struct Wires {
    pub me: NodeId,
    pub inbox: Arc<Inbox>,
    pub links: Links,
}

/// A request that was sent and is not answered yet.
#[derive(Debug)]
pub enum Sent {
    Here(Here),
    Peer(Pending),
}

/// A request to this node. Dropped before the answer is there, it is cancelled.
#[derive(Debug)]
pub struct Here {
    inbox: Arc<Inbox>,
    id: RequestId,
    answer: oneshot::Receiver<Result<Reply, Failure>>,
    answered: bool,
}

impl Wires {
    /// Sends at once, without waiting: requests go out in the order of the calls.
    ///
    /// # Errors
    /// The request was not sent.
    pub fn send(&self, to: NodeId, request: Remote, generation: Option<u64>) -> Result<Sent, Lost> {
        if to == self.me {
            let stream = generation.map(|generation| Stream {
                source: SOURCE_HERE,
                group: request.group(),
                generation,
            });
            return self.here(request.into(), stream).map(Sent::Here);
        }
        self.links.ask(to, request, generation).map(Sent::Peer)
    }

    /// # Errors
    /// [`Lost::Overloaded`]: the request was not sent.
    pub fn here(&self, request: Request, stream: Option<Stream>) -> Result<Here, Lost> {
        let id = self.inbox.next_id();
        let (sender, answer) = oneshot::channel();
        let asked = Asked { id, request, stream, answer: AnswerTo::Here(sender) };
        self.inbox.ask(Box::new(asked)).map_err(|_| Lost::Overloaded)?;
        Ok(Here { inbox: Arc::clone(&self.inbox), id, answer, answered: false })
    }
}

impl Sent {
    pub async fn outcome(self) -> Result<Result<Reply, Failure>, Lost> {
        match self {
            Self::Here(here) => Ok(here.outcome().await),
            // The link went away with everything that waited on it.
            Self::Peer(pending) => pending.await.unwrap_or(Err(Lost::Broken)),
        }
    }
}

impl Here {
    pub async fn outcome(mut self) -> Result<Reply, Failure> {
        let answer = (&mut self.answer).await;
        self.answered = true;
        // The driver has stopped with the request in its hands.
        answer.unwrap_or(Err(Failure::Unknown))
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        if !self.answered {
            self.inbox.report(Event::Cancel(self.id));
        }
    }
}
