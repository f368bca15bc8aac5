//! Each guarantee of sessions: the anomaly on a replica that lags when nobody asks for the guarantee, and none with it.
//! INV-70 to INV-74.

use std::time::Duration;

use quorate_model::{
    Durability, GroupId, LogIndex, NodeId, Position, ReadPreference, ReadYourWrites, SessionPolicy,
    ShardId, Term,
};

use super::super::{Failure, Floor, ReadLevel, Reply, Request};
use super::cluster::{Cluster, SHARD, bulk, get, node, set};
use crate::session::{Knowledge, Source};
use crate::{Operation, Value};

const GROUP: GroupId = GroupId::Shard(SHARD);
const OTHER: ShardId = ShardId(1);

/// One client with what it knows and what it asks for.
struct Session {
    knowledge: Knowledge,
    policy: SessionPolicy,
}

impl Session {
    /// Reads at replicas and asks for nothing.
    fn without() -> Self {
        let policy = SessionPolicy {
            reads: ReadPreference::Replica,
            read_your_writes: ReadYourWrites::Off,
            monotonic: false,
            consistent_prefix: false,
            staleness_ms_max: None,
            wait_ms: 100,
        };
        Self { knowledge: Knowledge::default(), policy }
    }

    fn with(change: impl Fn(&mut SessionPolicy)) -> Self {
        let mut session = Self::without();
        change(&mut session.policy);
        session
    }

    fn write(&mut self, cluster: &mut Cluster, shard: ShardId, key: &str, value: &str) {
        let (answer, position) = cluster.run(shard, &set(key, value));
        assert_eq!(answer, Value::Ok);
        self.knowledge.wrote(shard, position, cluster.now);
    }

    /// As a node does it, without going elsewhere when the replica cannot answer.
    fn read(
        &mut self,
        cluster: &mut Cluster,
        at: NodeId,
        shard: ShardId,
        key: &str,
    ) -> Result<Value, Failure> {
        let source = self.knowledge.source(shard, [key.as_bytes()], &self.policy, cluster.now);
        let Source::Replica(mut needs) = source else {
            let (value, _) = cluster.run(shard, &get(key));
            self.knowledge.read_at_leader(shard, cluster.now);
            return Ok(value);
        };
        if needs.after.is_some() {
            let leader = cluster.await_leader(GroupId::Shard(shard));
            let Reply::Index(index) = cluster.ask(leader, Request::ReadIndex { shard })? else {
                panic!("an index")
            };
            needs.floor.confirmed = index;
        }
        let Operation::Read(read) = get(key) else { unreachable!() };
        let wait_ms = self.policy.wait_ms;
        let request = Request::ReadAt { shard, read, floor: needs.floor, wait_ms };
        let Reply::Read { value, position } = cluster.ask(at, request)? else {
            panic!("a session's read")
        };
        self.knowledge.read_at_replica(shard, &needs.floor, position, cluster.now);
        Ok(value)
    }
}

/// Three nodes, and a follower that hears nothing more of its leader.
fn with_a_deaf_follower(seed: u64) -> (Cluster, NodeId, NodeId) {
    let mut cluster = Cluster::bootstrapped(seed, 3, 1);
    cluster.write("key", "old");
    cluster.run_for(Duration::from_millis(300));
    let leader = cluster.await_leader(GROUP);
    let deaf = (1..=3).map(node).find(|id| *id != leader).unwrap();
    cluster.cut.insert((leader, deaf));
    (cluster, leader, deaf)
}

const fn behind<T>() -> Result<T, Failure> {
    Err(Failure::Behind { group: GROUP })
}

#[test]
fn own_writes_are_missed_without_and_read_with_a_position() {
    let (mut cluster, _, deaf) = with_a_deaf_follower(60);
    let mut without = Session::without();
    without.write(&mut cluster, SHARD, "key", "new");
    assert_eq!(without.read(&mut cluster, deaf, SHARD, "key"), Ok(bulk("old")));
    let mut with = Session::with(|policy| policy.read_your_writes = ReadYourWrites::Position);
    with.write(&mut cluster, SHARD, "key", "newer");
    let began = cluster.now;
    assert_eq!(with.read(&mut cluster, deaf, SHARD, "key"), behind());
    assert!(cluster.now.since(began) >= Duration::from_millis(100), "it waits as long as it may");
    cluster.heal();
    with.policy.wait_ms = 3_000;
    assert_eq!(with.read(&mut cluster, deaf, SHARD, "key"), Ok(bulk("newer")));
}

#[test]
fn own_writes_are_read_with_a_window_and_missed_after_it() {
    let (mut cluster, _, deaf) = with_a_deaf_follower(61);
    let window = ReadYourWrites::Window { ms: 500 };
    let mut session = Session::with(|policy| policy.read_your_writes = window.clone());
    session.write(&mut cluster, SHARD, "key", "new");
    assert_eq!(session.read(&mut cluster, deaf, SHARD, "key"), Ok(bulk("new")));
    cluster.run_for(Duration::from_millis(600));
    assert_eq!(session.read(&mut cluster, deaf, SHARD, "key"), Ok(bulk("old")));
}

#[test]
fn own_keys_are_read_at_the_leader_and_others_are_not() {
    let (mut cluster, _, deaf) = with_a_deaf_follower(62);
    let owner = ReadYourWrites::Owner { patterns: vec!["my:*".to_owned()] };
    let mut session = Session::with(|policy| policy.read_your_writes = owner.clone());
    session.write(&mut cluster, SHARD, "my:name", "new");
    session.write(&mut cluster, SHARD, "key", "new");
    assert_eq!(session.read(&mut cluster, deaf, SHARD, "my:name"), Ok(bulk("new")));
    assert_eq!(session.read(&mut cluster, deaf, SHARD, "key"), Ok(bulk("old")));
}

#[test]
fn reads_go_back_without_and_never_with_monotonic_reads() {
    let (mut cluster, leader, deaf) = with_a_deaf_follower(63);
    cluster.write("key", "new");
    let mut without = Session::without();
    assert_eq!(without.read(&mut cluster, leader, SHARD, "key"), Ok(bulk("new")));
    assert_eq!(without.read(&mut cluster, deaf, SHARD, "key"), Ok(bulk("old")));
    let mut with = Session::with(|policy| policy.monotonic = true);
    assert_eq!(with.read(&mut cluster, leader, SHARD, "key"), Ok(bulk("new")));
    assert_eq!(with.read(&mut cluster, deaf, SHARD, "key"), behind());
    // What a leader answered is as binding as what a replica did.
    let mut with = Session::with(|policy| policy.monotonic = true);
    with.knowledge.read_at_leader(SHARD, cluster.now);
    assert_eq!(with.read(&mut cluster, deaf, SHARD, "key"), behind());
    cluster.heal();
    with.policy.wait_ms = 3_000;
    assert_eq!(with.read(&mut cluster, deaf, SHARD, "key"), Ok(bulk("new")));
}

#[test]
fn an_effect_is_seen_before_its_cause_without_and_never_with_a_consistent_prefix() {
    let mut cluster = Cluster::bootstrapped(64, 3, 2);
    cluster.change(|topology| {
        topology.shards[0].preferred_leader = Some(node(1));
        topology.shards[1].preferred_leader = Some(node(2));
    });
    cluster.until("each shard has its preferred leader", |cluster| {
        let leader = |shard| cluster.leader(GroupId::Shard(shard));
        leader(SHARD) == Some(node(1)) && leader(OTHER) == Some(node(2))
    });
    cluster.run_for(Duration::from_millis(300));
    // The third node hears of one shard and not of the other.
    cluster.cut.insert((node(1), node(3)));
    cluster.run(SHARD, &set("question", "how far can you look into the future?"));
    cluster.run(OTHER, &set("answer", "about ten seconds"));
    cluster.run_for(Duration::from_millis(300));
    let mut without = Session::without();
    let answer = bulk("about ten seconds");
    assert_eq!(without.read(&mut cluster, node(3), OTHER, "answer"), Ok(answer.clone()));
    assert_eq!(without.read(&mut cluster, node(3), SHARD, "question"), Ok(Value::Nil));
    let mut with = Session::with(|policy| policy.consistent_prefix = true);
    assert_eq!(with.read(&mut cluster, node(3), OTHER, "answer"), Ok(answer));
    assert_eq!(with.read(&mut cluster, node(3), SHARD, "question"), behind());
    cluster.heal();
    with.policy.wait_ms = 3_000;
    let question = Ok(bulk("how far can you look into the future?"));
    assert_eq!(with.read(&mut cluster, node(3), SHARD, "question"), question);
}

#[test]
fn a_read_is_as_old_as_it_happens_to_be_without_and_bounded_with_a_staleness() {
    let (mut cluster, _, deaf) = with_a_deaf_follower(65);
    cluster.write("key", "new");
    cluster.run_for(Duration::from_secs(1));
    let mut without = Session::without();
    assert_eq!(without.read(&mut cluster, deaf, SHARD, "key"), Ok(bulk("old")));
    for ms in [0, 500] {
        let mut with = Session::with(|policy| policy.staleness_ms_max = Some(ms));
        assert_eq!(with.read(&mut cluster, deaf, SHARD, "key"), behind());
    }
    cluster.heal();
    let mut with = Session::with(|policy| {
        policy.staleness_ms_max = Some(0);
        policy.wait_ms = 3_000;
    });
    assert_eq!(with.read(&mut cluster, deaf, SHARD, "key"), Ok(bulk("new")));
}

/// A cluster under `Async` whose leader is cut off with a write that it alone has acknowledged.
fn with_a_write_that_gets_lost(seed: u64) -> (Cluster, NodeId, Position) {
    let mut cluster = Cluster::bootstrapped(seed, 3, 1);
    cluster.change(|topology| topology.policy.durability = Durability::Async);
    cluster.until("Async is in force", |cluster| {
        let leader = cluster.leader(GROUP).and_then(|leader| cluster.replica(leader, GROUP));
        leader.is_some_and(|leader| {
            leader.acknowledgement.settled && leader.acknowledgement.durability == Durability::Async
        })
    });
    cluster.write("kept", "value");
    cluster.run_for(Duration::from_millis(500));
    let old = cluster.await_leader(GROUP);
    cluster.isolate(old);
    let (operation, level) = (set("lost", "value"), ReadLevel::Linearizable);
    let reply = cluster.execute(old, SHARD, operation, level);
    let Ok(Reply::Value { position: Some(position), .. }) = reply else { panic!("{reply:?}") };
    (cluster, old, position)
}

#[test]
fn a_write_that_a_failover_lost_is_told_and_not_waited_for() {
    let (mut cluster, old, position) = with_a_write_that_gets_lost(66);
    let survivor = (1..=3).map(node).find(|id| *id != old).unwrap();
    let Operation::Read(read) = get("lost") else { unreachable!() };
    let floor = Floor { written: position, ..Floor::default() };
    let request = Request::ReadAt { shard: SHARD, read, floor, wait_ms: 5_000 };
    let lost = Err(Failure::PositionLost { group: GROUP, position });
    // It waits, since the write may still come; and it ends when it cannot any more.
    let waiting = cluster.request(survivor, request.clone());
    assert!(!cluster.replies.contains_key(&waiting));
    let new = cluster.await_other_leader(GROUP, old);
    assert_eq!(cluster.reply(waiting), lost);
    // Others have taken its index since.
    for number in 0..3 {
        cluster.run(SHARD, &set("other", &number.to_string()));
    }
    assert_eq!(cluster.ask(survivor, request), lost);
    let wait = Request::Wait { shard: SHARD, position, replicas: 1, timeout_ms: 200 };
    assert_eq!(cluster.ask(new, wait), lost, "others hold something else at its index");
}

#[test]
fn a_confirmation_under_async_covers_what_the_leader_alone_has_acknowledged() {
    let (mut cluster, _, _) = with_a_write_that_gets_lost(67);
    cluster.heal();
    let leader = cluster.await_leader(GROUP);
    let followers: Vec<NodeId> = (1..=3).map(node).filter(|id| *id != leader).collect();
    cluster.run(SHARD, &set("key", "old"));
    cluster.run_for(Duration::from_millis(300));
    // Heartbeats are answered, entries are not made durable.
    for follower in &followers {
        cluster.machines[follower].disk.stall(true);
    }
    cluster.run(SHARD, &set("key", "new"));
    let mut session = Session::with(|policy| policy.staleness_ms_max = Some(0));
    assert_eq!(session.read(&mut cluster, followers[0], SHARD, "key"), behind());
    for follower in &followers {
        cluster.machines[follower].disk.stall(false);
    }
    session.policy.wait_ms = 3_000;
    assert_eq!(session.read(&mut cluster, followers[0], SHARD, "key"), Ok(bulk("new")));
}

#[test]
fn who_waits_for_what_never_comes_is_forgotten() {
    let mut cluster = Cluster::bootstrapped(68, 3, 1);
    let leader = cluster.await_leader(GROUP);
    let Operation::Read(read) = get("key") else { unreachable!() };
    let far = Position { term: Term(1_000), index: LogIndex(u64::MAX) };
    let floor = Floor { written: far, ..Floor::default() };
    for wait_ms in [0, 10] {
        let request = Request::ReadAt { shard: SHARD, read: read.clone(), floor, wait_ms };
        assert_eq!(cluster.ask(leader, request), behind());
    }
    assert!(cluster.host(leader).groups[&GROUP].reads.applying.is_empty());
}
