//! One screen for one store. Pure: what was seen goes in, text comes out.
//!
//! What a node says of itself comes from its report; what it means comes from the operator's status. Where the two
//! are of different times, the reports are newer.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt;
use quorate_api::{ReplicatedStoreStatus, ReplicationMode};
use quorate_model::admin::{Acknowledgement, CatchUpPhase, NodeReport, ReplicaReport, Role};
use quorate_model::{Datacenters, Durability, GroupId, NodeId, ShardId, ShardPlacement, Topology};
use quorate_plan::GroupAt;

use crate::fetch::Seen;
use crate::leaderless;
use crate::multi_leader;
use crate::table::Table;

pub(crate) fn screen(seen: &Seen) -> String {
    let default = ReplicatedStoreStatus::default();
    let status = seen.store.status.as_ref().unwrap_or(&default);
    let known = Known::of(seen);
    let mut text = summary(seen, status, &known);
    for section in [
        conditions(status),
        datacenters(seen, status, &known),
        nodes(seen, status, &known),
        shards(seen, &known),
        multi_leader::links(status),
    ] {
        if section.is_empty() {
            continue;
        }
        text.push('\n');
        text.push_str(&section);
    }
    text
}

/// The newest of what the nodes say.
pub(crate) struct Known<'s> {
    topology: Option<&'s Topology>,
    /// Per group, the leader of the newest term.
    leaders: BTreeMap<GroupAt, (&'s NodeReport, &'s ReplicaReport)>,
    /// The pod of a node.
    names: BTreeMap<NodeId, &'s str>,
}

impl<'s> Known<'s> {
    fn of(seen: &'s Seen) -> Self {
        let reports = || seen.reports.values().filter_map(|report| report.as_ref().ok());
        let topology =
            reports().filter_map(|r| r.topology.as_ref()).max_by_key(|topology| topology.epoch);
        let mut leaders = BTreeMap::<GroupAt, (&NodeReport, &ReplicaReport)>::new();
        for report in reports() {
            for replica in report.replicas.iter().filter(|replica| replica.role == Role::Leader) {
                let group = GroupAt::seen_from(&report.datacenter, replica.group, topology);
                let newest = leaders.entry(group).or_insert((report, replica));
                if newest.1.term < replica.term {
                    *newest = (report, replica);
                }
            }
        }
        let members = topology.into_iter().flat_map(|topology| topology.members.values());
        let mut names: BTreeMap<NodeId, &str> =
            members.map(|member| (member.id, member.name.as_str())).collect();
        names.extend(reports().map(|report| (report.node, report.name.as_str())));
        Self { topology, leaders, names }
    }

    pub(crate) fn name(&self, node: NodeId) -> String {
        self.names.get(&node).map_or_else(|| node.to_string(), |name| (*name).to_owned())
    }

    /// How many shards these nodes lead; nothing where shards have no leaders.
    fn led_by(&self, pods: &[&str]) -> String {
        if self.topology.is_some_and(|topology| topology.mode.leaderless().is_some()) {
            return String::new();
        }
        let shards = self.leaders.iter().filter(|(group, _)| **group != GroupAt::META);
        shards.filter(|(_, (leader, _))| pods.contains(&leader.name.as_str())).count().to_string()
    }
}

fn summary(seen: &Seen, status: &ReplicatedStoreStatus, known: &Known<'_>) -> String {
    let spec = &seen.store.spec;
    let mode = match spec.mode {
        ReplicationMode::SingleLeader => {
            let single = spec.single_leader.clone().unwrap_or_default();
            let kept = match status.durability {
                Some(kept) if kept == single.durability => String::new(),
                Some(kept) => format!(" (in force: {kept:?})"),
                None => " (not in force everywhere)".to_owned(),
            };
            format!(
                "single leader, durability {:?}{kept}, {} replicas, log format {:?}",
                single.durability, single.replicas, single.log_format
            )
        }
        ReplicationMode::Leaderless => leaderless::mode(spec, status),
        ReplicationMode::MultiLeader => multi_leader::mode(spec, status),
    };
    let phase = status.phase.map_or("not looked at yet".to_owned(), |phase| format!("{phase:?}"));
    let mut lines = vec![
        (
            "Store",
            format!("{}/{}", seen.store.namespace().unwrap_or_default(), seen.store.name_any()),
        ),
        ("Phase", phase),
        ("Mode", mode),
        ("Nodes", status.ready.clone().unwrap_or_else(|| format!("?/{}", spec.nodes))),
        ("Shards", status.shards_healthy.clone().unwrap_or_else(|| format!("?/{}", spec.shards))),
        ("Image", spec.image.clone()),
    ];
    if let Some(message) = &status.message {
        lines.insert(2, ("Message", message.clone()));
    }
    if let Some(topology) = known.topology {
        let meta = known.leaders.get(&GroupAt::META);
        let leader = meta.map_or("no leader seen", |(report, _)| report.name.as_str());
        lines.push(("Topology", format!("epoch {}, kept by {leader}", topology.epoch)));
    }
    if let Some(services) = &status.services {
        lines.push(("Write to", format!("{}:6379", services.read_write)));
        lines.push(("Read from", format!("{}:6379", services.read)));
    }
    let mut text = String::new();
    for (name, value) in lines {
        text.push_str(&format!("{name:<10} {value}\n"));
    }
    text
}

fn conditions(status: &ReplicatedStoreStatus) -> String {
    let mut table = Table::new(["CONDITION", "STATUS", "REASON", "MESSAGE"]);
    for condition in &status.conditions {
        table.row([
            condition.type_.clone(),
            condition.status.clone(),
            condition.reason.clone(),
            condition.message.clone(),
        ]);
    }
    table.to_string()
}

fn datacenters(seen: &Seen, status: &ReplicatedStoreStatus, known: &Known<'_>) -> String {
    let local = known.topology.and_then(|topology| topology.mode.leaderless());
    let local = local.is_some_and(|mode| mode.policy.datacenters == Datacenters::Local);
    let last = if local { "BEHIND" } else { "LEADS" };
    let mut table = Table::new(["DATACENTER", "NODES", "ANSWERING", last]);
    for datacenter in &seen.store.spec.datacenters {
        let here: Vec<&str> = status
            .nodes
            .iter()
            .filter(|node| node.datacenter == datacenter.name)
            .map(|node| node.name.as_str())
            .collect();
        let answering = here.iter().filter(|pod| matches!(seen.reports.get(**pod), Some(Ok(_))));
        table.row([
            datacenter.name.clone(),
            here.len().to_string(),
            answering.count().to_string(),
            if local { leaderless::behind(seen, &datacenter.name) } else { known.led_by(&here) },
        ]);
    }
    table.to_string()
}

fn nodes(seen: &Seen, status: &ReplicatedStoreStatus, known: &Known<'_>) -> String {
    let mut table =
        Table::new(["NODE", "DATACENTER", "ZONE", "STATE", "LEADS", "REPLICAS", "UP", "NOTE"]);
    for node in &status.nodes {
        let report = seen.reports.get(&node.name);
        let (replicas, up, note) = match report {
            Some(Ok(report)) => {
                let up = Duration::from_millis(report.uptime_ms);
                let replicas = report.replicas.len() + report.shards.len();
                (replicas.to_string(), span(up), report.not_serving.join("; "))
            }
            Some(Err(reason)) => (String::new(), String::new(), format!("unknown: {reason}")),
            None => (String::new(), String::new(), "no pod".to_owned()),
        };
        let note = if note.is_empty() { node.message.clone().unwrap_or_default() } else { note };
        table.row([
            node.name.clone(),
            node.datacenter.clone(),
            node.zone.clone().unwrap_or_default(),
            format!("{:?}", node.state),
            known.led_by(&[node.name.as_str()]),
            replicas,
            up,
            note,
        ]);
    }
    table.to_string()
}

fn shards(seen: &Seen, known: &Known<'_>) -> String {
    if let Some(topology) = known.topology
        && let Some(leaderless) = topology.mode.leaderless()
    {
        let shards = leaderless::shards(seen, known, topology, leaderless);
        let hints = leaderless::hints(seen, known);
        return if hints.is_empty() { shards } else { format!("{shards}\n{hints}") };
    }
    let mut table = Table::new([
        "SHARD",
        "SLOTS",
        "LEADER",
        "TERM",
        "DURABILITY",
        "IN SYNC",
        "COMMITTED",
        "KEYS",
        "FOLLOWERS",
    ]);
    let Some(topology) = known.topology else {
        return "No node that answers knows the shards.\n".to_owned();
    };
    for (shard, placement) in topology.placements() {
        let slots = topology.slots(shard);
        let slots = format!("{}-{}", slots.first, slots.last);
        for (group, voters) in groups(topology, shard, placement) {
            row(&mut table, known, (&group, &voters), &slots);
        }
    }
    table.to_string()
}

/// Of a shard: one, or where every datacenter has leaders one in each; with who should vote in it.
fn groups(
    topology: &Topology,
    shard: ShardId,
    placement: &ShardPlacement,
) -> BTreeMap<GroupAt, Vec<NodeId>> {
    let mut groups = BTreeMap::<GroupAt, Vec<NodeId>>::new();
    for node in &placement.voters {
        let id = GroupId::Shard(shard);
        let group = topology.datacenter_of(*node).map_or_else(
            || id.into(),
            |datacenter| GroupAt::seen_from(datacenter, id, Some(topology)),
        );
        groups.entry(group).or_default().push(*node);
    }
    groups
}

fn row(
    table: &mut Table<9>,
    known: &Known<'_>,
    (group, voters): (&GroupAt, &[NodeId]),
    slots: &str,
) {
    let slots = slots.to_owned();
    match known.leaders.get(group) {
        Some((report, replica)) => table.row([
            group.label(),
            slots,
            report.name.clone(),
            replica.term.to_string(),
            durability(&replica.acknowledgement),
            in_sync(known, report.node, &replica.acknowledgement),
            replica.committed.to_string(),
            replica.keys.to_string(),
            followers(known, replica),
        ]),
        None => {
            let voters: Vec<String> = voters.iter().map(|voter| known.name(*voter)).collect();
            table.row([
                group.label(),
                slots,
                "none seen".to_owned(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                format!("placed on {}", voters.join(", ")),
            ]);
        }
    }
}

/// The rule that the shard keeps, and whether it is on its way to it.
fn durability(kept: &Acknowledgement) -> String {
    match (kept.durability, kept.settled) {
        (rule, true) | (rule @ Durability::Quorum, false) => format!("{rule:?}"),
        (rule @ (Durability::Async | Durability::SemiSync | Durability::Sync), false) => {
            format!("{rule:?} (changing)")
        }
    }
}

/// The followers that a write waits for, and which of them keeps writes waiting too long.
fn in_sync(known: &Known<'_>, leader: NodeId, kept: &Acknowledgement) -> String {
    let followers = kept.in_sync.iter().filter(|node| **node != leader);
    let mut members: Vec<String> = followers
        .map(|node| {
            let waits = kept.waiting_for.contains(node);
            format!("{}{}", known.name(*node), if waits { " (waited for)" } else { "" })
        })
        .collect();
    if kept.shrunk {
        members.push("shrunk".to_owned());
    }
    members.join(", ")
}

/// Each follower with how far it is behind, as its leader sees it.
fn followers(known: &Known<'_>, leader: &ReplicaReport) -> String {
    let followers = leader.followers.iter().map(|(node, follower)| {
        let behind = leader.last.0.saturating_sub(follower.matched.0);
        let phase = match &follower.phase {
            CatchUpPhase::CaughtUp if behind == 0 => "in step".to_owned(),
            CatchUpPhase::CaughtUp | CatchUpPhase::Log { .. } => format!("{behind} behind"),
            CatchUpPhase::Probing => "probing".to_owned(),
            CatchUpPhase::Snapshot { bytes_sent, bytes_total, bytes_per_second, source } => {
                let from = source.map(|node| format!(" from {}", known.name(node)));
                format!(
                    "snapshot {}% at {} MB/s{}",
                    bytes_sent * 100 / (*bytes_total).max(1),
                    bytes_per_second / 1_000_000,
                    from.unwrap_or_default()
                )
            }
        };
        let learner = if leader.learners.contains(node) { ", learner" } else { "" };
        let slow =
            if follower.catch_up.slower_than_writes { ", slower than the writes" } else { "" };
        format!("{} ({phase}{learner}{slow})", known.name(*node))
    });
    followers.collect::<Vec<_>>().join(", ")
}

/// A span of time as kubectl writes ages.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        172_800.. => format!("{}d", seconds / 86_400),
    }
}
