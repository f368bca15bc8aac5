//! From what is observed to what to do: the children as they should be, and at most one disruptive action.
//!
//! A plan leaves no choice open: the shell carries it out as it stands or not at all. It is derived from the
//! observation alone, so a crash at any point converges. What is unknown blocks what needs it, and is named.
//!
//! The steps stand in one order, most urgent first; the first that has something to do wins. A step that must not be
//! overtaken (a group is moving) blocks the ones after it.

mod action;
mod bootstrap;
mod children;
mod datacenters;
pub(crate) mod facts;
mod membership;
pub(crate) mod owners;
mod preconditions;
mod replicas;
mod restart;
pub(crate) mod roles;
mod shrink;
mod topology;
mod volume;

pub use action::{
    Action, ClaimGrowth, HandOver, Next, Plan, PodLabels, Prune, RestartReason, TopologyChange,
    WaitingOn,
};
pub use roles::labels_of;

use crate::{Observed, ValidStore, build};
use facts::Facts;

/// What a step of the planner found.
pub(crate) enum Finding {
    /// Do this.
    Act(Action),
    /// Nothing after this step may be done either.
    Block(Vec<WaitingOn>),
    /// Nothing to do here, but worth telling.
    Pass(Vec<WaitingOn>),
}

/// Plans the next step for a store.
#[must_use]
pub fn plan(store: &ValidStore, observed: &Observed) -> Plan {
    let facts = Facts::new(store, observed);
    let pod_labels = roles::pod_labels(&facts);
    if let Some(reason) = preconditions::leave_alone(&facts) {
        return Plan {
            children: None,
            prune: vec![],
            pod_labels,
            claim_growth: vec![],
            next: Next::Wait(vec![reason]),
        };
    }
    let desired = build::desired(store, &observed.children.stateful_sets);
    let next = next(&facts, &desired);
    Plan {
        prune: children::prune(&facts, &desired),
        pod_labels,
        claim_growth: children::claim_growth(&facts),
        children: Some(Box::new(desired)),
        next,
    }
}

fn next(facts: &Facts<'_>, desired: &build::Desired) -> Next {
    let steps: [&dyn Fn() -> Finding; 9] = [
        &|| restart::pods_that_do_not_run(facts, desired),
        &|| volume::replace(facts),
        &|| bootstrap::step(facts),
        &|| topology::step(facts),
        &|| shrink::stateful_sets(facts),
        &|| restart::one_pod(facts, desired),
        &|| topology::prefer_leaders(facts),
        &|| shrink::claims(facts),
        &|| preconditions::pods_to_wait_for(facts),
    ];
    let mut waiting = vec![];
    for step in steps {
        match step() {
            Finding::Act(action) => return Next::Act(action),
            Finding::Block(mut reasons) => {
                waiting.append(&mut reasons);
                break;
            }
            Finding::Pass(mut reasons) => waiting.append(&mut reasons),
        }
    }
    let mut seen = vec![];
    waiting.retain(|reason| {
        let new = !seen.contains(reason);
        if new {
            seen.push(reason.clone());
        }
        new
    });
    if waiting.is_empty() { Next::Settled } else { Next::Wait(waiting) }
}
