//! Events: what happened between the last status and this one, and what was just done. Told once, by difference.

use quorate_api::{NodeState, Phase, ReplicatedStoreStatus};

use super::{Event, EventKind, EventReason, Outcome, conditions::sentences};
use crate::{Action, Next, Observed, Plan, TopologyChange};

pub(super) fn from_difference(
    before: &ReplicatedStoreStatus,
    after: &ReplicatedStoreStatus,
    outcome: &Outcome<'_>,
    observed: &Observed,
) -> Vec<Event> {
    let mut events = vec![];
    phases(before, after, &mut events);
    leaders(before, after, &mut events);
    nodes(before, after, &mut events);
    match outcome {
        Outcome::Planned { plan, failure: None, .. } => {
            growth(plan, observed, &mut events);
            if let Next::Act(done) = &plan.next {
                events.extend(action(done));
            }
        }
        Outcome::Refused { violations, .. } => {
            let told = before.conditions.iter().any(|c| c.reason == "PlanRefused");
            if !told {
                let why: Vec<String> = violations.iter().map(ToString::to_string).collect();
                events.push(warning(EventReason::PlanRefused, why.join("; ")));
            }
        }
        Outcome::Planned { failure: Some(_), .. } | Outcome::Invalid { .. } => {}
    }
    events
}

const fn normal(reason: EventReason, note: String) -> Event {
    Event { kind: EventKind::Normal, reason, note }
}

const fn warning(reason: EventReason, note: String) -> Event {
    Event { kind: EventKind::Warning, reason, note }
}

fn phases(before: &ReplicatedStoreStatus, after: &ReplicatedStoreStatus, events: &mut Vec<Event>) {
    if before.epoch.is_none() && after.epoch.is_some() {
        events.push(normal(EventReason::Bootstrapped, "the store has begun".to_owned()));
    }
    let changed_errors = after.phase == Some(Phase::Invalid) && before.message != after.message;
    if before.phase == after.phase && !changed_errors {
        return;
    }
    let note = after.message.clone().unwrap_or_default();
    match after.phase {
        Some(Phase::Ready) => {
            let ready = after.ready.clone().unwrap_or_default();
            events.push(normal(EventReason::Ready, format!("{ready} nodes are caught up")));
        }
        Some(Phase::Degraded) => events.push(warning(EventReason::Degraded, note)),
        Some(Phase::Unavailable) => events.push(warning(EventReason::Unavailable, note)),
        Some(Phase::Invalid) => events.push(warning(EventReason::Invalid, note)),
        Some(Phase::Paused | Phase::Creating | Phase::Updating | Phase::Unknown) | None => {}
    }
}

fn leaders(before: &ReplicatedStoreStatus, after: &ReplicatedStoreStatus, events: &mut Vec<Event>) {
    for shard in &after.shards {
        let was = before.shards.iter().find(|other| other.shard == shard.shard);
        let was = was.and_then(|shard| shard.leader.as_ref());
        if let (Some(was), Some(is)) = (was, &shard.leader)
            && was != is
        {
            let note =
                format!("shard {}: {is} leads after {was}, term {}", shard.shard, shard.term);
            events.push(normal(EventReason::LeaderChanged, note));
        }
    }
}

fn nodes(before: &ReplicatedStoreStatus, after: &ReplicatedStoreStatus, events: &mut Vec<Event>) {
    for node in after.nodes.iter().filter(|node| node.state == NodeState::Corrupt) {
        let known = before.nodes.iter().any(|other| {
            other.id == node.id && other.state == NodeState::Corrupt && other.name == node.name
        });
        if !known {
            let note = format!("{}: {}", node.name, node.message.clone().unwrap_or_default());
            events.push(warning(EventReason::NodeCorrupt, note));
        }
    }
}

fn growth(plan: &Plan, observed: &Observed, events: &mut Vec<Event>) {
    for set in plan.children.iter().flat_map(|children| &children.stateful_sets) {
        let name = set.metadata.name.clone().unwrap_or_default();
        let found = observed.children.stateful_sets.get(&name);
        let from = found.and_then(|set| set.spec.as_ref()?.replicas);
        let to = set.spec.as_ref().and_then(|spec| spec.replicas);
        if let (Some(from), Some(to)) = (from, to)
            && to > from
        {
            let note = format!("StatefulSet {name} grows from {from} to {to}");
            events.push(normal(EventReason::ScalingUp, note));
        }
    }
}

fn action(action: &Action) -> Vec<Event> {
    match action {
        Action::RecordBootstrap(choice) => {
            vec![normal(EventReason::Bootstrapping, format!("the store begins on {}", choice.pod))]
        }
        Action::Bootstrap { .. } => vec![],
        Action::ProposeTopology { why, .. } => {
            let topology = |reason| normal(reason, sentences(why));
            let reasons = why.iter().filter_map(topology_reason);
            reasons.take(1).map(topology).collect()
        }
        Action::RestartPod { pod, .. } => {
            vec![normal(EventReason::RollingRestart, format!("restarting {pod}"))]
        }
        Action::ScaleDown { stateful_set, from, to, .. } => vec![normal(
            EventReason::ScalingDown,
            format!("StatefulSet {stateful_set} shrinks from {from} to {to}"),
        )],
        Action::ReplaceVolume { pod, node, .. } => vec![warning(
            EventReason::VolumeReplaced,
            format!(
                "the volume of {pod} with node {node} is thrown away; a new node takes its place"
            ),
        )],
        Action::DeleteClaim { claim, .. } => {
            vec![normal(EventReason::VolumeDeleted, format!("the unused claim {claim} is deleted"))]
        }
    }
}

const fn topology_reason(change: &TopologyChange) -> Option<EventReason> {
    match change {
        TopologyChange::AddMember { .. } => Some(EventReason::NodeJoining),
        TopologyChange::ReplaceMember { .. } => Some(EventReason::NodeReplaced),
        TopologyChange::RemoveMember { .. } => Some(EventReason::NodeRemoved),
        TopologyChange::MoveReplica { .. } => Some(EventReason::ReplicaMoving),
        TopologyChange::PreferLeader { .. } | TopologyChange::UpdateZone { .. } => None,
    }
}
