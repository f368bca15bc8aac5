//! A Kubernetes cluster of our own on one Linux machine, without Docker.
//!
//! The control plane and every node have network namespaces of their own; containers are real
//! ones, run by containerd and runc. `up` brings everything to the wanted state from whatever
//! state it finds: nothing, half a cluster, a running one, or what a reboot left. `down` removes
//! all of it. The room may not know what runs in the cluster.

mod cgroup;
mod control_plane;
pub mod faults;
mod host;
mod network;
mod node;
mod pki;
mod pods;
mod process;
mod state;
mod topology;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::addons;
use super::command::{command, succeeds};
use super::image::{self, Archive, Base};
use super::packages;
use super::progress::{Probe, Progress};
use super::tools::Tools;
pub use faults::{Faults, Loss};
pub use pods::PodProcess;
use process::Ensured;
use state::State;
pub use topology::{Node, Topology};

const COREDNS: &str = include_str!("../../../local/manifests/coredns.yaml");
const STORAGE: &str = include_str!("../../../local/manifests/storage-local.yaml");
const API_SERVICE: &str = "kubernetes.default.svc.cluster.local";
const NODES_LIMIT: Duration = Duration::from_secs(120);

/// The local cluster. There is one per machine.
#[derive(Debug, Default)]
pub struct Local {
    state: State,
    topology: Topology,
}

impl Local {
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.state.kubeconfig()
    }

    /// Where logs of the components lie, one file each.
    pub fn log_folder(&self) -> PathBuf {
        self.state.path("log")
    }

    pub fn image_folder(&self) -> PathBuf {
        self.state.path("images")
    }

    /// Whether `up` ever began and no `down` ended it.
    pub fn exists(&self) -> bool {
        self.state.exists()
    }

    /// Brings the cluster to life, or back to health. Faults that levers made are healed.
    pub fn up(&self, progress: &Progress) -> Result<()> {
        if !packages::is_root() {
            bail!(
                "the local cluster makes network namespaces and containers and therefore needs \
                 root. Without root, install Docker and kind"
            );
        }
        packages::ensure(packages::LOCAL_CLUSTER, progress)?;
        let tools = Tools::ensure(progress)?;
        let _lock = self.state.lock(progress)?;
        self.state.make_folders()?;
        host::prepare(&self.state)?;
        pki::ensure(&self.state, &self.topology)?;
        network::ensure(&self.topology)?;
        faults::forget(self)?;
        control_plane::ensure(&self.state, &tools, progress)?;
        let images = self.base_images(&tools)?;
        let kubectl = super::Kubectl::new(tools.component("kubectl"), self.kubeconfig());
        let mut stale = addons::last_reports(&kubectl)?;
        progress.step("Kubernetes nodes: containerd, images, kubelet, kube-proxy");
        let ensured =
            self.on_every_node(|node| node::ensure(&self.state, &tools, node, &images))?;
        for (node, ensured) in self.topology.nodes.iter().zip(ensured) {
            if ensured == Ensured::Unchanged {
                stale.remove(&node.name);
            }
        }
        addons::apply(&kubectl, &[COREDNS, STORAGE])?;
        let count = self.topology.nodes.len();
        addons::wait_for_nodes(&kubectl, count, &stale, NODES_LIMIT, progress)?;
        self.wait_for_dns(&tools, progress)
    }

    /// Asks from every node, as its pods would: this shows that service addresses work too.
    fn wait_for_dns(&self, tools: &Tools, progress: &Progress) -> Result<()> {
        progress.wait("cluster DNS", NODES_LIMIT, || {
            let answers = self.on_every_node(|node| {
                let enter = format!("--net=/run/netns/{}", node.namespace());
                let mut lookup = command("nsenter", [enter.as_str(), "--"]);
                lookup.arg(&tools.toolbox).args(["lookup", API_SERVICE, topology::DNS_ADDRESS]);
                Ok(succeeds(&mut lookup))
            })?;
            let silent = answers.iter().filter(|answered| !**answered).count();
            Ok(match silent {
                0 => Probe::Ready(()),
                _ => Probe::Waiting(format!("{silent} of {} servers are silent", answers.len())),
            })
        })
    }

    /// Ends every process and removes every namespace, mount, control group and file.
    pub fn down(&self, progress: &Progress) -> Result<()> {
        if !packages::is_root() {
            bail!("the local cluster was made by root; only root can remove it");
        }
        let _lock = self.state.lock(progress)?;
        progress.step("ending processes");
        process::stop_all(&self.state)?;
        for node in &self.topology.nodes {
            node::stop(&self.state, node)?;
        }
        for pid in network::processes(topology::HUB_NAMESPACE) {
            if let Some(process) = process::Identity::of(pid) {
                process.kill()?;
            }
        }
        progress.step("removing mounts, namespaces, control groups and files");
        host::restore(&self.state)?;
        network::remove(&self.topology)?;
        cgroup::remove()?;
        if self.state.exists() {
            std::fs::remove_dir_all(self.state.root())
                .with_context(|| format!("cannot remove {}", self.state.root().display()))?;
        }
        self.state.remove_lock()
    }

    /// Loads images into every node that does not have them. True when any node took one.
    pub fn load_images(&self, images: &[Archive]) -> Result<bool> {
        let loaded = self.on_every_node(|node| node::load_images(&self.state, node, images))?;
        Ok(loaded.contains(&true))
    }

    /// Levers that break this cluster.
    pub fn faults(&self) -> Faults<'_> {
        Faults::new(self)
    }

    /// A command that will run where the addresses of pods and services of nodes are reachable.
    /// It sees the machine's files and processes as usual, but not the machine's network.
    pub fn command_in_network(&self, program: &Path) -> Command {
        let enter = format!("--net=/run/netns/{}", topology::HUB_NAMESPACE);
        let mut command = command("nsenter", [enter.as_str(), "--"]);
        command.arg(program);
        command
    }

    /// As [`Self::command_in_network`], from within a datacenter: where it is cut off, so is the command.
    ///
    /// # Errors
    /// There is no such datacenter.
    pub fn command_in_datacenter(&self, datacenter: &str, program: &Path) -> Result<Command> {
        let mut nodes = self.topology.nodes.iter();
        let node = nodes.find(|node| node.datacenter == datacenter);
        let node = node.with_context(|| format!("there is no datacenter {datacenter}"))?;
        let enter = format!("--net=/run/netns/{}", node.namespace());
        let mut command = command("nsenter", [enter.as_str(), "--"]);
        command.arg(program);
        Ok(command)
    }

    fn base_images(&self, tools: &Tools) -> Result<Vec<Archive>> {
        [("pause", &tools.pause), ("coredns", &tools.coredns), ("toolbox", &tools.toolbox)]
            .into_iter()
            .map(|(name, program)| image::archive(name, program, Base::Empty, &self.image_folder()))
            .collect()
    }

    /// The nodes work at the same time; the first error is reported.
    fn on_every_node<T: Send>(&self, act: impl Fn(&Node) -> Result<T> + Sync) -> Result<Vec<T>> {
        let act = &act;
        thread::scope(|scope| {
            let workers: Vec<_> = self
                .topology
                .nodes
                .iter()
                .map(|node| {
                    scope.spawn(move || act(node).with_context(|| format!("node {}", node.name)))
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().map_err(|_| anyhow!("a node's worker panicked"))?)
                .collect()
        })
    }

    fn node(&self, name: &str) -> Result<&Node> {
        self.topology.node(name).with_context(|| format!("there is no Kubernetes node {name}"))
    }
}
