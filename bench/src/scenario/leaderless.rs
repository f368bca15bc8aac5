//! A store without leaders against one with a leader and against Cassandra: writes, reads and both, all at a quorum.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use quorate_model::{LeaderlessPolicy, Mode, Policy};
use serde_json::json;

use super::contest::{Contestant, Series, contest, table};
use super::fleet::KEYS;
use super::operations::{at_least, at_most, told};
use super::{Bench, Level};
use crate::load::{Load, Operation, Shape, Target, keys, preload};
use crate::progress;
use crate::report::Section;
use crate::system::cassandra::Cassandra;
use crate::system::quorate::{self, Quorate};

const CLIENTS: usize = 64;
const SINGLE_LEADER: &str = "Quorate single-leader";
const CASSANDRA: &str = "Cassandra";

/// All three running side by side, filled with the same keys.
#[derive(Debug)]
struct Stores {
    leaderless: Quorate,
    single_leader: Quorate,
    cassandra: Option<Cassandra>,
    skipped: Vec<String>,
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Section>> {
    let stores = Stores::start(bench)?;
    let parts = [
        ("leaderless-write", "SET of 100 bytes", "SET", Operation::Set, None),
        ("leaderless-read", "GET of 100 bytes", "GET", Operation::Get, None),
        (
            "leaderless-mixed",
            "SET and GET of 100 bytes, half and half",
            "SET and GET",
            Operation::Set,
            Some(Operation::Get),
        ),
    ];
    let mut sections = Vec::new();
    for (name, title, said, operation, alternative) in parts {
        let shape = Shape { alternative, ..Shape::closed(operation, CLIENTS) };
        let mut section = Section::new(name, title);
        section.skipped.clone_from(&stores.skipped);
        let series = contest(bench, &stores.contestants(shape)?)?;
        if let [ours, others @ ..] = &series[..] {
            for other in others {
                compare(&mut section, said, ours, other);
            }
        }
        section.table = Some(table(&series));
        section.data = json!(series);
        sections.push(section);
    }
    Ok(sections)
}

fn compare(section: &mut Section, said: &str, ours: &Series, other: &Series) {
    let throughput = ours.ratio(other, |sample| sample.per_second);
    let p99 = ours.ratio(other, |sample| sample.latency.p99);
    let of = format!("leaderless {said}, {CLIENTS} clients");
    let name = &other.name;
    let claims = [format!("{of}: throughput over {name}'s"), format!("{of}: p99 over {name}'s")];
    let (least, most) = wanted(said, name);
    section.verdicts.push(match least {
        Some(least) => at_least(&claims[0], throughput, least),
        None => told(&claims[0], throughput),
    });
    section.verdicts.push(match most {
        Some(most) => at_most(&claims[1], p99, most),
        None => told(&claims[1], p99),
    });
}

/// Of throughput and of p99, over another system's.
fn wanted(said: &str, name: &str) -> (Option<f64>, Option<f64>) {
    match (said, name) {
        ("SET", SINGLE_LEADER) => (Some(1.0), None),
        ("SET and GET", SINGLE_LEADER) => (Some(0.5), None),
        ("SET", CASSANDRA) => (Some(5.0), Some(1.0)),
        _ => (None, None),
    }
}

/// A JVM compiles while it works: before it is measured it works for a while, as it would have elsewhere.
pub(super) fn warm_up(level: Level, target: &Target) -> Result<()> {
    let took = Duration::from_secs(match level {
        Level::Smoke => 1,
        Level::Quick => 30,
        Level::Full => 90,
    });
    progress(&format!("warming Cassandra up for {} s", took.as_secs()));
    let shape =
        Shape { alternative: Some(Operation::Get), ..Shape::closed(Operation::Set, CLIENTS) };
    let load = Load::start(target, shape)?;
    std::thread::sleep(took);
    load.finish()?;
    Ok(())
}

impl Stores {
    fn start(bench: &Bench) -> Result<Self> {
        progress("starting the systems");
        let directory = bench.data.join("leaderless");
        let mut skipped = Vec::new();
        let cassandra = match &bench.cassandra {
            Ok(installed) => Some(Cassandra::start(installed, &directory.join("cassandra"), None)?),
            Err(why) => {
                skipped.push(format!("Cassandra: {why}"));
                None
            }
        };
        let start = |name: &str, mode| {
            Quorate::start(quorate::Options {
                binary: bench.node.clone(),
                directory: directory.join(name),
                nodes: 3,
                shards: bench.shards,
                policy: Policy::default(),
                mode,
                namespaces: None,
                settings: String::new(),
            })
        };
        let leaderless = start("leaderless", Mode::Leaderless(LeaderlessPolicy::default().into()))?;
        let single_leader = start("single-leader", Mode::SingleLeader)?;
        let stores = Self { leaderless, single_leader, cassandra, skipped };
        progress("filling them");
        for mut target in stores.targets()? {
            // Where several places have the same keys, one of them is enough.
            target.places.dedup_by(|a, b| Arc::ptr_eq(&a.keys, &b.keys));
            preload(&target)?;
        }
        if let Some(cassandra) = &stores.cassandra {
            warm_up(bench.level, &cassandra.target(keys::keys(KEYS)))?;
        }
        Ok(stores)
    }

    fn targets(&self) -> Result<Vec<Target>> {
        let keys = || keys::keys(KEYS);
        let mut targets = vec![self.leaderless.target(keys())?, self.single_leader.target(keys())?];
        targets.extend(self.cassandra.as_ref().map(|cassandra| cassandra.target(keys())));
        Ok(targets)
    }

    fn contestants(&self, shape: Shape) -> Result<Vec<Contestant>> {
        let names = ["Quorate leaderless", SINGLE_LEADER, CASSANDRA];
        let mut pids = vec![self.leaderless.pids(), self.single_leader.pids()];
        pids.extend(self.cassandra.as_ref().map(Cassandra::pids));
        let named = names.into_iter().zip(self.targets()?).zip(pids);
        let contestant = |((name, target), pids): ((&str, Target), _)| Contestant {
            name: name.to_owned(),
            target,
            shape,
            pids,
        };
        Ok(named.map(contestant).collect())
    }
}
