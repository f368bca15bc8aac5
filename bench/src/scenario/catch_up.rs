//! How fast an empty follower gets a gigabyte, and what the clients notice of it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use quorate_model::{Mode, Policy};
use serde_json::json;

use super::{Bench, Level};
use crate::load::{Load, Operation, Shape, Target, keys, preload};
use crate::progress;
use crate::report::{Section, Table, Verdict};
use crate::system::etcd::Etcd;
use crate::system::quorate::{Options, Quorate};
use crate::system::redis::Redis;

const REDIS_RATIO: f64 = 3.0;
const ETCD_RATIO: f64 = 1.0;
const FOREGROUND_RATIO: f64 = 2.0;
/// What clients do meanwhile: an open loop, so that a stall is seen.
const FOREGROUND: Shape = Shape { rate: Some(500.0), ..Shape::closed(Operation::Set, 16) };
const COPY_CHUNK: usize = 1 << 20;
/// As it is installed, and as fast as it goes.
const WITHIN_RATE: &str = "Quorate, 64 MiB/s";
const UNLIMITED: &str = "Quorate, no limit";
const NO_LIMIT: &str = "replication:\n  catch_up_bytes_per_second: 0\n";
/// The least that a segment allows: a small store would be caught up with from the log alone otherwise.
const SHORT_LOG: &str = "storage:\n  log_kept_bytes: 67108864\n";

/// What one catch-up was like.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct CaughtUp {
    system: String,
    seconds: f64,
    /// Of keys and values.
    megabytes_per_second: f64,
    /// Microseconds, of the clients' writes.
    p99_before: f64,
    p99_meanwhile: f64,
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Section>> {
    let count = match bench.level {
        Level::Smoke => 10_000,
        Level::Quick => 1_000_000,
        Level::Full => 10_000_000,
    };
    let bytes = count * (keys::KEY_BYTES + keys::VALUE_BYTES) as u64;
    let title = "Catch-up of an empty follower with values of 100 bytes";
    let mut section = Section::new("catch-up", title);
    section.notes.push(format!(
        "{count} keys of 16 bytes with values of 100 bytes, {} MB together; every rate counts these bytes. Clients \
         write 500 times a second meanwhile (open loop).",
        bytes / 1_000_000
    ));
    let copy = raw_copy(&bench.data, bytes)?;
    let mut all = Vec::new();
    for (name, rate) in [(WITHIN_RATE, ""), (UNLIMITED, NO_LIMIT)] {
        all.push(quorate(bench, (name, rate), count, bytes)?);
    }
    match &bench.redis {
        Ok(binary) => all.push(redis(bench, binary, count, bytes)?),
        Err(why) => section.skipped.push(format!("Redis: {why}")),
    }
    match &bench.etcd {
        Ok(binary) => all.push(etcd(bench, binary, count, bytes)?),
        Err(why) => section.skipped.push(format!("etcd: {why}")),
    }
    for (system, wanted) in [("Redis", REDIS_RATIO), ("etcd", ETCD_RATIO)] {
        if let (Some(ours), Some(theirs)) = (rate(&all, UNLIMITED), rate(&all, system)) {
            section.verdicts.push(Verdict::new(
                &format!("catch-up: rate over {system}'s"),
                format!("at least {wanted}"),
                format!("{:.2}", ours / theirs),
                Some(ours / theirs >= wanted),
            ));
        }
    }
    if let Some(ours) = all.iter().find(|one| one.system == WITHIN_RATE) {
        let ratio = ours.p99_meanwhile / ours.p99_before;
        section.verdicts.push(Verdict::new(
            "catch-up within the rate limit: the clients' p99 meanwhile over before",
            format!("below {FOREGROUND_RATIO}"),
            format!("{ratio:.2}"),
            Some(ratio < FOREGROUND_RATIO),
        ));
    }
    let mut table =
        Table::new(&["system", "seconds", "MB/s", "clients' p99 before, us", "meanwhile, us"]);
    table.row([
        "raw copy in the page cache".to_owned(),
        String::new(),
        format!("{copy:.0}"),
        String::new(),
        String::new(),
    ]);
    for one in &all {
        table.row([
            one.system.clone(),
            format!("{:.1}", one.seconds),
            format!("{:.0}", one.megabytes_per_second),
            format!("{:.0}", one.p99_before),
            format!("{:.0}", one.p99_meanwhile),
        ]);
    }
    section.table = Some(table);
    section.data = json!({ "rawCopyMegabytesPerSecond": copy, "systems": all });
    Ok(vec![section])
}

fn rate(all: &[CaughtUp], system: &str) -> Option<f64> {
    all.iter().find(|one| one.system == system).map(|one| one.megabytes_per_second)
}

fn quorate(bench: &Bench, (name, rate): (&str, &str), count: u64, bytes: u64) -> Result<CaughtUp> {
    let directory = bench.data.join("catch-up-quorate");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    let log = if bench.level == Level::Full { "" } else { SHORT_LOG };
    let mut store = Quorate::start(Options {
        binary: bench.node.clone(),
        directory,
        nodes: 3,
        shards: bench.shards,
        policy: Policy::default(),
        mode: Mode::SingleLeader,
        namespaces: None,
        settings: format!("{rate}{log}"),
    })?;
    let target = store.target(keys::keys(count))?;
    fill(name, &target)?;
    // The last node is replaced: clients write where the others lead.
    let mut staying = target;
    let last = store.cluster_address_of_last();
    staying.places.retain(|place| Some(&place.address) != last.as_ref());
    watch(name, &staying, bytes, |begun| store.replace_last(begun))
}

fn redis(bench: &Bench, binary: &Path, count: u64, bytes: u64) -> Result<CaughtUp> {
    let mut redis = Redis::start(binary, &bench.data.join("catch-up-redis"))?;
    redis.set_appendfsync("everysec")?;
    let target = redis.target(keys::keys(count));
    fill("Redis", &target)?;
    redis.set_appendfsync("always")?;
    watch("Redis", &target, bytes, |begun| redis.replace_replica(begun))
}

fn etcd(bench: &Bench, binary: &Path, count: u64, bytes: u64) -> Result<CaughtUp> {
    let mut etcd = Etcd::start(binary, &bench.data.join("catch-up-etcd"))?;
    let target = etcd.target(keys::keys(count))?;
    fill("etcd", &target)?;
    let known = keys::key(count - 1);
    watch("etcd", &target, bytes, |begun| etcd.replace_follower(&known, begun))
}

fn fill(system: &str, target: &Target) -> Result<()> {
    let begin = Instant::now();
    preload(target)?;
    progress(&format!("{system} filled in {:.0} s", begin.elapsed().as_secs_f64()));
    Ok(())
}

/// The clients' p99 before a follower is replaced, and while the empty one catches up.
fn watch(
    system: &str,
    target: &Target,
    bytes: u64,
    catch_up: impl FnOnce(&dyn Fn()) -> Result<Duration>,
) -> Result<CaughtUp> {
    const BEFORE: Duration = Duration::from_secs(5);
    let load = Load::start(target, FOREGROUND)?;
    std::thread::sleep(Duration::from_secs(1));
    load.record();
    std::thread::sleep(BEFORE);
    let before = load.take();
    let took = catch_up(&|| {
        load.take();
    })?
    .as_secs_f64();
    let meanwhile = load.finish()?;
    #[expect(clippy::cast_precision_loss, reason = "megabytes for people")]
    let megabytes = bytes as f64 / 1e6;
    let caught_up = CaughtUp {
        system: system.to_owned(),
        seconds: took,
        megabytes_per_second: megabytes / took,
        p99_before: before.p99,
        p99_meanwhile: meanwhile.p99,
    };
    progress(&format!("{caught_up:?}"));
    Ok(caught_up)
}

/// Megabytes a second of copying as many bytes from file to file, in the page cache.
fn raw_copy(data: &Path, bytes: u64) -> Result<f64> {
    let (from, to) = (data.join("copy-from"), data.join("copy-to"));
    let mut chunk = vec![7; COPY_CHUNK];
    let mut file = File::create(&from)?;
    for _ in 0..bytes.div_ceil(COPY_CHUNK as u64) {
        file.write_all(&chunk)?;
    }
    let begin = Instant::now();
    let (mut source, mut sink) = (File::open(&from)?, File::create(&to)?);
    loop {
        let read = source.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        sink.write_all(&chunk[..read])?;
    }
    let took = begin.elapsed().as_secs_f64();
    std::fs::remove_file(&from)?;
    std::fs::remove_file(&to)?;
    #[expect(clippy::cast_precision_loss, reason = "megabytes for people")]
    Ok(bytes as f64 / 1e6 / took)
}
