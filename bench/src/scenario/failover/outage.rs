//! One of three nodes goes while clients of all three read and write at a quorum: who has to ask twice, who asks in vain,
//! and what the others notice.
//!
//! An open loop: a node that is gone must not make the load lighter. A client whose node does not answer asks the next
//! one, once, and stays there.

use std::time::Duration;

use anyhow::Result;
use quorate_model::{LeaderlessPolicy, Mode, Policy};
use serde_json::json;

use super::trial::{Fault, Subject};
use super::{namespaces, start};
use crate::load::{Latencies, Load, Operation, Shape, Target, keys, preload};
use crate::progress;
use crate::report::{Section, Table, Verdict};
use crate::scenario::contest::Ratio;
use crate::scenario::leaderless::warm_up;
use crate::scenario::operations::{below, told};
use crate::scenario::{Bench, Level};
use crate::system::cassandra::Cassandra;

const OURS: &str = "Quorate leaderless";
const KEYS: u64 = 10_000;
const NODES: usize = 3;
/// Far below what any of them can do.
const PER_SECOND: f64 = 500.0;
const PATIENCE: Duration = Duration::from_millis(500);
const WARM_UP: Duration = Duration::from_secs(3);
const BEFORE: Duration = Duration::from_secs(5);
/// What the fault itself costs falls into this.
const FIRST: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(5);
const SLOWER_MAX: f64 = 2.0;

/// All trials of one system and one fault.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Trials {
    system: &'static str,
    fault: Fault,
    outcomes: Vec<Outcome>,
}

#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    before: Latencies,
    /// The first second after the fault.
    first: Latencies,
    /// From the second second on.
    later: Latencies,
    /// Why the first of the requests that failed did.
    reason: Option<String>,
}

pub(in crate::scenario) fn run(bench: &Bench) -> Result<Vec<Section>> {
    let title = "One of three nodes lost under a mixed load at a quorum";
    let mut section = Section::new("outage", title);
    section.notes.push(format!(
        "SETs and GETs, half and half, {PER_SECOND} a second by 64 clients of all three nodes (open loop). A client that has \
         no answer within {} ms, or an error, asks the next node, once; if that fails too the request has failed.",
        PATIENCE.as_millis()
    ));
    let namespaces = namespaces(&mut section);
    let mut faults = vec![Fault::Kill, Fault::Freeze];
    faults.extend(namespaces.is_some().then_some(Fault::Cut));
    let mut all = Vec::new();
    let mode = Mode::Leaderless(LeaderlessPolicy::default().into());
    let store = start(bench, "outage", Policy::default(), mode, namespaces.clone())?;
    prepare(&store.target(keys::keys(KEYS))?)?;
    measure(bench, OURS, Subject::Quorate(Box::new(store)), &faults, &mut all)?;
    match &bench.cassandra {
        Ok(installed) => {
            let directory = bench.data.join("outage-cassandra");
            let cassandra = Cassandra::start(installed, &directory, namespaces)?;
            prepare(&cassandra.target(keys::keys(KEYS)))?;
            warm_up(bench.level, &cassandra.target(keys::keys(KEYS)))?;
            measure(bench, "Cassandra", Subject::Cassandra(cassandra), &faults, &mut all)?;
        }
        Err(why) => section.skipped.push(format!("Cassandra: {why}")),
    }
    for trials in &all {
        judge(&mut section, trials);
    }
    section.table = Some(table(&all));
    section.data = json!(all);
    Ok(vec![section])
}

/// Each place has all keys: they are written through one.
fn prepare(target: &Target) -> Result<()> {
    let places = target.places.iter().take(1).cloned().collect();
    preload(&Target { places, ..target.clone() })
}

fn measure(
    bench: &Bench,
    system: &'static str,
    mut subject: Subject,
    faults: &[Fault],
    all: &mut Vec<Trials>,
) -> Result<()> {
    let trials = match bench.level {
        Level::Smoke => 1,
        Level::Quick => NODES,
        Level::Full => 3 * NODES,
    };
    for fault in faults {
        let mut outcomes = Vec::new();
        for number in 0..trials {
            let outcome = trial(&mut subject, number % NODES, *fault)?;
            progress(&format!(
                "{system}, {}, trial {}: {} of {} failed, {} asked twice, p99 {:.0} us before, {:.0} at first, {:.0} later{}",
                fault.name(),
                number + 1,
                outcome.sum(|part| part.failed),
                outcome.sum(|part| part.count + part.failed),
                outcome.sum(|part| part.retried),
                outcome.before.p99,
                outcome.first.p99,
                outcome.later.p99,
                outcome.reason.as_ref().map(|why| format!(" ({why})")).unwrap_or_default(),
            ));
            outcomes.push(outcome);
        }
        all.push(Trials { system, fault: *fault, outcomes });
    }
    Ok(())
}

fn trial(subject: &mut Subject, victim: usize, fault: Fault) -> Result<Outcome> {
    subject.await_ready()?;
    let shape = Shape {
        alternative: Some(Operation::Get),
        rate: Some(PER_SECOND),
        patience: Some(PATIENCE),
        ..Shape::closed(Operation::Set, 64)
    };
    let load = Load::start(&subject.target(keys::keys(KEYS))?, shape)?;
    std::thread::sleep(WARM_UP);
    load.record();
    std::thread::sleep(BEFORE);
    let before = load.take();
    subject.strike(victim, fault)?;
    std::thread::sleep(FIRST);
    let first = load.take();
    std::thread::sleep(LATER);
    let reason = load.reason();
    let later = load.finish()?;
    subject.heal(victim, fault)?;
    Ok(Outcome { before, first, later, reason })
}

fn judge(section: &mut Section, trials: &Trials) {
    let (system, fault) = (trials.system, trials.fault.name());
    let failed = trials.sum(|part| part.failed);
    // Nothing is demanded of others.
    let (wanted, met) = match system == OURS {
        true => ("0", Some(failed == 0)),
        false => ("-", None),
    };
    section.verdicts.push(Verdict::new(
        &format!("{system}, {fault}: requests that failed, with one retry"),
        wanted.to_owned(),
        format!("{failed} of {}", trials.sum(|part| part.count + part.failed)),
        met,
    ));
    let claim = format!("{system}, {fault}: p99 from the second second on, over before");
    section.verdicts.push(match system == OURS {
        true => below(&claim, trials.slower(), SLOWER_MAX),
        false => told(&claim, trials.slower()),
    });
}

impl Trials {
    fn sum(&self, of: impl Fn(&Latencies) -> u64) -> u64 {
        self.outcomes.iter().map(|outcome| outcome.sum(&of)).sum()
    }

    fn values(&self, of: impl Fn(&Outcome) -> f64) -> Ratio {
        Ratio::of(self.outcomes.iter().map(of).collect())
    }

    fn slower(&self) -> Ratio {
        self.values(|outcome| outcome.later.p99 / outcome.before.p99)
    }
}

impl Outcome {
    fn sum(&self, of: impl Fn(&Latencies) -> u64) -> u64 {
        of(&self.before) + of(&self.first) + of(&self.later)
    }
}

fn table(all: &[Trials]) -> Table {
    let head = [
        "system",
        "fault",
        "trials",
        "requests",
        "asked twice",
        "failed",
        "p99 before us",
        "in the first second us",
        "from the second on us",
        "most us",
    ];
    let mut table = Table::new(&head);
    for trials in all {
        let median = |of: fn(&Outcome) -> f64| format!("{:.0}", trials.values(of).median);
        table.row([
            trials.system.to_owned(),
            trials.fault.name().to_owned(),
            trials.outcomes.len().to_string(),
            trials.sum(|part| part.count + part.failed).to_string(),
            trials.sum(|part| part.retried).to_string(),
            trials.sum(|part| part.failed).to_string(),
            median(|outcome| outcome.before.p99),
            median(|outcome| outcome.first.p99),
            median(|outcome| outcome.later.p99),
            format!("{:.0}", trials.values(|outcome| outcome.later.max).greatest),
        ]);
    }
    table
}
