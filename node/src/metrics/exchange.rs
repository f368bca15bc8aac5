//! Where every datacenter has leaders: what this node's have from the others, and what became of conflicts.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;
use quorate_group::host::{ExchangeStatus, Status};
use quorate_replication::multi_leader::LinkStatus;

use super::collect::gauge;

struct LinkMetric {
    name: &'static str,
    help: &'static str,
    unit: Option<&'static Unit>,
    value: fn(&LinkStatus) -> u64,
}

const LINK_METRICS: &[LinkMetric] = &[
    LinkMetric {
        name: "link_lacking",
        help: "On the leader: writes of the datacenter that are known and not here",
        unit: None,
        value: |link| link.lacking,
    },
    LinkMetric {
        name: "link_lag",
        help: "On the leader: for how long there have been such",
        unit: Some(&Unit::Seconds),
        value: |link| link.lag.as_secs(),
    },
    LinkMetric {
        name: "link_silent",
        help: "On the leader: 1 while nothing is heard of the datacenter",
        unit: None,
        value: |link| link.silent.into(),
    },
    LinkMetric {
        name: "link_rerouted",
        help: "On the leader: 1 while it takes from there what does not come by the declared links",
        unit: None,
        value: |link| link.rerouted.into(),
    },
    LinkMetric {
        name: "link_behind",
        help: "On the leader: 1 while the datacenter's log does not go back as far as is needed",
        unit: None,
        value: |link| link.behind.into(),
    },
];

struct GroupMetric {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    unit: Option<&'static Unit>,
    value: fn(&ExchangeStatus) -> u64,
}

const GROUP_METRICS: &[GroupMetric] = &[
    GroupMetric {
        name: "exchange_held",
        help: "On the leader: bytes of changes that wait for others",
        kind: MetricType::Gauge,
        unit: Some(&Unit::Bytes),
        value: |exchange| exchange.held_bytes as u64,
    },
    GroupMetric {
        name: "exchange_blocked",
        help: "On the leader: for how long the oldest of them has waited",
        kind: MetricType::Gauge,
        unit: Some(&Unit::Seconds),
        value: |exchange| exchange.blocked.as_ref().map_or(0, |(_, waits)| waits.as_secs()),
    },
    GroupMetric {
        name: "exchange_taken",
        help: "On the leader: changes of other datacenters since it leads",
        kind: MetricType::Counter,
        unit: None,
        value: |exchange| exchange.counts.taken,
    },
    GroupMetric {
        name: "exchange_refused",
        help: "On the leader: changes that were not taken each time that they came",
        kind: MetricType::Counter,
        unit: None,
        value: |exchange| {
            let refused = &exchange.refused;
            refused.ahead_of_time + refused.full + refused.malformed
        },
    },
    GroupMetric {
        name: "conflicts",
        help: "On the leader: conflicts that it found since it leads",
        kind: MetricType::Counter,
        unit: None,
        value: |exchange| exchange.counts.conflicts,
    },
    GroupMetric {
        name: "conflicts_discarded",
        help: "On the leader: values that are no longer read because of them",
        kind: MetricType::Counter,
        unit: None,
        value: |exchange| exchange.counts.discarded,
    },
    GroupMetric {
        name: "conflicts_failed",
        help: "On the leader: those of which a script made nothing",
        kind: MetricType::Counter,
        unit: None,
        value: |exchange| exchange.counts.failed,
    },
];

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let exchanges = || {
        let replicas = status.replicas.iter();
        replicas.filter_map(|one| Some((one.group.to_string(), one.exchange.as_ref()?)))
    };
    for LinkMetric { name, help, unit, value } in LINK_METRICS {
        let mut family = encoder.encode_descriptor(name, help, *unit, MetricType::Gauge)?;
        for (group, exchange) in exchanges() {
            for link in &exchange.links {
                let labels = [("group", group.clone()), ("datacenter", link.from.to_string())];
                gauge(value(link)).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    for GroupMetric { name, help, kind, unit, value } in GROUP_METRICS {
        let mut family = encoder.encode_descriptor(name, help, *unit, *kind)?;
        for (group, exchange) in exchanges() {
            let labels = [("group", group)];
            let family = family.encode_family(&labels)?;
            if matches!(kind, MetricType::Counter) {
                ConstCounter::new(value(exchange)).encode(family)?;
            } else {
                gauge(value(exchange)).encode(family)?;
            }
        }
    }
    Ok(())
}
