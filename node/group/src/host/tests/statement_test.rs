//! What goes wrong with statements in a log, pitfall by pitfall: replicas with clocks of their own, applying as much at once as it
//! happens. With everything pinned they are the same; without the one pin they are not.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use quorate_model::{LogFormat, NodeId};

use super::super::{ReadLevel, Reply, Request};
use super::cluster::{Cluster, SHARD, node, topology};
use crate::entry::{Pin, unpinned};
use crate::{Expiry, Operation, Read, SetCondition, Value, Version, Write};

const NODES: [u128; 3] = [1, 2, 3];

/// Three replicas whose clocks are minutes apart, and statements in the log. Nothing is compared and repaired behind the test's back.
fn cluster(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed, 3);
    cluster.settings.check_interval = Duration::from_secs(1_000_000);
    cluster.skew = [(node(2), 150_000), (node(3), -170_000)].into();
    for id in NODES {
        cluster.restart(node(id));
    }
    let mut topology = topology(&NODES, 1, &NODES);
    topology.policy.log_format = LogFormat::Statement;
    cluster.bootstrap(topology);
    cluster.await_format(LogFormat::Statement);
    cluster
}

fn key(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

fn set(name: &str, value: &str, expiry: Expiry) -> Operation {
    Operation::Write(Write::Set {
        key: key(name),
        value: key(value),
        condition: SetCondition::Always,
        expiry,
        get: false,
    })
}

/// All rows of a replica.
fn rows(cluster: &Cluster, id: NodeId) -> Vec<(Bytes, Bytes)> {
    cluster.rows(id)
}

/// The members of its sets, without the versions of keys, which are drawn with every write.
fn members(cluster: &Cluster, id: NodeId) -> Vec<(Bytes, Bytes)> {
    let mut rows = cluster.rows(id);
    rows.retain(|(row, _)| row.first() == Some(&b'f'));
    rows
}

/// The strings in its keys.
fn strings(cluster: &Cluster, id: NodeId) -> Vec<(Bytes, Bytes)> {
    let mut rows = cluster.rows(id);
    rows.retain(|(row, _)| row.first() == Some(&b'd'));
    rows.into_iter().map(|(row, cell)| (row, cell.slice(HEADER_BYTES..))).collect()
}

/// In front of a key's value: its type, expiry and version.
const HEADER_BYTES: usize = 1 + 8 + 8;

type State = fn(&Cluster, NodeId) -> Vec<(Bytes, Bytes)>;

/// Without this pin the scenario ends in different states, with all of them in one.
fn diverges_only_without(pin: Pin, scenario: fn(&mut Cluster)) {
    differs_only_without(pin, rows, scenario);
}

/// As that, in this part of the state.
fn differs_only_without(pin: Pin, state: State, scenario: fn(&mut Cluster)) {
    let states = |cluster: &mut Cluster| {
        cluster.settle();
        let states: BTreeSet<_> = NODES.iter().map(|id| state(cluster, node(*id))).collect();
        assert!(states.iter().all(|state| !state.is_empty()), "there is something to compare");
        states.len()
    };
    let run = |pin| {
        let mut cluster = cluster(41);
        let guard = unpinned::without(pin);
        scenario(&mut cluster);
        let states = states(&mut cluster);
        drop(guard);
        states
    };
    assert_eq!(run(None), 1, "with every pin the replicas are the same");
    assert!(run(Some(pin)) > 1, "without {pin:?} they are not");
}

/// NOW(): every relative expiry is counted from somebody's now.
#[test]
fn the_time_of_a_statement_is_its_leaders() {
    diverges_only_without(Pin::Time, |cluster| {
        cluster.run(SHARD, &set("session", "token", Expiry::In { ms: 600_000 }));
    });
}

/// NOW() once more: whether a key is there depends on what time it is.
#[test]
fn whether_a_key_has_expired_is_the_leaders_word() {
    diverges_only_without(Pin::Time, |cluster| {
        cluster.run(SHARD, &set("visits", "100", Expiry::In { ms: 60_000 }));
        cluster.run(SHARD, &set("other", "1", Expiry::Never));
        cluster.run(SHARD, &Operation::Write(Write::Increment { key: key("visits"), by: 1 }));
    });
}

/// RAND(): which members SPOP takes is drawn by lot.
#[test]
fn every_replica_takes_the_same_members_out_of_a_set() {
    differs_only_without(Pin::Seed, members, |cluster| {
        let members: Vec<Bytes> = (0..60).map(|member| key(&format!("m-{member}"))).collect();
        let add = Write::AddMembers { key: key("set"), members };
        cluster.run(SHARD, &Operation::Write(add));
        for count in [None, Some(7), None, Some(12)] {
            let pop = Write::PopMembers { key: key("set"), count };
            cluster.run(SHARD, &Operation::Write(pop));
        }
        let pop = Write::PopMembers { key: key("set"), count: Some(3) };
        let operations = vec![Operation::Write(pop)];
        let exec = Write::Transaction { watched: Vec::new(), operations };
        cluster.run(SHARD, &Operation::Write(exec));
    });
}

/// RAND() once more: a version is drawn for every change of a key, and whether EXEC does anything hangs on it.
#[test]
fn every_replica_finds_a_watched_key_as_it_was_or_changed() {
    differs_only_without(Pin::Seed, strings, |cluster| {
        cluster.run(SHARD, &set("watched", "before", Expiry::Never));
        let versions = Operation::Read(Read::Versions { keys: vec![key("watched")] });
        let Value::List(versions) = cluster.run(SHARD, &versions).0 else { panic!("a list") };
        let [Value::Integer(version)] = versions[..] else { panic!("one version") };
        let watched = vec![(key("watched"), Version(version.cast_unsigned()))];
        let operations = vec![set("watched", "after", Expiry::Never)];
        let exec = Write::Transaction { watched, operations };
        cluster.run(SHARD, &Operation::Write(exec));
    });
}

/// Whoever reads, computes and writes does so on what those before it left: also when a replica applies many at once.
#[test]
fn statements_that_read_before_they_write_see_those_before_them() {
    diverges_only_without(Pin::Order, |cluster| {
        let leader = cluster.await_leader(quorate_model::GroupId::Shard(SHARD));
        let others: Vec<NodeId> = NODES.map(node).into_iter().filter(|id| *id != leader).collect();
        // One follower gets all of it at once, later.
        cluster.cut.insert((leader, others[0]));
        let mut asked = Vec::new();
        for number in 0..40 {
            for write in [
                Write::Increment { key: key("counter"), by: 1 },
                Write::Append { key: key("list"), suffix: key(&number.to_string()) },
                // UPDATE ... WHERE.
                Write::Set {
                    key: key("owner"),
                    value: key(&format!("client-{number}")),
                    condition: SetCondition::IfAbsent,
                    expiry: Expiry::Never,
                    get: false,
                },
            ] {
                let (operation, level) = (Operation::Write(write), ReadLevel::Linearizable);
                asked.push(
                    cluster.request(leader, Request::Execute { shard: SHARD, operation, level }),
                );
            }
            cluster.run_for(Duration::from_micros(700));
        }
        cluster.heal();
        let answers: Vec<_> = asked.into_iter().map(|id| cluster.reply(id).unwrap()).collect();
        if !unpinned::is(Pin::Order) {
            // What the clients were answered is what came to be.
            let counts: Vec<i64> = answers
                .iter()
                .filter_map(|answer| {
                    let Reply::Value { value: Value::Integer(count), .. } = answer else {
                        return None;
                    };
                    Some(*count)
                })
                .step_by(2)
                .collect();
            assert_eq!(counts, (1..=40).collect::<Vec<_>>());
            let owner = Operation::Read(Read::Get { key: key("owner") });
            assert_eq!(cluster.run(SHARD, &owner).0, Value::Bulk(key("client-0")));
        }
    });
}

/// A trigger: keys whose time has come are removed by the store itself.
#[test]
fn what_expires_is_removed_by_the_leaders_time_everywhere() {
    diverges_only_without(Pin::Expiry, |cluster| {
        for number in 0..5 {
            cluster.run(SHARD, &set(&format!("short-{number}"), "v", Expiry::In { ms: 300 }));
        }
        cluster.run_for(Duration::from_secs(3));
    });
}
