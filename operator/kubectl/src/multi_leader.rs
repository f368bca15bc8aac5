//! What the screen says of a store with a leader of each shard in every datacenter.

use quorate_api::{LinkStatus, ReplicatedStoreSpec, ReplicatedStoreStatus};

use crate::table::Table;

pub(crate) fn mode(spec: &ReplicatedStoreSpec, status: &ReplicatedStoreStatus) -> String {
    let declared = spec.multi_leader.clone().unwrap_or_default();
    let kept = match status.durability {
        Some(kept) if kept == declared.durability => String::new(),
        Some(kept) => format!(" (in force: {kept:?})"),
        None => " (not in force everywhere)".to_owned(),
    };
    let conflicts = &declared.conflicts;
    let keys = match conflicts.keys.len() {
        0 => String::new(),
        others => format!(" and {others} by pattern"),
    };
    format!(
        "multi-leader, durability {:?}{kept}, {} replicas in each datacenter, links {:?}, conflicts {:?}{keys}",
        declared.durability, declared.replicas, declared.links.kind, conflicts.resolution
    )
}

/// What each datacenter takes from others, and conflicts; nothing where there is nothing to take.
pub(crate) fn links(status: &ReplicatedStoreStatus) -> String {
    if status.links.is_empty() && status.conflicts.is_empty() {
        return String::new();
    }
    let mut links = Table::new(["LINK", "LAG", "LACKING", "NOTE"]);
    for link in &status.links {
        links.row([
            format!("{} < {}", link.datacenter, link.from),
            format!("{} s", link.lag_seconds),
            link.lacking.to_string(),
            note(link),
        ]);
    }
    let mut conflicts = Table::new(["DATACENTER", "CONFLICTS", "DISCARDED", "FAILED", "REFUSED"]);
    for of in &status.conflicts {
        conflicts.row([
            of.datacenter.clone(),
            of.conflicts.to_string(),
            of.discarded.to_string(),
            of.failed.to_string(),
            of.refused.to_string(),
        ]);
    }
    format!("{links}\n{conflicts}")
}

fn note(link: &LinkStatus) -> String {
    let said = [(link.silent, "silent"), (link.rerouted, "rerouted"), (link.behind, "behind")];
    let said = said.into_iter().filter(|(is, _)| *is).map(|(_, what)| what.to_owned());
    said.chain(link.blocked_on.clone()).collect::<Vec<_>>().join(", ")
}
