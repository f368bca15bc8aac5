//! Failovers, swaps, catch-up and lost writes, joined from what the nodes report and what was reported before.
//!
//! Nodes remember the last few and forget them at a restart; the status remembers the last few of all. So an entry that
//! was told is kept and only completed: by the first acknowledged write, and by the old leader when it is back.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use quorate_api::{
    CatchUpPhase as Phase, CatchUpStatus, FailoverStatus, RollbackStatus, SwapStatus, SwapWhy,
};
use quorate_model::{
    GroupId, LogIndex, NodeId, ShardId, Term, WallTime,
    admin::{CatchUpPhase, Failover, FollowerReport, RollbackFile, SwapReason},
};

use crate::plan::facts::{Facts, GroupFacts, shard_groups};

const FAILOVERS_MAX: usize = 10;
const SWAPS_MAX: usize = 10;
const CATCH_UP_MAX: usize = 32;
const ROLLBACKS_MAX: usize = 32;
const FILES_OF_ONE_MAX: usize = 8;

/// The newest first. Two with one time are in the order of their shards and terms, so that the list is a function.
pub(super) fn failovers(facts: &Facts<'_>) -> Vec<FailoverStatus> {
    let before = facts.observed.status.failovers.iter();
    let mut all: BTreeMap<(i32, Option<String>, i64), FailoverStatus> =
        before.map(|f| ((f.shard, f.datacenter.clone(), f.term), f.clone())).collect();
    for (shard, group) in shard_groups(facts) {
        let datacenter = group.name.datacenter.as_ref().map(ToString::to_string);
        for failover in group.replicas.values().flat_map(|replica| &replica.failovers) {
            // A group's first leader follows nobody.
            if failover.old_term == Term::ZERO {
                continue;
            }
            let seen = described(facts, shard, datacenter.clone(), failover);
            let name = (seen.shard, datacenter.clone(), seen.term);
            let known = all.entry(name).or_insert_with(|| seen.clone());
            if known.first_acknowledged_write.is_none() {
                known.first_acknowledged_write = seen.first_acknowledged_write;
                known.pause_ms = seen.pause_ms;
            }
        }
        let own =
            |f: &&mut FailoverStatus| f.shard == i32::from(shard.0) && f.datacenter == datacenter;
        for failover in all.values_mut().filter(own) {
            complete(facts, shard, group, failover);
        }
    }
    let mut newest: Vec<FailoverStatus> = all.into_values().collect();
    newest.sort_by(|a, b| (&b.elected.0, b.shard, b.term).cmp(&(&a.elected.0, a.shard, a.term)));
    newest.truncate(FAILOVERS_MAX);
    newest
}

fn described(
    facts: &Facts<'_>,
    shard: ShardId,
    datacenter: Option<String>,
    failover: &Failover,
) -> FailoverStatus {
    let paused = failover.acknowledged_at.map(|at| at.0.saturating_sub(failover.detected_at.0));
    FailoverStatus {
        shard: i32::from(shard.0),
        datacenter,
        term: number(failover.new_term.0),
        new_leader: facts.pod_name(failover.new_leader),
        old_leader: failover.old_leader.map(|node| facts.pod_name(node)),
        old_term: number(failover.old_term.0),
        planned: failover.planned,
        detected: time(failover.detected_at),
        elected: time(failover.elected_at),
        first_acknowledged_write: failover.acknowledged_at.map(time),
        pause_ms: paused.map(number),
        lost_writes: (!failover.lossy).then_some(0),
        rollback_files: vec![],
    }
}

/// What the old leader has to tell: the writes that it had acknowledged and that the log lost.
fn complete(
    facts: &Facts<'_>,
    shard: ShardId,
    group: &GroupFacts<'_>,
    failover: &mut FailoverStatus,
) {
    let within = |pod: &str| {
        let datacenter = facts.pods.get(pod).and_then(|pod| pod.datacenter.as_ref());
        datacenter.is_none_or(|datacenter| group.name.reaches(datacenter))
    };
    for (pod, file) in files(facts).filter(|(pod, _)| within(pod)) {
        if file.group != GroupId::Shard(shard) || number(file.term.0) != failover.old_term {
            continue;
        }
        let name = format!("{pod}/{}", file.name);
        if !failover.rollback_files.contains(&name)
            && failover.rollback_files.len() < FILES_OF_ONE_MAX
        {
            failover.rollback_files.push(name);
            failover.rollback_files.sort();
        }
        // Only the leader of that term knows of all that was acknowledged.
        if file.led {
            failover.lost_writes = Some(number(file.writes));
        }
    }
    if failover.lost_writes.is_none() && nothing_was_lost(facts, shard, group, failover) {
        failover.lost_writes = Some(0);
    }
}

/// The old leader is back, follows in the new term with everything, and kept no file.
fn nothing_was_lost(
    facts: &Facts<'_>,
    shard: ShardId,
    group: &GroupFacts<'_>,
    failover: &FailoverStatus,
) -> bool {
    let Some(old) = &failover.old_leader else { return false };
    let Some(report) = facts.pods.get(old).and_then(|pod| pod.report) else { return false };
    // Another identity under the pod's name never led that term: its predecessor's disk is gone.
    let same = facts.topology.is_some_and(|t| t.members.contains_key(&report.node));
    let replica = report.replicas.iter().find(|r| r.group == GroupId::Shard(shard));
    let newer = replica.is_some_and(|replica| number(replica.term.0) >= failover.term);
    same && newer && failover.rollback_files.is_empty() && group.is_caught_up(report.node)
}

/// The newest first.
pub(super) fn swaps(facts: &Facts<'_>) -> Vec<SwapStatus> {
    let before = facts.observed.status.swaps.iter();
    let mut all: BTreeMap<(i32, Option<String>, i64), SwapStatus> =
        before.map(|s| ((s.shard, s.datacenter.clone(), s.index), s.clone())).collect();
    for (shard, group) in shard_groups(facts) {
        for swap in group.replicas.values().flat_map(|replica| &replica.swaps) {
            let seen = SwapStatus {
                shard: i32::from(shard.0),
                datacenter: group.name.datacenter.as_ref().map(ToString::to_string),
                index: number(swap.index.0),
                at: time(swap.at),
                why: match swap.why {
                    SwapReason::Declared => SwapWhy::Declared,
                    SwapReason::Elected => SwapWhy::Elected,
                    SwapReason::Slow => SwapWhy::Slow,
                    SwapReason::Gone => SwapWhy::Gone,
                    SwapReason::Recovered => SwapWhy::Recovered,
                },
                removed: facts.pod_names(&swap.removed).into_iter().collect(),
                added: facts.pod_names(&swap.added).into_iter().collect(),
            };
            let name = (seen.shard, seen.datacenter.clone(), seen.index);
            all.entry(name).or_insert(seen);
        }
    }
    let mut newest: Vec<SwapStatus> = all.into_values().collect();
    newest.sort_by(|a, b| (&b.at.0, b.shard, b.index).cmp(&(&a.at.0, a.shard, a.index)));
    newest.truncate(SWAPS_MAX);
    newest
}

/// Replicas of shards that are behind, as their leaders see them.
pub(super) fn catch_up(facts: &Facts<'_>) -> Vec<CatchUpStatus> {
    let mut behind = vec![];
    for (shard, group) in shard_groups(facts) {
        let Some((leader, report)) = group.leader else { continue };
        for (node, follower) in &report.followers {
            let part = report.voters.contains(node) || report.learners.contains(node);
            if part {
                behind.extend(progress(facts, (shard, leader), report.last, *node, follower));
            }
        }
    }
    behind.truncate(CATCH_UP_MAX);
    behind
}

fn progress(
    facts: &Facts<'_>,
    (shard, leader): (ShardId, NodeId),
    last: LogIndex,
    node: NodeId,
    follower: &FollowerReport,
) -> Option<CatchUpStatus> {
    let nothing = CatchUpStatus {
        shard: i32::from(shard.0),
        pod: facts.pod_name(node),
        phase: Phase::Probing,
        bytes_sent: None,
        bytes_total: None,
        bytes_per_second: None,
        remaining_seconds: None,
        entries_behind: None,
        source: Some(facts.pod_name(leader)),
        slower_than_writes: follower.catch_up.slower_than_writes,
    };
    match &follower.phase {
        CatchUpPhase::CaughtUp => None,
        CatchUpPhase::Probing => Some(CatchUpStatus { source: None, ..nothing }),
        CatchUpPhase::Log { entries_behind: _ } => {
            let behind = last.0.saturating_sub(follower.matched.0);
            Some(CatchUpStatus {
                phase: Phase::Log,
                entries_behind: Some(rounded(behind)),
                ..nothing
            })
        }
        CatchUpPhase::Snapshot { bytes_sent, bytes_total, bytes_per_second, source } => {
            let rest = bytes_total.saturating_sub(*bytes_sent);
            let remaining = rest.checked_div(*bytes_per_second);
            Some(CatchUpStatus {
                phase: Phase::Snapshot,
                bytes_sent: Some(rounded(*bytes_sent)),
                bytes_total: Some(rounded(*bytes_total)),
                bytes_per_second: (*bytes_per_second > 0).then(|| rounded(*bytes_per_second)),
                remaining_seconds: remaining.map(rounded),
                source: Some(facts.pod_name(source.unwrap_or(leader))),
                ..nothing
            })
        }
    }
}

/// The files that nodes keep; of a node that is silent, what was known of it.
pub(super) fn rollbacks(facts: &Facts<'_>) -> Vec<RollbackStatus> {
    let silent = facts
        .observed
        .status
        .rollbacks
        .iter()
        .filter(|file| facts.pods.get(&file.pod).is_some_and(|pod| pod.report.is_none()));
    let reported = files(facts).filter_map(|(pod, file)| {
        let GroupId::Shard(shard) = file.group else { return None };
        Some(RollbackStatus {
            pod: pod.to_owned(),
            name: file.name.clone(),
            shard: i32::from(shard.0),
            term: number(file.term.0),
            writes: number(file.writes),
            complete: file.led,
        })
    });
    let mut all: Vec<RollbackStatus> = silent.cloned().chain(reported).collect();
    all.sort_by(|a, b| (&a.pod, &a.name).cmp(&(&b.pod, &b.name)));
    all.truncate(ROLLBACKS_MAX);
    all
}

fn files<'f>(facts: &'f Facts<'_>) -> impl Iterator<Item = (&'f str, &'f RollbackFile)> {
    facts.pods.iter().flat_map(|(pod, node)| {
        let files = node.report.into_iter().flat_map(|report| &report.rollbacks);
        files.map(|file| (pod.as_str(), file))
    })
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// To two digits, so that a status is written when something has moved and not for every byte.
pub(super) fn rounded(value: u64) -> i64 {
    let mut unit = 1;
    while value / unit >= 100 {
        unit *= 10;
    }
    number(value / unit * unit)
}

/// Milliseconds are what the nodes give.
fn time(at: WallTime) -> MicroTime {
    MicroTime(Timestamp::from_millisecond(number(at.0)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_rounded_to_two_digits() {
        for (exact, shown) in [(0, 0), (99, 99), (101, 100), (1_999, 1_900), (123_456, 120_000)] {
            assert_eq!(rounded(exact), shown);
        }
    }
}
