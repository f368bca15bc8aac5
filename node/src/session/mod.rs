//! Client connections: reads commands, keeps the order of answers, bounds what is in flight, decides where each command
//! runs.
//!
//! It may not touch disks, peers or groups: everything behind a connection is the [`Store`]. Commands are authorised
//! in one place, `authorize`. Keeps: answers leave in the order of their requests; an operation never overtakes an
//! earlier one of its connection on the same slot; an answer says what is true of a write.

mod answer;
mod authorize;
mod budget;
mod connection;
mod counters;
mod dispatch;
mod failure;
mod keyspace;
mod levels;
mod listener;
mod mode;
mod options;
mod order;
mod promises;
mod queue;
mod registry;
mod route;
mod routing;
mod settings;
mod shape;
mod store;
mod token;
mod transaction;

use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

pub use counters::Counters;
pub use routing::{Routing, ShardRoute, host_and_port};
pub use settings::Settings;
pub use store::{Answer, By, Execute, Reach, SessionAnswer, SessionRead, Sight, Store};
pub use token::{Refusal, Token};

use budget::Budget;
use connection::Connection;
use registry::Registry;

/// Which of the two client protocols a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Port {
    /// Any command on any node: what is not led here is forwarded.
    Plain,
    /// Redis Cluster: what is not led here is redirected.
    Cluster,
}

/// The two ends of a connection, as text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ends {
    pub peer: String,
    pub local: String,
}

/// All client connections of a node, over both ports.
pub struct Sessions<S> {
    store: S,
    settings: Settings,
    registry: Registry,
    counters: Counters,
    budget: Budget,
    started: Instant,
}

impl<S: Store> Sessions<S> {
    #[must_use]
    pub fn new(store: S, settings: Settings) -> Arc<Self> {
        let budget = Budget::new(settings.node_bytes_max);
        Arc::new(Self {
            store,
            settings,
            registry: Registry::default(),
            counters: Counters::default(),
            budget,
            started: Instant::now(),
        })
    }

    /// Serves one connection until it ends, or until `shutdown` and what is in flight is answered.
    pub async fn serve<R, W>(
        self: Arc<Self>,
        (reader, writer): (R, W),
        port: Port,
        ends: Ends,
        shutdown: CancellationToken,
    ) where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send,
    {
        Box::pin(Connection::new(self, reader, writer, port, ends).run(shutdown)).await;
    }

    const fn clock(&self) -> promises::SessionClock {
        promises::SessionClock { origin: self.started }
    }

    /// For the metrics.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many connections are open.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.registry.len()
    }

    /// How many bytes of requests all connections hold.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.budget.taken()
    }
}

#[cfg(test)]
mod differential_test;
#[cfg(test)]
mod leaderless_test;
#[cfg(test)]
mod leaders_test;
#[cfg(test)]
mod memory_store;
#[cfg(test)]
mod promises_test;
#[cfg(test)]
mod session_test;
#[cfg(test)]
mod transaction_test;
