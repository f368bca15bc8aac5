//! A cluster to reconcile in: the API server, its StatefulSet controller and kubelets, and the fleet of nodes.
//!
//! Time passes only in [`World::turn`], so a test decides what happens between two passes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use quorate_model::NodeId;
use quorate_operator::context::Context;
use quorate_operator::error::Error;
use quorate_operator::memory::StoreKey;
use quorate_operator::metrics::Metrics;
use quorate_operator::reconcile::{Pass, reconcile};
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::fleet::{Fleet, Process, name};

pub(crate) const NAMESPACE: &str = "shop";
/// Passes after which a store that has not settled never will.
const PASSES_MAX: usize = 400;

pub(crate) struct World {
    pub(crate) api: ApiServer,
    pub(crate) fleet: Fleet,
}

impl World {
    /// Three regions with two machines each, in two zones.
    pub(crate) fn new() -> Self {
        let api = ApiServer::new();
        for region in ["dc-a", "dc-b", "dc-c"] {
            for zone in ["1", "2"] {
                api.put(
                    "nodes",
                    json!({
                        "apiVersion": "v1", "kind": "Node",
                        "metadata": { "name": format!("{region}-machine-{zone}"), "labels": {
                            "topology.kubernetes.io/region": region,
                            "topology.kubernetes.io/zone": format!("{region}-{zone}"),
                        }},
                    }),
                );
            }
        }
        Self { fleet: Fleet::new(api.clone()), api }
    }

    /// Another world in the same state.
    pub(crate) fn fork(&self) -> Self {
        let api = self.api.fork();
        Self { fleet: self.fleet.fork(api.clone()), api }
    }

    /// A new operator process: it remembers nothing.
    pub(crate) fn operator(&self) -> Context {
        let nodes = Arc::new(self.fleet.clone());
        Context::new(self.api.client(), nodes, Metrics::new(), "operator-0".to_owned())
    }

    pub(crate) fn create_store(&self, store: &str, spec: Value) -> StoreKey {
        self.api.put(
            "replicatedstores",
            json!({
                "apiVersion": "quorate.dev/v1alpha1", "kind": "ReplicatedStore",
                "metadata": { "name": store, "namespace": NAMESPACE },
                "spec": spec,
            }),
        );
        StoreKey { namespace: NAMESPACE.to_owned(), name: store.to_owned() }
    }

    pub(crate) fn change_spec(&self, store: &StoreKey, how: impl FnOnce(&mut Value)) {
        self.api.change("replicatedstores", NAMESPACE, &store.name, |object| {
            how(&mut object["spec"]);
        });
    }

    pub(crate) fn status(&self, store: &StoreKey) -> Value {
        self.api.find("replicatedstores", NAMESPACE, &store.name).unwrap()["status"].clone()
    }

    /// Lets Kubernetes and the nodes do what they do between two passes.
    pub(crate) fn turn(&self) {
        for set in self.api.list("statefulsets") {
            self.run_pods(&set);
        }
        self.end_orphans();
        self.fleet.turn();
    }

    /// Passes and turns until nothing is left to do.
    pub(crate) async fn settle(&self, operator: &Context, store: &StoreKey) -> Result<(), Error> {
        let mut last = None;
        for _ in 0..PASSES_MAX {
            let pass = reconcile(operator, store).await?;
            if pass == Pass::Settled && last == Some(Pass::Settled) {
                return Ok(());
            }
            last = Some(pass);
            self.turn();
        }
        panic!("the store does not settle: {:#}", self.status(store));
    }

    /// What must be equal however often the operator died on the way: everything but identities, times, versions.
    pub(crate) fn essence(&self, store: &StoreKey) -> Value {
        let mut objects = BTreeMap::new();
        for plural in
            ["statefulsets", "services", "configmaps", "serviceaccounts", "poddisruptionbudgets"]
        {
            for object in self.api.list(plural) {
                let key = format!("{plural}/{}", object["metadata"]["name"].as_str().unwrap());
                let labels = object["metadata"]["labels"].clone();
                objects.insert(key, json!([labels, object["spec"], object["data"]]));
            }
        }
        let pods: BTreeMap<String, Value> = self
            .api
            .list("pods")
            .iter()
            .map(|pod| {
                let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
                (name, pod["metadata"]["annotations"].clone())
            })
            .collect();
        let claims: Vec<Value> = self
            .api
            .list("persistentvolumeclaims")
            .iter()
            .map(|c| c["metadata"]["name"].clone())
            .collect();
        let status = self.status(store);
        let conditions: Vec<Value> = status["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|c| json!([c["type"], c["status"], c["reason"]]))
            .collect();
        json!({
            "objects": objects, "pods": pods, "claims": claims, "conditions": conditions,
            "phase": status["phase"], "ready": status["ready"], "shards": status["shardsHealthy"],
            "topology": self.placement(),
        })
    }

    /// How the shards lie over nodes, by names and counts.
    fn placement(&self) -> Value {
        let state = self.fleet.state();
        let Some(topology) = &state.topology else { return Value::Null };
        let members: BTreeSet<&String> = topology.members.values().map(|m| &m.name).collect();
        let spread = |voters: &BTreeSet<NodeId>| {
            voters.iter().map(|v| topology.members[v].datacenter.as_str()).collect::<BTreeSet<_>>()
        };
        let shards: Vec<_> = topology
            .shards
            .iter()
            .map(|shard| json!([shard.voters.len(), spread(&shard.voters)]))
            .collect();
        json!({ "members": members, "shards": shards, "meta": topology.meta_voters.len() })
    }

    /// Throws a node's volume away: its successor starts with an empty one.
    pub(crate) fn wipe(&self, pod: &str) {
        self.api.remove("persistentvolumeclaims", NAMESPACE, &format!("data-{pod}"));
        self.api.remove("pods", NAMESPACE, pod);
    }

    fn run_pods(&self, set: &Value) {
        let set_name = set["metadata"]["name"].as_str().unwrap();
        let replicas = set["spec"]["replicas"].as_u64().unwrap_or(1);
        let revision = revision(&set["spec"]["template"]);
        for ordinal in 0..replicas {
            let pod = format!("{set_name}-{ordinal}");
            self.ensure_claim(set, &pod);
            if self.api.find("pods", NAMESPACE, &pod).is_none() {
                self.start_pod(set, &pod, ordinal, &revision);
            }
        }
        for pod in self.api.list("pods").iter().filter(|pod| is_of(pod, set)) {
            let name = pod["metadata"]["name"].as_str().unwrap();
            let ordinal: u64 = name.rsplit('-').next().unwrap().parse().unwrap();
            if ordinal >= replicas {
                self.api.remove("pods", NAMESPACE, name);
            }
        }
        self.api.change("statefulsets", NAMESPACE, set_name, |set| {
            set["status"] = json!({
                "observedGeneration": set["metadata"]["generation"],
                "replicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
                "currentReplicas": replicas, "updatedReplicas": replicas,
                "currentRevision": revision, "updateRevision": revision,
            });
        });
    }

    fn ensure_claim(&self, set: &Value, pod: &str) {
        let claim = format!("data-{pod}");
        if self.api.find("persistentvolumeclaims", NAMESPACE, &claim).is_some() {
            return;
        }
        let template = &set["spec"]["volumeClaimTemplates"][0];
        let mut labels = template["metadata"]["labels"].clone();
        crate::fields::merge(&mut labels, &set["spec"]["selector"]["matchLabels"]);
        self.api.put(
            "persistentvolumeclaims",
            json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": { "name": claim, "namespace": NAMESPACE, "labels": labels },
                "spec": template["spec"],
                "status": { "phase": "Bound",
                    "capacity": template["spec"]["resources"]["requests"] },
            }),
        );
    }

    fn start_pod(&self, set: &Value, pod: &str, ordinal: u64, revision: &str) {
        let template = &set["spec"]["template"];
        let mut labels = template["metadata"]["labels"].clone();
        labels["controller-revision-hash"] = json!(revision);
        labels["statefulset.kubernetes.io/pod-name"] = json!(pod);
        labels["apps.kubernetes.io/pod-index"] = json!(ordinal.to_string());
        let datacenter = labels["quorate.dev/datacenter"].as_str().unwrap().to_owned();
        let mut spec = template["spec"].clone();
        spec["nodeName"] = json!(format!("{datacenter}-machine-{}", 1 + ordinal % 2));
        let claim =
            self.api.find("persistentvolumeclaims", NAMESPACE, &format!("data-{pod}")).unwrap();
        let identity = claim["metadata"]["uid"].as_str().unwrap().parse::<NodeId>().unwrap();
        self.api.put(
            "pods",
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": pod, "namespace": NAMESPACE, "labels": labels,
                    "annotations": template["metadata"]["annotations"],
                    "ownerReferences": [{
                        "apiVersion": "apps/v1", "kind": "StatefulSet", "controller": true,
                        "name": set["metadata"]["name"], "uid": set["metadata"]["uid"],
                    }],
                },
                "spec": spec,
            }),
        );
        let uid = self.api.find("pods", NAMESPACE, pod).unwrap()["metadata"]["uid"].clone();
        let serial: u32 = uid.as_str().unwrap().rsplit('-').next().unwrap().parse().unwrap();
        let ip = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + serial));
        self.api.change("pods", NAMESPACE, pod, |object| object["status"] = running(ip));
        let owner = set["metadata"]["ownerReferences"][0]["uid"].as_str().unwrap();
        let process = Process {
            id: identity,
            pod: pod.to_owned(),
            datacenter: name(&datacenter),
            store: owner.parse().unwrap(),
            answers: true,
        };
        self.fleet.state().processes.insert(ip, process);
    }

    /// Ends pods whose StatefulSet is gone, and processes whose pod is gone.
    fn end_orphans(&self) {
        let sets = self.api.list("statefulsets");
        let mut addresses = BTreeSet::new();
        for pod in self.api.list("pods") {
            if sets.iter().any(|set| is_of(&pod, set)) {
                let ip: IpAddr = pod["status"]["podIP"].as_str().unwrap().parse().unwrap();
                addresses.insert(ip);
            } else {
                let name = pod["metadata"]["name"].as_str().unwrap();
                self.api.remove("pods", NAMESPACE, name);
            }
        }
        self.fleet.state().processes.retain(|ip, _| addresses.contains(ip));
    }
}

/// The quickstart: three datacenters, one node each.
pub(crate) fn three_datacenters() -> Value {
    json!({
        "mode": "SingleLeader", "nodes": 3, "shards": 4,
        "datacenters": [{ "name": "dc-a" }, { "name": "dc-b" }, { "name": "dc-c" }],
        "storage": { "size": "1Gi" },
        "image": "localhost/quorate-node:dev",
    })
}

fn is_of(pod: &Value, set: &Value) -> bool {
    pod["metadata"]["ownerReferences"][0]["uid"] == set["metadata"]["uid"]
}

fn running(ip: IpAddr) -> Value {
    json!({
        "phase": "Running", "podIP": ip.to_string(), "podIPs": [{ "ip": ip.to_string() }],
        "conditions": [
            { "type": "Ready", "status": "True" },
            { "type": "ContainersReady", "status": "True" },
        ],
        "containerStatuses": [{
            "name": "node", "ready": true, "restartCount": 0, "started": true,
            "image": "localhost/quorate-node:dev", "imageID": "",
            "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
        }],
    })
}

fn revision(template: &Value) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    template.to_string().hash(&mut hasher);
    format!("{:08x}", hasher.finish() & 0xffff_ffff)
}
