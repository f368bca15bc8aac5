//! Redis clients as users have them.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_model::{ShardId, Slot};
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig, RedisResult};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{PATIENCE, eventually};

/// One connection that gives a request up after `patience`.
pub(crate) async fn connect(
    address: &str,
    patience: Duration,
) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_millis(500)))
        .set_response_timeout(Some(patience));
    let client = redis::Client::open(format!("redis://{address}/"))?;
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// The `number`th key of a shard.
pub(crate) fn key_of(shard: ShardId, shards: u16, number: u64) -> String {
    let tag = (0u32..)
        .find(|tag| Slot::of_key(format!("{tag}").as_bytes()).shard(shards) == shard)
        .unwrap();
    format!("{{{tag}}}:{number}")
}

/// What there is for each of these keys, through one node's plain port.
pub(crate) async fn read_all(address: &str, keys: &[String]) -> BTreeMap<String, Option<u64>> {
    let mut connection =
        eventually("a connection", || async { connect(address, PATIENCE).await.ok() }).await;
    let mut found = BTreeMap::new();
    for key in keys {
        let value = eventually("a read", || {
            let mut connection = connection.clone();
            async move { connection.get::<_, Option<u64>>(key).await.ok() }
        })
        .await;
        found.insert(key.clone(), value);
    }
    // The connection is the same for all reads; nobody needs it any more.
    drop(connection.send_packed_command(&redis::cmd("QUIT")).await);
    found
}

/// Sends bytes and reads until the other side closes; `None` when it does not.
pub(crate) async fn send_raw(address: &str, bytes: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
    // A reset after the answer is a close, too.
    closed.await.ok()?.ok();
    Some(String::from_utf8_lossy(&answer).into_owned())
}
