//! What sessions' reads at replicas and their durable writes came to.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Cloning is cheap: all clones count together.
#[derive(Clone, Debug)]
pub struct SessionMetrics {
    reads: Family<AtLabel, Histogram, fn() -> Histogram>,
    reroutes: Family<WhyLabel, Counter>,
    confirmations: Family<AskedLabel, Counter>,
    lost: Counter,
}

/// Where a session's read was answered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the label's values as they are exposed")]
pub enum At {
    /// By this node's replica.
    here,
    /// By another node's.
    elsewhere,
    /// By the leader, since no replica could.
    leader,
}

/// Why the chosen replica did not answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the label's values as they are exposed")]
pub enum Why {
    /// It did not come so far in time.
    behind,
    /// No answer.
    unreachable,
    /// It has no replica, or a damaged one.
    refused,
    /// No leader has said how far it has to be.
    unconfirmed,
    /// Neither a replica nor a leader could answer at first.
    nowhere,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct AtLabel {
    answered: At,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct WhyLabel {
    why: Why,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct AskedLabel {
    shared: Shared,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the label's values as they are exposed")]
enum Shared {
    no,
    yes,
}

impl SessionMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let reads = Family::new_with_constructor(histogram as fn() -> Histogram);
        registry.register_with_unit(
            "session_read",
            "How long reads of sessions at replicas took, waiting included, by where they were answered",
            Unit::Seconds,
            reads.clone(),
        );
        let reroutes = Family::default();
        registry.register(
            "session_reroutes",
            "Reads of sessions that the chosen replica did not answer",
            reroutes.clone(),
        );
        let confirmations = Family::default();
        registry.register(
            "session_confirmations",
            "Confirmations that reads of sessions needed; shared: another read had asked for it",
            confirmations.clone(),
        );
        let lost = Counter::default();
        registry.register(
            "session_lost",
            "Sessions that were told that their write was lost in a failover",
            lost.clone(),
        );
        Self { reads, reroutes, confirmations, lost }
    }

    pub fn answered(&self, answered: At, took: Duration) {
        self.reads.get_or_create(&AtLabel { answered }).observe(took.as_secs_f64());
    }

    pub fn rerouted(&self, why: Why) {
        self.reroutes.get_or_create(&WhyLabel { why }).inc();
    }

    pub fn confirmed(&self, asked: bool) {
        let shared = if asked { Shared::no } else { Shared::yes };
        self.confirmations.get_or_create(&AskedLabel { shared }).inc();
    }

    pub fn lost(&self) {
        self.lost.inc();
    }
}

fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.5, 13))
}
