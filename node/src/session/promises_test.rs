//! SESSION over whole connections: what a read asks of a replica, what a write waits for, and how both are carried on.

use quorate_group::host::{Failure, Floor};
use quorate_model::{GroupId, LogIndex, Position, ReadPreference, ShardId, StoreId, Term};

use super::Port;
use super::memory_store::MemoryStore;
use super::session_test::connect;

const SHARD: ShardId = ShardId(0);

fn at(index: u64) -> Position {
    Position { term: Term(1), index: LogIndex(index) }
}

/// The floors of all reads at replicas so far.
fn floors(store: &MemoryStore) -> Vec<Floor> {
    store.reads().iter().map(|read| read.floor).collect()
}

#[tokio::test]
async fn reads_at_replicas_ask_for_what_the_connection_wrote_and_saw() {
    let store = MemoryStore::new(1, 3);
    let mut client = connect(&store, Port::Plain);
    client.ask("get key", "$-1|").await;
    assert_eq!(store.reads(), []);
    client.ask("session set reads replica\nset key value\nget key", "+OK|+OK|$5|value|").await;
    client.ask("get key", "$5|value|").await;
    let first = Floor { written: at(1), ..Floor::default() };
    let second = Floor { seen: LogIndex(1), ..Floor::default() };
    assert_eq!(floors(&store), [first, second]);
    assert!(store.reads()[0].after.is_some(), "a leader answered this connection before");
}

#[tokio::test]
async fn the_store_declares_the_default_and_the_connection_overrides_it() {
    let store = MemoryStore::new(1, 3);
    store.reroute(|routing| {
        routing.policy.sessions.reads = ReadPreference::Replica;
        routing.policy.sessions.wait_ms = 70;
    });
    let mut client = connect(&store, Port::Plain);
    client.ask("get key", "$-1|").await;
    assert_eq!(store.reads()[0].wait.as_millis(), 70);
    client.ask("session set wait 30\nget key", "+OK|$-1|").await;
    assert_eq!(store.reads()[1].wait.as_millis(), 30);
    client.ask("session set reads leader\nget key", "+OK|$-1|").await;
    assert_eq!(store.reads().len(), 2);
    let shown = client.answer("session get").await;
    assert!(
        shown.contains("reads\r\n$6\r\nleader") && shown.contains("wait\r\n$2\r\n30"),
        "{shown}"
    );
    client.ask("session reset\nget key", "+OK|$-1|").await;
    assert_eq!(store.reads().len(), 3);
}

#[tokio::test]
async fn own_keys_and_reads_within_the_window_go_to_the_leader() {
    let store = MemoryStore::new(1, 3);
    let mut client = connect(&store, Port::Plain);
    client.ask("session set reads replica read-your-writes owner 2 my:* your:*", "+OK|").await;
    client.ask("get my:name\nget other", "$-1|$-1|").await;
    assert_eq!((store.executed().len(), store.reads().len()), (1, 1));
    client
        .ask("session set read-your-writes window\nget my:name\nset key value", "+OK|$-1|+OK|")
        .await;
    client.ask("get key", "$5|value|").await;
    assert_eq!((store.executed().len(), store.reads().len()), (3, 2));
}

#[tokio::test]
async fn a_token_carries_the_session_to_another_connection() {
    let store = MemoryStore::new(1, 3);
    let mut first = connect(&store, Port::Plain);
    first.ask("session set reads replica\nset key value", "+OK|+OK|").await;
    let token = first.answer("session token").await;
    let token = token.split("\r\n").nth(1).unwrap();
    let mut second = connect(&store, Port::Plain);
    second.ask(&format!("session resume {token}\nget key"), "+OK|$5|value|").await;
    assert_eq!(floors(&store), [Floor { written: at(1), ..Floor::default() }]);
    let damaged = format!("{}0", &token[..token.len() - 1]);
    let damaged =
        if damaged == token { format!("{}1", &token[..token.len() - 1]) } else { damaged };
    second.ask(&format!("session resume {damaged}"), "-BADTOKEN the token is damaged|").await;
    store.reroute(|routing| routing.store = StoreId(9));
    let foreign = "-BADTOKEN the token is of another store|";
    second.ask(&format!("session resume {token}"), foreign).await;
}

#[tokio::test]
async fn a_lost_write_is_told_once() {
    let store = MemoryStore::new(1, 3);
    let mut client = connect(&store, Port::Plain);
    client.ask("session set reads replica\nset key value", "+OK|+OK|").await;
    let lost = Failure::PositionLost { group: GroupId::Shard(SHARD), position: at(1) };
    store.fail(0, lost);
    let answer = client.answer("get key").await;
    assert!(answer.starts_with("-LOST "), "{answer}");
    client.answer("get key").await;
    assert_eq!(floors(&store), [Floor { written: at(1), ..Floor::default() }, Floor::default()]);
}

#[tokio::test]
async fn a_write_is_answered_when_it_is_as_durable_as_asked_for() {
    let store = MemoryStore::new(2, 3);
    let mut client = connect(&store, Port::Plain);
    client.ask("session set durability sync\nset key value", "+OK|+OK|").await;
    let waits = store.waits();
    assert_eq!(waits.len(), 1);
    assert_eq!(waits[0].2, 2);
    client.ask("session set durability quorum\nset key value", "+OK|+OK|").await;
    assert_eq!(store.waits()[1].2, 1);
    store.set_holders(Ok(0));
    let answer = client.answer("set key value").await;
    assert!(answer.starts_with("-NOTDURABLE the write is done"), "{answer}");
    let answer = client.answer("flushall").await;
    assert!(answer.starts_with("-NOTDURABLE"), "{answer}");
    client.ask("session set durability store\nset key value", "+OK|+OK|").await;
    client.ask("get key", "$5|value|").await;
}

#[tokio::test]
async fn waitaof_answers_with_this_nodes_disk_and_the_followers() {
    let store = MemoryStore::new(1, 3);
    let mut client = connect(&store, Port::Plain);
    client.ask("set key value\nwaitaof 1 2 100", "+OK|*2|:1|:2|").await;
}

#[tokio::test]
async fn readonly_connections_read_under_the_stores_promises() {
    let store = MemoryStore::new(1, 3);
    store.reroute(|routing| routing.shards[0].leader = Some(quorate_model::NodeId(2)));
    let mut client = connect(&store, Port::Cluster);
    client.ask("readonly\nget key", "+OK|$-1|").await;
    assert_eq!(floors(&store), [Floor::default()]);
    client.ask("dbsize", ":0|").await;
    assert_eq!(floors(&store).len(), 2);
    let moved = client.answer("readwrite\nget key").await;
    assert!(moved.contains("-MOVED "), "{moved}");
    client.ask("session set reads replica\nget key", "+OK|$-1|").await;
    assert_eq!(floors(&store).len(), 3);
}

#[tokio::test]
async fn what_a_session_may_ask_for_is_bounded_and_explained() {
    let store = MemoryStore::new(1, 1);
    let mut client = connect(&store, Port::Plain);
    for (words, answer) in [
        ("session set reads anywhere", "-ERR READS takes LEADER or REPLICA|"),
        ("session set staleness 3600001", "-ERR STALENESS takes milliseconds, 0 to 3600000|"),
        ("session set prefix maybe", "-ERR PREFIX takes ON or OFF|"),
        ("session resume token", "-BADTOKEN this is no token of a session|"),
    ] {
        client.ask(words, answer).await;
    }
    let unknown = client.answer("session set colour red").await;
    assert!(unknown.starts_with("-ERR the options of a session are READS,"), "{unknown}");
}
