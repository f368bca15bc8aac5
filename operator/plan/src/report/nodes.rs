//! What each node is, for people.

use std::collections::BTreeMap;

use quorate_api::{BehindStatus, HintsStatus, NodeState, NodeStatus};
use quorate_model::{Datacenter, GroupId, NodeId, admin::HintsReport};

use super::limited;
use crate::plan::facts::{Facts, MemberState, PodFacts};

const NODE_MESSAGE_LENGTH_MAX: usize = 512;
const HINTS_MAX: usize = 16;
const BEHIND_MAX: usize = 16;

/// Every pod that is asked for or exists, by name, and every lost identity.
pub(super) fn statuses(facts: &Facts<'_>) -> Vec<NodeStatus> {
    let pods = facts.pods.iter().map(|(name, pod)| status(facts, name, pod));
    let members = facts.topology.iter().flat_map(|topology| topology.members.values());
    let lost =
        members.filter(|member| facts.member_state(member) == MemberState::Lost).map(|member| {
            NodeStatus {
                name: member.name.clone(),
                id: Some(member.id),
                datacenter: member.datacenter.to_string(),
                zone: Some(member.zone.to_string()),
                state: NodeState::Lost,
                message: Some("another identity has come back under its name".to_owned()),
                hints: vec![],
                behind: vec![],
            }
        });
    let mut all: Vec<NodeStatus> = pods.chain(lost).collect();
    all.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    all
}

fn status(facts: &Facts<'_>, name: &str, pod: &PodFacts<'_>) -> NodeStatus {
    let by_report = pod.report.map(|report| report.node);
    let members = facts.topology.iter().flat_map(|topology| topology.members.values());
    let by_name = members.filter(|member| member.name == name).map(|member| member.id).next();
    let id = by_report.or(by_name);
    let member = id.and_then(|id| facts.topology?.members.get(&id));
    let zone = match member {
        Some(member) => Some(member.zone.clone()),
        None => facts.known_zone(pod),
    };
    let (state, message) = state(facts, pod, id);
    NodeStatus {
        name: name.to_owned(),
        id,
        datacenter: pod.datacenter.as_ref().map(ToString::to_string).unwrap_or_default(),
        zone: zone.map(|zone| zone.to_string()),
        state,
        message: message.map(|message| limited(&message, NODE_MESSAGE_LENGTH_MAX)),
        hints: hints(facts, pod),
        behind: behind(pod),
    }
}

/// By the slowest of its shards. What is told at once is not said, so that a status does not change all the time.
fn behind(pod: &PodFacts<'_>) -> Vec<BehindStatus> {
    let mut most = BTreeMap::<&Datacenter, (u64, bool)>::new();
    let shards = pod.report.iter().flat_map(|report| &report.shards);
    for relay in shards.flat_map(|shard| &shard.relays) {
        let (ms, compared) = most.entry(&relay.datacenter).or_default();
        *ms = relay.behind_ms.max(*ms);
        *compared |= relay.torn || !relay.known;
    }
    let behind = most.into_iter().filter(|(_, (ms, _))| *ms >= 1_000);
    let status = |(datacenter, (ms, compared)): (&Datacenter, _)| BehindStatus {
        datacenter: datacenter.to_string(),
        seconds: i64::try_from(ms / 1_000).unwrap_or(i64::MAX),
        compared,
    };
    behind.map(status).take(BEHIND_MAX).collect()
}

/// What the node says that it holds for others.
fn hints(facts: &Facts<'_>, pod: &PodFacts<'_>) -> Vec<HintsStatus> {
    let pod_of = |node| facts.topology?.members.get(&node).map(|member| member.name.clone());
    let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
    let held = pod.report.iter().flat_map(|report| &report.hints);
    let status = |held: &HintsReport| HintsStatus {
        target: pod_of(held.target).unwrap_or_else(|| held.target.to_string()),
        count: number(held.count),
        bytes: number(held.bytes),
        oldest_seconds: number(held.oldest_seconds),
    };
    held.take(HINTS_MAX).map(status).collect()
}

fn state(facts: &Facts<'_>, pod: &PodFacts<'_>, id: Option<NodeId>) -> (NodeState, Option<String>) {
    if pod.other_store {
        return (NodeState::Unknown, Some("its volume belongs to another store".to_owned()));
    }
    if !pod.desired {
        return (NodeState::Leaving, None);
    }
    let Some(report) = pod.report else {
        return if pod.pod.is_none() || pod.is_not_running() || pod.is_ending() {
            (NodeState::Pending, None)
        } else {
            (NodeState::Unknown, Some("does not answer the operator".to_owned()))
        };
    };
    if let Some(damage) = &report.corrupt {
        return (NodeState::Corrupt, Some(damage.clone()));
    }
    let is_member =
        facts.topology.is_some_and(|topology| topology.members.contains_key(&report.node));
    if !is_member {
        return (NodeState::Joining, None);
    }
    let differing = report.replicas.iter().find_map(|replica| {
        let why = replica.quarantined.as_ref()?;
        Some(format!("{}: {why}", replica.group))
    });
    let given_up = || {
        let mut shards = report.shards.iter();
        shards.find_map(|one| Some(format!("shard-{}: {}", one.shard, one.given_up.as_ref()?)))
    };
    let differing = differing.or_else(given_up);
    if differing.is_some() {
        return (NodeState::Quarantined, differing);
    }
    let behind = id.map(|id| groups_behind(facts, id)).unwrap_or_default();
    if !behind.is_empty() {
        return (NodeState::CatchingUp, Some(format!("behind in {}", behind.join(", "))));
    }
    if !report.not_serving.is_empty() {
        return (NodeState::NotServing, Some(report.not_serving.join("; ")));
    }
    (NodeState::CaughtUp, None)
}

/// Groups whose leader sees the node behind, and shards without a leader of which it says so itself. Learners of the meta group do
/// not count: nothing waits for them.
fn groups_behind(facts: &Facts<'_>, node: NodeId) -> Vec<String> {
    let groups = facts.groups.iter().filter(|(group, state)| {
        if let Some(owners) = &state.owners {
            return owners.filling().contains(&node);
        }
        let Some((_, leader)) = state.leader else { return false };
        let voter = leader.voters.contains(&node);
        let learner = leader.learners.contains(&node) && group.id != GroupId::Meta;
        (voter || learner) && !state.is_caught_up(node)
    });
    groups.map(|(group, _)| group.to_string()).collect()
}
