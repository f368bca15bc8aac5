//! `planted`: shows that every bug that is planted on purpose is found by the checker that is for it, and that the same seeds are
//! clean without it.

use anyhow::Result;
use quorate_e2e::cluster::command::visible;

use crate::sim::MODES;
use crate::workspace::cargo;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One replication mode; without it all of them.
    #[arg(long)]
    mode: Option<String>,
    /// One bug by its name; without it all of the mode.
    #[arg(long, default_value = "all", requires = "mode")]
    bug: String,
    /// How many seeds a bug may take.
    #[arg(long, default_value_t = 3000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.mode {
        Some(mode) => of_mode(args, mode),
        None => MODES.iter().try_for_each(|mode| of_mode(args, mode)),
    }?;
    if args.bug == "all" { in_tests() } else { Ok(()) }
}

/// In a process of its own, built with the feature: no other program is.
fn of_mode(args: &Args, mode: &str) -> Result<()> {
    let mut run = cargo(["run", "--quiet", "--profile", "fast", "-p", "quorate-sim"]);
    run.args(["--features", "planted", "--bin", "quorate-sim", "--", "--mode", mode]);
    run.args(["--seeds", &args.seeds.to_string(), "--from", &args.from.to_string()]);
    visible(run.args(["--planted", &args.bug]))
}

/// Those that tests of the crates are to find, of every mode: some of them no run of the simulation would show for long.
fn in_tests() -> Result<()> {
    let mut tests = cargo(["test", "--quiet", "--profile", "fast", "--lib"]);
    tests.args(["-p", "quorate-replication", "-p", "quorate-group"]);
    tests.args(["--features", "quorate-replication/planted,quorate-group/planted"]);
    visible(tests.arg("every_planted_bug_is_found"))
}
