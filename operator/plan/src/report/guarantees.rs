//! Conditions about what is guaranteed: the durability in force, in-sync sets, replicas that differ, lost writes.

use std::collections::{BTreeMap, BTreeSet};

use quorate_api::ReplicatedStoreStatus;
use quorate_model::{
    Durability, NodeId,
    admin::{Acknowledgement, ReplicaReport},
};

use super::conditions::{Finding, State, finding};
use crate::{
    Next, Plan, WaitingOn, leaderless,
    plan::facts::{Facts, shard_groups},
};

/// Whether every shard has as many in-sync followers as declared and none keeps writes waiting. `None` where no set is
/// declared.
pub(super) fn in_sync(facts: &Facts<'_>) -> Option<Finding> {
    match facts.store.policy()?.durability {
        Durability::SemiSync | Durability::Sync => {}
        Durability::Async | Durability::Quorum => return None,
    }
    if facts.topology.is_none() {
        return Some(finding(State::Unknown, "Creating", ""));
    }
    let leaders: Vec<(String, Option<(NodeId, &ReplicaReport)>)> =
        shard_groups(facts).map(|(_, group)| (group.name.label(), group.leader)).collect();
    let led = || leaders.iter().filter_map(|(shard, leader)| Some((shard, (*leader)?.1)));
    let sets = |is: &dyn Fn(&Acknowledgement) -> bool| -> Vec<(&String, &Acknowledgement)> {
        led().map(|(shard, leader)| (shard, &leader.acknowledgement)).filter(|s| is(s.1)).collect()
    };
    let blocked = sets(&|set| set.settled && !set.waiting_for.is_empty());
    if !blocked.is_empty() {
        let each = blocked.iter().map(|(shard, set)| {
            format!("writes of shard {shard} wait for {}", names(facts, &set.waiting_for))
        });
        return Some(finding(State::False, "Blocked", sentence(each)));
    }
    let shrunk = sets(&|set| set.shrunk);
    if !shrunk.is_empty() {
        let each = shrunk.iter().map(|(shard, set)| {
            format!("shard {shard} is acknowledged by {} alone", names(facts, &set.in_sync))
        });
        return Some(finding(State::False, "Shrunk", sentence(each)));
    }
    let swapping = sets(&|set| !set.settled);
    if !swapping.is_empty() {
        let each = swapping.iter().map(|(shard, set)| {
            format!("the set of shard {shard} becomes {}", names(facts, &set.in_sync))
        });
        return Some(finding(State::False, "Swapping", sentence(each)));
    }
    let unknown = leaders.iter().filter(|(_, leader)| leader.is_none());
    let unknown: Vec<&str> = unknown.map(|(shard, _)| shard.as_str()).collect();
    Some(if unknown.is_empty() {
        finding(State::True, "Held", "every in-sync set is as declared")
    } else {
        let message = format!("no leader is known of shards {}", unknown.join(", "));
        finding(State::Unknown, "Unreachable", message)
    })
}

/// Whether a shard does not keep the declared durability yet. `None` where there are levels instead.
pub(super) fn durability_changing(facts: &Facts<'_>) -> Option<Finding> {
    let declared = facts.store.policy()?.durability;
    if facts.topology.is_none() {
        return Some(finding(State::Unknown, "Creating", ""));
    }
    let changing = shard_groups(facts).filter(|(_, g)| g.leader.is_some() && !g.keeps(declared));
    let changing: Vec<String> = changing.map(|(_, group)| group.name.label()).collect();
    if changing.is_empty() {
        return Some(finding(State::False, "InForce", ""));
    }
    let message = format!(
        "shards {} are on the way to {declared:?}; until then their writes keep the old rule, too",
        changing.join(", ")
    );
    Some(finding(State::True, "Changing", message))
}

/// Whether a read can miss an acknowledged write because the two need not meet in any replica. `None` where there are leaders.
pub(super) fn weak_quorums(facts: &Facts<'_>) -> Option<Finding> {
    facts.store.leaderless()?;
    let Some(topology) = facts.topology else {
        return Some(finding(State::Unknown, "Creating", ""));
    };
    Some(match leaderless::weak_shard(topology) {
        Some(shard) => {
            let message = format!(
                "w + r <= n: a read at the store's levels can miss acknowledged writes, for some replicas are enough for a write and others for a read, as in shard {shard}; raise spec.leaderless.read or write to rule it out"
            );
            finding(State::True, "NeedNotMeet", message)
        }
        None => finding(State::False, "AlwaysMeet", "a read meets every acknowledged write"),
    })
}

/// Whether a replica differs from the majority and answers nothing until its rows are replaced.
pub(super) fn quarantined(facts: &Facts<'_>) -> Finding {
    let mut each = vec![];
    for (pod, node) in &facts.pods {
        for replica in node.report.iter().flat_map(|report| &report.replicas) {
            if let Some(why) = &replica.quarantined {
                each.push(format!("{} on {pod}: {why}", replica.group));
            }
        }
        for replica in node.report.iter().flat_map(|report| &report.shards) {
            if let Some(why) = &replica.given_up {
                each.push(format!("shard {} on {pod}: {why}", replica.shard));
            }
        }
    }
    if each.is_empty() {
        finding(State::False, "NoReplica", "")
    } else {
        finding(State::True, "StateDiffers", each.join("; "))
    }
}

/// Whether a node keeps writes that a failover took back.
pub(super) fn rolled_back_writes(status: &ReplicatedStoreStatus, store: &str) -> Finding {
    if status.rollbacks.is_empty() {
        return finding(State::False, "None", "");
    }
    let writes: i64 = status.rollbacks.iter().map(|file| file.writes).sum();
    let mut pods: BTreeMap<&str, usize> = BTreeMap::new();
    for file in &status.rollbacks {
        *pods.entry(&file.pod).or_default() += 1;
    }
    let pods: Vec<String> =
        pods.into_iter().map(|(pod, files)| format!("{files} files on {pod}")).collect();
    let message = format!(
        "failovers took back {writes} writes, kept in {}: kubectl quorate rollback list {store}",
        pods.join(", ")
    );
    finding(State::True, "FilesKept", message)
}

/// Whether the image may be rolled out further. `None` where the log format does not depend on it.
pub(super) fn upgrade_safe(plan: &Plan) -> Option<Finding> {
    let waiting = match &plan.next {
        Next::Wait(waiting) => waiting.as_slice(),
        Next::Act(_) | Next::Settled => &[],
    };
    let refused = waiting.iter().find(|w| matches!(w, WaitingOn::EngineFormats { .. }))?;
    Some(finding(State::False, "EngineFormatsDiffer", refused.to_string()))
}

fn names(facts: &Facts<'_>, nodes: &BTreeSet<NodeId>) -> String {
    facts.pod_names(nodes).into_iter().collect::<Vec<_>>().join(", ")
}

fn sentence(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("; ")
}
