//! Runs targets for a while, each input made from the corpus by a seed. What is found is written to a file and named.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use quorate_fuzz::{Mutator, Target, corpus_directory, target, targets};

/// An input that reached something new is not known here: now and then a mutated one becomes one to begin with.
const KEPT_MAX: usize = 256;
/// The slowest reader needs a hundredth of this.
const INPUT_TIME_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Parser)]
struct Args {
    /// Targets; without any all of them.
    targets: Vec<String>,
    /// For each target.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run this one input instead.
    #[arg(long)]
    input: Option<PathBuf>,
    /// Name the targets and end.
    #[arg(long)]
    list: bool,
    /// Write the seeds of each target into a folder of its name below this one.
    #[arg(long)]
    write_seeds: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let chosen: Vec<&'static Target> = if args.targets.is_empty() {
        targets().iter().collect()
    } else {
        let known = |name: &String| target(name).with_context(|| format!("no target {name}"));
        args.targets.iter().map(known).collect::<Result<_>>()?
    };
    if args.list {
        chosen.iter().for_each(|target| say(target.name));
        return Ok(());
    }
    if let Some(folder) = &args.write_seeds {
        return write_seeds(&chosen, folder);
    }
    if let Some(path) = &args.input {
        let input = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        chosen.iter().for_each(|target| target.run(&input));
        return Ok(());
    }
    thread::spawn(watch);
    let mut failed = 0;
    for target in &chosen {
        failed +=
            u64::from(!fuzz(target, Duration::from_secs_f64(args.minutes * 60.0), args.seed)?);
    }
    say(&format!("{} passed, {failed} failed", chosen.len() as u64 - failed));
    if failed > 0 {
        bail!("{failed} targets failed");
    }
    Ok(())
}

/// What runs at present, and since when: whoever looks from outside finds what does not end.
static RUNNING: Mutex<Option<(Instant, &'static str, Vec<u8>)>> = Mutex::new(None);

/// Ends the process when an input takes too long: nobody can end a thread.
fn watch() {
    loop {
        thread::sleep(Duration::from_secs(1));
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, name, input)) = running.as_ref()
            && since.elapsed() > INPUT_TIME_MAX
        {
            match keep(name, input) {
                Ok(command) => say(&format!("{name}: FAILED, an input takes too long: {command}")),
                Err(error) => say(&format!("{name}: FAILED, an input takes too long: {error:#}")),
            }
            std::process::exit(1);
        }
    }
}

/// Writes what was found and answers how to run it again.
fn keep(name: &str, input: &[u8]) -> Result<String> {
    let folder = corpus_directory(name);
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("found-{:08x}", crc32c::crc32c(input)));
    fs::write(&path, input)?;
    Ok(format!("cargo xtask fuzz {name} --input {}", path.display()))
}

fn set_running(running: Option<(Instant, &'static str, Vec<u8>)>) {
    *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = running;
}

/// Whether nothing was found.
fn fuzz(target: &'static Target, time: Duration, seed: u64) -> Result<bool> {
    let mut inputs = target.corpus()?;
    let (fixed, started) = (inputs.len(), Instant::now());
    let (mut mutator, mut runs) = (Mutator::new(seed), 0_u64);
    let mut begin = inputs.clone().into_iter();
    while started.elapsed() < time {
        let input = begin.next().unwrap_or_else(|| mutator.next(&inputs));
        runs += 1;
        set_running(Some((Instant::now(), target.name, input.clone())));
        let outcome = catch_unwind(AssertUnwindSafe(|| target.run(&input)));
        set_running(None);
        if outcome.is_err() {
            let command = keep(target.name, &input)?;
            say(&format!("{}: FAILED after {runs} inputs: {command}", target.name));
            return Ok(false);
        }
        if runs.is_multiple_of(512) {
            let place = fixed + (usize::try_from(runs / 512)? % KEPT_MAX);
            if place < inputs.len() {
                inputs[place] = input;
            } else {
                inputs.push(input);
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    say(&format!("{}: {runs} inputs in {seconds:.0} s, nothing found", target.name));
    Ok(true)
}

fn write_seeds(chosen: &[&'static Target], folder: &std::path::Path) -> Result<()> {
    for target in chosen {
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder)?;
        for (number, input) in target.corpus()?.iter().enumerate() {
            fs::write(folder.join(format!("seed-{number:03}")), input)?;
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is the program's answer")]
fn say(line: &str) {
    println!("{line}");
}
