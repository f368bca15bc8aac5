//! Plain connections, as an application without a cluster client has them: what fails is asked once more, of another node.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, RedisResult};
use tokio::sync::Mutex;

use super::Sent;

const CONNECTION_TIMEOUT: Duration = Duration::from_millis(500);
/// Longer than a node waits for the replicas of a read or a write.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(6);

pub(crate) struct Client {
    nodes: Vec<Node>,
}

struct Node {
    client: redis::Client,
    connection: Mutex<Option<MultiplexedConnection>>,
    /// The last request failed, so that others are asked first.
    failed: AtomicBool,
}

impl Client {
    pub(super) fn new(nodes: Vec<String>) -> RedisResult<Self> {
        let node = |address: String| {
            let client = redis::Client::open(address)?;
            Ok(Node { client, connection: Mutex::new(None), failed: AtomicBool::new(false) })
        };
        Ok(Self { nodes: nodes.into_iter().map(node).collect::<RedisResult<_>>()? })
    }

    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        command: &Cmd,
        home: usize,
    ) -> (RedisResult<T>, Sent) {
        let count = self.nodes.len();
        let first = (home..home + count).find(|at| !self.node(*at).failed.load(Ordering::Relaxed));
        let first = first.unwrap_or(home);
        match self.node(first).ask(command).await {
            Ok(answer) => (Ok(answer), Sent::Once),
            Err(_) => {
                let other = self.node(first + 1);
                // Not over a connection that may be as dead as the first one: behind a Service both can be of one pod.
                *other.connection.lock().await = None;
                (other.ask(command).await, Sent::PerhapsMore)
            }
        }
    }

    fn node(&self, at: usize) -> &Node {
        &self.nodes[at % self.nodes.len()]
    }
}

impl Node {
    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let answer = match self.connected().await {
            Ok(mut connection) => command.query_async(&mut connection).await,
            Err(error) => Err(error),
        };
        if answer.is_err() {
            *self.connection.lock().await = None;
        }
        self.failed.store(answer.is_err(), Ordering::Relaxed);
        answer
    }

    async fn connected(&self) -> RedisResult<MultiplexedConnection> {
        let mut connection = self.connection.lock().await;
        if let Some(open) = connection.as_ref() {
            return Ok(open.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTION_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let made = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        *connection = Some(made.clone());
        Ok(made)
    }
}
