//! What is told of links between datacenters and of conflicts.

use quorate_model::admin::{BlockedReport, ExchangeReport};
use quorate_model::{ActorId, Dot};
use serde_json::json;

use super::{Outcome, Report, report};
use crate::{
    Observed, Reported,
    fixtures::{multi_leader, resource},
    plan,
    simulation::World,
};

fn told(world: &World, observed: &Observed) -> Report {
    let store = world.valid();
    let made = plan(&store, observed);
    let outcome = Outcome::Planned { store: &store, plan: &made, failure: None };
    report(&resource(multi_leader(9, json!({}))), observed, outcome)
}

/// Changes what every leader in dc-a says.
fn change(observed: &mut Observed, by: impl Fn(&mut ExchangeReport)) {
    for reported in observed.reports.values_mut() {
        let Reported::Known { report, .. } = reported else { continue };
        if report.datacenter.as_str() == "dc-a" {
            report.replicas.iter_mut().filter_map(|r| r.exchange.as_mut()).for_each(&by);
        }
    }
}

fn condition(report: &Report) -> (&str, &str, &str) {
    let mut conditions = report.status.conditions.iter();
    let found = conditions.find(|c| c.type_ == "LinksHealthy").unwrap();
    (&found.status, &found.reason, &found.message)
}

#[test]
fn the_worst_shard_is_told_and_what_comes_within_a_second_is_not() {
    let mut world = World::settled_multi_leader(60, 9, json!({}));
    let mut observed = world.observe();
    change(&mut observed, |exchange| {
        exchange.links[0].lacking = 30;
        exchange.links[0].lag_ms = 999;
        exchange.links[1].lacking = 30;
        exchange.links[1].lag_ms = 12_345;
        exchange.conflicts = 7;
        exchange.discarded = 5;
        exchange.failed = 2;
    });
    let report = told(&world, &observed);
    let of = |from: &str| {
        let mut links = report.status.links.iter();
        let link = links.find(|link| link.datacenter == "dc-a" && link.from == from).unwrap();
        (link.lag_seconds, link.lacking)
    };
    assert_eq!(of("dc-b"), (0, 0));
    assert_eq!(of("dc-c"), (12, 90));
    let sums = report.status.conflicts.iter().map(|of| (of.conflicts, of.discarded, of.failed));
    assert_eq!(sums.collect::<Vec<_>>(), [(21, 15, 6), (0, 0, 0), (0, 0, 0)]);
}

#[test]
fn who_is_behind_a_log_and_what_waits_for_what_is_named() {
    let mut world = World::settled_multi_leader(61, 9, json!({}));
    let mut observed = world.observe();
    change(&mut observed, |exchange| exchange.links[1].behind = true);
    let report = told(&world, &observed);
    let message = "dc-a is behind the log of dc-c: what it has is taken over as a whole";
    assert_eq!(condition(&report), ("False", "BehindLog", message));

    let mut observed = world.observe();
    change(&mut observed, |exchange| {
        let by = exchange.links[0].from.clone();
        let on = Dot { actor: ActorId(7), counter: 4 };
        exchange.blocked = Some(BlockedReport { by, on, ms: 2_000 });
    });
    let report = told(&world, &observed);
    let (status, reason, message) = condition(&report);
    assert_eq!((status, reason), ("False", "Blocked"));
    assert!(message.contains("dc-a from dc-b: shard 0 waits for write 4 of"), "{message}");
}
