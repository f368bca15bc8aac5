//! What is told of failovers, swaps, catch-up and lost writes: each once, and completed later.

use quorate_api::{CatchUpPhase as Phase, SwapWhy};
use quorate_model::{
    Durability, GroupId, LogIndex, NodeId, ShardId, Term, WallTime,
    admin::{
        CatchUpPhase, Failover, NodeReport, ReplicaReport, Role, RollbackFile, Swap, SwapReason,
    },
};

use super::{EventReason, Outcome, Report, report};
use crate::{Observed, Reported, fixtures, plan, simulation::World};

const SHARD: GroupId = GroupId::Shard(ShardId(0));

fn told(world: &World, observed: &Observed) -> Report {
    let store = world.valid();
    let made = plan(&store, observed);
    let outcome = Outcome::Planned { store: &store, plan: &made, failure: None };
    report(&fixtures::resource(fixtures::three_datacenters(3)), observed, outcome)
}

/// The same observation after the status of `report` was written.
fn after(observed: &Observed, report: &Report) -> Observed {
    Observed { status: report.status.clone(), ..observed.clone() }
}

fn reports(observed: &mut Observed) -> impl Iterator<Item = &mut NodeReport> {
    observed.reports.values_mut().filter_map(|reported| match reported {
        Reported::Known { report, .. } => Some(&mut **report),
        Reported::Unknown { .. } => None,
    })
}

fn leader(observed: &mut Observed) -> (NodeId, &mut ReplicaReport) {
    let mut all = reports(observed);
    all.find_map(|report| {
        let node = report.node;
        let mut replicas = report.replicas.iter_mut();
        replicas.find(|r| r.group == SHARD && r.role == Role::Leader).map(|r| (node, r))
    })
    .unwrap()
}

fn follower(observed: &mut Observed) -> &mut NodeReport {
    let (node, _) = leader(observed);
    reports(observed).find(|report| report.node != node).unwrap()
}

fn failed_over(observed: &mut Observed, lossy: bool) -> Failover {
    let old = follower(observed).node;
    let (new_leader, replica) = leader(observed);
    let failover = Failover {
        old_leader: Some(old),
        new_leader,
        old_term: Term(1),
        new_term: Term(2),
        planned: false,
        detected_at: WallTime(1_700_000_000_000),
        elected_at: WallTime(1_700_000_000_020),
        acknowledged_at: None,
        lossy,
    };
    replica.failovers = vec![failover.clone()];
    failover
}

fn reasons(report: &Report) -> Vec<EventReason> {
    report.events.iter().map(|event| event.reason).collect()
}

fn condition(report: &Report, kind: &str) -> (String, String, String) {
    let found = report.status.conditions.iter().find(|c| c.type_ == kind).unwrap();
    (found.status.clone(), found.reason.clone(), found.message.clone())
}

#[test]
fn a_failover_is_told_once_and_completed_by_its_first_write() {
    let mut world = World::settled(30, 3);
    let mut observed = world.observe();
    failed_over(&mut observed, false);
    let first = told(&world, &observed);
    assert_eq!(reasons(&first), [EventReason::Failover]);
    assert_eq!(first.status.failovers.len(), 1);
    assert_eq!(first.status.failovers[0].lost_writes, Some(0), "nothing can be lost under Quorum");
    assert_eq!(first.status.failovers[0].pause_ms, None);

    let mut later = after(&observed, &first);
    leader(&mut later).1.failovers[0].acknowledged_at = Some(WallTime(1_700_000_000_045));
    let second = told(&world, &later);
    assert_eq!(reasons(&second), []);
    assert_eq!(second.status.failovers[0].pause_ms, Some(45));

    // The new leader was restarted and remembers nothing; the status does.
    let mut forgotten = after(&later, &second);
    leader(&mut forgotten).1.failovers.clear();
    let third = told(&world, &forgotten);
    assert_eq!(third.status, second.status);
    assert_eq!(reasons(&third), []);
}

#[test]
fn the_first_leader_follows_nobody_and_a_switchover_is_no_warning() {
    let mut world = World::settled(31, 3);
    let mut observed = world.observe();
    let planned = Failover { planned: true, ..failed_over(&mut observed, false) };
    let first = Failover { old_term: Term::ZERO, new_term: Term(1), ..planned.clone() };
    leader(&mut observed).1.failovers = vec![first, planned];
    let report = told(&world, &observed);
    assert_eq!(reasons(&report), [EventReason::Switchover]);
    assert_eq!(report.status.failovers.len(), 1);
}

#[test]
fn lost_writes_are_the_old_leaders_to_tell() {
    let mut world = World::settled(32, 3);
    let mut observed = world.observe();
    let old = failed_over(&mut observed, true).old_leader;
    // It is silent still: nobody knows what it had acknowledged.
    let silent = reports(&mut observed).find(|r| Some(r.node) == old).unwrap().name.clone();
    let unknown = Reported::Unknown { reason: "no answer".to_owned() };
    let back = observed.reports.insert(silent.clone(), unknown).unwrap();
    let first = told(&world, &observed);
    assert_eq!(first.status.failovers[0].lost_writes, None);
    assert!(reasons(&first).contains(&EventReason::Failover));

    let mut later = after(&observed, &first);
    later.reports.insert(silent.clone(), back);
    let file = RollbackFile {
        name: "shard-0-term-1.rollback".to_owned(),
        group: SHARD,
        term: Term(1),
        first: LogIndex(5),
        last: LogIndex(7),
        writes: 3,
        bytes: 300,
        saved_at: WallTime(1),
        led: true,
    };
    let report = reports(&mut later).find(|r| r.name == silent).unwrap();
    report.rollbacks = vec![file];
    let second = told(&world, &later);
    let failover = &second.status.failovers[0];
    assert_eq!(failover.lost_writes, Some(3));
    assert_eq!(failover.rollback_files, [format!("{silent}/shard-0-term-1.rollback")]);
    assert!(reasons(&second).contains(&EventReason::WritesRolledBack));
    assert_eq!(condition(&second, "RolledBackWrites").0, "True");

    // Somebody deletes the file: what was lost stays known.
    let mut deleted = after(&later, &second);
    reports(&mut deleted).for_each(|report| report.rollbacks.clear());
    let third = told(&world, &deleted);
    assert_eq!(third.status.failovers[0].lost_writes, Some(3));
    assert_eq!(condition(&third, "RolledBackWrites").0, "False");
    assert!(!reasons(&third).contains(&EventReason::WritesRolledBack));
}

#[test]
fn an_old_leader_that_is_back_with_everything_and_no_file_lost_nothing() {
    let mut world = World::settled(33, 3);
    let mut observed = world.observe();
    let failover = failed_over(&mut observed, true);
    let newest = leader(&mut observed).1.term;
    leader(&mut observed).1.failovers[0].new_term = newest;
    let old = reports(&mut observed).find(|r| Some(r.node) == failover.old_leader).unwrap();
    old.replicas.iter_mut().for_each(|replica| replica.term = newest);
    assert_eq!(told(&world, &observed).status.failovers[0].lost_writes, Some(0));
}

#[test]
fn only_the_last_ten_are_kept_and_old_ones_are_not_told_again() {
    let mut world = World::settled(34, 3);
    let mut observed = world.observe();
    let one = failed_over(&mut observed, false);
    leader(&mut observed).1.failovers = (2..14)
        .map(|term| Failover {
            old_term: Term(term - 1),
            new_term: Term(term),
            elected_at: WallTime(1_700_000_000_000 + term),
            ..one.clone()
        })
        .collect();
    let first = told(&world, &observed);
    let terms: Vec<i64> = first.status.failovers.iter().map(|f| f.term).collect();
    assert_eq!(terms, (4..14).rev().collect::<Vec<i64>>());
    assert_eq!(reasons(&first).len(), 10);
    let second = told(&world, &after(&observed, &first));
    assert_eq!((second.status, second.events), (first.status, vec![]));
}

#[test]
fn swaps_are_told_once_with_the_pods() {
    let mut world = World::settled(35, 3);
    let mut observed = world.observe();
    let out = follower(&mut observed).node;
    let name = follower(&mut observed).name.clone();
    leader(&mut observed).1.swaps = vec![Swap {
        at: WallTime(1_700_000_000_000),
        index: LogIndex(9),
        removed: [out].into(),
        added: Default::default(),
        why: SwapReason::Slow,
    }];
    let first = told(&world, &observed);
    assert_eq!(reasons(&first), [EventReason::InSyncSwapped]);
    assert!(first.events[0].note.contains(&format!("nobody for {name}")), "{:?}", first.events);
    assert_eq!(first.status.swaps[0].why, SwapWhy::Slow);
    assert_eq!(told(&world, &after(&observed, &first)).events, vec![]);
}

fn semi_sync(seed: u64) -> (World, Observed) {
    let mut world = World::settled(seed, 3);
    world.change_spec(|spec| {
        spec.single_leader.get_or_insert_default().durability = quorate_api::Durability::SemiSync;
    });
    let mut observed = world.observe();
    let other = follower(&mut observed).node;
    for report in reports(&mut observed) {
        for replica in &mut report.replicas {
            replica.acknowledgement.durability = Durability::SemiSync;
            replica.acknowledgement.in_sync = [report.node, other].into();
            replica.acknowledgement.settled = true;
        }
    }
    (world, observed)
}

#[test]
fn in_sync_says_what_is_amiss_and_with_whom() {
    let (world, mut observed) = semi_sync(36);
    let report = told(&world, &observed);
    assert_eq!(condition(&report, "InSync").1, "Held");
    assert_eq!(report.status.durability, Some(quorate_api::Durability::SemiSync));

    let name = follower(&mut observed).name.clone();
    let node = follower(&mut observed).node;
    leader(&mut observed).1.acknowledgement.settled = false;
    let report = told(&world, &observed);
    assert_eq!(condition(&report, "InSync").1, "Swapping");
    assert_eq!(condition(&report, "DurabilityChanging").0, "True");
    assert_eq!(report.status.durability, None);

    let set = &mut leader(&mut observed).1.acknowledgement;
    (set.settled, set.shrunk) = (true, true);
    assert_eq!(condition(&told(&world, &observed), "InSync").1, "Shrunk");

    leader(&mut observed).1.acknowledgement.waiting_for = [node].into();
    let (status, reason, message) = condition(&told(&world, &observed), "InSync");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "Blocked"));
    assert!(message.contains("shard 0") && message.contains(&name), "{message}");
}

#[test]
fn a_store_without_an_in_sync_set_has_no_condition_about_it() {
    let mut world = World::settled(37, 3);
    let observed = world.observe();
    let report = told(&world, &observed);
    assert!(report.status.conditions.iter().all(|condition| condition.type_ != "InSync"));
}

#[test]
fn a_quarantined_replica_degrades_its_store() {
    let mut world = World::settled(38, 3);
    let mut observed = world.observe();
    let report = follower(&mut observed);
    let pod = report.name.clone();
    let replica = report.replicas.iter_mut().find(|r| r.group == SHARD).unwrap();
    replica.quarantined = Some("its state differs at index 7".to_owned());
    let report = told(&world, &observed);
    let (status, _, message) = condition(&report, "Quarantined");
    assert!(status == "True" && message.contains(&pod), "{message}");
    assert_eq!(condition(&report, "Degraded").0, "True");
    assert!(reasons(&report).contains(&EventReason::ReplicaQuarantined));
    let again = told(&world, &after(&observed, &report));
    assert_eq!(again.events, vec![]);
}

#[test]
fn a_replica_that_is_behind_shows_how_far_it_is() {
    let mut world = World::settled(39, 3);
    let mut observed = world.observe();
    let node = follower(&mut observed).node;
    let replica = leader(&mut observed).1;
    replica.last = LogIndex(12_345);
    replica.followers.get_mut(&node).unwrap().phase = CatchUpPhase::Snapshot {
        bytes_sent: 1_234_567,
        bytes_total: 9_876_543,
        bytes_per_second: 1_000_000,
        source: None,
    };
    let progress = told(&world, &observed).status.catch_up;
    assert_eq!(progress.len(), 1);
    let progress = &progress[0];
    assert_eq!(progress.phase, Phase::Snapshot);
    assert_eq!(progress.bytes_sent, Some(1_200_000));
    assert_eq!(progress.remaining_seconds, Some(8));
    let follower = leader(&mut observed).1.followers.get_mut(&node).unwrap();
    follower.phase = CatchUpPhase::Log { entries_behind: 12_345 };
    follower.catch_up.slower_than_writes = true;
    let progress = told(&world, &observed).status.catch_up;
    assert_eq!((progress[0].entries_behind, progress[0].slower_than_writes), (Some(12_000), true));
}

#[test]
fn why_a_log_format_is_held_back_is_told_while_it_is() {
    let mut world = World::settled(32, 3);
    let mut observed = world.observe();
    assert_eq!(told(&world, &observed).status.log_format_held_back, None);
    leader(&mut observed).1.log_format_held_back = Some("node 2 has another engine".to_owned());
    let status = told(&world, &observed).status;
    assert_eq!(status.log_format_held_back.as_deref(), Some("node 2 has another engine"));
}
