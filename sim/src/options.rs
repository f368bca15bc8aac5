//! What kind of run a seed gives: drawn from the seed, so that seeds differ in kind ("swarm testing") and not only in detail.

use std::time::Duration;

use quorate_group::host;
use quorate_model::{
    ConflictPolicy, Conflicts, Datacenters, Durability, Hints, Homes, InSyncPolicy, KeyHome,
    LeaderlessPolicy, Level, Links, LogFormat, Merge, Mode, MultiLeader, MultiLeaderPolicy, OnLoss,
    Policy, Resolution, Unreachable,
};
use quorate_replication::{leaderless, multi_leader, single_leader};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::kind::Kind;
use crate::machine::datacenter;
use crate::nemesis::Menu;
use crate::network::Weather;

/// As `Merge(Join)` of values that are different.
const JOINED: &str =
    "let all = []; for one in siblings { all.push(one.value); } all.sort(); all.join(\"/\")";

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) mode: Mode,
    pub(crate) machines: usize,
    pub(crate) shards: u16,
    pub(crate) replicas: usize,
    /// Where there are replicas in each datacenter: how many in each, and how many datacenters.
    pub(crate) in_each: Option<usize>,
    pub(crate) datacenters: usize,
    pub(crate) clients: usize,
    pub(crate) keys: usize,
    pub(crate) weather: Weather,
    /// How long faults go on before everything heals.
    pub(crate) stormy: Duration,
    /// For how long one machine is gone in the midst of the storm: a node that nobody misses for an hour.
    pub(crate) absence: Option<Duration>,
    /// The longest pause of a client between two calls.
    pub(crate) think_max: Duration,
    /// How long the healed cluster has to become whole.
    pub(crate) settle: Duration,
    pub(crate) fault_every: Duration,
    pub(crate) menu: Menu,
    pub(crate) pause_max: Duration,
    pub(crate) drift_ppm_max: u32,
    pub(crate) topology_every: Option<Duration>,
    /// What the store declares at first.
    pub(crate) policy: Policy,
    /// Of the operator's steps, how many of ten change the policy.
    pub(crate) policy_changes: u32,
    /// Of ten requests, how many go to any machine, whoever is known to lead.
    pub(crate) astray: u32,
    /// Of ten faults, how many hit a leader.
    pub(crate) aimed: u32,
    pub(crate) disk_latency: Duration,
    pub(crate) host: host::Settings,
    /// The first datacenter keeps much more of its logs than the others.
    pub(crate) first_keeps_logs: bool,
}

impl Options {
    pub(crate) fn draw(kind: Kind, random: &mut ChaCha8Rng) -> Self {
        let options = Self::draw_any(random);
        match kind {
            Kind::SingleLeader => options,
            Kind::Leaderless => options.without_leaders(random),
            Kind::MultiLeader => options.with_leaders_everywhere(random),
        }
    }

    fn draw_any(random: &mut ChaCha8Rng) -> Self {
        let machines = *pick(random, &[3, 3, 3, 4, 5]);
        let long = random.random_bool(0.02);
        let topology_every = random
            .random_bool(0.5)
            .then(|| Duration::from_millis(random.random_range(500..=4_000)));
        let absence = random
            .random_bool(0.002)
            .then(|| Duration::from_secs(random.random_range(600..=3_600)));
        let fault_every = Duration::from_millis(random.random_range(200..=3_000));
        let options = Self {
            mode: Mode::SingleLeader,
            machines,
            absence: None,
            think_max: Duration::from_millis(30),
            shards: random.random_range(1..=2),
            in_each: None,
            datacenters: 2,
            replicas: if machines == 5 { *pick(random, &[3, 5]) } else { 3 },
            policy: if random.random_bool(0.3) {
                Policy { log_format: any_format(random), ..Policy::default() }
            } else {
                any_policy(random)
            },
            policy_changes: *pick(random, &[0, 3, 6]),
            astray: *pick(random, &[1, 1, 5]),
            aimed: *pick(random, &[0, 4, 8]),
            clients: random.random_range(2..=6),
            keys: random.random_range(2..=6),
            weather: Weather::draw(random),
            stormy: Duration::from_secs(if long {
                random.random_range(30..=150)
            } else {
                random.random_range(3..=12)
            }),
            // After a long storm there may be so much that two snapshots at the lowest rate take most of a minute.
            settle: Duration::from_secs(if long { 120 } else { 60 }),
            fault_every,
            menu: Menu::draw(random),
            pause_max: Duration::from_secs(if long { 60 } else { 3 }),
            drift_ppm_max: *pick(random, &[0, 500, 500, 100_000]),
            topology_every,
            disk_latency: Duration::from_micros(random.random_range(50..=5_000)),
            host: settings(random),
            first_keeps_logs: false,
        };
        if let Some(absence) = absence { options.with_absence(absence) } else { options }
    }

    /// So long that everything else happens more rarely.
    fn with_absence(mut self, absence: Duration) -> Self {
        self.absence = Some(absence);
        self.think_max = Duration::from_secs(3);
        self.fault_every *= 60;
        self.topology_every = self.topology_every.map(|every| every * 60);
        self
    }

    fn without_leaders(mut self, random: &mut ChaCha8Rng) -> Self {
        let any_level = |random: &mut ChaCha8Rng| {
            *pick(random, &[Level::Quorum, Level::Quorum, Level::Count(1), Level::All])
        };
        let conflicts =
            [ConflictPolicy::LastWriterWins, ConflictPolicy::Merge, ConflictPolicy::Siblings];
        let mut policy = LeaderlessPolicy {
            read: any_level(random),
            write: any_level(random),
            conflicts: *pick(random, &conflicts),
            datacenters: Datacenters::Global,
            hints: None,
        };
        if random.random_bool(0.4) {
            self.with_hints(&mut policy, random);
        }
        self.mode = Mode::Leaderless(policy.clone().into());
        self.policy_changes = 0;
        // A write of a clock that went ahead is taken when the others have come as far.
        self.settle = Duration::from_secs(240);
        self.menu = self.menu.without_leaders();
        self.host.leaderless = leaderless::Settings {
            siblings_max: *pick(random, &[3, 10, 100]),
            drift_max: Duration::from_millis(*pick(random, &[1_000, 10_000])),
            exchange_interval: Duration::from_millis(*pick(random, &[200, 1_000, 5_000])),
            exchange_bytes_per_second: *pick(random, &[2_000, 1 << 20]),
            unsynced_bytes_max: *pick(random, &[1_000, 1 << 20]),
            leaf_bits: *pick(random, &[0, 2, 4]),
            collect_interval: Duration::from_millis(*pick(random, &[100, 500, 2_000])),
            collect_after: Duration::from_millis(*pick(random, &[500, 2_000])),
            hint_after: Duration::from_millis(*pick(random, &[10, 100])),
            hint_bytes_per_second: *pick(random, &[2_000, 1 << 20]),
            ..leaderless::Settings::default()
        };
        self.maybe_local(policy, random)
    }

    fn with_leaders_everywhere(mut self, random: &mut ChaCha8Rng) -> Self {
        let (datacenters, in_each) =
            *pick(random, &[(2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (3, 2), (4, 1)]);
        (self.datacenters, self.in_each) = (datacenters, Some(in_each));
        (self.machines, self.replicas) = (datacenters * in_each, 3.min(datacenters * in_each));
        let priority = (0..datacenters).map(datacenter).collect();
        let resolutions = [
            Resolution::LastWriterWins,
            Resolution::ReplicaPriority(priority),
            Resolution::Merge(Merge::Join),
            Resolution::Custom { script: JOINED.to_owned() },
        ];
        let conflicts =
            Conflicts { resolution: pick(random, &resolutions).clone(), keys: Vec::new() };
        let links = any_links(datacenters, random);
        let reroute = random.random_bool(0.8);
        let homes = if random.random_bool(0.5) {
            let homes = ["register-*[02]", "*counter-*[02]"].map(|pattern| KeyHome {
                pattern: pattern.to_owned(),
                home: datacenter(random.random_range(0..datacenters)),
                first: None,
                since: 0,
            });
            let unreachable =
                *pick(random, &[Unreachable::Reject, Unreachable::Reject, Unreachable::Accept]);
            Homes { keys: homes.to_vec(), unreachable, ..Homes::default() }
        } else {
            Homes::default()
        };
        let policy = MultiLeaderPolicy { links, reroute, conflicts, homes };
        self.mode = Mode::MultiLeader(MultiLeader { policy, ..MultiLeader::default() });
        // What `Async` loses is shown with one leader.
        let Policy { durability, in_sync, .. } = any_policy(random);
        let durability =
            if durability == Durability::Async { Durability::Quorum } else { durability };
        self.policy = Policy { durability, in_sync, ..Policy::default() };
        self.policy_changes = 0;
        self.settle = Duration::from_secs(240);
        self.menu = self.menu.with_datacenters().with_fillings();
        self.host.multi_leader = multi_leader::Settings {
            window_bytes: *pick(random, &[500, 10_000, 8 << 20]),
            batch_bytes: *pick(random, &[200, 4_000, 256 << 10]),
            held_bytes_max: *pick(random, &[500, 64 << 20]),
            apply_bytes_max: *pick(random, &[1, 2_000, 64 << 10]),
            gather: Duration::from_millis(*pick(random, &[0, 5, 100])),
            drift_max: Duration::from_millis(*pick(random, &[1_000, 10_000])),
            ..multi_leader::Settings::default()
        };
        self.host.fill_cells_max = *pick(random, &[8, 64]);
        self.first_keeps_logs = random.random_bool(0.3);
        if self.absence.is_none() && random.random_bool(0.01) {
            let absence = Duration::from_secs(random.random_range(600..=10_800));
            return self.with_absence(absence);
        }
        self
    }

    /// Drawn aside, so that all other runs are what they would be without.
    fn maybe_local(self, policy: LeaderlessPolicy, random: &ChaCha8Rng) -> Self {
        let mut aside = random.clone();
        aside.set_word_pos(aside.get_word_pos() + 1_000);
        let random = &mut aside;
        if policy.hints.is_some() || !random.random_bool(0.4) {
            return self;
        }
        let (machines, in_each) = *pick(random, &[(4, 1), (4, 2), (5, 2), (6, 2), (6, 3), (6, 3)]);
        let level = |level: Level, random: &mut ChaCha8Rng| match level {
            Level::Quorum => *pick(random, &[Level::Quorum, Level::LocalQuorum, Level::EachQuorum]),
            Level::Count(_)
            | Level::All
            | Level::LocalOne
            | Level::LocalQuorum
            | Level::EachQuorum
            | Level::SloppyQuorum
            | Level::Any => level,
        };
        let (read, write) = (level(policy.read, random), level(policy.write, random));
        let policy = LeaderlessPolicy { read, write, datacenters: Datacenters::Local, ..policy };
        let mut options = Self {
            mode: Mode::Leaderless(policy.into()),
            machines,
            replicas: 3,
            in_each: Some(in_each),
            menu: self.menu.with_datacenters(),
            ..self
        };
        let leaderless = &mut options.host.leaderless;
        leaderless.relay_waiting_bytes_max = *pick(random, &[200, 500, 100_000]);
        leaderless.relay_batch_bytes = *pick(random, &[200, 100_000]);
        leaderless.relay_timeout = Duration::from_millis(*pick(random, &[300, 3_000]));
        options
    }

    /// With nodes that stand in for replicas, and replicas that are gone for longer than anybody waits.
    fn with_hints(&mut self, policy: &mut LeaderlessPolicy, random: &mut ChaCha8Rng) {
        self.machines = random.random_range(4..=5);
        self.replicas = *pick(random, &[2, 3, 3]);
        if random.random_bool(0.3) {
            policy.write = *pick(random, &[Level::SloppyQuorum, Level::Any]);
        }
        policy.hints = Some(Hints {
            window_seconds: *pick(random, &[1, 3, 10_800]),
            max_bytes: *pick(random, &[1_000, 1 << 20]),
        });
        self.menu = self.menu.clone().with_long_absences();
    }
}

/// Any topology of links between so many datacenters.
pub(crate) fn any_links(datacenters: usize, random: &mut ChaCha8Rng) -> Links {
    let all: Vec<_> = (0..datacenters).map(datacenter).collect();
    match random.random_range(0..3) {
        0 => Links::AllToAll,
        1 => Links::Circular(all),
        _ => Links::Star { hub: all[0].clone() },
    }
}

/// Anything that a resource may declare.
pub(crate) fn any_policy(random: &mut ChaCha8Rng) -> Policy {
    use quorate_model::Durability::{Async, Quorum, SemiSync, Sync};
    let in_sync = InSyncPolicy {
        count: random.random_range(1..=2),
        on_loss: *pick(random, &[OnLoss::Replace, OnLoss::Shrink, OnLoss::Block]),
        slow_after_ms: random.random_range(100..=2_000),
    };
    Policy {
        durability: *pick(random, &[Async, SemiSync, SemiSync, Sync, Quorum]),
        in_sync,
        log_format: any_format(random),
        ..Policy::default()
    }
}

fn any_format(random: &mut ChaCha8Rng) -> LogFormat {
    *pick(random, &[LogFormat::Statement, LogFormat::Logical, LogFormat::Wal])
}

/// Small bounds, so that every limit is met within seconds.
fn settings(random: &mut ChaCha8Rng) -> host::Settings {
    host::Settings {
        replication: single_leader::Settings {
            append_bytes_max: *pick(random, &[200, 4_000, 1 << 20]),
            inflight_appends_max: *pick(random, &[1, 4, 16]),
            cache_bytes_max: *pick(random, &[500, 10_000]),
            ..single_leader::Settings::default()
        },
        request_timeout: Duration::from_secs(2),
        flush_bytes: *pick(random, &[500, 5_000]),
        segment_bytes: *pick(random, &[8_192, 65_536]),
        log_kept_bytes: *pick(random, &[500, 10_000]),
        snapshot_chunk_bytes: *pick(random, &[64, 1_000]),
        snapshot_chunks_inflight: *pick(random, &[1, 4]),
        catch_up_bytes_per_second: *pick(random, &[0, 20_000]),
        log_held_bytes: *pick(random, &[0, 20_000]),
        check_interval: Duration::from_millis(*pick(random, &[200, 1_000])),
        check_rows_max: *pick(random, &[10, 2_048]),
        ..host::Settings::default()
    }
}

pub(crate) fn pick<'a, T>(random: &mut ChaCha8Rng, from: &'a [T]) -> &'a T {
    &from[random.random_range(0..from.len())]
}
