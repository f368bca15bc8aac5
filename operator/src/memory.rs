//! What this process remembers between reconciles: each pod's last good report and the leaders last seen.
//!
//! It is a cache of observations, never a decision: losing it (a restart, another replica taking over) costs
//! freshness and nothing else. It never holds what only it knows.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use quorate_model::admin::{NodeReport, Role};
use quorate_model::{Epoch, NodeId, Term};
use quorate_plan::GroupAt;

/// A store as Kubernetes names it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StoreKey {
    pub namespace: String,
    pub name: String,
}

/// A pod's uid: the name alone would confuse a pod with its successor.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PodUid(pub String);

/// A report and when this process received it, by its own clock.
#[derive(Clone, Debug)]
pub struct Dated {
    pub at: Instant,
    pub report: NodeReport,
}

/// What deserves a look before the next periodic reconcile: who leads what, in which term, and the newest epoch.
/// Merging takes the newer of two, so that an old answer that arrives late changes nothing.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Leaders {
    epoch: Epoch,
    groups: BTreeMap<GroupAt, (Term, NodeId)>,
}

/// A pod that is asked for reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watched {
    pub name: String,
    pub admin: SocketAddr,
}

#[derive(Default)]
pub struct Memory {
    stores: Mutex<BTreeMap<StoreKey, Remembered>>,
}

#[derive(Default)]
struct Remembered {
    pods: BTreeMap<PodUid, Remembrance>,
    /// As the last reconcile saw them.
    leaders: Leaders,
    /// Reconciles in a row that failed.
    failures: u32,
}

struct Remembrance {
    watched: Watched,
    last: Option<Dated>,
}

impl Leaders {
    pub fn of<'r>(reports: impl IntoIterator<Item = &'r NodeReport>) -> Self {
        let mut leaders = Self::default();
        for report in reports {
            leaders.merge(report);
        }
        leaders
    }

    fn merge(&mut self, report: &NodeReport) {
        let epoch = report.topology.as_ref().map_or(Epoch::ZERO, |topology| topology.epoch);
        self.epoch = self.epoch.max(epoch);
        for replica in report.replicas.iter().filter(|replica| replica.role == Role::Leader) {
            let group =
                GroupAt::seen_from(&report.datacenter, replica.group, report.topology.as_ref());
            let seen = self.groups.entry(group).or_insert((replica.term, report.node));
            if seen.0 < replica.term {
                *seen = (replica.term, report.node);
            }
        }
    }
}

impl Memory {
    /// The pods that a reconcile found. Others are forgotten.
    pub fn set_pods(&self, store: &StoreKey, pods: BTreeMap<PodUid, Watched>) {
        let mut stores = self.stores();
        let remembered = &mut stores.entry(store.clone()).or_default().pods;
        remembered.retain(|uid, _| pods.contains_key(uid));
        for (uid, watched) in pods {
            match remembered.entry(uid) {
                Entry::Occupied(mut pod) => pod.get_mut().watched = watched,
                Entry::Vacant(pod) => {
                    pod.insert(Remembrance { watched, last: None });
                }
            }
        }
    }

    /// Keeps a report. One of another node, which has the address of the pod by now, is not kept.
    pub fn learn(&self, store: &StoreKey, pod: &PodUid, report: NodeReport, at: Instant) {
        let mut stores = self.stores();
        let remembered = stores.get_mut(store).and_then(|store| store.pods.get_mut(pod));
        if let Some(pod) = remembered.filter(|pod| pod.watched.name == report.name) {
            pod.last = Some(Dated { at, report });
        }
    }

    pub fn last(&self, store: &StoreKey, pod: &PodUid) -> Option<Dated> {
        self.stores().get(store)?.pods.get(pod)?.last.clone()
    }

    pub fn forget(&self, store: &StoreKey) {
        self.stores().remove(store);
    }

    pub fn stores_count(&self) -> usize {
        self.stores().len()
    }

    /// Every pod that the lookout asks.
    pub fn watched(&self) -> Vec<(StoreKey, PodUid, SocketAddr)> {
        let stores = self.stores();
        stores
            .iter()
            .flat_map(|(store, remembered)| {
                let pods = remembered.pods.iter();
                pods.map(|(uid, pod)| (store.clone(), uid.clone(), pod.watched.admin))
            })
            .collect()
    }

    /// A reconcile has seen everything that the last reports say of leaders.
    pub fn leaders_are_seen(&self, store: &StoreKey) {
        if let Some(remembered) = self.stores().get_mut(store) {
            remembered.leaders = remembered.current_leaders();
        }
    }

    /// The stores whose leaders differ from what their last reconcile saw.
    pub fn stores_with_new_leaders(&self) -> Vec<StoreKey> {
        let stores = self.stores();
        stores
            .iter()
            .filter(|(_, remembered)| remembered.current_leaders() != remembered.leaders)
            .map(|(store, _)| store.clone())
            .collect()
    }

    /// Counts a failed reconcile; how many in a row that makes.
    pub fn failed(&self, store: &StoreKey) -> u32 {
        let mut stores = self.stores();
        let failures = &mut stores.entry(store.clone()).or_default().failures;
        *failures = failures.saturating_add(1);
        *failures
    }

    /// Reconciles in a row that failed so far.
    pub fn failures(&self, store: &StoreKey) -> u32 {
        self.stores().get(store).map_or(0, |remembered| remembered.failures)
    }

    pub fn succeeded(&self, store: &StoreKey) {
        if let Some(remembered) = self.stores().get_mut(store) {
            remembered.failures = 0;
        }
    }

    fn stores(&self) -> MutexGuard<'_, BTreeMap<StoreKey, Remembered>> {
        // Each change above is complete in itself, so what a panicking holder left is still a valid cache.
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    fn current_leaders(&self) -> Leaders {
        Leaders::of(self.pods.values().filter_map(|pod| pod.last.as_ref()).map(|last| &last.report))
    }
}
