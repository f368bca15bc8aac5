//! Writes and reads under load, against the peers with the same promise.

use anyhow::Result;
use quorate_model::{Durability, Policy};
use serde_json::json;

use super::contest::{Contestant, Ratio, Series, contest, table};
use super::fleet::{Fleet, KEYS, Peers};
use super::{Bench, Level};
use crate::load::{Operation, Shape, keys};
use crate::progress;
use crate::report::{Section, Verdict};

/// Clients of the claims.
const FEW: usize = 1;
const MANY: usize = 64;
const CROWD: usize = 256;
const PIPELINE: usize = 16;
const ETCD_RATIO: f64 = 4.0;
/// The open loop's rate, as a share of what etcd does at its best: both must be able to keep up.
const OPEN_SHARE: f64 = 0.5;

/// Clients of one process that share a connection, as the usual libraries have it.
const SHARING: usize = 8;
/// How many clients there are, and how many of them share a connection.
const CROWDS: [(usize, usize); 5] =
    [(FEW, 1), (MANY, 1), (MANY, SHARING), (CROWD, 1), (CROWD, SHARING)];

const fn shape(operation: Operation, clients: usize, sharing: usize, depth: usize) -> Shape {
    Shape { sharing, depth, ..Shape::closed(operation, clients) }
}

fn crowd(clients: usize, sharing: usize) -> String {
    match (clients, sharing) {
        (1, _) => "1 client".to_owned(),
        (_, 1) => format!("{clients} clients, a connection each"),
        _ => format!("{clients} clients over {} connections", clients.div_ceil(sharing)),
    }
}

/// Durable SET: Quorum against etcd, SemiSync against Redis that waits for a replica.
pub(super) fn write(bench: &Bench) -> Result<Vec<Section>> {
    let mut fleet = Fleet::start(bench, Peers::Both, Policy::default())?;
    let mut sections = vec![quorum(bench, &fleet)?];
    if bench.level != Level::Smoke {
        sections.push(semi_sync(bench, &mut fleet)?);
    }
    Ok(sections)
}

fn quorum(bench: &Bench, fleet: &Fleet) -> Result<Section> {
    let mut section = Section::new("write-quorum", "Durable SET of 100 bytes: Quorum against etcd");
    section.skipped.clone_from(&fleet.skipped);
    let mut all = Vec::new();
    for (clients, sharing) in CROWDS {
        let contestants = against_etcd(fleet, shape(Operation::Set, clients, sharing, 1))?;
        let series = contest(bench, &contestants)?;
        if let [ours, theirs] = &series[..] {
            let throughput = ours.ratio(theirs, |sample| sample.per_second);
            let p50 = ours.ratio(theirs, |sample| sample.latency.p50);
            let p99 = ours.ratio(theirs, |sample| sample.latency.p99);
            if clients == FEW {
                section.verdicts.push(at_most(
                    "Quorum SET, 1 client: median over etcd's",
                    p50,
                    1.0,
                ));
                section
                    .verdicts
                    .push(told("Quorum SET, 1 client: throughput over etcd's", throughput));
            } else {
                let crowd = crowd(clients, sharing);
                let claim = format!("Quorum SET, {crowd}: throughput over etcd's");
                section.verdicts.push(at_least(&claim, throughput, ETCD_RATIO));
                let claim = format!("Quorum SET, {crowd}: p99 over etcd's");
                section.verdicts.push(at_most(&claim, p99, 1.0));
            }
        }
        all.extend(series);
    }
    if let Some(rate) = open_rate(&all) {
        let open = Shape { rate: Some(rate), ..shape(Operation::Set, MANY, 1, 1) };
        let series = contest(bench, &against_etcd(fleet, open)?)?;
        if let [ours, theirs] = &series[..] {
            let p99 = ours.ratio(theirs, |sample| sample.latency.p99);
            let claim = "Quorum SET, open loop at half of etcd's best: p99 over etcd's";
            section.verdicts.push(told(claim, p99));
        }
        all.extend(series);
    }
    Ok(filled(section, &all))
}

/// Half of what etcd does with many clients.
fn open_rate(all: &[Series]) -> Option<f64> {
    let theirs = all.iter().find(|one| one.name == "etcd" && one.shape.clients == MANY)?;
    Some((theirs.median(|sample| sample.per_second) * OPEN_SHARE).round())
}

fn semi_sync(bench: &Bench, fleet: &mut Fleet) -> Result<Section> {
    let title = "Durable SET of 100 bytes: SemiSync against Redis with WAIT 1";
    let mut section = Section::new("write-semi-sync", title);
    section.skipped.clone_from(&fleet.skipped);
    section.notes.push(
        "Redis: `appendfsync always` on the primary and both replicas, `WAIT 1 0` behind each SET, in one \
         packet with it. WAIT says that a replica has received the write, not that it has synced it; the \
         in-sync follower of Quorate has."
            .to_owned(),
    );
    if !switched(fleet, Durability::SemiSync, &mut section) {
        return Ok(section);
    }
    let mut all = Vec::new();
    for sharing in [1, SHARING] {
        let mut contestants =
            vec![ours(fleet, "SemiSync", shape(Operation::Set, MANY, sharing, 1))?];
        contestants.extend(theirs(fleet, shape(Operation::SetWait, MANY, sharing, 1)));
        let series = contest(bench, &contestants)?;
        if let [ours, theirs @ ..] = &series[..] {
            for theirs in theirs {
                let throughput = ours.ratio(theirs, |sample| sample.per_second);
                let (crowd, name) = (crowd(MANY, sharing), &theirs.name);
                let claim = format!("SemiSync SET, {crowd}: throughput over {name}'s with WAIT 1");
                section.verdicts.push(at_least(&claim, throughput, 1.0));
            }
        }
        all.extend(series);
    }
    Ok(filled(section, &all))
}

pub(super) fn read(bench: &Bench) -> Result<Vec<Section>> {
    let fleet = Fleet::start(bench, Peers::Etcd, Policy::default())?;
    let mut section = Section::new("read", "Linearizable GET of 100 bytes against etcd");
    section.skipped.clone_from(&fleet.skipped);
    let mut all = Vec::new();
    for (clients, sharing) in CROWDS {
        let contestants = against_etcd(&fleet, shape(Operation::Get, clients, sharing, 1))?;
        let series = contest(bench, &contestants)?;
        if let [ours, theirs] = &series[..] {
            let throughput = ours.ratio(theirs, |sample| sample.per_second);
            let crowd = crowd(clients, sharing);
            let claim = format!("linearizable GET, {crowd}: throughput over etcd's");
            section.verdicts.push(match clients {
                MANY => at_least(&claim, throughput, ETCD_RATIO),
                _ => told(&claim, throughput),
            });
        }
        all.extend(series);
    }
    Ok(vec![filled(section, &all)])
}

/// `Async`, pipelined, against Redis that does not wait for replicas either.
pub(super) fn asynchronous(bench: &Bench) -> Result<Vec<Section>> {
    let mut fleet = Fleet::start(bench, Peers::Redis, Policy::default())?;
    let title = "SET of 100 bytes, pipelined by 16: Async against Redis with appendfsync always";
    let mut section = Section::new("write-async", title);
    section.skipped.clone_from(&fleet.skipped);
    if !switched(&mut fleet, Durability::Async, &mut section) {
        return Ok(vec![section]);
    }
    let shape = shape(Operation::Set, MANY, 1, PIPELINE);
    let mut contestants = vec![ours(&fleet, "Async", shape)?];
    contestants.extend(theirs(&fleet, shape));
    let series = contest(bench, &contestants)?;
    if let [ours, theirs @ ..] = &series[..] {
        for theirs in theirs {
            let throughput = ours.ratio(theirs, |sample| sample.per_second);
            let claim = format!("Async SET, pipelined by 16: throughput over {}'s", theirs.name);
            section.verdicts.push(at_least(&claim, throughput, 0.5));
        }
    }
    Ok(vec![filled(section, &series)])
}

fn switched(fleet: &mut Fleet, durability: Durability, section: &mut Section) -> bool {
    let policy = Policy { durability, ..Policy::default() };
    let switched = fleet.quorate.switch(&policy);
    if let Err(error) = &switched {
        let why = format!("Quorate: this build does not acknowledge by {durability:?}: {error:#}");
        progress(&why);
        section.skipped.push(why);
    }
    switched.is_ok()
}

fn against_etcd(fleet: &Fleet, shape: Shape) -> Result<Vec<Contestant>> {
    let mut contestants = vec![ours(fleet, "Quorum", shape)?];
    if let Some(etcd) = &fleet.etcd {
        contestants.push(Contestant {
            name: "etcd".to_owned(),
            target: etcd.target(keys::keys(KEYS))?,
            shape,
            pids: etcd.pids(),
        });
    }
    Ok(contestants)
}

fn ours(fleet: &Fleet, durability: &str, shape: Shape) -> Result<Contestant> {
    Ok(Contestant {
        name: format!("Quorate {durability}"),
        target: fleet.quorate.target(keys::keys(KEYS))?,
        shape,
        pids: fleet.quorate.pids(),
    })
}

fn theirs(fleet: &Fleet, shape: Shape) -> Vec<Contestant> {
    let contestant = |(name, redis): &(&'static str, crate::system::redis::Redis)| Contestant {
        name: (*name).to_owned(),
        target: redis.target(keys::keys(KEYS)),
        shape,
        pids: redis.pids(),
    };
    fleet.redis.iter().map(contestant).collect()
}

fn filled(mut section: Section, all: &[Series]) -> Section {
    section.table = Some(table(all));
    section.data = json!(all);
    section
}

pub(super) fn at_least(claim: &str, ratio: Ratio, wanted: f64) -> Verdict {
    Verdict::new(claim, format!("at least {wanted}"), shown(ratio), Some(ratio.median >= wanted))
}

pub(super) fn at_most(claim: &str, ratio: Ratio, wanted: f64) -> Verdict {
    Verdict::new(claim, format!("at most {wanted}"), shown(ratio), Some(ratio.median <= wanted))
}

pub(super) fn below(claim: &str, ratio: Ratio, wanted: f64) -> Verdict {
    Verdict::new(claim, format!("below {wanted}"), shown(ratio), Some(ratio.median < wanted))
}

pub(super) fn told(claim: &str, ratio: Ratio) -> Verdict {
    Verdict::new(claim, "-".to_owned(), shown(ratio), None)
}

fn shown(ratio: Ratio) -> String {
    format!("{:.2} ({:.2} to {:.2})", ratio.median, ratio.least, ratio.greatest)
}
