//! Events: what happened between the last status and this one, and what was just done. Told once, by difference.

use quorate_api::{FailoverStatus, NodeState, Phase, ReplicatedStoreStatus, SwapWhy};

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
    failovers(before, after, &mut events);
    swaps(before, after, &mut events);
    nodes(before, after, &mut events);
    weak_quorums(before, after, &mut events);
    links(before, after, &mut events);
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
        let was = before
            .shards
            .iter()
            .find(|other| (other.shard, &other.datacenter) == (shard.shard, &shard.datacenter));
        let was = was.and_then(|shard| shard.leader.as_ref());
        if let (Some(was), Some(is)) = (was, &shard.leader)
            && was != is
            // Where the nodes tell how it came about, that is told instead.
            && !after.failovers.iter().any(|f| {
                (f.shard, &f.datacenter, f.term) == (shard.shard, &shard.datacenter, shard.term)
            })
        {
            let note =
                format!("shard {}: {is} leads after {was}, term {}", shard.shard, shard.term);
            events.push(normal(EventReason::LeaderChanged, note));
        }
    }
}

/// Each once: with its first appearance in the status, and when it is known what it cost.
fn failovers(
    before: &ReplicatedStoreStatus,
    after: &ReplicatedStoreStatus,
    events: &mut Vec<Event>,
) {
    for failover in after.failovers.iter().rev() {
        let told = before.failovers.iter().find(|other| {
            (other.shard, &other.datacenter, other.term)
                == (failover.shard, &failover.datacenter, failover.term)
        });
        if told.is_none() {
            let note = failover_note(failover);
            events.push(if failover.planned {
                normal(EventReason::Switchover, note)
            } else {
                warning(EventReason::Failover, note)
            });
        }
        let lost = failover.lost_writes.filter(|writes| *writes > 0);
        if let Some(writes) = lost
            && told.and_then(|told| told.lost_writes) != lost
        {
            let note = format!(
                "shard {}: {writes} acknowledged writes of term {} were taken back by the failover to {}; they are kept in {}",
                failover.shard,
                failover.old_term,
                failover.new_leader,
                failover.rollback_files.join(", "),
            );
            events.push(warning(EventReason::WritesRolledBack, note));
        }
    }
}

fn failover_note(failover: &FailoverStatus) -> String {
    let old = failover.old_leader.as_deref().unwrap_or("an unknown leader");
    let elected = failover.elected.0.as_millisecond() - failover.detected.0.as_millisecond();
    let first = match failover.pause_ms {
        Some(pause) => format!("first acknowledged write after {pause} ms"),
        None => "no write acknowledged yet".to_owned(),
    };
    let lost = match failover.lost_writes {
        Some(0) => "",
        Some(_) | None => "; under durability Async acknowledged writes can be lost",
    };
    format!(
        "shard {}: {} (term {}) leads after {old} (term {}): detected at {}, elected after {elected} ms, {first}{lost}",
        failover.shard, failover.new_leader, failover.term, failover.old_term, failover.detected.0,
    )
}

/// A new leader's own set is told with the failover.
fn swaps(before: &ReplicatedStoreStatus, after: &ReplicatedStoreStatus, events: &mut Vec<Event>) {
    for swap in after.swaps.iter().rev() {
        let told = before.swaps.iter().any(|s| {
            (s.shard, &s.datacenter, s.index) == (swap.shard, &swap.datacenter, swap.index)
        });
        if told {
            continue;
        }
        let list = |pods: &[String]| {
            if pods.is_empty() { "nobody".to_owned() } else { pods.join(", ") }
        };
        let (removed, added) = (list(&swap.removed), list(&swap.added));
        let note = |why: &str| {
            format!("shard {}: {added} for {removed} in the in-sync set: {why}", swap.shard)
        };
        match swap.why {
            SwapWhy::Elected => {}
            SwapWhy::Declared => events.push(normal(EventReason::InSyncChanged, note("declared"))),
            SwapWhy::Slow => events.push(warning(EventReason::InSyncSwapped, note("slow"))),
            SwapWhy::Gone => events.push(warning(EventReason::InSyncSwapped, note("gone"))),
            SwapWhy::Recovered => {
                events.push(normal(EventReason::InSyncRecovered, note("caught up again")));
            }
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
    for node in after.nodes.iter().filter(|node| node.state == NodeState::Quarantined) {
        let known = before
            .nodes
            .iter()
            .any(|other| other.id == node.id && other.state == NodeState::Quarantined);
        if !known {
            let note = format!("{}: {}", node.name, node.message.clone().unwrap_or_default());
            events.push(warning(EventReason::ReplicaQuarantined, note));
        }
    }
}

fn weak_quorums(
    before: &ReplicatedStoreStatus,
    after: &ReplicatedStoreStatus,
    events: &mut Vec<Event>,
) {
    let weak = |status: &ReplicatedStoreStatus| {
        let mut conditions = status.conditions.iter();
        let found = conditions.find(|c| c.type_ == "WeakQuorums" && c.status == "True")?;
        Some(found.message.clone())
    };
    if let Some(why) = weak(after).filter(|_| weak(before).is_none()) {
        events.push(warning(EventReason::WeakQuorums, why));
    }
}

fn links(before: &ReplicatedStoreStatus, after: &ReplicatedStoreStatus, events: &mut Vec<Event>) {
    let unhealthy = |status: &ReplicatedStoreStatus| {
        let mut conditions = status.conditions.iter();
        let found = conditions.find(|c| c.type_ == "LinksHealthy" && c.status == "False")?;
        (found.reason != "Creating").then(|| found.message.clone())
    };
    if let Some(why) = unhealthy(after).filter(|_| unhealthy(before).is_none()) {
        events.push(warning(EventReason::LinkInterrupted, why));
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
        TopologyChange::Durability { .. }
        | TopologyChange::LogFormat { .. }
        | TopologyChange::Sessions
        | TopologyChange::Levels { .. }
        | TopologyChange::Conflicts { .. }
        | TopologyChange::Hints { .. }
        | TopologyChange::Links
        | TopologyChange::Reroute { .. }
        | TopologyChange::Resolutions
        | TopologyChange::Homes => Some(EventReason::PolicyChanged),
        TopologyChange::AddDatacenter { .. } => Some(EventReason::DatacenterAdded),
        TopologyChange::RemoveDatacenter { .. } => Some(EventReason::DatacenterRemoved),
        TopologyChange::PreferLeader { .. } | TopologyChange::UpdateZone { .. } => None,
    }
}
