//! Where simulated clients send their calls: to the leader they believe in, or to anybody.

use std::collections::BTreeMap;

use quorate_group::host::{Failure, Reply, Request};
use quorate_model::{Datacenter, ShardId, Time};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::machine::MachineId;
use crate::options::pick;
use crate::workload::{Attempt, ClientId, Workload};

pub(crate) struct Clients {
    pub(crate) workload: Box<dyn Workload>,
    clients: BTreeMap<ClientId, Client>,
    next_attempt: u64,
    astray: u32,
    /// Every second client reads here alone until then: its connection stands, whoever leads meanwhile.
    faithful: Option<(MachineId, Time)>,
}

#[derive(Default)]
struct Client {
    /// The request that it waits for.
    waiting: Option<u64>,
    /// Its call goes on after an attempt without effect.
    goes_on: bool,
    leader: Option<MachineId>,
}

impl Clients {
    pub(crate) fn new(clients: usize, workload: Box<dyn Workload>, astray: u32) -> Self {
        let clients = (0..clients).map(|id| (ClientId(id), Client::default())).collect();
        Self { workload, clients, next_attempt: 0, astray, faithful: None }
    }

    pub(crate) fn ids(&self) -> Vec<ClientId> {
        self.clients.keys().copied().collect()
    }

    /// Every second client goes on reading at this machine.
    pub(crate) fn stay_at(&mut self, machine: MachineId, until: Time) {
        self.faithful = Some((machine, until));
    }

    /// The client begins a call or goes on with one, at one of these; answers the attempt's number and where it goes.
    pub(crate) fn act(
        &mut self,
        id: ClientId,
        among: &[MachineId],
        now: Time,
        random: &mut ChaCha8Rng,
    ) -> (u64, MachineId) {
        let anybody = *pick(random, among);
        self.next_attempt += 1;
        let client = self.clients.get_mut(&id).expect("a client of this run");
        let stays_at = self.faithful.filter(|(_, until)| id.0 % 2 == 1 && now < *until);
        match (client.goes_on, stays_at) {
            (true, _) => {}
            (false, None) => self.workload.begin(id, now, random),
            (false, Some(_)) => self.workload.begin_read(id, now, random),
        }
        client.goes_on = false;
        client.waiting = Some(self.next_attempt);
        let leader = client.leader.filter(|leader| among.contains(leader));
        let machine = match (leader, stays_at) {
            (_, Some((machine, _))) if self.workload.reads(id) => machine,
            (Some(leader), _) if !random.random_ratio(self.astray, 10) => leader,
            (Some(_) | None, _) => anybody,
        };
        (self.next_attempt, machine)
    }

    pub(crate) fn is_waiting(&self, id: ClientId, attempt: u64) -> bool {
        self.clients[&id].waiting == Some(attempt)
    }

    /// What the attempt asks for in that datacenter; `None` when the client has given up.
    pub(crate) fn request(
        &mut self,
        id: ClientId,
        attempt: u64,
        place: Datacenter,
        shards: u16,
    ) -> Option<Request> {
        if !self.is_waiting(id, attempt) {
            return None;
        }
        self.workload.arrives(id, place);
        self.workload.request(id, shards)
    }

    /// The shard that the client's call is about.
    pub(crate) fn shard(&self, id: ClientId, shards: u16) -> Option<ShardId> {
        self.workload.shard(id, shards)
    }

    pub(crate) fn answer(
        &mut self,
        id: ClientId,
        now: Time,
        leader: Option<MachineId>,
        reply: Result<Reply, Failure>,
    ) {
        let done = reply.is_ok();
        let attempt = self.workload.answer(id, now, reply);
        let client = self.clients.get_mut(&id).expect("a client of this run");
        client.waiting = None;
        client.goes_on = attempt == Attempt::Again;
        if !done {
            client.leader = leader;
        }
    }

    /// From now on every key is read once more, and nobody waits for what was asked before. Answers how many reads that takes.
    pub(crate) fn read_all(&mut self, now: Time) -> u64 {
        for client in self.clients.values_mut() {
            (client.waiting, client.goes_on) = (None, false);
        }
        self.workload.read_all(now)
    }

    pub(crate) fn give_up(&mut self, id: ClientId) {
        let attempt = self.workload.give_up(id);
        let client = self.clients.get_mut(&id).expect("a client of this run");
        client.waiting = None;
        client.goes_on = attempt == Attempt::Again;
        client.leader = None;
    }
}
