//! How long nobody is served when a leader goes, and what is lost: killed, frozen, cut off, and asked to hand over.
//!
//! Clients are connected to the nodes that stay, as clients of a cluster are after their first failure. The gap is the
//! longest time between two acknowledgements around the fault.

pub(super) mod outage;
mod trial;

use std::sync::Arc;

use anyhow::Result;
use quorate_model::{Durability, Mode, Policy};
use serde_json::json;

use super::contest::quantile;
use super::{Bench, Level};
use crate::progress;
use crate::report::{Section, Table, Verdict};
use crate::system::etcd::Etcd;
use crate::system::namespaces::Namespaces;
use crate::system::quorate::{Options, Quorate};
use trial::{Fault, Outcome, Subject};

/// Milliseconds.
const KILL_MEDIAN: f64 = 300.0;
const KILL_P99: f64 = 1000.0;
const HANG_P99: f64 = 2000.0;
const SWITCHOVER_MAX: f64 = 50.0;

/// All trials of one system and one fault.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Trials {
    system: String,
    fault: Fault,
    outcomes: Vec<Outcome>,
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Section>> {
    let title = "Failover: the gap between acknowledgements, and acknowledged writes lost";
    let mut section = Section::new("failover", title);
    let mut all = Vec::new();
    quorate(bench, &mut section, &mut all)?;
    asynchronous(bench, &mut section, &mut all)?;
    match &bench.etcd {
        Ok(binary) => {
            let etcd = Etcd::start(binary, &bench.data.join("failover-etcd"))?;
            let mut subject = Subject::Etcd(etcd);
            for fault in [Fault::Kill, Fault::Freeze] {
                all.push(repeat(bench, "etcd", &mut subject, fault)?);
            }
        }
        Err(why) => section.skipped.push(format!("etcd: {why}")),
    }
    section.skipped.push("Redis: without Sentinel a primary that is lost stays lost".to_owned());
    section.table = Some(table(&all));
    section.data = json!(all);
    Ok(vec![section])
}

/// Under `Quorum`: every fault.
fn quorate(bench: &Bench, section: &mut Section, all: &mut Vec<Trials>) -> Result<()> {
    let namespaces = namespaces(section);
    let mut faults = vec![Fault::Kill, Fault::Freeze];
    faults.extend(namespaces.is_some().then_some(Fault::Cut));
    faults.push(Fault::Switchover);
    let store = start(bench, "failover", Policy::default(), Mode::SingleLeader, namespaces)?;
    let mut subject = Subject::Quorate(Box::new(store));
    for fault in faults {
        let trials = repeat(bench, "Quorate Quorum", &mut subject, fault)?;
        judge(section, &trials);
        all.push(trials);
    }
    Ok(())
}

/// Under `Async` a kill may lose what it acknowledged; the report must name exactly that.
fn asynchronous(bench: &Bench, section: &mut Section, all: &mut Vec<Trials>) -> Result<()> {
    let mut store = start(bench, "failover-async", Policy::default(), Mode::SingleLeader, None)?;
    let policy = Policy { durability: Durability::Async, ..Policy::default() };
    if let Err(error) = store.switch(&policy) {
        section.skipped.push(format!("Async: this build does not know it: {error:#}"));
        return Ok(());
    }
    let mut subject = Subject::Quorate(Box::new(store));
    for fault in [Fault::Kill, Fault::Freeze] {
        let trials = repeat(bench, "Quorate Async", &mut subject, fault)?;
        let lost: usize = trials.outcomes.iter().map(|outcome| outcome.lost).sum();
        let unreported: usize = trials.outcomes.iter().map(|outcome| outcome.unreported).sum();
        section.verdicts.push(Verdict::new(
            &format!(
                "{}, Async: acknowledged writes lost that no rollback file holds",
                fault.name()
            ),
            "0".to_owned(),
            format!("{unreported} of {lost} lost"),
            Some(unreported == 0),
        ));
        all.push(trials);
    }
    Ok(())
}

/// To cut a node off in.
fn namespaces(section: &mut Section) -> Option<Arc<Namespaces>> {
    match Namespaces::create() {
        Ok(namespaces) => Some(Arc::new(namespaces)),
        Err(error) => {
            section.skipped.push(format!("cut: no network namespaces here: {error:#}"));
            None
        }
    }
}

fn start(
    bench: &Bench,
    name: &str,
    policy: Policy,
    mode: Mode,
    namespaces: Option<Arc<Namespaces>>,
) -> Result<Quorate> {
    Quorate::start(Options {
        binary: bench.node.clone(),
        directory: bench.data.join(name),
        nodes: 3,
        shards: bench.shards,
        policy,
        mode,
        namespaces,
        settings: String::new(),
    })
}

fn repeat(bench: &Bench, system: &str, subject: &mut Subject, fault: Fault) -> Result<Trials> {
    let trials = match bench.level {
        Level::Smoke => 1,
        Level::Quick => 5,
        Level::Full => 30,
    };
    let mut outcomes = Vec::new();
    for number in 0..trials {
        let outcome = trial::run(subject, fault)?;
        progress(&format!(
            "{system}, {}, trial {}: {:.0} ms, {} of {} lost, {} not reported",
            fault.name(),
            number + 1,
            outcome.gap_ms,
            outcome.lost,
            outcome.acknowledged,
            outcome.unreported,
        ));
        outcomes.push(outcome);
    }
    Ok(Trials { system: system.to_owned(), fault, outcomes })
}

fn judge(section: &mut Section, trials: &Trials) {
    let gaps = trials.gaps();
    let (p50, p99) = (quantile(&gaps, 0.5), quantile(&gaps, 0.99));
    let name = trials.fault.name();
    let mut verdict = |what: &str, measured: f64, wanted: f64| {
        section.verdicts.push(Verdict::new(
            &format!("{name}: {what} of the gap"),
            format!("below {wanted} ms"),
            format!("{measured:.0} ms"),
            Some(measured < wanted),
        ));
    };
    match trials.fault {
        Fault::Kill => {
            verdict("median", p50, KILL_MEDIAN);
            verdict("p99", p99, KILL_P99);
        }
        Fault::Freeze | Fault::Cut => verdict("p99", p99, HANG_P99),
        Fault::Switchover => {
            verdict("median", p50, SWITCHOVER_MAX);
            verdict("p99", p99, SWITCHOVER_MAX);
        }
    }
    let lost: usize = trials.outcomes.iter().map(|outcome| outcome.lost).sum();
    let acknowledged: usize = trials.outcomes.iter().map(|outcome| outcome.acknowledged).sum();
    section.verdicts.push(Verdict::new(
        &format!("{name}: acknowledged writes lost"),
        "0".to_owned(),
        format!("{lost} of {acknowledged}"),
        Some(lost == 0),
    ));
}

impl Trials {
    fn gaps(&self) -> Vec<f64> {
        self.outcomes.iter().map(|outcome| outcome.gap_ms).collect()
    }
}

fn table(all: &[Trials]) -> Table {
    let head = [
        "system",
        "fault",
        "trials",
        "gap p50 ms",
        "p99 ms",
        "max ms",
        "acknowledged",
        "lost",
        "lost and not reported",
    ];
    let mut table = Table::new(&head);
    for trials in all {
        let gaps = trials.gaps();
        let sum =
            |of: fn(&Outcome) -> usize| trials.outcomes.iter().map(of).sum::<usize>().to_string();
        table.row([
            trials.system.clone(),
            trials.fault.name().to_owned(),
            gaps.len().to_string(),
            format!("{:.0}", quantile(&gaps, 0.5)),
            format!("{:.0}", quantile(&gaps, 0.99)),
            format!("{:.0}", quantile(&gaps, 1.0)),
            sum(|outcome| outcome.acknowledged),
            sum(|outcome| outcome.lost),
            sum(|outcome| outcome.unreported),
        ]);
    }
    table
}
