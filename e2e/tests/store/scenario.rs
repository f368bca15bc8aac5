//! What every scenario does: a store in a namespace of its own, awaited conditions, facts from the API server.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use quorate_e2e::cluster::kubectl::Kubectl;
use quorate_e2e::cluster::local::faults::Faults;
use quorate_e2e::cluster::progress::{Probe, Progress};
use quorate_e2e::cluster::{Cluster, command};
use serde_json::Value;

use crate::datacenters::DATACENTERS;
use crate::load::{Kind, Load, PROGRAM};

pub(crate) const STORE: &str = "store";
const READY_IN: Duration = Duration::from_secs(180);

/// The operator's Deployment and pods, as the chart labels them.
const OPERATOR: &str = "app.kubernetes.io/name=quorate-operator";

/// Scenarios break the cluster they share: one at a time.
static TURN: Mutex<()> = Mutex::new(());

pub(crate) struct Scenario {
    pub(crate) cluster: Cluster,
    pub(crate) kubectl: Kubectl,
    name: &'static str,
    namespace: String,
    _turn: MutexGuard<'static, ()>,
}

/// Runs `scenario` on a fresh store of three datacenters, heals the cluster and removes the store whatever happens.
pub(crate) fn on_a_store(name: &'static str, scenario: impl FnOnce(&Scenario) -> Result<()>) {
    in_a_namespace(name, |given| {
        given.create_store()?;
        scenario(given)
    });
}

/// Runs `scenario` in an empty namespace.
pub(crate) fn in_a_namespace(name: &'static str, scenario: impl FnOnce(&Scenario) -> Result<()>) {
    if std::env::var_os("QUORATE_E2E").is_none() {
        println!(
            "{name}: not asked for; set QUORATE_E2E=1 on a machine where `cargo xtask up` ran"
        );
        return;
    }
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = Scenario::begin(name, turn).expect("the cluster is up");
    let outcome = scenario(&given);
    if outcome.is_err() {
        given.dump();
    }
    let ended = given.end();
    outcome.unwrap_or_else(|error| panic!("{name}: {error:#}"));
    ended.unwrap_or_else(|error| panic!("{name}: cannot clean up: {error:#}"));
}

impl Scenario {
    fn begin(name: &'static str, turn: MutexGuard<'static, ()>) -> Result<Self> {
        let cluster = Cluster::choose()?;
        let kubectl = cluster.kubectl()?;
        let namespace = format!("e2e-{name}");
        kubectl.output(["delete", "namespace", &namespace, "--ignore-not-found", "--wait=true"])?;
        kubectl.output(["create", "namespace", &namespace])?;
        Ok(Self { cluster, kubectl, name, namespace, _turn: turn })
    }

    fn end(&self) -> Result<()> {
        self.faults()?.heal_all()?;
        self.kubectl.output([
            "delete",
            "namespace",
            &self.namespace,
            "--wait=true",
            "--timeout=120s",
        ])?;
        Ok(())
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) fn faults(&self) -> Result<Faults<'_>> {
        Ok(self.cluster.local()?.faults())
    }

    pub(crate) fn create_store(&self) -> Result<()> {
        self.apply(&store_manifest(3))?;
        self.await_ready(3)
    }

    pub(crate) fn apply(&self, manifest: &str) -> Result<()> {
        self.kubectl.output_of_input(
            ["apply", "--namespace", &self.namespace, "--filename", "-"],
            manifest,
        )?;
        Ok(())
    }

    /// A merge patch of the store's spec.
    pub(crate) fn patch_spec(&self, spec: &Value) -> Result<()> {
        let patch = serde_json::json!({ "spec": spec }).to_string();
        self.kubectl.output([
            "patch",
            "rstore",
            STORE,
            "--namespace",
            &self.namespace,
            "--type=merge",
            "--patch",
            &patch,
        ])?;
        Ok(())
    }

    pub(crate) fn store(&self) -> Result<Value> {
        self.kubectl.json(["get", "rstore", STORE, "--namespace", &self.namespace])
    }

    /// Waits until the operator says, of the newest generation, that everything is as asked for.
    pub(crate) fn await_ready(&self, nodes: usize) -> Result<()> {
        self.wait_for(&format!("{} nodes ready", nodes), READY_IN, || {
            let store = self.store()?;
            let wanted = format!("{nodes}/{nodes}");
            let current = store["status"]["observedGeneration"] == store["metadata"]["generation"];
            let ready = condition(&store, "Ready") == Some("True")
                && store["status"]["ready"] == wanted.as_str();
            Ok(if current && ready {
                Probe::Ready(())
            } else {
                Probe::Waiting(format!(
                    "{} {}",
                    store["status"]["ready"], store["status"]["message"]
                ))
            })
        })
    }

    pub(crate) fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        probe: impl FnMut() -> Result<Probe<T>>,
    ) -> Result<T> {
        Progress::quiet().wait(&format!("{}: {what}", self.name), limit, probe)
    }

    /// Starts the client in cluster mode against every node.
    pub(crate) fn start_load(&self) -> Result<Load> {
        self.start_load_of(Kind::Cluster)
    }

    pub(crate) fn start_load_of(&self, kind: Kind) -> Result<Load> {
        let port = kind.port();
        let nodes: Vec<String> = self
            .pods()?
            .iter()
            .filter_map(|pod| pod["status"]["podIP"].as_str())
            .map(|address| format!("{address}:{port}"))
            .collect();
        ensure!(!nodes.is_empty(), "no pod has an address");
        Load::start(self.cluster.command_in_network(PROGRAM.as_ref())?, &nodes, kind)
    }

    /// Plain connections to whichever nodes a Service chooses, from within a datacenter: every pod may come back at another address.
    pub(crate) fn start_load_behind(&self, service: &str, datacenter: &str) -> Result<Load> {
        const CONNECTIONS: usize = 3;
        let found =
            self.kubectl.json(["get", "service", service, "--namespace", &self.namespace])?;
        let address = found["spec"]["clusterIP"].as_str().context("the Service has an address")?;
        let nodes = vec![format!("{address}:{}", Kind::Plain.port()); CONNECTIONS];
        let command = self.cluster.local()?.command_in_datacenter(datacenter, PROGRAM.as_ref())?;
        Load::start(command, &nodes, Kind::Plain)
    }

    /// Connections to the nodes of a datacenter, from within it.
    pub(crate) fn start_load_within(&self, datacenter: &str, kind: Kind) -> Result<Load> {
        let hosts = self.hosts_within(datacenter)?;
        let nodes: Vec<String> =
            hosts.iter().map(|host| format!("{host}:{}", kind.port())).collect();
        let command = self.cluster.local()?.command_in_datacenter(datacenter, PROGRAM.as_ref())?;
        Load::start(command, &nodes, kind)
    }

    /// What redis-cli answers within a datacenter, of one of its nodes, whether the datacenter is cut off or not. The addresses are asked for
    /// before.
    pub(crate) fn redis_within(
        &self,
        datacenter: &str,
        host: &str,
        words: &[&str],
    ) -> Result<String> {
        let local = self.cluster.local()?;
        let mut client = local.command_in_datacenter(datacenter, "redis-cli".as_ref())?;
        let said = command::output(client.args(["-h", host, "-p", "6379"]).args(words))?;
        Ok(said.trim().to_owned())
    }

    pub(crate) fn hosts_within(&self, datacenter: &str) -> Result<Vec<String>> {
        let pods = self.pods()?;
        let there = pods
            .iter()
            .filter(|pod| pod["metadata"]["labels"]["quorate.dev/datacenter"] == datacenter);
        let hosts: Vec<String> =
            there.filter_map(|pod| pod["status"]["podIP"].as_str().map(str::to_owned)).collect();
        ensure!(!hosts.is_empty(), "no pod of {datacenter} has an address");
        Ok(hosts)
    }

    /// What redis-cli answers, through the plain port of any node.
    pub(crate) fn redis(&self, words: &[&str]) -> Result<String> {
        let pods = self.pods()?;
        let host = pods
            .iter()
            .find_map(|pod| pod["status"]["podIP"].as_str())
            .context("no pod has an address")?;
        let said = command::output(self.redis_client("redis-cli", host)?.args(words))?;
        Ok(said.trim().to_owned())
    }

    /// A client program of Redis, against the plain port of one node.
    pub(crate) fn redis_client(&self, program: &str, host: &str) -> Result<Command> {
        let mut client = self.cluster.command_in_network(program.as_ref())?;
        client.args(["-h", host, "-p", "6379"]);
        Ok(client)
    }

    /// What `kubectl quorate` answers. The program lies beside the load's: `cargo build -p kubectl-quorate` puts it there.
    pub(crate) fn quorate(&self, args: &[&str]) -> Result<String> {
        let program =
            Path::new(env!("CARGO_BIN_EXE_quorate-load")).with_file_name("kubectl-quorate");
        ensure!(
            program.exists(),
            "there is no {}: cargo build -p kubectl-quorate",
            program.display()
        );
        let mut quorate = Command::new(program);
        quorate.args(args);
        quorate.env("KUBECONFIG", self.kubectl.kubeconfig());
        command::output(quorate.args(["--namespace", &self.namespace]))
    }

    pub(crate) fn pod_uids(&self) -> Result<BTreeSet<String>> {
        let pods = self.pods()?;
        let uids = pods.iter().filter_map(|pod| pod["metadata"]["uid"].as_str());
        Ok(uids.map(str::to_owned).collect())
    }

    pub(crate) fn address_of(&self, pod: &str) -> Result<String> {
        let pods = self.pods()?;
        let found = pods.iter().find(|found| found["metadata"]["name"] == pod);
        let address = found.and_then(|found| found["status"]["podIP"].as_str());
        address.map(str::to_owned).with_context(|| format!("{pod} has an address"))
    }

    pub(crate) fn pods(&self) -> Result<Vec<Value>> {
        let pods = self.kubectl.json([
            "get",
            "pods",
            "--namespace",
            &self.namespace,
            "--selector",
            "quorate.dev/store=store",
        ])?;
        Ok(pods["items"].as_array().cloned().unwrap_or_default())
    }

    /// The pod that leads shard 0, by the status.
    pub(crate) fn leader(&self) -> Result<String> {
        let store = self.store()?;
        let leader = store["status"]["shards"][0]["leader"].as_str();
        leader.map(str::to_owned).context("the status names the leader of shard 0")
    }

    pub(crate) fn await_other_leader(&self, old: &str) -> Result<String> {
        self.wait_for("another leader in the status", Duration::from_secs(60), || {
            let leader = self.leader()?;
            Ok(if leader == old {
                Probe::Waiting(format!("still {old}"))
            } else {
                Probe::Ready(leader)
            })
        })
    }

    pub(crate) fn datacenter_of(&self, pod: &str) -> Result<String> {
        for found in self.pods()? {
            if found["metadata"]["name"] == pod {
                let label = found["metadata"]["labels"]["quorate.dev/datacenter"].as_str();
                return label.map(str::to_owned).context("pods carry their datacenter");
            }
        }
        bail!("no pod {pod}")
    }

    /// Scales the operator and waits until it has that many pods.
    pub(crate) fn scale_operator(&self, replicas: u32) -> Result<()> {
        let (namespace, name) = self.operator()?;
        let count = format!("--replicas={replicas}");
        self.kubectl.output(["scale", "deployment", &name, "--namespace", &namespace, &count])?;
        self.wait_for("the operator to scale", Duration::from_secs(60), || {
            let selector = OPERATOR;
            let pods = self.kubectl.json([
                "get",
                "pods",
                "--namespace",
                &namespace,
                "--selector",
                selector,
            ])?;
            let running = pods["items"].as_array().map_or(0, Vec::len);
            Ok(if running == replicas as usize {
                Probe::Ready(())
            } else {
                Probe::Waiting(format!("{running} pods"))
            })
        })
    }

    fn operator(&self) -> Result<(String, String)> {
        let found = self.kubectl.json([
            "get",
            "deployments",
            "--all-namespaces",
            "--selector",
            OPERATOR,
        ])?;
        let meta = &found["items"][0]["metadata"];
        match (meta["namespace"].as_str(), meta["name"].as_str()) {
            (Some(namespace), Some(name)) => Ok((namespace.to_owned(), name.to_owned())),
            _ => bail!("the operator is not installed: run cargo xtask up"),
        }
    }

    /// What a person would look at first.
    fn dump(&self) {
        let namespace = self.namespace.as_str();
        for args in [
            vec!["get", "rstore,pods,pvc", "--namespace", namespace, "--output", "wide"],
            vec!["get", "rstore", "--namespace", namespace, "--output", "yaml"],
            vec!["get", "events", "--namespace", namespace, "--sort-by=.lastTimestamp"],
            vec![
                "logs",
                "--namespace",
                namespace,
                "--selector",
                "quorate.dev/store=store",
                "--tail=40",
                "--prefix",
            ],
        ] {
            let text = command::output(&mut self.kubectl.command(args.iter().copied()));
            eprintln!(
                "--- kubectl {}\n{}",
                args.join(" "),
                text.unwrap_or_else(|error| format!("{error:#}"))
            );
        }
    }
}

pub(crate) fn store_manifest(nodes: u32) -> String {
    manifest(nodes, &DATACENTERS, "")
}

/// With the lines of `mode`, each indented as a part of `spec`.
pub(crate) fn manifest(nodes: u32, datacenters: &[&str], mode: &str) -> String {
    let datacenters: Vec<String> =
        datacenters.iter().map(|name| format!("{{name: {name}}}")).collect();
    let datacenters = datacenters.join(", ");
    format!(
        "apiVersion: quorate.dev/v1alpha1
kind: ReplicatedStore
metadata: {{name: {STORE}}}
spec:
  nodes: {nodes}
  shards: 3
  datacenters: [{datacenters}]
  storage: {{size: 256Mi, reclaimPolicy: Delete}}
  image: localhost/quorate-node:dev
{mode}"
    )
}

pub(crate) fn condition<'a>(store: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = store["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)?["status"].as_str()
}
