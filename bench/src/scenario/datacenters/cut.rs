//! Datacenters that were cut off from each other while one was written to at full load: how soon the other one has all, and what
//! clients of both notice of that.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::{CLIENTS, Datacenters, HERE, LOOKED_AT_EVERY, THERE, finish, marked};
use crate::load::{Latencies, Load, Operation, Shape, preload};
use crate::progress;
use crate::report::{Section, Table, Verdict};
use crate::scenario::contest::Ratio;
use crate::scenario::operations::{below, told};
use crate::scenario::{Bench, Level};

/// Of the cut.
const CAUGHT_UP_SHARE: f64 = 0.2;
const SLOWER_MAX: f64 = 2.0;
/// Of each datacenter's clients.
const PER_SECOND: f64 = 250.0;
const KEYS_OF_CLIENTS: u64 = 10_000;
const FOREGROUND: Shape = Shape {
    alternative: Some(Operation::Get),
    rate: Some(PER_SECOND),
    ..Shape::closed(Operation::Set, 32)
};
const WARM_UP: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_secs(10);
/// What the load leaves behind here is done with.
const SETTLED: Duration = Duration::from_secs(2);

/// One cut, and what came after it.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct CaughtUp {
    cut_seconds: f64,
    written: u64,
    seconds: f64,
    /// The log here no longer went back far enough.
    behind_the_log: bool,
    /// Of the clients here, and of those there.
    before: [Latencies; 2],
    meanwhile: [Latencies; 2],
    after: [Latencies; 2],
}

pub(in crate::scenario) fn run(bench: &Bench) -> Result<Vec<Section>> {
    let (seconds, trials) = match bench.level {
        Level::Smoke => (5, 1),
        Level::Quick => (30, 3),
        Level::Full => (600, 1),
    };
    let cut = Duration::from_secs(seconds);
    let mut all = Vec::new();
    for number in 0..trials {
        let datacenters = Datacenters::start(bench, &format!("cut-{number}"))?;
        all.push(datacenters.cut_off(cut)?);
        progress(&format!("{:?}", all.last()));
    }
    let mut section =
        Section::new("cut", "Two datacenters after they were cut off from each other");
    section.notes.push(format!(
        "{seconds} s without a line between them, under SETs by {CLIENTS} clients of one (closed loop), which end when the line is \
         back. The foreground is SETs and GETs, half and half, {PER_SECOND:.0} a second by 32 clients of each datacenter (open loop): for \
         {} s before, until all that was written during the cut is seen in the other one, and for {} s after. {trials} trials, each \
         with a store of its own.",
        QUIET.as_secs(),
        QUIET.as_secs()
    ));
    let took = Ratio::of(all.iter().map(|one| one.seconds).collect());
    let wanted = CAUGHT_UP_SHARE * cut.as_secs_f64();
    section.verdicts.push(Verdict::new(
        &format!("a cut of {seconds} s under full load: until all is seen, in the slowest trial"),
        format!("below {wanted:.0} s"),
        format!("{:.1} s", took.greatest),
        Some(took.greatest < wanted),
    ));
    for (at, place) in [(0, "that gives"), (1, "that takes")] {
        let slower = |idle: fn(&CaughtUp) -> &[Latencies; 2]| {
            Ratio::of(all.iter().map(|one| one.meanwhile[at].p99 / idle(one)[at].p99).collect())
        };
        let of = format!("p99 of the foreground of the datacenter {place} meanwhile");
        section.verdicts.push(below(
            &format!("{of}, over before"),
            slower(|one| &one.before),
            SLOWER_MAX,
        ));
        section.verdicts.push(told(&format!("{of}, over after"), slower(|one| &one.after)));
    }
    section.table = Some(table(&all));
    section.data = json!(all);
    Ok(vec![section])
}

fn table(all: &[CaughtUp]) -> Table {
    let head = [
        "cut s",
        "SETs",
        "caught up in s",
        "by the log",
        "part",
        "clients",
        "requests",
        "failed",
        "p50 us",
        "p99 us",
        "most us",
    ];
    let mut table = Table::new(&head);
    for one in all {
        let parts = [
            ("before", &one.before),
            ("while it catches up", &one.meanwhile),
            ("after", &one.after),
        ];
        for (name, [here, there]) in parts {
            for (clients, part) in [("where it is written", here), ("where it arrives", there)] {
                table.row([
                    format!("{:.0}", one.cut_seconds),
                    one.written.to_string(),
                    format!("{:.1}", one.seconds),
                    if one.behind_the_log { "no" } else { "yes" }.to_owned(),
                    name.to_owned(),
                    clients.to_owned(),
                    (part.count + part.failed).to_string(),
                    part.failed.to_string(),
                    format!("{:.0}", part.p50),
                    format!("{:.0}", part.p99),
                    format!("{:.0}", part.max),
                ]);
            }
        }
    }
    table
}

impl Datacenters {
    fn cut_off(&self, cut: Duration) -> Result<CaughtUp> {
        let foreground = [self.foreground(HERE)?, self.foreground(THERE)?];
        let take = || foreground.each_ref().map(Load::take);
        std::thread::sleep(WARM_UP);
        foreground.iter().for_each(Load::record);
        std::thread::sleep(QUIET);
        let before = take();
        self.wan.cut();
        progress("cut off");
        let load = self.full_load()?;
        std::thread::sleep(cut);
        let written = load.done();
        finish(load)?;
        take();
        self.wan.mend();
        progress("the line is back");
        let (seconds, behind_the_log) = self.caught_up()?;
        let meanwhile = take();
        std::thread::sleep(SETTLED);
        take();
        std::thread::sleep(QUIET);
        let after = take();
        for load in foreground {
            if let Some(why) = load.reason() {
                progress(&format!("the first failure of the foreground: {why}"));
            }
            load.finish()?;
        }
        Ok(CaughtUp {
            cut_seconds: cut.as_secs_f64(),
            written,
            seconds,
            behind_the_log,
            before,
            meanwhile,
            after,
        })
    }

    /// How long until all that is written by now is seen there, and whether not from the log.
    fn caught_up(&self) -> Result<(f64, bool)> {
        let mut behind = false;
        std::thread::scope(|scope| {
            let seen = scope.spawn(|| self.await_seen());
            while !seen.is_finished() {
                behind |= self.store.taken(THERE).is_ok_and(|taken| taken.behind);
                std::thread::sleep(LOOKED_AT_EVERY);
            }
            seen.join().map_err(|_| anyhow::anyhow!("whoever looks panicked"))?
        })
        .map(|took| (took.as_secs_f64(), behind))
    }

    fn foreground(&self, datacenter: usize) -> Result<Load> {
        // Each datacenter's clients have keys of their own: conflicts are not what is measured.
        let keys = marked(&format!("dc-{datacenter}:"), KEYS_OF_CLIENTS);
        let target = self.store.target_in(datacenter, keys)?;
        preload(&target)?;
        Load::start(&target, FOREGROUND)
    }
}
