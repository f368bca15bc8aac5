//! `quorate-bench`: Quorate and its peers, three processes each, under the same load on the same machine.
//!
//! `cargo xtask bench` builds what is measured and runs this. It measures from outside only: it knows the protocols and the
//! admin API, and nothing of the data plane's inside. What is missing on a machine is reported as skipped.

mod load;
mod measure;
mod report;
mod scenario;
mod system;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

use report::Report;
use scenario::{Bench, Level, Scenario};

/// Measures Quorate against etcd and Redis.
#[derive(Debug, Parser)]
#[command(name = "quorate-bench")]
struct Arguments {
    /// The release build of `quorate-node`
    #[arg(long)]
    node: PathBuf,
    /// How much: `smoke` is seconds and Quorate alone, `quick` minutes, `full` an hour
    #[arg(long, value_enum, default_value = "full")]
    level: Level,
    /// As `--level quick`
    #[arg(long)]
    quick: bool,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// How the store replicates: each mode has its own peers and scenarios
    #[arg(long, value_enum, default_value = "single-leader")]
    mode: Mode,
    /// Shards of the store that is measured; etcd and Redis have one leader, and so has a store of one shard
    #[arg(long, default_value_t = 1)]
    shards: u16,
    /// Quorate alone, to look for what bounds it
    #[arg(long)]
    alone: bool,
    /// Seconds of each turn, if not the level's
    #[arg(long)]
    seconds: Option<u64>,
    /// Where the systems keep their data while they run; below the user's cache by default
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where the table and the JSON go, without the ending
    #[arg(long)]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    SingleLeader,
    Leaderless,
    MultiLeader,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let level = if arguments.quick { Level::Quick } else { arguments.level };
    let cache = cache()?;
    let data = arguments.data.clone().unwrap_or_else(|| cache.join("run"));
    let data = data.join(std::process::id().to_string());
    std::fs::create_dir_all(&data)?;
    let peers = !arguments.alone && level != Level::Smoke;
    let bench = Bench {
        shards: arguments.shards,
        turn: arguments.seconds.map(Duration::from_secs).unwrap_or_else(|| level.turn()),
        ..Bench::prepare(&arguments.node, arguments.mode, level, peers, &data, &cache)
    };
    let mut report = Report::begin(&bench)?;
    for scenario in scenario::wanted(arguments.mode, level, &arguments.only) {
        progress(&format!("== {scenario:?}"));
        match scenario.run(&bench) {
            Ok(sections) => report.sections.extend(sections),
            Err(error) => report.failed(scenario, &error),
        }
        // What is measured is kept even when a later part is interrupted.
        if let Some(output) = &arguments.output {
            report.save(output)?;
        }
    }
    std::fs::remove_dir_all(&data).ok();
    writeln!(std::io::stdout(), "{}", report.markdown())?;
    Ok(())
}

/// Where downloads and builds of peers are kept.
fn cache() -> Result<PathBuf> {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    Ok(home.context("neither XDG_CACHE_HOME nor HOME is set")?.join("quorate/bench"))
}

/// What the user sees while it runs.
fn progress(line: &str) {
    // A closed terminal must not end a measurement.
    writeln!(std::io::stderr(), "{line}").ok();
}
