//! Shows that every planted bug is found by the checker that is for it, and that the same seeds are clean without it.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use quorate_model::planted::Bug;
use quorate_sim::{Expectation, Kind, Violation, attempt, bugs};

/// Who found a bug.
#[derive(Default)]
struct Catch {
    /// By a checker that is for it.
    found: Option<Violation>,
    /// How often others saw it before, and in which seed first.
    others: BTreeMap<&'static str, Seen>,
    newest: u64,
}

#[derive(Clone, Copy)]
struct Seen {
    times: u64,
    first: u64,
}

#[expect(clippy::print_stdout, reason = "the result is this program's output")]
pub(super) fn run(kind: Kind, name: &str, from: u64, seeds: u64) -> ExitCode {
    if cfg!(not(feature = "planted")) {
        println!("built without the feature `planted`: cargo xtask planted builds it");
        return ExitCode::from(2);
    }
    let chosen = bugs(kind).iter().filter(|(_, known, _)| name == "all" || name == *known);
    let (mut passed, mut failed, mut newest) = (0u64, 0u64, from);
    for (bug, name, expectation) in chosen {
        let Expectation::Found(expected) = expectation else {
            println!("{name:<28} is not planted");
            continue;
        };
        let started = Instant::now();
        let caught = hunt(kind, *bug, expected, from, seeds);
        let took = started.elapsed().as_secs_f64();
        let others = others(&caught);
        newest = newest.max(caught.newest);
        match &caught.found {
            Some(Violation { seed, broken, .. }) => {
                passed += 1;
                println!("{name:<28} {:<26} seed {seed:<6} {took:>6.1} s{others}", broken.checker);
            }
            None => {
                failed += 1;
                println!("{name:<28} NOT FOUND in {seeds} seeds, {took:.1} s{others}");
            }
        }
    }
    if passed + failed == 0 {
        println!("there is no bug {name}; there are: {}", names(kind).join(", "));
        return ExitCode::from(2);
    }
    let unclean = clean(kind, from, newest);
    match &unclean {
        None => println!("seeds {from} to {newest} are clean without a bug"),
        Some(violation) => {
            failed += 1;
            let Violation { seed, broken, .. } = violation;
            println!("seed {seed} is not clean: {}: {}", broken.checker, broken.what);
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn names(kind: Kind) -> Vec<&'static str> {
    bugs(kind).iter().map(|(_, name, _)| *name).collect()
}

fn others(caught: &Catch) -> String {
    let others: Vec<String> = caught
        .others
        .iter()
        .map(|(checker, Seen { times, first })| format!("{checker} {times}, first seed {first}"))
        .collect();
    if others.is_empty() { String::new() } else { format!("  (before: {})", others.join("; ")) }
}

#[expect(clippy::print_stdout, reason = "one seed is run to be read")]
fn hunt(kind: Kind, bug: Bug, expected: &[&str], from: u64, seeds: u64) -> Catch {
    let caught = Mutex::new(Catch::default());
    on_every_core(from, from + seeds, |seed| {
        let outcome = attempt(kind, seed, seeds == 1, Some(bug));
        if let Err(violation) = &outcome
            && seeds == 1
        {
            println!("{}\n{}", violation.trace, violation.broken.what);
        }
        let mut caught = caught.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        caught.newest = caught.newest.max(seed);
        if let Err(violation) = outcome {
            let checker = violation.broken.checker;
            if expected.contains(&checker) {
                caught.found.get_or_insert(*violation);
            } else {
                let seen = Seen { times: 0, first: seed };
                let seen = caught.others.entry(checker).or_insert(seen);
                seen.times += 1;
                seen.first = seen.first.min(seed);
            }
        }
        caught.found.is_none()
    });
    caught.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The first violation without any bug.
fn clean(kind: Kind, from: u64, through: u64) -> Option<Violation> {
    let broken = Mutex::new(None);
    on_every_core(from, through + 1, |seed| match attempt(kind, seed, false, None) {
        Ok(_) => true,
        Err(violation) => {
            broken
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .get_or_insert(*violation);
            false
        }
    });
    broken.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Seeds in order, until they are over or `act` has enough.
fn on_every_core(from: u64, end: u64, act: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(from);
    let enough = AtomicBool::new(false);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    if !act(seed) {
                        enough.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}
