//! The project's own commands: a cluster with the product on it, images, checks, tests.
//!
//! Run as `cargo xtask <command>`. It starts other programs and reads files; it may not depend on
//! the data plane or on a Kubernetes client, so that it builds in seconds.

mod bench;
mod crds;
mod fixtures;
mod fuzz;
mod images;
mod model_check;
mod planted;
mod schemas;
mod sim;
mod test;
mod tidy;
mod up;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Everything one does with a clone of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring up a Kubernetes cluster with the product and a first store; repeat at will.
    Up(up::Args),
    /// Remove the cluster and all that it left on this machine.
    Down,
    /// Build the container images, and load them when there is a cluster.
    Images,
    /// Write the CustomResourceDefinitions to crds/ and to the chart, and the chart to examples/install.yaml.
    Crds(crds::Args),
    /// Check the house rules.
    Tidy,
    /// Search every order of events in small groups; minutes.
    ModelCheck,
    /// Run the simulation.
    Sim(sim::Args),
    /// Measure Quorate against etcd and Redis.
    Bench(bench::Args),
    /// Show that the simulation finds every bug that is planted on purpose.
    Planted(planted::Args),
    /// Write the data directories of this version anew that tests open for ever.
    Fixtures,
    /// Give every reader bytes that nobody wrote.
    Fuzz(fuzz::Args),
    /// Run the tests.
    Test(test::Args),
}

#[expect(clippy::print_stderr, reason = "an error is the command's answer")]
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    match Cli::parse().command {
        Command::Up(args) => up::run(&args),
        Command::Down => up::down(),
        Command::Images => images::run(),
        Command::Crds(args) => crds::run(&args),
        Command::Tidy => tidy::run(),
        Command::ModelCheck => model_check::run(),
        Command::Sim(args) => sim::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Planted(args) => planted::run(&args),
        Command::Fixtures => fixtures::run(),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Test(args) => test::run(&args),
    }
}
