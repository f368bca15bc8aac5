//! A whole node, put together: listeners, links, the driver's thread, sessions, the admin API; and taken down again.
//!
//! Order at start: volume, listeners, links and admin API, then the host (which may replay for long), then clients.
//! Order at the end: hand over, let clients finish, close links, stop the driver.

mod outlets;
mod parts;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quorate_group::host::{Host, Request, StartError};
use quorate_model::{Addresses, NodeId, StoreId};
use quorate_storage::data_directory::{DataDirectory, DataDirectoryError};
use quorate_storage::disk::files::Files;
use quorate_storage::state::{StateError, lsm};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{self, Clock};
use crate::config::Config;
use crate::driver::{Driver, Event, Inbox, Pulse};
use crate::peer;
use crate::rollback::Rollbacks;
use crate::router::gossip;
use crate::session::Port;
use outlets::NodeOutlets;
use parts::{Listeners, Parts};

/// How long the node tries to hand over what it leads before it stops.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long requests that others forwarded may take to be answered; looked at this often, and idle this many times.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);
const SETTLED_INTERVAL: Duration = Duration::from_millis(10);
const SETTLED_LOOKS: u32 = 3;
/// How long the driver may take for what it holds.
const DRIVER_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Data(#[from] DataDirectoryError),
    #[error("configuration: `{field}`: cannot listen on {address}")]
    Listen {
        field: &'static str,
        address: std::net::SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot open the log")]
    Log(#[source] std::io::Error),
    #[error("cannot open the state store")]
    State(#[from] StateError),
    #[error("cannot recover")]
    Start(#[from] StartError),
    #[error(transparent)]
    Rollbacks(#[from] crate::rollback::ReadError),
    #[error("the driver ended before it had started")]
    DriverEnded,
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// Where a started node can be reached; one JSON line of `--announce` and of `quorate-node dev`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Announcement {
    pub node: NodeId,
    pub name: String,
    pub datacenter: String,
    pub store: StoreId,
    pub pid: u32,
    #[serde(flatten)]
    pub addresses: Addresses,
}

/// How a node is asked to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    HandOver,
    /// The others stop as well: there is nobody to hand over to.
    AtOnce,
}

/// Runs a node until `stop` resolves.
///
/// # Errors
/// Why the node could not start. Later failures end the process: see [`crate::EXIT_FATAL`].
pub async fn run(
    config: Config,
    announce: impl FnOnce(&Announcement),
    stop: impl Future<Output = Stop>,
) -> Result<(), NodeError> {
    let clock = Clock::start();
    let draw = || NodeId(uuid::Uuid::new_v4().as_u128());
    let data = DataDirectory::open(&config.data_dir, config.store, draw)?;
    let node = data.identity().node;
    let listeners = Listeners::bind(&config)?;
    let parts = Parts::new(&config, node, &listeners, clock);
    let (tasks, over) = (TaskTracker::new(), CancellationToken::new());
    let Listeners { plain, cluster, peer, admin } = listeners;
    tasks.spawn(peer::accept(parts.links.clone(), peer));
    tasks.spawn(crate::admin::serve(parts.admin(), admin, over.clone()));

    let driver = start_driver(&config, &data, &parts).await?;
    tracing::info!(
        %node,
        new = data.is_new(),
        name = config.name,
        store = %config.store,
        datacenter = %config.datacenter,
        version = env!("CARGO_PKG_VERSION"),
        "started",
    );
    let sessions = parts.sessions(&config);
    let clients = over.child_token();
    let serving = TaskTracker::new();
    for (listener, port) in [(plain, Port::Plain), (cluster, Port::Cluster)] {
        serving.spawn(Arc::clone(&sessions).listen(listener, port, clients.clone()));
    }
    serving.close();
    tasks.spawn(gossip(
        parts.links.clone(),
        Arc::clone(&parts.table),
        Arc::clone(&parts.status),
        Arc::clone(&parts.inbox),
        over.clone(),
    ));
    tasks.spawn(parts.links.clone().seek(config.seeds.clone()));
    announce(&parts.announcement(&config));

    let how = stop.await;
    parts.stopping.cancel();
    if how == Stop::HandOver {
        // Not ready any more: whoever sends clients here learns it meanwhile.
        tokio::time::sleep(config.linger).await;
        hand_over(&parts).await;
    }
    clients.cancel();
    serving.wait().await;
    settle(&parts).await;
    over.cancel();
    parts.links.close();
    parts.inbox.report(Event::Stop);
    if tokio::time::timeout(DRIVER_TIMEOUT, driver).await.is_err() {
        tracing::warn!("the driver did not end in time");
    }
    tasks.close();
    if tokio::time::timeout(Duration::from_secs(1), tasks.wait()).await.is_err() {
        tracing::debug!("some connections were cut");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Starts the driver's thread. Answers, once the host has recovered, with what resolves when the thread ends.
async fn start_driver(
    config: &Config,
    data: &DataDirectory,
    parts: &Parts,
) -> Result<oneshot::Receiver<()>, NodeError> {
    let (started, starting) = oneshot::channel();
    let (ended, ending) = oneshot::channel();
    let beginning = Beginning {
        node: data.identity().node,
        store: config.store,
        log: data.log_path(),
        state: data.state_path(),
        rollback: data.rollback_path(),
        rollbacks: Arc::clone(&parts.rollbacks),
        state_settings: config.state,
        settings: config.host.clone(),
        clock: parts.clock,
        inbox: Arc::clone(&parts.inbox),
        pulse: Arc::clone(&parts.pulse),
    };
    let outlets = parts.outlets();
    std::thread::Builder::new()
        .name("driver".to_owned())
        .spawn(move || {
            match beginning.open(outlets) {
                Ok(driver) => {
                    drop(started.send(Ok(())));
                    driver.run();
                }
                Err(error) => drop(started.send(Err(error))),
            }
            // Whoever waited for the end may have lost patience.
            ended.send(()).ok();
        })
        .map_err(NodeError::Thread)?;
    starting.await.unwrap_or(Err(NodeError::DriverEnded))?;
    Ok(ending)
}

/// What the driver's thread needs to open the host.
struct Beginning {
    node: NodeId,
    store: StoreId,
    log: std::path::PathBuf,
    state: std::path::PathBuf,
    rollback: std::path::PathBuf,
    rollbacks: Arc<OnceLock<Rollbacks>>,
    state_settings: lsm::Settings,
    settings: quorate_group::host::Settings,
    clock: Clock,
    inbox: Arc<Inbox>,
    pulse: Arc<Pulse>,
}

impl Beginning {
    fn open(
        self,
        outlets: NodeOutlets,
    ) -> Result<Driver<Files, lsm::Store, NodeOutlets>, NodeError> {
        let completions = Arc::clone(&self.inbox);
        let disk = Files::open(
            &self.log,
            Box::new(move |completion| {
                completions.report(Event::Input(quorate_group::host::Input::Disk(completion)));
            }),
        )
        .map_err(NodeError::Log)?;
        let state = lsm::Store::open(&self.state, self.state_settings)?;
        let start = quorate_group::host::Start {
            node: self.node,
            store: self.store,
            seed: rand::random(),
            now: self.clock.now(),
            wall: clock::wall(),
        };
        let host = Host::start(start, disk, state, self.settings)?;
        let rollbacks = Rollbacks::open(&self.rollback, |group, position| {
            host.replica(group)
                .is_some_and(|replica| replica.position_at(position.index) == Some(position))
        })?;
        let first = self.rollbacks.set(rollbacks);
        assert!(first.is_ok(), "a node starts once");
        Ok(Driver::new(host, self.inbox, outlets, self.clock, self.pulse))
    }
}

/// Lets what other nodes have forwarded be answered: most of it learns within a moment what became of it.
async fn settle(parts: &Parts) {
    let settled = async {
        let mut idle = 0;
        while idle < SETTLED_LOOKS {
            tokio::time::sleep(SETTLED_INTERVAL).await;
            let busy = parts.pulse.waiting() > 0 || parts.inbox.depth() > 0;
            idle = if busy { 0 } else { idle + 1 };
        }
    };
    if tokio::time::timeout(SETTLE_TIMEOUT, settled).await.is_err() {
        tracing::warn!(waiting = parts.pulse.waiting(), "stopping with requests unanswered");
    }
}

/// Gives every leadership away, so that nobody has to notice that this node is gone.
async fn hand_over(parts: &Parts) {
    let Ok(sent) = parts.wires().here(Request::Handover, None) else { return };
    match tokio::time::timeout(HANDOVER_TIMEOUT, sent.outcome()).await {
        Ok(Ok(reply)) => tracing::info!(?reply, "handed over"),
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "could not hand over");
        }
        Err(_) => tracing::warn!("handing over took too long"),
    }
}
