//! `sim`: the simulation.

use anyhow::Result;
use quorate_e2e::cluster::command::visible;

use crate::workspace::cargo;

/// Those that are there.
pub(crate) const MODES: [&str; 3] = ["single-leader", "leaderless", "multi-leader"];

/// How many of so many seeds of a mode are as much work as those of the others: with several datacenters more happens in each.
pub(crate) fn seeds(mode: &str, seeds: u64) -> u64 {
    if mode == "multi-leader" { seeds / 5 } else { seeds }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The replication mode to simulate.
    #[arg(long, default_value = "single-leader")]
    mode: String,
    /// How many seeds.
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Go on for so many minutes, instead of a number of seeds.
    #[arg(long)]
    minutes: Option<f64>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut run = command(&args.mode, args.seeds, args.from);
    if let Some(minutes) = args.minutes {
        run.args(["--minutes", &minutes.to_string()]);
    }
    visible(&mut run)
}

/// Optimised: a seed is thousands of steps, and asserts stay on.
pub(crate) fn command(mode: &str, seeds: u64, from: u64) -> std::process::Command {
    let mut run = cargo(["run", "--quiet", "--profile", "fast", "-p", "quorate-sim"]);
    run.args(["--bin", "quorate-sim", "--", "--mode", mode]);
    run.args(["--seeds", &seeds.to_string(), "--from", &from.to_string()]);
    run
}
