//! A whole cluster in one thread: an ordered queue of events, from which everything happens.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use quorate_group::host::{Failure, Input, Output, PeerMessage, Reply, Request, RequestId};
use quorate_model::{GroupId, NodeId, StoreId, Time};
use quorate_replication::single_leader::Replica;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::checkers::{Checkers, log_matching};
use crate::clients::Clients;
use crate::machine::{Machine, MachineId};
use crate::network::Network;
use crate::options::Options;
use crate::workload::ClientId;

/// What happens at a moment.
#[derive(Debug)]
pub(crate) enum Event {
    Deliver {
        from: NodeId,
        to: NodeId,
        group: GroupId,
        message: Box<PeerMessage>,
    },
    Wake {
        machine: MachineId,
        incarnation: u64,
    },
    DiskCompletes {
        machine: MachineId,
        incarnation: u64,
    },
    FlushCompletes {
        machine: MachineId,
        incarnation: u64,
    },
    /// Peers of a dead process see their connections closed and refused.
    Refused {
        at: MachineId,
        peer: NodeId,
    },
    Restart {
        machine: MachineId,
    },
    ClientActs {
        client: ClientId,
    },
    /// A client's request arrives at a machine; `attempt` numbers the requests of the whole run.
    RequestArrives {
        client: ClientId,
        attempt: u64,
        machine: MachineId,
    },
    AnswerArrives {
        client: ClientId,
        attempt: u64,
        reply: Box<Result<Reply, Failure>>,
    },
    ClientGivesUp {
        client: ClientId,
        attempt: u64,
    },
    Fault,
    ChangeTopology,
    HealNetwork,
    DiskRecovers {
        machine: MachineId,
    },
    Resume {
        machine: MachineId,
    },
}

pub(crate) struct Cluster {
    pub(crate) options: Options,
    pub(crate) random: ChaCha8Rng,
    pub(crate) now: Time,
    pub(crate) store: StoreId,
    pub(crate) machines: Vec<Machine>,
    pub(crate) network: Network,
    pub(crate) clients: Clients,
    pub(crate) checkers: Checkers,
    /// Whether faults and random topology changes go on.
    pub(crate) stormy: bool,
    pub(crate) wiped: u64,
    queue: BTreeMap<(Time, u64), Event>,
    next_event: u64,
    next_request: u64,
    /// The clients that wait for requests.
    askers: BTreeMap<RequestId, (ClientId, u64)>,
    /// The newest events, for the report of a failure.
    trace: VecDeque<String>,
    traced: bool,
    pub(crate) events: u64,
}

const CLIENT_PATIENCE: Duration = Duration::from_secs(4);
/// How many events pass between two comparisons of all logs.
const LOGS_COMPARED_EVERY: u64 = 256;
const TRACE_MAX: usize = 400;

impl Cluster {
    pub(crate) fn new(seed: u64, traced: bool) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let options = Options::draw(&mut random);
        let machines =
            (0..options.machines).map(|id| Machine::new(MachineId(id), &mut random)).collect();
        Self {
            network: Network::new(options.weather.clone()),
            clients: Clients::new(options.clients, options.keys),
            store: StoreId(random.random()),
            machines,
            checkers: Checkers::default(),
            stormy: true,
            wiped: 0,
            queue: BTreeMap::new(),
            next_event: 0,
            next_request: 0,
            askers: BTreeMap::new(),
            trace: VecDeque::new(),
            traced,
            events: 0,
            now: Time::ZERO,
            random,
            options,
        }
    }

    pub(crate) fn schedule(&mut self, at: Time, event: Event) {
        self.next_event += 1;
        self.queue.insert((at.max(self.now), self.next_event), event);
    }

    pub(crate) fn schedule_in(&mut self, delay: Duration, event: Event) {
        self.schedule(self.now.after(delay), event);
    }

    /// Runs until `until`.
    ///
    /// # Errors
    /// The first violation.
    pub(crate) fn run_until(&mut self, until: Time) -> Result<(), String> {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.events += 1;
            self.happen(event)?;
            if self.events.is_multiple_of(LOGS_COMPARED_EVERY) {
                log_matching::check(&self.machines)?;
            }
        }
        self.now = self.now.max(until);
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        self.note(|| format!("{event:?}"));
        match event {
            Event::Deliver { from, to, group, message } => self.deliver(from, to, group, message),
            Event::Wake { machine, incarnation } => self.wake(machine, incarnation),
            Event::DiskCompletes { machine, incarnation } => {
                self.disk_completes(machine, incarnation)
            }
            Event::FlushCompletes { machine, incarnation } => {
                self.flush_completes(machine, incarnation)
            }
            Event::Refused { at, peer } => {
                let refuses = !self
                    .machines
                    .iter()
                    .any(|machine| machine.node == peer && machine.is_running());
                if refuses && self.machines[at.0].paused_until.is_none() {
                    self.checkers.refused(self.machines[at.0].node, peer);
                    return self.step(at, Input::PeerRefused { peer });
                }
                Ok(())
            }
            Event::Restart { machine } => self.restart(machine),
            Event::ClientActs { client } => {
                self.client_acts(client);
                Ok(())
            }
            Event::RequestArrives { client, attempt, machine } => {
                self.request_arrives(client, attempt, machine)
            }
            Event::AnswerArrives { client, attempt, reply } => {
                self.answer_arrives(client, attempt, *reply);
                Ok(())
            }
            Event::ClientGivesUp { client, attempt } => {
                if self.clients.is_waiting(client, attempt) {
                    self.clients.give_up(client);
                    self.schedule_in(Duration::from_millis(10), Event::ClientActs { client });
                }
                Ok(())
            }
            Event::Fault => self.fault(),
            Event::ChangeTopology => self.change_topology(),
            Event::HealNetwork => {
                self.network.heal();
                Ok(())
            }
            Event::DiskRecovers { machine } => {
                self.machines[machine.0].disk.stall(false);
                Ok(())
            }
            Event::Resume { machine } => {
                self.resume(machine);
                Ok(())
            }
        }
    }

    /// Gives the machine's host an input and carries out what it wants.
    pub(crate) fn step(&mut self, machine: MachineId, input: Input) -> Result<(), String> {
        let outputs = self.machines[machine.0].step(self.now, input);
        self.carry_out(machine, outputs)
    }

    fn carry_out(&mut self, machine: MachineId, outputs: Vec<Output>) -> Result<(), String> {
        let from = self.machines[machine.0].node;
        for output in outputs {
            match output {
                Output::Send { to, group, message } => {
                    self.checkers.sent(self.now, &self.machines[machine.0], to, group, &message)?;
                    self.send(from, to, group, message);
                }
                Output::Reply { id, reply } => self.reply(id, reply)?,
                Output::Topology(topology) => {
                    let incarnation = self.machines[machine.0].incarnation;
                    self.checkers.topology.adopted(from, incarnation, &topology)?;
                }
                Output::SaveRollback { number, rollback } => {
                    let group = rollback.group;
                    self.checkers.acknowledged_writes.saved(&rollback);
                    self.step(machine, Input::RollbackSaved { group, number })?;
                }
                Output::StatusChanged => {}
                Output::Fatal { reason } => {
                    self.note(|| format!("{machine:?} stops: {reason}"));

                    self.kill(machine);
                    return Ok(());
                }
            }
        }
        self.checkers.stepped(self.now, &self.machines[machine.0])?;
        self.keep_going(machine);
        Ok(())
    }

    /// Schedules what the machine waits for.
    fn keep_going(&mut self, id: MachineId) {
        let machine = &mut self.machines[id.0];
        if !machine.is_running() {
            return;
        }
        let incarnation = machine.incarnation;
        let mut events = Vec::new();
        if let Some(deadline) = machine.deadline()
            && machine.wakes_at.is_none_or(|wakes| deadline < wakes)
        {
            machine.wakes_at = Some(deadline);
            events.push((deadline, Event::Wake { machine: id, incarnation }));
        }
        if machine.disk.pending() > 0 && !machine.disk_scheduled {
            machine.disk_scheduled = true;
            let latency = self.options.disk_latency.mul_f64(self.random.random_range(0.2..2.0));
            events
                .push((self.now.after(latency), Event::DiskCompletes { machine: id, incarnation }));
        }
        if machine.state.pending_flushes() > 0 && !machine.flush_scheduled {
            machine.flush_scheduled = true;
            let latency = Duration::from_millis(self.random.random_range(1..200));
            events.push((
                self.now.after(latency),
                Event::FlushCompletes { machine: id, incarnation },
            ));
        }
        for (at, event) in events {
            self.schedule(at, event);
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, group: GroupId, message: PeerMessage) {
        for arrival in self.network.arrivals(&mut self.random, self.now, from, to) {
            let message = Box::new(message.clone());
            self.schedule(arrival, Event::Deliver { from, to, group, message });
        }
    }

    fn deliver(
        &mut self,
        from: NodeId,
        to: NodeId,
        group: GroupId,
        message: Box<PeerMessage>,
    ) -> Result<(), String> {
        let Some(machine) =
            self.machines.iter().find(|machine| machine.node == to && machine.is_running())
        else {
            return Ok(());
        };
        let id = machine.id;
        if let Some(until) = machine.paused_until {
            self.schedule(until, Event::Deliver { from, to, group, message });
            return Ok(());
        }
        let term = machine.replica(group).map(Replica::term);
        self.checkers.arrives(self.now, machine, from, group, &message);
        self.step(id, Input::Peer { from, group, message: (*message).clone() })?;
        self.checkers.delivered(self.now, &self.machines[id.0], from, group, &message, term)
    }

    fn wake(&mut self, id: MachineId, incarnation: u64) -> Result<(), String> {
        let machine = &mut self.machines[id.0];
        if machine.incarnation != incarnation || !machine.is_running() {
            return Ok(());
        }
        if let Some(until) = machine.paused_until {
            machine.wakes_at = Some(until);
            self.schedule(until, Event::Wake { machine: id, incarnation });
            return Ok(());
        }
        machine.wakes_at = None;
        self.step(id, Input::Tick)
    }

    fn disk_completes(&mut self, id: MachineId, incarnation: u64) -> Result<(), String> {
        let machine = &mut self.machines[id.0];
        if machine.incarnation != incarnation || !machine.is_running() {
            return Ok(());
        }
        if let Some(until) = machine.paused_until {
            self.schedule(until, Event::DiskCompletes { machine: id, incarnation });
            return Ok(());
        }
        machine.disk_scheduled = false;
        match machine.disk.complete_next() {
            Some(completion) => self.step(id, Input::Disk(completion)),
            // Stalled: look again later.
            None => {
                machine.disk_scheduled = true;
                self.schedule_in(
                    Duration::from_millis(50),
                    Event::DiskCompletes { machine: id, incarnation },
                );
                Ok(())
            }
        }
    }

    fn flush_completes(&mut self, id: MachineId, incarnation: u64) -> Result<(), String> {
        let machine = &mut self.machines[id.0];
        if machine.incarnation != incarnation || !machine.is_running() {
            return Ok(());
        }
        machine.flush_scheduled = false;
        machine.state.complete_flush().expect("a flush is pending");
        if machine.paused_until.is_some() {
            return Ok(());
        }
        self.step(id, Input::Tick)
    }

    pub(crate) fn restart(&mut self, id: MachineId) -> Result<(), String> {
        let machine = &mut self.machines[id.0];
        if machine.is_running() {
            return Ok(());
        }
        machine.start(self.store, self.now, &self.options, &mut self.random)?;
        self.checkers.started(self.now, &self.machines[id.0])?;
        let outputs = self.machines[id.0].outputs();
        self.carry_out(id, outputs)?;
        // Connections are made again, and with them addresses are told.
        let (node, addresses) = (self.machines[id.0].node, self.machines[id.0].member().addresses);
        for other in 0..self.machines.len() {
            let running =
                self.machines[other].is_running() && self.machines[other].paused_until.is_none();
            if running && other != id.0 && self.network.connected(node, self.machines[other].node) {
                let addresses = addresses.clone();
                self.step(MachineId(other), Input::PeerAddresses { peer: node, addresses })?;
            }
        }
        Ok(())
    }

    /// The process ends; its peers notice soon where they can.
    pub(crate) fn kill(&mut self, id: MachineId) {
        let node = self.machines[id.0].node;
        self.machines[id.0].kill(&mut self.random);
        self.after_death(id, node);
    }

    pub(crate) fn after_death(&mut self, id: MachineId, node: NodeId) {
        self.checkers.requests.died(node);
        self.machines[id.0].paused_until = None;
        for other in 0..self.machines.len() {
            if other != id.0 && self.network.connected(node, self.machines[other].node) {
                let delay = Duration::from_micros(self.random.random_range(100..50_000));
                self.schedule_in(delay, Event::Refused { at: MachineId(other), peer: node });
            }
        }
        let delay = Duration::from_millis(self.random.random_range(10..4_000));
        self.schedule_in(delay, Event::Restart { machine: id });
    }

    /// A request of the simulated operator or of a fault: nobody waits for the answer.
    pub(crate) fn ask(&mut self, machine: MachineId, request: Request) -> Result<(), String> {
        let id = self.request_id(machine);
        self.step(machine, Input::Request { id, request })
    }

    fn client_acts(&mut self, client: ClientId) {
        let machine = MachineId(self.random.random_range(0..self.machines.len()));
        let (attempt, machine) = self.clients.act(client, machine, self.now, &mut self.random);
        self.schedule_in(
            Duration::from_micros(200),
            Event::RequestArrives { client, attempt, machine },
        );
        self.schedule_in(CLIENT_PATIENCE, Event::ClientGivesUp { client, attempt });
    }

    fn request_arrives(
        &mut self,
        client: ClientId,
        attempt: u64,
        id: MachineId,
    ) -> Result<(), String> {
        let machine = &self.machines[id.0];
        if !machine.is_running() {
            let reply = Box::new(Err(Failure::NoLeader { group: GroupId::Meta }));
            self.schedule_in(
                Duration::from_millis(1),
                Event::AnswerArrives { client, attempt, reply },
            );
            return Ok(());
        }
        if let Some(until) = machine.paused_until {
            self.schedule(until, Event::RequestArrives { client, attempt, machine: id });
            return Ok(());
        }
        let shards = self.options.shards;
        // A client that gave up long ago has taken its request with it only if it never left its machine.
        let Some(request) = self.clients.request(client, attempt, shards) else { return Ok(()) };
        let request_id = self.request_id(id);
        self.askers.insert(request_id, (client, attempt));
        self.step(id, Input::Request { id: request_id, request })
    }

    fn reply(&mut self, id: RequestId, reply: Result<Reply, Failure>) -> Result<(), String> {
        self.checkers.requests.answered(id)?;
        let Some((client, attempt)) = self.askers.remove(&id) else { return Ok(()) };
        if let Ok(Reply::Value { position: Some(position), .. }) = &reply
            && let Some(shard) = self.clients.shard(client, self.options.shards)
        {
            self.checkers.acknowledged_writes.note(GroupId::Shard(shard), *position);
        }
        let reply = Box::new(reply);
        self.schedule_in(
            Duration::from_micros(200),
            Event::AnswerArrives { client, attempt, reply },
        );
        Ok(())
    }

    fn answer_arrives(&mut self, client: ClientId, attempt: u64, reply: Result<Reply, Failure>) {
        if !self.clients.is_waiting(client, attempt) {
            return;
        }
        let leader = match &reply {
            Err(Failure::NotLeader { leader: Some(leader), .. }) => self
                .machines
                .iter()
                .find(|machine| machine.node == *leader)
                .map(|machine| machine.id),
            Ok(_) | Err(_) => None,
        };
        self.clients.answer(client, self.now, leader, reply);
        let pause = Duration::from_millis(self.random.random_range(0..30));
        self.schedule_in(pause, Event::ClientActs { client });
    }

    fn request_id(&mut self, machine: MachineId) -> RequestId {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.checkers.requests.asked(id, self.machines[machine.0].node, self.now);
        id
    }

    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if self.traced {
            if self.trace.len() == TRACE_MAX {
                self.trace.pop_front();
            }
            self.trace.push_back(format!("{:>12.6} {}", self.now.0 as f64 / 1e9, what()));
        }
    }

    pub(crate) fn trace(&self) -> String {
        self.trace.iter().cloned().collect::<Vec<_>>().join("\n")
    }
}
