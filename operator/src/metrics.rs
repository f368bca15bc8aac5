//! The operator's own metrics. Every label comes from an enum: no name of a store or a node is ever a label, so the
//! number of series does not grow with the cluster.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciles: Family<OutcomeLabel, Counter>,
    reconcile_seconds: Histogram,
    writes: Family<WriteLabel, Counter>,
    actions: Family<ActionLabel, Counter>,
    node_requests: Family<NodeRequestLabel, Counter>,
    leading: Gauge,
    stores: Gauge,
}

/// How a reconcile ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelValue)]
pub enum Outcome {
    /// Everything is as the resource says.
    Settled,
    /// Something is on its way.
    Progressing,
    /// The resource cannot work as it is written.
    Invalid,
    /// Failed; the same attempt may succeed later.
    Transient,
    /// Failed; only a change of the resource or of the cluster helps.
    Terminal,
}

/// A write to the API server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelValue)]
pub enum Written {
    Apply,
    Delete,
    Merge,
    Status,
}

/// A disruptive action of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelValue)]
pub enum Acted {
    Done,
    Failed,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelValue)]
pub enum NodeAnswer {
    Answered,
    Unknown,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Outcome,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct WriteLabel {
    write: Written,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ActionLabel {
    result: Acted,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct NodeRequestLabel {
    answer: NodeAnswer,
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("quorate_operator");
        let reconciles = Family::<OutcomeLabel, Counter>::default();
        registry.register("reconciles", "Reconciles by how they ended", reconciles.clone());
        let reconcile_seconds = Histogram::new(exponential_buckets(0.005, 2.0, 12));
        registry.register_with_unit(
            "reconcile_duration",
            "How long a reconcile took",
            Unit::Seconds,
            reconcile_seconds.clone(),
        );
        let writes = Family::<WriteLabel, Counter>::default();
        registry.register("writes", "Writes to the API server", writes.clone());
        let actions = Family::<ActionLabel, Counter>::default();
        registry.register("actions", "Disruptive actions carried out", actions.clone());
        let node_requests = Family::<NodeRequestLabel, Counter>::default();
        registry.register("node_requests", "Reports asked of nodes", node_requests.clone());
        let leading = Gauge::default();
        registry.register("leading", "1 while this replica leads", leading.clone());
        let stores = Gauge::default();
        registry.register("stores", "Stores that this replica reconciles", stores.clone());
        Self {
            registry: Arc::new(registry),
            reconciles,
            reconcile_seconds,
            writes,
            actions,
            node_requests,
            leading,
            stores,
        }
    }

    pub fn reconciled(&self, outcome: Outcome, took: Duration) {
        self.reconciles.get_or_create(&OutcomeLabel { outcome }).inc();
        self.reconcile_seconds.observe(took.as_secs_f64());
    }

    pub fn wrote(&self, write: Written) {
        self.writes.get_or_create(&WriteLabel { write }).inc();
    }

    pub fn acted(&self, result: Acted) {
        self.actions.get_or_create(&ActionLabel { result }).inc();
    }

    pub fn asked_node(&self, answer: NodeAnswer) {
        self.node_requests.get_or_create(&NodeRequestLabel { answer }).inc();
    }

    pub fn leading(&self, leads: bool) {
        self.leading.set(i64::from(leads));
    }

    pub fn stores(&self, count: usize) {
        self.stores.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// OpenMetrics text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            // Writing to a string does not fail; were it to, an empty page is the honest answer.
            Err(std::fmt::Error) => String::new(),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_as_openmetrics_wants() {
        let metrics = Metrics::new();
        metrics.reconciled(Outcome::Settled, Duration::from_millis(3));
        let text = metrics.text();
        assert!(
            text.contains("quorate_operator_reconciles_total{outcome=\"Settled\"} 1"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"));
    }
}
