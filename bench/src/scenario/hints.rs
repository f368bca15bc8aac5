//! How fast a node that was away is given what others held for it, and what clients notice of that.
//!
//! Five nodes and shards, three replicas of every key: while two nodes are down, those that have no replica stand in for them in the
//! two shards that are left with one. One comes back. The foreground is an open loop of keys of another shard of that node, which
//! has had its quorum all the time: before it is back, while it is given its hints, and after.

use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use quorate_model::{Hints, LeaderlessPolicy, Level as Quorum, Mode, Policy};
use serde_json::json;

use super::contest::Ratio;
use super::operations::{below, told};
use super::repair::await_equal;
use super::{Bench, Level};
use crate::load::{Latencies, Load, Operation, Shape, Target, keys, preload};
use crate::progress;
use crate::report::{Section, Table, Verdict};
use crate::system::await_condition;
use crate::system::quorate::{Options, Quorate};

const NODES: usize = 5;
/// They have replicas of the first two shards, and one of them comes back.
const AWAY: [usize; 2] = [2, 1];
const BACK: usize = AWAY[0];
const STAY: usize = NODES - AWAY.len();
const SHARDS: u16 = 5;
const WITHOUT_QUORUM: usize = 2;
/// Its replicas are those of one that comes back and two that stay.
const OF_CLIENTS: usize = 2;
const KEYS_OF_CLIENTS: u64 = 10_000;
const PER_SECOND: f64 = 500.0;
const PATIENCE: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_secs(3);
const QUIET: Duration = Duration::from_secs(10);
const LOOKED_AT_EVERY: Duration = Duration::from_millis(500);
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
    let (hints, trials) = match bench.level {
        Level::Smoke => (2_000, 1),
        Level::Quick => (100_000, 3),
        Level::Full => (100_000, 5),
    };
    let delivered: Vec<Delivered> =
        (0..trials).map(|number| deliver(bench, number, hints)).collect::<Result<_>>()?;
    let mut section =
        Section::new("hints", "A node that was away is given what others held for it");
    section.notes.push(format!(
        "{NODES} nodes, three replicas, {SHARDS} shards; two nodes are killed, keys of 16 bytes with values of 100 bytes are written at \
         SLOPPY_QUORUM to the {WITHOUT_QUORUM} shards that are left with one replica, so that hints are held for one of the nodes, and \
         that one comes back. SETs and GETs of another of its shards, half and half, {PER_SECOND} a second by 64 clients of the \
         nodes that stayed (open loop): for {} s before, until the last hint is delivered, and for {} s after. {trials} trials, each \
         with a store of its own.",
        QUIET.as_secs(),
        QUIET.as_secs(),
    ));
    let seconds = Ratio::of(delivered.iter().map(|one| one.seconds).collect());
    section.verdicts.push(Verdict::new(
        "hints: until all are delivered, in the slowest trial",
        format!("below {SECONDS_MAX} s"),
        format!("{:.1} s", seconds.greatest),
        Some(seconds.greatest < SECONDS_MAX),
    ));
    let slower = |idle: fn(&Delivered) -> f64| {
        Ratio::of(delivered.iter().map(|one| one.during.p99 / idle(one)).collect())
    };
    let over_after = slower(|one| one.after.p99);
    let slower = slower(|one| one.before.p99);
    let claim = "hints: p99 of the foreground meanwhile, over before";
    section.verdicts.push(below(claim, slower, SLOWER_MAX));
    section.verdicts.push(told("hints: the same, over after", over_after));
    let head = ["hints", "seconds", "part", "requests", "failed", "p50 us", "p99 us", "most us"];
    let mut table = Table::new(&head);
    for one in &delivered {
        for (name, part) in [
            ("before", &one.before),
            ("while hints are delivered", &one.during),
            ("after", &one.after),
        ] {
            table.row([
                one.hints.to_string(),
                format!("{:.1}", one.seconds),
                name.to_owned(),
                (part.count + part.failed).to_string(),
                part.failed.to_string(),
                format!("{:.0}", part.p50),
                format!("{:.0}", part.p99),
                format!("{:.0}", part.max),
            ]);
        }
    }
    section.table = Some(table);
    section.data = json!(delivered);
    Ok(vec![section])
}

fn deliver(bench: &Bench, number: usize, wanted: u64) -> Result<Delivered> {
    let policy = LeaderlessPolicy {
        write: Quorum::SloppyQuorum,
        hints: Some(Hints::default()),
        ..LeaderlessPolicy::default()
    };
    let mut store = Quorate::start(Options {
        binary: bench.node.clone(),
        directory: bench.data.join(format!("hints-{number}")),
        nodes: NODES,
        shards: SHARDS,
        policy: Policy::default(),
        mode: Mode::Leaderless(policy.into()),
        namespaces: None,
        settings: String::new(),
    })?;
    let keys = |count| keys::by_shard(keys::keys(count), SHARDS);
    let foreground = keys(KEYS_OF_CLIENTS * u64::from(SHARDS)).swap_remove(OF_CLIENTS);
    let foreground = others(&store, foreground);
    preload(&foreground.divided(STAY))?;
    for at in AWAY {
        store.kill(at)?;
    }
    for keys in keys(wanted * u64::from(SHARDS) * 11 / 20).into_iter().take(WITHOUT_QUORUM) {
        preload(&others(&store, keys).divided(STAY))?;
    }
    let (hints, bytes) = store.hints(BACK)?;
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
    store.start_again(BACK)?;
    store.await_ready()?;
    let begin = Instant::now();
    load.take();
    await_condition("that all hints are delivered", DELIVERY_TIMEOUT, || {
        // To be asked costs the nodes something, too.
        std::thread::sleep(LOOKED_AT_EVERY);
        Ok(store.hints(BACK)?.0 == 0)
    })?;
    let took = begin.elapsed();
    let during = load.take();
    progress(&format!("delivered after {:.1} s", took.as_secs_f64()));
    std::thread::sleep(QUIET);
    let after = load.finish()?;
    store.start_again(AWAY[1])?;
    await_equal(&store)?;
    Ok(Delivered { hints, bytes, seconds: took.as_secs_f64(), before, during, after })
}

/// Clients of the nodes that stay.
fn others(store: &Quorate, keys: Vec<Bytes>) -> Target {
    let mut target = store.plain_target(keys);
    for at in AWAY {
        target.places.remove(at);
    }
    target
}
