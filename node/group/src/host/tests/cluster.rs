//! Hosts on simulated disks and state stores, joined by a network with delays: one thread, one seed, one clock.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_model::{
    Addresses, Datacenter, Epoch, GroupId, LogFormat, Member, Mode, NodeId, Policy, Position,
    ShardId, ShardPlacement, StoreId, Time, Topology, WallTime, Zone,
};
use quorate_storage::disk::simulated::Simulated;
use quorate_storage::state::Rows;
use quorate_storage::state::model::Store;

use super::super::report::replica_status;
use super::super::{
    Failure, Host, Input, Output, PeerMessage, ReadLevel, ReplicaStatus, Reply, Request, RequestId,
    Rollback, Settings, Start,
};
use crate::{Expiry, Operation, Read, SetCondition, Value, Write};

pub(super) const STORE: StoreId = StoreId(77);
pub(super) const SHARD: ShardId = ShardId(0);
/// How long anything that a test waits for may take.
pub(super) const LIMIT: Duration = Duration::from_secs(30);
const IO: Duration = Duration::from_micros(500);
const WALL_AT_START: u64 = 1_700_000_000_000;

thread_local! {
    /// The log format that the stores of this thread's test declare at first.
    static FORMAT: Cell<LogFormat> = const { Cell::new(LogFormat::Logical) };
}

/// Runs a test with another log format.
pub(super) fn under(format: LogFormat, test: fn()) {
    FORMAT.set(format);
    test();
}

pub(super) type TestHost = Host<Simulated, Store>;

pub(super) struct Cluster {
    pub(super) now: Time,
    pub(super) settings: Settings,
    pub(super) machines: BTreeMap<NodeId, Machine>,
    /// One-way: from, to.
    pub(super) cut: BTreeSet<(NodeId, NodeId)>,
    /// Lost messages, of 1000.
    pub(super) loss: u64,
    /// How far each node's wall clock is off, in milliseconds.
    pub(super) skew: BTreeMap<NodeId, i64>,
    pub(super) replies: BTreeMap<RequestId, Result<Reply, Failure>>,
    /// Every message of snapshots that was sent.
    pub(super) chunks: u64,
    pub(super) chunk_bytes: u64,
    /// Of entries of the shard that were sent.
    pub(super) entry_bytes: u64,
    /// Who sent the newest chunk to whom, and every stream that there was.
    pub(super) sources: BTreeMap<NodeId, NodeId>,
    pub(super) streams: BTreeSet<u64>,
    /// The newest first chunk of a stream.
    pub(super) head: Option<PeerMessage>,
    /// Falsifies one chunk once there were so many.
    pub(super) spoil: Option<u64>,
    /// Lost messages to one node, of 1000.
    pub(super) loss_to: BTreeMap<NodeId, u64>,
    network: BTreeMap<(Time, u64), Packet>,
    numbers: u64,
    dice: u64,
}

pub(super) struct Machine {
    pub(super) host: Option<TestHost>,
    pub(super) disk: Simulated,
    pub(super) state: Store,
    pub(super) topology: Option<Topology>,
    pub(super) fatal: Option<String>,
    io_at: Option<Time>,
    pub(super) rollbacks: Vec<Rollback>,
    /// Saves whose completion is yet to be told.
    saved: Vec<(GroupId, u64)>,
}

struct Packet {
    from: NodeId,
    to: NodeId,
    group: GroupId,
    message: PeerMessage,
}

pub(super) const fn node(number: u128) -> NodeId {
    NodeId(number)
}

pub(super) fn member(id: NodeId) -> Member {
    let at = |port: u16| format!("10.0.0.{}:{port}", id.0);
    Member {
        id,
        name: format!("node-{}", id.0),
        datacenter: Datacenter::new("dc").unwrap(),
        zone: Zone::new("zone").unwrap(),
        addresses: Addresses { peer: at(1), plain: at(2), cluster: at(3), admin: at(4) },
    }
}

pub(super) fn topology(members: &[u128], shards: usize, voters: &[u128]) -> Topology {
    let voters: BTreeSet<NodeId> = voters.iter().copied().map(NodeId).collect();
    let placement =
        ShardPlacement { genesis: voters.clone(), voters: voters.clone(), preferred_leader: None };
    Topology {
        store: STORE,
        epoch: Epoch(1),
        members: members.iter().map(|id| (NodeId(*id), member(NodeId(*id)))).collect(),
        meta_voters: voters,
        shards: vec![placement; shards],
        policy: Policy { log_format: FORMAT.get(), ..Policy::default() },
        mode: Mode::SingleLeader,
    }
}

pub(super) fn set(key: &str, value: &str) -> Operation {
    Operation::Write(Write::Set {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        condition: SetCondition::Always,
        expiry: Expiry::Never,
        get: false,
    })
}

pub(super) fn get(key: &str) -> Operation {
    Operation::Read(Read::Get { key: Bytes::copy_from_slice(key.as_bytes()) })
}

pub(super) fn bulk(value: &str) -> Value {
    Value::Bulk(Bytes::copy_from_slice(value.as_bytes()))
}

impl Cluster {
    pub(super) fn new(seed: u64, nodes: u128) -> Self {
        let mut cluster = Self {
            now: Time(1_000_000),
            settings: Settings::default(),
            machines: BTreeMap::new(),
            cut: BTreeSet::new(),
            loss: 0,
            skew: BTreeMap::new(),
            replies: BTreeMap::new(),
            chunks: 0,
            chunk_bytes: 0,
            entry_bytes: 0,
            sources: BTreeMap::new(),
            streams: BTreeSet::new(),
            head: None,
            spoil: None,
            loss_to: BTreeMap::new(),
            network: BTreeMap::new(),
            numbers: 0,
            dice: seed,
        };
        for id in 1..=nodes {
            cluster.add(node(id));
        }
        cluster
    }

    /// A running store: every node has the topology, every shard a leader.
    pub(super) fn bootstrapped(seed: u64, nodes: u128, shards: usize) -> Self {
        let mut cluster = Self::new(seed, nodes);
        let members: Vec<u128> = (1..=nodes).collect();
        cluster.bootstrap(topology(&members, shards, &members));
        cluster
    }

    pub(super) fn bootstrap(&mut self, topology: Topology) {
        let shards = topology.shard_count();
        let request = Request::Bootstrap { topology: Box::new(topology) };
        assert_eq!(self.ask(node(1), request), Ok(Reply::Proposed { epoch: Epoch(1) }));
        for shard in (0..shards).map(ShardId) {
            self.await_leader(GroupId::Shard(shard));
        }
        self.until("everybody has the topology", |cluster| {
            cluster.machines.values().all(|machine| machine.topology.is_some())
        });
    }

    pub(super) fn add(&mut self, id: NodeId) {
        let machine = Machine {
            host: None,
            disk: Simulated::new(),
            state: Store::new(),
            topology: None,
            fatal: None,
            io_at: None,
            rollbacks: Vec::new(),
            saved: Vec::new(),
        };
        self.machines.insert(id, machine);
        self.start(id);
    }

    pub(super) fn start(&mut self, id: NodeId) {
        let (seed, wall) = (self.roll(), self.wall_of(id));
        let start = Start { node: id, store: STORE, seed, now: self.now, wall };
        let settings = self.settings.clone();
        let machine = self.machines.get_mut(&id).unwrap();
        assert!(machine.host.is_none());
        let host = Host::start(start, machine.disk.clone(), machine.state.clone(), settings);
        machine.host = Some(host.unwrap());
        self.drain(id);
    }

    /// Power loss: what was not made durable may be gone.
    pub(super) fn crash(&mut self, id: NodeId) {
        let seed = self.roll();
        let machine = self.machines.get_mut(&id).unwrap();
        machine.host = None;
        machine.topology = None;
        machine.io_at = None;
        machine.disk.crash(seed);
        machine.state.crash();
    }

    pub(super) fn restart(&mut self, id: NodeId) {
        self.crash(id);
        self.start(id);
    }

    pub(super) fn isolate(&mut self, id: NodeId) {
        for other in self.machines.keys().copied().collect::<Vec<_>>() {
            self.cut.insert((id, other));
            self.cut.insert((other, id));
        }
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(super) fn host(&self, id: NodeId) -> &TestHost {
        self.machines[&id].host.as_ref().unwrap()
    }

    pub(super) fn replica(&self, id: NodeId, group: GroupId) -> Option<ReplicaStatus> {
        let host = self.machines.get(&id)?.host.as_ref()?;
        host.groups
            .get(&group)
            .map(|group| replica_status(group, host.topology().map(|one| &one.policy), self.now))
    }

    /// Who leads and may evaluate, by the newest term.
    pub(super) fn leader(&self, group: GroupId) -> Option<NodeId> {
        self.machines
            .keys()
            .filter_map(|id| Some((*id, self.replica(*id, group)?)))
            .filter(|(_, replica)| replica.leading)
            .max_by_key(|(_, replica)| replica.term)
            .map(|(id, _)| id)
    }

    pub(super) fn await_leader(&mut self, group: GroupId) -> NodeId {
        self.until("a leader", |cluster| cluster.leader(group).is_some());
        self.leader(group).unwrap()
    }

    pub(super) fn await_other_leader(&mut self, group: GroupId, not: NodeId) -> NodeId {
        self.until("another leader", |cluster| {
            cluster.leader(group).is_some_and(|leader| leader != not)
        });
        self.leader(group).unwrap()
    }

    pub(super) fn step(&mut self, id: NodeId, input: Input) {
        let (now, wall) = (self.now, self.wall_of(id));
        if let Some(host) = self.machines.get_mut(&id).and_then(|machine| machine.host.as_mut()) {
            host.step(now, Input::Wall(wall));
            host.step(now, input);
            self.drain(id);
        }
    }

    /// A read met a row that is wrong.
    pub(super) fn quarantine(&mut self, id: NodeId, group: GroupId) {
        let host = self.machines.get_mut(&id).unwrap().host.as_mut().unwrap();
        host.with_group(group, |turn| turn.quarantine("a row is wrong".to_owned()));
        self.drain(id);
    }

    pub(super) fn request(&mut self, id: NodeId, request: Request) -> RequestId {
        self.numbers += 1;
        let request_id = RequestId(self.numbers);
        self.step(id, Input::Request { id: request_id, request });
        request_id
    }

    pub(super) fn reply(&mut self, id: RequestId) -> Result<Reply, Failure> {
        self.until("a reply", |cluster| cluster.replies.contains_key(&id));
        self.replies[&id].clone()
    }

    pub(super) fn ask(&mut self, id: NodeId, request: Request) -> Result<Reply, Failure> {
        let id = self.request(id, request);
        self.reply(id)
    }

    pub(super) fn execute(
        &mut self,
        id: NodeId,
        shard: ShardId,
        operation: Operation,
        level: ReadLevel,
    ) -> Result<Reply, Failure> {
        self.ask(id, Request::Execute { shard, operation, level })
    }

    /// Through whoever leads, until it is answered.
    pub(super) fn run(
        &mut self,
        shard: ShardId,
        operation: &Operation,
    ) -> (Value, Option<Position>) {
        let deadline = self.now.after(LIMIT);
        loop {
            assert!(self.now < deadline, "{operation:?} is never done\n{}", self.describe());
            let leader = self.await_leader(GroupId::Shard(shard));
            match self.execute(leader, shard, operation.clone(), ReadLevel::Linearizable) {
                Ok(Reply::Value { value, position }) => return (value, position),
                Ok(_) => panic!("{operation:?} is answered by a value"),
                Err(_) => self.run_for(Duration::from_millis(20)),
            }
        }
    }

    pub(super) fn write(&mut self, key: &str, value: &str) -> Position {
        let (answer, position) = self.run(SHARD, &set(key, value));
        assert_eq!(answer, Value::Ok);
        position.unwrap()
    }

    pub(super) fn read(&mut self, key: &str) -> Value {
        self.run(SHARD, &get(key)).0
    }

    pub(super) fn read_local(&mut self, id: NodeId, key: &str) -> Result<Value, Failure> {
        let reply = self.execute(id, SHARD, get(key), ReadLevel::Local)?;
        let Reply::Value { value, .. } = reply else { panic!("{reply:?}") };
        Ok(value)
    }

    /// Compare-and-set through the meta leader.
    pub(super) fn change(&mut self, change: impl Fn(&mut Topology)) {
        let meta = self.await_leader(GroupId::Meta);
        let Ok(Reply::Topology(mut topology)) = self.ask(meta, Request::ReadTopology) else {
            panic!("the meta leader answers")
        };
        let expected = topology.epoch;
        change(&mut topology);
        topology.epoch = expected.next();
        let request = Request::ProposeTopology { expected, topology };
        let epoch = expected.next();
        assert_eq!(self.ask(meta, request), Ok(Reply::Proposed { epoch }));
    }

    pub(super) fn run_for(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while self.event(end) {}
    }

    /// # Panics
    /// When it does not come true in time.
    pub(super) fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = self.now.after(LIMIT);
        while !holds(self) {
            assert!(self.event(end), "never: {what}\n{}", self.describe());
        }
    }

    pub(super) fn wall(&self) -> WallTime {
        WallTime(WALL_AT_START + self.now.0 / 1_000_000)
    }

    fn wall_of(&self, id: NodeId) -> WallTime {
        let skew = self.skew.get(&id).copied().unwrap_or(0);
        WallTime(self.wall().0.checked_add_signed(skew).unwrap())
    }

    /// What a node's shard holds, without where it stands there.
    pub(super) fn rows(&self, id: NodeId) -> Vec<(Bytes, Bytes)> {
        let prefix = self.host(id).groups[&GroupId::Shard(SHARD)].prefix();
        let state = &self.machines[&id].state;
        let rows = state.range(&prefix.row(&[]), &prefix.end(), usize::MAX).unwrap();
        rows.into_iter().map(|(row, value)| (row.slice(prefix.as_slice().len()..), value)).collect()
    }

    /// A row as the state store has it, by the end of its name.
    pub(super) fn stored_row(&self, id: NodeId, key: &str) -> Bytes {
        let prefix = self.host(id).groups[&GroupId::Shard(SHARD)].prefix();
        let mut rows = self.rows(id).into_iter().map(|(row, _)| row);
        prefix.row(&rows.find(|row| row.ends_with(key.as_bytes())).unwrap())
    }

    /// Until everybody has applied everything.
    pub(super) fn settle(&mut self) {
        self.until("everybody has applied everything", |cluster| {
            let group = GroupId::Shard(SHARD);
            let replicas: Vec<_> =
                cluster.machines.keys().filter_map(|id| cluster.replica(*id, group)).collect();
            let last = replicas.iter().map(|replica| replica.last).max();
            replicas.iter().all(|replica| Some(replica.applied) == last)
        });
    }

    pub(super) fn await_format(&mut self, format: LogFormat) {
        self.until("every replica has the format", |cluster| {
            let group = GroupId::Shard(SHARD);
            cluster.machines.keys().all(|id| {
                cluster.replica(*id, group).is_some_and(|replica| replica.log_format == format)
            })
        });
    }

    pub(super) fn describe(&self) -> String {
        let mut text = format!("at {:?}\n", self.now);
        for (id, machine) in &self.machines {
            match &machine.host {
                None => text += &format!("{id}: down\n"),
                Some(host) => {
                    let status = host.status();
                    text +=
                        &format!("{id}: damaged {:?} fatal {:?}\n", status.damaged, machine.fatal);
                    for replica in status.replicas {
                        text += &format!("  {replica:?}\n");
                    }
                }
            }
        }
        text
    }

    /// Lets the next thing happen; false when there is none before `end`, which it then is.
    fn event(&mut self, end: Time) -> bool {
        let packet = self.network.keys().next().map(|(at, _)| *at);
        let mut next = packet;
        let mut whose = None;
        for (id, machine) in &self.machines {
            let Some(host) = &machine.host else { continue };
            for at in [host.deadline(), machine.io_at].into_iter().flatten() {
                if next.is_none_or(|next| at < next) {
                    next = Some(at);
                    whose = Some(*id);
                }
            }
        }
        let Some(at) = next.filter(|at| *at <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(at);
        match whose {
            None => self.deliver(),
            Some(id) => {
                if self.machines[&id].io_at.is_some_and(|io| io <= self.now) {
                    self.complete_io(id);
                } else {
                    self.step(id, Input::Tick);
                }
            }
        }
        true
    }

    fn deliver(&mut self) {
        let Some((_, packet)) = self.network.pop_first() else { return };
        if self.cut.contains(&(packet.from, packet.to)) || self.roll() % 1000 < self.loss {
            return;
        }
        let Packet { from, to, group, message } = packet;
        let lost = self.loss_to.get(&to).copied().unwrap_or(0);
        if lost > 0 && self.roll() % 1000 < lost {
            return;
        }
        self.step(to, Input::Peer { from, group, message });
    }

    fn complete_io(&mut self, id: NodeId) {
        let machine = self.machines.get_mut(&id).unwrap();
        machine.io_at = None;
        let saved = std::mem::take(&mut machine.saved);
        let completion = machine.disk.complete_next();
        let _flushed = machine.state.complete_flush();
        for (group, number) in saved {
            self.step(id, Input::RollbackSaved { group, number });
        }
        match completion {
            Some(completion) => self.step(id, Input::Disk(completion)),
            None => self.step(id, Input::Tick),
        }
    }

    fn drain(&mut self, id: NodeId) {
        let Some(machine) = self.machines.get_mut(&id) else { return };
        let Some(host) = machine.host.as_mut() else { return };
        let mut outputs = Vec::new();
        while let Some(output) = host.pop_output() {
            outputs.push(output);
        }
        for output in outputs {
            self.carry_out(id, output);
        }
        let Some(machine) = self.machines.get_mut(&id) else { return };
        let busy = machine.disk.pending() > 0
            || machine.state.pending_flushes() > 0
            || !machine.saved.is_empty();
        if busy && machine.io_at.is_none() {
            machine.io_at = Some(self.now.after(IO));
        }
    }

    fn carry_out(&mut self, id: NodeId, output: Output) {
        match output {
            Output::Send { to, group, mut message } => {
                if group == GroupId::Shard(SHARD) {
                    self.see(id, to, &mut message);
                }
                let delay = Duration::from_micros(500 + self.roll() % 1000);
                self.numbers += 1;
                let at = (self.now.after(delay), self.numbers);
                self.network.insert(at, Packet { from: id, to, group, message });
            }
            Output::Reply { id, reply } => {
                let before = self.replies.insert(id, reply);
                // INV-54.
                assert!(before.is_none(), "{id:?} is answered twice");
            }
            Output::Topology(topology) => {
                let machine = self.machines.get_mut(&id).unwrap();
                // INV-51.
                assert!(
                    machine.topology.as_ref().is_none_or(|before| before.epoch < topology.epoch)
                );
                machine.topology = Some(*topology);
            }
            Output::SaveRollback { number, rollback } => {
                let group = rollback.group;
                let machine = self.machines.get_mut(&id).unwrap();
                machine.rollbacks.push(*rollback);
                machine.saved.push((group, number));
            }
            Output::StatusChanged => {}
            Output::Fatal { reason } => {
                self.machines.get_mut(&id).unwrap().fatal = Some(reason);
            }
        }
    }

    pub(super) fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.dice;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
