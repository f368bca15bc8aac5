//! Writes keep their order when some are refused, and none that may have arrived is sent twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_group::host::{Failure, ReadLevel, Reply};
use quorate_group::{Operation, Write};
use quorate_model::{Datacenter, GroupId, NodeId, ShardId, StoreId, Term};
use tokio::sync::oneshot;

use super::lane::{Lane, Send};
use super::table::{Identity, Table};
use super::wires::Sent;
use crate::peer::{Hear, Leaders, Lost, Remote};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const SHARD: ShardId = ShardId(0);
const GROUP: GroupId = GroupId::Shard(SHARD);

/// What was sent, to be answered by the test.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<OnWire>>>);

struct OnWire {
    to: NodeId,
    name: i64,
    generation: u64,
    answer: oneshot::Sender<Result<Result<Reply, Failure>, Lost>>,
}

impl Send for Sink {
    fn send(&self, to: NodeId, request: Remote, generation: u64) -> Result<Sent, Lost> {
        let Remote::Execute { operation: Operation::Write(Write::Increment { by, .. }), .. } =
            request
        else {
            panic!("not sent by this test")
        };
        let (answer, pending) = oneshot::channel();
        self.0.lock().push(OnWire { to, name: by, generation, answer });
        Ok(Sent::Peer(pending))
    }
}

impl Sink {
    async fn next(&self) -> OnWire {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            {
                let mut sent = self.0.lock();
                if !sent.is_empty() {
                    return sent.remove(0);
                }
            }
            assert!(Instant::now() < deadline, "nothing was sent");
            tokio::task::yield_now().await;
        }
    }
}

fn write(name: i64) -> Remote {
    let key = Bytes::from_static(b"k");
    let operation = Operation::Write(Write::Increment { key, by: name });
    Remote::Execute { shard: SHARD, operation, level: ReadLevel::Linearizable }
}

fn lane() -> (Arc<Lane<Sink>>, Arc<Table>, Sink) {
    let table = Arc::new(Table::new(Identity {
        node: NodeId(9),
        name: String::new(),
        datacenter: Datacenter::new("dc-a").unwrap(),
        store: StoreId(1),
    }));
    table.follow(super::table::test_topology(&[A, B]));
    table.leaders(A, Leaders { leads: vec![(GROUP, Term(1))], moved: Vec::new() });
    let sink = Sink::default();
    (Lane::new(GROUP, Arc::clone(&table), sink.clone()), table, sink)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn refusal() -> Result<Result<Reply, Failure>, Lost> {
    Ok(Err(Failure::NotLeader { group: GROUP, leader: Some(B) }))
}

#[tokio::test]
async fn refused_writes_are_sent_again_in_their_order() {
    let (lane, _, sink) = lane();
    let writes: Vec<_> =
        (1..=3).map(|name| tokio::spawn(lane.write(write(name), soon()))).collect();
    let mut first = Vec::new();
    for name in 1..=3 {
        let sent = sink.next().await;
        assert_eq!((sent.to, sent.name, sent.generation), (A, name, first_generation()));
        first.push(sent);
    }
    // Answered in another order than they were sent in.
    for sent in first.into_iter().rev() {
        sent.answer.send(refusal()).unwrap();
    }
    for name in 1..=3 {
        let sent = sink.next().await;
        assert_eq!((sent.to, sent.name), (B, name));
        assert!(sent.generation > first_generation());
        sent.answer.send(Ok(Ok(Reply::Done))).unwrap();
    }
    for write in writes {
        assert_eq!(write.await.unwrap(), Ok(Reply::Done));
    }
}

/// The table's leader differs from the lane's first target, none, so the first generation is the second.
const fn first_generation() -> u64 {
    2
}

#[tokio::test]
async fn a_write_behind_a_refused_one_waits_for_it() {
    let (lane, _, sink) = lane();
    let one = tokio::spawn(lane.write(write(1), soon()));
    let two = tokio::spawn(lane.write(write(2), soon()));
    let (sent_one, sent_two) = (sink.next().await, sink.next().await);
    sent_one.answer.send(Ok(Err(Failure::NoLeader { group: GROUP }))).unwrap();
    tokio::task::yield_now().await;
    // Not sent before the second is answered, since that one may have been done.
    let three = tokio::spawn(lane.write(write(3), soon()));
    tokio::task::yield_now().await;
    assert!(sink.0.lock().is_empty());
    sent_two.answer.send(Ok(Ok(Reply::Done))).unwrap();
    for name in [1, 3] {
        let sent = sink.next().await;
        assert_eq!(sent.name, name);
        sent.answer.send(Ok(Ok(Reply::Done))).unwrap();
    }
    for write in [one, two, three] {
        assert_eq!(write.await.unwrap(), Ok(Reply::Done));
    }
}

#[tokio::test]
async fn a_write_that_may_have_arrived_is_unknown_and_not_sent_again() {
    let (lane, _, sink) = lane();
    let one = tokio::spawn(lane.write(write(1), soon()));
    sink.next().await.answer.send(Err(Lost::Broken)).unwrap();
    assert_eq!(one.await.unwrap(), Err(Failure::Unknown));
    assert!(sink.0.lock().is_empty());
}

#[tokio::test]
async fn a_new_leader_is_used_while_writes_are_stuck_at_the_old_one() {
    let (lane, table, sink) = lane();
    let stuck = tokio::spawn(lane.write(write(1), soon()));
    let at_a = sink.next().await;
    table.leaders(B, Leaders { leads: vec![(GROUP, Term(2))], moved: Vec::new() });
    let next = tokio::spawn(lane.write(write(2), soon()));
    let at_b = sink.next().await;
    assert_eq!((at_b.to, at_b.name), (B, 2));
    at_b.answer.send(Ok(Ok(Reply::Done))).unwrap();
    assert_eq!(next.await.unwrap(), Ok(Reply::Done));
    // Sent again it would come after the second, so its refusal is passed on.
    at_a.answer.send(refusal()).unwrap();
    assert!(matches!(stuck.await.unwrap(), Err(Failure::NotLeader { .. })));
    assert!(sink.0.lock().is_empty());
}

#[tokio::test]
async fn a_write_stuck_at_a_replaced_leader_is_unknown_before_its_deadline() {
    let (lane, table, sink) = lane();
    let far = Instant::now() + Duration::from_secs(3_600);
    let stuck = tokio::spawn(lane.write(write(1), far));
    let _kept = sink.next().await;
    table.leaders(B, Leaders { leads: vec![(GROUP, Term(2))], moved: Vec::new() });
    assert_eq!(stuck.await.unwrap(), Err(Failure::Unknown));
}

#[tokio::test]
async fn a_write_that_was_never_sent_says_so_at_its_deadline() {
    let (lane, _, sink) = lane();
    let deadline = Instant::now() + Duration::from_millis(30);
    let one = tokio::spawn(lane.write(write(1), deadline));
    let mut sent = sink.next().await;
    loop {
        sent.answer.send(Ok(Err(Failure::NoLeader { group: GROUP }))).unwrap();
        if Instant::now() > deadline {
            break;
        }
        sent = match tokio::time::timeout(Duration::from_millis(200), sink.next()).await {
            Ok(sent) => sent,
            Err(_) => break,
        };
    }
    assert_eq!(one.await.unwrap(), Err(Failure::NoLeader { group: GROUP }));
}
