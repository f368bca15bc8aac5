//! The controllers of Kubernetes that matter here: StatefulSets with `OnDelete`, claims, kubelets.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        ContainerState, ContainerStateRunning, ContainerStateWaiting, ContainerStatus,
        PersistentVolumeClaim, PersistentVolumeClaimStatus, Pod, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use quorate_model::NodeId;

use super::world::{Volume, World};
use crate::{fixtures, names};

impl World {
    pub(super) fn kubernetes(&mut self) {
        self.sync_stateful_sets();
        self.end_pods();
        self.run_pods();
    }

    fn sync_stateful_sets(&mut self) {
        for name in self.objects.stateful_sets.keys().cloned().collect::<Vec<_>>() {
            if self.random.percent(30) {
                continue;
            }
            let set = self.objects.stateful_sets.get_mut(&name).unwrap();
            let status = set.status.get_or_insert_default();
            status.observed_generation = set.metadata.generation;
            let spec = set.spec.clone().unwrap();
            let replicas = spec.replicas.unwrap();
            for ordinal in 0..replicas {
                let pod = format!("{name}-{ordinal}");
                self.ensure_claim(&pod, &spec);
                let claim_ends =
                    self.objects.claims[&names::claim(&pod)].metadata.deletion_timestamp.is_some();
                if self.objects.pods.contains_key(&pod) || claim_ends {
                    continue;
                }
                let uid = self.fresh_id().to_string();
                let template = spec.template.metadata.clone().unwrap();
                let made = Pod {
                    metadata: ObjectMeta { name: Some(pod.clone()), uid: Some(uid), ..template },
                    spec: spec.template.spec.clone(),
                    status: Some(PodStatus {
                        phase: Some("Pending".to_owned()),
                        ..PodStatus::default()
                    }),
                };
                self.objects.pods.insert(pod, made);
            }
            let prefix = format!("{name}-");
            for pod in self.objects.pods.keys().cloned().collect::<Vec<_>>() {
                let ordinal = pod.strip_prefix(&prefix).and_then(|o| o.parse::<i32>().ok());
                if ordinal.is_some_and(|ordinal| ordinal >= replicas) {
                    self.delete_pod(&pod);
                }
            }
        }
    }

    fn ensure_claim(&mut self, pod: &str, spec: &k8s_openapi::api::apps::v1::StatefulSetSpec) {
        let claim = names::claim(pod);
        if self.objects.claims.contains_key(&claim) {
            return;
        }
        let uid = self.fresh_id().to_string();
        let template = spec.volume_claim_templates.as_ref().unwrap()[0].clone();
        let made = PersistentVolumeClaim {
            metadata: ObjectMeta { name: Some(claim.clone()), uid: Some(uid), ..template.metadata },
            spec: template.spec,
            status: Some(PersistentVolumeClaimStatus {
                phase: Some("Bound".to_owned()),
                ..PersistentVolumeClaimStatus::default()
            }),
        };
        self.objects.claims.insert(claim, made);
    }

    pub(super) fn delete_pod(&mut self, pod: &str) {
        let found = self.objects.pods.get_mut(pod).unwrap();
        found.metadata.deletion_timestamp.get_or_insert_with(|| fixtures::time(self.clock));
    }

    /// Pods that were deleted stop after a while; claims that were deleted go once no pod uses them.
    fn end_pods(&mut self) {
        let ending = |metadata: &ObjectMeta| metadata.deletion_timestamp.is_some();
        for pod in self.objects.pods.keys().cloned().collect::<Vec<_>>() {
            if ending(&self.objects.pods[&pod].metadata) && self.random.percent(60) {
                self.running.remove(&pod);
                self.objects.pods.remove(&pod);
            }
        }
        for claim in self.objects.claims.keys().cloned().collect::<Vec<_>>() {
            let pod = names::pod_of_claim(&claim).unwrap();
            if ending(&self.objects.claims[&claim].metadata) && !self.objects.pods.contains_key(pod)
            {
                self.objects.claims.remove(&claim);
                self.volumes.remove(&claim);
            }
        }
    }

    fn run_pods(&mut self) {
        for name in self.objects.pods.keys().cloned().collect::<Vec<_>>() {
            let pod = &self.objects.pods[&name];
            let starts = !image_of(pod).contains("bad");
            let ending = pod.metadata.deletion_timestamp.is_some();
            if self.running.contains_key(&name) || ending || self.random.percent(40) {
                continue;
            }
            if starts {
                let id = NodeId(u128::from(self.fresh_id()) * 7919 % 10_007);
                let volume = self.volumes.entry(names::claim(&name)).or_insert_with(|| Volume {
                    node: id,
                    topology: None,
                    corrupt: false,
                    views: BTreeMap::new(),
                });
                let node = volume.node;
                self.running.insert(name.clone(), node);
            }
            let state = if starts {
                ContainerState {
                    running: Some(ContainerStateRunning::default()),
                    ..ContainerState::default()
                }
            } else {
                ContainerState {
                    waiting: Some(ContainerStateWaiting::default()),
                    ..ContainerState::default()
                }
            };
            let pod = self.objects.pods.get_mut(&name).unwrap();
            pod.status.as_mut().unwrap().container_statuses = Some(vec![ContainerStatus {
                name: names::CONTAINER.to_owned(),
                state: Some(state),
                ..ContainerStatus::default()
            }]);
        }
    }

    /// The volume of a pod is emptied and its process starts over.
    pub(super) fn wipe(&mut self, pod: &str) {
        self.volumes.remove(&names::claim(pod));
        self.running.remove(pod);
    }
}

/// What runs in a pod says by its name how it behaves.
fn image_of(pod: &Pod) -> &str {
    pod.spec.as_ref().unwrap().containers[0].image.as_ref().unwrap()
}

/// The image's storage engine has the second format.
pub(super) fn has_engine_2(pod: &Pod) -> bool {
    image_of(pod).contains("engine-2")
}
