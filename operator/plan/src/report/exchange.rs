//! What is told of datacenters that each have a leader of every shard: the links between them, conflicts, and who is served.

use std::collections::{BTreeMap, BTreeSet};

use quorate_api::{ConflictsStatus, LinkStatus, ReplicatedStoreStatus, ShardHealth, ShardStatus};
use quorate_model::{
    ActorId, Datacenter, Links, MultiLeaderPolicy, ShardId,
    admin::{BlockedReport, ExchangeReport},
};

use super::{
    conditions::{Finding, State, finding},
    limited,
    replication::rounded,
};
use crate::plan::facts::{Facts, shard_groups};

/// What comes sooner is not told.
const TOLD_MS_MIN: u64 = 1_000;
const BLOCKED_LENGTH_MAX: usize = 256;

/// What a group's leader says of its exchange, by shard and datacenter.
fn exchanges<'a>(
    facts: &Facts<'a>,
) -> impl Iterator<Item = (ShardId, Datacenter, &'a ExchangeReport)> {
    shard_groups(facts).filter_map(|(shard, group)| {
        let (_, leader) = group.leader?;
        Some((shard, group.name.datacenter.clone()?, leader.exchange.as_ref()?))
    })
}

/// By who takes and from whom, the worst of all shards.
pub(super) fn links(facts: &Facts<'_>) -> Vec<LinkStatus> {
    let origins: BTreeMap<ActorId, Datacenter> =
        exchanges(facts).map(|(_, datacenter, exchange)| (exchange.origin, datacenter)).collect();
    let mut links: BTreeMap<(Datacenter, Datacenter), (u64, LinkStatus)> = BTreeMap::new();
    for (shard, datacenter, exchange) in exchanges(facts) {
        let waits = exchange.blocked.as_ref().filter(|blocked| blocked.ms >= TOLD_MS_MIN);
        for report in &exchange.links {
            let none = || LinkStatus {
                datacenter: datacenter.to_string(),
                from: report.from.to_string(),
                lag_seconds: 0,
                lacking: 0,
                silent: false,
                rerouted: false,
                behind: false,
                blocked_on: None,
            };
            let name = (datacenter.clone(), report.from.clone());
            let (lacking, link) = links.entry(name).or_insert_with(|| (0, none()));
            if report.lag_ms >= TOLD_MS_MIN {
                *lacking += report.lacking;
                link.lag_seconds = link.lag_seconds.max(rounded(report.lag_ms / 1_000));
            }
            link.silent |= report.silent;
            link.rerouted |= report.rerouted;
            link.behind |= report.behind;
            let own = waits.filter(|blocked| blocked.by == report.from);
            let why = own.map(|blocked| blocked_on(shard, blocked, &origins));
            link.blocked_on = link.blocked_on.take().or(why);
        }
    }
    let told = links.into_values();
    told.map(|(lacking, link)| LinkStatus { lacking: rounded(lacking), ..link }).collect()
}

fn blocked_on(
    shard: ShardId,
    blocked: &BlockedReport,
    origins: &BTreeMap<ActorId, Datacenter>,
) -> String {
    let BlockedReport { by: _, on, ms: _ } = blocked;
    let whose = match origins.get(&on.actor) {
        Some(datacenter) => datacenter.to_string(),
        None => format!("an origin that no leader has at present ({:?})", on.actor),
    };
    let sentence = format!("shard {shard} waits for write {} of {whose}", on.counter);
    limited(&sentence, BLOCKED_LENGTH_MAX)
}

/// By datacenter, over all shards.
pub(super) fn conflicts(facts: &Facts<'_>) -> Vec<ConflictsStatus> {
    let mut sums: BTreeMap<Datacenter, [u64; 4]> = BTreeMap::new();
    for (_, datacenter, exchange) in exchanges(facts) {
        let ExchangeReport {
            refused_ahead_of_time,
            refused_full,
            refused_malformed,
            conflicts,
            discarded,
            failed,
            ..
        } = exchange;
        let refused = refused_ahead_of_time + refused_full + refused_malformed;
        let sum = sums.entry(datacenter).or_default();
        for (total, one) in sum.iter_mut().zip([*conflicts, *discarded, *failed, refused]) {
            *total += one;
        }
    }
    let told = |(datacenter, [conflicts, discarded, failed, refused]): (Datacenter, [u64; 4])| {
        ConflictsStatus {
            datacenter: datacenter.to_string(),
            conflicts: rounded(conflicts),
            discarded: rounded(discarded),
            failed: rounded(failed),
            refused: rounded(refused),
        }
    };
    sums.into_iter().map(told).collect()
}

/// Whether every datacenter takes from those that it should, along the declared links. `None` where there is one leader, or none.
pub(super) fn links_healthy(facts: &Facts<'_>, links: &[LinkStatus]) -> Option<Finding> {
    facts.store.multi_leader()?;
    let Some(topology) = facts.topology else {
        return Some(finding(State::Unknown, "Creating", ""));
    };
    let policy = &topology.mode.multi_leader()?.policy;
    let silent: BTreeSet<&str> =
        links.iter().filter(|link| link.silent).map(|link| link.from.as_str()).collect();
    if !silent.is_empty() {
        let each = silent.into_iter().map(|from| {
            let of = links.iter().filter(|link| link.silent && link.from == from);
            let who: Vec<&str> = of.map(|link| link.datacenter.as_str()).collect();
            let hear = if let [_] = who.as_slice() { "hears" } else { "hear" };
            format!("{} {hear} nothing of {from}", who.join(", "))
        });
        let each: Vec<String> = each.collect();
        let consequence = consequence(policy);
        return Some(finding(State::False, "Silent", format!("{}{consequence}", each.join("; "))));
    }
    let told = |of: fn(&LinkStatus) -> bool, what: &str| {
        let of = links.iter().filter(|link| of(link));
        let each: Vec<String> =
            of.map(|link| format!("{} {what} {}", link.datacenter, link.from)).collect();
        (!each.is_empty()).then(|| each.join("; "))
    };
    if let Some(behind) = told(|link| link.behind, "is behind the log of") {
        let message = format!("{behind}: what it has is taken over as a whole");
        return Some(finding(State::False, "BehindLog", message));
    }
    let blocked: Vec<String> = links
        .iter()
        .filter_map(|link| {
            let on = link.blocked_on.as_ref()?;
            Some(format!("{} from {}: {on}", link.datacenter, link.from))
        })
        .collect();
    if !blocked.is_empty() {
        return Some(finding(State::False, "Blocked", blocked.join("; ")));
    }
    if let Some(rerouted) = told(|link| link.rerouted, "takes around the declared links from") {
        return Some(finding(State::False, "Rerouted", rerouted));
    }
    let unknown: BTreeSet<String> = shard_groups(facts)
        .filter(|(_, group)| group.leader.is_none())
        .filter_map(|(_, group)| group.name.datacenter.as_ref().map(ToString::to_string))
        .collect();
    if !unknown.is_empty() {
        let unknown: Vec<String> = unknown.into_iter().collect();
        let message = format!("a shard's leader is not known in {}", unknown.join(", "));
        return Some(finding(State::Unknown, "Unreachable", message));
    }
    Some(finding(State::True, "Exchanging", "every datacenter hears of those that it takes from"))
}

/// What it means for the others that one is silent.
const fn consequence(policy: &MultiLeaderPolicy) -> &'static str {
    match (&policy.links, policy.reroute) {
        (Links::AllToAll, _) => "",
        (Links::Circular(_) | Links::Star { .. }, true) => "; changes go around it",
        (Links::Circular(_), false) => {
            "; the ring is interrupted there until it is back, for spec.multiLeader.reroute is false"
        }
        (Links::Star { .. }, false) => {
            "; what goes by it is interrupted until it is back, for spec.multiLeader.reroute is false"
        }
    }
}

/// Who is served: a shard is available while some datacenter serves it, and clients of one that does not are named.
pub(super) fn available(status: &ReplicatedStoreStatus) -> Finding {
    let served = |shard: &ShardStatus| match shard.health {
        ShardHealth::Healthy | ShardHealth::Degraded | ShardHealth::Moving => true,
        ShardHealth::Unavailable | ShardHealth::Unknown => false,
    };
    let shards: BTreeSet<i32> = status.shards.iter().map(|shard| shard.shard).collect();
    let of = |number: i32| status.shards.iter().filter(move |shard| shard.shard == number);
    let (unknown, down): (Vec<i32>, Vec<i32>) = shards
        .into_iter()
        .filter(|number| !of(*number).any(served))
        .partition(|number| of(*number).any(|shard| shard.health == ShardHealth::Unknown));
    let list =
        |numbers: &[i32]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if !down.is_empty() {
        let message =
            format!("no datacenter has a leader with a majority in shards {}", list(&down));
        return finding(State::False, "ShardsUnavailable", message);
    }
    if !unknown.is_empty() {
        let message = format!("too few nodes answer the operator in shards {}", list(&unknown));
        return finding(State::Unknown, "Unreachable", message);
    }
    let missing = status.shards.iter().filter(|shard| !served(shard));
    let missing: BTreeSet<&str> = missing.filter_map(|shard| shard.datacenter.as_deref()).collect();
    if missing.is_empty() {
        let message = "every shard has a leader with a majority in every datacenter";
        return finding(State::True, "Serving", message);
    }
    let missing: Vec<&str> = missing.into_iter().collect();
    let message = format!("every shard is served, but not all of them in {}", missing.join(", "));
    finding(State::True, "ServingElsewhere", message)
}

/// As a list of shards has it.
pub(super) fn label(shard: &ShardStatus) -> String {
    match &shard.datacenter {
        Some(datacenter) => format!("{} in {datacenter}", shard.shard),
        None => shard.shard.to_string(),
    }
}
