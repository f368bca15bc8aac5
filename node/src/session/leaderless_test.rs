//! Connections to a store without leaders: levels, what is refused and why, and what clients are shown as the cluster.

use quorate_group::host::Failure;
use quorate_group::session::Exported;
use quorate_model::{Demand, GroupId, LeaderlessPolicy, Level, NodeId, ShardId};
use quorate_replication::leaderless::Seen;

use super::memory_store::MemoryStore;
use super::options::Options;
use super::session_test::connect;
use super::{Port, Store, Token};

const DECLARED: LeaderlessPolicy = LeaderlessPolicy {
    read: Level::Count(1),
    write: Level::Quorum,
    conflicts: quorate_model::ConflictPolicy::LastWriterWins,
    datacenters: quorate_model::Datacenters::Global,
    hints: None,
};

/// Three shards with a replica on each of three nodes. We are node 1.
fn store() -> MemoryStore {
    let store = MemoryStore::new(3, 3);
    store.reroute(|routing| routing.leaderless = Some(DECLARED));
    store
}

fn demands(store: &MemoryStore) -> Vec<Demand> {
    store.executed().iter().map(|request| request.demand).collect()
}

#[tokio::test]
async fn levels_with_nodes_that_stand_in_are_of_writes_and_need_hints() {
    let store = store();
    let mut client = connect(&store, Port::Plain);
    let need = "-ERR SLOPPY_QUORUM and ANY need nodes that stand in for replicas: this store has no spec.leaderless.hints|";
    client.ask("QUORUM ONE SLOPPY_QUORUM", need).await;
    let hints = Some(quorate_model::Hints::default());
    let policy = LeaderlessPolicy { hints, ..DECLARED };
    store.reroute(|routing| routing.leaderless = Some(policy));
    client.ask("QUORUM ONE ANY", "+OK|").await;
    let writes = "-ERR SLOPPY_QUORUM and ANY are levels of writes: nodes that stand in for replicas are not read|";
    client.ask("QUORUM ANY ONE", writes).await;
}

#[tokio::test]
async fn a_connection_reads_and_writes_at_its_own_levels_until_it_gives_them_up() {
    let store = store();
    let mut client = connect(&store, Port::Plain);
    client.ask("quorum\nset a 1", "*2|$3|ONE|$6|QUORUM|+OK|").await;
    client.ask("quorum 2 all\nget a\nset a 2", "+OK|$1|1|+OK|").await;
    client.ask("quorum\nquorum reset\nget a", "*2|$1|2|$3|ALL|+OK|$1|2|").await;
    client.ask("quorum all all\nreset\nget a", "+OK|+RESET|$1|2|").await;
    let (two, all) = (Demand::Level(Level::Count(2)), Demand::Level(Level::All));
    let declared = Demand::Declared;
    assert_eq!(demands(&store), [declared, two, all, declared, declared]);
}

#[tokio::test]
async fn a_connection_is_linearizable_until_it_asks_for_levels() {
    let store = store();
    let mut client = connect(&store, Port::Plain);
    client.ask("quorum linearizable\nget a\nset a 1", "+OK|$-1|+OK|").await;
    client.ask("quorum\nquorum one one\nget a", "*1|$12|LINEARIZABLE|+OK|$1|1|").await;
    let one = Demand::Level(Level::Count(1));
    assert_eq!(demands(&store), [Demand::Linearizable, Demand::Linearizable, one]);
    let conflicts = quorate_model::ConflictPolicy::Siblings;
    store.reroute(|routing| {
        routing.leaderless = Some(LeaderlessPolicy { conflicts, ..DECLARED });
    });
    assert!(client.answer("quorum linearizable").await.starts_with("-ERR LINEARIZABLE is for "));
    client.ask("quorum", "*2|$3|ONE|$3|ONE|").await;
}

#[tokio::test]
async fn a_wrong_level_changes_nothing() {
    let store = store();
    let mut client = connect(&store, Port::Plain);
    client.ask("quorum 2 2", "+OK|").await;
    for line in ["quorum one none", "quorum one any", "quorum one", "quorum 0 1"] {
        assert!(client.answer(line).await.starts_with("-ERR "), "{line}");
    }
    client.ask("quorum", "*2|$1|2|$1|2|").await;
}

#[tokio::test]
async fn a_store_with_leaders_has_no_levels_and_no_concurrent_values() {
    let store = MemoryStore::new(1, 1);
    let mut client = connect(&store, Port::Plain);
    for line in ["quorum", "quorum one one", "quorum reset"] {
        client.ask(line, "-ERR QUORUM is for leaderless stores|").await;
    }
    for line in ["vget a", "vset a 1", "vset a 1 context c", "vdel a context c"] {
        client.ask(line, "-ERR VGET, VSET and VDEL are for leaderless stores and those with several leaders|").await;
    }
    assert!(demands(&store).iter().all(|demand| *demand == Demand::Declared));
}

#[tokio::test]
async fn what_needs_a_leader_is_refused_with_the_reason() {
    let store = store();
    let mut client = connect(&store, Port::Plain);
    for line in
        ["wait 1 100", "waitaof 0 1 100", "session set reads replica", "session set prefix on"]
    {
        let answer = client.answer(line).await;
        assert!(answer.starts_with("-ERR ") && answer.contains("leaderless"), "{line}: {answer}");
    }
    client.ask("readonly\nreadwrite\nunwatch", "+OK|+OK|+OK|").await;
    assert!(store.executed().is_empty() && store.waits().is_empty());
}

fn seen(store: &MemoryStore) -> Vec<Option<Seen>> {
    store.executed().iter().map(|request| request.seen.clone()).collect()
}

#[tokio::test]
async fn a_session_is_promised_what_it_asks_for_and_goes_on_elsewhere_with_its_token() {
    let store = store();
    let mut client = connect(&store, Port::Plain);
    client
        .ask("get a\nsession get", "$-1|*4|$16|read-your-writes|$3|off|$9|monotonic|$3|off|")
        .await;
    client.ask("session set read-your-writes position\nget a", "+OK|$-1|").await;
    let token = Token {
        store: store.routing().store,
        knowledge: Exported::default(),
        options: Options::default(),
        seen: Seen { cells: Vec::new(), more: true },
        crossing: None,
    };
    let token = token.encode().unwrap();
    client.ask(&format!("session resume {token}\nget a"), "+OK|$-1|").await;
    client.ask("session set monotonic on\nget a\nset a 1", "+OK|$-1|+OK|").await;
    let text = client.answer("session token").await;
    assert!(text.contains("qs2."), "{text}");
    client.ask("session reset\nget a", "+OK|$1|1|").await;
    let (nothing, more) = (Some(Seen::default()), Some(Seen { cells: Vec::new(), more: true }));
    assert_eq!(seen(&store), [None, nothing, None, more.clone(), more, None]);
}

#[tokio::test]
async fn nothing_of_a_transaction_is_done() {
    let store = store();
    let mut client = connect(&store, Port::Plain);
    let why = "-ERR a leaderless store has no transactions: no replica knows for certain what a key holds|";
    let discarded = "-EXECABORT Transaction discarded: a leaderless store has no transactions|";
    client.ask("watch a", why).await;
    let answers = format!("+OK|{why}{why}{discarded}");
    client.ask("multi\nset a 1\nping\nexec", &answers).await;
    client.ask("multi\nonce t exec", &format!("+OK|{discarded}")).await;
    client.ask("exec", "-ERR EXEC without MULTI|").await;
    client.ask("multi\ndiscard\nping", "+OK|+OK|+PONG|").await;
    assert!(store.executed().is_empty());
}

#[tokio::test]
async fn reads_of_a_readonly_connection_keep_to_its_level() {
    let store = store();
    for port in [Port::Plain, Port::Cluster] {
        let mut client = connect(&store, port);
        client.ask("readonly\nquorum all all\nget a", "+OK|+OK|$-1|").await;
    }
    assert_eq!(demands(&store), [Demand::Level(Level::All); 2]);
    assert!(store.reads().is_empty());
}

#[tokio::test]
async fn a_quorum_that_was_not_reached_says_who_answered() {
    let store = store();
    let mut client = connect(&store, Port::Plain);
    let failure = |writes| Failure::NoQuorum { answered: 1, needed: 2, writes };
    (0..3).for_each(|shard| store.fail(shard, failure(true)));
    let text = "-NOQUORUM 1 of 2 replicas answered in time";
    client.ask("set a 1", &format!("{text}; the write may still take effect|")).await;
    (0..3).for_each(|shard| store.fail(shard, failure(false)));
    client.ask("get a", &format!("{text}|")).await;
}

#[tokio::test]
async fn the_node_that_is_asked_is_shown_as_the_master_of_what_it_holds() {
    let store = store();
    store.reroute(|routing| routing.shards[1].hosted = false);
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
    assert!(nodes.contains("myself,master - 0 0 1 connected 0-5460 10922-16383\n"), "{nodes}");
    let slave = format!("slave {} 0 0 0 connected\n", NodeId(1).cluster_name());
    assert!(nodes.contains(&slave), "{nodes}");
    assert_eq!(client.answer("cluster shards").await.matches("master").count(), 3);
    assert!(client.answer("cluster info").await.contains("cluster_slots_ok:16384"));
    client.ask("role", "*3|$6|master|:0|*0|").await;
    let info = client.answer("info replication").await;
    assert!(info.contains("role:master\r\nmode:leaderless\r\nconnected_slaves:0\r\n"), "{info}");
}

/// Slot 15495, the last third.
const OF_SHARD_2: &str = "a";

#[tokio::test]
async fn the_cluster_port_serves_every_shard_with_a_replica_here_and_sends_clients_on_for_others() {
    let store = store();
    let mut client = connect(&store, Port::Cluster);
    client.ask(&format!("set {OF_SHARD_2} 1"), "+OK|").await;
    store.reroute(|routing| routing.shards[2].hosted = false);
    client.ask(&format!("set {OF_SHARD_2} 1"), "-MOVED 15495 10.0.0.3:6380|").await;
    // Whom clients are sent to by default is this node, and it has no replica: another one has.
    store.reroute(|routing| routing.shards[2].leader = Some(NodeId(1)));
    client.ask(&format!("set {OF_SHARD_2} 1"), "-MOVED 15495 10.0.0.2:6380|").await;
    store.reroute(|routing| routing.shards[2].hosted = true);
    store.fail(2, Failure::Filling { group: GroupId::Shard(ShardId(2)) });
    client.ask(&format!("set {OF_SHARD_2} 1"), "-MOVED 15495 10.0.0.2:6380|").await;
}
