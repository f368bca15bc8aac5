//! What requests are answered: bounds, timeouts, WAIT, expiry.

use std::time::Duration;

use bytes::Bytes;
use quorate_model::{GroupId, LogIndex, Position, Term};

use super::super::{Failure, Input, ReadLevel, Reply, Request};
use super::cluster::{Cluster, SHARD, bulk, get, node, set};
use crate::{Expiry, Operation, Read, SetCondition, Value, Write};

const GROUP: GroupId = GroupId::Shard(SHARD);

fn linearizable(operation: Operation) -> Request {
    Request::Execute { shard: SHARD, operation, level: ReadLevel::Linearizable }
}

#[test]
pub(super) fn a_follower_names_the_leader() {
    let mut cluster = Cluster::bootstrapped(1, 3, 1);
    let leader = cluster.await_leader(GROUP);
    cluster.run_for(Duration::from_secs(1));
    let follower = (1..=3).map(node).find(|id| *id != leader).unwrap();
    let expected = Err(Failure::NotLeader { group: GROUP, leader: Some(leader) });
    assert_eq!(cluster.ask(follower, linearizable(set("key", "value"))), expected);
    assert_eq!(cluster.ask(follower, linearizable(get("key"))), expected);
}

#[test]
pub(super) fn a_shard_that_is_not_hosted_is_refused() {
    let mut cluster = Cluster::new(2, 1);
    let expected = Err(Failure::NotHosted { group: GROUP });
    assert_eq!(cluster.ask(node(1), linearizable(get("key"))), expected);
    let expected = Err(Failure::NotHosted { group: GroupId::Meta });
    assert_eq!(cluster.ask(node(1), Request::ReadTopology), expected);
}

#[test]
pub(super) fn a_write_that_cannot_be_acknowledged_is_unknown() {
    let mut cluster = Cluster::bootstrapped(3, 3, 1);
    // Elections wait, so that the leader stays one while nobody answers it.
    cluster.settings.request_timeout = Duration::from_millis(300);
    for id in 1..=3 {
        cluster.restart(node(id));
    }
    let leader = cluster.await_leader(GROUP);
    cluster.isolate(leader);
    let reply = cluster.ask(leader, linearizable(set("key", "value")));
    assert_eq!(reply, Err(Failure::Unknown));
}

#[test]
pub(super) fn without_a_majority_a_request_waits_and_then_says_so() {
    let mut cluster = Cluster::bootstrapped(4, 3, 1);
    let leader = cluster.await_leader(GROUP);
    for other in (1..=3).map(node).filter(|id| *id != leader) {
        cluster.crash(other);
    }
    cluster.until("the leader steps down", |cluster| cluster.leader(GROUP).is_none());
    let begin = cluster.now;
    let reply = cluster.ask(leader, linearizable(set("key", "value")));
    assert_eq!(reply, Err(Failure::NoLeader { group: GROUP }));
    assert!(cluster.now.since(begin) >= cluster.settings.request_timeout);
}

#[test]
pub(super) fn requests_wait_through_an_election() {
    let mut cluster = Cluster::bootstrapped(5, 3, 1);
    let old = cluster.await_leader(GROUP);
    cluster.crash(old);
    let survivor = (1..=3).map(node).find(|id| *id != old).unwrap();
    cluster.until("the leader is missed", |cluster| {
        cluster.replica(survivor, GROUP).is_some_and(|replica| replica.leader.is_none())
    });
    let reply = cluster.ask(survivor, linearizable(set("key", "value")));
    assert!(
        matches!(reply, Ok(Reply::Value { .. }) | Err(Failure::NotLeader { leader: Some(_), .. })),
        "{reply:?}"
    );
}

#[test]
pub(super) fn too_many_requests_are_refused_and_change_nothing() {
    let mut cluster = Cluster::bootstrapped(6, 3, 1);
    cluster.settings.requests_max = 2;
    for id in 1..=3 {
        cluster.restart(node(id));
    }
    let leader = cluster.await_leader(GROUP);
    let first = cluster.request(leader, linearizable(set("a", "1")));
    let second = cluster.request(leader, linearizable(set("b", "1")));
    let third = cluster.request(leader, linearizable(set("c", "1")));
    assert_eq!(cluster.reply(third), Err(Failure::Overloaded));
    assert!(cluster.reply(first).is_ok() && cluster.reply(second).is_ok());
    assert_eq!(cluster.read("c"), Value::Nil);
}

#[test]
pub(super) fn a_cancelled_request_is_not_answered() {
    let mut cluster = Cluster::bootstrapped(7, 3, 1);
    let leader = cluster.await_leader(GROUP);
    let id = cluster.request(leader, linearizable(set("key", "value")));
    cluster.step(leader, Input::Cancel { id });
    cluster.run_for(Duration::from_secs(6));
    assert!(!cluster.replies.contains_key(&id));
    assert_eq!(cluster.host(leader).status().requests_waiting, 0);
    // It was in the log already.
    assert_eq!(cluster.read("key"), bulk("value"));
}

#[test]
pub(super) fn concurrent_writes_see_each_other() {
    let mut cluster = Cluster::bootstrapped(8, 3, 1);
    let leader = cluster.await_leader(GROUP);
    let increment =
        Operation::Write(Write::Increment { key: Bytes::from_static(b"counter"), by: 1 });
    let ids: Vec<_> =
        (0..50).map(|_| cluster.request(leader, linearizable(increment.clone()))).collect();
    for (id, expected) in ids.into_iter().zip(1..) {
        let Ok(Reply::Value { value, position }) = cluster.reply(id) else { panic!("{id:?}") };
        assert_eq!(value, Value::Integer(expected));
        assert!(position.is_some());
    }
    assert_eq!(cluster.read("counter"), bulk("50"));
}

#[test]
pub(super) fn a_write_without_effects_waits_for_what_it_saw() {
    let mut cluster = Cluster::bootstrapped(9, 3, 1);
    let leader = cluster.await_leader(GROUP);
    let first = cluster.request(leader, linearizable(set("key", "value")));
    let absent = Operation::Write(Write::Set {
        key: Bytes::from_static(b"key"),
        value: Bytes::from_static(b"other"),
        condition: SetCondition::IfAbsent,
        expiry: Expiry::Never,
        get: false,
    });
    let second = cluster.request(leader, linearizable(absent));
    assert!(!cluster.replies.contains_key(&second));
    assert_eq!(cluster.reply(second), Ok(Reply::Value { value: Value::Nil, position: None }));
    assert!(cluster.replies.contains_key(&first), "nothing is seen before it is acknowledged");
}

#[test]
pub(super) fn wait_counts_the_followers_that_hold_a_position() {
    let mut cluster = Cluster::bootstrapped(10, 3, 1);
    let position = cluster.write("key", "value");
    let leader = cluster.await_leader(GROUP);
    let wait =
        |replicas, timeout_ms| Request::Wait { shard: SHARD, position, replicas, timeout_ms };
    assert_eq!(cluster.ask(leader, wait(2, 0)), Ok(Reply::Waited { replicas: 2 }));
    let follower = (1..=3).map(node).find(|id| *id != leader).unwrap();
    cluster.crash(follower);
    let position = cluster.write("key", "again");
    let wait = Request::Wait { shard: SHARD, position, replicas: 2, timeout_ms: 200 };
    assert_eq!(cluster.ask(leader, wait), Ok(Reply::Waited { replicas: 1 }));
    let position = Position { term: Term(1), index: LogIndex(1) };
    let other = (1..=3).map(node).find(|id| *id != leader && *id != follower).unwrap();
    let wait = Request::Wait { shard: SHARD, position, replicas: 1, timeout_ms: 200 };
    let expected = Err(Failure::NotLeader { group: GROUP, leader: Some(leader) });
    assert_eq!(cluster.ask(other, wait), expected);
}

#[test]
pub(super) fn a_follower_serves_what_the_leader_confirmed() {
    let mut cluster = Cluster::bootstrapped(11, 3, 1);
    cluster.write("key", "value");
    let leader = cluster.await_leader(GROUP);
    let Ok(Reply::Index(index)) = cluster.ask(leader, Request::ReadIndex { shard: SHARD }) else {
        panic!("the leader knows")
    };
    for id in (1..=3).map(node) {
        let request = Request::AwaitApplied { shard: SHARD, index };
        assert_eq!(cluster.ask(id, request), Ok(Reply::Done));
        assert_eq!(cluster.read_local(id, "key"), Ok(bulk("value")));
    }
    let request = Request::AwaitApplied { shard: SHARD, index: LogIndex(1_000_000) };
    assert_eq!(cluster.ask(leader, request), Err(Failure::TimedOut { group: GROUP }));
}

fn set_for(key: &'static [u8], ms: i64) -> Operation {
    Operation::Write(Write::Set {
        key: Bytes::from_static(key),
        value: Bytes::from_static(b"value"),
        condition: SetCondition::Always,
        expiry: Expiry::In { ms },
        get: false,
    })
}

#[test]
pub(super) fn what_expired_is_removed_through_the_log() {
    let mut cluster = Cluster::bootstrapped(12, 3, 1);
    for key in [b"a", b"b", b"c"] {
        cluster.run(SHARD, &set_for(key, 500));
    }
    cluster.until("three keys everywhere", |cluster| {
        (1..=3).all(|id| cluster.replica(node(id), GROUP).unwrap().keys == 3)
    });
    cluster.until("no key is left anywhere", |cluster| {
        (1..=3).all(|id| cluster.replica(node(id), GROUP).unwrap().keys == 0)
    });
}

#[test]
pub(super) fn a_read_of_an_expired_key_removes_it_first() {
    let mut cluster = Cluster::bootstrapped(13, 3, 1);
    // Nobody else removes it.
    cluster.settings.expiry_interval = Duration::from_secs(3600);
    for id in 1..=3 {
        cluster.restart(node(id));
    }
    cluster.run(SHARD, &set_for(b"key", 100));
    cluster.run_for(Duration::from_millis(200));
    let leader = cluster.await_leader(GROUP);
    assert_eq!(cluster.replica(leader, GROUP).unwrap().keys, 1);
    assert_eq!(cluster.read_local(leader, "key"), Ok(Value::Nil));
    assert_eq!(cluster.replica(leader, GROUP).unwrap().keys, 1);
    assert_eq!(cluster.read("key"), Value::Nil);
    assert_eq!(cluster.replica(leader, GROUP).unwrap().keys, 0);
}

#[test]
pub(super) fn a_flush_empties_the_shard_and_the_next_write_begins_anew() {
    let mut cluster = Cluster::bootstrapped(14, 3, 1);
    let leader = cluster.await_leader(GROUP);
    cluster.write("old", "value");
    let flush = cluster.request(leader, linearizable(Operation::Write(Write::Flush)));
    let write = cluster.request(leader, linearizable(set("new", "value")));
    let read = cluster.request(leader, linearizable(Operation::Read(Read::CountKeys)));
    for id in [flush, write, read] {
        assert!(cluster.reply(id).is_ok());
    }
    assert_eq!(cluster.read("old"), Value::Nil);
    assert_eq!(cluster.read("new"), bulk("value"));
    for id in 1..=3 {
        cluster.restart(node(id));
    }
    assert_eq!(cluster.run(SHARD, &Operation::Read(Read::CountKeys)).0, Value::Integer(1));
    assert_eq!(cluster.read("old"), Value::Nil);
}

#[test]
pub(super) fn a_stale_epoch_is_refused() {
    let mut cluster = Cluster::bootstrapped(15, 3, 1);
    cluster.change(|topology| topology.shards[0].preferred_leader = Some(node(2)));
    let meta = cluster.await_leader(GroupId::Meta);
    let Ok(Reply::Topology(topology)) = cluster.ask(meta, Request::ReadTopology) else {
        panic!("the meta leader answers")
    };
    let expected = topology.epoch.previous();
    let current = topology.epoch;
    let stale = Request::ProposeTopology { expected, topology: topology.clone() };
    assert_eq!(cluster.ask(meta, stale), Err(Failure::EpochMoved { expected, current }));
    let mut shrunk = *topology;
    shrunk.epoch = current.next();
    shrunk.shards[0].genesis.clear();
    let invalid = Request::ProposeTopology { expected: current, topology: Box::new(shrunk) };
    assert!(matches!(cluster.ask(meta, invalid), Err(Failure::Invalid(_))));
}
