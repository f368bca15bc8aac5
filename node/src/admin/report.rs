//! What a node says of itself, built from what it holds at one moment. Pure.

use std::time::Duration;

use quorate_group::host::{
    ExchangeStatus, HeldHints, Progress, ReplicaStatus, ShardStatus, Status,
};
use quorate_model::admin::{
    BlockedReport, ComparedReport, ExchangeReport, FollowerReport, HintsReport, LinkReport,
    NodeReport, RelayReport, ReplicaReport, RollbackFile, ShardReport, Standing,
};
use quorate_model::{Addresses, Datacenter, GroupId, NodeId, ShardId, StoreId, Zone};

use quorate_replication::leaderless;
use quorate_replication::multi_leader::Wanted;

use crate::clock::Clock;
use crate::router::View;

/// Who the node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct About {
    pub node: NodeId,
    pub name: String,
    pub store: StoreId,
    pub datacenter: Datacenter,
    pub zone: Option<Zone>,
    pub addresses: Addresses,
}

pub(super) fn report(
    about: &About,
    clock: &Clock,
    view: &View,
    status: &Status,
    not_serving: Vec<String>,
    rollbacks: Vec<RollbackFile>,
) -> NodeReport {
    let About { node, name, store, datacenter, zone, addresses } = about.clone();
    let mut replicas: Vec<ReplicaReport> = status.replicas.iter().map(replica).collect();
    replicas.sort_by_key(|replica| replica.group);
    NodeReport {
        node,
        name,
        store,
        datacenter,
        zone,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        addresses,
        uptime_ms: clock.uptime_ms(),
        topology: view.topology.as_deref().cloned(),
        replicas,
        not_serving,
        corrupt: status.damaged.clone(),
        rollbacks,
        engine_format: status.engine_format,
        shards: status.shards.iter().map(shard).collect(),
        hints: status.hints.held.iter().map(|(target, held)| hints(*target, held)).collect(),
    }
}

/// Without a leader.
fn shard(status: &ShardStatus) -> ShardReport {
    let ShardStatus { shard, standing, given_up, counts, root, open_requests: _, relayed } = status;
    ShardReport {
        shard: *shard,
        standing: match standing {
            leaderless::Standing::Whole => Standing::Whole,
            leaderless::Standing::Filling => Standing::Filling,
        },
        given_up: given_up.clone(),
        discarded: counts.discarded,
        read_repairs: counts.read_repairs,
        relays: relayed.iter().map(relay).collect(),
        compared: ComparedReport {
            root: *root,
            times: counts.exchanges,
            bytes: counts.exchanged_bytes,
            cell_bytes: counts.exchanged_cell_bytes,
            cells: counts.exchanged_cells,
        },
    }
}

fn relay(relayed: &leaderless::Relayed) -> RelayReport {
    let leaderless::Relayed { datacenter, behind, known, torn, waiting } = relayed;
    RelayReport {
        datacenter: datacenter.clone(),
        behind_ms: u64::try_from(behind.as_millis()).unwrap_or(u64::MAX),
        known: *known,
        torn: *torn,
        waiting: *waiting as u64,
    }
}

fn hints(target: NodeId, held: &HeldHints) -> HintsReport {
    let HeldHints { count, bytes, oldest } = *held;
    HintsReport { target, count, bytes, oldest_seconds: oldest.as_secs() }
}

fn replica(status: &ReplicaStatus) -> ReplicaReport {
    let follower = |progress: &Progress| FollowerReport {
        matched: progress.matched,
        phase: progress.phase.clone(),
        last_answer_ms: progress.last_answer_ms,
        catch_up: progress.catch_up,
    };
    ReplicaReport {
        group: status.group,
        role: status.role,
        term: status.term,
        leader: status.leader,
        last: status.last,
        committed: status.committed,
        applied: status.applied,
        voters: status.configuration.voters.clone(),
        learners: status.configuration.learners.clone(),
        followers: status.followers.iter().map(|(node, p)| (*node, follower(p))).collect(),
        keys: status.keys,
        acknowledgement: status.acknowledgement.clone(),
        log_format: status.log_format,
        log_format_held_back: status.log_format_held_back.clone(),
        failovers: status.failovers.clone(),
        swaps: status.swaps.clone(),
        quarantined: status.quarantined.clone(),
        exchange: status.exchange.as_ref().map(exchange),
    }
}

fn exchange(status: &ExchangeStatus) -> ExchangeReport {
    let ExchangeStatus { origin, known: _, links, blocked, held_bytes, refused, counts } = status;
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    ExchangeReport {
        origin: *origin,
        links: links
            .iter()
            .map(|link| LinkReport {
                from: link.from.clone(),
                forwards: link.wanted == Wanted::All,
                silent: link.silent,
                rerouted: link.rerouted,
                behind: link.behind,
                lacking: link.lacking,
                lag_ms: ms(link.lag),
            })
            .collect(),
        blocked: blocked.as_ref().map(|(blocked, waits)| BlockedReport {
            by: blocked.by.clone(),
            on: blocked.on,
            ms: ms(*waits),
        }),
        held_bytes: *held_bytes as u64,
        refused_ahead_of_time: refused.ahead_of_time,
        refused_full: refused.full,
        refused_malformed: refused.malformed,
        taken: counts.taken,
        conflicts: counts.conflicts,
        discarded: counts.discarded,
        failed: counts.failed,
    }
}

/// Why the node cannot answer clients, one sentence each.
pub(super) fn not_serving(view: &View, status: &Status, me: NodeId) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(damage) = &status.damaged {
        reasons.push(format!("the log is damaged: {damage}"));
    }
    let Some(topology) = &view.topology else {
        reasons.push("the node is blank: it belongs to no store yet".to_owned());
        return reasons;
    };
    if !topology.members.contains_key(&me) {
        reasons.push("the node is not a member of the store".to_owned());
    }
    let leaderless: Vec<String> = (0..)
        .map(ShardId)
        .zip(&view.routing.shards)
        .filter(|(_, route)| route.leader.is_none())
        .map(|(shard, _)| GroupId::Shard(shard).to_string())
        .collect();
    if !leaderless.is_empty() {
        reasons.push(format!("no leader is known for {}", listed(&leaderless)));
    }
    reasons
}

/// Why not every replica that the node should host is a caught-up voter.
pub(super) fn not_caught_up(view: &View, status: &Status) -> Vec<String> {
    let me = view.routing.node;
    let Some(topology) = &view.topology else { return Vec::new() };
    let placed = topology
        .placements()
        .filter(|(_, placement)| placement.voters.contains(&me))
        .map(|(shard, _)| GroupId::Shard(shard));
    let missing: Vec<String> = placed
        .filter(|group| !status.replicas.iter().any(|r| r.group == *group && is_caught_up(r, me)))
        .filter(|group| !is_whole(status, *group))
        .map(|group| group.to_string())
        .collect();
    if missing.is_empty() {
        return Vec::new();
    }
    vec![format!("not yet a caught-up replica of {}", listed(&missing))]
}

fn is_caught_up(replica: &ReplicaStatus, me: NodeId) -> bool {
    replica.configuration.voters.contains(&me)
        && replica.leader.is_some()
        && replica.applied >= replica.committed
        && replica.quarantined.is_none()
}

/// Without a leader.
fn is_whole(status: &Status, group: GroupId) -> bool {
    let whole = |one: &ShardStatus| one.standing == leaderless::Standing::Whole;
    status.shards.iter().any(|one| GroupId::Shard(one.shard) == group && whole(one))
}

/// Names the first few.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
