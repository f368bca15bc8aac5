//! What users are told: the status, and events for what changed. A pure function; equal input gives equal output.

use quorate_api::{ReplicatedStore, ReplicatedStoreStatus};

use crate::{Observed, Plan, SpecError, ValidStore, Violation};

/// How far a reconcile came.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// The resource cannot be carried out as it is written.
    Invalid { errors: &'a [SpecError] },
    /// The plan was carried out, up to `failure` when there is one (a sentence without times or counters).
    Planned { store: &'a ValidStore, plan: &'a Plan, failure: Option<&'a str> },
    /// The plan did not pass its check and was not carried out.
    Refused { store: &'a ValidStore, plan: &'a Plan, violations: &'a [Violation] },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The whole status. Write it only if it differs from `observed.status`.
    pub status: ReplicatedStoreStatus,
    /// What to tell, once each: they come from the difference to the last status.
    pub events: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    pub reason: EventReason,
    pub note: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Normal,
    Warning,
}

/// Why an event is told; its name is the event's `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventReason {
    Bootstrapping,
    Bootstrapped,
    LeaderChanged,
    NodeJoining,
    NodeReplaced,
    NodeRemoved,
    NodeCorrupt,
    ReplicaMoving,
    ScalingUp,
    ScalingDown,
    RollingRestart,
    VolumeReplaced,
    VolumeDeleted,
    Ready,
    Degraded,
    Unavailable,
    Invalid,
    PlanRefused,
}

impl EventReason {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bootstrapping => "Bootstrapping",
            Self::Bootstrapped => "Bootstrapped",
            Self::LeaderChanged => "LeaderChanged",
            Self::NodeJoining => "NodeJoining",
            Self::NodeReplaced => "NodeReplaced",
            Self::NodeRemoved => "NodeRemoved",
            Self::NodeCorrupt => "NodeCorrupt",
            Self::ReplicaMoving => "ReplicaMoving",
            Self::ScalingUp => "ScalingUp",
            Self::ScalingDown => "ScalingDown",
            Self::RollingRestart => "RollingRestart",
            Self::VolumeReplaced => "VolumeReplaced",
            Self::VolumeDeleted => "VolumeDeleted",
            Self::Ready => "Ready",
            Self::Degraded => "Degraded",
            Self::Unavailable => "Unavailable",
            Self::Invalid => "Invalid",
            Self::PlanRefused => "PlanRefused",
        }
    }
}

/// What to report after a reconcile.
#[must_use]
pub fn report(resource: &ReplicatedStore, observed: &Observed, outcome: Outcome<'_>) -> Report {
    let (_, _) = (resource, outcome);
    Report { status: observed.status.clone(), events: vec![] }
}
