//! MULTI to EXEC, and ONCE, over whole connections. What Redis does as well is compared with a real one in `differential_test`.

use quorate_group::host::{Failure, ReadLevel};
use quorate_group::{Operation, Write};
use quorate_model::ShardId;

use super::memory_store::MemoryStore;
use super::session_test::connect;
use super::{Port, Reach};

/// How many transactions the store was asked to run, and of how many operations each.
fn transactions(store: &MemoryStore) -> Vec<usize> {
    let executed = store.executed();
    let transactions = executed.iter().filter_map(|request| match &request.operation {
        Operation::Write(Write::Transaction { operations, .. }) => Some(operations.len()),
        Operation::Write(_) | Operation::Read(_) => None,
    });
    transactions.collect()
}

#[tokio::test]
async fn a_transaction_is_one_write() {
    let store = MemoryStore::new(3, 1);
    let mut client = connect(&store, Port::Plain);
    client
        .ask("multi\nset {t}a 1\nincr {t}a\nping\nget {t}b", "+OK|+QUEUED|+QUEUED|+QUEUED|+QUEUED|")
        .await;
    assert!(store.executed().is_empty(), "nothing is run before EXEC");
    client.ask("exec", "*4|+OK|:2|+PONG|$-1|").await;
    assert_eq!((store.executed().len(), transactions(&store)), (1, vec![3]));
}

#[tokio::test]
async fn keys_of_two_slots_spoil_a_transaction() {
    let store = MemoryStore::new(3, 1);
    let mut client = connect(&store, Port::Plain);
    let cross = "-CROSSSLOT Keys in request don't hash to the same slot|";
    let aborted = "-EXECABORT Transaction discarded because of previous errors.|";
    client.ask("multi\nset a 1\nset b 1", &format!("+OK|+QUEUED|{cross}")).await;
    client.ask("exec\nget a", &format!("{aborted}$-1|")).await;
    client.ask("watch a\nmulti\nset b 1\nexec", &format!("+OK|+OK|{cross}{aborted}")).await;
    let unwatched = "-EXECABORT Transaction discarded because a WATCH before it failed.|";
    client.ask("watch a b\nmulti\nset a 1\nexec", &format!("{cross}+OK|+QUEUED|{unwatched}")).await;
    client.ask("get a\nget b", "$-1|$-1|").await;
    assert!(transactions(&store).is_empty());
}

#[tokio::test]
async fn what_is_not_about_one_slot_is_refused_within_a_transaction() {
    let store = MemoryStore::new(3, 1);
    let mut client = connect(&store, Port::Plain);
    let refused = "-ERR Command not allowed inside a transaction|";
    for command in ["dbsize", "flushall", "wait 0 0", "session get", "hello 3", "client reply off"]
    {
        client.ask(&format!("multi\n{command}"), &format!("+OK|{refused}")).await;
        let aborted = "-EXECABORT Transaction discarded because of previous errors.|";
        client.ask("exec", aborted).await;
    }
}

#[tokio::test]
async fn a_watch_sent_together_with_its_transaction_holds() {
    let store = MemoryStore::new(1, 1);
    let (mut client, mut other) = (connect(&store, Port::Plain), connect(&store, Port::Plain));
    client.ask("set a 1\nwatch a\nmulti\nincr a\nexec", "+OK|+OK|+OK|+QUEUED|*1|:2|").await;
    client.ask("watch a\nget a", "+OK|$1|2|").await;
    other.ask("incr a", ":3|").await;
    client.ask("multi\nset a stale\nexec\nget a", "+OK|+QUEUED|*-1|$1|3|").await;
    client.ask("multi\nget a\nexec", "+OK|+QUEUED|*1|$1|3|").await;
}

#[tokio::test]
async fn a_watch_that_found_no_leader_spoils_what_depends_on_it() {
    let store = MemoryStore::new(1, 1);
    let mut client = connect(&store, Port::Plain);
    store.fail(0, Failure::Overloaded);
    let answer = client.answer("watch a\nmulti\nset a 1\nexec").await;
    let lines: Vec<&str> = answer.split("\r\n").collect();
    assert!(lines[0].starts_with("-TRYAGAIN"), "{answer}");
    assert!(lines[3].starts_with("-EXECABORT"), "{answer}");
    assert!(transactions(&store).is_empty());
}

#[tokio::test]
async fn a_transaction_whose_outcome_is_unknown_says_so() {
    let store = MemoryStore::new(1, 1);
    let mut client = connect(&store, Port::Plain);
    client.ask("multi\nset a 1", "+OK|+QUEUED|").await;
    store.fail(0, Failure::Unknown);
    let answer = client.answer("exec").await;
    assert!(answer.starts_with("-UNKNOWN "), "{answer}");
    client.ask("exec", "-ERR EXEC without MULTI|").await;
}

#[tokio::test]
async fn reads_of_a_connection_that_watches_go_to_the_leader() {
    let store = MemoryStore::new(1, 3);
    let mut client = connect(&store, Port::Plain);
    client.ask("session set reads replica\nget a", "+OK|$-1|").await;
    assert_eq!(store.reads().len(), 1);
    client.ask("watch a\nget a", "+OK|$-1|").await;
    assert_eq!(store.reads().len(), 1);
    assert!(store.executed().iter().all(|request| request.level == ReadLevel::Linearizable));
    client.ask("unwatch\nget a", "+OK|$-1|").await;
    assert_eq!(store.reads().len(), 2);
}

#[tokio::test]
async fn a_transaction_waits_for_the_followers_that_its_connection_asks_for() {
    let store = MemoryStore::new(1, 3);
    let mut client = connect(&store, Port::Plain);
    client.ask("session set durability sync", "+OK|").await;
    client.ask("multi\nset a 1\nexec", "+OK|+QUEUED|*1|+OK|").await;
    assert_eq!(store.waits().iter().map(|(_, _, replicas)| *replicas).collect::<Vec<_>>(), [2]);
    store.set_holders(Ok(1));
    client.ask("multi\nset a 2", "+OK|+QUEUED|").await;
    let answer = client.answer("exec").await;
    assert!(answer.starts_with("-NOTDURABLE the write is done as the store declares"), "{answer}");
}

#[tokio::test]
async fn the_cluster_port_sends_a_transaction_to_its_leader() {
    let store = MemoryStore::new(3, 3);
    let mut client = connect(&store, Port::Cluster);
    // The first and the last slot of the keyspace: the shards of node 1 and node 3.
    let (here, elsewhere) = ("{06S}a", "{a}b");
    client.ask(&format!("multi\nset {here} 1\nexec"), "+OK|+QUEUED|*1|+OK|").await;
    assert_eq!(store.executed()[0].reach, Reach::Here);
    let answer = client.answer(&format!("multi\nset {elsewhere} 1\nexec")).await;
    let lines: Vec<&str> = answer.split("\r\n").collect();
    assert!(lines[1].starts_with("-MOVED 15495 10.0.0.3"), "{answer}");
    assert!(lines[2].starts_with("-EXECABORT"), "{answer}");
    // The leader moves between MULTI and EXEC.
    client.ask(&format!("multi\nset {here} 2"), "+OK|+QUEUED|").await;
    store.reroute(|routing| routing.shards[0].leader = routing.shards[1].leader);
    let answer = client.answer("exec").await;
    assert!(answer.starts_with("-MOVED 0 10.0.0.2"), "{answer}");
    assert_eq!(transactions(&store), [1]);
    assert_eq!(store.executed()[0].shard, ShardId(0));
}

#[tokio::test]
async fn reset_ends_a_transaction() {
    let store = MemoryStore::new(1, 1);
    let mut client = connect(&store, Port::Plain);
    client.ask("multi\nset a 1\nreset\nexec", "+OK|+QUEUED|+RESET|-ERR EXEC without MULTI|").await;
    client.ask("get a", "$-1|").await;
}

#[tokio::test]
async fn a_write_with_a_token_is_done_once_and_answered_again() {
    let store = MemoryStore::new(1, 1);
    let (mut client, mut other) = (connect(&store, Port::Plain), connect(&store, Port::Plain));
    client.ask("once t incr a\nonce t incr a\nget a", ":1|:1|$1|1|").await;
    other.ask("once t INCR a", ":1|").await;
    other.ask("once t incrby a 5", "-TOKENUSED the token was used for another command|").await;
    // Shaped as the command's own answer.
    client.ask("once u setnx b 1\nonce u setnx b 1", ":1|:1|").await;
    client
        .ask("once v sadd {t}s m\nonce w spop {t}s 1\nonce w spop {t}s 1", ":1|*1|$1|m|*1|$1|m|")
        .await;
    client
        .ask(
            "sadd {t}q m\nonce x incr {t}q",
            ":1|-WRONGTYPE Operation against a key holding the wrong kind of value|",
        )
        .await;
}

#[tokio::test]
async fn a_transaction_with_a_token_is_done_once() {
    let store = MemoryStore::new(1, 1);
    let mut client = connect(&store, Port::Plain);
    for _ in 0..2 {
        client.ask("multi\nincr a\nincr a\nonce t exec", "+OK|+QUEUED|+QUEUED|*2|:1|:2|").await;
    }
    let used =
        "-EXECABORT Transaction discarded: TOKENUSED the token was used for another command|";
    client.ask("multi\nincr a\nonce t exec", &format!("+OK|+QUEUED|{used}")).await;
    client.ask("once t exec", "-ERR EXEC without MULTI|").await;
    client.ask("get a", "$1|2|").await;
}
