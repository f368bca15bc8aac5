//! How fast a node that was away comes to hold what the others do, without hints and without any read, and what that moves.
//!
//! One percent of the keys changes while one of three nodes is down. Replicas are equal when the hashes of all their cells are,
//! by the nodes' own word. What the nodes send for it is counted until well after that, so that what is sent twice counts, too.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use quorate_model::admin::ComparedReport;
use quorate_model::{LeaderlessPolicy, Mode, Policy};
use serde_json::json;

use super::{Bench, Level};
use crate::load::{keys, preload};
use crate::progress;
use crate::report::{Section, Table, Verdict};
use crate::system::await_condition;
use crate::system::quorate::{Options, Quorate};

/// One key of so many is changed.
const CHANGED: usize = 100;
const AWAY: usize = 2;
const SECONDS_MAX: f64 = 60.0;
const DIFFERENCES_RATIO: f64 = 2.0;
const TREE_SHARE: f64 = 0.01;
/// Of a shard: 65,536 leaves and what is above them, eight bytes each.
const TREE_BYTES: f64 = 8.0 * 69_905.0;
const EQUAL_TIMEOUT: Duration = Duration::from_secs(300);
/// Longer than replicas leave between two comparisons.
const AFTERWARDS: Duration = Duration::from_secs(12);

#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Repaired {
    keys: u64,
    changed: usize,
    /// From when the process of the node is started, and from when it serves.
    seconds: f64,
    seconds_since_serving: f64,
    bytes: f64,
    cells: u64,
    cell_bytes: f64,
    /// The changed cells once: key, value and version.
    difference_bytes: f64,
    tree_bytes: f64,
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Section>> {
    let count = match bench.level {
        Level::Smoke => 10_000,
        Level::Quick => 100_000,
        Level::Full => 1_000_000,
    };
    let repaired = repair(bench, count)?;
    let mut section =
        Section::new("repair", "A node that was away is made equal by comparing alone");
    section.notes.push(format!(
        "{} keys of 16 bytes with values of 100 bytes on three nodes, {} shards; one node is killed, {} keys are changed, the \
         other nodes are restarted, so that nothing in their memory waits for the one that is away, and it comes back. No hints, no reads.",
        repaired.keys, bench.shards, repaired.changed
    ));
    let wanted = DIFFERENCES_RATIO * repaired.difference_bytes + TREE_SHARE * repaired.tree_bytes;
    section.verdicts.push(Verdict::new(
        "repair: until all replicas are equal",
        format!("below {SECONDS_MAX} s"),
        format!("{:.1} s", repaired.seconds),
        Some(repaired.seconds < SECONDS_MAX),
    ));
    section.verdicts.push(Verdict::new(
        "repair: bytes moved",
        format!(
            "at most {DIFFERENCES_RATIO} times the differences and 1 % of the tree, {wanted:.0}"
        ),
        format!(
            "{:.0}, {:.2} times the differences",
            repaired.bytes,
            repaired.bytes / repaired.difference_bytes
        ),
        Some(repaired.bytes <= wanted),
    ));
    let head = [
        "keys",
        "changed",
        "seconds",
        "since it serves",
        "bytes moved",
        "of them cells",
        "cells",
        "differences, bytes",
    ];
    let mut table = Table::new(&head);
    table.row([
        repaired.keys.to_string(),
        repaired.changed.to_string(),
        format!("{:.1}", repaired.seconds),
        format!("{:.1}", repaired.seconds_since_serving),
        format!("{:.0}", repaired.bytes),
        format!("{:.0}", repaired.cell_bytes),
        repaired.cells.to_string(),
        format!("{:.0}", repaired.difference_bytes),
    ]);
    section.table = Some(table);
    section.data = json!(repaired);
    Ok(vec![section])
}

fn repair(bench: &Bench, count: u64) -> Result<Repaired> {
    let mut store = Quorate::start(Options {
        binary: bench.node.clone(),
        directory: bench.data.join("repair"),
        nodes: 3,
        shards: bench.shards,
        policy: Policy::default(),
        mode: Mode::Leaderless(LeaderlessPolicy::default().into()),
        namespaces: None,
        settings: String::new(),
    })?;
    let begin = Instant::now();
    preload(&store.target(keys::keys(count))?.divided(3))?;
    progress(&format!("filled in {:.0} s", begin.elapsed().as_secs_f64()));
    await_equal(&store)?;
    store.kill(AWAY)?;
    let changed: Vec<_> = keys::keys(count).into_iter().step_by(CHANGED).collect();
    let number = changed.len();
    preload(&store.target(changed)?.divided(AWAY))?;
    // What waits in memory for the node to come back would mend it at once: nothing is left but to compare.
    for at in 0..AWAY {
        store.kill(at)?;
        store.start_again(at)?;
    }
    store.await_ready()?;
    let before = sum(&store)?;
    let begin = Instant::now();
    store.start_again(AWAY)?;
    store.await_ready()?;
    let serving = begin.elapsed();
    await_equal(&store)?;
    let equal = begin.elapsed();
    progress(&format!("equal after {:.1} s", equal.as_secs_f64()));
    std::thread::sleep(AFTERWARDS);
    let after = sum(&store)?;
    let (bytes, cells) = (after.bytes - before.bytes, after.cells - before.cells);
    let cell_bytes = float(after.cell_bytes - before.cell_bytes);
    Ok(Repaired {
        keys: count,
        changed: number,
        seconds: equal.as_secs_f64(),
        seconds_since_serving: (equal - serving).as_secs_f64(),
        bytes: float(bytes),
        cells,
        cell_bytes,
        difference_bytes: cell_bytes / float(cells.max(1)) * float(number as u64),
        tree_bytes: TREE_BYTES * f64::from(bench.shards),
    })
}

pub(super) fn await_equal(store: &Quorate) -> Result<Duration> {
    await_condition("that all replicas are equal", EQUAL_TIMEOUT, || {
        let mut roots = BTreeMap::new();
        let compared = store.compared()?;
        Ok(compared.iter().all(|(shard, one)| *roots.entry(*shard).or_insert(one.root) == one.root))
    })
}

fn sum(store: &Quorate) -> Result<ComparedReport> {
    let shards = store.compared()?.into_iter();
    Ok(shards.fold(ComparedReport::default(), |sum, (_, one)| ComparedReport {
        bytes: sum.bytes + one.bytes,
        cell_bytes: sum.cell_bytes + one.cell_bytes,
        cells: sum.cells + one.cells,
        ..sum
    }))
}

#[expect(clippy::cast_precision_loss, reason = "bytes for people")]
const fn float(count: u64) -> f64 {
    count as f64
}
