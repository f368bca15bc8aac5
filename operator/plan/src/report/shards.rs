//! What each shard is, for people, and the term behind which labels never go back.

use std::collections::{BTreeMap, BTreeSet};

use quorate_api::{LogFormat, ShardHealth, ShardStatus};
use quorate_model::{Datacenter, Datacenters, LeaderlessPolicy, NodeId, ShardId, majority};

use crate::plan::{
    facts::{Facts, GroupFacts, Seen, shard_groups},
    owners::Service,
    roles::{Leadership, leaderships},
};
use crate::{GroupAt, policy};

pub(super) fn statuses(facts: &Facts<'_>) -> Vec<ShardStatus> {
    if facts.topology.is_none() {
        // Nobody who knows the store answers: what was last known, marked as such.
        let before = facts.observed.status.shards.iter().cloned();
        return before.map(|shard| ShardStatus { health: ShardHealth::Unknown, ..shard }).collect();
    }
    let leaderships = leaderships(facts);
    shard_groups(facts).map(|(shard, group)| status(facts, shard, group, &leaderships)).collect()
}

fn status(
    facts: &Facts<'_>,
    shard: ShardId,
    group: &GroupFacts<'_>,
    leaderships: &BTreeMap<GroupAt, Leadership>,
) -> ShardStatus {
    let leadership = &leaderships[&group.name];
    let voters = match &group.owners {
        Some(_) => &group.wanted,
        None => group.voters().unwrap_or(&group.wanted),
    };
    let named = |nodes: &BTreeSet<NodeId>| facts.pod_names(nodes).into_iter().collect();
    let leaves = || group.superfluous();
    ShardStatus {
        shard: i32::from(shard.0),
        datacenter: group.name.datacenter.as_ref().map(ToString::to_string),
        health: health(group, leadership),
        leader: leadership.pod.clone(),
        term: i64::try_from(leadership.term.0).unwrap_or(i64::MAX),
        voters: named(voters),
        durability: group.durability().map(policy::declared),
        in_sync: group
            .leader
            .map(|(_, leader)| facts.pod_names(&leader.acknowledgement.in_sync))
            .unwrap_or_default()
            .into_iter()
            .collect(),
        filling: group.owners.as_ref().map(|o| named(&o.filling())).unwrap_or_default(),
        leaving: group.owners.as_ref().map(|_| named(&leaves())).unwrap_or_default(),
    }
}

/// The leaders of shards that are described already, in the newest terms known: what labels follow.
pub(super) fn follow_leaders(seen: &Seen<'_>, shards: &mut [ShardStatus]) {
    let leaderships = leaderships(seen);
    for shard in shards {
        let found = leaderships.iter().find(|(group, _)| group.is_of(shard));
        if let Some((_, leadership)) = found {
            shard.leader.clone_from(&leadership.pod);
            shard.term = i64::try_from(leadership.term.0).unwrap_or(i64::MAX);
        }
    }
}

/// What all shards have alike.
pub(super) fn in_common<T: PartialEq + Copy>(
    shards: &[ShardStatus],
    of: impl Fn(&ShardStatus) -> Option<T>,
) -> Option<T> {
    let first = of(shards.first()?)?;
    shards.iter().all(|shard| of(shard) == Some(first)).then_some(first)
}

pub(super) fn log_format(facts: &Facts<'_>) -> Option<LogFormat> {
    let formats: Vec<Option<LogFormat>> = shard_groups(facts)
        .map(|(_, group)| group.leader.map(|(_, r)| policy::declared_format(r.log_format)))
        .collect();
    let first = (*formats.first()?)?;
    formats.iter().all(|format| *format == Some(first)).then_some(first)
}

/// The first shard's reason that has one: they are alike, for nodes are what differs.
pub(super) fn log_format_held_back<'a>(facts: &Facts<'a>) -> Option<&'a str> {
    shard_groups(facts).find_map(|(_, group)| {
        group.leader.and_then(|(_, leader)| leader.log_format_held_back.as_deref())
    })
}

/// The levels that a store without leaders keeps, and over how many replicas.
pub(super) fn quorums(facts: &Facts<'_>) -> Option<String> {
    let topology = facts.topology?;
    let LeaderlessPolicy { read, write, datacenters, .. } = &topology.mode.leaderless()?.policy;
    if *datacenters == Datacenters::Local {
        let least = topology.shards.iter().flat_map(|shard| {
            let mut counts: BTreeMap<&Datacenter, usize> = BTreeMap::new();
            for member in shard.voters.iter().filter_map(|node| topology.members.get(node)) {
                *counts.entry(&member.datacenter).or_default() += 1;
            }
            counts.into_values()
        });
        let replicas = least.min().unwrap_or(0);
        return Some(format!("w={write} r={read} n={replicas} in each datacenter"));
    }
    let replicas = topology.shards.iter().map(|shard| shard.voters.len()).min().unwrap_or(0);
    Some(format!("w={write} r={read} n={replicas}"))
}

fn health(group: &GroupFacts<'_>, leadership: &Leadership) -> ShardHealth {
    if let Some(owners) = &group.owners {
        return match owners.service() {
            Service::NotServed => ShardHealth::Unavailable,
            Service::Unknown => ShardHealth::Unknown,
            Service::Served if !group.is_settled() => ShardHealth::Moving,
            Service::Served if !group.lagging().is_empty() => ShardHealth::Degraded,
            Service::Served => ShardHealth::Healthy,
        };
    }
    let current = group.leader.filter(|(_, report)| report.term >= leadership.term);
    let Some((_, leader)) = current else {
        let silent = group.wanted.iter().filter(|node| !group.replicas.contains_key(node)).count();
        // Who does not answer us may well lead a majority.
        let all_say_no =
            group.wanted.len() - silent > group.wanted.len() - majority(group.wanted.len());
        return if all_say_no { ShardHealth::Unavailable } else { ShardHealth::Unknown };
    };
    let lagging = group.lagging();
    if leader.voters.len() - lagging.len() < majority(leader.voters.len()) {
        ShardHealth::Unavailable
    } else if !lagging.is_empty() {
        ShardHealth::Degraded
    } else if !group.is_settled() {
        ShardHealth::Moving
    } else {
        ShardHealth::Healthy
    }
}

/// The datacenters of leaders, the one with most first.
pub(super) fn leader_datacenters(facts: &Facts<'_>, shards: &[ShardStatus]) -> Option<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for pod in shards.iter().filter_map(|shard| shard.leader.as_ref()) {
        if let Some(datacenter) = facts.pods.get(pod).and_then(|pod| pod.datacenter.as_ref()) {
            *counts.entry(datacenter.to_string()).or_default() += 1;
        }
    }
    let ordered: BTreeSet<(std::cmp::Reverse<usize>, String)> =
        counts.into_iter().map(|(name, count)| (std::cmp::Reverse(count), name)).collect();
    let names: Vec<String> = ordered.into_iter().map(|(_, name)| name).collect();
    (!names.is_empty()).then(|| names.join(","))
}
