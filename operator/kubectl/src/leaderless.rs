//! What the screen says of a store without leaders.

use quorate_api::{ReplicatedStoreSpec, ReplicatedStoreStatus, Spread};
use quorate_model::admin::{HintsReport, ShardReport, Standing};
use quorate_model::{Leaderless, Leaving, NodeId, ShardId, Step, Topology};

use crate::fetch::Seen;
use crate::render::Known;
use crate::table::Table;

pub(crate) fn mode(spec: &ReplicatedStoreSpec, status: &ReplicatedStoreStatus) -> String {
    let declared = spec.leaderless.clone().unwrap_or_default();
    let in_force = match &status.quorums {
        Some(quorums) => format!(" (in force: {quorums})"),
        None => String::new(),
    };
    let each = if declared.datacenters == Spread::Local { " in each datacenter" } else { "" };
    format!(
        "leaderless, {} replicas{each}, writes at {}, reads at {}{in_force}, conflicts {:?}",
        declared.replicas, declared.write.0, declared.read.0, declared.conflicts
    )
}

pub(crate) fn shards(
    seen: &Seen,
    known: &Known<'_>,
    topology: &Topology,
    leaderless: &Leaderless,
) -> String {
    let mut table =
        Table::new(["SHARD", "SLOTS", "REPLICAS", "LEAVES", "STEP", "DISCARDED", "READ REPAIRS"]);
    for (shard, placement) in topology.placements() {
        let slots = topology.slots(shard);
        let leaves = leaderless.leaving(shard);
        let left = leaves.into_iter().flat_map(|leaving| leaving.owners.keys());
        let left = left.filter(|node| !placement.voters.contains(node));
        let replicas = placement.voters.iter().map(|node| replica(seen, known, shard, *node));
        let sum = |of: fn(&ShardReport) -> u64| -> u64 { reports(seen, shard).map(of).sum() };
        table.row([
            shard.to_string(),
            format!("{}-{}", slots.first, slots.last),
            replicas.collect::<Vec<_>>().join(", "),
            left.map(|node| known.name(*node)).collect::<Vec<_>>().join(", "),
            leaves.map(step).unwrap_or_default().to_owned(),
            sum(|one| one.discarded).to_string(),
            sum(|one| one.read_repairs).to_string(),
        ]);
    }
    table.to_string()
}

/// How far a datacenter is behind what the others coordinated, at most; nothing where all datacenters are told at once.
pub(crate) fn behind(seen: &Seen, datacenter: &str) -> String {
    let reports = seen.reports.values().filter_map(|report| report.as_ref().ok());
    let relays = reports.flat_map(|report| &report.shards).flat_map(|shard| &shard.relays);
    let here: Vec<_> = relays.filter(|relay| relay.datacenter.as_str() == datacenter).collect();
    let Some(most) = here.iter().map(|relay| relay.behind_ms).max() else { return String::new() };
    let note = match (here.iter().all(|relay| relay.known), here.iter().any(|relay| relay.torn)) {
        (false, _) => " (not known of earlier processes)",
        (true, true) => " (comparing)",
        (true, false) => "",
    };
    format!("{}.{} s{note}", most / 1_000, most % 1_000 / 100)
}

/// What nodes hold for replicas that did not answer; nothing where nobody holds anything.
pub(crate) fn hints(seen: &Seen, known: &Known<'_>) -> String {
    let mut table = Table::new(["HINTS ON", "FOR", "COUNT", "BYTES", "OLDEST"]);
    let reports =
        seen.reports.iter().filter_map(|(pod, report)| Some((pod, report.as_ref().ok()?)));
    let held = reports.flat_map(|(pod, report)| report.hints.iter().map(move |one| (pod, one)));
    let mut rows = 0;
    for (pod, HintsReport { target, count, bytes, oldest_seconds }) in held {
        rows += 1;
        table.row([
            pod.clone(),
            known.name(*target),
            count.to_string(),
            bytes.to_string(),
            format!("{oldest_seconds} s"),
        ]);
    }
    if rows == 0 { String::new() } else { table.to_string() }
}

/// A replica's pod, and what its node says of it unless it is whole.
fn replica(seen: &Seen, known: &Known<'_>, shard: ShardId, node: NodeId) -> String {
    let pod = known.name(node);
    let report = seen.reports.get(&pod).and_then(|report| report.as_ref().ok());
    let note = match report.filter(|report| report.node == node) {
        None => " (silent)",
        Some(report) => match report.shards.iter().find(|one| one.shard == shard) {
            None => " (not begun)",
            Some(ShardReport { given_up: Some(_), .. }) => " (given up, filling)",
            Some(ShardReport { standing: Standing::Filling, .. }) => " (filling)",
            Some(ShardReport { standing: Standing::Whole, .. }) => "",
        },
    };
    format!("{pod}{note}")
}

fn reports(seen: &Seen, shard: ShardId) -> impl Iterator<Item = &ShardReport> {
    let reports = seen.reports.values().filter_map(|report| report.as_ref().ok());
    reports.flat_map(|report| &report.shards).filter(move |one| one.shard == shard)
}

const fn step(leaving: &Leaving) -> &'static str {
    match leaving.step {
        Step::Filling => "filling",
        Step::Draining => "draining",
    }
}
