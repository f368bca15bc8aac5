//! Sessions at one replica, in a store without leaders: what they have written and seen they are not answered from less than.

use std::time::Instant;

use quorate_node::node::Announcement;
use redis::aio::MultiplexedConnection;

use crate::support::{
    PATIENCE, Signal, ask, end, eventually, quorum, signal, start_again, start_leaderless_as,
};

const ROUNDS: u64 = 300;

async fn session(client: &mut MultiplexedConnection, words: &[&str]) -> String {
    ask(client, &[&["SESSION"], words].concat()).await.unwrap()
}

/// A connection whose reads and writes wait for one replica, and whose session is promised what a session can be.
async fn promised(node: &Announcement) -> MultiplexedConnection {
    let mut client = quorum(node, "ONE", "ONE").await.unwrap();
    let all = ["SET", "READ-YOUR-WRITES", "POSITION", "MONOTONIC", "ON"];
    session(&mut client, &all).await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_misses_a_write_without_a_token_and_never_with_one() {
    let dev = start_leaderless_as("LastWriterWins");
    let mut writer = promised(&dev.nodes[0]).await;
    let mut reader = quorum(&dev.nodes[1], "ONE", "ONE").await.unwrap();
    let until = Instant::now() + PATIENCE;
    let mut number = 0u64;
    loop {
        assert!(Instant::now() < until, "no read was ever stale");
        number += 1;
        ask::<()>(&mut writer, &["SET", "key", &number.to_string()]).await.unwrap();
        let found: Option<u64> = ask(&mut reader, &["GET", "key"]).await.unwrap();
        if found < Some(number) {
            break;
        }
    }
    println!("a stale read in round {number}");
    for _ in 0..ROUNDS {
        number += 1;
        ask::<()>(&mut writer, &["SET", "key", &number.to_string()]).await.unwrap();
        let token = session(&mut writer, &["TOKEN"]).await;
        session(&mut reader, &["RESUME", &token]).await;
        let found: u64 = ask(&mut reader, &["GET", "key"]).await.unwrap();
        assert!(found >= number, "{found} after {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_s_write_builds_on_what_it_wrote_through_another_node() {
    let dev = start_leaderless_as("LastWriterWins");
    let mut clients = [promised(&dev.nodes[0]).await, promised(&dev.nodes[1]).await];
    for round in 0..ROUNDS {
        let [one, other] = &mut clients;
        ask::<()>(one, &["SADD", "set", "before"]).await.unwrap();
        let token = session(one, &["TOKEN"]).await;
        session(other, &["RESUME", &token]).await;
        // It removes what it knows of.
        assert_eq!(ask::<u64>(other, &["DEL", "set"]).await.unwrap(), 1, "round {round}");
        let token = session(other, &["TOKEN"]).await;
        session(one, &["RESUME", &token]).await;
        assert_eq!(ask::<u64>(one, &["SCARD", "set"]).await.unwrap(), 0, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_replica_that_answers_knows_is_refused() {
    let dev = start_leaderless_as("LastWriterWins");
    let [alone, others @ ..] = &dev.nodes[..] else { panic!("three nodes") };
    for node in others {
        end(node.pid, Signal::Kill).await;
    }
    let mut writer = promised(alone).await;
    ask::<()>(&mut writer, &["SET", "key", "value"]).await.unwrap();
    let token = session(&mut writer, &["TOKEN"]).await;
    signal(alone.pid, Signal::Freeze);
    let back: Vec<_> = others.iter().map(|node| start_again(&dev, node)).collect();
    let mut one = quorum(&back[0].at, "ONE", "ONE").await.unwrap();
    let found = eventually("an answer from less", || {
        let mut one = one.clone();
        async move { ask::<Option<String>>(&mut one, &["GET", "key"]).await.ok() }
    });
    assert_eq!(found.await, None);
    session(&mut one, &["RESUME", &token]).await;
    for words in [&["GET", "key"][..], &["SET", "key", "more"]] {
        let error = ask::<redis::Value>(&mut one, words).await.unwrap_err();
        assert!(error.to_string().contains("what the session has written or seen"), "{error}");
    }
    signal(alone.pid, Signal::Thaw);
    let found = eventually("the session's write", || {
        let mut one = one.clone();
        async move { ask::<Option<String>>(&mut one, &["GET", "key"]).await.ok() }
    });
    assert_eq!(found.await.as_deref(), Some("value"));
}
