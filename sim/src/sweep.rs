//! Many seeds on every core: what they did together, and what broke.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quorate_sim::{Kind, Summary, Violation, attempt};

#[derive(Default)]
struct Totals {
    passed: u64,
    failed: u64,
    summary: Summary,
}

pub(super) fn run(kind: Kind, from: u64, seeds: u64, duration: Option<Duration>) -> ExitCode {
    let started = Instant::now();
    let next = AtomicU64::new(from);
    let totals = Mutex::new(Totals::default());
    let is_over = |seed: u64| match duration {
        Some(duration) => started.elapsed() >= duration,
        None => seed >= from + seeds,
    };
    let traced = seeds == 1 && duration.is_none();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if is_over(seed) {
                        return;
                    }
                    let outcome = attempt(kind, seed, traced, None);
                    let mut totals =
                        totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    match outcome {
                        Ok(summary) => {
                            totals.passed += 1;
                            add(&mut totals.summary, &summary);
                        }
                        Err(violation) => {
                            totals.failed += 1;
                            print(&violation);
                        }
                    }
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    print_totals(&totals, started.elapsed());
    if totals.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[expect(clippy::print_stdout, reason = "the result is this program's output")]
fn print_totals(totals: &Totals, took: Duration) {
    let Totals { passed, failed, summary } = totals;
    let seconds = took.as_secs_f64();
    println!(
        "{} seeds in {seconds:.1} s ({:.0} a minute), {:.0} simulated hours, {} events, {} answers, {} volumes lost",
        passed + failed,
        (passed + failed) as f64 * 60.0 / seconds,
        summary.simulated.as_secs_f64() / 3600.0,
        summary.events,
        summary.answered,
        summary.wiped,
    );
    println!(
        "beats stood for {} heartbeats and {} answers of resting groups",
        summary.heartbeats, summary.answers,
    );
    println!("{passed} passed, {failed} failed");
}

#[expect(clippy::print_stdout, reason = "the result is this program's output")]
fn print(violation: &Violation) {
    let Violation { kind, seed, broken, trace } = violation;
    if !trace.is_empty() {
        println!("{trace}");
    }
    println!("seed {seed}: {}: {}", broken.checker, broken.what);
    println!("repeat with: cargo xtask sim --mode {kind} --seeds 1 --from {seed}");
}

fn add(total: &mut Summary, summary: &Summary) {
    total.events += summary.events;
    total.answered += summary.answered;
    total.wiped += summary.wiped;
    total.heartbeats += summary.heartbeats;
    total.answers += summary.answers;
    total.simulated += summary.simulated;
}
