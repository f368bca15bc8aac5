//! Metrics that are read off the node's status when they are asked for.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use quorate_group::host::{HeldHints, HintsStatus, Progress, ReplicaStatus, Status};
use quorate_model::admin::{CatchUpPhase, Role};
use quorate_model::{GroupId, LogFormat};
use quorate_replication::leaderless::Relayed;

use super::exchange;
use crate::peer::{Lane, Links};

/// Where the observed metrics come from.
#[derive(Clone)]
pub struct Observed {
    pub status: Arc<ArcSwap<Status>>,
    pub links: Links,
    /// Set once clients are served.
    pub clients: Arc<OnceLock<AskClients>>,
}

/// Asked at every scrape.
pub type AskClients = Box<dyn Fn() -> Clients + Send + Sync>;

/// What client connections hold and did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Clients {
    pub connected: u64,
    pub bytes_held: u64,
    pub accepted: u64,
    pub rejected: u64,
    pub commands: u64,
    pub failed: u64,
    pub redirected: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").finish_non_exhaustive()
    }
}

impl Collector for Observed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let status = self.status.load_full();
        for metric in REPLICA_METRICS {
            per_replica(&mut encoder, &status, metric, MetricType::Gauge)?;
        }
        for metric in REPLICA_COUNTERS {
            per_replica(&mut encoder, &status, metric, MetricType::Counter)?;
        }
        followers(&mut encoder, &status)?;
        relays(&mut encoder, &status)?;
        exchange::encode(&mut encoder, &status)?;
        node(&mut encoder, &status)?;
        hints(&mut encoder, &status)?;
        clients(&mut encoder, self.clients.get().map(|ask| ask()).unwrap_or_default())?;
        links(&mut encoder, &self.links)
    }
}

struct ReplicaMetric {
    name: &'static str,
    help: &'static str,
    value: fn(&ReplicaStatus) -> u64,
}

const REPLICA_METRICS: &[ReplicaMetric] = &[
    ReplicaMetric {
        name: "replica_leader",
        help: "1 where this node leads the group",
        value: |r| u64::from(r.role == Role::Leader),
    },
    ReplicaMetric {
        name: "replica_has_leader",
        help: "1 where the replica knows a leader",
        value: |r| u64::from(r.leader.is_some()),
    },
    ReplicaMetric { name: "replica_term", help: "The replica's term", value: |r| r.term.0 },
    ReplicaMetric {
        name: "replica_log_last",
        help: "Index of the last entry of the log",
        value: |r| r.last.0,
    },
    ReplicaMetric {
        name: "replica_log_committed",
        help: "Index of the last committed entry",
        value: |r| r.committed.0,
    },
    ReplicaMetric {
        name: "replica_log_applied",
        help: "Index of the last applied entry",
        value: |r| r.applied.0,
    },
    ReplicaMetric { name: "replica_keys", help: "Keys in the group", value: |r| r.keys },
    ReplicaMetric {
        name: "replica_voters",
        help: "Voters of the group as the replica holds it",
        value: |r| r.configuration.voters.len() as u64,
    },
    ReplicaMetric {
        name: "replica_in_sync_members",
        help: "Members of the in-sync set, the leader among them; 0 where the durability has none",
        value: |r| r.acknowledgement.in_sync.len() as u64,
    },
    ReplicaMetric {
        name: "replica_in_sync_waiting",
        help: "On the leader: members of the in-sync set that keep writes waiting, slow or gone",
        value: |r| r.acknowledgement.waiting_for.len() as u64,
    },
    ReplicaMetric {
        name: "replica_in_sync_shrunk",
        help: "On the leader: 1 while the in-sync set has fewer followers than declared",
        value: |r| u64::from(r.acknowledgement.shrunk),
    },
    ReplicaMetric {
        name: "replica_log_format",
        help: "The format of its leader's entries: 1 Statement, 2 Logical, 3 Wal",
        value: |r| match r.log_format {
            LogFormat::Statement => 1,
            LogFormat::Logical => 2,
            LogFormat::Wal => 3,
        },
    },
    ReplicaMetric {
        name: "replica_log_format_held_back",
        help: "1 on a leader whose log has another format than the declared one",
        value: |r| u64::from(r.log_format_held_back.is_some()),
    },
    ReplicaMetric {
        name: "replica_quarantined",
        help: "1 while the replica's rows are wrong and a snapshot is to replace them",
        value: |r| u64::from(r.quarantined.is_some()),
    },
    ReplicaMetric {
        name: "replica_state_passes",
        help: "On the leader: how often all rows were compared between the replicas in this office",
        value: |r| r.passes,
    },
    ReplicaMetric {
        name: "replica_state_undecided",
        help: "1 on a leader where no majority of the replicas had the same state when it was compared",
        value: |r| u64::from(r.undecided.is_some()),
    },
];

const REPLICA_COUNTERS: &[ReplicaMetric] = &[
    ReplicaMetric {
        name: "replica_elections_won",
        help: "Times that this replica was elected since the process started",
        value: |r| r.counts.elections_won,
    },
    ReplicaMetric {
        name: "replica_in_sync_changes",
        help: "Changes of the rule or of the in-sync set by this leader since the process started",
        value: |r| r.counts.swaps,
    },
    ReplicaMetric {
        name: "replica_rolled_back_writes",
        help: "Writes cut from the log although they may have been acknowledged, since the process started",
        value: |r| r.counts.rolled_back,
    },
];

fn per_replica(
    encoder: &mut DescriptorEncoder<'_>,
    status: &Status,
    metric: &ReplicaMetric,
    kind: MetricType,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
    for replica in &status.replicas {
        let labels = [("group", replica.group.to_string())];
        let (value, encoder) = ((metric.value)(replica), family.encode_family(&labels)?);
        match kind {
            MetricType::Counter => ConstCounter::new(value).encode(encoder)?,
            MetricType::Gauge | MetricType::Histogram | MetricType::Info | MetricType::Unknown => {
                gauge(value).encode(encoder)?
            }
        }
    }
    Ok(())
}

struct FollowerMetric {
    name: &'static str,
    help: &'static str,
    unit: Option<&'static Unit>,
    /// `None`: it does not apply to this follower at present.
    value: fn(&ReplicaStatus, &Progress) -> Option<u64>,
}

const FOLLOWER_METRICS: &[FollowerMetric] = &[
    FollowerMetric {
        name: "follower_entries_behind",
        help: "On the leader: how many entries a follower has yet to confirm",
        unit: None,
        value: |replica, follower| Some(replica.last.0.saturating_sub(follower.matched.0)),
    },
    FollowerMetric {
        name: "follower_snapshot_sent",
        help: "On the leader: bytes of a snapshot under way that were sent to a follower",
        unit: Some(&Unit::Bytes),
        value: |_, follower| snapshot(follower).map(|(sent, _, _)| sent),
    },
    FollowerMetric {
        name: "follower_snapshot_total",
        help: "On the leader: bytes of a snapshot under way to a follower, estimated until all is read",
        unit: Some(&Unit::Bytes),
        value: |_, follower| snapshot(follower).map(|(_, total, _)| total),
    },
    FollowerMetric {
        name: "follower_snapshot_rate",
        help: "On the leader: bytes a second of a snapshot under way to a follower",
        unit: None,
        value: |_, follower| snapshot(follower).map(|(_, _, rate)| rate),
    },
    FollowerMetric {
        name: "follower_snapshots",
        help: "On the leader: snapshots sent to a follower since it last was caught up",
        unit: None,
        value: |_, follower| Some(follower.catch_up.snapshots.into()),
    },
    FollowerMetric {
        name: "follower_slower_than_writes",
        help: "On the leader: 1 while a follower will not catch up unless less is written",
        unit: None,
        value: |_, follower| Some(follower.catch_up.slower_than_writes.into()),
    },
];

fn followers(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    for FollowerMetric { name, help, unit, value } in FOLLOWER_METRICS {
        let mut family = encoder.encode_descriptor(name, help, *unit, MetricType::Gauge)?;
        for replica in &status.replicas {
            for (node, progress) in &replica.followers {
                if let Some(value) = value(replica, progress) {
                    let group = ("group", replica.group.to_string());
                    let labels = [group, ("follower", node.to_string())];
                    gauge(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
    }
    Ok(())
}

struct RelayMetric {
    name: &'static str,
    help: &'static str,
    unit: Option<&'static Unit>,
    value: fn(&Relayed) -> u64,
}

const RELAY_METRICS: &[RelayMetric] = &[
    RelayMetric {
        name: "relay_behind",
        help: "What this node coordinated longer ago than so many seconds is held in the datacenter",
        unit: Some(&Unit::Seconds),
        value: |relayed| relayed.behind.as_secs(),
    },
    RelayMetric {
        name: "relay_waiting_keys",
        help: "Keys that wait to be told to the datacenter",
        unit: None,
        value: |relayed| relayed.waiting as u64,
    },
    RelayMetric {
        name: "relay_torn",
        help: "1 while a comparison must find what the datacenter lacks",
        unit: None,
        value: |relayed| relayed.torn.into(),
    },
];

/// Without a leader, where datacenters are `Local`.
fn relays(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    for RelayMetric { name, help, unit, value } in RELAY_METRICS {
        let mut family = encoder.encode_descriptor(name, help, *unit, MetricType::Gauge)?;
        for shard in &status.shards {
            for relayed in &shard.relayed {
                let group = ("group", GroupId::Shard(shard.shard).to_string());
                let labels = [group, ("datacenter", relayed.datacenter.to_string())];
                gauge(value(relayed)).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}

/// What is held for the replicas of other nodes, and what became of it.
fn hints(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    type Gauge = (&'static str, &'static str, Option<&'static Unit>, fn(&HeldHints) -> u64);
    const HELD: [Gauge; 3] = [
        ("hints", "Cells held for a node's replicas that did not answer", None, |h| h.count),
        ("hints_held", "Bytes held for a node's replicas", Some(&Unit::Bytes), |h| h.bytes),
        ("hints_oldest", "Age of the oldest of them", Some(&Unit::Seconds), |h| h.oldest.as_secs()),
    ];
    for (name, help, unit, value) in HELD {
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (target, held) in &status.hints.held {
            let labels = [("target", target.to_string())];
            gauge(value(held)).encode(family.encode_family(&labels)?)?;
        }
    }
    let HintsStatus { held: _, taken, refused, delivered, dropped } = status.hints;
    let counters = [
        ("hints_taken", "Cells taken in place of a replica", taken),
        ("hints_refused", "Cells that there was no room for in place of a replica", refused),
        ("hints_delivered", "Cells given to the replica that they were held for", delivered),
        (
            "hints_dropped",
            "Cells dropped when their window was over, another replica had them",
            dropped,
        ),
    ];
    for (name, help, value) in counters {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)?;
    }
    Ok(())
}

/// Bytes sent, bytes in all, bytes a second.
fn snapshot(follower: &Progress) -> Option<(u64, u64, u64)> {
    match follower.phase {
        CatchUpPhase::Snapshot { bytes_sent, bytes_total, bytes_per_second, .. } => {
            Some((bytes_sent, bytes_total, bytes_per_second))
        }
        CatchUpPhase::Probing | CatchUpPhase::Log { .. } | CatchUpPhase::CaughtUp => None,
    }
}

fn clients(encoder: &mut DescriptorEncoder<'_>, clients: Clients) -> fmt::Result {
    let gauges = [
        ("connections", "Open client connections", None, clients.connected),
        (
            "inflight",
            "What client connections hold of requests that are not answered",
            Some(&Unit::Bytes),
            clients.bytes_held,
        ),
    ];
    for (name, help, unit, value) in gauges {
        let metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        gauge(value).encode(metric)?;
    }
    let counters = [
        ("connections_accepted", "Client connections taken", None, clients.accepted),
        ("connections_rejected", "Client connections refused", None, clients.rejected),
        ("commands", "Commands of clients", None, clients.commands),
        ("commands_failed", "Commands answered with an error", None, clients.failed),
        ("commands_redirected", "Commands answered with MOVED or ASK", None, clients.redirected),
        ("clients_in", "Bytes read from clients", Some(&Unit::Bytes), clients.bytes_in),
        ("clients_out", "Bytes written to clients", Some(&Unit::Bytes), clients.bytes_out),
    ];
    for (name, help, unit, value) in counters {
        let metric = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)?;
    }
    Ok(())
}

fn node(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let gauges = [
        ("log_size", "Size of the log on the disk", Some(&Unit::Bytes), status.log_bytes),
        (
            "requests_waiting",
            "Requests that wait for an answer",
            None,
            status.requests_waiting as u64,
        ),
        (
            "damaged",
            "1 when the log has a hole or a bad record",
            None,
            u64::from(status.damaged.is_some()),
        ),
    ];
    for (name, help, unit, value) in gauges {
        let metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        gauge(value).encode(metric)?;
    }
    let metric = encoder.encode_descriptor(
        "quarantines",
        "Times that a replica of this node was taken out since its rows were wrong or unreadable",
        None,
        MetricType::Counter,
    )?;
    ConstCounter::new(status.quarantines).encode(metric)?;
    let metric = encoder.encode_descriptor(
        "log_syncs",
        "Times that the log was made durable",
        None,
        MetricType::Counter,
    )?;
    ConstCounter::new(status.syncs).encode(metric)
}

fn links(encoder: &mut DescriptorEncoder<'_>, links: &Links) -> fmt::Result {
    let states = links.states();
    let labels = |state: &crate::peer::LinkState| {
        let lane = match state.lane {
            Lane::Replication => "replication",
            Lane::Bulk => "bulk",
            Lane::Requests => "requests",
        };
        [("peer", state.peer.to_string()), ("lane", lane.to_owned())]
    };
    let mut family = encoder.encode_descriptor(
        "link_up",
        "1 while there is a connection to the peer",
        None,
        MetricType::Gauge,
    )?;
    for state in &states {
        gauge(u64::from(state.up)).encode(family.encode_family(&labels(state))?)?;
    }
    let mut family = encoder.encode_descriptor(
        "link_waiting",
        "What waits to be sent to the peer",
        Some(&Unit::Bytes),
        MetricType::Gauge,
    )?;
    for state in &states {
        gauge(state.waiting_bytes as u64).encode(family.encode_family(&labels(state))?)?;
    }
    let mut family = encoder.encode_descriptor(
        "link_dropped",
        "Messages that were dropped since the link was full",
        None,
        MetricType::Counter,
    )?;
    for state in &states {
        ConstCounter::new(state.dropped).encode(family.encode_family(&labels(state))?)?;
    }
    Ok(())
}

pub(super) fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}
