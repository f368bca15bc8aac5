//! Clients and the operator: requests that arrive, answers that come back, patience that ends.

use std::time::Duration;

use quorate_group::Value;
use quorate_group::host::{Failure, Input, Reply, Request, RequestId};
use quorate_model::GroupId;
use rand::RngExt;

use super::{Cluster, Event};
use crate::machine::{Machine, MachineId};
use crate::sessions::SessionId;
use crate::verdict::{By, Verdict};
use crate::workload::ClientId;

const CLIENT_PATIENCE: Duration = Duration::from_secs(4);
/// How long a request or an answer is on its way.
const CLIENT_DELAY: Duration = Duration::from_micros(200);
/// Until a client without an answer, or without a machine that takes its connection, tries again.
const CLIENT_RETRY: Duration = Duration::from_millis(10);
const REFUSED_DELAY: Duration = Duration::from_millis(1);

/// Who waits for a request.
pub(super) enum Asker {
    Client {
        client: ClientId,
        attempt: u64,
        /// What it asked about: by the time of the answer it may have gone on to something else.
        group: GroupId,
    },
    Session {
        session: (SessionId, u64),
        machine: MachineId,
        group: GroupId,
    },
}

impl Cluster {
    /// A request of the simulated operator or of a fault: nobody waits for the answer.
    pub(crate) fn ask(&mut self, machine: MachineId, request: Request) -> Verdict {
        let id = self.request_id(machine);
        self.step(machine, Input::Request { id, request })
    }

    pub(super) fn client_acts(&mut self, client: ClientId) {
        if self.quiet {
            return;
        }
        let place = self.clients.workload.place(client);
        let there = |one: &&Machine| place.as_ref().is_none_or(|place| one.datacenter() == place);
        let among: Vec<MachineId> =
            self.machines.iter().filter(there).map(|machine| machine.id).collect();
        let (attempt, machine) = self.clients.act(client, &among, self.now, &mut self.random);
        self.schedule_in(CLIENT_DELAY, Event::RequestArrives { client, attempt, machine });
        self.schedule_in(CLIENT_PATIENCE, Event::ClientGivesUp { client, attempt });
    }

    pub(super) fn request_arrives(
        &mut self,
        client: ClientId,
        attempt: u64,
        id: MachineId,
    ) -> Verdict {
        let machine = &self.machines[id.0];
        if !machine.is_running() {
            let reply = Box::new(Err(Failure::NoLeader { group: GroupId::Meta }));
            self.schedule_in(REFUSED_DELAY, Event::AnswerArrives { client, attempt, reply });
            return Ok(());
        }
        if let Some(until) = machine.paused_until {
            self.schedule(until, Event::RequestArrives { client, attempt, machine: id });
            return Ok(());
        }
        let shards = self.options.shards;
        // A client that gave up long ago has taken its request with it only if it never left its machine.
        let place = self.machines[id.0].datacenter().clone();
        let Some(request) = self.clients.request(client, attempt, place, shards) else {
            return Ok(());
        };
        let request_id = self.request_id(id);
        let group = self.clients.shard(client, shards).map_or(GroupId::Meta, GroupId::Shard);
        self.askers.insert(request_id, Asker::Client { client, attempt, group });
        self.step(id, Input::Request { id: request_id, request })
    }

    pub(super) fn reply(
        &mut self,
        machine: MachineId,
        id: RequestId,
        reply: Result<Reply, Failure>,
    ) -> Verdict {
        self.checkers.requests.answered(id).by("requests")?;
        let Some(asker) = self.askers.remove(&id) else { return Ok(()) };
        let (Asker::Client { group, .. } | Asker::Session { group, .. }) = &asker;
        let group = *group;
        let machine = &self.machines[machine.0];
        if let Ok(Reply::Value { position, value }) = &reply
            && let Some(replica) = machine.replica(group)
        {
            match (position, value) {
                (Some(position), _) => {
                    let alone = position.index > replica.committed();
                    let alone = alone.then_some(machine.node);
                    let group = machine.seen_as(group);
                    self.checkers.acknowledged_writes.note(group, *position, alone);
                }
                // Rows of a snapshot are committed, and the protocol hears of it when they are durable.
                (None, Value::Bulk(_)) if machine.is_installing(group) => {}
                (None, Value::Bulk(text)) => {
                    let rows = || machine.applied(group);
                    let seen = self.checkers.visibility.read(
                        machine.node,
                        machine.seen_as(group),
                        replica,
                        text,
                        rows,
                    );
                    seen.by("visibility")?;
                }
                (None, _) => {}
            }
        }
        let (client, attempt) = match asker {
            Asker::Client { client, attempt, .. } => (client, attempt),
            Asker::Session { session, machine, .. } => {
                self.session_replied(session, machine, reply);
                return Ok(());
            }
        };
        let reply = Box::new(reply);
        self.schedule_in(CLIENT_DELAY, Event::AnswerArrives { client, attempt, reply });
        Ok(())
    }

    pub(super) fn answer_arrives(
        &mut self,
        client: ClientId,
        attempt: u64,
        reply: Result<Reply, Failure>,
    ) {
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
        let pause = self.options.think_max.mul_f64(self.random.random_range(0.0..1.0));
        self.schedule_in(pause, Event::ClientActs { client });
    }

    pub(super) fn client_gives_up(&mut self, client: ClientId, attempt: u64) {
        if self.clients.is_waiting(client, attempt) {
            self.clients.give_up(client);
            self.schedule_in(CLIENT_RETRY, Event::ClientActs { client });
        }
    }

    pub(crate) fn ask_for_session(
        &mut self,
        session: (SessionId, u64),
        machine: MachineId,
        request: Request,
    ) -> Verdict {
        let id = self.request_id(machine);
        let (Request::Execute { shard, .. }
        | Request::ReadIndex { shard }
        | Request::ReadAt { shard, .. }) = &request
        else {
            panic!("sessions do not ask for {request:?}")
        };
        let group = GroupId::Shard(*shard);
        self.askers.insert(id, Asker::Session { session, machine, group });
        self.step(machine, Input::Request { id, request })
    }

    fn request_id(&mut self, machine: MachineId) -> RequestId {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.checkers.requests.asked(id, self.machines[machine.0].node, self.now);
        id
    }
}
