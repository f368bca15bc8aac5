//! Everything that a node replicates: all its groups, its log and its state store, driven by one caller.
//!
//! # Contract
//! 1. Give it an input with [`Host::step`]; `now` never goes back. Drain [`Host::pop_output`] afterwards, also after
//!    [`Host::start`].
//! 2. Disk completions come back as [`Input::Disk`]; at [`Host::deadline`] at the latest, step with [`Input::Tick`].
//! 3. A request is answered exactly once, by [`Output::Reply`] with its id (INV-54). What the answer says is true: a write
//!    that was not acknowledged says whether it may still take effect (INV-23).
//! 4. After [`Output::Fatal`] the process ends; nothing is done any more (INV-40).
//!
//! # Rooms
//! `turn` runs one group's tasks; `executing`, `reading`, `waiting`, `applying`, `expiry` and `snapshotting` are what a
//! turn does. `following`, `retiring`, `bootstrap`, `handover`, `retention` and `repair` are the node's own concerns;
//! `beating` keeps idle groups from costing anything; `leaderless` has the shards of a store without leaders, `exchanging` and `filling` what several leaders of a shard tell each other, `knowing` what sessions take from one to another. `persisting`, `requests`, `timers` and `rows` are what all share. It may not touch a clock, a socket or a thread, and
//! nothing here costs a look at every group while the groups are idle.

mod applying;
mod arriving;
mod beating;
mod bootstrap;
mod checking;
mod exchanging;
mod executing;
mod expiry;
mod filling;
mod following;
mod formats;
mod group;
mod handover;
mod history;
mod input;
mod knowing;
mod leaderless;
mod loading;
mod output;
mod pace;
mod persisting;
mod quarantine;
mod reading;
mod recovery;
mod repair;
mod report;
mod requests;
mod rest;
mod retention;
mod retiring;
mod rollback;
mod rows;
mod sessions;
mod settings;
mod shared;
mod snapshotting;
mod stored;
mod timers;
mod topology;
mod turn;
mod waiting;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::mem;

use quorate_model::planted::{self, Bug};
use quorate_model::{GroupId, NodeId, StoreId, Time, Topology, WallTime};
use quorate_replication::leaderless::PersistId;
use quorate_replication::single_leader;
use quorate_storage::disk::Disk;
use quorate_storage::log::OpenError;
use quorate_storage::state::{StateError, StateStore};

pub use beating::{Beat, BeatId, Digest, Vouched};
pub use exchanging::{Counts as ExchangeCounts, ExchangeStatus};
pub use filling::FillMessage;
pub use history::Counts;
pub use input::{Floor, Input, PeerMessage, ReadLevel, Request, RequestId};
pub use knowing::Lacking;
pub use leaderless::{Age, HeldHints, HintsStatus, ShardStatus};
pub use output::{Failure, Output, Reply};
pub use report::{Progress, ReplicaStatus, Status};
pub use rollback::Rollback;
pub use settings::Settings;
pub use snapshotting::{Held, Order, OrderId, StreamState, Streamed};
pub use stored::Stored;

use group::{Group, Task};
use leaderless::Shards;
use persisting::describe;
use requests::Stage;
use shared::Shared;
use timers::Timer;
use turn::Turn;

/// Who the host is and when it starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    pub node: NodeId,
    pub store: StoreId,
    /// Entropy for election timeouts and stream numbers; another one at every start.
    pub seed: u64,
    pub now: Time,
    pub wall: WallTime,
}

/// Why a host cannot start. A damaged log is no reason: see [`Status::damaged`].
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot open the log")]
    Log(#[from] OpenError),
    #[error("cannot read the state store")]
    State(#[from] StateError),
    #[error("cannot load the topology")]
    Topology(#[from] topology::LoadError),
    #[error("the state store holds the standing of a group that cannot be")]
    Row,
    #[error("{group}: {what}")]
    Format { group: GroupId, what: String },
}

/// Everything that a node replicates. See the module for its contract.
pub struct Host<D: Disk, S: StateStore> {
    groups: BTreeMap<GroupId, Group<S::Export>>,
    shards: Shards,
    shared: Shared<D, S>,
}

impl<D: Disk, S: StateStore> Host<D, S> {
    /// Recovers from `disk` and `state`. Outputs may be waiting afterwards.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(start: Start, disk: D, state: S, settings: Settings) -> Result<Self, StartError> {
        recovery::start(start, disk, state, settings)
    }

    /// Takes one input. `now` never goes back.
    pub fn step(&mut self, now: Time, input: Input) {
        self.gather(now, input);
        self.release();
    }

    /// As `step`, for a caller that has more inputs at hand: what this one wants sent to followers or made durable may wait
    /// for the next `step`, and goes with what those want. That must follow, with [`Input::Tick`] at the latest.
    pub fn gather(&mut self, now: Time, input: Input) {
        assert!(now >= self.shared.now, "time goes back");
        if self.shared.stopped {
            return;
        }
        self.shared.now = now;
        self.take(input);
        self.run();
    }

    pub fn pop_output(&mut self) -> Option<Output> {
        self.shared.outputs.pop_front()
    }

    /// When to step with [`Input::Tick`] at the latest. Never, once the host has stopped.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        if self.shared.stopped {
            return None;
        }
        let (timer, request) = (self.shared.timers.next(), self.shared.requests.next_deadline());
        match (timer, request) {
            (Some(timer), Some(request)) => Some(timer.min(request)),
            (Some(one), None) | (None, Some(one)) => Some(one),
            (None, None) => None,
        }
    }

    /// The newest topology that is durable on this node: what it routes by (INV-51).
    #[must_use]
    pub const fn topology(&self) -> Option<&Topology> {
        self.shared.following.announced()
    }

    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.shared.start.node
    }

    /// Since when the disk has not made durable what it was given last.
    #[must_use]
    pub fn disk_stands_still_for(&self) -> Option<std::time::Duration> {
        self.shared.persisting.busy_since().map(|since| self.shared.now.since(since))
    }

    /// The groups of which this node hosts a replica.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.groups.keys().copied()
    }

    /// The protocol's state of one of them, to look at.
    #[must_use]
    pub fn replica(&self, group: GroupId) -> Option<&single_leader::Replica> {
        self.groups.get(&group).map(|group| &group.replica)
    }

    /// The first outputs, after everything was restored.
    fn begin(&mut self) {
        if let Some(topology) = self.shared.following.announced() {
            let topology = Box::new(topology.clone());
            self.shared.outputs.push_back(Output::Topology(topology));
        }
        self.repaired_all();
        self.run();
        self.release();
    }

    /// Until there is nothing left to do at this time.
    fn run(&mut self) {
        loop {
            self.run_timers();
            self.tend_flushes();
            self.tend_handovers();
            self.run_persisted();
            if self.shared.stopped {
                return;
            }
            if !self.follow_topology() && !self.shared.leadership_changed {
                break;
            }
        }
        if mem::take(&mut self.shared.status_changed) {
            self.shared.outputs.push_back(Output::StatusChanged);
        }
    }

    /// What was proposed goes to the followers, what is to be durable to the disk, if it is free.
    fn release(&mut self) {
        while !self.shared.undispatched.is_empty() {
            for group in mem::take(&mut self.shared.undispatched) {
                self.with_group(group, |turn| {
                    turn.group.tasks.push_back(Task::Step(single_leader::Input::Dispatch));
                });
            }
            self.run();
        }
        if self.shared.stopped {
            return;
        }
        self.release_shards();
        let rests = self.shared.persisting.submit(self.shared.now);
        self.shared.timers.set(Timer::Rest, rests);
        self.send_beats();
        let stall = self.shared.settings.disk_stall;
        let now = self.shared.now;
        let stalled_at = self.shared.persisting.busy_since().map(|since| since.after(stall));
        // Once it was due, it is due again that much later.
        let due = stalled_at.map(|at| if at > now { at } else { now.after(stall) });
        self.shared.timers.set(Timer::DiskStall, due);
    }

    fn run_timers(&mut self) {
        let now = self.shared.now;
        while let Some((id, waiting)) = self.shared.requests.pop_due(now) {
            self.waits_no_longer(id, &waiting);
            let reply = match &waiting.stage {
                Stage::HandingOver { .. } => Ok(self.handed_over(&waiting.stage)),
                Stage::Knowing { floor } => Err(self.lacking(waiting.group, floor)),
                Stage::Queued(_)
                | Stage::Proposing { .. }
                | Stage::Appended { .. }
                | Stage::Confirming(_)
                | Stage::Applying { .. }
                | Stage::Acknowledging { .. }
                | Stage::Counting { .. } => waiting.timed_out(),
            };
            self.shared.outputs.push_back(Output::Reply { id, reply });
        }
        while let Some(timer) = self.shared.timers.pop_due(now) {
            self.timer_due(timer);
        }
    }

    fn timer_due(&mut self, timer: Timer) {
        match timer {
            Timer::Replica(group) if self.shards.is_hosted(group) => self.shard_due(group),
            Timer::Replica(group) => {
                self.with_group(group, |turn| {
                    turn.group.tasks.push_back(Task::Step(single_leader::Input::Tick));
                });
                self.with_group(group, |turn| turn.consider_rest());
            }
            Timer::Queue(group) => self.with_group(group, |turn| turn.wake_queue()),
            Timer::Format(group) => self.with_group(group, |turn| turn.conform_format()),
            Timer::Expiry(group) => self.with_group(group, |turn| turn.expiry_due()),
            Timer::Retire(group) => self.with_group(group, |turn| turn.retire_due()),
            Timer::Outgoing(group, to) => self.with_group(group, |turn| turn.outgoing_due(to)),
            Timer::Supply(group, to) => self.with_group(group, |turn| turn.supply_due(to)),
            Timer::Load(group, to) => self.with_group(group, |turn| turn.load_due(to)),
            Timer::Pace(group) => self.with_group(group, |turn| turn.pace_due()),
            Timer::Incoming(group) => self.with_group(group, |turn| turn.incoming_due()),
            Timer::Exchange(group) => self.with_group(group, |turn| turn.exchange_due()),
            Timer::Fill(group) => self.with_group(group, |turn| turn.fill_due()),
            Timer::Homes(group) => self.with_group(group, |turn| turn.hand_homes_over()),
            Timer::FlushAge => self.shared.flush(),
            Timer::FlushPoll => {}
            Timer::Beat => self.beat_due(),
            Timer::Check => self.check_due(),
            Timer::DiskStall => self.disk_stalled(),
            // The turn ends with what was gathered.
            Timer::Rest => {}
            Timer::Addresses => self.update_addresses(),
            Timer::Moves => self.moves_due(),
            Timer::Ages => self.ages_due(),
            Timer::Handover(request) => self.handover_due(request),
        }
    }

    /// A leader whose disk does not answer gives its leadership away.
    fn disk_stalled(&mut self) {
        let stall = self.shared.settings.disk_stall;
        let Some(since) = self.shared.persisting.busy_since() else { return };
        if self.shared.now.since(since) < stall {
            return;
        }
        let node = self.shared.node();
        let led: Vec<GroupId> = self
            .groups
            .values()
            .filter(|group| group.leadership.leader == Some(node))
            .filter(|group| !(planted::is(Bug::BeatWhileStalled) && group.repose.is_rest()))
            .map(|group| group.id)
            .collect();
        for group in led {
            self.with_group(group, |turn| {
                let stalled = single_leader::Input::DiskStalled;
                turn.group.tasks.push_back(Task::Step(stalled));
            });
        }
    }

    /// Tells every group what became durable.
    fn run_persisted(&mut self) {
        loop {
            let done = self.shared.persisting.take_done();
            if done.is_empty() {
                return;
            }
            let mut newest = BTreeMap::new();
            for (group, id) in done {
                newest.insert(group, id);
            }
            for (group, id) in newest {
                if self.shards.is_hosted(group) {
                    self.shard_persisted(group, PersistId(id.0));
                    continue;
                }
                self.with_group(group, |turn| turn.persisted(id));
            }
        }
    }

    /// Does something with a group that is hosted, then runs what follows from it.
    fn with_group(&mut self, group: GroupId, act: impl FnOnce(&mut Turn<'_, D, S>)) {
        if let Some(group) = self.groups.get_mut(&group) {
            let mut turn = Turn { group, shared: &mut self.shared };
            act(&mut turn);
            turn.run();
        }
    }

    fn completed(&mut self, completion: quorate_storage::disk::Completion) {
        if let Err(error) = self.shared.persisting.completed(self.shared.now, completion) {
            // INV-40.
            self.shared.fatal(describe(&error));
        }
    }
}
