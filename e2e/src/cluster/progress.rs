//! What the user sees while a cluster comes up: steps, and what is being waited for.
//!
//! Everything goes to the standard error, so that commands may still be piped. On a terminal a
//! wait is one line that is rewritten; elsewhere a line is written when what we wait for changes.

use std::io::{IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// The answer of one look at a condition.
#[derive(Debug)]
pub enum Probe<T> {
    Ready(T),
    /// What is missing, in words for the user.
    Waiting(String),
}

#[derive(Debug)]
pub struct Progress {
    started: Instant,
    terminal: bool,
    quiet: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self { started: Instant::now(), terminal: std::io::stderr().is_terminal(), quiet: false }
    }
}

impl Progress {
    /// Says nothing but errors: for levers inside tests.
    pub fn quiet() -> Self {
        Self { quiet: true, ..Self::default() }
    }

    pub fn step(&self, text: &str) {
        if !self.quiet {
            self.line(&format!("[{:6.1}s] {text}\n", self.started.elapsed().as_secs_f64()));
        }
    }

    /// Looks until the condition holds. The error says what was still missing at the deadline.
    pub fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        mut probe: impl FnMut() -> Result<Probe<T>>,
    ) -> Result<T> {
        let started = Instant::now();
        let mut shown = String::new();
        loop {
            let missing = match probe()? {
                Probe::Ready(value) => {
                    self.finish_line();
                    return Ok(value);
                }
                Probe::Waiting(missing) => missing,
            };
            if started.elapsed() > limit {
                self.finish_line();
                bail!("gave up waiting for {what} after {} s: {missing}", limit.as_secs());
            }
            self.show_wait(what, &missing, &mut shown);
            thread::sleep(PROBE_INTERVAL);
        }
    }

    fn show_wait(&self, what: &str, missing: &str, shown: &mut String) {
        if self.quiet {
            return;
        }
        let elapsed = self.started.elapsed().as_secs_f64();
        if self.terminal {
            self.line(&format!("\r\x1b[2K[{elapsed:6.1}s] waiting for {what}: {missing}"));
        } else if shown != missing {
            self.line(&format!("[{elapsed:6.1}s] waiting for {what}: {missing}\n"));
            missing.clone_into(shown);
        }
    }

    fn finish_line(&self) {
        if self.terminal && !self.quiet {
            self.line("\r\x1b[2K");
        }
    }

    #[expect(clippy::unused_self, reason = "the one place that writes belongs to the display")]
    fn line(&self, text: &str) {
        let mut stderr = std::io::stderr().lock();
        // Nobody reads a closed standard error: the work goes on without it.
        stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()).ok();
    }
}
