//! One client connection: reads commands, keeps the order of answers, bounds what is in flight, decides where each
//! command runs.
//!
//! It may not touch disks, peers or groups: everything behind the connection is the [`Store`]. Commands are
//! authorised in one place, `authorize`.

mod routing;
mod settings;
mod store;

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use routing::{Routing, ShardRoute, host_and_port};
pub use settings::Settings;
pub use store::{Answer, Execute, Reach, Store};

/// Which of the two client protocols a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Port {
    /// Any command on any node: what is not led here is forwarded.
    Plain,
    /// Redis Cluster: what is not led here is redirected.
    Cluster,
}

/// All client connections of a node, over both ports.
pub struct Sessions<S> {
    store: S,
    settings: Settings,
}

impl<S: Store> Sessions<S> {
    #[must_use]
    pub fn new(store: S, settings: Settings) -> Arc<Self> {
        Arc::new(Self { store, settings })
    }

    /// Serves connections of one port until `shutdown`, then lets what is in flight finish and returns.
    pub async fn listen(
        self: Arc<Self>,
        listener: TcpListener,
        port: Port,
        shutdown: CancellationToken,
    ) {
        let _keep = (&self.store, &self.settings, listener, port);
        shutdown.cancelled().await;
    }
}
