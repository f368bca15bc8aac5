//! Whole connections over an in-memory stream and a store in memory.

use std::sync::Arc;
use std::time::Duration;

use quorate_group::host::{Failure, ReadLevel};
use quorate_model::{GroupId, NodeId, ShardId, Slot};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::memory_store::{DEADLINE, MemoryStore};
use super::{Ends, Port, Reach, Sessions, Settings};

pub(super) struct Client {
    stream: DuplexStream,
    session: JoinHandle<()>,
    shutdown: CancellationToken,
}

/// A connection to a node of this store.
pub(super) fn connect(store: &MemoryStore, port: Port) -> Client {
    connect_with(&Sessions::new(store.clone(), Settings::default()), port)
}

fn connect_with(sessions: &Arc<Sessions<MemoryStore>>, port: Port) -> Client {
    let (stream, other) = tokio::io::duplex(1 << 20);
    let shutdown = CancellationToken::new();
    let ends = Ends { peer: "10.9.9.9:1234".to_owned(), local: "10.0.0.1:6379".to_owned() };
    let halves = tokio::io::split(other);
    let session = Arc::clone(sessions).serve(halves, port, ends, shutdown.clone());
    Client { stream, session: tokio::spawn(session), shutdown }
}

impl Client {
    /// Sends inline requests, one a line.
    pub(super) async fn send(&mut self, lines: &str) {
        let wire: String = lines.split('\n').map(|line| line.trim().to_owned() + "\r\n").collect();
        self.stream.write_all(wire.as_bytes()).await.unwrap();
    }

    /// The next bytes must be these; ends of lines are written as `|`.
    pub(super) async fn expect(&mut self, expected: &str) {
        let expected = expected.replace('|', "\r\n");
        let mut got = vec![0; expected.len()];
        let read = self.stream.read_exact(&mut got);
        tokio::time::timeout(DEADLINE, read).await.expect(&expected).unwrap();
        assert_eq!(String::from_utf8_lossy(&got), expected);
    }

    pub(super) async fn ask(&mut self, lines: &str, expected: &str) {
        self.send(lines).await;
        self.expect(expected).await;
    }

    /// What one request is answered, up to a PONG sent after it.
    pub(super) async fn answer(&mut self, line: &str) -> String {
        self.send(&format!("{line}\nping")).await;
        let mut got = Vec::new();
        while !got.ends_with(b"+PONG\r\n") {
            let read = self.stream.read_u8();
            got.push(tokio::time::timeout(DEADLINE, read).await.unwrap().unwrap());
        }
        String::from_utf8_lossy(&got[..got.len() - b"+PONG\r\n".len()]).into_owned()
    }

    /// The connection ends, with nothing more to read.
    async fn expect_end(mut self) {
        let mut rest = Vec::new();
        let read = self.stream.read_to_end(&mut rest);
        tokio::time::timeout(DEADLINE, read).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), "");
        tokio::time::timeout(DEADLINE, self.session).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_whatever_finishes_first() {
    let store = MemoryStore::new(3, 1);
    let mut client = connect(&store, Port::Plain);
    store.hold();
    client.send("set a 1\nset b 2\nping\nset c 3\necho end").await;
    store.holds(3).await;
    store.release(2);
    store.release(1);
    store.holds(1).await;
    store.release(0);
    client.expect("+OK|+OK|+PONG|+OK|$3|end|").await;
}

#[tokio::test]
async fn a_read_sees_the_writes_pipelined_before_it_and_none_after_it() {
    let store = MemoryStore::new(1, 1);
    let mut client = connect(&store, Port::Plain);
    store.hold();
    client.send("set a 1\nincr a\nget a\nincr a\nget a\nset b 1").await;
    // Both writes of one slot run together, beside them the write of another slot.
    store.holds(3).await;
    for place in [2, 1, 0] {
        store.release(place);
    }
    // Then the read, the write behind it, the read behind that.
    for _ in 0..3 {
        store.holds(1).await;
        store.release(0);
    }
    client.expect("+OK|:2|$1|2|:3|$1|3|+OK|").await;
}

#[tokio::test]
async fn no_more_requests_are_started_than_may_be_in_flight() {
    let store = MemoryStore::new(16, 1);
    let settings = Settings { requests_inflight_max: 4, ..Settings::default() };
    let mut client = connect_with(&Sessions::new(store.clone(), settings), Port::Plain);
    store.hold();
    let lines: Vec<String> = (0..6).map(|number| format!("set key-{number} x")).collect();
    client.send(&lines.join("\n")).await;
    store.holds(4).await;
    store.release(0);
    store.holds(4).await;
    client.expect("+OK|").await;
    assert_eq!(store.executed().len(), 5);
}

#[tokio::test]
async fn bytes_in_flight_are_bounded_per_connection() {
    let store = MemoryStore::new(16, 1);
    let settings = Settings { connection_bytes_max: 1000, ..Settings::default() };
    let mut client = connect_with(&Sessions::new(store.clone(), settings), Port::Plain);
    store.hold();
    let value = "x".repeat(900);
    client.send(&format!("set a {value}\nset b {value}\nset c {value}")).await;
    store.holds(2).await;
    store.release(0);
    store.holds(2).await;
    store.release(0);
    store.release(0);
    client.expect("+OK|+OK|+OK|").await;
}

#[tokio::test]
async fn requests_beyond_the_bytes_of_the_node_get_an_error_that_says_so() {
    let store = MemoryStore::new(1, 1);
    let settings = Settings { node_bytes_max: 100, ..Settings::default() };
    let sessions = Sessions::new(store.clone(), settings);
    let mut client = connect_with(&sessions, Port::Plain);
    let refused =
        "-TRYAGAIN too many bytes of requests are held by this node; nothing was changed|";
    client.ask(&format!("set a {}\nping", "x".repeat(200)), &format!("{refused}+PONG|")).await;
    assert_eq!(sessions.bytes_held(), 0);
    assert!(store.executed().is_empty());
}

#[tokio::test]
async fn a_long_half_read_request_counts_against_the_node() {
    let store = MemoryStore::new(1, 1);
    let settings = Settings { node_bytes_max: 100_000, ..Settings::default() };
    let mut client = connect_with(&Sessions::new(store, settings), Port::Plain);
    let begin = [&b"*1\r\n$400000000\r\n"[..], &[b'x'; 200_000]].concat();
    client.stream.write_all(&begin).await.unwrap();
    client.expect("-ERR too many bytes of requests are held by this node|").await;
    client.expect_end().await;
}

#[tokio::test]
async fn a_protocol_error_is_answered_in_its_turn_and_closes_the_connection() {
    let store = MemoryStore::new(1, 1);
    let mut client = connect(&store, Port::Plain);
    client.send("set a 1\n*x\nping").await;
    client.expect("+OK|-ERR Protocol error: invalid multibulk length|").await;
    client.expect_end().await;
}

#[tokio::test]
async fn keys_of_several_slots_are_refused_on_both_ports() {
    let store = MemoryStore::new(1, 1);
    for port in [Port::Plain, Port::Cluster] {
        let mut client = connect(&store, port);
        let refused = "-CROSSSLOT Keys in request don't hash to the same slot|";
        client.ask("mset a 1 b 2", refused).await;
        client.ask("del a b", refused).await;
        client.ask("mset {t}a 1 {t}b 2\nmget {t}a {t}b {t}c", "+OK|*3|$1|1|$1|2|$-1|").await;
    }
}

/// Slot 15495, the last third.
const LED_BY_3: &str = "a";
/// Slot 3300, the first third.
const LED_BY_1: &str = "b";

#[tokio::test]
async fn the_cluster_port_sends_clients_to_the_leader() {
    let store = MemoryStore::new(3, 3);
    let mut client = connect(&store, Port::Cluster);
    client.ask(&format!("set {LED_BY_1} x"), "+OK|").await;
    client.ask(&format!("get {LED_BY_3}"), "-MOVED 15495 10.0.0.3:6380|").await;
    assert_eq!(store.executed().len(), 1);
    store.reroute(|routing| routing.shards[2].leader = None);
    client.ask(&format!("get {LED_BY_3}"), "-CLUSTERDOWN shard 2 has no leader|").await;
    store.reroute(|routing| routing.shards.clear());
    let blank = "-CLUSTERDOWN Hash slot not served: this node does not belong to a store yet|";
    client.ask("get a", blank).await;
    client.ask("dbsize", blank).await;
}

#[tokio::test]
async fn a_leader_that_was_deposed_meanwhile_sends_clients_on() {
    let store = MemoryStore::new(3, 3);
    let mut client = connect(&store, Port::Cluster);
    let group = GroupId::Shard(ShardId(0));
    store.fail(0, Failure::NotLeader { group, leader: Some(NodeId(2)) });
    client.ask(&format!("set {LED_BY_1} x"), "-MOVED 3300 10.0.0.2:6380|").await;
    store.fail(0, Failure::NotLeader { group, leader: None });
    client.ask(&format!("set {LED_BY_1} x"), "-CLUSTERDOWN shard 0 has no leader|").await;
}

#[tokio::test]
async fn the_plain_port_forwards_what_is_led_elsewhere() {
    let store = MemoryStore::new(3, 3);
    let mut client = connect(&store, Port::Plain);
    client.ask(&format!("set {LED_BY_3} x\nget {LED_BY_3}"), "+OK|$1|x|").await;
    let executed = store.executed();
    assert!(executed.iter().all(|request| request.reach == Reach::Anywhere));
    assert!(executed.iter().all(|request| request.level == ReadLevel::Linearizable));
}

#[tokio::test]
async fn readonly_connections_read_from_the_replica_here() {
    let store = MemoryStore::new(3, 3);
    let mut client = connect(&store, Port::Cluster);
    let (set, get) = (format!("set {LED_BY_3} x"), format!("get {LED_BY_3}"));
    client.ask(&format!("readonly\n{get}\n{set}"), "+OK|$-1|-MOVED 15495 10.0.0.3:6380|").await;
    assert_eq!((store.reads().len(), store.executed().len()), (1, 0));
    store.reroute(|routing| routing.shards[2].hosted = false);
    client.ask(&get, "-MOVED 15495 10.0.0.3:6380|").await;
    store.reroute(|routing| routing.shards[2].hosted = true);
    client.ask(&format!("readwrite\n{get}"), "+OK|-MOVED 15495 10.0.0.3:6380|").await;
}

#[tokio::test]
async fn failures_say_whether_a_write_may_still_take_effect() {
    let store = MemoryStore::new(1, 1);
    let mut client = connect(&store, Port::Plain);
    let unknown = "-UNKNOWN not acknowledged in time; the write may still take effect|";
    store.fail(0, Failure::Unknown);
    client.ask("set a 1\nget a", &format!("{unknown}-TRYAGAIN not answered in time|")).await;
    store.fail(0, Failure::Overloaded);
    client.ask("set a 1", "-TRYAGAIN too many requests are waiting; nothing was changed|").await;
    store.fail(0, Failure::NoLeader { group: GroupId::Shard(ShardId(0)) });
    client.ask("set a 1", "-CLUSTERDOWN shard-0 has no leader; nothing was changed|").await;
    store.fail(0, Failure::Unknown);
    client.ask("flushall", unknown).await;
}

#[tokio::test]
async fn scan_walks_over_every_shard_and_finds_every_key_once() {
    let store = MemoryStore::new(5, 3);
    let mut client = connect(&store, Port::Plain);
    for number in 0..200 {
        client.ask(&format!("set key:{number} x"), "+OK|").await;
    }
    let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
    loop {
        let answer = client.answer(&format!("scan {cursor} count 7 match key:*")).await;
        let mut lines = answer.split("\r\n").skip(2);
        cursor = lines.next().unwrap().to_owned();
        found.extend(lines.filter(|line| line.starts_with("key:")).map(str::to_owned));
        if cursor == "0" {
            break;
        }
    }
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 200);
    client.ask("dbsize", ":200|").await;
    assert_eq!(client.answer("keys key:1?").await.matches("key:").count(), 10);
    client.ask("scan 0 type list", "*2|$1|0|*0|").await;
    client.ask("scan 99999999999999999", "-ERR invalid cursor|").await;
}

#[tokio::test]
async fn the_cluster_port_scans_what_is_led_here_and_with_readonly_what_is_hosted() {
    let store = MemoryStore::new(3, 3);
    let mut plain = connect(&store, Port::Plain);
    plain.ask(&format!("set {LED_BY_1} x\nset {LED_BY_3} x"), "+OK|+OK|").await;
    let mut client = connect(&store, Port::Cluster);
    client.ask("scan 0 count 100\ndbsize", &format!("*2|$1|0|*1|$1|{LED_BY_1}|:1|")).await;
    client.ask("readonly\ndbsize", "+OK|:2|").await;
    client.ask("flushall", "+OK|").await;
    plain.ask("dbsize", ":1|").await;
    plain.ask("flushall\ndbsize", "+OK|:0|").await;
}

#[tokio::test]
async fn wait_asks_for_the_last_write_to_every_shard() {
    let store = MemoryStore::new(3, 3);
    let mut client = connect(&store, Port::Plain);
    client.ask("wait 2 100", ":2|").await;
    assert!(store.waits().is_empty());
    let set = format!("set {LED_BY_1} 1\nset {LED_BY_1} 2\nset {LED_BY_3} 1\nwait 2 100");
    client.ask(&set, "+OK|+OK|+OK|:2|").await;
    let mut waits: Vec<_> = store
        .waits()
        .iter()
        .map(|(shard, at, replicas)| (shard.0, at.index.0, *replicas))
        .collect();
    waits.sort_unstable();
    assert_eq!(waits, [(0, 2, 2), (2, 1, 2)]);
    client.ask("waitaof 1 1 0", "*2|:1|:2|").await;
}

#[tokio::test]
async fn what_runs_alone_waits_for_what_came_before_and_holds_what_comes_after() {
    let store = MemoryStore::new(1, 1);
    let mut client = connect(&store, Port::Plain);
    store.hold();
    client.send("set a 1\ndbsize\nset b 1\ndbsize").await;
    for _ in 0..4 {
        store.holds(1).await;
        store.release(0);
    }
    client.expect("+OK|:1|+OK|:2|").await;
}

#[tokio::test]
async fn hello_switches_the_encoding_of_what_follows() {
    let store = MemoryStore::new(1, 1);
    let mut client = connect(&store, Port::Plain);
    let fields = |proto| {
        format!(
            "$6|server|$5|redis|$7|version|$5|7.2.0|$5|proto|:{proto}|$2|id|:1|$4|mode|$10|standalone|\
             $4|role|$6|master|$7|modules|*0|"
        )
    };
    client.ask("hello", &format!("*14|{}", fields(2))).await;
    client.ask("get a\nhello 3\nget a", &format!("$-1|%7|{}_|", fields(3))).await;
    client.ask("hello 3 setname me\nclient getname", &format!("%7|{}$2|me|", fields(3))).await;
    client.ask("hello 4", "-NOPROTO unsupported protocol version|").await;
    client.ask("hello 2\nget a", &format!("*14|{}$-1|", fields(2))).await;
    let mut cluster = connect(&store, Port::Cluster);
    assert!(cluster.answer("hello").await.contains("cluster"));
}

#[tokio::test]
async fn reset_sets_the_connection_back() {
    let store = MemoryStore::new(3, 3);
    let mut client = connect(&store, Port::Cluster);
    client.answer("hello 3 setname me").await;
    client.ask("readonly\nreset\nclient getname", "+OK|+RESET|$-1|").await;
    client.ask(&format!("get {LED_BY_3}"), "-MOVED 15495 10.0.0.3:6380|").await;
}

#[tokio::test]
async fn authentication_answers_as_redis_without_users() {
    let mut client = connect(&MemoryStore::new(1, 1), Port::Plain);
    assert!(client.answer("auth secret").await.starts_with("-ERR AUTH <password> called without"));
    client.ask("auth default secret\nacl whoami", "+OK|$7|default|").await;
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.|";
    client.ask("auth somebody secret\nhello 3 auth somebody x", &format!("{wrong}{wrong}")).await;
}

#[tokio::test]
async fn select_takes_only_database_zero() {
    let store = MemoryStore::new(1, 1);
    let mut plain = connect(&store, Port::Plain);
    plain.ask("select 0\nselect 1", "+OK|-ERR DB index is out of range|").await;
    let mut cluster = connect(&store, Port::Cluster);
    cluster.ask("select 0\nselect 1", "+OK|-ERR SELECT is not allowed in cluster mode|").await;
}

#[tokio::test]
async fn client_reply_silences_answers() {
    let store = MemoryStore::new(1, 1);
    let mut client = connect(&store, Port::Plain);
    client.ask("client reply skip\nset a 1\nget a", "$1|1|").await;
    client.ask("client reply off\nget a\nset a 2\nclient reply on\nget a", "+OK|$1|2|").await;
}

#[tokio::test]
async fn connections_are_listed_named_and_killed() {
    let sessions = Sessions::new(MemoryStore::new(1, 1), Settings::default());
    let mut first = connect_with(&sessions, Port::Plain);
    let mut second = connect_with(&sessions, Port::Plain);
    first.ask("client setname one\nclient id", "+OK|:1|").await;
    second.ask("client setinfo lib-name test\nclient id", "+OK|:2|").await;
    let list = first.answer("client list").await;
    assert!(list.contains("id=1 ") && list.contains("name=one ") && list.contains("lib-name=test"));
    assert_eq!(first.answer("client list id 2").await.matches("id=").count(), 1);
    first.ask("client kill id 2\nclient kill id 2", ":1|:0|").await;
    second.expect_end().await;
    first.ask("client kill id 1 skipme no", ":1|").await;
    first.expect_end().await;
    assert_eq!(sessions.connected(), 0);
}

#[tokio::test]
async fn quit_answers_what_came_before_and_nothing_after() {
    let store = MemoryStore::new(1, 1);
    let mut client = connect(&store, Port::Plain);
    store.hold();
    client.send("set a 1\nquit\nset a 2").await;
    store.holds(1).await;
    store.release(0);
    client.expect("+OK|+OK|").await;
    client.expect_end().await;
    assert_eq!(store.executed().len(), 1);
}

#[tokio::test]
async fn a_half_closed_connection_gets_its_answers() {
    let store = MemoryStore::new(1, 1);
    let mut client = connect(&store, Port::Plain);
    client.send("set a 1\nget a").await;
    client.stream.shutdown().await.unwrap();
    client.expect("+OK|$1|1|").await;
    client.expect_end().await;
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight() {
    let store = MemoryStore::new(1, 1);
    let mut client = connect(&store, Port::Plain);
    store.hold();
    client.send("set a 1").await;
    store.holds(1).await;
    client.shutdown.cancel();
    client.send("set a 2").await;
    store.release(0);
    client.expect("+OK|").await;
    client.expect_end().await;
    assert_eq!(store.executed().len(), 1);
}

#[tokio::test]
async fn a_silent_connection_is_closed_after_the_idle_timeout() {
    let settings = Settings { idle_timeout: Some(Duration::from_millis(1)), ..Settings::default() };
    let sessions = Sessions::new(MemoryStore::new(1, 1), settings);
    connect_with(&sessions, Port::Plain).expect_end().await;
}

#[tokio::test]
async fn cluster_slots_cover_all_slots_also_without_a_leader() {
    let store = MemoryStore::new(3, 3);
    store.reroute(|routing| {
        routing.shards[1].leader = None;
        routing.shards[2].leader = None;
        routing.shards[2].leader_last = None;
    });
    let mut client = connect(&store, Port::Cluster);
    let node =
        |id: u8| format!("*4|$8|10.0.0.{id}|:6380|$40|{}|*0|", NodeId(id.into()).cluster_name());
    let row = |first: u16, last: u16, ids: [u8; 3]| {
        format!("*5|:{first}|:{last}|{}{}{}", node(ids[0]), node(ids[1]), node(ids[2]))
    };
    let expected =
        [row(0, 5460, [1, 2, 3]), row(5461, 10921, [2, 1, 3]), row(10922, 16383, [1, 2, 3])];
    client.ask("cluster slots", &format!("*3|{}", expected.concat())).await;
    let nodes = client.answer("cluster nodes").await;
    assert!(
        nodes.contains("10.0.0.1:6380@7400 myself,master - 0 0 1 connected 0-5460 10922-16383\n")
    );
    assert!(nodes.contains("10.0.0.2:6380@7400 master - 0 0 1 connected 5461-10921\n"));
    let slave = format!("slave {} 0 0 0 connected\n", NodeId(1).cluster_name());
    assert!(nodes.contains(&slave), "{nodes}");
    assert!(client.answer("cluster info").await.contains("cluster_state:ok"));
    let shards = client.answer("cluster shards").await;
    assert_eq!(shards.matches("master").count(), 3);
}

#[tokio::test]
async fn cluster_answers_what_clients_ask_on_connect() {
    let store = MemoryStore::new(3, 3);
    let mut client = connect(&store, Port::Cluster);
    client.ask("cluster keyslot foo", ":12182|").await;
    client.ask("cluster myid", &format!("$40|{}|", NodeId(1).cluster_name())).await;
    client.ask("asking\ncluster links", "+OK|*0|").await;
    client.ask("config get save", "*2|$4|save|$0||").await;
    let slot = Slot::of_key(LED_BY_3.as_bytes());
    client.ask(&format!("cluster countkeysinslot {slot}"), ":0|").await;
    let info = client.answer("info").await;
    for line in ["loading:0", "cluster_enabled:1", "role:master", "redis_mode:cluster"] {
        assert!(info.contains(&format!("{line}\r\n")), "{line}");
    }
    assert!(!client.answer("info server").await.contains("loading"));
    store.reroute(|routing| {
        routing.shards.iter_mut().for_each(|shard| shard.leader = Some(NodeId(3)))
    });
    client.ask("role", "*5|$5|slave|$8|10.0.0.3|:6380|$9|connected|:0|").await;
    assert!(client.answer("info replication").await.contains("role:slave"));
}
