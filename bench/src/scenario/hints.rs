//! How fast a node that was away is given what others held for it, and what clients notice of that.
//!
//! Four nodes, three replicas of every key: while one node is down, the one that has no replica of a shard stands in for it. The
//! foreground is an open loop through the three other nodes: before the node is back, while it is given its hints, and after.

use std::time::{Duration, Instant};

use anyhow::Result;
use quorate_model::{Hints, LeaderlessPolicy, Level as Quorum, Mode, Policy};
use serde_json::json;

use super::repair::await_equal;
use super::{Bench, Level};
use crate::load::{Latencies, Load, Operation, Shape, Target, keys, preload};
use crate::progress;
use crate::report::{Section, Table, Verdict};
use crate::system::await_condition;
use crate::system::quorate::{Options, Quorate};

const NODES: usize = 4;
const AWAY: usize = NODES - 1;
/// Of the shards so many of four have a replica on the node that is away.
const REPLICAS: u64 = 3;
const KEYS_OF_CLIENTS: u64 = 10_000;
const PER_SECOND: f64 = 500.0;
const PATIENCE: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_secs(3);
const QUIET: Duration = Duration::from_secs(10);
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(300);
const SECONDS_MAX: f64 = 30.0;
const SLOWER_MAX: f64 = 2.0;

#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Delivered {
    hints: u64,
    bytes: u64,
    /// From when the node serves.
    seconds: f64,
    before: Latencies,
    during: Latencies,
    after: Latencies,
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Section>> {
    let hints = match bench.level {
        Level::Smoke => 2_000,
        Level::Quick | Level::Full => 100_000,
    };
    let delivered = deliver(bench, hints)?;
    let mut section =
        Section::new("hints", "A node that was away is given what others held for it");
    section.notes.push(format!(
        "{NODES} nodes, three replicas, {} shards; one node is killed, keys of 16 bytes with values of 100 bytes are written until {} \
         hints are held for it, and it comes back. SETs and GETs, half and half, {PER_SECOND} a second by 64 clients of the other nodes \
         (open loop): for {} s before, until the last hint is delivered, and for {} s after.",
        bench.shards,
        delivered.hints,
        QUIET.as_secs(),
        QUIET.as_secs(),
    ));
    section.verdicts.push(Verdict::new(
        "hints: until all are delivered",
        format!("below {SECONDS_MAX} s"),
        format!("{:.1} s for {}", delivered.seconds, delivered.hints),
        Some(delivered.seconds < SECONDS_MAX),
    ));
    // With all nodes there and nothing to deliver.
    let slower = delivered.during.p99 / delivered.after.p99;
    section.verdicts.push(Verdict::new(
        "hints: p99 of the foreground meanwhile, over after",
        format!("below {SLOWER_MAX}"),
        format!("{slower:.2}"),
        Some(slower < SLOWER_MAX),
    ));
    let mut table = Table::new(&["part", "requests", "failed", "p50 us", "p99 us", "most us"]);
    for (name, part) in [
        ("before", &delivered.before),
        ("while hints are delivered", &delivered.during),
        ("after", &delivered.after),
    ] {
        table.row([
            name.to_owned(),
            (part.count + part.failed).to_string(),
            part.failed.to_string(),
            format!("{:.0}", part.p50),
            format!("{:.0}", part.p99),
            format!("{:.0}", part.max),
        ]);
    }
    section.table = Some(table);
    section.data = json!(delivered);
    Ok(vec![section])
}

fn deliver(bench: &Bench, wanted: u64) -> Result<Delivered> {
    let policy = LeaderlessPolicy {
        write: Quorum::SloppyQuorum,
        hints: Some(Hints::default()),
        ..LeaderlessPolicy::default()
    };
    let mut store = Quorate::start(Options {
        binary: bench.node.clone(),
        directory: bench.data.join("hints"),
        nodes: NODES,
        shards: bench.shards,
        policy: Policy::default(),
        mode: Mode::Leaderless(policy.into()),
        namespaces: None,
        settings: String::new(),
    })?;
    let foreground = Target {
        places: store
            .plain_target(keys::keys(KEYS_OF_CLIENTS))
            .places
            .into_iter()
            .take(AWAY)
            .collect(),
        ..store.plain_target(Vec::new())
    };
    preload(&foreground.divided(AWAY))?;
    store.kill(AWAY)?;
    // Some more, for shards are not equally large.
    let count = wanted * (NODES as u64) / REPLICAS * 11 / 10;
    preload(&store.plain_target(keys::keys(count)).divided(AWAY))?;
    let (hints, bytes) = store.hints()?;
    progress(&format!("{hints} hints are held"));
    let shape = Shape {
        alternative: Some(Operation::Get),
        rate: Some(PER_SECOND),
        patience: Some(PATIENCE),
        ..Shape::closed(Operation::Set, 64)
    };
    let load = Load::start(&foreground, shape)?;
    std::thread::sleep(WARM_UP);
    load.record();
    std::thread::sleep(QUIET);
    let before = load.take();
    store.start_again(AWAY)?;
    store.await_ready()?;
    load.take();
    let begin = Instant::now();
    await_condition(
        "that all hints are delivered",
        DELIVERY_TIMEOUT,
        || Ok(store.hints()?.0 == 0),
    )?;
    let took = begin.elapsed();
    let during = load.take();
    progress(&format!("delivered after {:.1} s", took.as_secs_f64()));
    std::thread::sleep(QUIET);
    let after = load.finish()?;
    await_equal(&store)?;
    Ok(Delivered { hints, bytes, seconds: took.as_secs_f64(), before, during, after })
}
