//! From what is observed to what to do: the children as they should be, and at most one disruptive action.
//!
//! A plan leaves no choice open: the shell carries it out as it stands or not at all. It is derived from the
//! observation alone, so a crash at any point converges. What is unknown blocks what needs it, and is named.

mod action;

pub use action::{
    Action, ClaimGrowth, HandOver, Next, Plan, PodLabels, Prune, RestartReason, TopologyChange,
    WaitingOn,
};

use crate::{Observed, ValidStore};

/// Plans the next step for a store.
#[must_use]
pub fn plan(store: &ValidStore, observed: &Observed) -> Plan {
    let (_, _) = (store, observed);
    Plan {
        children: None,
        prune: vec![],
        pod_labels: vec![],
        claim_growth: vec![],
        next: Next::Settled,
    }
}
