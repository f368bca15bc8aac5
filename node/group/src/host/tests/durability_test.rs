//! What each durability promises, and what happens when it cannot be kept: INV-60 to INV-66 as a client and an operator
//! see them.

use std::time::Duration;

use quorate_model::admin::SwapReason;
use quorate_model::{Durability, GroupId, InSyncPolicy, NodeId, OnLoss};

use super::super::{ReadLevel, Request, RequestId};
use super::cluster::{Cluster, SHARD, bulk, member, node, set};
use crate::keyspace::{LostOutcome, lost_writes};
use crate::{Operation, Value};

const GROUP: GroupId = GroupId::Shard(SHARD);
const SLOW_AFTER: Duration = Duration::from_millis(300);

fn with_policy(seed: u64, nodes: u128, durability: Durability, on_loss: OnLoss) -> Cluster {
    let mut cluster = Cluster::bootstrapped(seed, nodes, 1);
    cluster.declare(durability, on_loss);
    cluster
}

impl Cluster {
    /// Declares a durability and waits until it is in force.
    fn declare(&mut self, durability: Durability, on_loss: OnLoss) {
        let slow_after_ms = u64::try_from(SLOW_AFTER.as_millis()).unwrap();
        self.change(|topology| {
            topology.policy.durability = durability;
            topology.policy.in_sync = InSyncPolicy { count: 1, on_loss, slow_after_ms };
        });
        self.until("the declared rule is in force", |cluster| {
            let leader = cluster.leader(GROUP).and_then(|leader| cluster.replica(leader, GROUP));
            leader.is_some_and(|leader| {
                leader.acknowledgement.settled
                    && leader.acknowledgement.durability == durability
                    && leader.acknowledgement.waiting_for.is_empty()
                    && !leader.acknowledgement.shrunk
            })
        });
    }

    fn in_sync_followers(&self) -> Vec<NodeId> {
        let leader = self.leader(GROUP).unwrap();
        let set = self.replica(leader, GROUP).unwrap().acknowledgement.in_sync;
        set.into_iter().filter(|member| *member != leader).collect()
    }

    fn begin_write(&mut self, key: &str, value: &str) -> RequestId {
        let leader = self.await_leader(GROUP);
        let (operation, level) = (set(key, value), ReadLevel::Linearizable);
        self.request(leader, Request::Execute { shard: SHARD, operation, level })
    }

    fn is_done(&self, id: RequestId) -> bool {
        self.replies.get(&id).is_some_and(Result::is_ok)
    }
}

#[test]
pub(super) fn every_durability_serves_and_each_can_follow_each() {
    let all = [Durability::Quorum, Durability::Async, Durability::SemiSync, Durability::Sync];
    let mut cluster = Cluster::bootstrapped(40, 3, 1);
    for (number, (from, to)) in
        all.iter().flat_map(|from| all.iter().map(move |to| (*from, *to))).enumerate()
    {
        cluster.declare(from, OnLoss::Block);
        cluster.write(&format!("before {number}"), "value");
        cluster.declare(to, OnLoss::Block);
        cluster.write(&format!("after {number}"), "value");
        assert_eq!(cluster.read(&format!("before {number}")), bulk("value"));
    }
}

#[test]
pub(super) fn a_synchronous_follower_that_freezes_is_replaced_and_writes_go_on() {
    let mut cluster = with_policy(41, 3, Durability::SemiSync, OnLoss::Replace);
    let leader = cluster.await_leader(GROUP);
    let frozen = cluster.in_sync_followers()[0];
    cluster.machines[&frozen].disk.stall(true);
    let began = cluster.now;
    let write = cluster.begin_write("key", "value");
    cluster.until("the write is acknowledged", |cluster| cluster.is_done(write));
    let took = cluster.now.since(began);
    let hardly_earlier = SLOW_AFTER - Duration::from_millis(5);
    assert!(took >= hardly_earlier, "{took:?}: it waited for the frozen one");
    assert!(took < SLOW_AFTER + Duration::from_millis(50), "{took:?}: and a round trip longer");
    assert!(!cluster.in_sync_followers().contains(&frozen));
    let swaps = cluster.replica(leader, GROUP).unwrap().swaps;
    let newest = swaps.last().unwrap();
    assert_eq!(newest.why, SwapReason::Slow);
    assert_eq!(newest.removed.iter().collect::<Vec<_>>(), [&frozen]);
    cluster.machines[&frozen].disk.stall(false);
    cluster.write("other", "value");
}

#[test]
pub(super) fn under_block_writes_wait_for_the_follower_that_is_gone() {
    let mut cluster = with_policy(42, 3, Durability::SemiSync, OnLoss::Block);
    let leader = cluster.await_leader(GROUP);
    let gone = cluster.in_sync_followers()[0];
    let before = cluster.in_sync_followers();
    cluster.isolate(gone);
    cluster.run_for(Duration::from_secs(2));
    let write = cluster.begin_write("key", "value");
    cluster.run_for(Duration::from_secs(1));
    assert!(!cluster.is_done(write), "it is not on the follower that it waits for");
    let shown = cluster.replica(leader, GROUP).unwrap().acknowledgement;
    assert_eq!(shown.waiting_for.into_iter().collect::<Vec<_>>(), [gone]);
    assert_eq!(cluster.in_sync_followers(), before);
    cluster.heal();
    cluster.until("the write is acknowledged", |cluster| cluster.is_done(write));
}

#[test]
pub(super) fn under_shrink_the_set_gives_way_and_grows_again() {
    let mut cluster = with_policy(43, 3, Durability::Sync, OnLoss::Shrink);
    let leader = cluster.await_leader(GROUP);
    let gone = cluster.in_sync_followers()[0];
    cluster.isolate(gone);
    cluster.write("key", "value");
    let shown = cluster.replica(leader, GROUP).unwrap().acknowledgement;
    assert!(shown.shrunk && !shown.in_sync.contains(&gone), "{shown:?}");
    cluster.heal();
    cluster.until("the set is whole", |cluster| {
        let shown = cluster.replica(leader, GROUP).unwrap().acknowledgement;
        !shown.shrunk && shown.in_sync.len() == 3
    });
    let swaps = cluster.replica(leader, GROUP).unwrap().swaps;
    assert_eq!(swaps.last().unwrap().why, SwapReason::Recovered);
}

#[test]
pub(super) fn an_acknowledged_write_survives_the_leader_with_its_one_synchronous_follower() {
    // Five voters: the leader and its follower are no majority, and still nothing is lost.
    for seed in 44..52 {
        let mut cluster = with_policy(seed, 5, Durability::SemiSync, OnLoss::Replace);
        let leader = cluster.await_leader(GROUP);
        let follower = cluster.in_sync_followers()[0];
        // The others get nothing of it.
        let others: Vec<NodeId> =
            (1..=5).map(node).filter(|id| *id != leader && *id != follower).collect();
        for other in &others {
            cluster.cut.insert((leader, *other));
        }
        let write = cluster.begin_write("key", "value");
        cluster.until("the write is acknowledged", |cluster| cluster.is_done(write));
        cluster.isolate(leader);
        cluster.await_other_leader(GROUP, leader);
        assert_eq!(cluster.read("key"), bulk("value"), "seed {seed}");
    }
}

#[test]
pub(super) fn what_an_asynchronous_leader_lost_is_in_its_rollback_file() {
    let mut cluster = with_policy(53, 3, Durability::Async, OnLoss::Replace);
    cluster.write("kept", "value");
    let old = cluster.await_leader(GROUP);
    cluster.run_for(Duration::from_millis(500));
    cluster.isolate(old);
    let writes: Vec<RequestId> =
        (0..3).map(|number| cluster.begin_write(&format!("lost {number}"), "value")).collect();
    for write in writes {
        cluster.until("acknowledged by one disk", |cluster| cluster.is_done(write));
    }
    cluster.await_other_leader(GROUP, old);
    cluster.write("after", "value");
    cluster.heal();
    cluster.until("the old leader has given up its log's end", |cluster| {
        !cluster.machines[&old].rollbacks.is_empty()
    });
    let rollbacks = cluster.machines[&old].rollbacks.clone();
    assert_eq!(rollbacks.len(), 1);
    assert!(rollbacks[0].led);
    let lost: Vec<_> = rollbacks[0]
        .entries
        .iter()
        .flat_map(|entry| {
            let quorate_replication::single_leader::Payload::Command(command) = &entry.payload
            else {
                panic!("only commands are saved")
            };
            lost_writes(command.clone()).unwrap()
        })
        .collect();
    let keys: Vec<&[u8]> = lost.iter().map(|write| &write.key[..]).collect();
    assert_eq!(keys, [b"lost 0", b"lost 1", b"lost 2"]);
    match &lost[0].outcome {
        LostOutcome::String { value, .. } => assert_eq!(value, "value"),
        LostOutcome::Statement(write) => {
            assert_eq!(Operation::Write(*write.clone()), set("lost 0", "value"))
        }
        LostOutcome::Elements { .. } | LostOutcome::Renamed { .. } | LostOutcome::Deleted => {
            panic!("it was set")
        }
    }
    assert_eq!(cluster.read("lost 0"), Value::Nil);
    for key in ["kept", "after"] {
        assert_eq!(cluster.read(key), bulk("value"));
    }
    // Nothing has to be rebuilt: the old leader follows.
    cluster.until("all replicas are equal", |cluster| {
        let applied: Vec<_> =
            (1..=3).map(|id| cluster.replica(node(id), GROUP).unwrap().applied).collect();
        applied.iter().all(|one| *one == applied[0])
    });
    assert_eq!(cluster.read_local(old, "lost 0"), Ok(Value::Nil));
}

#[test]
pub(super) fn what_goes_with_a_replica_that_is_no_longer_wanted_is_in_its_rollback_file() {
    let mut cluster = with_policy(57, 3, Durability::Async, OnLoss::Replace);
    let old = cluster.await_leader(GROUP);
    cluster.add(node(4));
    cluster.change(|topology| {
        topology.members.insert(node(4), member(node(4)));
    });
    cluster.until("the new member has the topology", |cluster| {
        cluster.machines[&node(4)].topology.is_some()
    });
    cluster.isolate(old);
    let write = cluster.begin_write("lost", "value");
    cluster.until("acknowledged by one disk", |cluster| cluster.is_done(write));
    let new = cluster.await_other_leader(GROUP, old);
    cluster.change(|topology| {
        topology.shards[0].voters.remove(&old);
        topology.shards[0].voters.insert(node(4));
    });
    cluster.until("the old leader is out of its group", |cluster| {
        let voters = cluster.replica(new, GROUP).unwrap().configuration.voters;
        voters.len() == 3 && !voters.contains(&old)
    });
    // Until nobody calls it any more.
    cluster.run_for(Duration::from_secs(60));
    cluster.heal();
    cluster.until("its replica is gone", |cluster| cluster.replica(old, GROUP).is_none());
    let rollbacks = &cluster.machines[&old].rollbacks;
    assert_eq!(rollbacks.len(), 1);
    assert!(rollbacks[0].led);
    assert_eq!(rollbacks[0].entries.len(), 1);
    assert_eq!(cluster.read("lost"), Value::Nil);
}

#[test]
pub(super) fn a_failover_says_when_it_was_detected_and_when_it_was_over() {
    let mut cluster = Cluster::bootstrapped(54, 3, 1);
    cluster.write("key", "value");
    let old = cluster.await_leader(GROUP);
    let old_term = cluster.replica(old, GROUP).unwrap().term;
    let cut_at = cluster.wall();
    cluster.isolate(old);
    let new = cluster.await_other_leader(GROUP, old);
    cluster.write("other", "value");
    let failovers = cluster.replica(new, GROUP).unwrap().failovers;
    let newest = failovers.last().unwrap();
    assert_eq!((newest.old_leader, newest.new_leader), (Some(old), new));
    assert_eq!(newest.old_term, old_term);
    assert!(newest.new_term > old_term && !newest.planned && !newest.lossy);
    assert!(cut_at <= newest.detected_at && newest.detected_at <= newest.elected_at);
    assert!(newest.acknowledged_at.unwrap() >= newest.elected_at);
    cluster.heal();
}

#[test]
pub(super) fn a_wedged_disk_loses_leadership_within_one_election_timeout() {
    for durability in [Durability::Quorum, Durability::SemiSync, Durability::Async] {
        let mut cluster = with_policy(55, 3, durability, OnLoss::Replace);
        let old = cluster.await_leader(GROUP);
        cluster.machines[&old].disk.stall(true);
        let began = cluster.now;
        let _pending = cluster.begin_write("key", "value");
        cluster.until("it leads no longer", |cluster| {
            cluster.replica(old, GROUP).is_some_and(|replica| replica.leader != Some(old))
        });
        let took = cluster.now.since(began);
        assert!(took <= cluster.settings.replication.election_timeout, "{durability:?}: {took:?}");
        cluster.write("other", "value");
    }
}

#[test]
pub(super) fn a_leader_that_hears_nobody_does_not_come_and_go() {
    let mut cluster = Cluster::bootstrapped(56, 3, 1);
    let old = cluster.await_leader(GROUP);
    for other in (1..=3).map(node).filter(|id| *id != old) {
        cluster.cut.insert((other, old));
    }
    let new = cluster.await_other_leader(GROUP, old);
    let term = cluster.replica(new, GROUP).unwrap().term;
    cluster.run_for(Duration::from_secs(10));
    let now = cluster.replica(new, GROUP).unwrap();
    assert!(now.leading && now.term == term, "{now:?}");
    cluster.write("key", "value");
}
