//! A whole cluster in one thread: an ordered queue of events, from which everything happens.
//!
//! This file keeps the queue and says who does what; machines, messages and disks are `running`, clients `asking`.

mod asking;
mod running;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use quorate_group::host::{Failure, PeerMessage, Reply, RequestId, Rollback};
use quorate_model::{GroupId, Leaderless, Mode, NodeId, StoreId, Time, Topology};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::checkers::{Checkers, log_matching};
use crate::clients::Clients;
use crate::kind::Kind;
use crate::machine::{Machine, MachineId};
use crate::nemesis::Storm;
use crate::network::Network;
use crate::options::Options;
use crate::sessions::{Happening, SessionId, Sessions};
use crate::verdict::{By, Verdict};
use crate::workload::{ClientId, LeadersEverywhere, Registers, WithoutLeaders, Workload};

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
    RollbackSaved {
        machine: MachineId,
        incarnation: u64,
        number: u64,
        rollback: Box<Rollback>,
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
    ChangeTopology,
    /// A fault begins.
    Fault,
    Session(SessionId, Happening),
    /// A fault goes on or ends.
    Storm(Storm),
}

pub(crate) struct Cluster {
    pub(crate) options: Options,
    pub(crate) random: ChaCha8Rng,
    pub(crate) now: Time,
    pub(crate) store: StoreId,
    pub(crate) machines: Vec<Machine>,
    pub(crate) network: Network,
    pub(crate) clients: Clients,
    pub(crate) sessions: Sessions,
    pub(crate) checkers: Checkers,
    /// Whether faults and random topology changes go on.
    pub(crate) stormy: bool,
    /// Clients begin nothing new.
    pub(crate) quiet: bool,
    pub(crate) wiped: u64,
    /// Whether a replica was lost or damaged.
    pub(crate) replicas_lost: bool,
    /// What the operator saw when it acted last.
    pub(crate) outdated: Option<Topology>,
    /// Whom nothing reaches any more once it has told a successor to stand.
    pub(crate) deaf_at_handover: Option<MachineId>,
    /// Whoever is given a part of another datacenter's cells next is killed.
    pub(crate) kills_filling: bool,
    /// Whom no message of the meta group reaches.
    pub(crate) lagging: BTreeSet<MachineId>,
    queue: BTreeMap<(Time, u64), Event>,
    next_event: u64,
    next_request: u64,
    askers: BTreeMap<RequestId, asking::Asker>,
    /// Every fault, start and stop, for the report of a failure.
    marks: Vec<String>,
    /// The newest events, for the report of a failure.
    trace: VecDeque<String>,
    traced: bool,
    pub(crate) events: u64,
}

/// How many events pass between two comparisons of all logs.
const LOGS_COMPARED_EVERY: u64 = 256;
const TRACE_MAX: usize = 10_000;

impl Cluster {
    pub(crate) fn new(kind: Kind, seed: u64, traced: bool) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let options = Options::draw(kind, &mut random);
        let workload: Box<dyn Workload> = match &options.mode {
            Mode::SingleLeader => Box::new(Registers::new(options.keys)),
            Mode::MultiLeader(_) => {
                Box::new(LeadersEverywhere::new(&options, seed.is_multiple_of(2)))
            }
            Mode::Leaderless(Leaderless { policy, .. }) => {
                let replicas = options.in_each.unwrap_or(options.replicas);
                let sessions = seed.is_multiple_of(3);
                Box::new(WithoutLeaders::new(options.keys, policy, replicas, sessions))
            }
        };
        let machines = (0..options.machines)
            .map(|id| {
                let datacenters = options.in_each.map(|_| options.datacenters);
                let machine =
                    Machine::new(MachineId(id), datacenters, options.drift_ppm_max, &mut random);
                machine.of(&options.mode)
            })
            .collect();
        Self {
            network: Network::new(options.weather.clone()),
            clients: Clients::new(options.clients, workload, options.astray),
            // They never rest: an hour of them is too much.
            sessions: Sessions::new(seed, options.absence.is_none() && kind == Kind::SingleLeader),
            store: StoreId(random.random()),
            machines,
            checkers: Checkers::default(),
            stormy: true,
            quiet: false,
            wiped: 0,
            replicas_lost: false,
            outdated: None,
            deaf_at_handover: None,
            kills_filling: false,
            lagging: BTreeSet::new(),
            queue: BTreeMap::new(),
            next_event: 0,
            next_request: 0,
            askers: BTreeMap::new(),
            marks: Vec::new(),
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
    pub(crate) fn run_until(&mut self, until: Time) -> Verdict {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.events += 1;
            self.happen(event)?;
            if self.events.is_multiple_of(LOGS_COMPARED_EVERY) {
                log_matching::check(&self.machines).by("log_matching")?;
            }
        }
        self.now = self.now.max(until);
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Verdict {
        if let Event::Storm(storm) = &event {
            self.mark(|| format!("{storm:?}"));
        } else {
            self.note(|| format!("{event:?}"));
        }
        match event {
            Event::Deliver { from, to, group, message } => self.deliver(from, to, group, message),
            Event::Wake { machine, incarnation } => self.wake(machine, incarnation),
            Event::DiskCompletes { machine, incarnation } => {
                self.disk_completes(machine, incarnation)
            }
            Event::FlushCompletes { machine, incarnation } => {
                self.flush_completes(machine, incarnation)
            }
            Event::RollbackSaved { machine, incarnation, number, rollback } => {
                self.rollback_saved(machine, incarnation, number, rollback)
            }
            Event::Refused { at, peer } => self.refused(at, peer),
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
                self.client_gives_up(client, attempt);
                Ok(())
            }
            Event::Session(session, happening) => self.session(session, happening),
            Event::ChangeTopology => self.change_topology(),
            Event::Fault => self.fault(),
            Event::Storm(storm) => self.storm(storm),
        }
    }

    pub(crate) const fn is_traced(&self) -> bool {
        self.traced
    }

    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if self.traced {
            if self.trace.len() == TRACE_MAX {
                self.trace.pop_front();
            }
            self.trace.push_back(format!("{:>12.6} {}", self.now.0 as f64 / 1e9, what()));
        }
    }

    /// A note that is never given up for newer ones.
    pub(crate) fn mark(&mut self, what: impl FnOnce() -> String) {
        if self.traced {
            let line = format!("{:>12.6} {}", self.now.0 as f64 / 1e9, what());
            self.marks.push(line.clone());
            self.note(|| line);
        }
    }

    pub(crate) fn trace(&self) -> String {
        let marks = self.marks.iter().map(|mark| format!("mark {mark}"));
        marks.chain(self.trace.iter().cloned()).collect::<Vec<_>>().join("\n")
    }
}
