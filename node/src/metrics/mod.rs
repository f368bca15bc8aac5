//! What a node counts. Every name, unit and label is in `docs/metrics.md`; labels come from enums, groups and members
//! only, so that their number is bounded.

mod collect;
mod exchange;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use quorate_group::Operation;
use quorate_group::host::Failure;

pub use collect::{AskClients, Clients, Observed};
pub use sessions::{At, SessionMetrics, Why};

/// Cloning is cheap: all clones count together.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<WayLabel, Histogram, fn() -> Histogram>,
    turn_seconds: Histogram,
    turn_events: Histogram,
    sessions: SessionMetrics,
}

/// What a client's operation does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelValue)]
pub enum Way {
    #[expect(non_camel_case_types, reason = "the label's value as it is exposed")]
    read,
    #[expect(non_camel_case_types, reason = "the label's value as it is exposed")]
    write,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the label's values as they are exposed")]
enum Outcome {
    ok,
    /// Surely not done: no leader, or not here.
    refused,
    overloaded,
    /// Not acknowledged in time.
    unknown,
    invalid,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RequestLabels {
    operation: Way,
    outcome: Outcome,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct WayLabel {
    operation: Way,
}

impl Metrics {
    /// Counts from zero. `observed` is asked at every scrape.
    #[must_use]
    pub fn new(observed: Observed) -> Self {
        let mut registry = Registry::with_prefix("quorate");
        let requests = Family::default();
        registry.register(
            "requests",
            "Operations of clients of this node, by what became of them",
            requests.clone(),
        );
        let request_seconds = Family::new_with_constructor(request_histogram as fn() -> Histogram);
        registry.register_with_unit(
            "request",
            "How long operations of clients of this node took, forwarding included",
            Unit::Seconds,
            request_seconds.clone(),
        );
        let turn_seconds = Histogram::new(exponential_buckets(0.000_02, 4.0, 9));
        registry.register_with_unit(
            "driver_turn",
            "How long the driver took for the events of one turn",
            Unit::Seconds,
            turn_seconds.clone(),
        );
        let turn_events = Histogram::new(exponential_buckets(1.0, 4.0, 8));
        registry.register(
            "driver_turn_events",
            "How many events the driver took at once",
            turn_events.clone(),
        );
        let sessions = SessionMetrics::register(&mut registry);
        registry.register_collector(Box::new(observed));
        Self {
            registry: Arc::new(registry),
            requests,
            request_seconds,
            turn_seconds,
            turn_events,
            sessions,
        }
    }

    /// What sessions at replicas count.
    #[must_use]
    pub fn sessions(&self) -> SessionMetrics {
        self.sessions.clone()
    }

    pub fn answered<T>(&self, operation: Way, took: Duration, result: &Result<T, Failure>) {
        let outcome = match result {
            Ok(_) => Outcome::ok,
            Err(
                Failure::NotLeader { .. }
                | Failure::NoLeader { .. }
                | Failure::NotHosted { .. }
                | Failure::TimedOut { .. }
                | Failure::Behind { .. }
                | Failure::PositionLost { .. }
                | Failure::Filling { .. }
                | Failure::Home { .. }
                | Failure::HomeSilent { .. }
                | Failure::Lacking { .. }
                | Failure::NoQuorum { writes: false, .. }
                | Failure::Damaged(_),
            ) => Outcome::refused,
            Err(Failure::Overloaded) => Outcome::overloaded,
            Err(Failure::Unknown | Failure::NoQuorum { writes: true, .. }) => Outcome::unknown,
            Err(
                Failure::EpochMoved { .. } | Failure::AlreadyBootstrapped | Failure::Invalid(_),
            ) => Outcome::invalid,
        };
        self.requests.get_or_create(&RequestLabels { operation, outcome }).inc();
        self.request_seconds.get_or_create(&WayLabel { operation }).observe(took.as_secs_f64());
    }

    pub fn turned(&self, events: usize, took: Duration) {
        // A turn without events is a timer's.
        if events > 0 {
            self.turn_events.observe(u32::try_from(events).map_or(f64::MAX, f64::from));
            self.turn_seconds.observe(took.as_secs_f64());
        }
    }

    /// The OpenMetrics text of everything.
    ///
    /// # Errors
    /// When an encoder fails, which says that a metric is declared wrongly.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Way {
    #[must_use]
    pub const fn of(operation: &Operation) -> Self {
        match operation {
            Operation::Read(_) => Self::read,
            Operation::Write(_) => Self::write,
        }
    }
}

fn request_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.5, 13))
}
