//! `test`: everything that CI runs, in the order in which failures are cheapest.
//!
//! A failed stage does not stop the next one: one run shows all that is wrong. The closing line
//! counts tests, and every stage that is not made of tests as one.

mod e2e;
mod stage;
mod unit;

use std::time::Duration;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::sim;
use stage::Stages;

const SEEDS: u64 = 2000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    /// Format, lints, house rules, unit and integration tests: needs no root.
    Unit,
    /// The deterministic simulation.
    Sim,
    /// Tests on a Kubernetes cluster.
    E2e,
    All,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, value_enum, default_value = "all")]
    level: Level,
    /// Seeds of the simulation.
    #[arg(long, default_value_t = SEEDS)]
    seeds: u64,
    /// Leave the cluster up after the tests, as it is when one fails.
    #[arg(long)]
    keep_cluster: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut stages = Stages::default();
    let includes = |level| args.level == level || args.level == Level::All;
    if includes(Level::Unit) {
        unit::run(&mut stages);
    }
    if includes(Level::Sim) {
        for mode in sim::MODES {
            let mut simulation = sim::command(mode, sim::seeds(mode, args.seeds), 1);
            stages.tests(&format!("simulation: {mode}"), &mut simulation);
        }
    }
    if includes(Level::E2e) {
        e2e::run(&mut stages, args.keep_cluster);
    }
    report(&stages)
}

#[expect(clippy::print_stdout, reason = "this is the command's answer")]
fn report(stages: &Stages) -> Result<()> {
    println!("\n{:<44} {:>8} {:>7} {:>7}", "stage", "seconds", "passed", "failed");
    for outcome in stages.outcomes() {
        println!(
            "{:<44} {:>8.1} {:>7} {:>7}",
            outcome.name,
            outcome.took.as_secs_f64(),
            outcome.passed,
            outcome.failed
        );
    }
    let (passed, failed) = stages.totals();
    let took: Duration = stages.outcomes().iter().map(|outcome| outcome.took).sum();
    println!("{:<44} {:>8.1}", "all", took.as_secs_f64());
    for outcome in stages.outcomes().iter().filter(|outcome| outcome.failed > 0) {
        println!("failed: {}: {}", outcome.name, outcome.error);
    }
    println!("{passed} passed, {failed} failed");
    if failed > 0 {
        bail!("{failed} failed");
    }
    Ok(())
}
