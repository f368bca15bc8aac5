//! One simulated machine: a host that runs or not, over a disk, a state store and clocks that outlive it.

use std::time::Duration;

use bytes::Bytes;
use quorate_group::host::{self, Host, Input, Output, Start, Status, Vouched};
use quorate_group::keyspace::{Conflict, Known, Standing as StandingCell};
use quorate_model::{
    ActorId, Addresses, ConflictPolicy, Datacenters, GroupId, Hlc, LogIndex, Member, Mode, Name,
    NodeId, ShardId, StoreId, Time, Topology, WallTime,
};
use quorate_replication::causal::Cell;
use quorate_replication::leaderless::{CellKey, Mark, Relayed, Replica as Leaderless, Standing};
use quorate_replication::single_leader::Replica;
use quorate_storage::disk::simulated::Simulated;
use quorate_storage::state::model;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::options::Options;

pub(crate) type SimulatedHost = Host<Simulated, model::Store>;

/// Numbers the machines of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct MachineId(pub(crate) usize);

/// How a machine's monotonic clock relates to the simulation's time.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// What it showed at the simulation's time zero.
    origin: u64,
    /// Parts per million that it runs too fast.
    drift_ppm: u32,
    /// Wall time beyond the simulation's.
    wall_ahead_ms: u64,
    /// What it showed once it may not show again.
    jumped: bool,
}

/// What became of a start.
#[derive(Debug)]
pub(crate) enum Started {
    Runs,
    /// It stops before it has done anything, as a process does whose volume is full.
    DiskFull,
    Fails(String),
}

pub(crate) struct Machine {
    pub(crate) id: MachineId,
    pub(crate) node: NodeId,
    datacenter: Name,
    /// Raised by every start: what was scheduled for an earlier process is void.
    pub(crate) incarnation: u64,
    pub(crate) disk: Simulated,
    pub(crate) state: model::Store,
    host: Option<SimulatedHost>,
    clock: Clock,
    /// How far ahead of its clock a write's time may be.
    drift_max: Duration,
    /// The same between leaders.
    changes_drift_max: Duration,
    pub(crate) paused_until: Option<Time>,
    /// When the next wake-up event is due, so that there is one at a time.
    pub(crate) wakes_at: Option<Time>,
    /// How many times slower than usual its disk is.
    pub(crate) disk_slower: u32,
    pub(crate) disk_scheduled: bool,
    pub(crate) flush_scheduled: bool,
    gathers: bool,
    /// The shards' groups in its datacenter are told from those elsewhere by this.
    apart: u16,
    /// Since when something waits for what may come with it.
    gathered_at: Option<Time>,
}

/// Far enough from zero that no time of day is near a boundary.
const WALL_ORIGIN_MS: u64 = 1_800_000_000_000;
/// More than there are shards.
const APART: u16 = 1024;
/// How long a turn of the driver may be.
const GATHERED_FOR: Duration = Duration::from_micros(300);

impl Machine {
    /// Where `datacenters` is none each machine is one of its own.
    pub(crate) fn new(
        id: MachineId,
        datacenters: Option<usize>,
        drift_ppm_max: u32,
        random: &mut ChaCha8Rng,
    ) -> Self {
        let clock = Clock {
            origin: random.random_range(0..1_000_000_000_000),
            drift_ppm: random.random_range(0..=drift_ppm_max),
            wall_ahead_ms: random.random_range(0..=500),
            jumped: false,
        };
        Self {
            id,
            node: fresh_node(random),
            datacenter: datacenter(datacenters.map_or(id.0, |count| id.0 % count)),
            incarnation: 0,
            disk: Simulated::new(),
            state: model::Store::new(),
            host: None,
            clock,
            drift_max: Duration::ZERO,
            changes_drift_max: Duration::ZERO,
            paused_until: None,
            wakes_at: None,
            disk_slower: 1,
            disk_scheduled: false,
            flush_scheduled: false,
            gathers: false,
            apart: 0,
            gathered_at: None,
        }
    }

    /// Of a store of that mode.
    pub(crate) fn of(mut self, mode: &Mode) -> Self {
        if mode.multi_leader().is_some() {
            let number =
                self.datacenter.as_str().rsplit('-').next().and_then(|text| text.parse().ok());
            self.apart = APART * (1 + number.unwrap_or(0));
        }
        self
    }

    /// The group as no other datacenter has it.
    pub(crate) const fn seen_as(&self, group: GroupId) -> GroupId {
        match group {
            GroupId::Meta => GroupId::Meta,
            GroupId::Shard(ShardId(shard)) => GroupId::Shard(ShardId(shard + self.apart)),
        }
    }

    /// Of several leaders: what the replica has applied.
    pub(crate) fn known(&self, group: GroupId) -> Option<Known> {
        self.host.as_ref()?.known(group).ok().flatten()
    }

    /// Of several leaders: the values and sums that stand in each cell.
    pub(crate) fn cells(&self, group: GroupId) -> Result<Vec<StandingCell>, String> {
        let host = self.host.as_ref().ok_or_else(|| format!("{:?} does not run", self.id))?;
        host.standing_cells(group).map_err(|error| error.to_string())
    }

    /// Of several leaders: the conflicts that it keeps.
    pub(crate) fn conflicts(&self, group: GroupId) -> Result<Vec<Conflict>, String> {
        let host = self.host.as_ref().ok_or_else(|| format!("{:?} does not run", self.id))?;
        host.conflicts(group).map_err(|error| error.to_string())
    }

    /// Whose the writes of the group's leader are, where it is here.
    pub(crate) fn origin(&self, group: GroupId) -> Option<ActorId> {
        self.host.as_ref()?.exchange_origin(group)
    }

    /// Whether a write's time is so many times further ahead of its clock than may be.
    pub(crate) fn is_ahead_by(&self, now: Time, time: Hlc, times: u32) -> bool {
        !self.clock.jumped && time.is_ahead(self.wall(now), self.changes_drift_max * times)
    }

    pub(crate) fn start(
        &mut self,
        store: StoreId,
        now: Time,
        options: &Options,
        random: &mut ChaCha8Rng,
    ) -> Started {
        assert!(self.host.is_none(), "a machine runs one process");
        self.incarnation += 1;
        self.wakes_at = None;
        self.disk_scheduled = false;
        self.flush_scheduled = false;
        self.gathered_at = None;
        self.drift_max = options.host.leaderless.drift_max;
        self.changes_drift_max = options.host.multi_leader.drift_max;
        let start = Start {
            node: self.node,
            store,
            seed: random.random(),
            now: self.local(now),
            wall: self.wall(now),
        };
        let mut settings = options.host.clone();
        if options.first_keeps_logs && self.datacenter == datacenter(0) {
            settings.log_kept_bytes = host::Settings::default().log_kept_bytes;
        }
        match Host::start(start, self.disk.clone(), self.state.clone(), settings) {
            Ok(host) => {
                self.host = Some(host);
                Started::Runs
            }
            Err(_) if self.disk.is_full() => Started::DiskFull,
            Err(error) => Started::Fails(format!("{:?} cannot start: {error}", self.id)),
        }
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.host.is_some()
    }

    /// Gives the host an input and takes everything it wants done.
    pub(crate) fn step(&mut self, now: Time, input: Input) -> Vec<Output> {
        let (local, wall) = (self.local(now), self.wall(now));
        let Some(host) = &mut self.host else { return Vec::new() };
        host.gather(local, Input::Wall(wall));
        // Every other request waits for what may come with it, as in the driver of a real node.
        self.gathers ^= matches!(input, Input::Request { .. });
        if self.gathers && matches!(input, Input::Request { .. }) {
            host.gather(local, input);
            self.gathered_at.get_or_insert(now);
        } else {
            host.step(local, input);
            self.gathered_at = None;
        }
        self.outputs()
    }

    pub(crate) fn outputs(&mut self) -> Vec<Output> {
        let Some(host) = &mut self.host else { return Vec::new() };
        std::iter::from_fn(|| host.pop_output()).collect()
    }

    /// When the host wants to be woken, in the simulation's time.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let deadline = self.host.as_ref()?.deadline().map(|local| self.simulated(local));
        let dispatch = self.gathered_at.map(|at| at.after(GATHERED_FOR));
        deadline.into_iter().chain(dispatch).min()
    }

    pub(crate) fn status(&self) -> Option<Status> {
        self.host.as_ref().map(Host::status)
    }

    pub(crate) fn groups(&self) -> Vec<GroupId> {
        self.host.as_ref().map(|host| host.groups().collect()).unwrap_or_default()
    }

    /// Where the group's rows are.
    pub(crate) fn applied(&self, group: GroupId) -> LogIndex {
        let replicas = self.status().into_iter().flat_map(|status| status.replicas);
        let mut found = replicas.filter(|replica| replica.group == group);
        found.next().map(|replica| replica.applied).unwrap_or_default()
    }

    pub(crate) fn replica(&self, group: GroupId) -> Option<&Replica> {
        self.host.as_ref()?.replica(group)
    }

    /// What beats of a peer count for at this moment.
    pub(crate) fn vouched(&self, peer: NodeId) -> Vouched {
        self.host.as_ref().map(|host| host.vouched(peer)).unwrap_or_default()
    }

    pub(crate) fn disk_stands_still_for(&self) -> Option<Duration> {
        self.host.as_ref()?.disk_stands_still_for()
    }

    pub(crate) fn is_installing(&self, group: GroupId) -> bool {
        self.host.as_ref().is_some_and(|host| host.is_installing(group))
    }

    /// How often this process has taken a replica out of its group for its rows.
    pub(crate) fn quarantines(&self) -> u64 {
        self.host.as_ref().map_or(0, Host::quarantines)
    }

    /// The group's rows, in order.
    pub(crate) fn rows(&self, group: GroupId) -> Result<Vec<(Bytes, Bytes)>, String> {
        let host = self.host.as_ref().ok_or_else(|| format!("{:?} does not run", self.id))?;
        host.rows(group).map_err(|error| error.to_string())
    }

    /// What the replica of a shard without a leader knows of a cell.
    pub(crate) fn cell(&self, group: GroupId, key: &CellKey) -> Option<Cell> {
        let GroupId::Shard(shard) = group else { return None };
        self.host.as_ref()?.cell(shard, key)
    }

    /// The same of what is durable, or why its row cannot be read.
    pub(crate) fn durable_cell(
        &self,
        group: GroupId,
        key: &CellKey,
    ) -> Result<Option<Cell>, String> {
        let (GroupId::Shard(shard), Some(host)) = (group, &self.host) else { return Ok(None) };
        host.durable_cell(shard, key)
    }

    pub(crate) const fn datacenter(&self) -> &Name {
        &self.datacenter
    }

    /// Whom the dots of its replica of a shard without a leader are of.
    pub(crate) fn actor(&self, group: GroupId) -> Option<ActorId> {
        let GroupId::Shard(shard) = group else { return None };
        self.host.as_ref()?.shard(shard).map(Leaderless::actor)
    }

    /// How many removed cells its replica of a shard without a leader has dropped since it began.
    pub(crate) fn collected(&self, group: GroupId) -> u64 {
        let GroupId::Shard(shard) = group else { return 0 };
        let replica = self.host.as_ref().and_then(|host| host.shard(shard));
        replica.map_or(0, |replica| replica.counts().collected)
    }

    /// Through when all that it coordinated is held in each other datacenter, as far as it says so.
    pub(crate) fn checkpoints(&self, now: Time, group: GroupId) -> Vec<(Name, Time)> {
        let (GroupId::Shard(shard), local) = (group, self.local(now)) else { return Vec::new() };
        let replica = self.host.as_ref().and_then(|host| host.shard(shard));
        let relayed = replica.into_iter().flat_map(|replica| replica.relayed(local));
        let known = relayed.filter(|relayed| relayed.known);
        let through = |relayed: Relayed| {
            let nanos = u64::try_from(relayed.behind.as_nanos()).expect("runs are short");
            (relayed.datacenter, self.simulated(Time(local.0 - nanos)))
        };
        known.map(through).collect()
    }

    /// Whether nothing is on its way to another datacenter.
    pub(crate) fn has_relayed_all(&self, now: Time, group: GroupId) -> bool {
        let (GroupId::Shard(shard), local) = (group, self.local(now)) else { return true };
        let replica = self.host.as_ref().and_then(|host| host.shard(shard));
        replica
            .is_none_or(|replica| replica.relayed(local).all(|one| !one.torn && one.waiting == 0))
    }

    /// Whether something is held here for replicas that did not answer.
    pub(crate) fn holds_hints(&self) -> bool {
        let mut shards =
            self.host.iter().flat_map(|host| host.shards().map(move |one| (host, one)));
        shards.any(|(host, shard)| host.shard(shard).is_some_and(Leaderless::holds_hints))
    }

    /// Every shard without a leader that is hosted, for its own or to stand in for replicas.
    pub(crate) fn shards(&self) -> Vec<GroupId> {
        self.host.iter().flat_map(Host::shards).map(GroupId::Shard).collect()
    }

    pub(crate) fn standing(&self, group: GroupId) -> Option<Standing> {
        let GroupId::Shard(shard) = group else { return None };
        let replica = self.host.as_ref()?.shard(shard);
        replica.filter(|replica| replica.is_owner()).map(Leaderless::standing)
    }

    /// Whether the replica of the shard here may be asked for anything: it holds what it told.
    pub(crate) fn is_kept(&self, group: GroupId) -> bool {
        let joins = self.is_joining(group) && !self.has_lost(group);
        self.standing(group) == Some(Standing::Whole) || joins
    }

    /// Whether the shard is about to be read from its replica here, and is not yet.
    pub(crate) fn is_joining(&self, group: GroupId) -> bool {
        let GroupId::Shard(shard) = group else { return false };
        // Whoever stood in knows before that is durable, and keeps what it has if it forgets it.
        let replica = self.host.as_ref().and_then(|host| host.shard(shard));
        if replica.is_some_and(Leaderless::is_joining) {
            return true;
        }
        self.topology().is_some_and(|topology| topology.joins(shard, self.node))
    }

    /// Whether the replica's log or its rows were given up.
    pub(crate) fn has_lost(&self, group: GroupId) -> bool {
        let Some(status) = self.status() else { return false };
        let mut shards = status.shards.iter();
        status.damaged.is_some()
            || shards.any(|one| GroupId::Shard(one.shard) == group && one.given_up.is_some())
    }

    /// How far the replica of a shard without a leader is with steps and rounds.
    pub(crate) fn mark(&self, group: GroupId) -> Option<Mark> {
        let GroupId::Shard(shard) = group else { return None };
        self.host.as_ref()?.shard(shard).map(Leaderless::mark)
    }

    /// Whether no replica here may take a write of that time.
    pub(crate) fn is_ahead(&self, now: Time, time: Hlc) -> bool {
        time.is_ahead(self.wall(now), self.drift_max)
    }

    pub(crate) fn is_local(&self) -> bool {
        let mode = self.topology().and_then(|topology| topology.mode.leaderless());
        mode.is_some_and(|mode| mode.policy.datacenters == Datacenters::Local)
    }

    pub(crate) fn last_writer_wins(&self) -> bool {
        let mode = self.topology().and_then(|topology| topology.mode.leaderless());
        mode.is_some_and(|mode| mode.policy.conflicts == ConflictPolicy::LastWriterWins)
    }

    pub(crate) fn topology(&self) -> Option<&Topology> {
        self.host.as_ref()?.topology()
    }

    /// What the process has found on its disks.
    pub(crate) fn describe(&self) -> String {
        let Some(status) = self.status() else { return "not at all".to_owned() };
        let mut text = status.damaged.map_or_else(String::new, |why| format!("damaged: {why}; "));
        for replica in status.replicas {
            let (group, term, last) = (replica.group, replica.term, replica.last);
            let damaged = if replica.damaged { ", damaged" } else { "" };
            text +=
                &format!("{group} term {term} applied {} of {last}{damaged}; ", replica.applied);
        }
        text
    }

    /// The process is killed; the operating system goes on.
    pub(crate) fn kill(&mut self, random: &mut ChaCha8Rng) {
        self.host = None;
        self.disk.restart(random.random());
        self.state.crash();
    }

    /// The power goes: what was not synced is torn or lost.
    pub(crate) fn lose_power(&mut self, random: &mut ChaCha8Rng) {
        self.host = None;
        self.disk.crash(random.random());
        self.state.crash();
    }

    /// The volume is replaced by an empty one: another node from now on.
    pub(crate) fn wipe(&mut self, random: &mut ChaCha8Rng) {
        self.host = None;
        self.disk.wipe();
        self.state = model::Store::new();
        self.node = fresh_node(random);
    }

    pub(crate) const fn jump_wall_clock(&mut self, ahead_ms: u64) {
        self.clock.jumped = true;
        self.clock.wall_ahead_ms = ahead_ms;
    }

    pub(crate) fn member(&self) -> Member {
        let name = |kind: &str| format!("{kind}-{}.sim:1", self.id.0);
        Member {
            id: self.node,
            name: format!("machine-{}", self.id.0),
            datacenter: self.datacenter.clone(),
            zone: datacenter(self.id.0),
            addresses: Addresses {
                peer: name("peer"),
                plain: name("plain"),
                cluster: name("cluster"),
                admin: name("admin"),
            },
        }
    }

    fn local(&self, now: Time) -> Time {
        let drift = u128::from(now.0) * u128::from(self.clock.drift_ppm) / 1_000_000;
        Time(self.clock.origin + now.0 + u64::try_from(drift).expect("a part of the time"))
    }

    fn simulated(&self, local: Time) -> Time {
        let since = u128::from(local.0.saturating_sub(self.clock.origin));
        let time = since * 1_000_000 / (1_000_000 + u128::from(self.clock.drift_ppm));
        // Rounded up: waking early would only wake again at once.
        Time(u64::try_from(time).expect("less than the local time") + 1)
    }

    fn wall(&self, now: Time) -> WallTime {
        let since = now.since(Time::ZERO) + Duration::from_millis(self.clock.wall_ahead_ms);
        WallTime(WALL_ORIGIN_MS + u64::try_from(since.as_millis()).expect("runs are short"))
    }
}

pub(crate) fn datacenter(number: usize) -> Name {
    Name::new(format!("dc-{number}")).expect("a valid label")
}

fn fresh_node(random: &mut ChaCha8Rng) -> NodeId {
    NodeId(random.random())
}
