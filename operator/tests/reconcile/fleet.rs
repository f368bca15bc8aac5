//! A fleet of nodes behind the operator's node client: who runs at which address, one topology, and groups that move
//! to their placement one step per turn, as the contract in docs/contracts.md says of real nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::future::BoxFuture;
use quorate_model::admin::{
    Bootstrap, CatchUpPhase, ErrorBody, ErrorCode, ExchangeReport, FollowerReport, Handover,
    LinkReport, NodeReport, ProposeTopology, Proposed, ReplicaReport, Role, ShardReport, Standing,
};
use quorate_model::{
    ActorId, Addresses, Datacenter, GroupId, LogIndex, Name, NodeId, StoreId, Term, Topology,
};
use quorate_operator::client::{NodeError, Nodes};

use crate::api_server::ApiServer;

/// A process that runs in a pod.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) id: NodeId,
    pub(crate) pod: String,
    pub(crate) datacenter: Datacenter,
    pub(crate) store: StoreId,
    pub(crate) answers: bool,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Group {
    pub(crate) term: Term,
    pub(crate) leader: Option<NodeId>,
    pub(crate) voters: BTreeSet<NodeId>,
}

/// Of several leaders a shard has a group in every datacenter.
pub(crate) type GroupKey = (GroupId, Option<Datacenter>);

#[derive(Clone, Default)]
pub(crate) struct State {
    pub(crate) processes: BTreeMap<IpAddr, Process>,
    pub(crate) topology: Option<Topology>,
    pub(crate) groups: BTreeMap<GroupKey, Group>,
}

#[derive(Clone)]
pub(crate) struct Fleet {
    api: ApiServer,
    state: Arc<Mutex<State>>,
}

impl Fleet {
    pub(crate) fn new(api: ApiServer) -> Self {
        Self { api, state: Arc::default() }
    }

    /// Another fleet in the same state, beside another API server.
    pub(crate) fn fork(&self, api: ApiServer) -> Self {
        Self { api, state: Arc::new(Mutex::new(self.state().clone())) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Lets every group take a step towards its placement.
    pub(crate) fn turn(&self) {
        self.state().turn();
    }

    fn process(&self, admin: SocketAddr) -> Result<Process, NodeError> {
        let process = self.state().processes.get(&admin.ip()).cloned();
        process.filter(|process| process.answers).ok_or_else(|| silence(admin))
    }

    fn change<A>(
        &self,
        admin: SocketAddr,
        what: &str,
        effect: impl FnOnce(&mut State, &Process) -> Result<A, ErrorBody>,
    ) -> Result<A, NodeError> {
        let mut outcome = None;
        let arrived = self.api.foreign_call(what, || {
            if let Ok(process) = self.process(admin) {
                outcome = Some(effect(&mut self.state(), &process));
            }
        });
        match (arrived, outcome) {
            (Ok(()), Some(Ok(answer))) => Ok(answer),
            (Ok(()), Some(Err(body))) => {
                Err(NodeError::Refused { admin, status: http::StatusCode::CONFLICT, body })
            }
            (Err(()), _) | (Ok(()), None) => Err(silence(admin)),
        }
    }
}

impl Nodes for Fleet {
    fn report(&self, admin: SocketAddr) -> BoxFuture<'_, Result<NodeReport, NodeError>> {
        Box::pin(async move {
            let process = self.process(admin)?;
            Ok(self.state().report(&process, admin.ip()))
        })
    }

    fn bootstrap<'a>(
        &'a self,
        admin: SocketAddr,
        first: &'a Bootstrap,
    ) -> BoxFuture<'a, Result<Proposed, NodeError>> {
        Box::pin(async move {
            self.change(admin, "NODE bootstrap", |state, process| {
                if process.id != first.node {
                    return Err(refusal(ErrorCode::WrongNode));
                }
                match &state.topology {
                    Some(_) => return Err(refusal(ErrorCode::AlreadyBootstrapped)),
                    None => state.adopt(first.topology.clone()),
                }
                Ok(Proposed { epoch: first.topology.epoch })
            })
        })
    }

    fn propose<'a>(
        &'a self,
        admin: SocketAddr,
        change: &'a ProposeTopology,
    ) -> BoxFuture<'a, Result<Proposed, NodeError>> {
        Box::pin(async move {
            self.change(admin, "NODE topology", |state, _| {
                let current = state.topology.as_ref().ok_or(refusal(ErrorCode::NoLeader))?;
                if current.epoch != change.expected {
                    return Err(refusal(ErrorCode::EpochMoved));
                }
                state.adopt(change.topology.clone());
                Ok(Proposed { epoch: change.topology.epoch })
            })
        })
    }

    fn handover(&self, admin: SocketAddr) -> BoxFuture<'_, Result<Handover, NodeError>> {
        Box::pin(async move {
            self.change(admin, "NODE handover", |state, process| {
                let away = process.id;
                state.elect(|node| node != away);
                Ok(Handover { moved: Vec::new(), kept: Vec::new() })
            })
        })
    }
}

impl State {
    fn adopt(&mut self, topology: Topology) {
        assert_eq!(topology.validate(), Ok(()));
        self.topology = Some(topology);
    }

    fn is_running(&self, node: NodeId) -> bool {
        self.processes.values().any(|process| process.id == node && process.answers)
    }

    fn turn(&mut self) {
        self.follow_addresses();
        let Some(topology) = &self.topology else { return };
        let meta = ((GroupId::Meta, None), topology.meta_voters.clone());
        let mut wanted: BTreeMap<GroupKey, BTreeSet<NodeId>> = BTreeMap::from([meta]);
        let apart = topology.mode.multi_leader().is_some();
        for (shard, placement) in topology.placements() {
            for voter in &placement.voters {
                let place = apart.then(|| topology.members[voter].datacenter.clone());
                wanted.entry((GroupId::Shard(shard), place)).or_default().insert(*voter);
            }
        }
        self.groups.retain(|id, _| wanted.contains_key(id));
        for (id, voters) in wanted {
            let alive = voters.iter().any(|voter| self.is_running(*voter));
            let group = self.groups.entry(id).or_default();
            if alive || group.voters.is_empty() {
                group.voters = voters;
            }
        }
        self.elect(|_| true);
    }

    /// Gives every group whose leader is gone, or not `allowed`, a leader that is.
    fn elect(&mut self, allowed: impl Fn(NodeId) -> bool) {
        let running: BTreeSet<NodeId> =
            self.processes.values().filter(|p| p.answers).map(|process| process.id).collect();
        for group in self.groups.values_mut() {
            let fits = |node: &NodeId| {
                running.contains(node) && group.voters.contains(node) && allowed(*node)
            };
            if group.leader.as_ref().is_some_and(fits) {
                continue;
            }
            if let Some(next) = group.voters.iter().copied().find(fits) {
                group.leader = Some(next);
                group.term = group.term.next();
            }
        }
    }

    /// The meta leader writes a restarted member's new addresses into the topology.
    fn follow_addresses(&mut self) {
        let Some(topology) = &mut self.topology else { return };
        let mut changed = false;
        for (ip, process) in &self.processes {
            let Some(member) = topology.members.get_mut(&process.id) else { continue };
            let addresses = addresses(*ip);
            if member.addresses != addresses {
                member.addresses = addresses;
                changed = true;
            }
        }
        if changed {
            topology.epoch = topology.epoch.next();
        }
    }

    fn report(&self, process: &Process, ip: IpAddr) -> NodeReport {
        let member = self
            .topology
            .as_ref()
            .is_some_and(|topology| topology.members.contains_key(&process.id));
        let hosted = self.groups.iter().filter(|(id, group)| {
            group.voters.contains(&process.id) || (id.0 == GroupId::Meta && member)
        });
        let leads = |id: &GroupKey| id.0 == GroupId::Meta || !self.is_leaderless();
        let hosted = hosted.filter(|(id, _)| leads(id));
        NodeReport {
            node: process.id,
            name: process.pod.clone(),
            store: process.store,
            datacenter: process.datacenter.clone(),
            zone: None,
            version: "0.1.0".to_owned(),
            addresses: addresses(ip),
            uptime_ms: 60_000,
            topology: self.topology.clone().filter(|_| member),
            replicas: hosted.map(|(id, group)| self.replica(id, group, process.id)).collect(),
            not_serving: if member { Vec::new() } else { vec!["not a member".to_owned()] },
            corrupt: None,
            rollbacks: Vec::new(),
            engine_format: 1,
            shards: self.shards(process.id),
            hints: vec![],
        }
    }

    fn is_leaderless(&self) -> bool {
        self.topology.as_ref().is_some_and(|topology| topology.mode.leaderless().is_some())
    }

    /// Of a store without leaders: whoever is placed is filled at once, and no move takes a step.
    fn shards(&self, node: NodeId) -> Vec<ShardReport> {
        let topology = self.topology.iter().filter(|_| self.is_leaderless());
        let placed = topology
            .flat_map(Topology::placements)
            .filter(|(_, placement)| placement.voters.contains(&node));
        let whole = |(shard, _)| ShardReport {
            shard,
            standing: Standing::Whole,
            given_up: None,
            discarded: 0,
            read_repairs: 0,
            relays: Vec::new(),
            compared: Default::default(),
        };
        placed.map(whole).collect()
    }

    /// Of several leaders: every one has all of every other datacenter whose group has a leader.
    fn exchange(&self, group: GroupId, here: &Datacenter) -> ExchangeReport {
        let others = self.groups.iter().filter_map(|((id, place), other)| {
            let from = place.clone().filter(|place| *id == group && place != here)?;
            let silent = !other.leader.is_some_and(|leader| self.is_running(leader));
            Some(LinkReport { silent, ..LinkReport::caught_up(from) })
        });
        ExchangeReport::of_links(ActorId(1), others.collect())
    }

    fn replica(&self, key: &GroupKey, group: &Group, node: NodeId) -> ReplicaReport {
        let (id, place) = (key.0, key.1.as_ref());
        let at = LogIndex(100);
        let learners: BTreeSet<NodeId> = match (id, &self.topology) {
            (GroupId::Meta, Some(topology)) => {
                topology.members.keys().copied().filter(|n| !group.voters.contains(n)).collect()
            }
            (GroupId::Meta | GroupId::Shard(_), _) => BTreeSet::new(),
        };
        let leads = group.leader == Some(node);
        let others = group.voters.iter().chain(&learners).filter(|other| **other != node);
        let followers = others.filter(|_| leads).map(|other| {
            let running = self.is_running(*other);
            let follower = FollowerReport {
                matched: at,
                phase: if running { CatchUpPhase::CaughtUp } else { CatchUpPhase::Probing },
                last_answer_ms: Some(if running { 5 } else { 60_000 }),
                catch_up: Default::default(),
            };
            (*other, follower)
        });
        ReplicaReport {
            group: id,
            role: match (leads, group.voters.contains(&node)) {
                (true, _) => Role::Leader,
                (false, true) => Role::Follower,
                (false, false) => Role::Learner,
            },
            term: group.term,
            leader: group.leader,
            last: at,
            committed: at,
            applied: at,
            voters: group.voters.clone(),
            learners: learners.clone(),
            followers: followers.collect(),
            keys: 7,
            acknowledgement: Default::default(),
            log_format: Default::default(),
            log_format_held_back: None,
            failovers: Vec::new(),
            swaps: Vec::new(),
            quarantined: None,
            exchange: place.filter(|_| leads).map(|place| self.exchange(id, place)),
        }
    }
}

pub(crate) fn addresses(ip: IpAddr) -> Addresses {
    let at = |port: u16| SocketAddr::new(ip, port).to_string();
    Addresses { peer: at(7400), plain: at(6379), cluster: at(6380), admin: at(7480) }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn silence(admin: SocketAddr) -> NodeError {
    NodeError::Deadline { admin, deadline: Duration::from_secs(1) }
}

fn refusal(code: ErrorCode) -> ErrorBody {
    ErrorBody { code, message: "no".to_owned() }
}
