//! What distance costs a write, which it should not notice, and when the other datacenter sees it.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::{CLIENTS, Datacenters, HERE, ONE_WAY, THERE, marked};
use crate::load::visibility::{Plan, Seen, Visibility};
use crate::load::{Latencies, Load, Operation, Shape, keys};
use crate::progress;
use crate::report::{Section, Table, Verdict};
use crate::scenario::contest::{Contestant, Ratio, contest_after, table};
use crate::scenario::operations::{at_most, told};
use crate::scenario::{Bench, Level};

const NEAR: &str = "0 ms apart";
const FAR: &str = "80 ms apart";
const SLOWER_MAX: f64 = 1.1;
/// So that what the turn before left is seen everywhere.
const SETTLED: Duration = Duration::from_millis(500);
const WARM_UP: Duration = Duration::from_secs(3);
const PER_SECOND: f64 = 100.0;
/// Each is seen long before it is written again.
const SEEN_KEYS: u64 = 10_000;
/// Milliseconds, beside the distance.
const SEEN_P50: f64 = 20.0;
const SEEN_P99: f64 = 100.0;

/// One turn of writes at a rate, and when they were seen there.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Turn {
    one_way_ms: f64,
    per_second: f64,
    writes: Latencies,
    seen: Seen,
}

pub(in crate::scenario) fn run(bench: &Bench) -> Result<Vec<Section>> {
    let datacenters = Datacenters::start(bench, "distance")?;
    let (local, at_full) = local(bench, &datacenters)?;
    Ok(vec![local, visibility(bench, &datacenters, at_full / 2.0)?])
}

/// Writes here, with the other datacenter near and far; how many there are in a second when it is far.
fn local(bench: &Bench, datacenters: &Datacenters) -> Result<(Section, f64)> {
    let mut section =
        Section::new("distance", "Durable SET of 100 bytes in one of two datacenters");
    section.notes.push(
        "Two datacenters of three nodes, each with its leader; clients of one of them. Both systems are the same store: what the \
         datacenters send each other goes through the same router, which holds it back for 0 or 80 ms each way. Processor time is \
         that of all six nodes."
            .to_owned(),
    );
    let mut all = Vec::new();
    for clients in [1, CLIENTS] {
        let contestant = |name: &str| -> Result<Contestant> {
            Ok(Contestant {
                name: name.to_owned(),
                target: datacenters.target(HERE)?,
                shape: Shape::closed(Operation::Set, clients),
                pids: datacenters.store.pids(),
            })
        };
        let contestants = [contestant(NEAR)?, contestant(FAR)?];
        let series = contest_after(bench, &contestants, |next| {
            put_apart(datacenters, if next.name == FAR { ONE_WAY } else { Duration::ZERO })
        })?;
        if let [near, far] = &series[..] {
            let of = format!("SET in one of two datacenters, {clients} clients");
            let p50 = far.ratio(near, |sample| sample.latency.p50);
            let claim = format!("{of}: median with 80 ms between them over without");
            section.verdicts.push(at_most(&claim, p50, SLOWER_MAX));
            let throughput = far.ratio(near, |sample| sample.per_second);
            section.verdicts.push(told(&format!("{of}: throughput, the same"), throughput));
        }
        all.extend(series);
    }
    let at_full = all.last().context("there are series")?.median(|sample| sample.per_second);
    section.table = Some(table(&all));
    section.data = json!(all);
    Ok((section, at_full))
}

fn put_apart(datacenters: &Datacenters, one_way: Duration) -> Result<()> {
    datacenters.wan.set_one_way(one_way);
    datacenters.await_seen()?;
    std::thread::sleep(SETTLED);
    Ok(())
}

/// At half of what the clients make at most.
fn visibility(bench: &Bench, datacenters: &Datacenters, per_second: f64) -> Result<Section> {
    let title = "When a reader in the other datacenter sees a write, at half load";
    let mut section = Section::new("visibility", title);
    section.notes.push(format!(
        "{per_second:.0} SETs a second by {CLIENTS} clients of one datacenter (open loop), and {PER_SECOND:.0} more, for which a \
         reader of the other one looks every millisecond, the oldest first."
    ));
    let mut turns = Vec::new();
    for round in 0..bench.rounds() {
        let mut distances = [Duration::ZERO, ONE_WAY];
        if round % 2 == 1 {
            distances.reverse();
        }
        for one_way in distances {
            let turn = look(bench, datacenters, one_way, per_second)?;
            progress(&format!("{turn:?}"));
            turns.push(turn);
        }
    }
    let one_way_ms = ONE_WAY.as_secs_f64() * 1e3;
    let far = || turns.iter().filter(|turn| turn.one_way_ms > 0.0);
    let ms = |of: fn(&Seen) -> f64| Ratio::of(far().map(|turn| of(&turn.seen) / 1e3).collect());
    for (claim, within, measured) in [
        ("p50 since it was sent", Some(SEEN_P50), ms(|seen| seen.since_sent.p50)),
        ("p99 since it was sent", Some(SEEN_P99), ms(|seen| seen.since_sent.p99)),
        ("p50 since it was acknowledged", None, ms(|seen| seen.since_acknowledged.p50)),
        ("p99 since it was acknowledged", None, ms(|seen| seen.since_acknowledged.p99)),
    ] {
        let wanted = within.map(|within| one_way_ms + within);
        section.verdicts.push(Verdict::new(
            &format!("a write is seen {one_way_ms} ms away, at half load: {claim}"),
            wanted.map_or_else(|| "-".to_owned(), |wanted| format!("below {wanted} ms")),
            format!(
                "{:.0} ms ({:.0} to {:.0})",
                measured.median, measured.least, measured.greatest
            ),
            wanted.map(|wanted| measured.median < wanted),
        ));
    }
    section.table = Some(seen(&turns));
    section.data = json!(turns);
    Ok(section)
}

fn seen(turns: &[Turn]) -> Table {
    let head = [
        "apart, ms",
        "SETs a second",
        "SET p50 us",
        "p99 us",
        "looked for",
        "seen since sent p50 ms",
        "p99 ms",
        "most ms",
        "since acknowledged p50 ms",
        "p99 ms",
    ];
    let mut table = Table::new(&head);
    for turn in turns {
        let (sent, acknowledged) = (&turn.seen.since_sent, &turn.seen.since_acknowledged);
        table.row([
            format!("{:.0}", turn.one_way_ms),
            format!("{:.0}", turn.per_second),
            format!("{:.0}", turn.writes.p50),
            format!("{:.0}", turn.writes.p99),
            sent.count.to_string(),
            format!("{:.1}", sent.p50 / 1e3),
            format!("{:.1}", sent.p99 / 1e3),
            format!("{:.1}", sent.max / 1e3),
            format!("{:.1}", acknowledged.p50 / 1e3),
            format!("{:.1}", acknowledged.p99 / 1e3),
        ]);
    }
    table
}

fn look(
    bench: &Bench,
    datacenters: &Datacenters,
    one_way: Duration,
    per_second: f64,
) -> Result<Turn> {
    let seconds = match bench.level {
        Level::Smoke => 2,
        Level::Quick => 10,
        Level::Full => 30,
    };
    put_apart(datacenters, one_way)?;
    // Of one shard, and none that a turn before has written.
    let keys = marked(&format!("visible:{}:", rand::random::<u64>()), SEEN_KEYS);
    let keys = keys::by_shard(keys, datacenters.store.shards()).swap_remove(0);
    let address = |datacenter| -> Result<String> {
        let places = datacenters.store.target_in(datacenter, keys.clone())?.places;
        Ok(places.into_iter().next().context("a leader")?.address)
    };
    let shape = Shape { rate: Some(per_second), ..Shape::closed(Operation::Set, CLIENTS) };
    let load = Load::start(&datacenters.target(HERE)?, shape)?;
    let visibility = Visibility::start(Plan {
        writer: address(HERE)?,
        reader: address(THERE)?,
        keys: keys.clone(),
        per_second: PER_SECOND,
        one_way,
    })?;
    std::thread::sleep(WARM_UP);
    load.record();
    visibility.record();
    std::thread::sleep(Duration::from_secs(seconds));
    let seen = visibility.finish()?;
    let writes = load.finish()?;
    Ok(Turn { one_way_ms: one_way.as_secs_f64() * 1e3, per_second, writes, seen })
}
