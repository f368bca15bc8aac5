//! Conditions and the phase: what programs and people wait for.
//!
//! `Ready` is what `kubectl wait` should wait for: everything that was asked for is done and well. `Available` says
//! that clients are served, whatever is under way.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use quorate_api::{NodeState, Phase, ReplicatedStoreStatus, ShardHealth};
use quorate_model::{Mode, NodeId, majority};

use super::{MESSAGE_LENGTH_MAX, Trouble, exchange, guarantees, limited};
use crate::{
    Action, Next, Observed, Plan, TopologyChange, WaitingOn, leaderless, placement,
    plan::facts::{Facts, shard_groups},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ready,
    Available,
    Progressing,
    Degraded,
    Valid,
    PlacementSatisfied,
    StorageHealthy,
    ReconciliationPaused,
    InSync,
    DurabilityChanging,
    Quarantined,
    RolledBackWrites,
    UpgradeSafe,
    WeakQuorums,
    LinksHealthy,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Available => "Available",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
            Self::Valid => "Valid",
            Self::PlacementSatisfied => "PlacementSatisfied",
            Self::StorageHealthy => "StorageHealthy",
            Self::ReconciliationPaused => "ReconciliationPaused",
            Self::InSync => "InSync",
            Self::DurabilityChanging => "DurabilityChanging",
            Self::Quarantined => "Quarantined",
            Self::RolledBackWrites => "RolledBackWrites",
            Self::UpgradeSafe => "UpgradeSafe",
            Self::WeakQuorums => "WeakQuorums",
            Self::LinksHealthy => "LinksHealthy",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    True,
    False,
    Unknown,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Conditions in the making. A transition time moves only when the state does.
pub(super) struct Conditions<'a> {
    observed: &'a Observed,
    generation: Option<i64>,
    made: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    pub(super) const fn new(observed: &'a Observed, generation: Option<i64>) -> Self {
        Self { observed, generation, made: vec![] }
    }

    pub(super) fn set(&mut self, kind: Kind, state: State, reason: &str, message: &str) {
        let before = self.observed.status.conditions.iter().find(|c| c.type_ == kind.as_str());
        let since = before
            .filter(|before| before.status == state.as_str())
            .map_or(&self.observed.now, |before| &before.last_transition_time);
        self.made.push(Condition {
            type_: kind.as_str().to_owned(),
            status: state.as_str().to_owned(),
            reason: reason.to_owned(),
            message: limited(message, MESSAGE_LENGTH_MAX),
            observed_generation: self.generation,
            last_transition_time: since.clone(),
        });
    }

    /// With the last ones of every kind that was not set.
    pub(super) fn keeping_others(self) -> Vec<Condition> {
        let mut all = self.observed.status.conditions.clone();
        for made in self.made {
            match all.iter_mut().find(|condition| condition.type_ == made.type_) {
                Some(before) => *before = made,
                None => all.push(made),
            }
        }
        all
    }
}

pub(super) struct Verdict {
    pub(super) phase: Phase,
    pub(super) message: Option<String>,
    pub(super) conditions: Vec<Condition>,
}

pub(super) struct Finding {
    state: State,
    reason: &'static str,
    message: String,
}

pub(super) fn finding(state: State, reason: &'static str, message: impl Into<String>) -> Finding {
    Finding { state, reason, message: message.into() }
}

pub(super) fn judge(
    facts: &Facts<'_>,
    plan: &Plan,
    status: &ReplicatedStoreStatus,
    generation: Option<i64>,
    trouble: Option<Trouble<'_>>,
) -> Verdict {
    let available = available(facts, status);
    let progressing = progressing(plan, trouble);
    let degraded = degraded(facts, status);
    let storage = storage(facts);
    let paused = facts.store.paused;
    let done = trouble.is_none() && plan.next == Next::Settled;
    let well = available.state == State::True && degraded.state == State::False;
    let ready = if well && (done || (paused && trouble.is_none())) {
        finding(State::True, "Ready", "every node and shard is as asked for")
    } else {
        let message = match (available.state, degraded.state) {
            _ if trouble.is_some() => progressing.message.clone(),
            (State::False | State::Unknown, _) => available.message.clone(),
            (State::True, State::True | State::Unknown) => degraded.message.clone(),
            (State::True, State::False) => progressing.message.clone(),
        };
        finding(State::False, "NotReady", message)
    };
    let phase = phase(facts, paused, &ready, &available, &degraded);
    let message = match (ready.state, trouble, &plan.next) {
        (State::True, None, _) => None,
        (State::True | State::False | State::Unknown, _, _) if !progressing.message.is_empty() => {
            Some(progressing.message.clone())
        }
        (State::True | State::False | State::Unknown, _, _) => Some(ready.message.clone()),
    };
    let mut conditions = Conditions::new(facts.observed, generation);
    let mut set = |kind, finding: &Finding| {
        conditions.set(kind, finding.state, finding.reason, &finding.message);
    };
    set(Kind::Ready, &ready);
    set(Kind::Available, &available);
    set(Kind::Progressing, &progressing);
    set(Kind::Degraded, &degraded);
    set(Kind::Valid, &valid(plan));
    set(Kind::PlacementSatisfied, &placement_satisfied(facts));
    set(Kind::StorageHealthy, &storage);
    if let Some(changing) = guarantees::durability_changing(facts) {
        set(Kind::DurabilityChanging, &changing);
    }
    set(Kind::Quarantined, &guarantees::quarantined(facts));
    let lost = guarantees::rolled_back_writes(status, facts.store.name.as_str());
    set(Kind::RolledBackWrites, &lost);
    if let Some(in_sync) = guarantees::in_sync(facts) {
        set(Kind::InSync, &in_sync);
    }
    if let Some(weak) = guarantees::weak_quorums(facts) {
        set(Kind::WeakQuorums, &weak);
    }
    if let Some(links) = exchange::links_healthy(facts, &status.links) {
        set(Kind::LinksHealthy, &links);
    }
    if let Some(refused) = guarantees::upgrade_safe(plan) {
        set(Kind::UpgradeSafe, &refused);
    }
    if paused {
        set(Kind::ReconciliationPaused, &finding(State::True, "Paused", "spec.paused is set"));
    }
    Verdict { phase, message, conditions: conditions.made }
}

fn phase(
    facts: &Facts<'_>,
    paused: bool,
    ready: &Finding,
    available: &Finding,
    degraded: &Finding,
) -> Phase {
    let begun = facts.topology.is_some() || facts.observed.status.epoch.is_some();
    match (available.state, degraded.state) {
        _ if paused => Phase::Paused,
        _ if !begun => Phase::Creating,
        (State::False, _) => Phase::Unavailable,
        (State::Unknown, _) => Phase::Unknown,
        (State::True, State::True | State::Unknown) => Phase::Degraded,
        (State::True, State::False) if ready.state == State::True => Phase::Ready,
        (State::True, State::False) => Phase::Updating,
    }
}

fn valid(plan: &Plan) -> Finding {
    let waiting = match &plan.next {
        Next::Wait(waiting) => waiting.as_slice(),
        Next::Act(_) | Next::Settled => &[],
    };
    let conflict = waiting.iter().find(|reason| {
        matches!(
            reason,
            WaitingOn::NameTaken { .. } | WaitingOn::OtherStore { .. } | WaitingOn::OtherMode
        )
    });
    match conflict {
        Some(conflict) => finding(State::False, "Conflict", conflict.to_string()),
        None => finding(State::True, "Valid", ""),
    }
}

fn available(facts: &Facts<'_>, status: &ReplicatedStoreStatus) -> Finding {
    if status.shards.is_empty() {
        let begun = facts.observed.status.epoch.is_some();
        return if begun {
            finding(State::Unknown, "Unreachable", "no node that knows the store answers")
        } else {
            finding(State::False, "Creating", "the store has not begun yet")
        };
    }
    if facts.store.multi_leader().is_some() {
        return exchange::available(status);
    }
    let shards = |health: ShardHealth| {
        let of = status.shards.iter().filter(|shard| shard.health == health);
        of.map(|shard| shard.shard.to_string()).collect::<Vec<_>>()
    };
    let down = shards(ShardHealth::Unavailable);
    let unknown = shards(ShardHealth::Unknown);
    let with_leaders = facts.store.single_leader().is_some();
    if !down.is_empty() {
        let lack = if with_leaders {
            "no leader with a majority"
        } else {
            "too few replicas for the levels in force"
        };
        let message = format!("{lack} in shards {}", down.join(", "));
        finding(State::False, "ShardsUnavailable", message)
    } else if !unknown.is_empty() {
        let message = format!("too few nodes answer the operator in shards {}", unknown.join(", "));
        finding(State::Unknown, "Unreachable", message)
    } else {
        let message = if with_leaders {
            "every shard has a leader with a majority"
        } else {
            "every shard has enough replicas for the levels in force"
        };
        finding(State::True, "Serving", message)
    }
}

fn progressing(plan: &Plan, trouble: Option<Trouble<'_>>) -> Finding {
    match trouble {
        Some(Trouble::Failed(sentence)) => return finding(State::True, "Failed", sentence),
        Some(Trouble::Refused(violations)) => {
            let sentences: Vec<String> = violations.iter().map(ToString::to_string).collect();
            let message = format!("a plan was refused: {}", sentences.join("; "));
            return finding(State::False, "PlanRefused", message);
        }
        None => {}
    }
    match &plan.next {
        Next::Act(action) => {
            let (reason, message) = describe(action);
            finding(State::True, reason, message)
        }
        Next::Wait(waiting) => {
            let message = waiting.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            if waiting.iter().any(moves_by_itself) {
                finding(State::True, "Waiting", message)
            } else {
                finding(State::False, "Blocked", message)
            }
        }
        Next::Settled => finding(State::False, "Settled", ""),
    }
}

/// Something is under way; otherwise somebody has to do something.
const fn moves_by_itself(waiting: &WaitingOn) -> bool {
    match waiting {
        WaitingOn::Pods { .. }
        | WaitingOn::Group { .. }
        | WaitingOn::StatefulSet { .. }
        | WaitingOn::Ending { .. }
        | WaitingOn::Hints { .. }
        | WaitingOn::Exchange { .. }
        | WaitingOn::Growth { .. }
        | WaitingOn::Durability { .. }
        | WaitingOn::InSync { .. }
        | WaitingOn::CaughtUp { .. } => true,
        WaitingOn::Paused
        | WaitingOn::NameTaken { .. }
        | WaitingOn::OtherStore { .. }
        | WaitingOn::OtherMode
        | WaitingOn::BootstrapNode { .. }
        | WaitingOn::Reports { .. }
        | WaitingOn::Leader { .. }
        | WaitingOn::EngineFormats { .. }
        | WaitingOn::Nodes { .. }
        | WaitingOn::OldVolumes { .. }
        | WaitingOn::Consent { .. } => false,
    }
}

fn describe(action: &Action) -> (&'static str, String) {
    match action {
        Action::RecordBootstrap(choice) => {
            ("Bootstrapping", format!("the store begins on {}", choice.pod))
        }
        Action::Bootstrap { pod, .. } => ("Bootstrapping", format!("the store begins on {pod}")),
        Action::ProposeTopology { why, .. } => (topology_reason(why), sentences(why)),
        Action::RestartPod { pod, .. } => ("RollingRestart", format!("restarting {pod}")),
        Action::ScaleDown { stateful_set, to, .. } => {
            ("ScalingDown", format!("StatefulSet {stateful_set} shrinks to {to}"))
        }
        Action::ReplaceVolume { pod, .. } => {
            ("ReplacingVolume", format!("the volume of {pod} is replaced by an empty one"))
        }
        Action::DeleteClaim { claim, .. } => {
            ("DeletingVolume", format!("the unused claim {claim} is deleted"))
        }
    }
}

fn topology_reason(why: &[TopologyChange]) -> &'static str {
    match why.first() {
        Some(TopologyChange::AddMember { .. }) => "NodesJoining",
        Some(TopologyChange::ReplaceMember { .. }) => "ReplacingNode",
        Some(TopologyChange::RemoveMember { .. }) => "RemovingNode",
        Some(TopologyChange::MoveReplica { .. }) => "MovingReplica",
        Some(TopologyChange::PreferLeader { .. }) => "BalancingLeaders",
        Some(TopologyChange::Durability { .. }) => "ChangingDurability",
        Some(TopologyChange::LogFormat { .. }) => "ChangingLogFormat",
        Some(TopologyChange::Sessions) => "ChangingSessions",
        Some(TopologyChange::Levels { .. }) => "ChangingLevels",
        Some(TopologyChange::Conflicts { .. }) => "ChangingConflicts",
        Some(TopologyChange::Hints { .. }) => "ChangingHints",
        Some(TopologyChange::Links) => "ChangingLinks",
        Some(TopologyChange::Reroute { .. }) => "ChangingReroute",
        Some(TopologyChange::Resolutions) => "ChangingConflicts",
        Some(TopologyChange::Homes) => "MovingHomes",
        Some(TopologyChange::AddDatacenter { .. }) => "AddingDatacenter",
        Some(TopologyChange::RemoveDatacenter { .. }) => "RemovingDatacenter",
        Some(TopologyChange::UpdateZone { .. }) | None => "UpdatingTopology",
    }
}

pub(super) fn sentences(why: &[TopologyChange]) -> String {
    why.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn degraded(facts: &Facts<'_>, status: &ReplicatedStoreStatus) -> Finding {
    if facts.topology.is_none() {
        return match facts.observed.status.epoch {
            Some(_) => {
                finding(State::Unknown, "Unreachable", "no node that knows the store answers")
            }
            None => finding(State::False, "Creating", ""),
        };
    }
    let bad = status.nodes.iter().filter(|node| match node.state {
        NodeState::Unknown
        | NodeState::CatchingUp
        | NodeState::NotServing
        | NodeState::Lost
        | NodeState::Quarantined
        | NodeState::Corrupt => true,
        // A pod that is to come back is missing; one that is new is not yet.
        NodeState::Pending => node.id.is_some(),
        NodeState::Joining | NodeState::CaughtUp | NodeState::Leaving => false,
    });
    let nodes: Vec<String> = bad.map(|node| format!("{} is {:?}", node.name, node.state)).collect();
    // Of several groups of a shard one that does not serve leaves it available and less redundant.
    let short = status.shards.iter().filter(|shard| match shard.health {
        ShardHealth::Degraded => true,
        ShardHealth::Unavailable | ShardHealth::Unknown => shard.datacenter.is_some(),
        ShardHealth::Healthy | ShardHealth::Moving => false,
    });
    let shards: Vec<String> = short.map(exchange::label).collect();
    if !nodes.is_empty() {
        finding(State::True, "NodesNotCaughtUp", nodes.join(", "))
    } else if !shards.is_empty() {
        finding(State::True, "ShardsDegraded", format!("behind: shards {}", shards.join(", ")))
    } else {
        finding(State::False, "AllCaughtUp", "")
    }
}

fn storage(facts: &Facts<'_>) -> Finding {
    let corrupt: Vec<&String> = facts
        .pods
        .iter()
        .filter(|(_, pod)| pod.report.is_some_and(|report| report.corrupt.is_some()))
        .map(|(name, _)| name)
        .collect();
    if let Some(first) = corrupt.first() {
        return finding(State::False, "CorruptLog", format!("the log of {first} is corrupt"));
    }
    let lost =
        facts.observed.children.claims.iter().find(|(_, claim)| {
            claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Lost")
        });
    if let Some((claim, _)) = lost {
        return finding(State::False, "ClaimLost", format!("the volume of claim {claim} is gone"));
    }
    finding(State::True, "Healthy", "")
}

fn placement_satisfied(facts: &Facts<'_>) -> Finding {
    let Some(topology) = facts.topology else {
        return finding(State::Unknown, "Creating", "");
    };
    let sites = facts.sites(topology);
    let voters: Vec<_> = topology.shards.iter().map(|shard| shard.voters.clone()).collect();
    let frozen = BTreeSet::new();
    let full = placement::Extent::Full;
    match placement::next_step(&sites, &facts.store.placed(), &voters, &frozen, full) {
        placement::Step::Short { wanted, usable } => {
            let message = format!("{wanted} replicas need as many nodes, {usable} are usable");
            return finding(State::False, "TooFewNodes", message);
        }
        placement::Step::Moves(_) => return finding(State::False, "Moving", ""),
        placement::Step::Done => {}
    }
    let moving = shard_groups(facts).any(|(_, group)| group.voters() != Some(&group.wanted));
    if moving {
        return finding(State::False, "Moving", "");
    }
    let each_goes_on = topology.mode.multi_leader().is_some();
    let voters: Vec<_> = if each_goes_on {
        shard_groups(facts).map(|(_, group)| group.wanted.clone()).collect()
    } else {
        voters
    };
    let goes_on = |voters: &BTreeSet<NodeId>, left: &BTreeSet<NodeId>| match &topology.mode {
        Mode::SingleLeader | Mode::MultiLeader(_) => left.len() >= majority(voters.len()),
        Mode::Leaderless(leaderless) => {
            let place = |node: &NodeId| Some((*node, sites.get(node)?.datacenter.clone()));
            let places = voters.iter().filter_map(place).collect();
            leaderless::are_enough(&leaderless.policy, &places, left)
        }
    };
    let survives = |domain: &dyn Fn(NodeId) -> String| {
        voters.iter().all(|voters| {
            voters.iter().all(|lost| {
                let stays = |node: &&NodeId| domain(**node) != domain(*lost);
                goes_on(voters, &voters.iter().filter(stays).copied().collect())
            })
        })
    };
    let site = |node: NodeId| sites.get(&node);
    let datacenter = |node| site(node).map(|s| s.datacenter.to_string()).unwrap_or_default();
    let zone =
        |node| site(node).map(|s| format!("{}/{}", s.datacenter, s.zone)).unwrap_or_default();
    let by_node = |node: NodeId| node.to_string();
    let message = if each_goes_on {
        match (survives(&zone), survives(&by_node)) {
            (true, _) => {
                "each datacenter goes on without the others and survives the loss of a zone"
            }
            (false, true) => {
                "each datacenter goes on without the others and survives the loss of a node, not of a zone"
            }
            (false, false) => "each datacenter goes on without the others and survives no failure",
        }
    } else if survives(&datacenter) {
        "every shard survives the loss of a datacenter"
    } else if survives(&zone) {
        "every shard survives the loss of a zone, not of a datacenter"
    } else if survives(&by_node) {
        "every shard survives the loss of a node, not of a zone or datacenter"
    } else {
        "no failure is survived: a shard has too few replicas, or its levels ask for all of them"
    };
    finding(State::True, "Satisfied", message)
}
