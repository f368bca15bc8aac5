//! Sessions of a store with several leaders over whole connections: what they take to another datacenter, and wait for there.

use std::time::Duration;

use quorate_group::host::Floor;
use quorate_group::session::Exported;
use quorate_model::{ActorId, Datacenter, Dot, LogIndex, ShardId, Time, VersionVector};
use quorate_replication::leaderless::Seen;

use super::memory_store::MemoryStore;
use super::options::Options;
use super::promises::{Learnt, Promises};
use super::session_test::{Client, connect};
use super::token::{Crossing, Refusal, Token};
use super::{Port, Store};

const SHARD: ShardId = ShardId(0);

/// One datacenter of a store with several leaders.
fn datacenter(name: &str, shards: u16) -> MemoryStore {
    let store = MemoryStore::new(shards, 1);
    store.reroute(|routing| {
        routing.datacenter = Datacenter::new(name).unwrap();
        routing.multi_leader = Some(Default::default());
    });
    store
}

fn known(counter: u64) -> VersionVector {
    VersionVector::from_iter([Dot { actor: ActorId(7), counter }])
}

async fn token(client: &mut Client) -> String {
    let answer = client.answer("session token").await;
    let text = answer.split("\r\n").nth(1).unwrap_or_default();
    assert!(text.starts_with("qs3."), "{answer}");
    text.to_owned()
}

/// A token of a session that has written in `dc-a`, whose leader has nine writes of an origin.
async fn written(shards: u16, options: &str) -> String {
    let store = datacenter("dc-a", shards);
    store.set_known(&known(9));
    let mut client = connect(&store, Port::Plain);
    client.ask(&format!("session set {options}\nset key 1"), "+OK|+OK|").await;
    token(&mut client).await
}

/// A connection in another datacenter, which has less.
async fn resumed(shards: u16, token: &str) -> (MemoryStore, Client) {
    let store = datacenter("dc-b", shards);
    store.set_known(&known(8));
    let mut client = connect(&store, Port::Plain);
    client.ask(&format!("session resume {token}"), "+OK|").await;
    (store, client)
}

#[tokio::test]
async fn nothing_is_done_in_another_datacenter_before_it_has_what_the_session_saw() {
    let (store, mut client) = resumed(1, &written(1, "wait 70").await).await;
    for request in ["get key", "set key 2", "dbsize", "watch key", "set key 3 nx\nget key"] {
        for line in request.split('\n') {
            let answer = client.answer(line).await;
            assert!(answer.starts_with("-TRYAGAIN"), "{line}: {answer}");
        }
    }
    assert_eq!(store.executed(), []);
    assert_eq!(store.awaited()[0], (SHARD, known(9), Some(Duration::from_millis(70))));
    store.set_known(&known(9));
    client.ask("unwatch\nget key\nset key 4\nget key", "+OK|$-1|+OK|$1|4|").await;
    let waits = store.awaited().len();
    client.ask("get key\ndbsize", "$1|4|:1|").await;
    assert_eq!(store.awaited().len(), waits, "once is enough");
}

#[tokio::test]
async fn what_waits_keeps_its_order() {
    let (store, mut client) = resumed(1, &written(1, "wait 70").await).await;
    store.set_known(&known(9));
    store.hold();
    client.send("incr key\nincr key\nget key\nincr other\nincr key").await;
    store.holds(1).await;
    assert_eq!(store.executed(), []);
    store.release(0);
    // Both writes of one slot, and the one of the other slot.
    store.holds(3).await;
    for place in [2, 1, 0] {
        store.release(place);
    }
    for _ in 0..2 {
        store.holds(1).await;
        store.release(0);
    }
    client.expect(":1|:2|$1|2|:1|:3|").await;
    assert_eq!(store.awaited().len(), 1, "all of a shard wait for the same");
}

#[tokio::test]
async fn within_a_datacenter_positions_are_enough() {
    let token = written(1, "reads replica").await;
    let store = datacenter("dc-a", 1);
    let mut client = connect(&store, Port::Plain);
    client.ask("set other 1", "+OK|").await;
    let mut client = connect(&store, Port::Plain);
    client.ask(&format!("session resume {token}\nget key"), "+OK|$-1|").await;
    assert_eq!(store.awaited(), []);
    assert_eq!(store.reads()[0].floor.index(), LogIndex(1));
}

#[tokio::test]
async fn positions_of_another_datacenter_mean_nothing_and_those_of_this_one_follow() {
    let (store, mut client) = resumed(1, &written(1, "reads replica").await).await;
    let mut other = connect(&store, Port::Plain);
    other.ask("set a 1\nset b 2\nset c 3", "+OK|+OK|+OK|").await;
    store.set_known(&known(9));
    client.ask("get key", "$-1|").await;
    let floor = Floor { seen: LogIndex(3), ..Floor::default() };
    assert_eq!(store.reads()[0].floor, floor, "a replica has what the leader had");
}

#[tokio::test]
async fn what_has_not_come_yet_goes_on_with_the_next_token() {
    let (store, mut client) = resumed(1, &written(1, "monotonic on").await).await;
    let next = token(&mut client).await;
    for place in ["dc-b", "dc-c"] {
        let store = datacenter(place, 1);
        let mut client = connect(&store, Port::Plain);
        client.ask(&format!("session resume {next}"), "+OK|").await;
        assert!(client.answer("get key").await.starts_with("-TRYAGAIN"));
        assert_eq!(store.awaited()[0].1, known(9));
    }
    assert_eq!(store.awaited(), []);
}

#[tokio::test]
async fn with_a_consistent_prefix_every_shard_is_waited_for_and_else_those_that_are_known() {
    for (prefix, count) in [("on", 3), ("off", 1)] {
        let token = written(3, &format!("prefix {prefix}")).await;
        let (store, mut client) = resumed(3, &token).await;
        assert!(client.answer("dbsize").await.starts_with("-TRYAGAIN"));
        assert_eq!(store.awaited().len(), count, "prefix {prefix}");
    }
    let nothing = "read-your-writes off monotonic off prefix off";
    let (store, mut client) = resumed(3, &written(3, nothing).await).await;
    client.ask("dbsize", ":0|").await;
    assert_eq!(store.awaited(), []);
}

#[tokio::test]
async fn a_session_that_begins_anew_waits_for_nothing() {
    let (store, mut client) = resumed(1, &written(1, "monotonic on").await).await;
    client.ask("session reset\nget key", "+OK|$-1|").await;
    assert_eq!(store.awaited(), []);
}

#[tokio::test]
async fn a_token_of_a_store_of_another_mode_is_refused() {
    let several = written(1, "monotonic on").await;
    let store = MemoryStore::new(1, 1);
    let mut client = connect(&store, Port::Plain);
    let answer = client.answer(&format!("session resume {several}")).await;
    assert!(answer.starts_with("-BADTOKEN"), "{answer}");
    let answer = client.answer("session token").await;
    let single = answer.split("\r\n").nth(1).unwrap();
    let answer = connect(&datacenter("dc-a", 1), Port::Plain)
        .answer(&format!("session resume {single}"))
        .await;
    assert!(answer.starts_with("-BADTOKEN"), "{answer}");
}

#[test]
fn a_session_remembers_no_more_than_any_store_has() {
    let routing = datacenter("dc-b", 1).routing();
    let resume = |promises: &mut Promises, part: u64| {
        let actors = (0..40_000).map(|actor| ActorId(part * 40_000 + actor + 1));
        let many = actors.map(|actor| Dot { actor, counter: 1 }).collect();
        let from = Datacenter::new("dc-a").unwrap();
        let token = Token {
            store: routing.store,
            knowledge: Exported::default(),
            options: Options::default(),
            seen: Seen::default(),
            crossing: Some(Crossing { from, known: vec![(SHARD, many)], floors: Vec::new() }),
        };
        promises.resume(token.encode().unwrap().as_bytes(), &routing, Time(1))
    };
    let mut promises = Promises::default();
    assert_eq!(resume(&mut promises, 0), Ok(()));
    assert_eq!(resume(&mut promises, 1), Err(Refusal::TooMuch));
    assert_eq!(resume(&mut Promises::default(), 1), Ok(()));
}

#[test]
fn what_a_session_saw_meanwhile_is_waited_for_anew() {
    let mut promises = Promises::default();
    let arrived =
        |counter| Learnt::Arrived { shard: SHARD, floor: known(counter), index: LogIndex(5) };
    assert_eq!(promises.floor(SHARD), None);
    promises.saw(SHARD, &known(8));
    promises.saw(SHARD, &known(9));
    promises.learn(arrived(8), Time(1));
    assert_eq!(promises.floor(SHARD), Some(&known(9)));
    promises.learn(arrived(9), Time(1));
    assert_eq!(promises.floor(SHARD), None);
}
