//! A client in cluster mode, and another one when it has locked itself up.
//!
//! redis-rs 1.8 now and then sends nothing any more after a node's connection broke: a future that reconnects waits in the
//! queue of a lock while only the refresh of slots, which wants that lock, is polled. Its sockets stand idle and every
//! request times out, for ever. An application would make a new client, and so do we; how often is in the report.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::RedisResult;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use tokio::sync::RwLock;

use super::RESPONSE_TIMEOUT;

/// Longer than any failover: with so little to do, a client that is alive has heard from some node by then.
const SILENCE_MAX: Duration = Duration::from_secs(5);

pub(crate) struct Client {
    client: ClusterClient,
    connection: RwLock<ClusterConnection>,
    began: Instant,
    /// When a node answered last, in milliseconds since it began.
    heard_ms: AtomicU64,
    replaced: AtomicU64,
}

impl Client {
    pub(super) async fn connect(nodes: Vec<String>) -> RedisResult<Self> {
        let client = ClusterClientBuilder::new(nodes)
            .connection_timeout(Duration::from_millis(500))
            .response_timeout(RESPONSE_TIMEOUT)
            .retries(3)
            .min_retry_wait(10)
            .max_retry_wait(50)
            .build()?;
        let connection = RwLock::new(client.get_async_connection().await?);
        let (heard_ms, replaced) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { client, connection, began: Instant::now(), heard_ms, replaced })
    }

    pub(super) async fn connection(&self) -> ClusterConnection {
        self.connection.read().await.clone()
    }

    /// Some node answered.
    pub(super) fn heard(&self) {
        self.heard_ms.fetch_max(self.elapsed_ms(), Ordering::Relaxed);
    }

    /// A request failed: another client is made when no node has answered any for long.
    pub(super) async fn failed(&self) {
        if !self.is_silent() {
            return;
        }
        let mut connection = self.connection.write().await;
        // Another task may have been here before.
        if self.is_silent()
            && let made = tokio::time::timeout(SILENCE_MAX, self.client.get_async_connection())
            && let Ok(Ok(made)) = made.await
        {
            *connection = made;
            self.replaced.fetch_add(1, Ordering::Relaxed);
            self.heard();
        }
    }

    pub(super) fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Relaxed)
    }

    fn is_silent(&self) -> bool {
        let silence = self.elapsed_ms().saturating_sub(self.heard_ms.load(Ordering::Relaxed));
        Duration::from_millis(silence) > SILENCE_MAX
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
