//! Whether the other datacenter keeps up with full load, and what a change costs it against what the write cost here.
//!
//! Turns linked, where both work at once and share the machine, and apart, where first the writes and then the changes have it
//! for themselves.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::{CLIENTS, Datacenters, HERE, LOOKED_AT_EVERY, THERE, finish, float};
use crate::load::Load;
use crate::measure::process;
use crate::progress;
use crate::report::{Section, Table, Verdict};
use crate::scenario::contest::Ratio;
use crate::scenario::operations::{at_least, below, told};
use crate::scenario::{Bench, Level};
use crate::system::quorate::Taken;

const WARM_UP: Duration = Duration::from_secs(3);
/// Of what was written there may lack so many seconds' worth, whenever one looks: a round trip of 160 ms, what is asked for then,
/// and what a machine with two processors leaves lying meanwhile.
const BEHIND_SECONDS_MAX: f64 = 2.0;
/// A ratio is told to two digits.
const EVEN: f64 = 0.995;

/// Both datacenters at a moment.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Instant,
    written: u64,
    taken: Taken,
    here: Duration,
    there: Duration,
}

/// Full load here, while the other one takes it.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Linked {
    seconds: f64,
    written_per_second: f64,
    taken_per_second: f64,
    /// Writes acknowledged here and not there, whenever one looked: at the most, and at the end of the load.
    behind_most: u64,
    behind_at_end: u64,
    lag_ms_most: u64,
    /// From the end of the load until all is seen.
    emptied_seconds: f64,
    /// Microseconds of processor time.
    write_cpu: f64,
    change_cpu: f64,
}

/// Full load here while both are cut off from each other, and then the changes without load.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Apart {
    written: u64,
    written_per_second: f64,
    write_cpu: f64,
    taken: u64,
    taken_per_second: f64,
    change_cpu: f64,
    /// Of who gives it.
    given_cpu: f64,
    /// What went over the line, both ways, for each.
    bytes: f64,
}

pub(in crate::scenario) fn run(bench: &Bench) -> Result<Vec<Section>> {
    let datacenters = Datacenters::start(bench, "exchange")?;
    let (mut linked, mut apart) = (Vec::new(), Vec::new());
    for round in 0..bench.rounds() {
        for turn in if round % 2 == 0 { [true, false] } else { [false, true] } {
            if turn {
                // A leader that was replaced counted for nothing; the next turn has one that stays.
                let turn = datacenters.linked(bench).or_else(|error| {
                    progress(&format!("once more: {error:#}"));
                    datacenters.linked(bench)
                });
                linked.push(turn?);
                progress(&format!("{:?}", linked.last()));
            } else {
                apart.push(datacenters.apart(bench)?);
                progress(&format!("{:?}", apart.last()));
            }
        }
    }
    Ok(vec![while_linked(&linked), afterwards(&apart)])
}

fn while_linked(turns: &[Linked]) -> Section {
    let mut section =
        Section::new("exchange", "The other datacenter takes what is written at full load");
    section.notes.push(format!(
        "SETs by {CLIENTS} clients of one datacenter (closed loop), 80 ms each way. Behind is what is acknowledged there and not taken \
         here, looked at twice a second. Processor time is that of a datacenter's three nodes."
    ));
    let ratio = |of: fn(&Linked) -> f64| Ratio::of(turns.iter().map(of).collect());
    let kept_up = ratio(|turn| turn.taken_per_second / turn.written_per_second);
    section.verdicts.push(Verdict::new(
        "full load: changes taken over writes acknowledged",
        "at least 1.00".to_owned(),
        format!("{:.2} ({:.2} to {:.2})", kept_up.median, kept_up.least, kept_up.greatest),
        Some(kept_up.median >= EVEN),
    ));
    let behind = ratio(|turn| float(turn.behind_most) / turn.written_per_second);
    section.verdicts.push(Verdict::new(
        "full load: behind at most, in seconds of writes",
        format!("below {BEHIND_SECONDS_MAX}"),
        format!("{:.2} ({:.2} to {:.2})", behind.median, behind.least, behind.greatest),
        Some(behind.greatest < BEHIND_SECONDS_MAX),
    ));
    let claim = "full load: processor time of a change over that of its write";
    section.verdicts.push(below(claim, ratio(|turn| turn.change_cpu / turn.write_cpu), 1.0));
    let head = [
        "seconds",
        "SETs a second",
        "changes a second",
        "behind at most",
        "at the end",
        "lag at most ms",
        "all seen after s",
        "CPU us/SET here",
        "CPU us/change there",
    ];
    let mut table = Table::new(&head);
    for turn in turns {
        table.row([
            format!("{:.0}", turn.seconds),
            format!("{:.0}", turn.written_per_second),
            format!("{:.0}", turn.taken_per_second),
            turn.behind_most.to_string(),
            turn.behind_at_end.to_string(),
            turn.lag_ms_most.to_string(),
            format!("{:.1}", turn.emptied_seconds),
            format!("{:.1}", turn.write_cpu),
            format!("{:.1}", turn.change_cpu),
        ]);
    }
    section.table = Some(table);
    section.data = json!(turns);
    section
}

fn afterwards(turns: &[Apart]) -> Section {
    let title = "Writes alone, and then their changes alone";
    let mut section = Section::new("exchange-apart", title);
    section.notes.push(
        "The same while the datacenters are cut off from each other, and then, without load, from when the line is back until the \
         other one has taken all: neither disturbs the other."
            .to_owned(),
    );
    let ratio = |of: fn(&Apart) -> f64| Ratio::of(turns.iter().map(of).collect());
    let rate = ratio(|turn| turn.taken_per_second / turn.written_per_second);
    let claim = "one after the other: changes a second over writes a second";
    section.verdicts.push(at_least(claim, rate, 1.0));
    let claim = "one after the other: processor time of a change over that of its write";
    section.verdicts.push(below(claim, ratio(|turn| turn.change_cpu / turn.write_cpu), 1.0));
    let claim = "one after the other: processor time of giving a change, over that of its write";
    section.verdicts.push(told(claim, ratio(|turn| turn.given_cpu / turn.write_cpu)));
    let head = [
        "SETs",
        "SETs a second",
        "CPU us/SET",
        "changes",
        "changes a second",
        "CPU us/change there",
        "CPU us/change given",
        "bytes/change",
    ];
    let mut table = Table::new(&head);
    for turn in turns {
        table.row([
            turn.written.to_string(),
            format!("{:.0}", turn.written_per_second),
            format!("{:.1}", turn.write_cpu),
            turn.taken.to_string(),
            format!("{:.0}", turn.taken_per_second),
            format!("{:.1}", turn.change_cpu),
            format!("{:.1}", turn.given_cpu),
            format!("{:.0}", turn.bytes),
        ]);
    }
    section.table = Some(table);
    section.data = json!(turns);
    section
}

impl Datacenters {
    fn linked(&self, bench: &Bench) -> Result<Linked> {
        self.await_seen()?;
        let taken_before = self.store.taken(THERE)?.changes;
        let load = self.full_load()?;
        std::thread::sleep(WARM_UP);
        let begin = self.moment(&load)?;
        let (mut behind_most, mut lag_ms_most) = (0, 0);
        let behind = |moment: &Moment| {
            moment.written.saturating_sub(moment.taken.changes.saturating_sub(taken_before))
        };
        let mut end = begin;
        while begin.at.elapsed() < duration(bench) {
            std::thread::sleep(LOOKED_AT_EVERY);
            end = self.moment(&load)?;
            behind_most = behind_most.max(behind(&end));
            lag_ms_most = lag_ms_most.max(end.taken.lag_ms);
        }
        finish(load)?;
        let emptied = self.await_seen()?;
        let seconds = (end.at - begin.at).as_secs_f64();
        let written = float((end.written - begin.written).max(1));
        let taken = end.taken.changes.checked_sub(begin.taken.changes);
        let taken = float(taken.context("there is another leader, which counts from zero")?.max(1));
        Ok(Linked {
            seconds,
            written_per_second: written / seconds,
            taken_per_second: taken / seconds,
            behind_most,
            behind_at_end: behind(&end),
            lag_ms_most,
            emptied_seconds: emptied.as_secs_f64(),
            write_cpu: us(begin.here, end.here) / written,
            change_cpu: us(begin.there, end.there) / taken,
        })
    }

    fn apart(&self, bench: &Bench) -> Result<Apart> {
        self.await_seen()?;
        self.wan.cut();
        let load = self.full_load()?;
        std::thread::sleep(WARM_UP);
        let begin = self.moment(&load)?;
        std::thread::sleep(duration(bench));
        let end = self.moment(&load)?;
        let changes = load.done();
        finish(load)?;
        let seconds = (end.at - begin.at).as_secs_f64();
        let written = end.written - begin.written;
        let (here, there) = (self.cpu(HERE)?, self.cpu(THERE)?);
        let (bytes, mended) = (self.wan.bytes(), Instant::now());
        self.wan.mend();
        self.await_seen()?;
        let took = mended.elapsed().as_secs_f64();
        let each = |total: f64| total / float(changes.max(1));
        Ok(Apart {
            written,
            written_per_second: float(written) / seconds,
            write_cpu: us(begin.here, end.here) / float(written.max(1)),
            taken: changes,
            taken_per_second: float(changes) / took,
            change_cpu: each(us(there, self.cpu(THERE)?)),
            given_cpu: each(us(here, self.cpu(HERE)?)),
            bytes: each(float(self.wan.bytes() - bytes)),
        })
    }

    fn moment(&self, load: &Load) -> Result<Moment> {
        let taken = self.store.taken(THERE)?;
        Ok(Moment {
            at: Instant::now(),
            written: load.done(),
            taken,
            here: self.cpu(HERE)?,
            there: self.cpu(THERE)?,
        })
    }

    fn cpu(&self, datacenter: usize) -> Result<Duration> {
        process::cpu_of_all(&self.store.pids_in(datacenter))
    }
}

fn duration(bench: &Bench) -> Duration {
    Duration::from_secs(match bench.level {
        Level::Smoke => 3,
        Level::Quick => 20,
        Level::Full => 60,
    })
}

fn us(before: Duration, after: Duration) -> f64 {
    after.saturating_sub(before).as_secs_f64() * 1e6
}
