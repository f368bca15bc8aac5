//! From what the resource declares of a leaderless store to the policy that the topology carries, and what its levels promise.

use std::collections::{BTreeMap, BTreeSet};

use quorate_api::{Conflicts, LeaderlessSpec, ReplicatedStoreSpec, Spread};
use quorate_model::{
    ConflictPolicy, Datacenter, Datacenters, Hints, LeaderlessPolicy, Level, NodeId, ShardId,
    Topology, majority,
};

use crate::SpecError;

/// # Errors
/// The first thing that is wrong, as a sentence for users.
pub(crate) fn of(
    spec: &ReplicatedStoreSpec,
    declared: &LeaderlessSpec,
) -> Result<LeaderlessPolicy, SpecError> {
    let n = usize::try_from(declared.replicas).unwrap_or(0);
    let read = level("spec.leaderless.read", &declared.read.0, n)?;
    let write = level("spec.leaderless.write", &declared.write.0, n)?;
    let datacenters = match declared.datacenters {
        Spread::Global => Datacenters::Global,
        Spread::Local => Datacenters::Local,
    };
    let one_datacenter = spec.datacenters.len() == 1 || datacenters == Datacenters::Local;
    if !declared.allow_weak_quorums && !always_meet(write, read, n, one_datacenter) {
        return Err(SpecError::WeakQuorums { write, read, replicas: declared.replicas });
    }
    let conflicts = match declared.conflicts {
        Conflicts::LastWriterWins => ConflictPolicy::LastWriterWins,
        Conflicts::Merge => ConflictPolicy::Merge,
        Conflicts::Siblings => ConflictPolicy::Siblings,
    };
    let hints = declared.hints.as_ref().map(|hints| {
        let number = |declared: i64| u64::try_from(declared).unwrap_or(0);
        let max_bytes = number(hints.max_megabytes) << 20;
        Hints { window_seconds: number(hints.window_seconds), max_bytes }
    });
    if hints.is_some() && datacenters == Datacenters::Local {
        return Err(SpecError::LocalHints);
    }
    if read.is_sloppy() {
        return Err(SpecError::ReadsNoStandIn { read });
    }
    if write.is_sloppy() && hints.is_none() {
        return Err(SpecError::NoHints { write });
    }
    Ok(LeaderlessPolicy { read, write, conflicts, datacenters, hints })
}

fn level(field: &'static str, text: &str, n: usize) -> Result<Level, SpecError> {
    let level = text.parse().map_err(|source| SpecError::Level { field, source })?;
    match level {
        Level::Count(count) if usize::from(count) > n => {
            Err(SpecError::LevelAboveReplicas { field, count, replicas: n })
        }
        Level::Count(_)
        | Level::Quorum
        | Level::All
        | Level::LocalOne
        | Level::LocalQuorum
        | Level::EachQuorum
        | Level::SloppyQuorum
        | Level::Any => Ok(level),
    }
}

/// As the schema's rule has it, before anything is placed: w + r > n, where what is local to one of several datacenters counts as one,
/// unless all levels count within one.
fn always_meet(write: Level, read: Level, n: usize, one_datacenter: bool) -> bool {
    let of_each = |level| match level {
        Level::Quorum | Level::LocalQuorum | Level::EachQuorum | Level::All => true,
        Level::Count(_) | Level::LocalOne | Level::SloppyQuorum | Level::Any => false,
    };
    if [write, read].contains(&Level::EachQuorum) && of_each(write) && of_each(read) {
        return true;
    }
    let count = |level| match level {
        Level::Count(count) => usize::from(count),
        Level::Quorum | Level::EachQuorum => majority(n),
        Level::LocalQuorum if one_datacenter => majority(n),
        Level::LocalOne | Level::LocalQuorum => 1,
        Level::All => n,
        // Of what stands in for replicas nothing is read.
        Level::SloppyQuorum | Level::Any => 0,
    };
    count(write) + count(read) > n
}

/// The first shard of which a read can miss an acknowledged write, for the two need not meet in any replica as it is placed.
pub(crate) fn weak_shard(topology: &Topology) -> Option<ShardId> {
    let policy = &topology.mode.leaderless()?.policy;
    let mut placements = topology.placements();
    let weak = placements.find(|(_, placement)| {
        let place = |node: &NodeId| Some((*node, topology.members.get(node)?.datacenter.clone()));
        let places: BTreeMap<NodeId, Datacenter> =
            placement.voters.iter().filter_map(place).collect();
        can_miss(policy, &places)
    });
    weak.map(|(shard, _)| shard)
}

/// Whether `left` of these replicas still answer reads and take writes of clients in some datacenter.
pub(crate) fn are_enough(
    policy: &LeaderlessPolicy,
    places: &BTreeMap<NodeId, Datacenter>,
    left: &BTreeSet<NodeId>,
) -> bool {
    let datacenters: BTreeSet<&Datacenter> = places.values().collect();
    datacenters.into_iter().any(|local| {
        let met = |level: Level| policy.need(level.of_replicas(), places, local).is_met(left);
        met(policy.read) && met(policy.write)
    })
}

/// Whether some replicas are enough for a write and all of the others for a read, wherever the two are coordinated; in a store
/// whose levels count within a datacenter, if both are coordinated in the same one.
fn can_miss(policy: &LeaderlessPolicy, places: &BTreeMap<NodeId, Datacenter>) -> bool {
    let datacenters: BTreeSet<&Datacenter> = places.values().collect();
    match policy.datacenters {
        Datacenters::Global => can_miss_among(policy, places),
        Datacenters::Local => {
            let mut each = datacenters.into_iter().map(|local| policy.scope(places, local));
            each.any(|places| can_miss_among(policy, &places))
        }
    }
}

fn can_miss_among(policy: &LeaderlessPolicy, places: &BTreeMap<NodeId, Datacenter>) -> bool {
    let nodes: Vec<NodeId> = places.keys().copied().collect();
    let datacenters: BTreeSet<&Datacenter> = places.values().collect();
    let met = |level: Level, by: &BTreeSet<NodeId>| {
        datacenters.iter().any(|local| policy.need(level, places, local).is_met(by))
    };
    // At most seven replicas: every way to split them is tried.
    (0_u32..1 << nodes.len()).any(|split| {
        let (written, rest): (Vec<_>, Vec<_>) =
            nodes.iter().enumerate().partition(|(at, _)| split & (1 << at) != 0);
        let ids = |part: Vec<(usize, &NodeId)>| part.into_iter().map(|(_, node)| *node).collect();
        let is_written = policy.write.is_sloppy() || met(policy.write, &ids(written));
        is_written && met(policy.read, &ids(rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(spread: &[u128]) -> BTreeMap<NodeId, Datacenter> {
        let datacenter = |at: usize| Datacenter::new(format!("dc-{at}")).unwrap();
        let each = spread.iter().enumerate();
        each.flat_map(|(at, count)| {
            (0..*count).map(move |one| (NodeId(one + 10 * at as u128), datacenter(at)))
        })
        .collect()
    }

    fn misses(write: &str, read: &str, spread: &[u128]) -> bool {
        let policy = LeaderlessPolicy {
            write: write.parse().unwrap(),
            read: read.parse().unwrap(),
            ..LeaderlessPolicy::default()
        };
        can_miss(&policy, &places(spread))
    }

    #[test]
    fn reads_miss_writes_where_the_two_need_not_meet() {
        for (write, read, spread, missed) in [
            ("QUORUM", "QUORUM", &[3][..], false),
            ("2", "1", &[3], true),
            ("ALL", "ONE", &[3], false),
            ("LOCAL_QUORUM", "LOCAL_QUORUM", &[3], false),
            ("LOCAL_QUORUM", "LOCAL_QUORUM", &[3, 3], true),
            ("EACH_QUORUM", "LOCAL_QUORUM", &[3, 3], false),
            ("EACH_QUORUM", "LOCAL_ONE", &[3, 3], true),
            ("EACH_QUORUM", "QUORUM", &[2, 2, 1], false),
            ("SLOPPY_QUORUM", "ALL", &[3], true),
        ] {
            assert_eq!(misses(write, read, spread), missed, "{write} {read} {spread:?}");
        }
    }

    #[test]
    fn local_levels_meet_within_each_datacenter() {
        let missed = |write: &str, read: &str, spread: &[u128]| {
            let policy = LeaderlessPolicy {
                write: write.parse().unwrap(),
                read: read.parse().unwrap(),
                datacenters: Datacenters::Local,
                ..LeaderlessPolicy::default()
            };
            can_miss(&policy, &places(spread))
        };
        assert!(!missed("QUORUM", "QUORUM", &[3, 3, 3]));
        assert!(!missed("LOCAL_QUORUM", "QUORUM", &[3, 3]));
        assert!(!missed("ALL", "ONE", &[3, 2]));
        assert!(missed("2", "1", &[2, 3]), "in the larger one");
        assert!(missed("ONE", "ONE", &[2, 2]));
    }

    #[test]
    fn what_the_rule_lets_through_never_misses() {
        let levels = [
            "ONE",
            "2",
            "3",
            "QUORUM",
            "ALL",
            "LOCAL_ONE",
            "LOCAL_QUORUM",
            "EACH_QUORUM",
            "SLOPPY_QUORUM",
            "ANY",
        ];
        for spread in [&[3][..], &[1, 1, 1], &[2, 1]] {
            for write in levels {
                for read in levels {
                    let (w, r) = (write.parse().unwrap(), read.parse().unwrap());
                    let meet = always_meet(w, r, 3, spread.len() == 1);
                    assert!(!meet || !misses(write, read, spread), "{write} {read} {spread:?}");
                }
            }
        }
    }
}
