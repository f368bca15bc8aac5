//! An independent look at a plan before it is carried out.
//!
//! It shares no code with the planner beyond vocabulary: it derives what it needs from the observation by itself, so
//! that one mistake is not made twice. A plan with a violation is not carried out.

#[cfg(test)]
mod check_test;
mod children;
mod datacenters;
mod evidence;
#[cfg(test)]
mod leaderless_test;
#[cfg(test)]
mod multi_leader_test;
mod pods;
mod topology;
mod volumes;

use quorate_model::{Datacenter, Epoch, NodeId};

use crate::{Action, GroupAt, Next, Observed, Plan, ValidStore};
use evidence::Evidence;

/// What is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("{group} would be left without a quorum that is known to be caught up")]
    LosesQuorum { group: GroupAt },
    #[error("{group} would survive fewer failures than it does")]
    LosesTolerance { group: GroupAt },
    #[error("{group} would change by more than one replica at once")]
    MovesTooMuch { group: GroupAt },
    #[error("{node} would be removed while {group} still counts on it")]
    RemovesHost { node: NodeId, group: GroupAt },
    #[error("{datacenter} would go with writes that no other datacenter is known to have")]
    LosesWrites { datacenter: Datacenter },
    #[error("{object} would be deleted, and nothing proves that it is not the only copy")]
    DeletesOnlyCopy { object: String },
    #[error("epoch {found} was proposed where {wanted} comes next")]
    Epoch { wanted: Epoch, found: Epoch },
    #[error("the proposed topology is not valid: {0}")]
    Topology(#[from] quorate_model::TopologyError),
    #[error("the store would be started twice")]
    SecondBootstrap,
    #[error("{pod} would be acted upon, but it is not as observed")]
    Stale { pod: String },
    #[error("StatefulSet {name} would shrink outside of a scale-down")]
    ShrinksSilently { name: String },
    #[error("the policy would change to one that is not declared, or while shards move")]
    Policy,
    #[error("the replication mode would change, or what only the store itself keeps of it")]
    Mode,
    #[error("the genesis of {group} would change")]
    ChangesGenesis { group: GroupAt },
    #[error("{pod} would be labelled as leader behind a newer term")]
    LabelGoesBack { pod: String },
    #[error("the store is paused, and would be acted upon")]
    Paused,
}

/// Everything that is wrong with `plan`; empty when it may be carried out.
#[must_use]
pub fn check(store: &ValidStore, observed: &Observed, plan: &Plan) -> Vec<Violation> {
    let evidence = Evidence::new(store, observed);
    let mut violations = vec![];
    if store.paused && touches_anything(plan) {
        violations.push(Violation::Paused);
    }
    children::check(&evidence, plan, &mut violations);
    match &plan.next {
        Next::Act(action) => check_action(&evidence, action, &mut violations),
        Next::Wait(_) | Next::Settled => {}
    }
    violations
}

fn touches_anything(plan: &Plan) -> bool {
    // Labels follow the leaders of a paused store, too.
    let Plan { children, prune, pod_labels: _, claim_growth, next } = plan;
    children.is_some()
        || !prune.is_empty()
        || !claim_growth.is_empty()
        || matches!(next, Next::Act(_))
}

fn check_action(evidence: &Evidence<'_>, action: &Action, violations: &mut Vec<Violation>) {
    match action {
        Action::RecordBootstrap(choice) => topology::first(evidence, choice, violations),
        Action::Bootstrap { pod, request } => {
            topology::bootstrap(evidence, pod, request, violations);
        }
        Action::ProposeTopology { via: _, request, why: _ } => {
            topology::proposal(evidence, request, violations);
        }
        Action::RestartPod { pod, uid, hand_over: _, why } => {
            pods::restart(evidence, pod, uid, why, violations);
        }
        Action::ScaleDown { stateful_set, uid, resource_version, from, to } => {
            let change =
                pods::ScaleDown { stateful_set, uid, resource_version, from: *from, to: *to };
            pods::scale_down(evidence, &change, violations);
        }
        Action::ReplaceVolume { node, claim, claim_uid, pod, pod_uid: _ } => {
            volumes::replace(evidence, *node, (claim, claim_uid), pod, violations);
        }
        Action::DeleteClaim { claim, uid } => volumes::delete(evidence, claim, uid, violations),
    }
}
