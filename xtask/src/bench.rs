//! `bench`: builds what is measured as it is released, and measures it.

use anyhow::Result;
use quorate_e2e::cluster::command::visible;

use crate::workspace::{cargo, root, target_dir};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Minutes instead of an hour.
    #[arg(long)]
    quick: bool,
    /// What to measure: write, read, async, failover, catchup, idle; of mode leaderless: leaderless, outage, repair, hints; of mode
    /// multi-leader: distance, exchange, cut. All of the mode by default.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The replication mode to measure.
    #[arg(long, default_value = "single-leader")]
    mode: String,
    /// Where the table and the JSON go, without the ending; each mode has a place of its own by default.
    #[arg(long)]
    output: Option<String>,
    /// Further arguments of `quorate-bench`, after `--`.
    #[arg(last = true)]
    more: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let packages = ["-p", "quorate-node", "-p", "quorate-bench"];
    visible(cargo(["build", "--release", "--bins"]).args(packages))?;
    let folder = target_dir()?.join("release");
    let mut bench = std::process::Command::new(folder.join("quorate-bench"));
    bench.current_dir(root()).arg("--node").arg(folder.join("quorate-node"));
    let output = args.output.as_deref().unwrap_or(match args.mode.as_str() {
        "leaderless" => "docs/benchmarks/leaderless",
        "multi-leader" => "docs/benchmarks/multi-leader",
        _ => "docs/benchmarks/latest",
    });
    bench.args(["--mode", &args.mode, "--output", output]);
    if args.quick {
        bench.arg("--quick");
    }
    if !args.only.is_empty() {
        bench.args(["--only", &args.only.join(",")]);
    }
    visible(bench.args(&args.more))
}
