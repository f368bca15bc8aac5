//! Nodes of Quorate, put together as the operator does it: start, place the shards, bootstrap.

mod datacenters;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use quorate_model::admin::{
    Bootstrap, CatchUpPhase, ComparedReport, NodeReport, ProposeTopology, Readiness, Role,
    RollbackFile,
};
use quorate_model::{
    Addresses, Datacenter, Epoch, GroupId, Member, Mode, MultiLeader, Name, NodeId, Policy,
    ShardId, ShardPlacement, StoreId, Topology,
};

use super::process::{Server, Signal};
use super::{await_condition, http, namespaces, ports, put_aside};
use crate::load::{Place, Protocol, Target, keys};
pub(crate) use datacenters::{DATACENTERS, Taken};

const READY_TIMEOUT: Duration = Duration::from_secs(120);
const PORTS_PER_NODE: usize = 4;
const REPLICAS: usize = 3;

/// How a store is started.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) binary: PathBuf,
    pub(crate) directory: PathBuf,
    /// Each shard has three replicas.
    pub(crate) nodes: usize,
    pub(crate) shards: u16,
    pub(crate) policy: Policy,
    pub(crate) mode: Mode,
    /// Each node in a network namespace of its own, so that it can be cut off; where there are several leaders, each datacenter.
    pub(crate) namespaces: Option<Arc<namespaces::Namespaces>>,
    /// Lines of the nodes' YAML file.
    pub(crate) settings: String,
}

#[derive(Debug)]
pub(crate) struct Quorate {
    options: Options,
    store: StoreId,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    number: usize,
    /// Its datacenter, by number.
    datacenter: usize,
    id: NodeId,
    addresses: Addresses,
    /// `None` while it is down.
    server: Option<Server>,
}

impl Quorate {
    pub(crate) fn start(options: Options) -> Result<Self> {
        std::fs::create_dir_all(&options.directory)?;
        std::fs::write(options.directory.join("settings.yaml"), &options.settings)?;
        let store = StoreId(rand::random());
        let mut quorate = Self { options, store, nodes: Vec::new() };
        for number in 1..=quorate.options.nodes {
            let node = quorate.start_node(number, None)?;
            quorate.nodes.push(node);
        }
        quorate.bootstrap()?;
        quorate.await_ready()?;
        Ok(quorate)
    }

    pub(crate) fn version(binary: &Path) -> Result<String> {
        let output = Command::new(binary).arg("--version").output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn start_node(&self, number: usize, at: Option<&Addresses>) -> Result<Node> {
        let datacenter = self.datacenter_of(number);
        let host = match &self.options.namespaces {
            Some(namespaces) => namespaces.address(datacenter),
            None => "127.0.0.1".to_owned(),
        };
        let addresses = match at {
            Some(addresses) => addresses.clone(),
            None => {
                let mut ports = ports::free(PORTS_PER_NODE)?.into_iter();
                let mut at =
                    || ports.next().map(|port| format!("{host}:{port}")).unwrap_or_default();
                Addresses { plain: at(), cluster: at(), peer: at(), admin: at() }
            }
        };
        let mut command = match &self.options.namespaces {
            Some(namespaces) => namespaces.command(datacenter, &self.options.binary),
            None => Command::new(&self.options.binary),
        };
        command
            .args(["run", "--exit-with-parent", "--advertise-host", &host])
            .args(["--store", &self.store.to_string(), "--name", &format!("node-{number}")])
            .args(["--datacenter", &format!("dc-{datacenter}"), "--log-level", "warn"])
            .args(["--listen-plain", &addresses.plain, "--listen-cluster", &addresses.cluster])
            .args(["--listen-peer", &addresses.peer, "--listen-admin", &addresses.admin])
            .arg("--config")
            .arg(self.options.directory.join("settings.yaml"))
            .arg("--data-dir")
            .arg(self.data(number));
        let server =
            Server::start(command, &self.options.directory.join(format!("node-{number}.log")))?;
        let admin = addresses.admin.clone();
        let mut id = None;
        await_condition("a node's admin API", READY_TIMEOUT, || {
            id = Some(report(&admin)?.node);
            Ok(true)
        })?;
        let id = id.context("a node says who it is")?;
        Ok(Node { number, datacenter, id, addresses, server: Some(server) })
    }

    fn data(&self, number: usize) -> PathBuf {
        self.options.directory.join(format!("node-{number}"))
    }

    fn bootstrap(&self) -> Result<()> {
        let first = &self.nodes[0];
        let ids: Vec<NodeId> = self.nodes.iter().map(|node| node.id).collect();
        let placement = |shard: u16| {
            let first = usize::from(shard) % ids.len();
            let voters: BTreeSet<NodeId> =
                ids.iter().cycle().skip(first).take(REPLICAS).copied().collect();
            ShardPlacement { genesis: voters.clone(), voters, preferred_leader: Some(ids[first]) }
        };
        let members: Result<BTreeMap<_, _>> =
            self.nodes.iter().map(|node| Ok((node.id, member(node)?))).collect();
        let mut topology = Topology {
            store: self.store,
            epoch: Epoch(1),
            members: members?,
            meta_voters: ids.iter().cycle().skip(ids.len() - 2).take(REPLICAS).copied().collect(),
            shards: (0..self.options.shards).map(placement).collect(),
            policy: self.options.policy.clone(),
            mode: self.options.mode.clone(),
        };
        if let Some(multi_leader) = self.options.mode.multi_leader() {
            topology.shards = vec![self.placement(); usize::from(self.options.shards)];
            let multi_leader = MultiLeader::new(multi_leader.policy.clone(), &topology);
            topology.mode = Mode::MultiLeader(multi_leader);
        }
        let request = serde_json::to_string(&Bootstrap { node: first.id, topology })?;
        http::post(&first.addresses.admin, "/v1/bootstrap", &request)?;
        Ok(())
    }

    /// Waits until all nodes serve and each shard, in a store that has leaders, is led where it should be.
    pub(crate) fn await_ready(&self) -> Result<Duration> {
        await_condition("that all nodes serve", READY_TIMEOUT, || {
            for node in self.nodes.iter().filter(|node| node.server.is_some()) {
                let answer = http::get_any(&node.addresses.admin, "/readyz")?;
                let readiness: Readiness = serde_json::from_str(&answer)?;
                if !readiness.ready {
                    return Ok(false);
                }
            }
            if self.is_leaderless() {
                return Ok(true);
            }
            if self.options.mode.multi_leader().is_some() {
                return self.is_led();
            }
            let leaders = self.leaders()?;
            let topology = self.topology()?;
            Ok(topology.placements().all(|(shard, placement)| {
                placement.preferred_leader == leaders.get(&shard).copied()
            }))
        })
    }

    /// Who leads each shard, by the nodes' own word.
    pub(crate) fn leaders(&self) -> Result<BTreeMap<ShardId, NodeId>> {
        let mut leaders = BTreeMap::new();
        for report in self.reports()? {
            for replica in &report.replicas {
                if let (GroupId::Shard(shard), Role::Leader) = (replica.group, replica.role) {
                    leaders.insert(shard, report.node);
                }
            }
        }
        Ok(leaders)
    }

    fn reports(&self) -> Result<Vec<NodeReport>> {
        let up = self.nodes.iter().filter(|node| node.server.is_some());
        up.map(|node| report(&node.addresses.admin)).collect()
    }

    /// What comparing came to, by every replica that runs.
    pub(crate) fn compared(&self) -> Result<Vec<(ShardId, ComparedReport)>> {
        let reports = self.reports()?;
        let replicas = reports.iter().flat_map(|report| &report.shards);
        Ok(replicas.map(|replica| (replica.shard, replica.compared)).collect())
    }

    fn topology(&self) -> Result<Topology> {
        let newest = self.reports()?.into_iter().filter_map(|report| report.topology);
        newest.max_by_key(|topology| topology.epoch).context("no node holds a topology")
    }

    /// Changes the topology by compare-and-set, as the operator does.
    fn propose(&self, change: impl FnOnce(&mut Topology)) -> Result<()> {
        let mut topology = self.topology()?;
        let expected = topology.epoch;
        topology.epoch = expected.next();
        change(&mut topology);
        let request = serde_json::to_string(&ProposeTopology { expected, topology })?;
        http::post(&self.nodes[0].addresses.admin, "/v1/topology", &request)?;
        Ok(())
    }

    /// Switches the running store to another policy and waits until every leader acknowledges by it.
    pub(crate) fn switch(&mut self, policy: &Policy) -> Result<()> {
        self.propose(|topology| topology.policy = policy.clone())?;
        let shards = usize::from(self.options.shards);
        await_condition("that the policy is in force", Duration::from_secs(15), || {
            let reports = self.reports()?;
            let replicas = reports.iter().flat_map(|report| &report.replicas);
            let led = replicas.filter(|replica| {
                matches!(replica.group, GroupId::Shard(_)) && replica.role == Role::Leader
            });
            let in_force = led.filter(|replica| {
                replica.acknowledgement.durability == policy.durability
                    && replica.acknowledgement.settled
            });
            Ok(in_force.count() == shards)
        })?;
        self.options.policy = policy.clone();
        Ok(())
    }

    fn is_leaderless(&self) -> bool {
        self.options.mode.leaderless().is_some()
    }

    /// Each client talks to one leader, with keys that it leads, on the port for cluster clients: what a client that
    /// knows the slots does. Without leaders it talks to any of the nodes, for each has a replica of every key.
    pub(crate) fn target(&self, all: Vec<Bytes>) -> Result<Target> {
        if self.is_leaderless() {
            let keys: Arc<[Bytes]> = all.into();
            let place = |node: &Node| Place {
                address: node.addresses.cluster.clone(),
                keys: Arc::clone(&keys),
            };
            let places = self.nodes.iter().map(place).collect();
            return Ok(Target { protocol: Protocol::Resp, places });
        }
        let leaders = self.leaders()?;
        let mut places: BTreeMap<NodeId, Vec<Bytes>> = BTreeMap::new();
        for (shard, keys) in (0..).map(ShardId).zip(keys::by_shard(all, self.options.shards)) {
            let leader = leaders.get(&shard).context("a shard has no leader")?;
            places.entry(*leader).or_default().extend(keys);
        }
        let places = places.into_iter().map(|(leader, keys)| {
            let node = self.node(leader)?;
            Ok(Place { address: node.addresses.cluster.clone(), keys: keys.into() })
        });
        Ok(Target { protocol: Protocol::Resp, places: places.collect::<Result<_>>()? })
    }

    /// Clients of every node that know nothing of slots.
    pub(crate) fn plain_target(&self, all: Vec<Bytes>) -> Target {
        let keys: Arc<[Bytes]> = all.into();
        let place =
            |node: &Node| Place { address: node.addresses.plain.clone(), keys: Arc::clone(&keys) };
        Target { protocol: Protocol::Resp, places: self.nodes.iter().map(place).collect() }
    }

    /// How many hints the nodes that run hold for this one, and of how many bytes.
    pub(crate) fn hints(&self, at: usize) -> Result<(u64, u64)> {
        let reports = self.reports()?;
        let held = reports.iter().flat_map(|report| &report.hints);
        let held = held.filter(|one| one.target == self.nodes[at].id);
        Ok(held.fold((0, 0), |(count, bytes), one| (count + one.count, bytes + one.bytes)))
    }

    fn node(&self, id: NodeId) -> Result<&Node> {
        self.nodes.iter().find(|node| node.id == id).context("a node that was not started here")
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(|node| node.server.as_ref()).map(Server::pid).collect()
    }

    /// The node that leads the first shard, by its place; the ports for plain clients of the others.
    pub(crate) fn victim(&self) -> Result<(usize, Vec<String>)> {
        let leaders = self.leaders()?;
        let leader = *leaders.get(&ShardId(0)).context("shard 0 has no leader")?;
        let at =
            self.nodes.iter().position(|node| node.id == leader).context("it is one of ours")?;
        let others = self.nodes.iter().filter(|node| node.id != leader);
        Ok((at, others.map(|node| node.addresses.plain.clone()).collect()))
    }

    pub(crate) fn kill(&mut self, at: usize) -> Result<()> {
        let mut server = self.nodes[at].server.take().context("it runs")?;
        server.signal(Signal::Kill)?;
        server.end();
        Ok(())
    }

    pub(crate) fn start_again(&mut self, at: usize) -> Result<()> {
        let node = &self.nodes[at];
        self.nodes[at] = self.start_node(node.number, Some(&node.addresses))?;
        Ok(())
    }

    pub(crate) fn freeze(&self, at: usize) -> Result<()> {
        self.nodes[at].server.as_ref().context("it runs")?.signal(Signal::Stop)
    }

    pub(crate) fn thaw(&self, at: usize) -> Result<()> {
        self.nodes[at].server.as_ref().context("it runs")?.signal(Signal::Continue)
    }

    pub(crate) fn cut(&self, at: usize) -> Result<()> {
        self.namespaces()?.cut(self.nodes[at].number)
    }

    pub(crate) fn mend(&self, at: usize) -> Result<()> {
        self.namespaces()?.mend(self.nodes[at].number)
    }

    fn namespaces(&self) -> Result<&namespaces::Namespaces> {
        self.options.namespaces.as_deref().context("the nodes have no namespaces")
    }

    /// Makes the next node the preferred leader of shard 0: a planned switchover.
    pub(crate) fn switch_over(&self) -> Result<()> {
        let (at, _) = self.victim()?;
        let next = self.nodes[(at + 1) % self.nodes.len()].id;
        self.propose(|topology| topology.shards[0].preferred_leader = Some(next))?;
        self.await_ready()?;
        Ok(())
    }

    pub(crate) const fn shards(&self) -> u16 {
        self.options.shards
    }

    pub(crate) fn cluster_address_of_last(&self) -> Option<String> {
        self.nodes.last().map(|node| node.addresses.cluster.clone())
    }

    /// The keys in the files of what the nodes took back, as the nodes list and show them.
    pub(crate) fn rolled_back_keys(&self) -> Result<BTreeSet<Bytes>> {
        let mut keys = BTreeSet::new();
        for node in self.nodes.iter().filter(|node| node.server.is_some()) {
            let admin = &node.addresses.admin;
            let files: Vec<RollbackFile> =
                serde_json::from_str(&http::get(admin, "/v1/rollbacks")?)?;
            for file in files {
                let lines = http::get(admin, &format!("/v1/rollbacks/{}", file.name))?;
                for line in lines.lines() {
                    let write: serde_json::Value = serde_json::from_str(line)?;
                    if let Some(key) = write["key"].as_str() {
                        keys.insert(Bytes::copy_from_slice(key.as_bytes()));
                    }
                }
            }
        }
        Ok(keys)
    }

    /// Replaces the last node by an empty one, and returns once it follows every shard closely: how long it took since `begun`
    /// was called.
    pub(crate) fn replace_last(&mut self, begun: impl FnOnce()) -> Result<Duration> {
        let at = self.nodes.len() - 1;
        let old = self.nodes[at].id;
        self.kill(at)?;
        put_aside(&self.data(self.nodes[at].number))?;
        self.start_again(at)?;
        let new = self.nodes[at].id;
        let member = member(&self.nodes[at])?;
        begun();
        let begin = std::time::Instant::now();
        self.propose(|topology| replace(topology, old, member))?;
        await_condition("that the empty node has caught up", Duration::from_secs(1200), || {
            let reports = self.reports()?;
            let replicas = reports.iter().flat_map(|report| &report.replicas);
            let led = replicas.filter(|replica| {
                matches!(replica.group, GroupId::Shard(_)) && replica.role == Role::Leader
            });
            let caught_up = led.filter(|replica| {
                replica
                    .followers
                    .get(&new)
                    .is_some_and(|follower| follower.phase == CatchUpPhase::CaughtUp)
            });
            Ok(caught_up.count() == usize::from(self.options.shards))
        })?;
        Ok(begin.elapsed())
    }
}

fn replace(topology: &mut Topology, old: NodeId, member: Member) {
    let swap = |set: &mut BTreeSet<NodeId>| {
        if set.remove(&old) {
            set.insert(member.id);
        }
    };
    swap(&mut topology.meta_voters);
    for placement in &mut topology.shards {
        swap(&mut placement.voters);
        if placement.preferred_leader == Some(old) {
            placement.preferred_leader =
                placement.voters.iter().find(|id| **id != member.id).copied();
        }
    }
    topology.members.remove(&old);
    topology.members.insert(member.id, member);
}

fn report(admin: &str) -> Result<NodeReport> {
    Ok(serde_json::from_str(&http::get(admin, "/v1/report")?)?)
}

fn member(node: &Node) -> Result<Member> {
    Ok(Member {
        id: node.id,
        name: format!("node-{}", node.number),
        datacenter: Datacenter::new(format!("dc-{}", node.datacenter))?,
        zone: Name::new("local")?,
        addresses: node.addresses.clone(),
    })
}
