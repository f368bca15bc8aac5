//! What a node consists of, made once and shared.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use quorate_group::host::Status;
use quorate_model::{Addresses, NodeId};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use super::outlets::NodeOutlets;
use super::{Announcement, NodeError};
use crate::admin::{About, Admin};
use crate::clock::Clock;
use crate::config::Config;
use crate::driver::{Inbox, Pulse};
use crate::metrics::{AskClients, Clients, Metrics, Observed};
use crate::peer::{Links, Me};
use crate::rollback::Rollbacks;
use crate::router::{Identity, NodeStore, Requester, Table, Wires};
use crate::session::{self, Sessions};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1_024;
/// How long clients may take to finish what is in flight when the node stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Listeners {
    pub(super) plain: TcpListener,
    pub(super) cluster: TcpListener,
    pub(super) peer: TcpListener,
    pub(super) admin: TcpListener,
}

pub(super) struct Parts {
    pub(super) clock: Clock,
    pub(super) inbox: Arc<Inbox>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) table: Arc<Table>,
    pub(super) status: Arc<ArcSwap<Status>>,
    pub(super) links: Links,
    pub(super) stopping: CancellationToken,
    about: Arc<About>,
    metrics: Metrics,
    clients: Arc<OnceLock<AskClients>>,
    requester: Requester,
    /// Set once the host has recovered.
    pub(super) rollbacks: Arc<OnceLock<Rollbacks>>,
}

impl Listeners {
    pub(super) fn bind(config: &Config) -> Result<Self, NodeError> {
        Ok(Self {
            plain: listen("listen.plain", config.listen.plain)?,
            cluster: listen("listen.cluster", config.listen.cluster)?,
            peer: listen("listen.peer", config.listen.peer)?,
            admin: listen("listen.admin", config.listen.admin)?,
        })
    }

    /// What others are told: the configured host with the ports that were bound.
    fn addresses(&self, host: &str) -> Addresses {
        let at = |listener: &TcpListener| {
            let port = listener.local_addr().map_or(0, |address| address.port());
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
        };
        Addresses {
            peer: at(&self.peer),
            plain: at(&self.plain),
            cluster: at(&self.cluster),
            admin: at(&self.admin),
        }
    }
}

impl Parts {
    pub(super) fn new(config: &Config, node: NodeId, listeners: &Listeners, clock: Clock) -> Self {
        let addresses = listeners.addresses(&config.advertise_host);
        let table = Arc::new(Table::new(Identity {
            node,
            name: config.name.clone(),
            datacenter: config.datacenter.clone(),
            store: config.store,
        }));
        let inbox = Arc::new(Inbox::default());
        let boot = rand::random::<u64>().max(1);
        let me = Me { store: config.store, node, addresses: addresses.clone(), boot };
        let hear = Arc::clone(&table) as Arc<dyn crate::peer::Hear>;
        let links = Links::new(me, Arc::clone(&inbox), hear);
        let status = Arc::new(ArcSwap::from_pointee(Status::default()));
        let clients = Arc::default();
        let metrics = Metrics::new(Observed {
            status: Arc::clone(&status),
            links: links.clone(),
            clients: Arc::clone(&clients),
        });
        let wires = Wires { me: node, inbox: Arc::clone(&inbox), links: links.clone() };
        let requester = Requester::new(Arc::clone(&table), wires, config.limits.request_timeout);
        let about = Arc::new(About {
            node,
            name: config.name.clone(),
            store: config.store,
            datacenter: config.datacenter.clone(),
            zone: config.zone.clone(),
            addresses,
        });
        Self {
            clock,
            inbox,
            pulse: Arc::default(),
            table,
            status,
            links,
            stopping: CancellationToken::new(),
            about,
            metrics,
            clients,
            requester,
            rollbacks: Arc::default(),
        }
    }

    pub(super) fn wires(&self) -> &Wires {
        self.requester.wires()
    }

    pub(super) fn admin(&self) -> Admin {
        Admin {
            about: Arc::clone(&self.about),
            requester: self.requester.clone(),
            status: Arc::clone(&self.status),
            metrics: self.metrics.clone(),
            pulse: Arc::clone(&self.pulse),
            clock: self.clock,
            stopping: self.stopping.clone(),
            rollbacks: Arc::clone(&self.rollbacks),
        }
    }

    pub(super) fn outlets(&self) -> NodeOutlets {
        NodeOutlets {
            links: self.links.clone(),
            table: Arc::clone(&self.table),
            status: Arc::clone(&self.status),
            metrics: self.metrics.clone(),
            inbox: Arc::clone(&self.inbox),
            rollbacks: Arc::clone(&self.rollbacks),
        }
    }

    pub(super) fn sessions(&self, config: &Config) -> Arc<Sessions<NodeStore>> {
        let store =
            NodeStore::new(self.requester.clone(), Arc::clone(&self.status), self.metrics.clone());
        let request_bytes_max = u32::try_from(config.limits.request_bytes_max).unwrap_or(u32::MAX);
        let limits = crate::resp::Limits {
            request_bytes_max,
            bulk_bytes_max: request_bytes_max,
            ..crate::resp::Limits::default()
        };
        let settings = session::Settings {
            limits,
            connections_max: config.limits.connections_max,
            connection_bytes_max: config.limits.connection_inflight_bytes_max,
            node_bytes_max: config.limits.inflight_bytes_max,
            drain_timeout: DRAIN_TIMEOUT,
            ..session::Settings::default()
        };
        let sessions = Sessions::new(store, settings);
        let counted = Arc::clone(&sessions);
        let first = self.clients.set(Box::new(move || clients(&counted)));
        assert!(first.is_ok(), "clients are served once in a process");
        sessions
    }

    pub(super) fn announcement(&self, config: &Config) -> Announcement {
        Announcement {
            node: self.about.node,
            name: config.name.clone(),
            datacenter: config.datacenter.to_string(),
            store: config.store,
            pid: std::process::id(),
            addresses: self.about.addresses.clone(),
        }
    }
}

fn clients(sessions: &Sessions<NodeStore>) -> Clients {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counters = sessions.counters();
    Clients {
        connected: sessions.connected() as u64,
        bytes_held: sessions.bytes_held() as u64,
        accepted: read(&counters.connections),
        rejected: read(&counters.rejected),
        commands: read(&counters.commands),
        failed: read(&counters.failed),
        redirected: read(&counters.moved),
        bytes_in: read(&counters.bytes_in),
        bytes_out: read(&counters.bytes_out),
    }
}

/// Listens on `address`; where the machine has no IPv6, `[::]` means all of IPv4.
fn listen(field: &'static str, address: SocketAddr) -> Result<TcpListener, NodeError> {
    let refused = |source| NodeError::Listen { field, address, source };
    match bind(address) {
        Ok(listener) => Ok(listener),
        Err(error) => {
            let any_v6 = address.is_ipv6() && address.ip().is_unspecified();
            if any_v6 && error.kind() != std::io::ErrorKind::AddrInUse {
                return bind(SocketAddr::from(([0, 0, 0, 0], address.port()))).map_err(refused);
            }
            Err(refused(error))
        }
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    // A node that comes back must not wait for the connections of its last life to fade.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
