//! One stage after the other: run, timed, counted.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) took: Duration,
    pub(super) passed: u64,
    pub(super) failed: u64,
    /// Why it failed; empty when it did not.
    pub(super) error: String,
}

/// What the test programs of a stage said of themselves.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
}

#[derive(Debug, Default)]
pub(super) struct Stages {
    outcomes: Vec<Outcome>,
}

impl Stages {
    /// A stage that succeeds or fails as a whole.
    pub(super) fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) -> bool {
        self.record(name, || check().map(|()| Counts { passed: 1, failed: 0 }))
    }

    /// A program that succeeds or fails as a whole. What it writes is seen as it comes.
    pub(super) fn command(&mut self, name: &str, command: &mut Command) -> bool {
        self.check(name, || {
            let status = command.stdin(Stdio::null()).status().context("cannot start it")?;
            if !status.success() {
                bail!("{status}");
            }
            Ok(())
        })
    }

    /// Test programs, whose tests are counted.
    pub(super) fn tests(&mut self, name: &str, command: &mut Command) -> bool {
        self.record(name, || count_tests(command))
    }

    /// A stage that cannot run here; it counts as neither.
    pub(super) fn skip(&mut self, name: &str, why: &str) {
        self.record(&format!("{name}: skipped ({why})"), || Ok(Counts::default()));
    }

    pub(super) fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    pub(super) fn totals(&self) -> (u64, u64) {
        let sum = |field: fn(&Outcome) -> u64| self.outcomes.iter().map(field).sum();
        (sum(|outcome| outcome.passed), sum(|outcome| outcome.failed))
    }

    #[expect(clippy::print_stderr, reason = "one sees which stage runs")]
    fn record(&mut self, name: &str, run: impl FnOnce() -> Result<Counts>) -> bool {
        eprintln!("\n==== {name}");
        let started = Instant::now();
        let (counts, error) = match run() {
            Ok(counts) if counts.failed == 0 => (counts, String::new()),
            Ok(counts) => (counts, "see above".to_owned()),
            Err(error) => {
                eprintln!("{error:#}");
                (Counts { passed: 0, failed: 1 }, format!("{error:#}"))
            }
        };
        self.outcomes.push(Outcome {
            name: name.to_owned(),
            took: started.elapsed(),
            passed: counts.passed,
            failed: counts.failed,
            error,
        });
        counts.failed == 0
    }
}

#[expect(clippy::print_stdout, reason = "the output of the tests is passed on")]
fn count_tests(command: &mut Command) -> Result<Counts> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the tests")?;
    let stdout = child.stdout.take().context("the output is piped")?;
    let mut counts = Counts::default();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        if let Some(more) = result_line(&line) {
            counts.passed += more.passed;
            counts.failed += more.failed;
        }
    }
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        // It did not compile, or a test program died.
        counts.failed = 1;
    }
    if counts == Counts::default() {
        bail!("no test ran");
    }
    Ok(counts)
}

/// What a test program (`test result: ok. 12 passed; 0 failed; …`) or the simulator
/// (`2000 passed, 0 failed`) says last.
fn result_line(line: &str) -> Option<Counts> {
    let counts = match line.strip_prefix("test result: ") {
        Some(result) => result.split_once(". ")?.1,
        None => line,
    };
    let mut parts = counts.split([';', ',']).map(str::trim);
    let passed = parts.next()?.strip_suffix(" passed")?.parse().ok()?;
    let failed = parts.next()?.strip_suffix(" failed")?.parse().ok()?;
    Some(Counts { passed, failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted_and_others_are_not() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; finished in 0.1s";
        assert_eq!(result_line(line), Some(Counts { passed: 12, failed: 3 }));
        let simulated = Some(Counts { passed: 2000, failed: 0 });
        assert_eq!(result_line("2000 passed, 0 failed"), simulated);
        assert_eq!(result_line("test a ... ok"), None);
    }

    #[test]
    fn program_that_runs_no_test_has_failed() {
        let mut stages = Stages::default();
        assert!(!stages.tests("none", &mut Command::new("true")));
        assert_eq!(stages.totals(), (0, 1));
    }

    #[test]
    fn failed_check_counts_as_one_and_the_next_one_still_runs() {
        let mut stages = Stages::default();
        stages.check("one", || bail!("no"));
        stages.check("two", || Ok(()));
        assert_eq!(stages.totals(), (1, 1));
        assert_eq!(stages.outcomes()[0].error, "no");
    }
}
