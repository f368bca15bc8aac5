//! All links of a node: which peers there are, as the topology and the peers themselves say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use quorate_group::host::{Input, PeerMessage};
use quorate_model::{Addresses, GroupId, NodeId, StoreId, Topology};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::dial;
use super::outbox::Outgoing;
use super::peers::{Lost, Peer, Pending};
use super::wire::{Lane, Leaders, Remote};
use super::{Hear, stream};
use crate::driver::{Event, Inbox};

/// How many nodes that are not in the topology may be known.
const STRANGERS_MAX: usize = 64;
/// How often seeds are tried while a member is missing.
const SEED_INTERVAL: Duration = Duration::from_secs(1);

/// What a node says of itself to others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Me {
    pub store: StoreId,
    pub node: NodeId,
    pub addresses: Addresses,
    /// Drawn at every start of the process, never 0.
    pub boot: u64,
}

/// Cloning is cheap: all clones are the same links.
#[derive(Clone)]
pub struct Links {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) me: Me,
    pub(super) inbox: Arc<Inbox>,
    pub(super) hear: Arc<dyn Hear>,
    pub(super) over: CancellationToken,
    /// A link has just come up.
    pub(super) established: Notify,
    peers: ArcSwap<BTreeMap<NodeId, Arc<Peer>>>,
    /// Held while `peers` is replaced.
    change: Mutex<()>,
    runtime: Handle,
}

/// How a link stands, for metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkState {
    pub peer: NodeId,
    pub lane: Lane,
    pub up: bool,
    pub waiting_bytes: usize,
    pub dropped: u64,
}

impl Links {
    /// Must be called within a tokio runtime, on which the links then live.
    #[must_use]
    pub fn new(me: Me, inbox: Arc<Inbox>, hear: Arc<dyn Hear>) -> Self {
        assert_ne!(me.boot, 0);
        let shared = Shared {
            me,
            inbox,
            hear,
            over: CancellationToken::new(),
            established: Notify::new(),
            peers: ArcSwap::default(),
            change: Mutex::new(()),
            runtime: Handle::current(),
        };
        Self { shared: Arc::new(shared) }
    }

    #[must_use]
    pub fn me(&self) -> &Me {
        &self.shared.me
    }

    /// Connects to the members of this topology, and no longer to who left.
    pub fn follow(&self, topology: &Topology) {
        let me = self.shared.me.node;
        self.change(|peers| {
            for (id, member) in topology.members.iter().filter(|(id, _)| **id != me) {
                let peer = peers.entry(*id).or_insert_with(|| self.start(*id));
                if peer.place(Some(&member.addresses)) {
                    peer.kick.notify_waiters();
                }
            }
            peers.retain(|id, peer| {
                let member = topology.members.contains_key(id);
                if !member {
                    peer.place(None);
                }
                let keep = member || peer.inbound.load(Ordering::Relaxed) > 0;
                if !keep {
                    peer.over.cancel();
                }
                keep
            });
        });
    }

    pub fn send(&self, to: NodeId, group: GroupId, message: PeerMessage) {
        if let Some(peer) = self.shared.peers.load().get(&to) {
            peer.send(group, message);
        }
    }

    /// # Errors
    /// The request was not sent.
    pub fn ask(
        &self,
        to: NodeId,
        request: Remote,
        generation: Option<u64>,
    ) -> Result<Pending, Lost> {
        self.shared.peers.load().get(&to).ok_or(Lost::NotSent)?.ask(request, generation)
    }

    /// Tells every connected peer.
    pub fn announce_leaders(&self, leaders: &Arc<Leaders>) {
        for peer in self.shared.peers.load().values() {
            // A peer that misses it hears of it within a second, or learns it from the group's answer.
            peer.lane(Lane::Replication).push(Outgoing::Leaders(Arc::clone(leaders))).ok();
        }
    }

    /// The members that are reached elsewhere than the topology says.
    #[must_use]
    pub fn moved(&self) -> Vec<(NodeId, Addresses)> {
        let peers = self.shared.peers.load();
        peers.values().filter_map(|peer| Some((peer.id, peer.moved_to()?))).collect()
    }

    /// Another peer has reached these members elsewhere than the topology says: those that cannot be reached from here
    /// are tried there, too.
    pub(super) fn hear_of(&self, moved: &[(NodeId, Addresses)]) {
        let peers = self.shared.peers.load();
        for (id, addresses) in moved {
            if let Some(peer) = peers.get(id)
                && !peer.lane(Lane::Replication).is_open()
                && peer.hear_of(&addresses.peer)
            {
                peer.kick.notify_waiters();
            }
        }
    }

    /// Reminds the host of members that are reached elsewhere than the topology says: the leader of the meta group may
    /// be a new one, which was not told.
    pub fn remind_of_moves(&self) {
        for (peer, addresses) in self.moved() {
            self.shared.inbox.report(Event::Input(Input::PeerAddresses { peer, addresses }));
        }
    }

    /// Waits until a link comes up.
    pub async fn established(&self) {
        self.shared.established.notified().await;
    }

    /// Tries the seeds for as long as a member of the topology is not connected.
    pub async fn seek(self, seeds: Vec<String>) {
        loop {
            tokio::select! {
                () = self.shared.over.cancelled() => return,
                () = tokio::time::sleep(SEED_INTERVAL) => {}
            }
            let missing = self
                .shared
                .peers
                .load()
                .values()
                .any(|peer| peer.is_placed() && !peer.lane(Lane::Replication).is_open());
            if missing {
                for seed in &seeds {
                    self.probe(seed).await;
                }
            }
        }
    }

    #[must_use]
    pub fn states(&self) -> Vec<LinkState> {
        let mut states = Vec::new();
        for peer in self.shared.peers.load().values() {
            for lane in [Lane::Replication, Lane::Bulk, Lane::Requests] {
                let (waiting_bytes, dropped) = peer.lane(lane).depth();
                let up = peer.lane(lane).is_open();
                states.push(LinkState { peer: peer.id, lane, up, waiting_bytes, dropped });
            }
        }
        states
    }

    /// Closes every link; nothing is connected afterwards.
    pub fn close(&self) {
        self.shared.over.cancel();
        self.change(|peers| {
            for peer in peers.values() {
                peer.over.cancel();
            }
            peers.clear();
        });
    }

    /// A peer has said who it is and where it can be reached. `None` when too many strangers are known.
    pub(super) fn met(&self, id: NodeId, addresses: &Addresses) -> Option<Arc<Peer>> {
        let known = self.shared.peers.load().get(&id).cloned();
        let peer = match known {
            Some(peer) => peer,
            None => self.welcome_stranger(id)?,
        };
        if peer.announce(addresses) {
            peer.kick.notify_waiters();
        }
        if peer.moved_to().is_some() {
            let input = Input::PeerAddresses { peer: id, addresses: addresses.clone() };
            self.shared.inbox.report(Event::Input(input));
        }
        Some(peer)
    }

    fn welcome_stranger(&self, id: NodeId) -> Option<Arc<Peer>> {
        let mut met = None;
        self.change(|peers| {
            let strangers = peers.values().filter(|peer| !peer.is_placed()).count();
            if strangers < STRANGERS_MAX && !self.shared.over.is_cancelled() {
                met = Some(Arc::clone(peers.entry(id).or_insert_with(|| self.start(id))));
            }
        });
        met
    }

    fn start(&self, id: NodeId) -> Arc<Peer> {
        let peer = Arc::new(Peer::new(id));
        for lane in [Lane::Replication, Lane::Bulk, Lane::Requests] {
            self.shared.runtime.spawn(dial::keep_connected(self.clone(), Arc::clone(&peer), lane));
        }
        peer
    }

    /// Finds out who answers at the addresses of a seed.
    async fn probe(&self, seed: &str) {
        let Ok(addresses) = tokio::net::lookup_host(seed).await else { return };
        for address in addresses {
            match dial::greet(&self.shared.me, &address.to_string(), None, Lane::Bulk).await {
                Ok((_, welcome)) => drop(self.met(welcome.node, &welcome.addresses)),
                Err(error) => {
                    tracing::debug!(%address, error = &error as &dyn std::error::Error, "no node at a seed");
                }
            }
        }
    }

    fn change(&self, how: impl FnOnce(&mut BTreeMap<NodeId, Arc<Peer>>)) {
        let _held = self.shared.change.lock();
        let mut peers = BTreeMap::clone(&self.shared.peers.load());
        how(&mut peers);
        self.shared.peers.store(Arc::new(peers));
    }
}

/// How often a connection's failure is worth a line: once per connection, at DEBUG for what happens all the time.
pub(super) fn log_end(peer: NodeId, lane: Lane, error: &stream::StreamError) {
    let error: &dyn std::error::Error = error;
    tracing::debug!(%peer, ?lane, error, "a link is down");
}
