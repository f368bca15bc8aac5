//! What users are told, beyond what whole lives in `simulation` assert.

use quorate_api::{BehindStatus, NodeState, Phase, ShardHealth};
use quorate_model::admin::RelayReport;
use quorate_model::{Datacenter, Level, Mode, ShardId};

use super::{EventReason, Outcome, Report, report};
use crate::{
    Next, Observed, Reported, Violation,
    fixtures::{resource, three_datacenters},
    plan,
    simulation::World,
    validate,
};

fn told(world: &World, observed: &Observed) -> Report {
    let store = world.valid();
    let made = plan(&store, observed);
    let outcome = Outcome::Planned { store: &store, plan: &made, failure: None };
    report(&resource(three_datacenters(3)), observed, outcome)
}

fn condition(report: &Report, kind: &str) -> (String, String) {
    let found = report.status.conditions.iter().find(|c| c.type_ == kind).unwrap();
    (found.status.clone(), found.reason.clone())
}

#[test]
fn nothing_new_is_nothing_written_and_nothing_told() {
    let mut world = World::settled(20, 3);
    let mut observed = world.observe();
    observed.now = crate::fixtures::time(1_000_000);
    let report = told(&world, &observed);
    assert_eq!(report.status, observed.status);
    assert_eq!(report.events, vec![]);
}

#[test]
fn a_silent_node_is_unknown_and_the_store_degraded() {
    let mut world = World::settled(21, 3);
    let pod = world.hosts_of(ShardId(0))[0].clone();
    world.stop(&pod);
    let observed = world.observe();
    let report = told(&world, &observed);
    let node = report.status.nodes.iter().find(|node| node.name == pod).unwrap();
    assert_eq!(node.state, NodeState::Unknown);
    assert_eq!(report.status.phase, Some(Phase::Degraded));
    assert_eq!(condition(&report, "Available").0, "True");
    assert_eq!(condition(&report, "Degraded").0, "True");
    assert_eq!(condition(&report, "Ready").0, "False");
    assert_eq!(report.status.ready.as_deref(), Some("2/3"));
    assert!(report.events.iter().any(|event| event.reason == EventReason::Degraded));
}

#[test]
fn a_datacenter_that_is_behind_what_a_node_coordinated_is_told_by_the_slowest_shard() {
    let mut world = World::settled_leaderless(27, 3);
    let mut observed = world.observe();
    let (pod, reported) = observed.reports.iter_mut().next().unwrap();
    let pod = pod.clone();
    let Reported::Known { report: said, .. } = reported else { panic!("{reported:?}") };
    let relay = |datacenter: &str, behind_ms, torn| RelayReport {
        datacenter: Datacenter::new(datacenter).unwrap(),
        behind_ms,
        known: true,
        torn,
        waiting: 1,
    };
    let one = vec![relay("dc-b", 900, false), relay("dc-c", 65_000, false)];
    let other = vec![relay("dc-b", 500, false), relay("dc-c", 2_500, true)];
    said.shards[0].relays = one;
    said.shards[1].relays = other;
    let report = told(&world, &observed);
    let node = report.status.nodes.iter().find(|node| node.name == pod).unwrap();
    let behind = BehindStatus { datacenter: "dc-c".to_owned(), seconds: 65, compared: true };
    assert_eq!(node.behind, [behind]);
    assert!(
        report
            .status
            .nodes
            .iter()
            .filter(|node| node.name != pod)
            .all(|node| node.behind.is_empty())
    );
}

#[test]
fn a_store_that_does_not_answer_is_unknown_and_keeps_what_was_known() {
    let mut world = World::settled(22, 3);
    let mut observed = world.observe();
    observed.reports.clear();
    let report = told(&world, &observed);
    assert_eq!(report.status.phase, Some(Phase::Unknown));
    assert_eq!(condition(&report, "Available").0, "Unknown");
    assert_eq!(report.status.epoch, observed.status.epoch);
    for (now, before) in report.status.shards.iter().zip(&observed.status.shards) {
        assert_eq!(now.health, ShardHealth::Unknown);
        assert_eq!((&now.leader, now.term), (&before.leader, before.term));
    }
}

#[test]
fn a_new_leader_is_told_with_its_term() {
    let mut world = World::settled(23, 3);
    let leader = world.observe().status.shards[0].leader.clone().unwrap();
    world.stop(&leader);
    let observed = world.observe();
    let report = told(&world, &observed);
    assert_ne!(report.status.shards[0].leader.as_ref(), Some(&leader));
    assert!(report.status.shards[0].term > observed.status.shards[0].term);
    assert!(report.events.iter().any(|event| event.reason == EventReason::LeaderChanged));
}

#[test]
fn an_invalid_spec_is_told_once_and_the_store_stays_described() {
    let mut world = World::settled(24, 3);
    let observed = world.observe();
    let mut bad = resource(three_datacenters(3));
    bad.metadata.generation = Some(9);
    bad.spec.nodes = 1;
    let errors = validate(&bad).err().unwrap();
    let first = report(&bad, &observed, Outcome::Invalid { errors: &errors });
    assert_eq!(first.status.phase, Some(Phase::Invalid));
    assert_eq!(first.status.observed_generation, Some(9));
    assert_eq!(condition(&first, "Valid").0, "False");
    assert_eq!(first.status.shards, observed.status.shards);
    assert_eq!(first.events.len(), 1);
    let again = Observed { status: first.status.clone(), ..observed };
    let second = report(&bad, &again, Outcome::Invalid { errors: &errors });
    assert_eq!(second.status, first.status);
    assert_eq!(second.events, vec![]);
}

#[test]
fn weak_quorums_are_told_once_when_they_are_in_force() {
    let mut world = World::settled_leaderless(26, 3);
    let mut observed = world.observe();
    for reported in observed.reports.values_mut() {
        let Reported::Known { report, .. } = reported else { continue };
        if let Some(Mode::Leaderless(leaderless)) =
            report.topology.as_mut().map(|topology| &mut topology.mode)
        {
            leaderless.policy.read = Level::Count(1);
        }
    }
    let first = told(&world, &observed);
    assert_eq!(condition(&first, "WeakQuorums").0, "True");
    assert!(first.events.iter().any(|event| event.reason == EventReason::WeakQuorums));
    let again = told(&world, &Observed { status: first.status.clone(), ..observed });
    assert!(again.events.iter().all(|event| event.reason != EventReason::WeakQuorums));
}

#[test]
fn a_refused_plan_is_told() {
    let mut world = World::settled(25, 3);
    let (store, observed) = (world.valid(), world.observe());
    let made = plan(&store, &observed);
    assert_eq!(made.next, Next::Settled);
    let violations = [Violation::SecondBootstrap];
    let outcome = Outcome::Refused { store: &store, plan: &made, violations: &violations };
    let told = report(&resource(three_datacenters(3)), &observed, outcome);
    assert_eq!(condition(&told, "Progressing"), ("False".to_owned(), "PlanRefused".to_owned()));
    assert_eq!(condition(&told, "Ready").0, "False");
    assert!(told.events.iter().any(|event| event.reason == EventReason::PlanRefused));
}
