//! Labels of pods by leadership, so that Services follow elections that the operator had no part in.
//!
//! Labels never go back: a leader counts only in a term that is not behind the one that the status remembers for its
//! shard. Where nothing newer is known, what was known stays. They follow whatever the spec says, and when it says
//! nothing that makes sense: clients must reach the leader of a paused store, too.

use std::collections::{BTreeMap, BTreeSet};

use quorate_api::labels;
use quorate_model::{GroupId, StoreId, Term, admin::Role};

use super::{
    PodLabels,
    facts::{PodFacts, Seen, shard_groups},
};
use crate::{GroupAt, Observed};

/// Who leads a group, as far as labels and status go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leadership {
    pub(crate) term: Term,
    pub(crate) pod: Option<String>,
}

/// The leader of each shard's groups in the newest term known, by report or by the last status.
pub(crate) fn leaderships(facts: &Seen<'_>) -> BTreeMap<GroupAt, Leadership> {
    shard_groups(facts)
        .map(|(_, group)| {
            let shards = &facts.observed.status.shards;
            let before = shards.iter().find(|status| group.name.is_of(status));
            let term = before.map_or(Term::ZERO, |s| Term(u64::try_from(s.term).unwrap_or(0)));
            let leadership = match group.leader {
                Some((node, report)) if report.term >= term => {
                    Leadership { term: report.term, pod: Some(facts.pod_name(node)) }
                }
                Some(_) | None => {
                    // A claim in a newer term, even one that is overtaken, says that the remembered leader is not.
                    let superseded = group
                        .replicas
                        .values()
                        .any(|replica| replica.role == Role::Leader && replica.term > term);
                    let pod = before.and_then(|s| s.leader.clone());
                    let pod = pod.filter(|pod| !superseded && !denies(facts, pod, group.name.id));
                    Leadership { term, pod }
                }
            };
            (group.name.clone(), leadership)
        })
        .collect()
}

/// The pod answers and says that it does not lead the shard, or it is no more.
fn denies(facts: &Seen<'_>, pod: &str, id: GroupId) -> bool {
    let Some(pod) = facts.pods.get(pod) else { return true };
    pod.pod.is_none()
        || pod.report.is_some_and(|report| {
            let replica = report.replicas.iter().find(|r| r.group == id);
            replica.is_none_or(|replica| replica.role != Role::Leader)
        })
}

/// The labels of a store whose spec cannot be carried out, or cannot even be read.
#[must_use]
pub fn labels_of(id: StoreId, observed: &Observed) -> Vec<PodLabels> {
    pod_labels(&Seen::new(id, observed, BTreeMap::new()))
}

/// The labels that differ from what is wanted.
pub(super) fn pod_labels(facts: &Seen<'_>) -> Vec<PodLabels> {
    if facts.topology.is_none() {
        return vec![];
    }
    let leaders: BTreeMap<GroupAt, Option<String>> =
        leaderships(facts).into_iter().map(|(group, leader)| (group, leader.pod)).collect();
    let leading: BTreeSet<&String> = leaders.values().flatten().collect();
    facts
        .pods
        .iter()
        .filter_map(|(name, pod)| {
            let uid = pod.uid()?.to_owned();
            let hosted = hosted_groups(facts, pod);
            let follows = hosted.as_ref().map(|hosted| {
                hosted
                    .iter()
                    .any(|group| leaders.get(group).is_some_and(|l| l.as_ref() != Some(name)))
            });
            let role = if leading.contains(name) {
                Some(labels::ROLE_LEADER)
            } else if hosted.as_ref().is_some_and(|hosted| !hosted.is_empty())
                || (hosted.is_none() && label(pod, labels::ROLE).is_some())
            {
                Some(labels::ROLE_FOLLOWER)
            } else {
                None
            };
            let mut changes = BTreeMap::new();
            if label(pod, labels::ROLE) != role {
                changes.insert(labels::ROLE, role);
            }
            // A pod that does not answer keeps what it had: endpoints follow readiness, not silence towards us.
            if let Some(follows) = follows {
                let wanted = follows.then_some("true");
                if label(pod, labels::READ_REPLICA) != wanted {
                    changes.insert(labels::READ_REPLICA, wanted);
                }
            }
            (!changes.is_empty() && !pod.is_ending()).then(|| PodLabels {
                pod: name.clone(),
                uid,
                labels: changes,
            })
        })
        .collect()
}

/// The groups of shards in which the node says that it votes; learners do not serve.
fn hosted_groups(facts: &Seen<'_>, pod: &PodFacts<'_>) -> Option<BTreeSet<GroupAt>> {
    let report = pod.report?;
    let named = |id| GroupAt::seen_from(&report.datacenter, id, facts.topology);
    let groups = report.replicas.iter().filter_map(|replica| match (replica.group, replica.role) {
        (GroupId::Meta, _) | (GroupId::Shard(_), Role::Learner) => None,
        (id, Role::Leader | Role::Follower | Role::Candidate) => Some(named(id)),
    });
    Some(groups.collect())
}

fn label<'p>(pod: &PodFacts<'p>, key: &str) -> Option<&'p str> {
    pod.pod?.metadata.labels.as_ref()?.get(key).map(String::as_str)
}
