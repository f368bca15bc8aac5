//! The pod of a node, under the restricted pod security standard. A change of anything in it restarts nodes, one by one.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Affinity, Capabilities, ConfigMap, ConfigMapVolumeSource, Container, ContainerPort, EnvVar,
        EnvVarSource, HTTPGetAction, LocalObjectReference, NodeAffinity, NodeSelector,
        NodeSelectorRequirement, NodeSelectorTerm, ObjectFieldSelector, PodSecurityContext,
        PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecurityContext,
        TopologySpreadConstraint, Volume, VolumeMount,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use quorate_api::{Amount, labels};

use super::{config_map, hash, metadata};
use crate::{ValidDatacenter, ValidStore, names};

const DATA_DIR: &str = "/var/lib/quorate";
const CONFIG_DIR: &str = "/etc/quorate";
const CONFIG_VOLUME: &str = "config";
/// An unprivileged user that exists in no image.
const USER: i64 = 65_532;

pub(super) fn build(
    store: &ValidStore,
    datacenter: &ValidDatacenter,
    config: &ConfigMap,
) -> PodTemplateSpec {
    let mut labels_all = store.pod.labels.clone();
    labels_all.extend(metadata::datacenter_labels(store, &datacenter.name));
    let mut annotations = store.pod.annotations.clone();
    annotations.insert(labels::CONFIG_HASH.to_owned(), hash::of(&config.data));
    let mut template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels_all),
            annotations: Some(annotations.clone()),
            ..ObjectMeta::default()
        }),
        spec: Some(pod(store, datacenter)),
    };
    // Over the template without the hash itself.
    annotations.insert(labels::TEMPLATE_HASH.to_owned(), hash::of(&template));
    if let Some(metadata) = &mut template.metadata {
        metadata.annotations = Some(annotations);
    }
    template
}

fn pod(store: &ValidStore, datacenter: &ValidDatacenter) -> PodSpec {
    PodSpec {
        service_account_name: Some(names::service_account(store.name.as_str())),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(30),
        node_selector: some(datacenter.node_selector.clone()),
        affinity: zone_affinity(datacenter),
        topology_spread_constraints: Some(spread(store, datacenter)),
        tolerations: Some(store.pod.tolerations.clone()).filter(|all| !all.is_empty()),
        priority_class_name: store.pod.priority_class_name.clone(),
        image_pull_secrets: Some(
            store
                .pod
                .image_pull_secrets
                .iter()
                .map(|name| LocalObjectReference { name: name.clone() })
                .collect::<Vec<_>>(),
        )
        .filter(|all| !all.is_empty()),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            // Without it the kubelet walks the whole volume at every start.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        containers: vec![container(store, datacenter)],
        volumes: Some(vec![Volume {
            name: CONFIG_VOLUME.to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: names::config_map(store.name.as_str()),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        }]),
        ..PodSpec::default()
    }
}

fn seeds(store: &ValidStore) -> String {
    format!("{}:{}", names::service_headless(store.name.as_str()), names::PORT_PEER)
}

fn container(store: &ValidStore, datacenter: &ValidDatacenter) -> Container {
    Container {
        name: names::CONTAINER.to_owned(),
        image: Some(store.image.clone()),
        command: Some(vec!["quorate-node".to_owned()]),
        args: Some(vec![
            "run".to_owned(),
            "--config".to_owned(),
            format!("{CONFIG_DIR}/{}", config_map::FILE),
        ]),
        env: Some(vec![
            value("QUORATE_STORE", &store.uid),
            field("QUORATE_NAME", "metadata.name"),
            value("QUORATE_DATACENTER", datacenter.name.as_str()),
            field("QUORATE_ADVERTISE_HOST", "status.podIP"),
            value("QUORATE_DATA_DIR", DATA_DIR),
            // So long kube-proxy may take to send new connections elsewhere.
            value("QUORATE_LINGER_MS", "2000"),
            // When all pods come back with new addresses at once, this is how they find each other.
            value("QUORATE_SEEDS", &seeds(store)),
        ]),
        ports: Some(vec![
            port("redis", names::PORT_PLAIN),
            port("redis-cluster", names::PORT_CLUSTER),
            port("peer", names::PORT_PEER),
            port("admin", names::PORT_ADMIN),
        ]),
        resources: Some(ResourceRequirements {
            requests: amounts(&store.resources.requests),
            limits: amounts(&store.resources.limits),
            ..ResourceRequirements::default()
        }),
        // A long replay after a crash is not a failure: 10 minutes before liveness begins to count.
        startup_probe: Some(probe("/livez", 2, 300)),
        liveness_probe: Some(probe("/livez", 10, 6)),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![
            VolumeMount {
                name: names::VOLUME.to_owned(),
                mount_path: DATA_DIR.to_owned(),
                ..VolumeMount::default()
            },
            VolumeMount {
                name: CONFIG_VOLUME.to_owned(),
                mount_path: CONFIG_DIR.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            },
        ]),
        ..Container::default()
    }
}

/// Zones that the user named are a promise that they exist; otherwise spreading is the best that can be done.
fn spread(store: &ValidStore, datacenter: &ValidDatacenter) -> Vec<TopologySpreadConstraint> {
    let over = |key: &str, unsatisfiable: &str| TopologySpreadConstraint {
        topology_key: key.to_owned(),
        max_skew: 1,
        when_unsatisfiable: unsatisfiable.to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(metadata::datacenter_selector(store, &datacenter.name)),
            ..LabelSelector::default()
        }),
        ..TopologySpreadConstraint::default()
    };
    let zones = if datacenter.zones.is_empty() { "ScheduleAnyway" } else { "DoNotSchedule" };
    vec![over(labels::ZONE, zones), over(labels::HOSTNAME, "ScheduleAnyway")]
}

fn zone_affinity(datacenter: &ValidDatacenter) -> Option<Affinity> {
    if datacenter.zones.is_empty() {
        return None;
    }
    Some(Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: vec![NodeSelectorTerm {
                    match_expressions: Some(vec![NodeSelectorRequirement {
                        key: labels::ZONE.to_owned(),
                        operator: "In".to_owned(),
                        values: Some(datacenter.zones.clone()),
                    }]),
                    ..NodeSelectorTerm::default()
                }],
            }),
            ..NodeAffinity::default()
        }),
        ..Affinity::default()
    })
}

fn probe(path: &str, period_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(names::PORT_ADMIN),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn value(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), ..EnvVar::default() }
}

fn field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: path.to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn amounts(all: &BTreeMap<String, Amount>) -> Option<BTreeMap<String, Quantity>> {
    some(all.iter().map(|(name, amount)| (name.clone(), Quantity(amount.0.clone()))).collect())
}

fn some<V>(map: BTreeMap<String, V>) -> Option<BTreeMap<String, V>> {
    Some(map).filter(|map| !map.is_empty())
}
