//! Stores without leaders, and what their clients say.

use quorate_node::node::Announcement;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisResult};

use super::{Dev, Node, PATIENCE, Signal, connect, eventually, is_running, signal};

/// Three nodes, one shard, and concurrent values kept.
pub(crate) fn start_leaderless() -> Dev {
    start_leaderless_as("Siblings")
}

/// Three nodes, one shard, and concurrent values treated like this.
pub(crate) fn start_leaderless_as(conflicts: &str) -> Dev {
    let policy = format!(r#"{{"conflicts":"{conflicts}"}}"#);
    let size = ["--nodes", "3", "--shards", "1"];
    Dev::start(&[&["--mode", "leaderless"][..], &size, &["--leaderless", &policy]].concat())
}

pub(crate) async fn end(pid: u32, how: Signal) {
    signal(pid, how);
    eventually("the node's end", || async { (!is_running(pid)).then_some(()) }).await;
}

/// The same node at other addresses.
pub(crate) fn start_again(dev: &Dev, node: &Announcement) -> Node {
    let data = dev.directory.join(&node.name);
    let back = Node::start(&node.store.to_string(), &node.name, &node.datacenter, &data);
    assert_eq!(back.at.node, node.node);
    back
}

pub(crate) async fn ask<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    words: &[&str],
) -> RedisResult<T> {
    redis::cmd(words[0]).arg(&words[1..]).query_async(connection).await
}

/// A connection that reads and writes at these levels.
pub(crate) async fn quorum(
    node: &Announcement,
    read: &str,
    write: &str,
) -> RedisResult<MultiplexedConnection> {
    let mut connection = connect(&node.addresses.plain, PATIENCE).await?;
    ask::<()>(&mut connection, &["QUORUM", read, write]).await?;
    Ok(connection)
}

/// The context, and the values in order.
pub(crate) async fn vget(
    connection: &mut MultiplexedConnection,
    key: &str,
) -> (String, Vec<String>) {
    let mut answer: Vec<String> = ask(connection, &["VGET", key]).await.unwrap();
    let context = answer.remove(0);
    answer.sort();
    (context, answer)
}

/// What INFO says of a node's only shard under this name.
pub(crate) async fn info(node: &Announcement, name: &str) -> u64 {
    field(node, "shard-0:", name).await
}

/// What INFO says of the other datacenter and a node's only shard.
pub(crate) async fn relayed(node: &Announcement, name: &str) -> u64 {
    field(node, "shard-0_relay_", name).await
}

async fn field(node: &Announcement, line: &str, name: &str) -> u64 {
    eventually("INFO", || async {
        let mut connection = connect(&node.addresses.plain, PATIENCE).await.ok()?;
        let text: String = ask(&mut connection, &["INFO", "replication"]).await.ok()?;
        let fields = text.lines().find_map(|found| found.strip_prefix(line))?;
        let fields = fields.rsplit(':').next()?;
        let prefix = format!("{name}=");
        fields.split(',').find_map(|field| field.strip_prefix(&prefix))?.parse().ok()
    })
    .await
}
