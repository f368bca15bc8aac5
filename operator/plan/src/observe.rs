//! What a reconcile sees: the store's objects, a report from every node with its age, the machines, the last status.
//!
//! Types only: the shell fills them. A node that did not answer is [`Reported::Unknown`], never "down": a planner that
//! takes silence for death deletes what it should not. Absence of an object means that the API server said so.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount},
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use quorate_api::ReplicatedStoreStatus;
use quorate_model::admin::NodeReport;

/// How old a report may be and still say what is. Older ones count as unknown.
pub const REPORT_AGE_MAX: Duration = Duration::from_secs(10);

/// Everything that a plan is made from, besides the spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// When this was observed, by the operator's clock: for transition times and for patience at the first start.
    pub now: Time,
    /// The status that is persisted.
    pub status: ReplicatedStoreStatus,
    /// The store's objects: every object in its namespace with the label `quorate.dev/store=<name>`.
    pub children: Children,
    /// What each pod in `children.pods` said of itself, by pod name.
    pub reports: BTreeMap<String, Reported>,
    /// The Kubernetes nodes, by name; empty when the operator may not read them.
    pub machines: BTreeMap<String, Machine>,
}

/// The objects of a store, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Children {
    pub stateful_sets: BTreeMap<String, StatefulSet>,
    pub pods: BTreeMap<String, Pod>,
    pub claims: BTreeMap<String, PersistentVolumeClaim>,
    pub services: BTreeMap<String, Service>,
    pub config_maps: BTreeMap<String, ConfigMap>,
    pub service_accounts: BTreeMap<String, ServiceAccount>,
    pub disruption_budgets: BTreeMap<String, PodDisruptionBudget>,
}

/// What a node said, or why it is not known.
#[derive(Clone, Debug, PartialEq)]
pub enum Reported {
    Known { report: Box<NodeReport>, age: Duration },
    Unknown { reason: String },
}

/// A Kubernetes node, as far as planning needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    pub labels: BTreeMap<String, String>,
}

impl Reported {
    /// The report, when it is fresh enough to act upon.
    #[must_use]
    pub fn fresh(&self) -> Option<&NodeReport> {
        match self {
            Self::Known { report, age } if *age <= REPORT_AGE_MAX => Some(report),
            Self::Known { .. } | Self::Unknown { .. } => None,
        }
    }
}
