//! Of several leaders: what one has applied, and the wait for it in another datacenter.

use std::time::Duration;

use quorate_model::{Datacenter, GroupId, Mode, MultiLeader, NodeId, VersionVector};

use super::super::{Failure, Input, ReadLevel, Reply, Request};
use super::cluster::{Cluster, SHARD, bulk, get, node, set, topology};
use crate::{Operation, Value};

const GROUP: GroupId = GroupId::Shard(SHARD);
const LONG_MS: u64 = 60_000;

/// Nodes 1 and 3 in one datacenter, 2 and 4 in another; with a leader in each, which hear nothing of each other any more.
fn apart(seed: u64) -> (Cluster, NodeId, NodeId) {
    let mut cluster = Cluster::new(seed, 4);
    let mut topology = topology(&[1, 2, 3, 4], 1, &[1, 2, 3, 4]);
    for (id, member) in &mut topology.members {
        let place = if id.0 % 2 == 1 { "dc-a" } else { "dc-b" };
        member.datacenter = Datacenter::new(place).unwrap();
    }
    topology.mode = Mode::MultiLeader(MultiLeader::new(Default::default(), &topology));
    cluster.bootstrap(topology);
    cluster.until("both lead", |cluster| leaders(cluster).len() == 2);
    let leaders = leaders(&cluster);
    let [one, other] = [1, 0].map(|odd| *leaders.iter().find(|id| id.0 % 2 == odd).unwrap());
    execute(&mut cluster, one, set("before", "x")).unwrap();
    cluster.until("it came over", |cluster| {
        let shown = |id| cluster.rows(id).iter().any(|(row, _)| row.ends_with(b"before"));
        shown(other)
    });
    for from in (1..=4).map(node) {
        let to = (1..=4).map(node).filter(|to| to.0 % 2 != from.0 % 2);
        cluster.cut.extend(to.map(|to| (from, to)));
    }
    (cluster, one, other)
}

fn leaders(cluster: &Cluster) -> Vec<NodeId> {
    let leads = |id: &NodeId| cluster.replica(*id, GROUP).is_some_and(|replica| replica.leading);
    (1..=4).map(node).filter(leads).collect()
}

fn execute(cluster: &mut Cluster, at: NodeId, operation: Operation) -> Result<Value, Failure> {
    let reply = cluster.execute(at, SHARD, operation, ReadLevel::Linearizable)?;
    let Reply::Value { value, .. } = reply else { panic!("{reply:?}") };
    Ok(value)
}

fn known(cluster: &mut Cluster, at: NodeId) -> VersionVector {
    let Ok(Reply::Known(known)) = cluster.ask(at, Request::ReadKnown { shard: SHARD }) else {
        panic!("a leader knows what it knows")
    };
    known
}

const fn awaited(floor: VersionVector, wait_ms: u64) -> Request {
    Request::AwaitKnown { shard: SHARD, floor, wait_ms }
}

#[test]
fn what_was_written_elsewhere_is_waited_for_and_what_is_lacking_is_told() {
    let (mut cluster, one, other) = apart(90);
    execute(&mut cluster, one, set("key", "1")).unwrap();
    execute(&mut cluster, one, set("key", "2")).unwrap();
    let floor = known(&mut cluster, one);
    assert!(matches!(cluster.ask(one, awaited(floor.clone(), 0)), Ok(Reply::Index(_))));
    let began = cluster.now;
    let Err(Failure::Lacking { group, lacking }) = cluster.ask(other, awaited(floor.clone(), 100))
    else {
        panic!("nothing came over")
    };
    assert!(cluster.now.since(began) >= Duration::from_millis(100));
    assert_eq!(group, GROUP);
    let text = lacking.to_string();
    assert!(text.starts_with("dc-b does not have") && text.contains("2 writes of dc-a"), "{text}");
    assert_eq!(cluster.read_local(other, "key"), Ok(Value::Nil));
    let waiting = cluster.request(other, awaited(floor, LONG_MS));
    cluster.heal();
    assert!(matches!(cluster.reply(waiting), Ok(Reply::Index(_))));
    assert_eq!(execute(&mut cluster, other, get("key")), Ok(bulk("2")));
}

#[test]
fn a_follower_names_the_leader_and_nobody_is_remembered_who_waits_no_longer() {
    let (mut cluster, one, other) = apart(91);
    execute(&mut cluster, one, set("key", "1")).unwrap();
    let floor = known(&mut cluster, one);
    let follower = (1..=4).map(node).find(|id| id.0 % 2 == other.0 % 2 && *id != other).unwrap();
    let elsewhere = Err(Failure::NotLeader { group: GROUP, leader: Some(other) });
    assert_eq!(cluster.ask(follower, awaited(floor.clone(), LONG_MS)), elsewhere);
    assert_eq!(cluster.ask(follower, Request::ReadKnown { shard: SHARD }), elsewhere);
    let waiting = |cluster: &Cluster| cluster.host(other).groups[&GROUP].reads.knowing.len();
    let id = cluster.request(other, awaited(floor.clone(), LONG_MS));
    cluster.request(other, awaited(floor, 100));
    assert_eq!(waiting(&cluster), 2);
    cluster.step(other, Input::Cancel { id });
    cluster.until("its time is over", |cluster| waiting(cluster) == 0);
}

#[test]
fn who_waits_at_a_leader_that_is_deposed_is_sent_on() {
    let (mut cluster, one, other) = apart(92);
    execute(&mut cluster, one, set("key", "1")).unwrap();
    let floor = known(&mut cluster, one);
    let waiting = cluster.request(other, awaited(floor, LONG_MS));
    cluster.ask(other, Request::Handover).unwrap();
    let answer = cluster.reply(waiting);
    assert!(matches!(answer, Err(Failure::NotLeader { group: GROUP, .. })), "{answer:?}");
}
