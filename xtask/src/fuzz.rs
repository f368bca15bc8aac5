//! `fuzz`: everything that reads bytes from outside or from a disk, given bytes that nobody wrote.

use std::process::Command;

use anyhow::{Context, Result};
use quorate_e2e::cluster::command::{output, visible};

use crate::workspace::{cargo, root};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Targets; without any all of them.
    targets: Vec<String>,
    /// For each target.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Of the mutations.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run this one input instead.
    #[arg(long)]
    input: Option<String>,
    /// By libFuzzer, guided by coverage: needs the nightly toolchain and cargo-fuzz. What it learns stays in target/fuzz.
    #[arg(long)]
    guided: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.guided {
        return guided(args);
    }
    // Built for debugging, so that an overflow is found.
    let mut run = cargo(["run", "--quiet", "-p", "quorate-fuzz", "--"]);
    run.args(&args.targets);
    if let Some(input) = &args.input {
        return visible(run.args(["--input", input]));
    }
    visible(run.args(["--minutes", &args.minutes.to_string(), "--seed", &args.seed.to_string()]))
}

/// One program for all targets, which finds its own corpus and is told the committed one.
fn guided(args: &Args) -> Result<()> {
    let mut list = cargo(["run", "--quiet", "-p", "quorate-fuzz", "--", "--list"]);
    let all = output(list.args(&args.targets))?;
    let learnt = root().join("target/fuzz");
    let seeds = learnt.join("seeds");
    let write = ["run", "--quiet", "-p", "quorate-fuzz", "--", "--write-seeds"];
    visible(cargo(write).arg(&seeds).args(&args.targets))?;
    let seconds = (args.minutes * 60.0).ceil().to_string();
    for target in all.lines() {
        let corpus = learnt.join("corpus").join(target);
        std::fs::create_dir_all(&corpus).context("cannot make the folder of the corpus")?;
        // The proxy of rustup: the cargo that runs this one is of another toolchain.
        let mut run = Command::new("cargo");
        run.current_dir(root()).args(["+nightly", "fuzz", "run", "--fuzz-dir", "fuzz/libfuzzer"]);
        run.args(["--sanitizer", "none", "--debug-assertions", "any"]).arg(&corpus);
        run.arg(seeds.join(target)).env("QUORATE_FUZZ_TARGET", target);
        run.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        run.args(["--", &format!("-max_total_time={seconds}"), "-timeout=10", "-max_len=4096"]);
        visible(&mut run)?;
    }
    Ok(())
}
