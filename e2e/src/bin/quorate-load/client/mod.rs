//! The clients that all writers and readers share: one in cluster mode, or plain connections.

mod cluster;
mod plain;

use std::time::{Duration, Instant};

use redis::{Cmd, FromRedisValue, RedisResult};

/// What redis-rs does when nothing is said: longer, and its own search for a cut-off leader takes many times as long.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);

pub(crate) enum Client {
    Cluster(Box<cluster::Client>),
    Plain(plain::Client),
}

/// Whether an answered request may have arrived more than once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    Once,
    PerhapsMore,
}

impl Client {
    pub(crate) async fn cluster(nodes: Vec<String>) -> RedisResult<Self> {
        cluster::Client::connect(nodes).await.map(|client| Self::Cluster(Box::new(client)))
    }

    pub(crate) fn plain(nodes: Vec<String>) -> RedisResult<Self> {
        plain::Client::new(nodes).map(Self::Plain)
    }

    /// `home` spreads keys over the nodes where the client does not know who has them.
    pub(crate) async fn ask<T: FromRedisValue>(
        &self,
        command: &Cmd,
        home: usize,
    ) -> (RedisResult<T>, Sent) {
        match self {
            Self::Cluster(client) => {
                let sent = Instant::now();
                let mut connection = client.connection().await;
                let answer = command.query_async(&mut connection).await;
                match &answer {
                    Ok(_) => client.heard(),
                    Err(_) => client.failed().await,
                }
                // Slower than one attempt may take: the client library tried again and both may have arrived.
                let slow = sent.elapsed() >= RESPONSE_TIMEOUT / 2;
                (answer, if slow { Sent::PerhapsMore } else { Sent::Once })
            }
            Self::Plain(client) => client.ask(command, home).await,
        }
    }

    pub(crate) fn replaced(&self) -> u64 {
        match self {
            Self::Cluster(client) => client.replaced(),
            Self::Plain(_) => 0,
        }
    }
}
