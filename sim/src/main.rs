//! `quorate-sim`: runs seeds on every core, says what broke and how to repeat it.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use quorate_sim::{Summary, run};

struct Arguments {
    seeds: u64,
    from: u64,
}

fn main() -> ExitCode {
    match arguments() {
        Ok(arguments) => simulate(&arguments),
        Err(error) => {
            eprintln!("quorate-sim: {error:#}");
            eprintln!("usage: quorate-sim --mode single-leader --seeds N [--from S]");
            ExitCode::from(2)
        }
    }
}

fn arguments() -> anyhow::Result<Arguments> {
    let mut arguments = Arguments { seeds: 1, from: 1 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} takes a value"))?;
        match word.as_str() {
            "--mode" if value == "single-leader" => {}
            "--mode" => bail!("mode {value} is not there; there is single-leader"),
            "--seeds" => arguments.seeds = value.parse().context("--seeds takes a number")?,
            "--from" => arguments.from = value.parse().context("--from takes a number")?,
            _ => bail!("unknown argument {word}"),
        }
    }
    Ok(arguments)
}

#[expect(clippy::print_stdout, reason = "the result is this program's output")]
fn simulate(arguments: &Arguments) -> ExitCode {
    let started = Instant::now();
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from + arguments.seeds;
    let broken = AtomicBool::new(false);
    let totals = Mutex::new((0u64, 0u64, Summary::default()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    // A panic is an assert of the code under test: a finding like any other.
                    let outcome = std::panic::catch_unwind(|| run(seed, arguments.seeds == 1));
                    let mut totals =
                        totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    match outcome {
                        Ok(Ok(summary)) => {
                            totals.0 += 1;
                            add(&mut totals.2, &summary);
                        }
                        Ok(Err(violation)) => {
                            totals.1 += 1;
                            broken.store(true, Ordering::Relaxed);
                            println!("seed {seed}: {}", violation.what);
                            if !violation.trace.is_empty() {
                                println!("{}", violation.trace);
                            }
                            print_repeat(seed);
                        }
                        Err(_) => {
                            totals.1 += 1;
                            broken.store(true, Ordering::Relaxed);
                            println!("seed {seed}: an assert failed (above)");
                            print_repeat(seed);
                        }
                    }
                }
            });
        }
    });
    let (passed, failed, total) =
        totals.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{} seeds in {seconds:.1} s ({:.0} a minute), {:.0} simulated hours, {} events, {} answers, {} volumes lost",
        passed + failed,
        (passed + failed) as f64 * 60.0 / seconds,
        total.simulated.as_secs_f64() / 3600.0,
        total.events,
        total.answered,
        total.wiped,
    );
    println!("{passed} passed, {failed} failed");
    if broken.into_inner() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[expect(clippy::print_stdout, reason = "the result is this program's output")]
fn print_repeat(seed: u64) {
    println!("repeat with: cargo xtask sim --mode single-leader --seeds 1 --from {seed}");
}

fn add(total: &mut Summary, summary: &Summary) {
    total.events += summary.events;
    total.answered += summary.answered;
    total.wiped += summary.wiped;
    total.simulated += summary.simulated;
}
