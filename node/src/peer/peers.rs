//! One other node: where it is, what waits to be sent to it, which forwarded requests it has not answered.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use quorate_group::host::{Failure, PeerMessage, Reply};
use quorate_model::{Addresses, NodeId};
use quorate_replication::leaderless;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::outbox::{NotTaken, Outbox, Outgoing};
use super::wire::{Forwarded, Lane, Remote};

#[derive(Debug)]
pub(super) struct Peer {
    pub id: NodeId,
    whereabouts: Mutex<Whereabouts>,
    lanes: [Outbox; 3],
    /// Wakes the lanes that wait before they dial again.
    pub kick: Notify,
    pub over: CancellationToken,
    /// Connections that this peer dialled.
    pub inbound: AtomicUsize,
    /// The process of the peer that was last reached; 0 before.
    pub boot: AtomicU64,
    numbers: AtomicU64,
    pending: Mutex<HashMap<u64, oneshot::Sender<Outcome>>>,
}

#[derive(Debug, Default)]
struct Whereabouts {
    /// What the peer said of itself when it was last connected.
    announced: Option<Addresses>,
    /// What the topology says.
    placed: Option<Addresses>,
    /// Where another peer has reached it.
    hearsay: Option<String>,
}

/// What becomes of a forwarded request.
pub(super) type Outcome = Result<Result<Reply, Failure>, Lost>;
/// Resolves when the peer has answered or the connection is gone.
pub type Pending = oneshot::Receiver<Outcome>;

/// Why a forwarded request has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Lost {
    /// There is no connection: it was surely not received.
    #[error("there is no connection to the peer")]
    NotSent,
    /// Too much waits for this peer: it was surely not received.
    #[error("too much waits for the peer")]
    Overloaded,
    /// The connection broke: it may have been received.
    #[error("the connection to the peer broke")]
    Broken,
}

impl Peer {
    #[must_use]
    pub(super) fn new(id: NodeId) -> Self {
        Self {
            id,
            whereabouts: Mutex::default(),
            lanes: [Outbox::closed(), Outbox::closed(), Outbox::closed()],
            kick: Notify::new(),
            over: CancellationToken::new(),
            inbound: AtomicUsize::new(0),
            boot: AtomicU64::new(0),
            numbers: AtomicU64::new(0),
            pending: Mutex::default(),
        }
    }

    #[must_use]
    pub(super) fn lane(&self, lane: Lane) -> &Outbox {
        match lane {
            Lane::Replication => &self.lanes[0],
            Lane::Bulk => &self.lanes[1],
            Lane::Requests => &self.lanes[2],
        }
    }

    /// Sends a message of a group, or drops it: the protocol sends again what matters.
    pub(super) fn send(&self, group: quorate_model::GroupId, message: PeerMessage) {
        let lane = match &message {
            PeerMessage::Replication(_)
            | PeerMessage::MembershipQuery { .. }
            | PeerMessage::SnapshotQuery { .. }
            | PeerMessage::SnapshotHeld { .. }
            | PeerMessage::SnapshotOrder(_)
            | PeerMessage::SnapshotStreamed { .. }
            | PeerMessage::NotMember { .. }
            | PeerMessage::EngineQuery
            | PeerMessage::Engine { .. }
            | PeerMessage::StateHash { .. }
            | PeerMessage::Exchange(_)
            | PeerMessage::Beat(_) => Lane::Replication,
            PeerMessage::Leaderless { messages, .. }
                if messages.first().is_some_and(leaderless::Message::is_background) =>
            {
                Lane::Bulk
            }
            PeerMessage::Leaderless { .. }
            | PeerMessage::Moves(_)
            | PeerMessage::Ages(_)
            | PeerMessage::Behind(_) => Lane::Replication,
            PeerMessage::Fill(_)
            | PeerMessage::SnapshotChunk { .. }
            | PeerMessage::SnapshotAck { .. }
            | PeerMessage::SnapshotAbort { .. } => Lane::Bulk,
        };
        if let Err(NotTaken::Full) = self.lane(lane).push(Outgoing::Message { group, message }) {
            tracing::debug!(peer = %self.id, ?lane, "dropped a message: the link is full");
        }
    }

    /// # Errors
    /// [`Lost::NotSent`] or [`Lost::Overloaded`]: the request was not sent.
    pub(super) fn ask(&self, request: Remote, generation: Option<u64>) -> Result<Pending, Lost> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (sender, pending) = oneshot::channel();
        self.pending.lock().insert(number, sender);
        let forwarded = Box::new(Forwarded { number, generation, request });
        match self.lane(Lane::Requests).push(Outgoing::Request(forwarded)) {
            Ok(()) => Ok(pending),
            Err(refused) => {
                self.pending.lock().remove(&number);
                Err(match refused {
                    NotTaken::Closed => Lost::NotSent,
                    NotTaken::Full => Lost::Overloaded,
                })
            }
        }
    }

    /// The peer answered.
    pub(super) fn answered(&self, number: u64, result: Result<Reply, Failure>) {
        if let Some(sender) = self.pending.lock().remove(&number) {
            drop(sender.send(Ok(result)));
        }
    }

    /// The connection of this lane is gone: everything that went over it is answered for.
    pub(super) fn lost(&self, lane: Lane) {
        let unsent = self.lane(lane).close();
        if lane != Lane::Requests {
            return;
        }
        let mut pending = std::mem::take(&mut *self.pending.lock());
        for item in unsent {
            if let Outgoing::Request(forwarded) = item
                && let Some(sender) = pending.remove(&forwarded.number)
            {
                drop(sender.send(Err(Lost::NotSent)));
            }
        }
        for sender in pending.into_values() {
            drop(sender.send(Err(Lost::Broken)));
        }
    }

    /// The peer says where it can be reached. Answers whether that is news.
    pub(super) fn announce(&self, addresses: &Addresses) -> bool {
        let mut whereabouts = self.whereabouts.lock();
        let news = whereabouts.announced.as_ref() != Some(addresses);
        if news {
            whereabouts.announced = Some(addresses.clone());
        }
        news
    }

    /// The topology says where the peer can be reached. Answers whether that is news.
    pub(super) fn place(&self, addresses: Option<&Addresses>) -> bool {
        let mut whereabouts = self.whereabouts.lock();
        let news = whereabouts.placed.as_ref() != addresses;
        if news {
            whereabouts.placed = addresses.cloned();
        }
        news
    }

    /// The addresses to dial, the likeliest first.
    #[must_use]
    pub(super) fn dial_addresses(&self) -> Vec<String> {
        let whereabouts = self.whereabouts.lock();
        let announced = whereabouts.announced.as_ref().map(|a| &a.peer);
        let placed = whereabouts.placed.as_ref().map(|a| &a.peer);
        let mut addresses: Vec<String> = Vec::new();
        for address in announced.into_iter().chain(whereabouts.hearsay.as_ref()).chain(placed) {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses
    }

    /// Another peer has reached this one there. Answers whether that is news.
    pub(crate) fn hear_of(&self, address: &str) -> bool {
        let mut whereabouts = self.whereabouts.lock();
        let news = whereabouts.hearsay.as_deref() != Some(address);
        if news {
            whereabouts.hearsay = Some(address.to_owned());
        }
        news
    }

    /// What the peer announced, where the topology says something else.
    #[must_use]
    pub(super) fn moved_to(&self) -> Option<Addresses> {
        let whereabouts = self.whereabouts.lock();
        let placed = whereabouts.placed.as_ref()?;
        whereabouts.announced.as_ref().filter(|announced| *announced != placed).cloned()
    }

    #[must_use]
    pub(super) fn is_placed(&self) -> bool {
        self.whereabouts.lock().placed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lost_connection_tells_unsent_requests_from_sent_ones() {
        let peer = Peer::new(NodeId(1));
        assert_eq!(peer.ask(Remote::ReadTopology, None).unwrap_err(), Lost::NotSent);
        peer.lane(Lane::Requests).open();
        let sent = peer.ask(Remote::ReadTopology, None).unwrap();
        assert_eq!(peer.lane(Lane::Requests).take(1).await.unwrap().len(), 1);
        let unsent = peer.ask(Remote::ReadTopology, None).unwrap();
        peer.lost(Lane::Requests);
        assert_eq!(sent.await.unwrap(), Err(Lost::Broken));
        assert_eq!(unsent.await.unwrap(), Err(Lost::NotSent));
    }

    #[test]
    fn what_the_peer_says_of_itself_is_dialled_first() {
        let at = |peer: &str| Addresses {
            peer: peer.to_owned(),
            plain: String::new(),
            cluster: String::new(),
            admin: String::new(),
        };
        let peer = Peer::new(NodeId(1));
        assert!(peer.place(Some(&at("old:1"))));
        assert_eq!(peer.moved_to(), None);
        assert!(peer.announce(&at("new:1")));
        assert!(!peer.announce(&at("new:1")));
        assert_eq!(peer.dial_addresses(), ["new:1", "old:1"]);
        assert!(peer.hear_of("heard:1"));
        assert_eq!(peer.dial_addresses(), ["new:1", "heard:1", "old:1"]);
        assert_eq!(peer.moved_to(), Some(at("new:1")));
    }
}
