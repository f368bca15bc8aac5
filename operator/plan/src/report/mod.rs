//! What users are told: the status, and events for what changed. A pure function; equal input gives equal output.

mod conditions;
mod events;
mod exchange;
#[cfg(test)]
mod exchange_test;
mod guarantees;
mod nodes;
mod replication;
#[cfg(test)]
mod replication_test;
#[cfg(test)]
mod report_test;
mod shards;

use std::collections::BTreeMap;

use quorate_api::{
    BootstrapStatus, NodeState, Phase, ReplicatedStore, ReplicatedStoreStatus, ServicesStatus,
    ShardHealth,
};

use crate::{
    Action, Next, Observed, Plan, SpecError, ValidStore, Violation, names,
    plan::facts::{Facts, Seen},
};
use conditions::{Conditions, Kind, State};

/// As the schema of `status.message` and of a condition's message allows.
const MESSAGE_LENGTH_MAX: usize = 1024;
const HELD_BACK_LENGTH_MAX: usize = 600;

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
    ReplicaQuarantined,
    /// A leader was lost and another one elected.
    Failover,
    /// Leadership was handed over as planned.
    Switchover,
    WritesRolledBack,
    /// A slow or missing member of an in-sync set was replaced, or the set shrank.
    InSyncSwapped,
    InSyncRecovered,
    /// An in-sync set changed because other ones are declared.
    InSyncChanged,
    PolicyChanged,
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
    /// Reads can miss acknowledged writes, at the levels in force.
    WeakQuorums,
    DatacenterAdded,
    DatacenterRemoved,
    /// Changes of a datacenter do not reach another one, or it is behind the logs.
    LinkInterrupted,
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
            Self::ReplicaQuarantined => "ReplicaQuarantined",
            Self::Failover => "Failover",
            Self::Switchover => "Switchover",
            Self::WritesRolledBack => "WritesRolledBack",
            Self::InSyncSwapped => "InSyncSwapped",
            Self::InSyncRecovered => "InSyncRecovered",
            Self::InSyncChanged => "InSyncChanged",
            Self::PolicyChanged => "PolicyChanged",
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
            Self::WeakQuorums => "WeakQuorums",
            Self::DatacenterAdded => "DatacenterAdded",
            Self::DatacenterRemoved => "DatacenterRemoved",
            Self::LinkInterrupted => "LinkInterrupted",
        }
    }
}

/// What to report after a reconcile.
#[must_use]
pub fn report(resource: &ReplicatedStore, observed: &Observed, outcome: Outcome<'_>) -> Report {
    let generation = resource.metadata.generation;
    let mut status = match outcome {
        Outcome::Invalid { errors } => invalid(resource, observed, generation, errors),
        Outcome::Planned { store, plan, failure } => {
            let trouble = failure.map(Trouble::Failed);
            valid(&Facts::new(store, observed), plan, generation, trouble)
        }
        Outcome::Refused { store, plan, violations } => {
            let trouble = Some(Trouble::Refused(violations));
            valid(&Facts::new(store, observed), plan, generation, trouble)
        }
    };
    status.observed_generation = generation;
    let events = events::from_difference(&observed.status, &status, &outcome, observed);
    Report { status, events }
}

/// Why a plan was not carried out.
#[derive(Clone, Copy)]
enum Trouble<'a> {
    Failed(&'a str),
    Refused(&'a [Violation]),
}

/// The last status with the errors: the store itself goes on as it was, and so do its leaders and their labels.
fn invalid(
    resource: &ReplicatedStore,
    observed: &Observed,
    generation: Option<i64>,
    errors: &[SpecError],
) -> ReplicatedStoreStatus {
    let sentences: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let message = limited(&sentences.join("; "), MESSAGE_LENGTH_MAX);
    let mut status = observed.status.clone();
    let id = resource.metadata.uid.as_ref().and_then(|uid| uid.parse().ok());
    if let Some(id) = id {
        let seen = Seen::new(id, observed, BTreeMap::new());
        shards::follow_leaders(&seen, &mut status.shards);
    }
    let mut conditions = Conditions::new(observed, generation);
    conditions.set(Kind::Ready, State::False, "Invalid", &message);
    conditions.set(Kind::Valid, State::False, "Invalid", &message);
    status.conditions = conditions.keeping_others();
    status.phase = Some(Phase::Invalid);
    status.message = Some(message);
    status
}

fn valid(
    facts: &Facts<'_>,
    plan: &Plan,
    generation: Option<i64>,
    trouble: Option<Trouble<'_>>,
) -> ReplicatedStoreStatus {
    let before = &facts.observed.status;
    let name = facts.store.name.as_str();
    let nodes = nodes::statuses(facts);
    let shards = shards::statuses(facts);
    let ready = nodes.iter().filter(|node| node.state == NodeState::CaughtUp).count();
    let healthy = shards.iter().filter(|shard| shard.health == ShardHealth::Healthy).count();
    let epoch = facts.topology.and_then(|topology| i64::try_from(topology.epoch.0).ok());
    let mut status = ReplicatedStoreStatus {
        ready: Some(format!("{ready}/{}", facts.store.nodes())),
        shards_healthy: Some(format!("{healthy}/{}", facts.store.groups())),
        leader_datacenters: shards::leader_datacenters(facts, &shards),
        replicas: i32::try_from(facts.observed.children.pods.len()).unwrap_or(i32::MAX),
        selector: names::selector(name),
        epoch: epoch.max(before.epoch),
        bootstrap: bootstrap(facts, plan),
        services: Some(ServicesStatus {
            read_write: names::service_read_write(name),
            read_only: names::service_read_only(name),
            read: names::service_read(name),
            headless: names::service_headless(name),
        }),
        durability: shards::in_common(&shards, |shard| shard.durability),
        quorums: shards::quorums(facts),
        log_format: shards::log_format(facts),
        log_format_held_back: shards::log_format_held_back(facts)
            .map(|why| limited(why, HELD_BACK_LENGTH_MAX)),
        failovers: replication::failovers(facts),
        swaps: replication::swaps(facts),
        catch_up: replication::catch_up(facts),
        rollbacks: replication::rollbacks(facts),
        links: exchange::links(facts),
        conflicts: exchange::conflicts(facts),
        nodes,
        shards,
        ..ReplicatedStoreStatus::default()
    };
    let verdict = conditions::judge(facts, plan, &status, generation, trouble);
    status.phase = Some(verdict.phase);
    status.message = verdict.message.map(|message| limited(&message, MESSAGE_LENGTH_MAX));
    status.conditions = verdict.conditions;
    status
}

/// The recorded choice; the one that this plan makes; or, when the status was lost, one of those who know the store.
fn bootstrap(facts: &Facts<'_>, plan: &Plan) -> Option<BootstrapStatus> {
    let recorded = facts.observed.status.bootstrap.clone();
    let chosen = || match &plan.next {
        Next::Act(Action::RecordBootstrap(choice)) => Some(choice.clone()),
        Next::Act(_) | Next::Wait(_) | Next::Settled => None,
    };
    let known = || {
        let topology = facts.topology?;
        let node = topology.meta_voters.first()?;
        let pod = topology.members.get(node)?.name.clone();
        Some(BootstrapStatus { store_id: facts.store.id, node: *node, pod })
    };
    recorded.or_else(chosen).or_else(known)
}

/// At most `length` characters, so that the schema takes it.
fn limited(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(length.saturating_sub(1)).collect();
    short.push('…');
    short
}
