//! What is measured: one file for each part of the report.

mod catch_up;
mod contest;
mod datacenters;
mod failover;
mod fleet;
mod hints;
mod idle;
mod leaderless;
mod operations;
mod repair;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::measure::syncs;
use crate::report::{Section, Version};
use crate::system::quorate::Quorate;
use crate::system::{cassandra, etcd, redis};
use crate::{Mode, progress};

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Level {
    Smoke,
    Quick,
    Full,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Scenario {
    Write,
    Read,
    Async,
    Failover,
    Catchup,
    Idle,
    /// Mode leaderless: throughput and latency.
    Leaderless,
    /// Mode leaderless: a node is lost.
    Outage,
    /// Mode leaderless: a node was away and is mended by comparing.
    Repair,
    /// Mode leaderless: a node was away and is given what others held for it.
    Hints,
    /// Mode multi-leader: what distance costs writes, and when the other datacenter sees them.
    Distance,
    /// Mode multi-leader: whether the other datacenter keeps up, and what that costs.
    Exchange,
    /// Mode multi-leader: datacenters were cut off from each other.
    Cut,
}

/// What every scenario needs to know.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) node: PathBuf,
    pub(crate) mode: Mode,
    pub(crate) level: Level,
    pub(crate) shards: u16,
    pub(crate) turn: Duration,
    pub(crate) data: PathBuf,
    /// The program, or why there is none.
    pub(crate) etcd: Result<PathBuf, String>,
    pub(crate) redis: Result<PathBuf, String>,
    pub(crate) valkey: Result<PathBuf, String>,
    pub(crate) cassandra: Result<cassandra::Installed, String>,
    pub(crate) syncs: bool,
}

impl Bench {
    /// Looks for the peers of the mode; a store of one shard, as those with a leader have one.
    pub(crate) fn prepare(
        node: &Path,
        mode: Mode,
        level: Level,
        peers: bool,
        data: &Path,
        cache: &Path,
    ) -> Self {
        let looked_for = |of: Mode| peers && mode == of;
        if looked_for(Mode::SingleLeader) {
            progress(
                "looking for etcd (built from its Go module at the first time), Redis, Valkey",
            );
        }
        if looked_for(Mode::Leaderless) {
            progress("looking for Cassandra (brought by Maven at the first time)");
        }
        let leader = looked_for(Mode::SingleLeader);
        Self {
            node: node.to_owned(),
            mode,
            level,
            shards: 1,
            turn: level.turn(),
            data: data.to_owned(),
            etcd: find(leader, || etcd::install(cache)),
            redis: find(leader, || redis::find("redis-server")),
            valkey: find(leader, || redis::find("valkey-server")),
            cassandra: find(looked_for(Mode::Leaderless), || cassandra::install(cache)),
            syncs: syncs::available(),
        }
    }

    pub(crate) fn versions(&self) -> Result<Vec<Version>> {
        let mut versions = vec![Version::new("Quorate", Quorate::version(&self.node)?)];
        if self.mode == Mode::MultiLeader {
            return Ok(versions);
        }
        if self.mode == Mode::Leaderless {
            let cassandra = self.cassandra.as_ref().map(|_| cassandra::VERSION.to_owned());
            versions.push(Version::of("Cassandra", cassandra.map_err(Clone::clone)));
            return Ok(versions);
        }
        let etcd = self.etcd.as_ref().map(|_| etcd::VERSION.to_owned());
        versions.push(Version::of("etcd", etcd.map_err(Clone::clone)));
        for (name, found) in [("Redis", &self.redis), ("Valkey", &self.valkey)] {
            let version = match found {
                Ok(binary) => Ok(redis::version(binary)?),
                Err(why) => Err(why.clone()),
            };
            versions.push(Version::of(name, version));
        }
        Ok(versions)
    }

    /// How often contestants take turns.
    pub(crate) fn rounds(&self) -> usize {
        match self.level {
            Level::Smoke => 1,
            Level::Quick => 2,
            Level::Full => 5,
        }
    }
}

/// The program, or why there is none.
fn find<T>(wanted: bool, find: impl Fn() -> Result<T>) -> Result<T, String> {
    match wanted {
        true => find().map_err(|error| format!("{error:#}")),
        false => Err("not asked for".to_owned()),
    }
}

impl Level {
    /// How long each turn is.
    pub(crate) const fn turn(self) -> Duration {
        Duration::from_secs(match self {
            Self::Smoke => 1,
            Self::Quick => 3,
            Self::Full => 5,
        })
    }
}

pub(crate) fn wanted(mode: Mode, level: Level, only: &[Scenario]) -> Vec<Scenario> {
    use Scenario::{
        Async, Catchup, Cut, Distance, Exchange, Failover, Hints, Idle, Leaderless, Outage, Read,
        Repair, Write,
    };
    if !only.is_empty() {
        return only.to_vec();
    }
    match (mode, level) {
        (Mode::SingleLeader, Level::Smoke) => vec![Write, Read],
        (Mode::SingleLeader, Level::Quick | Level::Full) => {
            vec![Write, Read, Async, Failover, Catchup, Idle]
        }
        (Mode::Leaderless, Level::Smoke | Level::Quick | Level::Full) => {
            vec![Leaderless, Outage, Repair, Hints]
        }
        (Mode::MultiLeader, Level::Smoke | Level::Quick | Level::Full) => {
            vec![Distance, Exchange, Cut]
        }
    }
}

impl Scenario {
    pub(crate) fn run(self, bench: &Bench) -> Result<Vec<Section>> {
        match self {
            Self::Write => operations::write(bench),
            Self::Read => operations::read(bench),
            Self::Async => operations::asynchronous(bench),
            Self::Failover => failover::run(bench),
            Self::Catchup => catch_up::run(bench),
            Self::Idle => idle::run(bench),
            Self::Leaderless => leaderless::run(bench),
            Self::Outage => failover::outage::run(bench),
            Self::Repair => repair::run(bench),
            Self::Hints => hints::run(bench),
            Self::Distance => datacenters::distance::run(bench),
            Self::Exchange => datacenters::exchange::run(bench),
            Self::Cut => datacenters::cut::run(bench),
        }
    }
}
