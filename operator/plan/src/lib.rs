//! The pure half of the operator: what is observed goes in, what to do comes out.
//!
//! The way of a reconcile, one module each: [`observe`] (types only; the shell fills them), [`validate()`], [`plan()`]
//! (with [`placement`] and [`build`]), [`check()`], [`report()`]. The shell then applies the plan's children in their
//! order, its labels, and its one action.
//!
//! No clock, no randomness, no client, no tokio: the same observation gives the same plan. Nothing is remembered
//! between calls except what the resource's status holds, so that a crash between any two steps is only a re-plan.

pub mod build;
pub mod check;
#[cfg(test)]
mod fixtures;
pub mod group;
mod leaderless;
mod multi_leader;
pub mod names;
pub mod observe;
pub mod placement;
pub mod plan;
mod policy;
pub mod report;
#[cfg(test)]
mod simulation;
mod spec_error;
pub mod validate;
#[cfg(test)]
mod validate_test;

pub use check::{Violation, check};
pub use group::GroupAt;
pub use observe::{Children, Machine, Observed, Reported};
pub use plan::{
    Action, ClaimGrowth, HandOver, Next, Plan, PodLabels, Prune, RestartReason, TopologyChange,
    WaitingOn, labels_of, plan,
};
pub use report::{Event, EventKind, EventReason, Outcome, Report, report};
pub use spec_error::SpecError;
pub use validate::{
    Leaderless, Mode, MultiLeader, PreferredLeaders, SingleLeader, ValidDatacenter, ValidStorage,
    ValidStore, validate,
};
