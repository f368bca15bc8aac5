//! Levers that break the cluster, each of which undoes itself.
//!
//! What is broken is written down first, so `heal_all` works from any process and after a crash
//! of the test. Network faults are declared as a whole and applied as a whole: all packets between
//! nodes pass the hub, where one chain of rules drops or loses them by address, and a router on a
//! TUN device delays them (this needs no kernel module).

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::Kubectl;
use super::super::command::{command, output, output_of_input, succeeds};
use super::super::progress::{Probe, Progress};
use super::super::tools::Tools;
use super::network::ip;
use super::pods::{self, PodProcess};
use super::process::{self, Component, Identity};
use super::topology::{HUB_NAMESPACE, Topology};
use super::{Local, control_plane, node};

const CHAIN: &str = "QUORATE-FAULTS";
const ROUTER: &str = "wan";
const ROUTER_DEVICE: &str = "wan0";
/// Marks the routing rules of the router and names the table they lead to.
const ROUTER_TABLE: &str = "77";
const ROUTER_LIMIT: Duration = Duration::from_secs(10);
const RULES_MAX: usize = 1_000;

/// Levers read, change and write one file; those of one process take turns.
static TURN: Mutex<()> = Mutex::new(());

/// How many packets of a link are lost, in percent.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Loss {
    percent: f64,
}

impl Loss {
    /// None outside of 0 to 100.
    pub fn of_percent(percent: f64) -> Option<Self> {
        (0.0..=100.0).contains(&percent).then_some(Self { percent })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum LinkFault {
    Cut,
    Lossy(Loss),
    Delayed { delay_ms: f64, jitter_ms: f64 },
}

impl LinkFault {
    fn delayed(delay: Duration, jitter: Duration) -> Self {
        Self::Delayed { delay_ms: delay.as_secs_f64() * 1e3, jitter_ms: jitter.as_secs_f64() * 1e3 }
    }

    fn is_same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// A fault of all traffic from one datacenter to another, in this direction only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct FaultyLink {
    from: String,
    to: String,
    fault: LinkFault,
}

/// All that is broken at a moment.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Broken {
    datacenters: BTreeSet<String>,
    nodes: BTreeSet<String>,
    links: Vec<FaultyLink>,
    frozen: Vec<Identity>,
    api_server: bool,
}

impl Broken {
    /// A fault replaces one of its kind.
    fn break_link(&mut self, from: &str, to: &str, fault: LinkFault) {
        self.links
            .retain(|link| link.from != from || link.to != to || !link.fault.is_same_kind(&fault));
        self.links.push(FaultyLink { from: from.to_owned(), to: to.to_owned(), fault });
    }
}

/// The levers of a running cluster.
#[derive(Debug)]
pub struct Faults<'a> {
    cluster: &'a Local,
}

impl<'a> Faults<'a> {
    pub(super) fn new(cluster: &'a Local) -> Self {
        Self { cluster }
    }

    /// Cuts a datacenter off from everything: the others and the API server.
    pub fn cut_datacenter(&self, datacenter: &str) -> Result<()> {
        self.check_datacenter(datacenter)?;
        self.change(|broken| {
            broken.datacenters.insert(datacenter.to_owned());
        })
    }

    pub fn heal_datacenter(&self, datacenter: &str) -> Result<()> {
        self.change(|broken| {
            broken.datacenters.remove(datacenter);
        })
    }

    /// Drops what `from` sends to `to`; the other direction stays open.
    pub fn cut_direction(&self, from: &str, to: &str) -> Result<()> {
        self.break_link(from, to, LinkFault::Cut)
    }

    /// Loses packets from `from` to `to` at random.
    pub fn lose_packets(&self, from: &str, to: &str, loss: Loss) -> Result<()> {
        self.break_link(from, to, LinkFault::Lossy(loss))
    }

    /// Delays packets from `from` to `to` by `delay` and up to `jitter` more; their order stays.
    pub fn delay(&self, from: &str, to: &str, delay: Duration, jitter: Duration) -> Result<()> {
        self.break_link(from, to, LinkFault::delayed(delay, jitter))
    }

    /// Puts datacenters apart: a packet between any two takes `one_way`, so a round trip twice it.
    pub fn spread_datacenters(&self, one_way: Duration) -> Result<()> {
        let names = self.cluster.topology.datacenters();
        let fault = LinkFault::delayed(one_way, Duration::ZERO);
        // One change: each starts the router anew.
        self.change(|broken| {
            for from in &names {
                for to in names.iter().filter(|to| *to != from) {
                    broken.break_link(from, to, fault.clone());
                }
            }
        })
    }

    /// Undoes every fault from `from` to `to`.
    pub fn heal_direction(&self, from: &str, to: &str) -> Result<()> {
        self.change(|broken| broken.links.retain(|link| link.from != from || link.to != to))
    }

    /// The processes of a pod's container (the first without a name), for the levers below.
    pub fn process_of(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
    ) -> Result<PodProcess> {
        PodProcess::find(&self.kubectl()?, namespace, pod, container)
    }

    /// `kill -9` of a pod's first container. The kubelet starts it again.
    pub fn kill_process(&self, namespace: &str, pod: &str) -> Result<()> {
        self.process_of(namespace, pod, None)?.kill()
    }

    /// Stops a process in its tracks: its connections stay open and nobody answers.
    pub fn freeze(&self, process: &PodProcess) -> Result<()> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut broken = self.read()?;
        broken.frozen.extend(process.processes.iter().cloned());
        self.write(&broken)?;
        process.freeze()
    }

    pub fn thaw(&self, process: &PodProcess) -> Result<()> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        process.signal(Signal::CONT)?;
        let mut broken = self.read()?;
        broken.frozen.retain(|frozen| !process.processes.contains(frozen));
        self.write(&broken)
    }

    /// Empties every volume of a pod while its process stands still, and then kills it: it comes
    /// back with an empty disk and never sees a half-emptied one.
    pub fn wipe_volumes(&self, namespace: &str, pod: &str) -> Result<()> {
        let kubectl = self.kubectl()?;
        let root = self.cluster.state.path("nodes");
        let folders = pods::volume_folders(&kubectl, &root, namespace, pod)?;
        let process = PodProcess::find(&kubectl, namespace, pod, None)?;
        process.freeze()?;
        let wiped = folders.iter().try_for_each(|folder| pods::empty_folder(folder));
        process.kill()?;
        wiped
    }

    /// Ends a Kubernetes node like a power cut: silence first, then nothing runs on it any more.
    pub fn stop_node(&self, name: &str) -> Result<()> {
        let node = self.cluster.node(name)?;
        self.change(|broken| {
            broken.nodes.insert(name.to_owned());
        })?;
        node::stop(&self.cluster.state, node)
    }

    pub fn start_node(&self, name: &str) -> Result<()> {
        let node = self.cluster.node(name)?;
        let tools = Tools::ensure(&Progress::quiet())?;
        self.change(|broken| {
            broken.nodes.remove(name);
        })?;
        node::ensure(&self.cluster.state, &tools, node, &[])?;
        Ok(())
    }

    /// Ends the API server; pods go on. Look up processes before, see `process_of`.
    pub fn stop_api_server(&self) -> Result<()> {
        self.change(|broken| broken.api_server = true)?;
        process::stop(&self.cluster.state, control_plane::API_SERVER)
    }

    /// Starts the API server and waits until it is ready.
    pub fn start_api_server(&self) -> Result<()> {
        let tools = Tools::ensure(&Progress::quiet())?;
        self.change(|broken| broken.api_server = false)?;
        control_plane::ensure(&self.cluster.state, &tools, &Progress::quiet())
    }

    /// Undoes every lever, whoever pulled it. Fine when nothing is broken.
    pub fn heal_all(&self) -> Result<()> {
        let broken = self.read()?;
        for process in &broken.frozen {
            process.signal(Signal::CONT)?;
        }
        self.change(|broken| {
            broken.datacenters.clear();
            broken.links.clear();
            broken.frozen.clear();
        })?;
        if broken.api_server {
            self.start_api_server()?;
        }
        for name in &broken.nodes {
            self.start_node(name)?;
        }
        Ok(())
    }

    fn break_link(&self, from: &str, to: &str, fault: LinkFault) -> Result<()> {
        self.check_datacenter(from)?;
        self.check_datacenter(to)?;
        if from == to {
            bail!("{from} is one datacenter: a faulty link needs two");
        }
        self.change(|broken| broken.break_link(from, to, fault))
    }

    fn check_datacenter(&self, name: &str) -> Result<()> {
        if !self.cluster.topology.datacenters().contains(&name) {
            bail!("there is no datacenter {name}");
        }
        Ok(())
    }

    /// Writes down what shall be broken and makes the network so.
    fn change(&self, change: impl FnOnce(&mut Broken)) -> Result<()> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut broken = self.read()?;
        change(&mut broken);
        self.write(&broken)?;
        apply_network(self.cluster, &broken)
    }

    fn kubectl(&self) -> Result<Kubectl> {
        let tools = Tools::ensure(&Progress::quiet())?;
        Ok(Kubectl::new(tools.component("kubectl"), self.cluster.kubeconfig()))
    }

    fn read(&self) -> Result<Broken> {
        match fs::read(path(self.cluster)) {
            Ok(content) => serde_json::from_slice(&content).context("faults.json is ours"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Broken::default()),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&self, broken: &Broken) -> Result<()> {
        Ok(fs::write(path(self.cluster), serde_json::to_vec(broken)?)?)
    }
}

/// Heals what `up` does not heal by itself: the network and frozen processes.
pub(super) fn forget(cluster: &Local) -> Result<()> {
    // A file that was cut off by a crash says nothing that the steps below depend on.
    let broken = cluster.faults().read().unwrap_or_default();
    for process in &broken.frozen {
        process.signal(Signal::CONT)?;
    }
    cluster.faults().write(&Broken::default())?;
    apply_network(cluster, &Broken::default())
}

fn path(cluster: &Local) -> PathBuf {
    cluster.state.path("faults.json")
}

fn apply_network(cluster: &Local, broken: &Broken) -> Result<()> {
    let rules = drop_rules(&cluster.topology, broken);
    let enter = format!("--net=/run/netns/{HUB_NAMESPACE}");
    let iptables = |args: [&str; 4]| {
        let mut iptables = command("nsenter", [enter.as_str(), "iptables"]);
        iptables.args(args);
        iptables
    };
    output_of_input(
        &mut command("nsenter", [enter.as_str(), "iptables-restore", "--noflush"]),
        &rules,
    )?;
    for hook in ["INPUT", "OUTPUT", "FORWARD"] {
        if !succeeds(&mut iptables(["--check", hook, "--jump", CHAIN])) {
            output(&mut iptables(["--insert", hook, "--jump", CHAIN]))?;
        }
    }
    apply_delays(cluster, broken)
}

/// The whole chain; loading it replaces what was in it at once.
fn drop_rules(topology: &Topology, broken: &Broken) -> String {
    let mut rules = format!("*filter\n:{CHAIN} - [0:0]\n");
    for link in &broken.links {
        let verdict = match &link.fault {
            LinkFault::Cut => "-j DROP".to_owned(),
            // A delayed packet passes here twice; it may be lost once.
            LinkFault::Lossy(loss) => format!(
                "! -i {ROUTER_DEVICE} -m statistic --mode random --probability {:.6} -j DROP",
                loss.percent / 100.0
            ),
            LinkFault::Delayed { .. } => continue,
        };
        for from in topology.cidrs_of(&link.from) {
            for to in topology.cidrs_of(&link.to) {
                rules.push_str(&format!("-A {CHAIN} -s {from} -d {to} {verdict}\n"));
            }
        }
    }
    let islands = broken.datacenters.iter().map(|name| topology.cidrs_of(name));
    let nodes = broken.nodes.iter().filter_map(|name| topology.node(name));
    for island in nodes.map(|node| node.cidrs().to_vec()).chain(islands) {
        for from in &island {
            for to in &island {
                rules.push_str(&format!("-A {CHAIN} -s {from} -d {to} -j RETURN\n"));
            }
        }
        for inside in &island {
            rules.push_str(&format!("-A {CHAIN} -s {inside} -j DROP\n"));
            rules.push_str(&format!("-A {CHAIN} -d {inside} -j DROP\n"));
        }
    }
    rules.push_str("COMMIT\n");
    rules
}

fn apply_delays(cluster: &Local, broken: &Broken) -> Result<()> {
    remove_routing_rules()?;
    let topology = &cluster.topology;
    let delays: Vec<(&FaultyLink, f64, f64)> = broken
        .links
        .iter()
        .filter_map(|link| match link.fault {
            LinkFault::Delayed { delay_ms, jitter_ms } => Some((link, delay_ms, jitter_ms)),
            LinkFault::Cut | LinkFault::Lossy(_) => None,
        })
        .collect();
    if delays.is_empty() {
        return process::stop(&cluster.state, ROUTER);
    }
    let links: Vec<serde_json::Value> = delays
        .iter()
        .map(|(link, delay_ms, jitter_ms)| {
            json!({
                "from": topology.cidrs_of(&link.from), "to": topology.cidrs_of(&link.to),
                "delay_ms": delay_ms, "jitter_ms": jitter_ms,
            })
        })
        .collect();
    start_router(cluster, &links)?;
    for (link, _, _) in delays {
        for node in topology.nodes.iter().filter(|node| node.datacenter == link.from) {
            for to in topology.cidrs_of(&link.to) {
                // Only what comes from the node: what comes out of the router goes its way.
                ip(&[
                    "-n",
                    HUB_NAMESPACE,
                    "rule",
                    "add",
                    "pref",
                    ROUTER_TABLE,
                    "iif",
                    &node.link(),
                    "to",
                    &to,
                    "lookup",
                    ROUTER_TABLE,
                ])?;
            }
        }
    }
    Ok(())
}

fn start_router(cluster: &Local, links: &[serde_json::Value]) -> Result<()> {
    let tools = Tools::ensure(&Progress::quiet())?;
    let file = cluster.state.path("run/wan-links");
    fs::write(&file, serde_json::to_vec(links)?)?;
    let router = Component {
        name: ROUTER.to_owned(),
        namespace: Some(HUB_NAMESPACE.to_owned()),
        program: tools.component("quorate-wan"),
        args: vec![format!("--device={ROUTER_DEVICE}"), format!("--links={}", file.display())],
        inputs: vec![file],
    };
    router.ensure(&cluster.state)?;
    Progress::quiet().wait("the delaying router", ROUTER_LIMIT, || {
        if process::running(&cluster.state, ROUTER).is_none() {
            bail!("it ended: {}", process::log_tail(&cluster.state, ROUTER));
        }
        Ok(match ip(&["-n", HUB_NAMESPACE, "link", "set", ROUTER_DEVICE, "up"]) {
            Ok(_) => Probe::Ready(()),
            Err(_) => Probe::Waiting("its device is not there".to_owned()),
        })
    })?;
    let table = ["table", ROUTER_TABLE];
    ip(&[&["-n", HUB_NAMESPACE, "route", "replace", "default", "dev", ROUTER_DEVICE], &table[..]]
        .concat())?;
    Ok(())
}

fn remove_routing_rules() -> Result<()> {
    for _ in 0..RULES_MAX {
        let listed = ip(&["-n", HUB_NAMESPACE, "rule", "list", "pref", ROUTER_TABLE])?;
        if listed.trim().is_empty() {
            return Ok(());
        }
        ip(&["-n", HUB_NAMESPACE, "rule", "delete", "pref", ROUTER_TABLE])?;
    }
    bail!("there are more than {RULES_MAX} routing rules");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules_of(broken: &Broken) -> Vec<String> {
        drop_rules(&Topology::default(), broken).lines().map(str::to_owned).collect()
    }

    #[test]
    fn nothing_broken_is_an_empty_chain() {
        let expected = ["*filter", ":QUORATE-FAULTS - [0:0]", "COMMIT"];
        assert_eq!(rules_of(&Broken::default()), expected);
    }

    #[test]
    fn cut_datacenter_still_talks_within_itself() {
        let broken = Broken { datacenters: ["dc-a".to_owned()].into(), ..Broken::default() };
        let rules = rules_of(&broken);
        let inner = "-A QUORATE-FAULTS -s 10.244.1.0/24 -d 10.244.2.0/24 -j RETURN".to_owned();
        let outer = "-A QUORATE-FAULTS -s 10.244.1.0/24 -j DROP".to_owned();
        let place = |rule: &String| rules.iter().position(|known| known == rule);
        assert!(place(&inner).is_some() && place(&inner) < place(&outer));
    }

    #[test]
    fn cut_direction_leaves_the_other_one_open() {
        let link =
            FaultyLink { from: "dc-b".to_owned(), to: "dc-c".to_owned(), fault: LinkFault::Cut };
        let rules = rules_of(&Broken { links: vec![link], ..Broken::default() });
        assert!(
            rules.contains(
                &"-A QUORATE-FAULTS -s 10.244.3.0/24 -d 10.244.4.0/24 -j DROP".to_owned()
            )
        );
        assert!(!rules.iter().any(|rule| rule.contains("-s 10.244.4.0/24")));
    }
}
